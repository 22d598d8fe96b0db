"""Killed at any instant, a binlog source goes on where it was: worker, supervisor and server, under load.

Every row counts its changes in ``version``, so the log itself tells what is missing, doubled or out of order:
of each row the versions follow one another. Afterwards the sink is compared with the source.
``LIBERATOR_SEED`` repeats a run's choices.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time

import pymysql
import pytest

from connectors.mysql.server import MariaDbServer, MySqlServer
from liberator.errors import LogError
from liberator.event import Operation
from liberator.snapshot import Progress
from tests.binlog import rows, run
from tests.fix_mysql import connected
from tests.pipeline import Pipeline, wait_for

ROWS = 4_000


@pytest.fixture
def seed():
    seed = int(os.environ.get("LIBERATOR_SEED", time.time_ns() % 1_000_000))
    print(f"LIBERATOR_SEED={seed}")
    return seed


@pytest.fixture(params=["mysql", "mariadb"])
def server(request):
    kind = MySqlServer if request.param == "mysql" else MariaDbServer
    with kind(request.getfixturevalue(f"{request.param}_binary")) as own:
        run(own.url(), "create database d")
        run(
            own.url("d"),
            "create table accounts (id bigint primary key, version int not null, note varchar(40))",
            "create table tail (id bigint primary key auto_increment, version int not null, word text)",
        )
        with connected(own.url("d")) as db:
            db.cursor().executemany(
                "insert into accounts values (%s, 1, %s)", [(n, f"row {n}") for n in range(ROWS)]
            )
        yield own


class Writers:
    """Writers at work until they are told to stop; one whose connection breaks connects again."""

    def __init__(self, url, seed, count=2):
        self._url = url
        self._over = threading.Event()
        self.committed = 0
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(seed + n),), daemon=True)
            for n in range(count)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc):
        self.stop()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a writer hangs"

    def _work(self, rng):
        while not self._over.is_set():
            with contextlib.suppress(pymysql.MySQLError, OSError), connected(self._url) as db:
                while not self._over.is_set():
                    with contextlib.suppress(pymysql.err.IntegrityError):
                        self._transaction(db, rng)
                        self.committed += 1
                    time.sleep(0.01)
            time.sleep(0.05)

    def _transaction(self, db, rng):
        if rng.random() < 0.05:
            db.query(f"set session binlog_row_image = {rng.choice(['full', 'minimal', 'noblob'])}")
        db.begin()
        try:
            cursor = db.cursor()
            first = rng.randrange(ROWS)
            if rng.random() < 0.02:
                cursor.execute(
                    "update accounts set version = version + 1 where id between %s and %s",
                    [first, first + 900],
                )
            for _ in range(rng.randint(1, 4)):
                cursor.execute(
                    "update accounts set version = version + 1, note = %s where id = %s",
                    [f"n {rng.random()}", rng.randrange(ROWS)],
                )
                cursor.execute("insert into tail (version, word) values (1, 'w')")
            if rng.random() < 0.1:
                db.rollback()
            else:
                db.commit()
        except pymysql.MySQLError:
            with contextlib.suppress(pymysql.MySQLError):
                db.rollback()
            raise


def pipeline(directory, url):
    return Pipeline(
        directory,
        {
            "bank": {
                "type": "mysql-binlog",
                "url": url + "?ssl-mode=disabled",
                "tables": ["d.*"],
                "chunk": 50,  # a long snapshot, for the kills that fall into it
                "batch": 200,
                "heartbeat": 2,
            }
        },
        {"file": {"type": "sqlite", "url": "sqlite:///copy.db", "topics": ["bank.*"], "batch": 500}},
    )


def phase(flow):
    try:
        with flow.log() as log:
            state = log.state("bank")
    except LogError:
        return "starting"
    if state is None:
        return "starting"
    return "snapshot" if Progress(state.snapshot).pending else "streaming"


def assert_each_change_came_once_and_in_order(events):
    versions, position = {}, None
    for event in events:
        key = event.schema.table, event.key
        if event.operation is Operation.READ:
            assert event.after[1] >= versions.get(key, 0), f"a row went back in time: {key}"
        else:
            assert position is None or event.position > position, "out of order, or twice"
            position = event.position
            if key in versions:
                assert event.after[1] == versions[key] + 1, f"{key}: {versions[key]}, then {event.after[1]}"
        versions[key] = event.after[1]
    return len(versions)


def assert_copy_is_equal(url, file):
    with contextlib.closing(sqlite3.connect(file)) as lite:
        names = [n for (n,) in lite.execute("select name from sqlite_master where type = 'table'")]
        for table in ("accounts", "tail"):
            name = next(n for n in names if n.endswith(table))
            copied = lite.execute(f'select * from "{name}" order by id').fetchall()
            assert copied == rows(url, f"select * from {table} order by id"), table


def at_work(flow, wanted):
    """Whether the source's process has begun to work, and is in the phase that is wanted or beyond it."""
    worker = flow.workers().get("source:bank")
    return (
        worker is not None
        and flow.status("source:bank").get("pid") == worker
        and phase(flow) in (wanted, "streaming")
    )


def test_killed_at_random_moments_nothing_is_lost_or_doubled(server, tmp_path, seed):
    rng = random.Random(seed)
    url = server.url("d")
    phases = []
    victims = ["source:bank", "sink:file", "supervisor", "all"]
    with pipeline(tmp_path, url) as flow, Writers(url, seed) as writers:
        for wanted, victim in [
            *(("snapshot", victim) for victim in rng.sample(["source:bank", "supervisor", "all"], 2)),
            *(("streaming", victim) for victim in ["source:bank", *rng.sample(victims, 4)]),
        ]:
            if not flow.running:
                flow.start()
            wait_for(lambda wanted=wanted: at_work(flow, wanted), 120, flow.tail)
            time.sleep(rng.uniform(0.0, 0.3))
            assert flow.running, flow.tail()
            phases.append(phase(flow))
            match victim:
                case "supervisor":
                    flow.kill()
                case "all":
                    flow.kill_all()
                case _:
                    flow.kill_worker(victim)
        if not flow.running:
            flow.start()
        wait_for(lambda: at_work(flow, "streaming"), 120, flow.tail)
        server.kill()
        time.sleep(rng.uniform(0.1, 0.5))
        server.restart()
        committed = writers.committed
        wait_for(lambda: writers.committed > committed + 50, 60, flow.tail)
        assert flow.running, flow.tail()
        writers.stop()
        flow.stop()
        flow.catch_up()
        assert_copy_is_equal(url, tmp_path / "copy.db")
        events = flow.events()
        keys = assert_each_change_came_once_and_in_order(events)
        print(f"{writers.committed} committed, {keys} rows, killed while {phases}")
        assert keys > ROWS
        assert phases.count("snapshot") >= 1
        assert phases.count("streaming") >= 5
