"""The source ``trigger`` on Postgres: order, types, DDL, names, privileges."""

from __future__ import annotations

import time
from contextlib import closing

import psycopg
import pytest

from connectors.postgres.triggers import copy_line
from liberator.errors import PositionLost
from liberator.event import Operation
from tests.race import Race
from tests.triggers import Confirming, Reading, make, mirror, told


@pytest.fixture
def db(database):
    with psycopg.connect(database, autocommit=True) as conn:
        conn.url = database
        yield conn


def connected(db):
    return psycopg.connect(db.url, autocommit=True)


def test_no_committed_row_is_lost_and_none_comes_twice_when_ids_and_commits_cross(db):
    db.execute("create table race (id bigserial primary key, writer int)")
    make(db.url, "public.race").setup()
    feed = Confirming(lambda: make(db.url, "public.race", batch=500, snapshot="none", purge=False))
    feed2 = Confirming(lambda: make(db.url, "public.race", name="other", batch=500, snapshot="none"))
    feed2.make().setup()
    race = Race(lambda: psycopg.connect(db.url), 20_000)
    naive = (
        "select id, split_part(ltrim(new, '('), ',', 1)::int from liberator.shop_changes"
        " where id > {last} order by id"
    )
    race.run([feed, feed2], naive, lambda last: str(last or 0))
    race.verify([feed, feed2])
    assert db.execute("select count(*) from liberator.shop_changes").fetchone()[0] == len(feed.ids)


def test_changes_of_a_row_come_in_the_order_in_which_they_happened(db):
    """The transaction with the lowest number changes the row last; another one is still at work."""
    db.execute("create table t (id int primary key, who text)")
    db.execute("insert into t values (1, ''), (2, ''), (3, '')")
    with Reading(db.url, "public.t", snapshot="none") as reading, connected(db) as a, connected(db) as b:
        reading.read()
        with connected(db) as c:
            a.execute("begin; update t set who = 'a' where id = 2")
            c.execute("begin; update t set who = 'c' where id = 3")
            b.execute("update t set who = 'b' where id = 1")
            a.execute("update t set who = 'a' where id = 1; commit")
            for _ in range(5):
                assert [e.after for e in reading.source.read().events] == []
            c.execute("commit")
        found = reading.read()
    assert [e.after for e in found] == [(3, "c"), (1, "b"), (2, "a"), (1, "a")]
    assert len({e.transaction.id for e in found}) == 3


def test_a_transaction_larger_than_everything_comes_in_pieces_and_goes_on_where_it_was_stopped(
    db, monkeypatch
):
    monkeypatch.setattr("connectors.sql.trigger.drain.SLICE", 50)
    db.execute("create table t (id int primary key)")
    make(db.url, "public.t").setup()
    with connected(db) as a:
        a.execute("begin; insert into t select generate_series(1, 400)")
        db.execute("insert into t select generate_series(1001, 1020)")
        a.execute("insert into t select generate_series(401, 500); commit")
    for n in range(2000, 2100):
        db.execute("insert into t values (%s)", [n])
    with Reading(db.url, "public.t", snapshot="none") as reading:
        expected = [e.after[0] for e in reading.read()]
        assert not reading.source._drain._begun
    assert expected == [*range(1001, 1021), *range(1, 501), *range(2000, 2100)]


def test_every_stop_inside_crossing_transactions_is_gone_on_from(db, monkeypatch):
    monkeypatch.setattr("connectors.sql.trigger.drain.SLICE", 10)
    db.execute("create table t (id int primary key)")
    make(db.url, "public.t").setup()
    with connected(db) as a, connected(db) as b:
        for begin in (a, b):
            begin.execute("begin")
        for n in range(0, 60, 3):
            a.execute("insert into t values (%s)", [n])
            b.execute("insert into t values (%s)", [n + 1])
            db.execute("insert into t values (%s)", [n + 2])
        a.execute("commit")
        b.execute("commit")
    source = make(db.url, "public.t", snapshot="none", batch=4)
    source.open(None)
    target, state, ids = source.current(), None, []
    while state is None or not source.reached(state, target):
        batch = source.read()
        ids += [(e.transaction.id, e.ordinal, e.after[0]) for e in batch.events]
        state = batch.state
        source.confirm(state.position)
        source.close()
        source = make(db.url, "public.t", snapshot="none", batch=4)
        source.open(state)
        source._purged = 0.0
    source.close()
    rows = [n for _, _, n in ids]
    # by the last id of each: the two that cross come before the very last row
    assert rows == [*range(2, 57, 3), *range(0, 60, 3), *range(1, 60, 3), 59]
    assert [o for _, o, _ in ids] == [*[1] * 19, *range(1, 21), *range(1, 21), 1]


def test_a_key_change_is_a_delete_and_a_create_that_name_each_other(db):
    db.execute("create table t (id int, part text, note text, primary key (part, id))")
    with Reading(db.url, "public.t") as reading:
        db.execute("insert into t values (1, 'a', 'x')")
        db.execute("update t set id = 2, note = 'y'")
        db.execute("update t set note = 'z'")
        found = reading.read()
    assert [e.operation for e in found] == [
        Operation.CREATE, Operation.DELETE, Operation.CREATE, Operation.UPDATE,
    ]  # fmt: skip
    assert (found[1].before, found[1].moved) == ((1, "a", "x"), ("a", 2))
    assert (found[2].after, found[2].moved) == ((2, "a", "y"), ("a", 1))
    assert (found[3].before, found[3].after) == (None, (2, "a", "z"))
    assert [e.ordinal for e in found] == [1, 1, 2, 1]


def test_before_full_keeps_the_old_row_of_every_update(db):
    db.execute("create table t (id int primary key, note text)")
    db.execute("insert into t values (1, 'a')")
    with Reading(db.url, "public.t", before="full", snapshot="none") as reading:
        db.execute("update t set note = 'b'")
        (event,) = reading.read()
    assert (event.operation, event.before, event.after) == (Operation.UPDATE, (1, "a"), (1, "b"))


def test_ddl_is_followed_in_its_own_transaction(db):
    db.execute("create table t (id int primary key, a text, b int)")
    db.execute("insert into t values (1, 'x', 1)")
    with Reading(db.url, "public.t") as reading, connected(db) as other:
        reading.read()
        other.execute("begin; insert into t values (2, 'y', 2); alter table t drop column a")
        other.execute("insert into t values (3, 3); alter table t rename column b to c")
        other.execute("insert into t values (4, 4)")
        other.execute(
            "alter table t alter column c type text using 'n' || c; insert into t values (5, 'five')"
        )
        other.execute("alter table t add column d numeric(6, 2) default 1.50")
        other.execute("insert into t values (6, 'six', 2); commit")
        other.execute(
            "begin; alter table t add column never int; insert into t values (7, 'no', 1, 1); rollback"
        )
        other.execute("insert into t values (8, 'eight', 3)")
        found = [told(e) for e in reading.read()]
        streamed = [row for operation, row in found if operation == "create"]
        assert streamed == [
            {"id": 2, "a": "y", "b": 2}, {"id": 3, "b": 3}, {"id": 4, "c": 4}, {"id": 5, "c": "five"},
            {"id": 6, "c": "six", "d": 200}, {"id": 8, "c": "eight", "d": 300},
        ]  # fmt: skip
        # values that no change has told of: the table was read again
        reread = [row for operation, row in found if operation == "read"]
        again = reread or [row for operation, row in map(told, reading.until(lambda es: len(es) >= 6))]
        assert {"id": 1, "c": "n1", "d": 150} in again


def test_an_enum_that_has_got_a_label_is_read_on(db):
    db.execute("create type mood as enum ('ok'); create table t (id int primary key, m mood)")
    with Reading(db.url, "public.t") as reading:
        reading.read()
        db.execute("alter type mood add value 'sad'")
        db.execute("insert into t values (1, 'sad')")
        (event,) = reading.read()
    assert event.after == (1, "sad")
    assert event.schema.columns[1].type.values == ("ok", "sad")


def test_truncate_is_told_and_other_triggers_do_not_mix_the_order(db):
    db.execute("create table t (id int primary key, n int)")
    db.execute(
        "create function bump() returns trigger language plpgsql as"
        " $$ begin update t set n = n + 1 where id = new.id; return null; end $$"
    )
    db.execute("create trigger aaa after insert on t for each row execute function bump()")
    with Reading(db.url, "public.t") as reading:
        db.execute("insert into t values (1, 1)")
        db.execute("truncate t")
        found = reading.read()
    assert [(e.operation.name, e.after) for e in found] == [
        ("CREATE", (1, 1)), ("UPDATE", (1, 2)), ("TRUNCATE", None),
    ]  # fmt: skip


def test_partitions_and_rows_that_move_between_them_arrive_under_the_root(db):
    db.execute("create table t (id int primary key, note text) partition by range (id)")
    db.execute("create table low partition of t for values from (0) to (10)")
    db.execute("create table high (note text, id int not null)")  # another order of columns
    db.execute("alter table t attach partition high for values from (10) to (20)")
    with Reading(db.url, "public.*") as reading:
        db.execute("insert into t values (1, 'a')")
        db.execute("insert into high values ('b', 11)")
        db.execute("update t set id = 12 where id = 1")
        found = reading.read()
    assert {e.topic for e in found} == {"shop.public.t"}
    assert [told(e)[1]["id"] for e in found] == [1, 11, 1, 12]


def test_writers_need_no_privilege_and_replication_roles_do_not_hide_rows(db):
    db.execute("create table t (id int primary key)")
    db.execute("drop role if exists trigger_writer; create role trigger_writer login")
    db.execute("grant insert on t to trigger_writer")
    try:
        with Reading(db.url, "public.t") as reading:
            with connected(db) as writer:
                writer.execute("set role trigger_writer")
                writer.execute("set search_path = pg_temp")
                writer.execute("insert into public.t values (1)")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    writer.execute("select * from liberator.shop_changes")
            db.execute("set session_replication_role = replica; insert into t values (2)")
            db.execute("reset session_replication_role")
            assert [e.after for e in reading.read()] == [(1,), (2,)]
    finally:
        db.execute("revoke insert on t from trigger_writer; drop role trigger_writer")


def test_names_that_are_hostile_are_only_names(db):
    table = "sel\"ect'; drop table x; --$body$ %I \\ ü"
    column = "new.%1$s \"'\\"
    quoted = '"' + table.replace('"', '""') + '"'
    name = '"' + column.replace('"', '""') + '"'
    with psycopg.ClientCursor(db) as cursor:
        cursor.execute(f'create table {quoted} ("user" int primary key, {name} text)'.encode())
    long = "x" * 63
    db.execute(f'create table "{long}" ("{long}" int primary key)')
    with Reading(db.url, "public.*", snapshot="none") as reading:
        db.execute(f"insert into {quoted} values (1, 'a')".encode())
        db.execute(f'insert into "{long}" values (2)')
        found = reading.read()
        assert [told(e)[1] for e in found] == [{"user": 1, column: "a"}, {long: 2}]
    make(db.url, "public.*").teardown()
    assert db.execute("select count(*) from pg_trigger where not tgisinternal").fetchone() == (0,)


def test_an_origin_is_recorded_and_changes_of_our_own_are_left_out(db):
    db.execute("create table t (id int primary key)")
    with Reading(db.url, "public.t", skip_origins=["ours"], snapshot="none") as reading:
        db.execute("begin; set local liberator.origin = 'ours'; insert into t values (1); commit")
        db.execute("begin; set local liberator.origin = 'theirs'; insert into t values (2); commit")
        db.execute("insert into t values (3)")
        found = reading.read()
    assert [(e.after, e.transaction.origin[1]) for e in found] == [((2,), "theirs"), ((3,), None)]


def test_a_table_without_a_key_is_read_whole_and_its_changes_once(db):
    db.execute("create table t (n int, note text)")
    db.execute("insert into t select n, 'old' from generate_series(1, 2000) n")
    make(db.url, "public.t").setup()
    db.execute("insert into t values (0, 'seen by both')")
    with Reading(db.url, "public.t", batch=50) as reading:
        while not any(e.operation is Operation.READ for e in reading.events):
            batch = reading.source.read()
            reading.events += batch.events
        db.execute("insert into t values (9, 'during')")
        db.execute("delete from t where n = 5")
        reading.read()
    operations = [e.operation for e in reading.events]
    assert operations.count(Operation.READ) == 2001
    assert [(e.operation.name, e.after or e.before) for e in reading.events[-2:]] == [
        ("CREATE", (9, "during")), ("DELETE", (5, "old")),
    ]  # fmt: skip


def test_a_table_that_appears_and_one_that_is_made_again_join_in(db):
    db.execute("create table t (id int primary key)")
    with Reading(db.url, "public.*") as reading:
        reading.read()
        db.execute("drop table t; create table t (id int primary key, x int); insert into t values (1, 1)")
        db.execute("create table u (id int primary key); insert into u values (7)")
        reading.source._looked = 0.0
        found = reading.until(lambda es: sum(e.operation is Operation.READ for e in es) == 2)
    told = [(e.topic, e.operation.name, e.after) for e in found]
    assert told.index(("shop.public.t", "TRUNCATE", None)) < told.index(("shop.public.t", "READ", (1, 1)))
    assert ("shop.public.u", "READ", (7,)) in told


def test_a_change_table_that_was_dropped_is_a_lost_position(db):
    db.execute("create table t (id int primary key)")
    with Reading(db.url, "public.t") as reading:
        reading.read()
        state = reading.state
    make(db.url, "public.t").teardown()
    with closing(make(db.url, "public.t")) as source:
        with pytest.raises(PositionLost, match="dropped") as error:
            source.open(state)
        assert "--recover shop" in error.value.hint
        source.setup()
    with (
        closing(make(db.url, "public.t")) as source,
        pytest.raises(PositionLost, match="another change table"),
    ):
        source.open(state)
    db.execute("insert into t values (1)")
    with Reading(db.url, "public.t", state=make(db.url, "public.t").recover(state)) as reading:
        reading.read()
        assert reading.events[0].operation is Operation.TRUNCATE
        assert list(mirror(reading.events).values()) == [(1,)]
        assert reading.state.position.epoch == 2


def test_what_the_log_holds_is_purged_and_status_tells_size_and_age(db):
    db.execute("create table t (id int primary key)")
    with Reading(db.url, "public.t", snapshot="none", batch=500) as reading:
        db.execute("insert into t select generate_series(1, 5000)")
        assert make(db.url, "public.t").status(None).details["changes"] == 5000
        reading.read()
        deadline = time.monotonic() + 20
        while db.execute("select count(*) from liberator.shop_changes").fetchone()[0]:
            reading.source.read()
            assert time.monotonic() < deadline
        state = reading.state
        with connected(db) as slow:
            slow.execute("begin; insert into t values (0)")
            db.execute("insert into t values (-1)")
            reading.source.read()
            details = make(db.url, "public.t").status(state).details
            assert details["changes"] == 1
            assert details["oldest change, s"] >= 0
            assert any("pid" in holder for holder in details["held back by"])


def test_the_dry_run_prints_what_a_dba_can_execute_for_an_account_that_may_only_read(db):
    db.execute("create table t (id int primary key)")
    db.execute("drop role if exists trigger_reader; create role trigger_reader login")
    db.execute("grant select on t to trigger_reader")
    url = db.url.replace("://postgres@", "://trigger_reader@")
    try:
        for managed in make(url, "public.t").objects():
            db.execute(managed.create.encode())
        assert {m.state for m in make(url, "public.t").objects()} == {"present"}
        db.execute("insert into t values (1)")
        with Reading(url, "public.t") as reading:
            assert mirror(reading.read()) == {("shop.public.t", (1,)): (1,)}
            db.execute("alter table t add column n int")
            db.execute("insert into t values (2, 3)")
            assert [e.after for e in reading.read()] == [(2, 3)]
            assert reading.source._table.given() == 2  # a restored database would be noticed
            deadline = time.monotonic() + 20
            while make(url, "public.t").status(None).details["changes"]:
                reading.read()
                assert time.monotonic() < deadline
        for managed in reversed(make(url, "public.t").objects()):
            db.execute(managed.drop.encode())
        assert {m.state for m in make(url, "public.t").objects()} == {"missing"}
    finally:
        db.execute("drop owned by trigger_reader; drop role trigger_reader")


def test_copy_and_merge_are_changes_of_rows(db):
    db.execute("create table t (id int primary key, note text)")
    with Reading(db.url, "public.t", snapshot="none") as reading:
        with db.cursor().copy("copy t from stdin") as copy:
            copy.write("1\ta\n2\tb\n")
        db.execute(
            "insert into t values (2, 'c'), (3, 'd') on conflict (id) do update set note = excluded.note"
        )
        if db.info.server_version >= 150000:
            db.execute("merge into t using (values (1), (2)) as v (i) on t.id = v.i when matched then delete")
        found = [(e.operation.name, (e.after or e.before)) for e in reading.read()]
    assert found[:4] == [
        ("CREATE", (1, "a")),
        ("CREATE", (2, "b")),
        ("UPDATE", (2, "c")),
        ("CREATE", (3, "d")),
    ]
    assert sorted(found[4:]) in ([], [("DELETE", (1, "a")), ("DELETE", (2, "c"))])


def test_a_records_text_becomes_a_line_of_copy():
    assert copy_line("(1,a,)") == b"1\ta\t\\N"
    assert copy_line('("a,b","",,"say ""x""","back\\\\slash","tab\there")') == (
        b'a,b\t\t\\N\tsay "x"\tback\\\\slash\ttab\\there'
    )
    assert copy_line('("line\nfeed","(1,""a"")")') == b'line\\nfeed\t(1,"a")'
    assert copy_line("()") == b"\\N"
    with pytest.raises(ValueError, match="record"):
        copy_line('("a"b)')
