"""What is measured at Postgres: five shapes of the job, each contender in turn, in the same run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench.contenders import Liberator, Limit, Peer, id_in, measure, wait
from bench.gauge import Gauge, Reading
from bench.scenario import Latencies, Scenario, Stage
from bench.server import BenchServer
from connectors.sql.statements import load

#: Rows that a hand-written loader stages at once; the sink's default batch.
BATCH = 5000
#: Transactions per second in the latency scenario, and how many connections commit them.
PACE, WRITERS = 500, 2


class PostgresBench:
    """The scenarios on one Postgres."""

    def __init__(self, stage: Stage):
        self.server = stage.server(BenchServer)
        self.directory, self.scale, self.rounds = stage.directory, stage.scale, stage.rounds

    def stream(self, rows: int, per_transaction: int) -> Iterator[tuple[str, Reading]]:
        """A backlog of ``rows`` in transactions of some size, from a contender's first rows to its last."""
        rows = int(rows * self.scale)
        for _ in range(self.rounds):
            for contender in (
                Limit(self.server),
                Peer(self.server, self.directory / "peer"),
                Liberator(self.server, self.directory / "log"),
            ):
                yield contender.name, self._drain(contender, rows, per_transaction)

    def _drain(self, contender: Limit | Peer | Liberator, rows: int, per_transaction: int) -> Reading:
        self.server.create("source")
        contender.prepare("source")
        self.server.write("source", 1, rows, per_transaction)
        return measure(contender, rows, lambda: contender.start("source", rows))

    def snapshot(self, rows: int) -> Iterator[tuple[str, Reading]]:
        """A table of ``rows``, from a contender's first rows to its last."""
        rows = int(rows * self.scale)
        self.server.create("source")
        self.server.write("source", 1, rows, 10_000)
        for _ in range(self.rounds):
            limit = Limit(self.server)
            limit.start("source", rows, "copy")
            yield limit.name, measure(limit, rows, limit.copy)
            peer = Peer(self.server, self.directory / "peer")
            yield peer.name, measure(peer, rows, lambda c=peer: c.start("source", rows, True))
            ours = Liberator(self.server, self.directory / "log", source={"snapshot": "initial"})
            yield ours.name, measure(ours, rows, lambda c=ours: c.start("source"))

    def sink(self, rows: int) -> Iterator[tuple[str, Reading]]:
        """``rows`` in the log, from the first that a Postgres sink shows to the last."""
        rows = int(rows * self.scale)
        filler = Liberator(self.server, self.directory / "filled", keep=True)
        self._drain(filler, rows, 100)
        with self.server.connect("source") as conn, conn.cursor().copy("copy orders to stdout") as copy:
            lines = list(copy)
        for _ in range(self.rounds):
            yield "raw limit", self._merge([bytes(line) for line in lines])
            yield "liberator", self._apply(rows)

    def _merge(self, lines: list[bytes]) -> Reading:
        """Staging copy and one merge per batch, by hand, into a table that exists."""
        self.server.create("target")
        statement = load("bench", "workload.sql")["merge"].encode()
        with psycopg.connect(self.server.url("target")) as conn, conn.cursor() as cursor:
            cursor.execute("create temporary table staged (like orders) on commit delete rows")
            conn.commit()
            gauge = Gauge([os.getpid()])
            for first in range(0, len(lines), BATCH):
                with cursor.copy("copy staged from stdin") as copy:
                    copy.write(b"".join(lines[first : first + BATCH]))
                cursor.execute(statement)
                conn.commit()
            reading = gauge.read(len(lines))
        return Reading(reading.rows, reading.seconds, reading.cpu, 0)

    def _apply(self, rows: int) -> Reading:
        self.server.create("target", tables=False)
        sinks = {"target": {"type": "postgres", "url": self.server.url("target"), "topics": ["*"]}}
        ours = Liberator(self.server, self.directory / "filled", sinks=sinks, keep=True)
        ours.start(None)
        try:
            with self.server.connect("target") as conn:
                before = wait(lambda: highest(conn), 0.005)
                gauge = Gauge(ours.pids())
                wait(lambda: highest(conn) >= rows)
                return gauge.read(rows - before)
        finally:
            ours.stop()

    def latency(self, seconds: float) -> Iterator[tuple[str, Latencies]]:
        """From commit at the source to commit at a Postgres sink, at a steady pace; of the others until they
        have the change: the raw limit in memory, mq-bridge in its file."""
        rows = int(PACE * seconds * self.scale)
        for _ in range(self.rounds):
            times = self.directory / "times.txt"
            yield "raw limit", self._raw_latency(rows, times)
            yield "mq-bridge", self._peer_latency(rows)
            yield "liberator", self._our_latency(rows)

    def _raw_latency(self, rows: int, times: Path) -> Latencies:
        limit = Limit(self.server, times)
        self.server.create("source")
        limit.prepare("source")
        limit.start("source", rows)
        wait(limit.streams)
        try:
            pace(self.server, rows)
            wait(lambda: limit.says(b"written"))
        finally:
            limit.stop()
        pairs = [map(int, line.split()) for line in times.read_text().splitlines()]
        return [(arrived - committed) / 1000 for committed, arrived in pairs]

    def _peer_latency(self, rows: int) -> Latencies:
        self.server.create("source")
        peer = Peer(self.server, self.directory / "peer")
        peer.prepare("source")
        peer.start("source", rows)
        wait(peer.streams)
        seen: dict[int, int] = {}
        try:
            watcher = threading.Thread(target=watch, args=(peer, rows, seen), daemon=True)
            watcher.start()
            pace(self.server, rows)
            watcher.join(60)
        finally:
            peer.stop()
        committed = commits(self.server, "source")
        return [(seen[id_] - committed[id_]) / 1000 for id_ in committed if id_ in seen]

    def _our_latency(self, rows: int) -> Latencies:
        self.server.create("source")
        self.server.create("target", tables=False)
        sinks = {"target": {"type": "postgres", "url": self.server.url("target"), "topics": ["*"]}}
        ours = Liberator(self.server, self.directory / "log", sinks=sinks)
        ours.start("source")
        wait(ours.streams)
        try:
            pace(self.server, rows)
            with self.server.connect("target") as conn:
                wait(lambda: highest(conn) >= rows)
                wait(lambda: len(commits(self.server, "target")) >= rows)
        finally:
            ours.stop()
        committed, visible = commits(self.server, "source"), commits(self.server, "target")
        return [(visible[id_] - at) / 1000 for id_, at in committed.items()]


def highest(conn: psycopg.Connection[tuple[int]]) -> int:
    """The newest order that the target shows; orders come in the order of their ids."""
    try:
        row = conn.execute("select coalesce(max(id), 0) from orders").fetchone()
    except psycopg.errors.UndefinedTable:
        return 0
    return row[0] if row else 0


def commits(server: BenchServer, database: str) -> dict[int, int]:
    """When each order was committed, in microseconds."""
    with server.connect(database) as conn:
        return dict(conn.execute(load("bench", "workload.sql")["commits"].encode()).fetchall())


def pace(server: BenchServer, rows: int) -> None:
    """Commit ``rows`` transactions of one row at the steady pace, each durable before the next."""

    def write(number: int) -> None:
        with server.connect("source") as conn:
            began = time.monotonic()
            for count, id_ in enumerate(range(number + 1, rows + 1, WRITERS)):
                due = began + (count * WRITERS + number) / PACE
                time.sleep(max(0.0, due - time.monotonic()))
                conn.execute(
                    "insert into orders values (%s, %s, 'new', 1.01, 'please ring twice', true, now())",
                    [id_, id_ % 100_000],
                )

    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def watch(peer: Peer, rows: int, seen: dict[int, int]) -> None:
    """Note when each order first stands in the peer's file."""
    at, rest = 0, b""
    deadline = time.monotonic() + 120
    while len(seen) < rows and time.monotonic() < deadline:
        if peer.file.exists() and peer.file.stat().st_size > at:
            with peer.file.open("rb") as file:
                file.seek(at)
                data = file.read()
            now = int(time.time() * 1e6)
            at += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                seen.setdefault(id_in(line), now)
        time.sleep(0.0005)


SCENARIOS = [
    Scenario(
        "stream", "Postgres: streaming, transactions of 100 rows",
        lambda stage: PostgresBench(stage).stream(500_000, 100),
        {"rate": 120_000, "share": 0.5, "memory": 120},
    ),
    Scenario(
        "single", "Postgres: streaming, transactions of one row",
        lambda stage: PostgresBench(stage).stream(100_000, 1),
        {"share": 0.5, "memory": 120},
    ),
    Scenario(
        "snapshot", "Postgres: snapshot",
        lambda stage: PostgresBench(stage).snapshot(1_000_000),
        {"rate": 200_000, "memory": 120},
    ),
    Scenario(
        "sink", "log to Postgres",
        lambda stage: PostgresBench(stage).sink(500_000),
        {"rate": 80_000, "memory": 120},
    ),
    Scenario(
        "latency", "Postgres to Postgres: commit to commit at 500 transactions a second, milliseconds",
        lambda stage: PostgresBench(stage).latency(20),
        {"p50": 15, "p99": 100},
    ),
]  # fmt: skip
