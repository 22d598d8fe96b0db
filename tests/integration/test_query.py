"""What a query source reads in each mode, who holds its horizon, what it refuses."""

from __future__ import annotations

import contextlib
import sqlite3

import psycopg
import pytest

from connectors.sql.query.source import QuerySource
from liberator import cli
from liberator.errors import ConfigError, PositionLost, SourceError
from liberator.event import Operation
from tests.fix_mysql import connected as connected_mysql
from tests.pipeline import Inline


def source(url, directory, **options):
    given = {
        "type": "query", "url": url, "tables": ["*orders"], "poll_interval": 0.02, "batch": 7,
        "state_directory": directory, **options,
    }  # fmt: skip
    return QuerySource("shop", QuerySource.Config(**given))


def read(opened):
    """The events until all that is committed now was read."""
    target = opened.current()
    events = []
    while True:
        batch = opened.read()
        events += batch.events
        if opened.reached(batch.state, target):
            return events, batch.state


def brief(events):
    return [(e.operation.name.lower(), e.key[0]) for e in events]


@pytest.fixture
def shop(database):
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(
            "create table orders (id bigserial primary key, note text, at timestamptz(0) default now())"
        )
        yield db


def test_rows_of_one_time_are_read_over_many_batches(database, shop, tmp_path):
    shop.execute("insert into orders (note, at) select 'n', '2024-02-29 12:00' from generate_series(1, 50)")
    opened = source(database, tmp_path, mode="timestamp", timestamp_column="at")
    opened.open(None)
    events, state = read(opened)
    assert brief(events) == [("read", n) for n in range(1, 51)]
    shop.execute("update orders set at = now(), note = 'again' where id in (3, 4)")
    events, _ = read(opened)
    assert brief(events) == [("read", 3), ("read", 4)]
    assert {event.transaction.origin for event in events} == {("state",)}
    opened.close()
    again = source(database, tmp_path, mode="timestamp", timestamp_column="at")
    again.open(state)
    assert brief(read(again)[0]) == [("read", 3), ("read", 4)]
    again.close()


def test_rows_without_a_time_are_refused_or_read_by_their_id(database, shop, tmp_path):
    shop.execute("insert into orders (note, at) values ('a', null), ('b', now()), ('c', null)")
    alone = source(database, tmp_path, mode="timestamp", timestamp_column="at")
    alone.open(None)
    with pytest.raises(SourceError, match="at is null"):
        read(alone)
    alone.close()
    columns = {"timestamp_column": "at", "incrementing_column": "id"}
    both = source(database, tmp_path, mode="timestamp+incrementing", **columns)
    both.open(None)
    assert sorted(brief(read(both)[0])) == [("read", 1), ("read", 2), ("read", 3)]
    shop.execute("insert into orders (note, at) values ('d', null)")
    shop.execute("update orders set at = now() where id = 1")
    assert sorted(brief(read(both)[0])) == [("read", 1), ("read", 4)]
    both.close()


def test_bulk_reads_everything_at_every_poll(database, shop, tmp_path):
    shop.execute("insert into orders (note) select 'n' from generate_series(1, 20)")
    opened = source(database, tmp_path, mode="bulk", poll_interval="1h")
    opened.open(None)
    for _ in range(2):
        assert brief(read(opened)[0]) == [("read", n) for n in range(1, 21)]
    opened.close()


def test_a_query_with_a_key_is_a_table_of_its_own(database, shop, tmp_path):
    shop.execute("insert into orders (note) select 'n' || i % 3 from generate_series(1, 9) i")
    query = "select note, count(*) as orders from public.orders group by note"
    opened = source(database, tmp_path, tables=[], queries={"totals": query}, key=["note"], mode="diff")
    opened.open(None)
    events, _ = read(opened)
    assert {e.topic for e in events} == {"shop.query.totals"}
    assert sorted(e.after for e in events) == [("n0", 3), ("n1", 3), ("n2", 3)]
    shop.execute("delete from orders where note = 'n0'")
    shop.execute("insert into orders (note) values ('n1'), ('new')")
    events, _ = read(opened)
    assert [(e.operation, e.key[0]) for e in events] == [
        (Operation.UPDATE, "n1"), (Operation.CREATE, "new"), (Operation.DELETE, "n0"),
    ]  # fmt: skip
    opened.close()


def test_a_new_column_comes_with_the_first_row_that_has_it(database, shop, tmp_path):
    shop.execute("insert into orders (note) values ('a')")
    opened = source(database, tmp_path, mode="incrementing", incrementing_column="id")
    opened.open(None)
    read(opened)
    shop.execute("alter table orders add column extra int default 5")
    shop.execute("insert into orders (note, extra) values ('b', 6)")
    (event,), _ = read(opened)
    assert event.operation is Operation.CREATE
    assert dict(zip(event.schema.names, event.after, strict=True))["extra"] == 6
    opened.close()


def test_an_open_transaction_holds_the_horizon_and_is_named(database, shop, tmp_path):
    shop.execute("insert into orders (note) values ('a')")
    options = {"mode": "incrementing", "incrementing_column": "id"}
    opened = source(database, tmp_path, **options)
    opened.open(None)
    _, state = read(opened)
    with psycopg.connect(database, application_name="forgotten") as idle:
        idle.execute("insert into orders (note) values ('late')")
        shop.execute("insert into orders (note) values ('early')")
        for _ in range(20):
            assert opened.read().events == []
        details = source(database, tmp_path, **options).status(state).details
        (holder,) = [h for h in details["horizon_held_by"] if h["application"] == "forgotten"]
        assert (holder["pid"], holder["user"]) == (idle.info.backend_pid, idle.info.user)
        assert holder["age"] >= 0 and details["horizon_age"] > 0 and details["loss_possible"] is None
        assert "late" not in repr(details)
        idle.commit()
    assert brief(read(opened)[0]) == [("create", 2), ("create", 3)]
    opened.close()


def test_an_open_transaction_of_mysql_is_waited_for_and_named(mysqls_database, tmp_path):
    with connected_mysql(mysqls_database) as conn, conn.cursor() as cursor:
        cursor.execute("create table orders (id int primary key auto_increment, note text)")
        options = {"mode": "incrementing", "incrementing_column": "id"}
        opened = source(mysqls_database, tmp_path, **options)
        opened.open(None)
        _, state = read(opened)
        with connected_mysql(mysqls_database) as idle:
            idle.begin()
            idle.cursor().execute("insert into orders (note) values ('late')")
            cursor.execute("insert into orders (note) values ('early')")
            conn.commit()
            for _ in range(8):
                assert opened.read().events == []
            details = source(mysqls_database, tmp_path, **options).status(state).details
            (holder,) = [h for h in details["horizon_held_by"] if h["pid"] == idle.thread_id()]
            assert holder["user"] == "root" and "late" not in repr(details)
            idle.commit()
        assert brief(read(opened)[0]) == [("create", 1), ("create", 2)]
        opened.close()


@pytest.mark.parametrize("horizon", ["lockers", "xid8", "oldest"])
def test_a_prepared_transaction_is_waited_for(database, shop, tmp_path, horizon):
    if shop.execute("show max_prepared_transactions").fetchone()[0] == "0":
        pytest.skip("this server prepares no transactions")
    options = {"mode": "incrementing", "incrementing_column": "id"}
    if horizon == "oldest":
        options = {"mode": "timestamp", "timestamp_column": "at"}
    if horizon == "xid8":
        shop.execute("alter table orders add liberator_tx xid8 not null default pg_current_xact_id()")
    opened = source(database, tmp_path, **options)
    opened.open(None)
    read(opened)
    with psycopg.connect(database) as other:
        other.execute("insert into orders (note) values ('late')")
        shop.execute("insert into orders (note) values ('early')")
        assert opened.read().events == []
        other.execute("prepare transaction 'held'")
        other.rollback()
    try:
        for _ in range(20):
            assert opened.read().events == []
        held = source(database, tmp_path, **options).status(None).details["horizon_held_by"]
        assert any("held" in holder["application"] for holder in held)
    finally:
        shop.execute("commit prepared 'held'")
    assert sorted(brief(read(opened)[0])) == [
        ("create" if horizon == "lockers" else "read", n) for n in (1, 2)
    ]
    opened.close()


def test_a_delay_says_that_loss_is_possible(database, shop, tmp_path):
    options = {"mode": "incrementing", "incrementing_column": "id", "horizon": "delay(10ms)"}
    opened = source(database, tmp_path, **options)
    opened.open(None)
    shop.execute("insert into orders (note) values ('a')")
    assert brief(read(opened)[0]) == [("read", 1)]
    with psycopg.connect(database) as slow:
        slow.execute("insert into orders (note) values ('late')")
        shop.execute("insert into orders (note) values ('early')")
        assert brief(read(opened)[0]) == [("create", 3)]
        slow.commit()
    assert read(opened)[0] == [], "the row that was late is lost, as was said"
    details = opened.status(None).details
    assert "0.01 s" in details["loss_possible"]
    assert any("loss possible" in warning for warning in details["warnings"])
    assert [f.level for f in opened.check() if f.check == "horizon"] == ["warning"]
    opened.close()


IN_ADVANCE = {
    "its own": "alter sequence orders_id_seq cache 10",
    "another's": "create sequence s cache 10; alter table orders alter id set default nextval('s')",
    "a child's": "create sequence s cache 10; create table old () inherits (orders);"
    " alter table old alter id set default nextval('s')",
    "a view's": "alter sequence orders_id_seq cache 10; create view inner_one as select id as n from orders;"
    ' create view seen_orders as select n as id, 1 as "o\'clock" from inner_one',
    "a query's": "alter sequence orders_id_seq cache 10",
}


@pytest.mark.parametrize("whose", IN_ADVANCE)
def test_a_sequence_that_hands_out_ids_in_advance_is_refused(database, shop, tmp_path, whose):
    shop.execute(IN_ADVANCE[whose])
    what = {"tables": ["public.seen_orders" if whose == "a view's" else "public.orders"]}
    if whose == "a query's":
        what = {
            "tables": [],
            "queries": {"q": "select o.id, o.note from orders as o join orders as p using (id)"},
        }
    opened = source(database, tmp_path, mode="incrementing", incrementing_column="id", **what)
    opened.open(None)
    with pytest.raises(SourceError, match="hands out 10 ids at once"):
        opened.read()
    opened.close()


@pytest.mark.parametrize(
    "off",
    [
        "setup_consumers set enabled = 'NO' where name = 'events_statements_current'",
        "setup_instruments set enabled = 'NO' where name = 'statement/sql/insert'",
    ],
)
def test_statements_that_mysql_does_not_record_are_noticed(mysql_database, tmp_path, off):
    """Who has taken an id and is not yet known as a transaction is known by nothing else."""
    options = {"mode": "incrementing", "incrementing_column": "id"}
    with connected_mysql(mysql_database) as conn, conn.cursor() as cursor:
        cursor.execute("create table orders (id int primary key auto_increment)")
        opened = source(mysql_database, tmp_path, **options)
        opened.open(None)
        read(opened)
        again = source(mysql_database, tmp_path, **options)
        again.open(None)
        try:
            cursor.execute(f"update performance_schema.{off}")
            with pytest.raises(SourceError, match="who is writing cannot be seen"):
                again.read()
            if "consumers" in off:  # while it runs, too
                with pytest.raises(SourceError, match="who is writing cannot be seen"):
                    read(opened)
            assert "error" in [f.level for f in again.check() if f.check == "horizon"]
        finally:
            cursor.execute(f"update performance_schema.{off.replace('NO', 'YES')}")
            opened.close()
            again.close()


def test_an_account_that_may_not_see_who_is_writing_is_refused(mysqls_database, tmp_path):
    with connected_mysql(mysqls_database) as conn, conn.cursor() as cursor:
        cursor.execute("create table orders (id int primary key auto_increment)")
        cursor.execute("create user if not exists blind identified by ''")
        cursor.execute("grant select on *.* to blind")
    try:
        url = mysqls_database.replace("://root", "://blind")
        options = {"mode": "incrementing", "incrementing_column": "id"}
        opened = source(url, tmp_path, **options)
        opened.open(None)
        with pytest.raises(SourceError, match="who is writing cannot be seen") as refused:
            opened.read()
        assert "grant process" in refused.value.hint
        opened.close()
        assert "error" in [f.level for f in source(url, tmp_path, **options).check() if f.check == "horizon"]
        delayed = source(url, tmp_path, horizon="delay(1ms)", **options)
        delayed.open(None)
        assert read(delayed)[0] == []
        delayed.close()
    finally:
        with connected_mysql(mysqls_database) as conn, conn.cursor() as cursor:
            cursor.execute("drop user blind")


EMPTIED = {
    "database": ["truncate orders restart identity"],
    "mysql_database": ["truncate orders"],
    "mariadb_database": ["truncate orders"],
    "sqlite": ["delete from orders", "update sqlite_sequence set seq = 0"],
}


@pytest.mark.parametrize("kind", EMPTIED)
def test_ids_that_begin_again_are_noticed_and_deleted_rows_are_not_taken_for_that(request, tmp_path, kind):
    serial, connect, url = "integer primary key autoincrement", None, f"sqlite:///{tmp_path / 'shop.db'}"
    if kind != "sqlite":
        url = request.getfixturevalue(kind)
        serial = "bigserial primary key" if kind == "database" else "bigint auto_increment primary key"
    if kind == "database":
        connect = psycopg.connect(url, autocommit=True)
    else:
        connect = (
            sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
            if kind == "sqlite"
            else connected_mysql(url).thing
        )
    options = {"mode": "incrementing", "incrementing_column": "id"}
    with contextlib.closing(connect) as db:
        run = db.cursor().execute
        run(f"create table orders (id {serial}, note varchar(9))")
        with contextlib.closing(source(url, tmp_path, **options)) as opened:
            opened.open(None)
            for _ in range(2):
                run("insert into orders (note) values ('a'), ('b'), ('c')")
                assert len(read(opened)[0]) == 3
                run("delete from orders")
                assert read(opened)[0] == []
            run("insert into orders (note) values ('d')")
            _, state = read(opened)
            for statement in EMPTIED[kind]:
                run(statement)
            run("insert into orders (note) values ('e')")
            with pytest.raises(PositionLost, match="gives ids out again"):
                read(opened)
        with contextlib.closing(source(url, tmp_path, **options)) as again:
            again.open(again.recover(state))
            assert [e.after for e in read(again)[0] if e.after] == [(1, "e")]
            run("insert into orders (id, note) values (100, 'chosen')")
            assert len(read(again)[0]) == 1
            run("delete from orders where id = 100")
            assert read(again)[0] == []


def test_ids_that_the_database_does_not_give_out_are_warned_of(database, shop, tmp_path):
    shop.execute("create table chosen_orders (id bigint primary key)")
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as db:
        db.execute("create table orders (id integer primary key autoincrement)")
        db.execute("create table reused_orders (id integer primary key)")
    options = {"mode": "incrementing", "incrementing_column": "id"}
    for url in (database, f"sqlite:///{tmp_path / 'shop.db'}"):
        found = [f for f in source(url, tmp_path, **options).check() if f.check == "ids"]
        assert [f.level for f in found] == ["warning"]
        assert found[0].message.partition(":")[0] in ("public.chosen_orders", "main.reused_orders")


def test_a_file_of_keys_that_is_lost_is_noticed_and_recovered_from(database, shop, tmp_path):
    shop.execute("insert into orders (note) select 'n' from generate_series(1, 10)")
    opened = source(database, tmp_path, mode="diff")
    opened.open(None)
    _, state = read(opened)
    opened.close()
    (tmp_path / "shop.keys").unlink()
    again = source(database, tmp_path, mode="diff")
    with pytest.raises(PositionLost, match=r"shop\.keys"):
        again.open(state)
    again.close()
    after = again.recover(state)
    assert after.position > state.position
    recovered = source(database, tmp_path, mode="diff")
    recovered.open(after)
    assert brief(read(recovered)[0][1:]) == [("read", n) for n in range(1, 11)]
    recovered.close()


def test_what_cannot_work_is_refused_at_once(database, shop, tmp_path):
    shop.execute("create table loose_orders (a int)")
    for tables, options, complaint in [
        (["public.loose_orders"], {"mode": "bulk"}, "has no primary key"),
        (["public.nothing"], {"mode": "bulk"}, "no table matches"),
        (["public.orders"], {"mode": "timestamp", "timestamp_column": "when"}, "no column when"),
    ]:
        opened = source(database, tmp_path, tables=tables, **options)
        with pytest.raises(ConfigError, match=complaint):
            opened.open(None)
        opened.close()


def test_the_commit_column_is_printed_added_and_taken_away(database, shop, tmp_path, capsys):
    config = {
        "type": "query", "url": database, "tables": ["public.orders"], "mode": "incrementing",
        "incrementing_column": "id",
    }  # fmt: skip
    shop.execute("insert into orders (note) values ('old')")
    with Inline(tmp_path / "run", {"shop": config}, {}) as pipeline:

        def run(*arguments):
            assert cli.invoke([*arguments, "--config", str(pipeline.path)]) == 0
            return capsys.readouterr().out

        printed = run("setup", "--add-commit-column", "--dry-run")
        assert 'alter table "public"."orders" add column' in printed and "create index" in printed
        assert "liberator_tx" not in columns(shop)
        assert "created commit column" in run("setup", "--add-commit-column")
        assert "nothing to do" in run("setup", "--add-commit-column")
        pipeline.catch_up()
        shop.execute("update orders set note = 'changed'")
        shop.execute("insert into orders (note, liberator_tx) values ('lies', '1')")
        pipeline.catch_up()
        assert [e.after[1] for e in pipeline.events()] == ["old", "changed", "lies"]
        assert "removed commit column" in run("teardown")
    assert "liberator_tx" not in columns(shop)


def columns(db):
    found = db.execute("select attname from pg_attribute where attrelid = 'orders'::regclass and attnum > 0")
    return [name for (name,) in found.fetchall()]


def test_sqlite_values_of_another_class_than_declared(tmp_path):
    path = tmp_path / "shop.db"
    db = sqlite3.connect(path)
    with db:
        db.execute("create table orders (id integer primary key, day date, price decimal(8,2), n int)")
        db.execute("insert into orders values (1, '2024-02-29', 12.5, 1), (2, 'soon', 'much', 2)")
    opened = source(f"sqlite:///{path}", tmp_path, mode="bulk")
    opened.open(None)
    events, _ = read(opened)
    assert [e.after for e in events[:2]] == [(1, 19782, 1250, 1), (2, "soon", "much", 2)]
    with db:
        db.execute("insert into orders values (3, null, null, 'three')")
    with pytest.raises(Exception, match="holds a value of class str"):
        read(opened)
    opened.close()
    db.close()
