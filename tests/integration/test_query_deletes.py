"""Deletes are found by comparing keys: all of them, and nothing else."""

from __future__ import annotations

import sqlite3
import threading
import time

import psycopg
import pytest

from connectors.sql.query import reconcile
from connectors.sql.query.source import QuerySource
from liberator.event import Operation
from liberator.source import Source
from tests.fix_mysql import connected


def source(url, directory, **options) -> Source:
    given = {
        "type": "query", "url": url, "tables": ["*orders"], "poll_interval": 0.05, "mode": "incrementing",
        "incrementing_column": "id", "state_directory": directory, **options,
    }  # fmt: skip
    return QuerySource("shop", QuerySource.Config(**given))


def read_until(opened, done, timeout=240):
    """Events until ``done`` says so of the newest of them, confirmed as they come."""
    events = []
    deadline = time.monotonic() + timeout
    while True:
        batch = opened.read()
        if len(batch.events) < MANY:
            events += batch.events
        opened.confirm(batch.state.position)
        if done(batch.events, batch.state):
            return events, batch.state
        assert time.monotonic() < deadline


#: A batch of so many events is of the first rows.
MANY = 50_000


def searched(state):
    return state.snapshot.get("reconciled", 0)


def test_a_hundred_deletes_among_a_million_rows_are_found_while_writes_go_on(database, tmp_path):
    with psycopg.connect(database) as db:
        db.execute("create table orders (id bigserial primary key, note text)")
        db.execute("insert into orders (note) select 'n' from generate_series(1, 1000000)")
    opened = source(database, tmp_path, deletes={"reconcile": "1s"}, commit_column="none", batch=MANY)
    opened.open(None)
    stop = threading.Event()
    gone = set(range(5_000, 1_000_000, 9_950))
    assert len(gone) == 100

    def write():
        """New rows, rows that come and go, rows that go and come back with the same key, changed rows."""
        with psycopg.connect(database, autocommit=True) as db:
            number = 0
            while not stop.is_set():
                number += 1
                db.execute("insert into orders (note) values ('new')")
                key = 1 + number * 7919 % 1_000_000
                if key not in gone:
                    db.execute("update orders set note = 'changed' where id = %s", [key])
                    with db.transaction():
                        db.execute("delete from orders where id = %s", [key])
                        db.execute("insert into orders values (%s, 'back')", [key])
                with db.transaction(force_rollback=True):
                    db.execute("delete from orders where id = %s", [key + 1])
                time.sleep(0.002)  # leaves the machine to the reader

    try:
        read_until(opened, lambda _, state: opened.reached(state, state.position))
        writer = threading.Thread(target=write)
        writer.start()
        with psycopg.connect(database) as db:
            db.execute("delete from orders where id = any(%s)", [sorted(gone)])
        # A search that was under way may have passed some of them: they are the next one's.
        found, deleted_at = set(), opened.current().major

        def done(events, state):
            if len(events) < MANY:
                found.update(e.key[0] for e in events if e.operation is Operation.DELETE)
            return found >= gone and searched(state) > deleted_at

        events, _ = read_until(opened, done)
    finally:
        stop.set()
        writer.join()
        opened.close()
    deletes = [e.key[0] for e in events if e.operation is Operation.DELETE]
    assert sorted(deletes) == sorted(gone)


@pytest.mark.parametrize("key", ["text", "uuid", "(int, text)"])
def test_keys_that_are_no_integers_are_compared_too(database, tmp_path, key):
    columns = {
        "text": ("code text primary key", "'k' || i"),
        "uuid": ("code uuid primary key", "md5(i::text)::uuid"),
        "(int, text)": ("a int, b text, primary key (a, b)", "i % 7, 'k' || i"),
    }[key]
    with psycopg.connect(database) as db:
        db.execute(f"create table orders (id bigserial, {columns[0]})")
        names = "a, b" if "a int" in columns[0] else "code"
        db.execute(f"insert into orders ({names}) select {columns[1]} from generate_series(1, 2000) i")
    opened = source(database, tmp_path, deletes={"reconcile": "1ms"}, commit_column="none", batch=300)
    opened.open(None)
    try:
        read_until(opened, lambda _, state: opened.reached(state, state.position))
        with psycopg.connect(database) as db:
            rows = db.execute(
                f"delete from orders where id in (1, 700, 1999, 2000) returning {names}"
            ).fetchall()
        asked = opened.current().major
        events, _ = read_until(opened, lambda _, state: searched(state) > asked)
    finally:
        opened.close()
    expected = {tuple(str(v) if key == "uuid" else v for v in row) for row in rows}
    assert {e.key for e in events if e.operation is Operation.DELETE} == expected
    assert len(events) == 4


def test_a_range_is_halved_until_the_missing_keys_are_found(tmp_path, monkeypatch):
    """SQLite, ranges of a few rows: every size of what is left, at both ends."""
    monkeypatch.setattr(reconcile, "RANGE", 16)
    monkeypatch.setattr(reconcile, "LISTED", 2)
    path = tmp_path / "shop.db"
    db = sqlite3.connect(path)
    with db:
        db.execute("create table orders (id integer primary key autoincrement, note text)")
        db.executemany("insert into orders (note) values (?)", [("n",)] * 100)
    opened = source(f"sqlite:///{path}", tmp_path, deletes={"reconcile": "1ms"})
    opened.open(None)
    left = set(range(1, 101))
    try:
        read_until(opened, lambda _, state: opened.reached(state, state.position))
        for wanted in ({1, 100}, {2, 3, 50, 51, 52, 99}, {16, 17, 32, 33}, left - {40}, {40}):
            gone = wanted & left
            with db:
                db.executemany("delete from orders where id = ?", [(key,) for key in gone])
            left -= gone
            asked = opened.current().major
            events, _ = read_until(opened, lambda _, state, asked=asked: searched(state) > asked)
            assert sorted(e.key[0] for e in events) == sorted(gone)
            assert {e.operation for e in events} == {Operation.DELETE}
    finally:
        opened.close()
        db.close()


def test_deletes_are_found_on_mysql_and_mariadb(mysqls_database, tmp_path):
    with connected(mysqls_database) as db, db.cursor() as cursor:
        cursor.execute("create table orders (id int primary key auto_increment, note text)")
        cursor.execute("insert into orders (note) values " + ", ".join(["('n')"] * 2000))
        opened = source(mysqls_database, tmp_path, deletes={"reconcile": "1ms"})
        opened.open(None)
        try:
            read_until(opened, lambda _, state: opened.reached(state, state.position))
            cursor.execute("delete from orders where id in (7, 1000, 1999)")
            now = opened.current().major
            events, _ = read_until(opened, lambda _, state: searched(state) > now)
        finally:
            opened.close()
    assert [e.key[0] for e in events if e.operation is Operation.DELETE] == [7, 1000, 1999]
