"""An outbox is published exactly once, whenever its worker is killed: while it polls, marks, deletes, cleans.

A writer publishes all the time; the worker gets SIGKILL at random moments. In the end the log holds every
event once, the events of an aggregate in order, and the table what the drain leaves there.
"""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing

import psycopg
import pytest

from liberator.outbox import Outbox
from tests.fix_mysql import connected
from tests.pipeline import Pipeline

SEED = int(os.environ.get("LIBERATOR_SEED", "0")) or random.randrange(1 << 30)
KILLS = 4
OUTBOX = Outbox(versions=True)


class Publishing:
    """A writer in a thread; ``ids`` are the events of committed transactions, in order."""

    def __init__(self, connect, begin):
        self.ids = []
        self._connect, self._begin = connect, begin
        self._over = threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self):
        try:
            with closing(self._connect()) as connection:
                for number in itertools.count():
                    if self._over.is_set():
                        return
                    self._begin(connection)
                    ids = [
                        OUTBOX.publish(
                            connection,
                            aggregate_type="order",
                            aggregate_id=number % 7 * 10 + i % 10,
                            event_type="Happened",
                            payload={"number": number},
                        )
                        for i in range(1 + number % 40)
                    ]
                    connection.commit()
                    self.ids += ids
                    time.sleep(0.01)  # leaves the machine to those who are killed
        except BaseException as exc:
            self._failure = exc


def survives(tmp_path, url, connect, begin, options):
    choose = random.Random(SEED)
    source = {"type": "outbox", "url": url, "poll_interval": "10ms", "batch": 50, **options}
    with Pipeline(tmp_path / "run", {"events": source}, {}) as pipeline, Publishing(connect, begin) as writer:
        pipeline.start()
        for _ in range(KILLS):
            time.sleep(choose.uniform(0.1, 0.6))  # the moment of the kill
            pipeline.kill_worker("source:events")
        pipeline.kill_all()
    pipeline.run("run", "--until-current")
    with pipeline.log() as log:
        records = list(log.read(log.begin(), None, 1 << 30).records)
    found = [dict(record.headers)["id"].decode() for record in records]
    assert Counter(found) == Counter(writer.ids), f"LIBERATOR_SEED={SEED}"
    last = {}
    for record in records:
        version = int(dict(record.headers)["version"])
        assert version == last.get(record.key, 0) + 1, f"LIBERATOR_SEED={SEED}"
        last[record.key] = version
    return writer.ids


POLLED = [
    {"drain": "mark", "keep": 0.01},
    {"drain": "delete"},
    {"drain": "cursor", "keep": 0.01},
    {"capture": "log", "keep": 0.01},
]


@pytest.mark.parametrize("options", POLLED, ids=lambda o: o.get("drain", "log"))
def test_killed_on_postgres(tmp_path, database, options):
    with psycopg.connect(database) as db:
        db.execute(OUTBOX.ddl("postgresql", drain=options.get("drain", "log"), notify=True))
    ids = survives(tmp_path, database, lambda: psycopg.connect(database), lambda connection: None, options)
    assert len(ids) > 100
    with psycopg.connect(database) as db:
        (left,) = db.execute("select count(*) from outbox").fetchone()
        if options.get("drain") == "delete":
            assert left == 0
        if options.get("drain") == "mark":
            (open_,) = db.execute("select count(*) from outbox where published_at is null").fetchone()
            assert open_ == 0


@pytest.mark.parametrize(
    "options", [{"drain": "mark", "keep": 0.01}, {"capture": "log"}], ids=["mark", "log"]
)
def test_killed_on_mysql(tmp_path, mysql_database, options):
    with connected(mysql_database) as db:
        for statement in filter(str.strip, OUTBOX.ddl("mysql").split(";\n")):
            db.cursor().execute(statement)
    survives(tmp_path, mysql_database, lambda: connected(mysql_database).thing, lambda c: c.begin(), options)


def test_killed_on_sqlite(tmp_path):
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma journal_mode = wal")
        db.executescript(OUTBOX.ddl("sqlite"))

    def connect():
        db = sqlite3.connect(path, timeout=60, isolation_level=None)
        db.execute("pragma synchronous = off")
        return db

    options = {"drain": "mark", "keep": 0.01}
    ids = survives(tmp_path, f"sqlite:///{path}", connect, lambda db: db.execute("begin immediate"), options)
    assert len(ids) > 100
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from outbox where published_at is null").fetchone() == (0,)
