"""What must stay small does: memory under a huge transaction, WAL at the server under foreign traffic."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import psycopg

from tests.pipeline import Pipeline, wait_for

MEGABYTE = 1_000_000
ROWS = 1_000_000
#: How often, and how much at a time, tables that nobody captures are written.
ROUNDS, STEP = 10, 20 * MEGABYTE


def peak(pid: int) -> int:
    """The most memory that a process has ever had resident, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


class Watch(threading.Thread):
    """Notes the peak memory of every process of a pipeline while it runs."""

    def __init__(self, flow: Pipeline):
        super().__init__(daemon=True)
        self.flow, self.over = flow, threading.Event()
        self.peaks: dict[str, int] = {}

    def run(self) -> None:
        while not self.over.wait(0.2):
            named = {pid: name for name, pid in self.flow.workers().items()}
            for process in self.flow.processes():
                name = named.get(process.pid, "supervisor")
                self.peaks[name] = max(self.peaks.get(name, 0), peak(process.pid))


def test_a_transaction_of_a_million_rows_passes_in_bounded_memory(database, database2, tmp_path):
    with psycopg.connect(database) as conn:
        conn.execute(
            "create table big (id bigint primary key, word text, amount numeric(12, 2), at timestamptz)"
        )
    source = {"type": "postgres-wal", "url": database, "tables": ["public.big"]}
    sinks = {
        "file": {"type": "sqlite", "url": "sqlite:///copy.db"},
        "copy": {"type": "postgres", "url": database2},
    }
    with Pipeline(tmp_path, {"bank": source}, sinks) as flow:
        flow.start()
        flow.wait_for_status("source:bank", lambda status: status["phase"] == "streaming")
        watch = Watch(flow)
        watch.start()
        with psycopg.connect(database) as conn:
            conn.execute(
                "insert into big select i, 'word number ' || i, i * 1.01, now()"
                " from generate_series(1, %s) i",
                [ROWS],
            )
            conn.commit()
            expected = conn.execute("select count(*), sum(amount), min(at), max(at) from big").fetchone()

        def arrived() -> bool:
            assert flow.running, flow.tail()
            ends = [flow.status(f"sink:{name}") for name in sinks]
            return all((end.get("cursor") or {}).get("offsets", {}).get("", 0) >= ROWS for end in ends)

        wait_for(arrived, 300, flow.tail)
        watch.over.set()
        watch.join()
        flow.stop()
        flow.run("teardown")
    print({name: f"{size / MEGABYTE:.0f} MB" for name, size in watch.peaks.items()})
    assert {"supervisor", "source:bank", "sink:file", "sink:copy", "upkeep"} <= set(watch.peaks)
    assert {name: size for name, size in watch.peaks.items() if size >= 150 * MEGABYTE} == {}
    with psycopg.connect(database2) as conn:
        assert conn.execute("select count(*), sum(amount), min(at), max(at) from big").fetchone() == expected
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as conn:
        assert conn.execute("select count(*), count(distinct id), max(id) from big").fetchone() == (ROWS,) * 3


def test_a_quiet_table_beside_busy_ones_pins_no_wal(database, database2, tmp_path):
    """200 MB of WAL in tables that nobody captures, half of it in another database."""
    other = database2
    busy = "create table busy (id bigint generated always as identity, filler text)"
    with psycopg.connect(database) as conn:
        conn.execute("create table quiet (id bigint primary key)")
        conn.execute(busy)
    with psycopg.connect(other) as conn:
        conn.execute(busy)
    source = {"type": "postgres-wal", "url": database, "tables": ["public.quiet"], "heartbeat": 1}
    retained: list[int] = []
    with Pipeline(tmp_path, {"shop": source}, {}) as flow, psycopg.connect(database, autocommit=True) as conn:
        flow.start()
        flow.wait_for_status("source:shop", lambda status: status["phase"] == "streaming")
        begun = wal_position(conn)
        for round_ in range(ROUNDS):
            with psycopg.connect(other if round_ % 2 else database) as writer:
                while wal_position(writer) - begun < (round_ + 1) * STEP:
                    writer.execute(
                        "insert into busy (filler) select repeat('x', 1000) from generate_series(1, 1000)"
                    )
                    writer.commit()
            retained.append(held_back(conn))
            assert flow.running, flow.tail()
            wait_for(
                lambda: held_back(conn, noted=True) < 8 * MEGABYTE,
                20,
                lambda: f"{held_back(conn):,} bytes held back:\n{flow.tail()}",
            )
        assert wal_position(conn) - begun >= 200 * MEGABYTE
        flow.stop()
        flow.run("teardown")
    print(f"held back at most {max(retained):,} bytes")
    assert max(retained) < 32 * MEGABYTE


def wal_position(conn: psycopg.Connection) -> int:
    return int(conn.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()[0])


def held_back(conn: psycopg.Connection, noted: bool = False) -> int:
    """The WAL that the server keeps for our slot, in bytes. It can let go only of what lies before a record
    in which it notes its running transactions: every 15 seconds by itself, and now if ``noted``."""
    if noted:
        conn.execute("checkpoint")
    return int(
        conn.execute(
            "select pg_current_wal_lsn() - restart_lsn from pg_replication_slots"
            " where slot_name = 'liberator_shop'"
        ).fetchone()[0]
    )
