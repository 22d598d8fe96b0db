"""Transactions that say where they come from, and two databases that are kept equal both ways by it."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from connectors.postgres.wal import chunks
from liberator.event import Operation
from tests.pipeline import Inline
from tests.wal import Wal, brief, reading, run, together

TABLE = "create table t (id int primary key, n int)"


def says(origin):
    return f"select pg_logical_emit_message(true, 'liberator.origin', '{origin}')"


#: One change of each kind that leaves the rows 1 to 9 otherwise than they were.
CHANGES = (
    "insert into t values (100, 100)",
    "update t set n = -1 where id = 1",
    "delete from t where id = 2",
    "update t set id = 103 where id = 3",
)


def test_changes_of_an_origin_are_passed_over_and_those_of_others_told(database):
    run(database, TABLE, "insert into t select n, n from generate_series(1, 9) n")
    with reading(database, skip_origins=["ours"], messages=["note"], snapshot="none") as wal:
        note = "select pg_logical_emit_message(true, 'note', 'of ours')"
        together(database, says("ours"), *CHANGES, note, "truncate t")
        together(database, says("theirs"), "insert into t values (1, 1)")
        run(database, "insert into t values (2, 2)")
        events = wal.read()
        assert [brief(e) for e in events] == [
            ("create", "t", {"id": 1, "n": 1}), ("create", "t", {"id": 2, "n": 2}),
        ]  # fmt: skip
        # A message outside any transaction says nothing of one.
        run(database, "select pg_logical_emit_message(false, 'liberator.origin', 'ours')")
        together(database, "insert into t values (3, 3)", says("ours"), "insert into t values (4, 4)")
        events = wal.read()
        assert [(brief(e)[2]["id"], e.ordinal, e.table_ordinal) for e in events] == [(3, 1, 1)]


def test_such_a_transaction_may_be_sent_again(database):
    run(database, TABLE)
    wal = Wal(database, skip_origins=["ours"], snapshot="none", batch=2)
    with closing(wal.open()):
        wal.read()
        before = wal.state
        together(database, says("ours"), *(f"insert into t values ({n}, 0)" for n in range(50)))
        together(database, "insert into t values (50, 0)", "insert into t values (51, 0)")
        for _ in range(2):
            target, events = wal.source.current(), []
            while not wal.source.reached(wal.state, target):
                batch = wal.source.read()
                wal.state = batch.state
                events += batch.events
            assert [(brief(e)[2]["id"], e.ordinal) for e in events] == [(50, 1), (51, 2)]
            wal.state = before
            wal.reopen()


def test_a_start_at_every_place_of_a_transaction_that_is_passed_over_from_its_middle_on(database):
    run(database, "create table t (id int primary key, big text)")
    wal = Wal(database, skip_origins=["ours"], snapshot="none", batch=2)
    with closing(wal.open()):
        wal.read()
        rows = [f"insert into t values ({n}, repeat('x', 400000))" for n in range(12)]
        together(database, *rows[:6], says("ours"), *rows[6:])
        run(database, "insert into t values (12, '')")
        target, told, starts = wal.source.current(), [], 0
        while not wal.source.reached(wal.state, target):
            batch = wal.source.read()
            if batch.events:
                told += [(brief(e)[2]["id"], e.ordinal) for e in batch.events]
                wal.state, starts = batch.state, starts + 1
                wal.reopen()
            wal.state = batch.state
    assert told == [*((n, n + 1) for n in range(6)), (12, 1)]
    assert starts > 2, "no start in its middle"


def test_rows_of_a_chunk_that_are_older_than_what_was_passed_over_are_not_told(database, monkeypatch):
    run(database, TABLE, "insert into t select n, n from generate_series(1, 9) n")
    finish = chunks.ChunkReader.finish
    held = []

    def late(reader, begun):
        chunk = finish(reader, begun)
        if not held:
            held.append(chunk)
            together(database, says("ours"), *CHANGES)
            with psycopg.connect(database) as db:
                ((chunk.high,),) = db.execute("select pg_current_wal_lsn() - '0/0'::pg_lsn").fetchall()
        return chunk

    monkeypatch.setattr(chunks.ChunkReader, "finish", late)
    with reading(database, skip_origins=["ours"]) as wal:
        events = wal.read()
    assert {e.operation for e in events} == {Operation.READ}
    assert sorted(e.key for e in events) == [(n,) for n in range(4, 10)]


@pytest.mark.parametrize("apply", ["batch", "transaction"])
def test_two_databases_are_kept_equal_both_ways(database, database2, tmp_path, apply):
    one, two = database, database2
    for url in (one, two):
        run(url, TABLE)
    source = {"type": "postgres-wal", "tables": ["public.t"], "snapshot": "none", "skip_origins": ["sync"]}
    sink = {"type": "postgres", "create": False, "origin": "sync", "apply": apply}
    sources = {"one": {**source, "url": one}, "two": {**source, "url": two}}
    sinks = {
        "into_two": {**sink, "url": two, "topics": ["one.*"]},
        "into_one": {**sink, "url": one, "topics": ["two.*"]},
    }
    with Inline(tmp_path / "run", sources, sinks) as pipeline:
        pipeline.setup()
        run(one, "insert into t values (1, 1), (2, 2)")
        run(two, "insert into t values (11, 11), (12, 12)")
        pipeline.catch_up()
        run(one, "update t set n = 110 where id = 11", "delete from t where id = 12")
        run(two, "update t set n = 10 where id = 1", "update t set id = 3 where id = 2")
        for _ in range(3):
            pipeline.catch_up()
        told = [event.operation for event in pipeline.events()]
    rows = []
    for url in (one, two):
        with psycopg.connect(url) as db:
            rows.append(db.execute("select id, n from t order by id").fetchall())
    assert rows == [[(1, 10), (3, 2), (11, 110)]] * 2
    assert len(told) == 4 + 2 + 3, "what came from the other side went back"
