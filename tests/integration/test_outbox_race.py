"""The commit race: ids are taken early and committed late, and no reader of ours may lose a row by it.

Eight writers publish, wait at random between taking an id and committing, and sometimes roll back. However
the outbox is drained, every committed event is in the log once, none that was rolled back, and the events
of an aggregate are in their order. A reader that simply follows ``id > last`` loses rows of the same work:
otherwise the test would prove nothing. ``LIBERATOR_SEED`` repeats a run's choices.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing

import psycopg
import pytest

from connectors.sql.outbox.source import OutboxSource
from liberator.message import Message
from liberator.outbox import Outbox, uuid7
from tests.fix_mysql import connected

WRITERS = 8
SEED = int(os.environ.get("LIBERATOR_SEED", "0")) or random.randrange(1 << 30)
OUTBOX = Outbox(versions=True)
#: The long runs have no versions, and all rows of a transaction but the first come with one statement: what
#: is raced for is the time between the first number and the commit.
PLAIN = Outbox()
ROW = "insert into outbox (event_id, aggregate_type, aggregate_id, event_type, payload) values "


class Writers:
    """Writers in threads; ``committed`` holds the ids of the events of committed transactions."""

    def __init__(self, connect, begin, rows):
        self._connect, self._begin = connect, begin
        self._outbox = PLAIN if rows == ALL_ROWS else OUTBOX
        self._left = rows
        self._lock = threading.Lock()
        self.committed: list[str] = []
        self.rolled_back: list[str] = []
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(SEED + i), i)) for i in range(WRITERS)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc):
        for thread in self._threads:
            thread.join()

    @property
    def running(self):
        return any(thread.is_alive() for thread in self._threads)

    def _work(self, choose, number):
        try:
            with closing(self._connect()) as connection:
                sizes = (1, 5, 50, 150) if self._outbox is PLAIN else (1, 1, 5, 40)
                while self._take(size := choose.choice(sizes)):
                    self._transaction(connection, choose, number, size)
        except BaseException as exc:
            self.failures.append(exc)

    def _take(self, size):
        with self._lock:
            self._left -= size
            return self._left > -size

    def _transaction(self, connection, choose, number, size):
        ids = []
        self._begin(connection)
        alone = 1 if self._outbox is PLAIN else size
        # Of its own aggregates a writer publishes at most one event each: nobody waits for a lock for long.
        for i in range(alone):
            ids.append(
                self._outbox.publish(
                    connection,
                    aggregate_type="order",
                    aggregate_id=f"{number}-{choose.randrange(50)}"
                    if i
                    else f"shared-{choose.randrange(400)}",
                    event_type="Happened",
                    payload={"writer": number},
                )
            )
        time.sleep(choose.choice((0, 0, 0.002, 0.005)))
        if rest := [uuid7() for _ in range(size - alone)]:
            rows = ", ".join(
                f"('{id_}', 'order', '{number}-{i}', 'Happened', '{{}}')" for i, id_ in enumerate(rest)
            )
            connection.cursor().execute(ROW + rows)
            ids += rest
        if choose.random() < 0.15:
            connection.rollback()
            self.rolled_back += ids
        else:
            connection.commit()
            self.committed += ids


def naive(fetch, writers):
    """What a reader sees that asks for ``id > last``."""
    seen, last = [], 0
    while True:
        over = not writers.running
        rows = fetch(f"select id, event_id from outbox where id > {last} order by id limit 500")
        if rows:
            last = rows[-1][0]
            seen += [str(identity) for _, identity in rows]
        elif over:
            return seen


def ours(url, writers, **options):
    """The messages that the source gives, opened anew in between as after a crash."""
    config = OutboxSource.Config(type="outbox", url=url, poll_interval="5ms", batch=300, **options)
    choose = random.Random(SEED)
    messages, state = [], None
    while True:
        source = OutboxSource("race", config)
        try:
            over = not writers.running
            target = source.current()
            source.open(state)
            for _ in range(choose.randrange(5, 60) if not over else 1 << 30):
                batch = source.read()
                messages += [Message._make(event.after) for event in batch.events]
                state = batch.state
                if choose.random() < 0.7 or over:
                    source.confirm(state.position)
                if over and source.reached(state, target) and not batch.open:
                    return messages
        finally:
            source.close()


def in_background(function, *arguments, **options):
    result = {}

    def run():
        try:
            result["value"] = function(*arguments, **options)
        except BaseException as exc:
            result["failure"] = exc

    thread = threading.Thread(target=run)
    thread.start()

    def join():
        thread.join()
        if "failure" in result:
            raise result["failure"]
        return result["value"]

    return join


def race(connect, begin, url, rows, fetch=None, **options):
    """Run writers and readers side by side; hold what was read against what was committed."""
    with Writers(connect, begin, rows) as writers:
        joins = [in_background(ours, url, writers, **options)]
        if fetch is not None:
            joins.append(in_background(naive, fetch, writers))
    results = [join() for join in joins]
    assert writers.failures == [], f"LIBERATOR_SEED={SEED}"
    messages = results[0]
    found = Counter(message.id for message in messages)
    assert found == Counter(writers.committed), f"LIBERATOR_SEED={SEED}"
    assert not set(found) & set(writers.rolled_back)
    assert writers.rolled_back
    versions = {}
    for message in messages:
        if message.version is None:
            break
        key = message.aggregate_id
        assert message.version > versions.get(key, 0), f"{key} out of order, LIBERATOR_SEED={SEED}"
        versions[key] = message.version
    if fetch is not None:
        lost = set(writers.committed) - set(results[1])
        assert lost, f"the naive reader lost nothing: this was no race, LIBERATOR_SEED={SEED}"


ALL_ROWS, SOME_ROWS = 20_000, 2_000


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"drain": "mark"}, ALL_ROWS),
        ({"drain": "delete"}, SOME_ROWS),
        ({"drain": "cursor"}, SOME_ROWS),
        ({"capture": "log"}, SOME_ROWS),
    ],
    ids=["mark", "delete", "cursor", "log"],
)
def test_no_event_is_lost_to_a_late_commit_on_postgres(database, options, rows):
    with psycopg.connect(database) as db:
        db.execute(OUTBOX.ddl("postgresql", drain=options.get("drain", "log")))
    with psycopg.connect(database, autocommit=True) as reader:
        race(
            lambda: psycopg.connect(database),
            lambda connection: None,
            database,
            rows,
            None if options.get("drain") == "delete" else lambda sql: reader.execute(sql).fetchall(),
            **options,
        )


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"drain": "mark"}, SOME_ROWS),
        ({"drain": "delete"}, SOME_ROWS),
        ({"drain": "cursor"}, ALL_ROWS),
        ({"capture": "log"}, SOME_ROWS),
    ],
    ids=["mark", "delete", "cursor", "log"],
)
def test_no_event_is_lost_to_a_late_commit_on_mysql(mysql_database, options, rows):
    race_on_mysql(mysql_database, options, rows)


def test_no_event_is_lost_to_a_late_commit_on_mariadb(mariadb_database):
    race_on_mysql(mariadb_database, {"drain": "cursor"}, ALL_ROWS)


def race_on_mysql(url, options, rows):
    with connected(url) as db:
        for statement in filter(
            str.strip, OUTBOX.ddl("mysql", drain=options.get("drain", "log")).split(";\n")
        ):
            db.cursor().execute(statement)
    with connected(url) as reader:

        def fetch(sql):
            cursor = reader.cursor()
            cursor.execute(sql)
            return cursor.fetchall()

        race(
            lambda: connected(url).thing,
            lambda connection: connection.begin(),
            url,
            rows,
            None if options.get("drain") == "delete" else fetch,
            **options,
        )


@pytest.mark.parametrize(
    ("drain", "rows"), [("mark", ALL_ROWS), ("delete", SOME_ROWS), ("cursor", SOME_ROWS)]
)
def test_no_event_is_lost_to_a_late_commit_in_sqlite(tmp_path, drain, rows):
    """There is one writer at a time, so even the naive reader loses nothing here."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma journal_mode = wal")
        db.executescript(OUTBOX.ddl("sqlite", drain=drain))

    def connect():
        connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        connection.execute("pragma synchronous = off")
        return connection

    race(
        connect,
        lambda connection: connection.execute("begin immediate"),
        f"sqlite:///{path}",
        rows,
        drain=drain,
    )
