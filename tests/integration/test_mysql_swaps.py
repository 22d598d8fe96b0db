"""Online schema changes as tools make them, beside writers and a reader: the table's rows stay its rows."""

from __future__ import annotations

import random
import threading
import time

import pymysql
import pytest

from connectors.mysql.binlog.marks import Marks
from liberator.event import Operation
from tests.binlog import reading, rows, run
from tests.fix_mysql import connected
from tests.integration.test_mysql_binlog import play

TABLE = "create table t (id int primary key, a int not null, b varchar(40))"
ROWS = 300
#: What pt-online-schema-change has follow the table, in this order.
TRIGGERS = (
    "create trigger t_d after delete on t for each row delete from _t_new where id = old.id",
    "create trigger t_u after update on t for each row "
    "replace into _t_new (id, a, b) values (new.id, new.a, new.b)",
    "create trigger t_i after insert on t for each row "
    "replace into _t_new (id, a, b) values (new.id, new.a, new.b)",
)


class Writers:
    """Two sessions at work, a few changes to a transaction; one of them logs no more than it must."""

    def __init__(self, url):
        self.committed, self.failed = 0, []
        self._url, self._over = url, threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(2)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc):
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        assert not self.failed

    def _work(self, n):
        rng = random.Random(n)
        with connected(self._url) as db:
            if n:
                db.query("set session binlog_row_image = minimal")
            while not self._over.is_set():
                try:
                    db.begin()
                    for _ in range(rng.randint(1, 3)):
                        self._change(db, rng)
                    db.commit()
                    self.committed += 1
                except pymysql.err.OperationalError as exc:
                    if exc.args[0] not in (1205, 1213):
                        self.failed.append(exc)
                    db.rollback()
                except pymysql.MySQLError as exc:
                    self.failed.append(exc)
                    return

    def _change(self, db, rng):
        key = rng.randrange(2 * ROWS)
        match rng.randrange(4):
            case 0:
                db.query(f"insert ignore into t (id, a, b) values ({key}, 1, 'new')")
            case 1:
                db.query(f"delete from t where id = {key}")
            case _:
                db.query(f"update t set a = a + 1 where id between {key} and {key + 2}")

    def go_on(self, transactions=5):
        """Wait for some more of their transactions."""
        count, deadline = self.committed, time.monotonic() + 60
        while self.committed < count + transactions:
            assert time.monotonic() < deadline and not self.failed
            time.sleep(0.01)


def patiently(url, *statements):
    """Each until it comes through: locks of others are in its way."""
    for statement in statements:
        while True:
            try:
                run(url, statement)
                break
            except pymysql.err.OperationalError as exc:
                if exc.args[0] not in (1205, 1213):
                    raise


def change_online(url, writers):
    """What follows the table, its rows bit by bit, the swap."""
    patiently(
        url,
        "create table _t_new like t",
        "alter table _t_new add column c int not null default 5, modify column b varchar(80)",
        *TRIGGERS,
    )
    for first in range(0, 2 * ROWS, 200):
        copied = f"from t where id between {first} and {first + 199} lock in share mode"
        patiently(url, f"insert ignore into _t_new (id, a, b) select id, a, b {copied}")
    writers.go_on()
    patiently(url, "rename table t to _t_old, _t_new to t")
    writers.go_on()
    patiently(url, "drop trigger if exists t_i", "drop trigger if exists t_u", "drop trigger if exists t_d")
    patiently(url, "drop table _t_old")


@pytest.mark.parametrize(("kind", "while_reading"), [("mysql", True), ("mariadb", False)])
def test_a_swap_beside_writers_leaves_the_tables_equal(request, kind, while_reading):
    """While the table is being read, or when it has been and is streamed; the reader falls behind in the
    end, so that many rows of which not all was told have to be read at once."""
    url = request.getfixturevalue(f"{kind}_database")
    run(url, TABLE)
    with connected(url) as db:
        db.cursor().executemany("insert into t values (%s, 0, 'x')", [(n,) for n in range(ROWS)])
    sink, names = {}, set()

    def take(events):
        names.update(event.schema.table for event in events)
        play(sink, events, strict=True)

    with reading(url, chunk=50, batch=500) as binlog:
        if not while_reading:
            take(binlog.read())
        with Writers(url) as writers:
            changing = threading.Thread(target=change_online, args=(url, writers), daemon=True)
            changing.start()
            while changing.is_alive():
                take(binlog.step().events)
            writers.go_on(500)
        take(binlog.read(60))
    assert names == {"t"}
    assert rows(url, "select count(*) from t where c = 5 and a > 0")[0][0] > 20
    here = rows(url, "select id, a, b, c from t order by id")
    assert [tuple(row[name] for name in ("id", "a", "b", "c")) for _, row in sorted(sink.items())] == here


def test_ddl_right_behind_the_first_chunk_is_not_missed_by_its_rows(mysqls_database, monkeypatch):
    """A statement that waited for the chunk's reader to let go comes before the place the chunk waits for."""
    run(mysqls_database, TABLE, *(f"insert into t values ({n}, {n}, 'x')" for n in range(4)))
    high = Marks.high

    def late(marks, conn):
        if "c" not in {name for name, *_ in rows(mysqls_database, "show columns from t")}:
            run(mysqls_database, "alter table t add column c int not null default 5")
        return high(marks, conn)

    monkeypatch.setattr(Marks, "high", late)
    sink = {}
    with reading(mysqls_database, chunk=2) as binlog:
        play(sink, binlog.read())
    assert [tuple(row.values()) for row in sink.values()] == rows(
        mysqls_database, "select * from t order by id"
    )


@pytest.mark.parametrize("limits", [{"chunk": 7}, {"chunk_bytes": 300}], ids=["rows", "bytes"])
def test_more_inserts_of_which_not_all_is_told_than_a_chunk_holds_are_all_read(mysqls_database, limits):
    url = mysqls_database
    wide = "it is " * 1000  # so that the rows of one read come in more than one piece
    run(
        url,
        f"create table t (id int primary key, a int not null default 3, b varchar(8000) default '{wide}')",
    )
    with reading(url, batch=5, **limits) as binlog:
        binlog.read()
        run(
            url,
            "set session binlog_row_image = minimal",
            *(
                f"insert into t (id) values {','.join(f'({n})' for n in range(at, at + 20))}"
                for at in (1, 21)
            ),
        )
        sink = {}
        play(sink, binlog.read())
    assert sink == {n: {"id": n, "a": 3, "b": wide} for n in range(1, 41)}


def test_a_lock_delays_a_chunk_and_not_the_stream(mysqls_database):
    run(
        mysqls_database,
        "create table t (id int primary key)",
        "create table other (id int primary key)",
        "insert into t values (1)",
    )
    with reading(mysqls_database) as binlog:
        with connected(mysqls_database) as locker:
            locker.cursor().execute("lock tables t write")
            run(mysqls_database, "insert into other values (5)")
            seen = []
            deadline = time.monotonic() + 30
            while (not seen or not binlog.source._snapshots._retry_at) and time.monotonic() < deadline:
                seen += [e.key for e in binlog.step().events if e.operation is Operation.CREATE]
            assert seen == [(5,)]
            assert binlog.source._snapshots._retry_at > time.monotonic() + 1, (
                "most of the time is the stream's"
            )
        binlog.source._snapshots._retry_at = 0
        assert (1,) in [e.key for e in binlog.read()]
