"""Killed at any instant, it goes on where it was: nothing lost, nothing doubled, everything in order.

The workers, the supervisor, or all of them get SIGKILL at random moments while writers change the tables;
then the server does. Afterwards the log is compared with what the server's own ``test_decoding`` says was
committed, and every row of both sinks with the source. ``LIBERATOR_SEED`` repeats a run's choices.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections import Counter

import psycopg
import pytest

from connectors.demo.compare import compare, postgres_rows, sqlite_rows, tables
from connectors.postgres.server import PostgresServer
from liberator.errors import LogError
from liberator.event import ABSENT, Operation
from liberator.snapshot import Progress
from tests.fix_postgres import fresh_database
from tests.load import FILL, SCHEMA, Load
from tests.oracle import Oracle, assert_exactly_once_in_order
from tests.pipeline import Pipeline, wait_for

ACCOUNTS = 12_000
KILLS = 25


@pytest.fixture
def seed():
    seed = int(os.environ.get("LIBERATOR_SEED", time.time_ns() % 1_000_000))
    print(f"LIBERATOR_SEED={seed}")
    return seed


def prepare(url):
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(SCHEMA.encode())
        conn.execute(FILL.replace("%s", str(ACCOUNTS)).encode())
        conn.execute("analyze")


def pipeline(directory, source, target):
    return Pipeline(
        directory,
        {
            "bank": {
                "type": "postgres-wal",
                "url": source,
                "tables": ["public.*"],
                "chunk": 120,  # a long snapshot, so that many kills fall into it
                "batch": 500,
            }
        },
        {
            "file": {"type": "sqlite", "url": "sqlite:///copy.db", "topics": ["bank.*"], "batch": 500},
            "copy": {"type": "postgres", "url": target, "topics": ["bank.*"], "batch": 500},
        },
    )


def assert_copies_are_equal(source, target, file):
    with (
        psycopg.connect(source) as left,
        psycopg.connect(target) as right,
        contextlib.closing(sqlite3.connect(file)) as lite,
    ):
        for table in tables(left):
            for name, rows in (
                ("postgres", postgres_rows(right, table)),
                ("sqlite", sqlite_rows(lite, table)),
            ):
                result = compare(table, name, postgres_rows(left, table), rows)
                assert result.different == 0, (table.name, result.differences)
                assert result.rows > 0, table.name


def assert_log_is_right(flow, oracle):
    """Exactly the committed changes in commit order; and of the snapshot every key once, but for rows that
    moved without their out-of-line text, which are read on their own."""
    events = flow.events()
    transactions = assert_exactly_once_in_order(events, oracle.transactions())
    moved = {(e.schema.table, e.key) for e in events if e.moved is not None and ABSENT in (e.after or ())}
    read = Counter((e.schema.table, e.key) for e in events if e.operation is Operation.READ)
    twice = {key for key, count in read.items() if count > 1}
    assert twice <= moved, f"the snapshot read rows twice: {twice - moved}"
    return transactions, len(read)


def phase(flow):
    """How far the source has got, as the log holds it."""
    try:
        with flow.log() as log:
            state = log.state("bank")
    except LogError:
        return "starting"
    if state is None:
        return "starting"
    return "snapshot" if Progress(state.snapshot).pending else "streaming"


def test_killed_at_25_random_moments_nothing_is_lost_or_doubled(database, database2, tmp_path, seed):
    prepare(database)
    rng = random.Random(seed)
    oracle = Oracle(database, "oracle_kills")
    phases: list[str] = []
    victims = ["source:bank", "sink:file", "sink:copy"]
    with pipeline(tmp_path, database, database2) as flow, Load(database, ACCOUNTS, seed) as load:
        while len(phases) < KILLS:
            # Each life ends with a kill of the supervisor, alone or with all of its workers.
            flow.start()
            if len(phases) >= KILLS // 2:
                # A machine that is busy with other things writes more than it reads: let the reader win.
                pace, load.pace = load.pace, 0.5
                wait_for(lambda: phase(flow) == "streaming", 180, flow.tail)
                load.pace = pace
            for victim in [*rng.sample(victims, 3), rng.choice(victims), None]:
                at_work(flow, "source:bank", rng, 0.7)
                assert flow.running, flow.tail()
                phases.append(phase(flow))
                if victim is not None:
                    flow.kill_worker(victim)
                elif rng.random() < 0.5:
                    flow.kill()
                else:
                    flow.kill_all()
        flow.start()
        at_work(flow, "source:bank", rng, 1.0)
        load.stop()
        flow.stop()
        flow.catch_up()
        assert_copies_are_equal(database, database2, tmp_path / "copy.db")
        transactions, rows = assert_log_is_right(flow, oracle)
        print(
            f"{load.committed} committed, {transactions} in the log, {rows} rows read, killed while {phases}"
        )
        assert transactions > 100
        assert phases.count("snapshot") >= 5
        assert phases.count("streaming") >= 5
        assert flow.run("teardown")


def at_work(flow, worker, rng, sure):
    """Some moment: mostly while the worker has begun to work, sometimes while it is still starting."""
    if rng.random() < sure:
        wait_for(
            lambda: worker in flow.workers() and flow.status(worker).get("pid") == flow.workers().get(worker),
            60,
            flow.tail,
        )
    time.sleep(rng.uniform(0.0, 0.6))


def test_a_killed_server_comes_back_and_nothing_is_lost_or_doubled(tmp_path, seed):
    rng = random.Random(seed)
    with PostgresServer() as server, contextlib.ExitStack() as stack:
        lifetimes = [fresh_database(server) for _ in range(2)]
        source, target = (next(lifetime) for lifetime in lifetimes)
        for lifetime in lifetimes:
            stack.callback(next, lifetime, None)
        prepare(source)
        oracle = Oracle(source, "oracle_server")
        with pipeline(tmp_path, source, target) as flow, Load(source, ACCOUNTS, seed) as load:
            flow.start()
            for phase in ("snapshot", "streaming"):
                flow.wait_for_status("source:bank", lambda status, phase=phase: status["phase"] == phase, 120)
                time.sleep(rng.uniform(0.1, 0.8))
                server.kill()
                time.sleep(rng.uniform(0.1, 0.5))
                server.restart()
            committed = load.committed
            while load.committed < committed + 100:
                assert flow.running, flow.tail()
                time.sleep(0.1)
            load.stop()
            flow.stop()
            flow.catch_up()
            assert_copies_are_equal(source, target, tmp_path / "copy.db")
            assert_log_is_right(flow, oracle)
