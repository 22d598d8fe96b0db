"""Two databases that are kept equal both ways, by triggers: what a sink writes does not come back."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from connectors.sql.trigger.snapshots import TriggerSnapshots
from tests.fix_mysql import connected
from tests.pipeline import Inline
from tests.triggers import Reading, make


@pytest.mark.parametrize("target", ["postgres", "mysql"])
def test_what_a_sink_wrote_is_left_out_by_its_origin(database, mysqls_database, tmp_path, target):
    here, there = (database, mysqls_database) if target == "postgres" else (mysqls_database, database)
    with (
        closing(psycopg.connect(database, autocommit=True)) as one,
        closing(connected(mysqls_database).thing) as other,
        other.cursor() as two,
    ):
        for execute in (one.execute, two.execute):
            execute("create table orders (id bigint primary key, n integer)")
        make(here, "*.orders").setup()
        write, seen = (two.execute, one.execute) if target == "postgres" else (one.execute, two.execute)
        source = {"type": "trigger", "url": there, "tables": ["*.orders"]}
        sink = {"type": target, "url": here, "create": False, "origin": "the other's"}
        with Inline(tmp_path / "run", {"other": source}, {"copy": sink}) as pipeline:
            write("insert into orders values (1, 10), (2, 20)")
            pipeline.catch_up()
            write("update orders set n = 11 where id = 1")
            write("delete from orders where id = 2")
            pipeline.catch_up()
        seen("insert into orders values (3, 30)")
        with Reading(here, "*.orders", snapshot="none", purge=False) as reading:
            found = {(e.key, e.transaction.origin[1]) for e in reading.read()}
        assert found == {((1,), "the other's"), ((2,), "the other's"), ((3,), None)}
        with Reading(here, "*.orders", snapshot="none", skip_origins=["the other's"]) as reading:
            assert [e.after for e in reading.read()] == [(3, 30)]


def test_rows_of_a_chunk_that_are_older_than_what_is_left_out_are_not_told(database, monkeypatch):
    read = TriggerSnapshots._read
    held = []

    def late(snapshots, reader, name, version):
        chunk = read(snapshots, reader, name, version)
        if not held:
            held.append(chunk)
            with db.transaction():
                db.execute("set local liberator.origin = 'ours'")
                db.execute("insert into t values (100, 100)")
                db.execute("update t set n = -1 where id = 1")
                db.execute("delete from t where id = 2")
                db.execute("update t set id = 103 where id = 3")
            with db.transaction():
                db.execute("insert into t values (10, 10)")
                db.execute("set local liberator.origin = 'ours'")
                db.execute("insert into t values (101, 101)")
                db.execute("set local liberator.origin = ''")
                db.execute("insert into t values (11, 11)")
            chunk.high += 7
        return chunk

    monkeypatch.setattr(TriggerSnapshots, "_read", late)
    with closing(psycopg.connect(database, autocommit=True)) as db:
        db.execute("create table t (id int primary key, n int)")
        db.execute("insert into t select n, n from generate_series(1, 9) n")
        with Reading(database, "public.t", skip_origins=["ours"], chunk=50) as reading:
            events = reading.read()
    told = [(e.operation.name, e.key[0], e.ordinal, e.table_ordinal) for e in events]
    assert told[:2] == [("CREATE", 10, 1, 1), ("CREATE", 11, 2, 2)]
    assert sorted(told[2:]) == [("READ", n, 0, 0) for n in range(4, 10)]
