"""The WAL source on a real server: what pgoutput can say, DDL in mid-stream, gaps, set-up."""

from __future__ import annotations

import pkgutil
import time

import psycopg
import pytest

from connectors.postgres.wal.replication import ReplicationStream
from liberator.errors import ConfigError, PositionLost, SourceError
from liberator.event import ABSENT, Operation, Phase, Position
from liberator.source import State
from tests.targets import PostgresTarget, SqliteTarget
from tests.wal import Wal, brief, reading, run, together

ORDERS = "create table orders (id bigint primary key, note text, big text)"


@pytest.fixture
def orders(database):
    run(database, ORDERS, "alter table orders alter big set storage external")
    return database


def test_updates_and_deletes_carry_what_the_replica_identity_sends(orders):
    with reading(orders, snapshot="none") as wal:
        run(
            orders,
            "insert into orders values (1, 'a', 'b')",
            "update orders set note = 'c' where id = 1",
            "delete from orders where id = 1",
        )
        create, update, delete = wal.read()
    assert (create.before, create.after) == (None, (1, "a", "b"))
    assert (update.before, update.after) == (None, (1, "c", "b"))
    assert (delete.before, delete.after) == ((1, ABSENT, ABSENT), None)
    assert delete.key == (1,)


def test_replica_identity_full_sends_the_whole_old_row(orders):
    run(orders, "alter table orders replica identity full")
    with reading(orders, snapshot="none") as wal:
        run(
            orders,
            "insert into orders values (1, 'a', null)",
            "update orders set note = 'c'",
            "delete from orders",
        )
        _, update, delete = wal.read()
    assert (update.before, update.after) == ((1, "a", None), (1, "c", None))
    assert delete.before == (1, "c", None)
    assert update.schema.key == (0,)


def test_replica_identity_index_makes_its_columns_the_key(database):
    run(
        database,
        "create table t (id int primary key, code text not null, n int)",
        "create unique index t_code on t (code)",
        "alter table t replica identity using index t_code",
    )
    with reading(database, snapshot="none") as wal:
        run(
            database,
            "insert into t values (1, 'x', 1)",
            "update t set n = 2",
            "update t set code = 'y'",
            "delete from t",
        )
        events = wal.read()
    assert [e.operation.name for e in events] == ["CREATE", "UPDATE", "DELETE", "CREATE", "DELETE"]
    assert [e.key for e in events] == [("x",), ("x",), ("x",), ("y",), ("y",)]


def test_a_table_without_identity_is_refused_before_it_could_break_its_writers(database):
    run(database, "create table bare (n int)", ORDERS)
    wal = Wal(database)
    with pytest.raises(ConfigError) as caught:
        wal.open()
    assert "public.bare has no replica identity" in str(caught.value)
    assert "replica identity full" in caught.value.hint
    wal.close()
    run(database, "insert into bare values (1)", "update bare set n = 2", "delete from bare")
    assert any(f.check == "replica identity" and f.level == "error" for f in wal.make().check())


def test_inserts_of_a_table_without_identity_can_be_captured_alone(database):
    run(database, "create table bare (n int)", ORDERS, "insert into bare values (1)")
    with reading(database, without_identity="insert_only") as wal:
        assert wal.briefs() == [("read", "bare", {"n": 1})]
        run(
            database,
            "insert into bare values (2)",
            "update bare set n = 3",
            "delete from bare",
            "insert into orders values (1)",
            "truncate bare",
        )
        got = wal.briefs()
    assert got == [
        ("create", "bare", {"n": 2}),
        ("create", "orders", {"id": 1, "note": None, "big": None}),
        ("truncate", "bare", None),
    ]


def test_unchanged_toast_is_absent_and_not_null(orders):
    with reading(orders, snapshot="none") as wal:
        run(
            orders,
            "insert into orders values (1, 'a', repeat('x', 100000))",
            "update orders set note = 'b'",
            "update orders set big = null",
        )
        create, update, nulled = wal.read()
    assert len(create.after[2]) == 100000
    assert update.after == (1, "b", ABSENT)
    assert nulled.after == (1, "b", None)


def test_a_key_change_is_a_linked_delete_and_create_in_one_transaction(orders):
    with reading(orders, snapshot="none") as wal:
        run(orders, "insert into orders values (1, 'a', repeat('x', 100000))", "update orders set id = 2")
        _, delete, create = wal.read()
    assert (delete.operation, delete.key, delete.moved) == (Operation.DELETE, (1,), (2,))
    assert (create.operation, create.key, create.moved) == (Operation.CREATE, (2,), (1,))
    assert create.after == (2, "a", ABSENT)
    assert delete.transaction is create.transaction
    assert (delete.ordinal, create.ordinal) == (1, 2)


def test_a_toasted_key_that_did_not_change_is_no_key_change(database):
    run(
        database,
        "create table t (id text primary key, n int)",
        "alter table t alter id set storage external",
    )
    with reading(database, snapshot="none") as wal:
        key = "k" * 2500
        run(database, f"insert into t values ('{key}', 1)", "update t set n = 2")
        create, update = wal.read()
    assert update.operation is Operation.UPDATE
    assert create.key == update.key == (key,)
    assert update.after == (key, 2)


def test_truncate_is_an_event_for_each_table(database):
    run(database, "create table a (id int primary key)", "create table b (id int primary key references a)")
    with reading(database, snapshot="none") as wal:
        run(database, "truncate a, b restart identity cascade")
        assert sorted(wal.briefs()) == [("truncate", "a", None), ("truncate", "b", None)]


def test_partitions_arrive_under_their_root(database):
    run(
        database,
        "create table m (id int, day date, primary key (id, day)) partition by range (day)",
        "create table m1 partition of m for values from ('2026-01-01') to ('2026-02-01')",
        "create table m2 partition of m for values from ('2026-02-01') to ('2026-03-01')",
        "insert into m values (1, '2026-01-05'), (2, '2026-02-05')",
    )
    with reading(database) as wal:
        assert [b[:2] for b in wal.briefs()] == [("read", "m"), ("read", "m")]
        run(
            database, "insert into m values (3, '2026-01-06')", "update m set day = '2026-02-06' where id = 3"
        )
        assert [b[:2] for b in wal.briefs()] == [("create", "m"), ("delete", "m"), ("create", "m")]


PARTED = (
    "create table m (id int, part int, note text, primary key (id, part)) partition by list (part)",
    "create table m1 partition of m for values in (1)",
    "create table loose (id int, part int, note text, primary key (id, part))",
    "alter table loose alter note set storage external",
    "insert into m values (1, 1, 'a')",
    "insert into loose values (2, 2, repeat('b', 5000))",
)
ATTACH = "alter table m attach partition loose for values in (2)"


@pytest.mark.parametrize("when", ["while we read", "while we are away"])
def test_rows_that_a_partition_brings_along_are_read(database, when):
    run(database, *PARTED)
    wal = Wal(database, tables=["public.m"]).open()
    assert [b[2]["id"] for b in wal.briefs()] == [1]
    if when == "while we are away":
        wal.close()
        run(database, ATTACH)
        wal.open()
        events = wal.read()
    else:
        # A row that no sink has is changed before it is read, its long text is not sent.
        run(database, ATTACH, "update m set id = 3 where id = 2")
        events = wal.read()
        assert [(e.operation, e.phase) for e in events][:2] == [
            (Operation.DELETE, Phase.AHEAD),
            (Operation.CREATE, Phase.AHEAD),
        ]
    rows = {e.key: e.after for e in events if e.operation is Operation.READ}
    with psycopg.connect(database) as db:
        assert sorted(rows.values()) == sorted(db.execute("select * from m").fetchall())
    wal.reopen()
    assert wal.read() == []
    wal.close()


def test_a_partition_that_is_made_as_one_has_nothing_read_again(database):
    run(database, *PARTED)
    wal = Wal(database, tables=["public.m"]).open()
    wal.read()
    run(database, "create table m4 partition of m for values in (4)", "insert into m values (4, 4, 'd')")
    assert [b[0] for b in wal.briefs()] == ["create"]
    wal.close()
    run(database, "create table m5 partition of m for values in (5)", "insert into m values (5, 5, 'e')")
    wal.open()
    assert [b[0] for b in wal.briefs()] == ["create"]
    wal.close()


@pytest.mark.parametrize("prefixed", [True, False])
def test_logical_messages_of_a_configured_prefix_are_events(orders, prefixed):
    with reading(orders, snapshot="none", messages=["outbox"] if prefixed else []) as wal:
        together(
            orders,
            "insert into orders values (1)",
            "select pg_logical_emit_message(true, 'outbox', 'hello')",
            "select pg_logical_emit_message(true, 'other', 'not for us')",
        )
        run(orders, "select pg_logical_emit_message(false, 'outbox', 'alone')")
        events = wal.read()
    messages = [e for e in events if e.topic == "wal.message.outbox"]
    assert [m.after for m in messages] == (
        [("outbox", b"hello", True), ("outbox", b"alone", False)] if prefixed else []
    )
    assert len(events) == 1 + len(messages)


def test_a_message_outside_transactions_comes_once_however_often_the_source_restarts(orders):
    wal = Wal(orders, snapshot="none", messages=["outbox"]).open()
    for number in range(3):
        run(orders, f"select pg_logical_emit_message(false, 'outbox', 'm{number}')")
        run(orders, f"insert into orders values ({number})")
        got = [e.after for e in wal.read()]
        assert got == [("outbox", b"m%d" % number, False), (number, None, None)]
        wal.reopen()
    assert wal.read() == []
    wal.close()


def test_behind_a_message_outside_transactions_the_next_transaction_is_whole(orders):
    """The message ends where the commit of its own transaction begins: two things, so two places."""
    wal = Wal(orders, snapshot="none", messages=["outbox"]).open()
    wal.read()
    together(
        orders, "insert into orders values (1), (2)", "select pg_logical_emit_message(false, 'outbox', 'x')"
    )
    events = []
    while len(events) < 3:
        batch = wal.source.read()  # and not confirmed, as if a crash came before that
        events += batch.events
    message, *rows = events
    assert message.after[0] == "outbox" and [e.after[0] for e in rows] == [1, 2]
    assert message.transaction.origin[1] == rows[0].position.major
    kept = wal.state
    wal.close()
    wal.state = State(message.position, kept.identity, kept.snapshot, kept.schemas)
    wal.open()
    assert [e.after[0] for e in wal.read()] == [1, 2]
    wal.close()


def test_columns_change_at_their_place_in_the_stream(orders):
    with reading(orders, snapshot="none", reread_after_ddl=False) as wal:
        run(
            orders,
            "insert into orders values (1, 'a')",
            "alter table orders add column extra int default 7",
            "insert into orders values (2, 'b')",
            "alter table orders drop column big",
            "insert into orders values (3, 'c')",
            "alter table orders rename column note to remark",
            "insert into orders values (4, 'd')",
            "alter table orders alter extra type text",
            "insert into orders values (5, 'e', 'f')",
        )
        events = wal.read()
    assert [e.after for e in events] == [
        (1, "a", None),
        (2, "b", None, 7),
        (3, "c", 7),
        (4, "d", 7),
        (5, "e", "f"),
    ]
    assert [e.schema.names for e in events] == [
        ("id", "note", "big"),
        ("id", "note", "big", "extra"),
        ("id", "note", "extra"),
        ("id", "remark", "extra"),
        ("id", "remark", "extra"),
    ]
    assert len({e.schema.fingerprint for e in events}) == 5


def test_ddl_that_fills_existing_rows_has_the_table_read_again(orders):
    with reading(orders) as wal:
        run(orders, "insert into orders values (1, 'a'), (2, 'b')")
        wal.read()
        run(orders, "alter table orders add column extra int default 7", "insert into orders values (3)")
        got = wal.briefs()
    assert got[0] == ("create", "orders", {"id": 3, "note": None, "big": None, "extra": 7})
    assert [(op, values["id"], values["extra"]) for op, _, values in got[1:]] == [
        ("read", 1, 7),
        ("read", 2, 7),
        ("read", 3, 7),
    ]


def test_a_column_without_default_needs_no_second_reading(orders):
    with reading(orders) as wal:
        run(orders, "insert into orders values (1, 'a')")
        wal.read()
        run(orders, "alter table orders add column extra int", "insert into orders values (2)")
        assert [b[0] for b in wal.briefs()] == ["create"]


def test_an_enum_label_that_is_added_later_is_understood(database):
    run(database, "create type mood as enum ('ok')", "create table t (id int primary key, m mood)")
    with reading(database, snapshot="none") as wal:
        run(database, "insert into t values (1, 'ok')")
        wal.read()
        run(database, "alter type mood add value 'new'", "insert into t values (2, 'new')")
        (event,) = wal.read()
    assert event.after == (2, "new")
    assert event.schema.columns[1].type.values == ("ok", "new")


def test_an_enum_label_that_was_renamed_since_is_read_as_it_was(database):
    run(database, "create type mood as enum ('old')", "create table t (id int primary key, m mood)")
    wal = Wal(database, snapshot="none").open()
    wal.close()
    run(database, "insert into t values (1, 'old')", "alter type mood rename value 'old' to 'new'")
    run(database, "insert into t values (2, 'new')")
    wal.open()
    assert [e.after for e in wal.read()] == [(1, "old"), (2, "new")]
    wal.close()


def test_a_relation_that_was_dropped_since_is_decoded_from_the_stream_alone(orders):
    wal = Wal(orders, snapshot="none", tables=["public.*"]).open()
    run(orders, "create table other (id int primary key)")
    wal.close()
    run(orders, "insert into orders values (1, 'a', 'b')", "drop table orders")
    wal.open()
    (event,) = wal.read()
    assert event.after == (1, "a", "b")
    assert event.schema.key == (0,)
    wal.close()


def test_hostile_names_pass_through(database):
    table = 'sel"ect %s {x} ü'
    column = "o'rder; drop"
    quoted = table.replace('"', '""')
    run(
        database,
        f'create table "{quoted}" ("{column}" int primary key, "group" text)',
        f"""insert into "{quoted}" values (1, E'tab\\t nl\\n back\\\\ \\\\N end')""",
    )
    with reading(database, tables=["public.*"]) as wal:
        (read,) = wal.read()
        run(database, f"""insert into "{quoted}" values (2, E'tab\\t nl\\n back\\\\ \\\\N end')""")
        (create,) = wal.read()
    assert read.after[1] == create.after[1] == "tab\t nl\n back\\ \\N end"
    assert read.topic == f"wal.public.{table}"
    assert read.schema.names == (column, "group")


def test_new_tables_that_match_join_in_without_a_restart(orders, monkeypatch):
    monkeypatch.setattr("connectors.postgres.wal.source._TABLES", 0.05)
    with reading(orders) as wal:
        wal.read()
        run(orders, "create table later (id int primary key)", "insert into later values (1)")
        deadline = time.monotonic() + 10
        events = []
        while not events and time.monotonic() < deadline:
            events += wal.step().events
        assert [brief(e) for e in events] == [("read", "later", {"id": 1})]
        run(orders, "insert into later values (2)")
        assert wal.briefs() == [("create", "later", {"id": 2})]


def test_a_table_that_is_dropped_and_made_again_is_emptied_and_read(orders):
    wal = Wal(orders).open()
    run(orders, "insert into orders values (1)")
    wal.read()
    wal.close()
    run(orders, "drop table orders", ORDERS, "insert into orders values (2)")
    wal.open()
    assert [(op, v and v["id"]) for op, _, v in wal.briefs()] == [("truncate", None), ("read", 2)]
    wal.close()


def test_a_table_with_column_list_and_row_filter_is_the_same_in_snapshot_and_stream(orders):
    run(orders, "insert into orders values (1, 'keep', 'x'), (2, 'drop', 'y')")
    options = {
        "columns": {"public.orders": ["id", "note"]},
        "filter": {"public.orders": "id <> 2 and id <> 4"},
    }
    with reading(orders, **options) as wal:
        events = wal.read()
        run(orders, "insert into orders values (3, 'keep', 'x'), (4, 'drop', 'y')")
        events += wal.read()
    assert sorted(e.after for e in events) == [(1, "keep"), (3, "keep")]


# -- positions, gaps ----------------------------------------------------------------------------------


def test_resuming_inside_a_transaction_loses_and_doubles_nothing(orders):
    wal = Wal(orders, snapshot="none", batch=10).open()
    wal.step()
    # More than one read of the socket can bring: at a cut the position is inside the transaction.
    together(orders, *[f"insert into orders values ({n}, repeat('x', 1500))" for n in range(500)])
    got, cuts = [], 0
    while len(got) < 500:
        batch = wal.step()
        got += [e.after[0] for e in batch.events]
        if batch.open:
            cuts += 1
            assert batch.state.position.minor == len(got)
            wal.reopen()
    assert got == list(range(500))
    assert cuts >= 1
    assert wal.read() == []
    wal.close()


def test_a_recreated_slot_is_a_gap_that_names_its_repair(orders):
    wal = Wal(orders, snapshot="none").open()
    run(orders, "insert into orders values (1)")
    wal.read()
    wal.close()
    run(
        orders,
        "insert into orders values (2)",
        "select pg_drop_replication_slot('liberator_wal')",
        "select pg_create_logical_replication_slot('liberator_wal', 'pgoutput')",
    )
    with pytest.raises(PositionLost, match="made anew") as caught:
        wal.open()
    assert "--recover wal" in caught.value.hint
    wal.close()


def test_a_missing_slot_is_a_gap(orders):
    wal = Wal(orders, snapshot="none").open()
    wal.read()
    wal.close()
    run(orders, "select pg_drop_replication_slot('liberator_wal')")
    with pytest.raises(PositionLost, match="slot liberator_wal is gone"):
        wal.open()
    wal.close()


def test_another_server_is_a_gap(orders):
    wal = Wal(orders, snapshot="none").open()
    wal.read()
    wal.close()
    identity = {**wal.state.identity, "system": "1234"}
    wal.state = State(wal.state.position, identity, wal.state.snapshot, wal.state.schemas)
    with pytest.raises(PositionLost, match="another server"):
        wal.open()
    wal.close()


def test_a_server_that_was_set_back_to_an_older_copy_is_a_gap(orders):
    wal = Wal(orders, snapshot="none").open()
    wal.read()
    wal.close()
    kept = wal.state
    ahead = Position(kept.position.epoch, kept.position.major + (1 << 30))
    wal.state = State(ahead, kept.identity, kept.snapshot, kept.schemas)
    with pytest.raises(PositionLost, match="set back to an older copy") as caught:
        wal.open()
    assert "--recover wal" in caught.value.hint
    wal.close()


def test_recovery_begins_a_new_epoch_and_rebuilds_the_tables(orders):
    wal = Wal(orders).open()
    run(orders, "insert into orders values (1), (2)")
    wal.read()
    wal.close()
    run(orders, "select pg_drop_replication_slot('liberator_wal')", "delete from orders where id = 1")
    wal.state = wal.make().recover(wal.state)
    wal.open()
    got = wal.read()
    assert [brief(e)[0] for e in got] == ["truncate", "read"]
    assert got[1].after[0] == 2
    assert wal.state.position.epoch == 2
    run(orders, "insert into orders values (3)")
    (event,) = wal.read()
    assert event.position.epoch == 2
    wal.close()


def test_after_a_recovery_sinks_are_right_and_a_history_has_no_false_versions(database, database2, tmp_path):
    run(
        database,
        "create table docs (id int primary key, n int, body text)",
        "alter table docs alter body set storage external",
        "insert into docs select i, 0, repeat('kept ', 1000) from generate_series(1, 4) i",
    )
    wal = Wal(database, tables=["public.docs"]).open()
    lives = [wal.read()]
    wal.close()
    run(
        database,
        "select pg_drop_replication_slot('liberator_wal')",
        "insert into docs values (5, 0, repeat('unseen ', 1000))",
        "delete from docs where id = 1",
    )
    wal.state = wal.make().recover(wal.state)
    wal.open()
    # Before a row of the new snapshot is out: neither the row nor the body of number 5 is in any sink.
    run(database, "update docs set n = 1 where id in (2, 5)")
    lives.append(wal.read())
    wal.close()
    with psycopg.connect(database) as conn:
        there = set(conn.execute("select id, n, body from docs").fetchall())
    for target in (SqliteTarget(tmp_path / "copy.db"), PostgresTarget(database2)):
        target.apply(*lives)
        assert target.rows("docs") == there
        target.execute("drop table docs")
        target.apply(*lives, name="versions", mode="history", table="{table}_versions")
        rows = target.query("select id, n, body, is_current from docs_versions")
        assert sorted((i, n) for i, n, *_ in rows) == [(1, 0), (2, 0), (2, 1), (3, 0), (4, 0), (5, 1)]
        assert {row[:3] for row in rows if row[3]} == there


def test_a_slot_in_use_is_retryable_and_says_so(orders):
    with reading(orders, snapshot="none") as wal:
        wal.read()
        second = Wal(orders, snapshot="none")
        second.state = wal.state
        with pytest.raises(SourceError) as caught:
            second.open()
        second.close()
    assert caught.value.retryable
    assert "another process" in caught.value.hint


def test_slot_creation_names_who_stands_in_its_way(orders):
    with psycopg.connect(orders, application_name="slow writer") as blocker:
        blocker.execute("insert into orders values (1)")
        wal = Wal(orders, slot_timeout=0.5)
        with pytest.raises(SourceError, match="slow writer") as caught:
            wal.open()
        wal.close()
    assert caught.value.retryable


def test_filtered_and_idle_traffic_moves_the_slot(orders):
    run(orders, "create table noise (n int)")
    with reading(orders, tables=["public.orders"], heartbeat=0) as wal:
        wal.read()
        run(orders, "insert into noise select generate_series(1, 50000)")
        assert wal.read() == []
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            wal.step()
            if wal.make().status(wal.state).retained_bytes < 1_000_000:
                break
            run(orders, "checkpoint")
        status = wal.make().status(wal.state)
    assert status.retained_bytes < 1_000_000
    assert status.lag_bytes < 10_000


def test_teardown_removes_exactly_what_was_made(orders):
    wal = Wal(orders).open()
    wal.read()
    wal.close()
    removed = {(m.kind, m.name) for m in wal.make().teardown()}
    assert removed == {("publication", "liberator_wal"), ("replication slot", "liberator_wal")}
    with psycopg.connect(orders) as db:
        assert db.execute("select count(*) from pg_publication").fetchone() == (0,)


def test_snapshot_only_reads_ends_and_leaves_nothing_at_the_server(orders):
    run(orders, "insert into orders values (1), (2)")
    wal = Wal(orders, snapshot="only").open()
    events = []
    while not (batch := wal.step()).end:
        events += batch.events
    assert [brief(e)[0] for e in events] == ["read", "read"]
    wal.close()
    assert_nothing_left(orders)
    wal.open()
    assert wal.step().end
    wal.close()


def test_snapshot_only_cleans_up_after_a_crash_at_its_very_end(orders):
    run(orders, "insert into orders values (1)")
    wal = Wal(orders, snapshot="only").open()
    while not (batch := wal.source.read()).end:
        wal.source.confirm(batch.state.position)
    wal.state = batch.state  # in the log; killed before it was confirmed
    wal.close()
    wal.open()
    assert wal.step().end
    wal.close()
    assert_nothing_left(orders)


def assert_nothing_left(url):
    with psycopg.connect(url) as db:
        assert db.execute("select count(*) from pg_publication").fetchone() == (0,)
        slots = "select count(*) from pg_replication_slots where database = current_database()"
        assert db.execute(slots).fetchone() == (0,)


def test_streamed_changes_of_a_table_being_read_are_marked(orders):
    run(orders, "insert into orders select n from generate_series(1, 30) n")
    wal = Wal(orders, chunk=10, batch=5).open()
    run(orders, "update orders set note = 'x' where id = 30")
    events = wal.read()
    ahead = [e for e in events if e.phase is Phase.AHEAD]
    assert [e.key for e in ahead] == [(30,)]
    run(orders, "update orders set note = 'y' where id = 30")
    assert [e.phase for e in wal.read()] == [Phase.STREAM]
    wal.close()


# -- publications -------------------------------------------------------------------------------------


def test_a_dropped_publication_is_a_gap(orders):
    wal = Wal(orders, snapshot="none").open()
    wal.read()
    wal.close()
    run(orders, "drop publication liberator_wal", "insert into orders values (1)")
    with pytest.raises(PositionLost, match="publication liberator_wal had been dropped"):
        wal.open()
    wal.close()


def test_a_table_that_somebody_took_out_of_the_publication_is_emptied_and_read_anew(orders):
    run(orders, "create table kept (id int primary key)", "insert into kept values (1)")
    run(orders, "insert into orders values (1), (2)")
    wal = Wal(orders).open()
    wal.read()
    wal.close()
    run(orders, "alter publication liberator_wal drop table only orders", "delete from orders where id = 1")
    wal.open()
    assert [(op, table, v and v["id"]) for op, table, v in wal.briefs()] == [
        ("truncate", "orders", None),
        ("read", "orders", 2),
    ]
    wal.close()


def test_a_table_that_is_taken_out_of_the_publication_while_it_is_read_is_noticed_and_read_anew(orders):
    run(orders, "create table kept (id int primary key)")
    wal = Wal(orders).open()
    wal.read()
    run(orders, "create schema beside", "create table beside.more (id int primary key)")
    run(orders, "alter publication liberator_wal add table beside.more")
    wal.source._look_soon()
    assert wal.read() == []  # more than we asked for does no harm
    run(orders, "alter publication liberator_wal drop table only orders", "insert into orders values (1)")
    wal.source._look_soon()
    with pytest.raises(SourceError, match="somebody has changed publication liberator_wal") as caught:
        wal.read()
    assert caught.value.retryable
    wal.reopen()
    assert [b[:2] for b in wal.briefs()] == [("truncate", "orders"), ("read", "orders")]
    wal.close()


def test_a_publication_that_was_made_otherwise_is_made_right(orders):
    run(orders, "create publication liberator_wal for table orders with (publish = 'insert')")
    with reading(orders) as wal:
        wal.read()
        (found,) = (o for o in wal.make().objects() if o.kind == "publication")
        assert found.state == "present"
        wal.source._look_soon()
        run(orders, "insert into orders values (1)", "delete from orders")
        assert [b[0] for b in wal.briefs()] == ["create", "delete"]


def test_a_second_process_takes_no_table_away_from_the_first(orders):
    """Started by mistake, with another list of tables."""
    run(orders, "create table other (id int primary key)")
    with reading(orders) as wal:
        wal.read()
        second = Wal(orders, tables=["public.other"])
        with pytest.raises(SourceError, match="slot liberator_wal is in use") as caught:
            second.open()
        second.close()
        assert caught.value.retryable and "another process" in caught.value.hint
        run(orders, "insert into orders values (1)", "insert into other values (2)")
        assert [b[:2] for b in wal.briefs()] == [("create", "orders"), ("create", "other")]


def test_a_table_that_was_added_before_a_crash_is_read_behind_those_who_were_writing(orders):
    """What they had written by then is not published, so a snapshot has to see it."""
    wal = Wal(orders, tables=["public.orders"]).open()
    wal.read()
    wal.close()
    run(orders, "create table other (id int primary key)")
    with psycopg.connect(orders) as slow:
        slow.execute("insert into other values (1)")
        wal.options["tables"] = ["public.orders", "public.other"]
        wal.open()  # the table is published now
        wal.close()  # killed, before anything is stored
        wal.open()
        for _ in range(5):
            assert wal.step().events == []
    assert [b[:2] for b in wal.briefs()] == [("read", "other")]
    wal.close()


def test_another_column_list_has_the_table_read_anew(orders):
    run(orders, "insert into orders values (1, 'a', 'b')")
    wal = Wal(orders, columns={"public.orders": ["id", "note"]}).open()
    wal.read()
    wal.reopen(columns={})
    assert [b[0] for b in wal.briefs()] == ["truncate", "read"]
    run(orders, "insert into orders values (2, 'c', 'd')")
    assert wal.briefs() == [("create", "orders", {"id": 2, "note": "c", "big": "d"})]
    wal.close()


def test_a_publication_younger_than_the_position_joins_where_it_was_created(database15):
    """Postgres before 18 refuses to decode WAL that is older than a publication it is asked for."""
    run(database15, ORDERS, "create table bare (n int)")
    wal = Wal(database15, tables=["public.orders"]).open()
    wal.read()
    wal.close()
    run(database15, "insert into orders values (1)")
    wal.reopen(tables=["public.*"], without_identity="insert_only")
    assert wal.briefs() == [("create", "orders", {"id": 1, "note": None, "big": None})]
    run(database15, "insert into orders values (2)", "insert into bare values (7)")
    assert [(t, v) for _, t, v in wal.briefs()] == [
        ("orders", {"id": 2, "note": None, "big": None}),
        ("bare", {"n": 7}),
    ]
    wal.close()


def test_a_renamed_table_goes_on_under_its_new_name(orders):
    with reading(orders) as wal:
        run(orders, "insert into orders values (1)")
        wal.read()
        run(orders, "alter table orders rename to sales", "insert into sales values (2)")
        got = wal.briefs() + wal.briefs()
    assert {table for _, table, _ in got} == {"sales"}
    assert sorted(v["id"] for op, _, v in got if op == "read") == [1, 2]


def test_a_chunk_that_takes_longer_than_the_server_waits_for_us_does_not_cost_the_stream(orders):
    run(orders, "insert into orders values (1)")
    impatient = psycopg.conninfo.make_conninfo(orders, options="-c wal_sender_timeout=3s")
    with reading(impatient, where={"public.orders": "(select pg_sleep(5)) is not null"}) as wal:
        assert [b[0] for b in wal.briefs()] == ["read"]


def test_through_libpq_the_stream_is_the_same(orders, monkeypatch):
    """TLS and GSS have their state in libpq: the stream is then read through it."""
    original = ReplicationStream.__init__
    monkeypatch.setattr(
        ReplicationStream, "__init__", lambda self, url, app: original(self, url, app, direct=False)
    )
    with reading(orders, snapshot="none", batch=100) as wal:
        together(orders, *[f"insert into orders values ({n}, repeat('x', {n * 40}))" for n in range(500)])
        run(orders, "update orders set big = repeat('y', 5000000) where id = 7")
        events = wal.read()
    assert [e.after[0] for e in events] == [*range(500), 7]
    assert len(events[-1].after[2]) == 5_000_000


@pytest.mark.parametrize(
    "step",
    [
        "catalog.server",
        "catalog.all_tables",
        "catalog.Catalog.__init__",
        "wal.publication.ensure",
        "wal.publication.read_slot",
    ],
)
def test_a_connection_that_is_lost_at_any_step_of_the_start_is_worth_another_try(orders, step, monkeypatch):
    wal = Wal(orders).open()
    wal.read()
    wal.close()
    path, name = f"connectors.postgres.{step}".rsplit(".", 1)
    place = pkgutil.resolve_name(path)
    original = getattr(place, name)

    def after_a_cut(*args, **options):
        cut = (
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'liberator wal'"
        )
        run(orders, cut)
        return original(*args, **options)

    monkeypatch.setattr(place, name, after_a_cut)
    with pytest.raises(SourceError) as caught:
        wal.open()
    wal.close()
    assert caught.value.retryable
    monkeypatch.undo()
    run(orders, "insert into orders values (1)")
    wal.open()
    assert [e.key for e in wal.read()] == [(1,)]
    wal.close()


def test_one_huge_message_is_read_whole(orders):
    with reading(orders, snapshot="none") as wal:
        run(orders, "insert into orders values (1, 'a', repeat('y', 60000000))")
        (event,) = wal.read()
    assert len(event.after[2]) == 60_000_000


def test_rows_that_a_policy_hides_are_an_error_and_not_missing(orders):
    run(
        orders,
        "insert into orders values (1)",
        "alter table orders enable row level security",
        "create policy none on orders using (false)",
    )
    role = f"reader_{orders.split('test_')[1][:8]}"
    run(orders, f"create role {role} login replication", f"grant select on orders to {role}")
    wal = Wal(orders)
    wal.make().setup()
    wal.options["url"] = orders.replace("postgres@", f"{role}@")
    try:
        wal.open()
        with pytest.raises(SourceError, match="row-level security"):
            wal.read()
    finally:
        wal.close()
        run(orders, f"drop owned by {role}", f"drop role {role}")
