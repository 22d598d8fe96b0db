"""Snapshot and stream together: whatever is written meanwhile, replaying the events gives the table.

The model is the plainest sink: a dict, one event after the other. A partial row (unchanged TOAST) of a key
that it lacks is only allowed where the source says that the snapshot brings the row afterwards.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time

import psycopg
import pytest

from connectors.postgres.server import PostgresServer
from connectors.postgres.wal import chunks
from connectors.sqlite.sink import SqliteSink
from liberator import decoding
from liberator.errors import SourceError
from liberator.event import ABSENT, Operation, Phase
from liberator.snapshot import fill
from tests.targets import at
from tests.wal import Wal, reading, run, together

TABLE = """
create table t (id int primary key, n int, big text);
alter table t alter big set storage external;
insert into t select g, 0, repeat('x', 3000) || g from generate_series(1, 400) g;
"""


class Mirror:
    """Rows by table and key."""

    def __init__(self):
        self.rows = {}

    def apply(self, events):
        for event in events:
            rows = self.rows.setdefault(event.schema.table, {})
            if event.operation is Operation.TRUNCATE:
                rows.clear()
            elif event.operation is Operation.DELETE:
                base = rows.pop(event.key, None)
                if event.moved is not None:
                    self.moved = (event.moved, base)
            else:
                self._put(rows, event)

    def _put(self, rows, event):
        row = event.after
        if ABSENT in row:
            base = rows.get(event.key)
            if event.moved is not None and self.moved[0] == event.key:
                base = self.moved[1]
            if base is None:
                assert event.phase is Phase.AHEAD, f"a partial row that nothing completes: {event}"
                return
            row = fill(row, base)
        rows[event.key] = row


def table_of(url, table="t"):
    with psycopg.connect(url) as db:
        rows = db.execute(f"select * from {table}").fetchall()
    return {(row[0],): row for row in rows}


def scribble(url, stop, seed, keys=500, most=400):
    """Random single-row and many-row transactions until ``stop``, and no more than ``most``: on a busy
    machine writers could go on faster than anybody can read."""
    rnd = random.Random(seed)
    left = iter(range(most))
    while not stop.is_set() and left.__length_hint__():
        # two writers may meet in a unique key or a deadlock: that one's transaction is lost, as anywhere
        with contextlib.suppress(psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected):
            transactions(url, stop, rnd, keys, left)


def transactions(url, stop, rnd, keys, left):
    with psycopg.connect(url) as db:
        for _ in left:
            if stop.is_set():
                return
            for _ in range(rnd.choice((1, 1, 3, 10))):
                key = rnd.randint(1, keys)
                choice = rnd.random()
                if choice < 0.45:
                    db.execute("update t set n = n + 1 where id = %s", [key])
                elif choice < 0.6:
                    db.execute("update t set big = repeat('y', 3000) || n where id = %s", [key])
                elif choice < 0.75:
                    db.execute("delete from t where id = %s", [key])
                elif choice < 0.85:
                    db.execute(
                        "update t set id = %s where id = %s and not exists (select from t where id = %s)",
                        [(other := rnd.randint(1, keys)), key, other],
                    )
                else:
                    db.execute(
                        "insert into t values (%s, 0, repeat('z', 3000)) on conflict (id) do nothing", [key]
                    )
            if rnd.random() < 0.1:
                db.rollback()
            else:
                db.commit()


@pytest.mark.parametrize("seed", range(4))
def test_a_snapshot_under_load_ends_equal_to_the_table(database, seed):
    run(database, *TABLE.strip().split(";\n"))
    stop = threading.Event()
    writers = [threading.Thread(target=scribble, args=(database, stop, seed * 10 + n)) for n in range(3)]
    mirror = Mirror()
    wal = Wal(database, chunk=17, batch=7)
    rnd = random.Random(seed)
    for writer in writers:
        writer.start()
    try:
        wal.open()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            mirror.apply(wal.step().events)
            if rnd.random() < 0.03:
                wal.reopen()
            if wal.source.reached(wal.state, wal.state.position):
                break
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    mirror.apply(wal.read())
    wal.close()
    assert mirror.rows["t"] == table_of(database)


def test_a_snapshot_resumes_at_its_last_chunk(database):
    run(database, "create table t (id int primary key)", "insert into t select generate_series(1, 1000)")
    wal = Wal(database, chunk=100, batch=50).open()
    seen = []
    while len(seen) < 500:
        seen += [e.key[0] for e in wal.step().events]
    wal.reopen()
    rest = [e.key[0] for e in wal.read()]
    wal.close()
    assert seen + rest == list(range(1, 1001))


def test_a_chunk_that_is_given_up_takes_the_one_behind_it_along(database):
    run(database, "create table t (id int primary key)", "insert into t select generate_series(1, 1000)")
    wal = Wal(database, chunk=100, batch=30).open()
    seen = []
    marks = [30, 160, 190]  # in mid-chunk, the next one is on its way
    while len(seen) < 500:
        seen += [e.key[0] for e in wal.step().events]
        if marks and len(seen) >= marks[0]:
            del marks[0]
            wal.source._snapshots._abandon("public.t")
    rest = [e.key[0] for e in wal.read()]
    wal.close()
    assert seen + rest == list(range(1, 1001))


TYPES = """
create table t (
  id int primary key, note text, amounts numeric(9,3)[], at timestamptz, j jsonb, b bytea, f float8);
insert into t select g, case when g % 3 > 0 then E'a\\nb\\t\\\\ ' || g end, array[g / 7.0, null],
  case g % 50 when 0 then 'infinity' else '2026-01-01'::timestamptz + g * interval '1 s' end,
  jsonb_build_object('n', g), decode(lpad(to_hex(g), 8, '0'), 'hex'), g / 3.0 from generate_series(1, 3000) g
"""


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed in the middle"])
def test_rows_that_a_second_process_decodes_are_the_same(database, monkeypatch, killed):
    run(database, *TYPES.strip().split(";\n"))
    with reading(database, name="plain", second_process=False) as wal:
        wanted = [e.after for e in wal.read()]
    monkeypatch.setattr(decoding, "WORTH", 0)
    monkeypatch.setattr(decoding, "processors", lambda: 2)
    beside = []

    class Noted(decoding.Decoder):
        def take(self, number):
            if killed and len(beside) == 5:
                self.process.kill()
            rows = super().take(number)
            beside.append(rows)
            return rows

    monkeypatch.setattr(chunks, "Decoder", Noted)
    with reading(database, name="beside", chunk=100, batch=30) as wal:
        rows = [e.after for e in wal.step().events]
        while (made := wal.source._snapshots._reader) is None or made._decoder is None:
            rows += [e.after for e in wal.step().events]
        assert made._decoder._line.poll(30)
        rows += [e.after for e in wal.read()]
        assert made._decoder is None, "it ends with the snapshot"
    assert rows == wanted
    answered = [found for found in beside if found is not None]
    # Killed, it has answered a few more already.
    assert 5 <= len(answered) < 20 if killed else len(answered) > 50


def test_without_a_snapshot_a_sink_may_lack_the_row_of_a_partial_update(database, tmp_path):
    run(database, *TABLE.strip().split(";\n"))
    with reading(database, snapshot="none") as wal:
        run(database, "update t set n = 1 where id = 1", "update t set id = 1001 where id = 2")
        events = wal.read()
    assert [ABSENT in (e.after or ()) for e in events] == [True, False, True]
    assert {e.phase for e in events} == {Phase.AHEAD}
    sink = SqliteSink("replica", SqliteSink.Config(type="sqlite", url=f"sqlite:///{tmp_path / 'replica.db'}"))
    with contextlib.closing(sink):
        sink.open()
        sink.write(events)
        sink.commit(at(3))
    with contextlib.closing(sqlite3.connect(tmp_path / "replica.db")) as db:
        assert db.execute("select * from t").fetchall() == []


def test_a_condition_over_a_column_that_is_dropped_meanwhile_is_an_error(database, monkeypatch):
    monkeypatch.setattr(chunks, "_PATIENCE", 0.2)
    run(
        database,
        "create table t (id int primary key, n int)",
        "insert into t select g, g from generate_series(1, 100) g",
    )
    with reading(database, chunk=10, batch=10, where={"public.t": "n > 0"}) as wal:
        while not wal.step().events:
            pass
        run(database, "alter table t drop column n")
        with pytest.raises(SourceError, match=r'cannot read public\.t: column "n" does not exist'):
            wal.read()


@pytest.mark.parametrize("limits", [{"chunk": 7}, {"chunk_bytes": 10_000}], ids=["rows", "bytes"])
def test_more_rows_than_a_chunk_holds_that_move_to_before_it_are_all_read(database, limits):
    """Their unchanged columns are not sent, and no chunk that comes has them."""
    run(database, *TABLE.strip().split(";\n"))
    mirror = Mirror()
    with reading(database, batch=5, **limits) as wal:
        while not mirror.rows:
            mirror.apply(wal.step().events)
        run(database, "update t set id = -id where id > 350")
        mirror.apply(wal.read())
    assert mirror.rows["t"] == table_of(database)


def test_wide_rows_end_a_chunk_by_bytes(database):
    run(
        database,
        "create table t (id int primary key, big text)",
        "insert into t select g, repeat('x', 100000) from generate_series(1, 60) g",
    )
    wal = Wal(database, chunk_bytes=1_000_000).open()
    keys = [e.key[0] for e in wal.read()]
    wal.close()
    assert keys == list(range(1, 61))


def test_keys_of_several_columns_and_odd_types_are_walked_in_order(database):
    run(
        database,
        "create table t (a text, b timestamptz, c numeric(12,4), primary key (a, b, c))",
        r"insert into t select E'k\t\\n' || g % 7, '2026-01-01'::timestamptz + g * interval '1 hour', g / 3.0"
        " from generate_series(1, 300) g",
        "insert into t values ('k', 'infinity', 'NaN')",
    )
    wal = Wal(database, chunk=13).open()
    keys = [e.key for e in wal.read()]
    wal.close()
    assert len(keys) == len(set(keys)) == 301


def test_a_table_without_key_is_cut_exactly(database):
    run(
        database,
        "create table t (n int, s text)",
        "alter table t replica identity full",
        "insert into t select g % 50, repeat('x', 500) from generate_series(1, 5000) g",
    )
    stop = threading.Event()

    def write():
        rnd = random.Random(1)
        with psycopg.connect(database, autocommit=True) as db:
            while not stop.is_set():
                n = rnd.randint(0, 49)
                db.execute(
                    "update t set n = n + 1 where ctid = (select ctid from t where n = %s limit 1)", [n]
                )
                db.execute("insert into t values (%s, 'new')", [n])
                db.execute("delete from t where ctid = (select ctid from t where n = %s limit 1)", [n + 1])

    writer = threading.Thread(target=write)
    writer.start()
    bag = []
    try:
        wal = Wal(database, chunk=500, batch=100).open()
        for round_ in range(40):
            for event in wal.step().events:
                unkeyed(bag, event)
            if round_ == 20:
                wal.reopen()
    finally:
        stop.set()
        writer.join()
    for event in wal.read():
        unkeyed(bag, event)
    wal.close()
    with psycopg.connect(database) as db:
        assert sorted(bag) == sorted(db.execute("select n, s from t").fetchall())


def unkeyed(bag, event):
    """Apply an event to a list of rows; a row that is not there fails the test."""
    if event.operation is Operation.TRUNCATE:
        bag.clear()
        return
    if event.before is not None:
        bag.remove(event.before)
    if event.after is not None:
        bag.append(event.after)


def test_a_table_can_be_read_again_while_streaming_goes_on(database):
    run(database, "create table t (id int primary key, n int)", "insert into t values (1, 1), (2, 2)")
    wal = Wal(database).open()
    wal.read()
    wal.source.snapshot(7, ["public.t"])
    wal.source.snapshot(7, ["public.t"])
    run(database, "update t set n = 3 where id = 1")
    got = wal.read()
    wal.close()
    assert sorted(e.after for e in got if e.operation is Operation.READ) == [(1, 3), (2, 2)]
    assert wal.state.snapshot["signal"] == 7


@pytest.mark.parametrize("rows", [2, 10_000], ids=["between transactions", "inside a transaction"])
def test_a_commit_that_is_streamed_before_it_is_visible_is_not_overwritten(rows):
    """With synchronous replication a commit is in the WAL, and with us, before other sessions see it: a
    chunk read in between holds old rows. The absent standby holds the commit in that gap."""
    settings = {"synchronous_standby_names": "nobody", "synchronous_commit": "local"}
    with PostgresServer(settings=settings) as server:
        url = server.url()
        run(
            url,
            "create table t (id int primary key, n int, note text)",
            f"insert into t select g, 1, repeat('x', 100) from generate_series(1, {rows}) g",
        )
        wal = Wal(url, batch=100).open()
        mirror = Mirror()
        mirror.apply(wal.read())

        def hang():
            with psycopg.connect(url, autocommit=True) as db:
                db.execute("set synchronous_commit = on")
                db.execute("update t set n = 2")

        writer = threading.Thread(target=hang)
        writer.start()
        events = []
        while not events:
            events = wal.step().events
        mirror.apply(events)
        assert {n for _, n, _ in mirror.rows["t"].values()} == ({2} if rows == 2 else {1, 2})
        wal.source.snapshot(1, ["public.t"])
        for _ in range(rows // 50 + 20):
            mirror.apply(wal.step().events)
        with psycopg.connect(url, autocommit=True) as db:
            assert db.execute("select n from t where id = 1").fetchone() == (1,)  # still invisible
            db.execute("alter system set synchronous_standby_names = ''")
            db.execute("select pg_reload_conf()")
        writer.join(timeout=30)
        mirror.apply(wal.read())
        wal.close()
        assert mirror.rows["t"] == table_of(url)


def test_a_lock_delays_a_chunk_and_not_the_stream(database):
    run(
        database,
        "create table t (id int primary key)",
        "create table other (id int primary key)",
        "insert into t values (1)",
    )
    with psycopg.connect(database) as locker:
        wal = Wal(database).open()
        locker.execute("lock table t in access exclusive mode")
        run(database, "insert into other values (5)")
        events = []
        deadline = time.monotonic() + 20
        while (not events or not wal.source._snapshots._retry_at) and time.monotonic() < deadline:
            events += [e for e in wal.step().events if e.operation is Operation.CREATE]
        assert [e.key for e in events] == [(5,)]
        assert wal.source._snapshots._retry_at > time.monotonic() + 1, "most of the time is the stream's"
        wal.source._snapshots._retry_at = 0
    assert [e.key for e in wal.read() if e.schema.table == "t"] == [(1,)]
    wal.close()


def test_a_rewrite_between_chunks_is_read_again_under_the_new_columns(database):
    run(
        database,
        "create table t (id int primary key, n int)",
        "insert into t select g, g from generate_series(1, 100) g",
    )
    wal = Wal(database, chunk=10, batch=10).open()
    mirror = Mirror()
    for _ in range(8):
        mirror.apply(wal.step().events)
    together(
        database,
        "alter table t alter n type text using 'n' || n",
        "update t set n = 'changed' where id = 5",
    )
    mirror.apply(wal.read())
    wal.close()
    assert mirror.rows["t"] == table_of(database)
