"""Parts of tables: column lists, row filters and conditions that do not fit are refused before they harm."""

from __future__ import annotations

import psycopg
import pytest

from connectors.postgres.catalog import Table
from connectors.postgres.wal import publication
from connectors.postgres.wal.options import WalOptions
from liberator.errors import ConfigError
from tests.wal import Wal, reading, run

SHOP = (
    "create table orders (id int primary key, note text, big text)",
    "create table wide (a int, b int not null, c text)",
    "alter table wide replica identity full",
    "create table chosen (id int primary key, code text not null unique, note text)",
    "alter table chosen replica identity using index chosen_code_key",
)


@pytest.fixture
def shop(database):
    with psycopg.connect(database) as db:
        if db.info.server_version < 150000:
            pytest.skip("column lists and row filters came with Postgres 15")
    run(database, *SHOP)
    return database


HARMFUL = {
    "columns without the key": (
        {"columns": {"public.orders": ["note"]}},
        "sources.wal.columns: that of public.orders has to contain id",
    ),
    "a filter over a column outside the key": (
        {"filter": {"public.orders": "id > 1 and note <> 'x'"}},
        "sources.wal.filter: that of public.orders may not look at note",
    ),
    "columns under replica identity full": (
        {"columns": {"public.wide": ["a", "b"]}},
        "sources.wal.columns: that of public.wide has to contain c",
    ),
    "the primary key where an index identifies rows": (
        {"columns": {"public.chosen": ["id"]}, "filter": {"public.chosen": "id > 1"}},
        "sources.wal.columns: that of public.chosen has to contain code",
    ),
}


@pytest.mark.parametrize("options, told", HARMFUL.values(), ids=list(HARMFUL))
def test_what_would_make_the_applications_updates_fail_is_refused_and_never_published(shop, options, told):
    wal = Wal(shop, **options)
    findings = [f.message for f in wal.make().check() if f.level == "error"]
    assert any(message.startswith(told) for message in findings)
    with pytest.raises(ConfigError) as caught:
        wal.open()
    assert caught.value.problems[0].startswith(told)
    wal.close()
    with psycopg.connect(shop) as db:
        assert db.execute("select count(*) from pg_publication").fetchone() == (0,)


def test_parts_by_which_rows_are_identified_are_published_and_updates_go_on(shop):
    options = {
        "columns": {"public.orders": ["id", "note"], "public.chosen": ["code", "note"]},
        "filter": {"public.orders": "id <> 7", "public.wide": "c is null or b > 1"},
        "where": {"public.orders": "note is not null"},
    }
    wal = Wal(shop, **options)
    assert [f.message for f in wal.make().check() if f.level == "error"] == []
    with reading(shop, **options) as wal:
        assert wal.read() == []
        run(
            shop,
            *("insert into orders values (1)", "update orders set note = 'a', big = 'b'"),
            *("insert into wide values (1, 2, 'a')", "update wide set c = 'b'"),
            *("insert into chosen values (1, 'k')", "update chosen set note = 'b'"),
        )
        updates = [e.after for e in wal.read() if e.operation.name == "UPDATE"]
    assert updates == [(1, "a"), (1, 2, "b"), ("k", "b")]


MISTAKEN = {
    "a table that is not captured": (
        {"columns": {"public.order": ["id"]}, "where": {"orders": "true"}},
        [
            "sources.wal.columns: no captured table is called public.order; did you mean 'public.orders'?",
            "sources.wal.where: no captured table is called orders; did you mean 'public.orders'?",
        ],
    ),
    "a table that does not exist": (
        {"tables": ["public.orders", "public.wyde", "!public.chosen"]},
        ["sources.wal.tables: there is no table public.wyde; did you mean 'public.wide'?"],
    ),
    "a column that does not exist": (
        {"columns": {"public.orders": ["id", "noot"]}},
        ["sources.wal.columns: public.orders has no column noot"],
    ),
    "conditions that the server cannot read": (
        {"where": {"public.orders": "nope = 3"}, "filter": {"public.wide": "a ="}},
        [
            'sources.wal.where: public.orders: column "nope" does not exist (sqlstate 42703)',
            'sources.wal.filter: public.wide: syntax error at or near ")" (sqlstate 42601)',
        ],
    ),
}


@pytest.mark.parametrize("options, told", MISTAKEN.values(), ids=list(MISTAKEN))
def test_what_fits_no_table_or_column_is_told_and_not_passed_over(shop, options, told):
    wal = Wal(shop, **options)
    assert [f.message for f in wal.make().check() if f.level == "error"] == told
    with pytest.raises(ConfigError) as caught:
        wal.open()
    assert caught.value.problems == told
    wal.close()


def test_a_table_that_was_dropped_since_is_no_obstacle_and_a_pattern_may_wait_for_its_tables(shop):
    options = {"where": {"public.wide": "a > 0"}, "columns": {"public.wide": ["a", "b", "c"]}}
    wal = Wal(shop, tables=["public.orders", "public.wide", "later.*"], **options)
    warnings = [f.message for f in wal.make().check() if f.level == "warning" and f.check == "tables"]
    assert warnings == ["no table matches later.*"]
    wal.open()
    wal.read()
    wal.close()
    run(shop, "drop table wide")
    for number in range(3):
        run(shop, f"insert into orders values ({number})")
        wal.open()
        assert [e.key for e in wal.read()] == [(number,)]
        wal.close()


def test_a_condition_limits_what_the_snapshot_reads_and_not_what_is_streamed(shop):
    run(shop, "insert into orders values (1, 'a'), (2, null), (3, 'c')")
    with reading(shop, where={"public.orders": "note is not null"}) as wal:
        assert sorted(e.key[0] for e in wal.read()) == [1, 3]
        run(shop, "insert into orders values (4, null)", "update orders set big = 'x' where id = 2")
        assert [e.key[0] for e in wal.read()] == [4, 2]


def test_a_partition_without_identity_is_refused_and_never_published(database):
    run(
        database,
        "create table m (id int primary key) partition by range (id)",
        "create table m1 partition of m for values from (0) to (10)",
        "create table m2 partition of m for values from (10) to (20)",
        "alter table m2 replica identity nothing",
    )
    told = "sources.wal.tables: partition public.m2 of public.m has no replica identity"
    wal = Wal(database)
    assert any(f.message.startswith(told) for f in wal.make().check() if f.level == "error")
    with pytest.raises(ConfigError) as caught:
        wal.open()
    wal.close()
    assert caught.value.problems[0].startswith(told)
    run(database, "insert into m values (11)", "update m set id = 12")


def test_column_lists_and_filters_need_a_server_that_can_keep_them():
    for part in ({"columns": {"public.t": ["id"]}}, {"filter": {"public.t": "id > 1"}}):
        options = WalOptions(type="postgres-wal", url="postgresql://db/shop", tables=["*"], **part)
        table = Table(1, "public", "t", "r", "d", (), (1,), 0, True, False)
        assert publication.plan(options, "shop", [table], 150000)
        with pytest.raises(ConfigError, match="need Postgres 15"):
            publication.plan(options, "shop", [table], 140011)


@pytest.mark.parametrize("server", ["database", "database15"])
def test_generated_columns_are_the_same_in_snapshot_and_stream(server, request):
    url = request.getfixturevalue(server)
    run(
        url,
        "create table t (id int primary key, n int, twice int generated always as (n * 2) stored)",
        "insert into t values (1, 10)",
    )
    with reading(url) as wal:
        (read,) = wal.read()
        run(url, "insert into t values (2, 10)")
        (streamed,) = wal.read()
    assert read.schema == streamed.schema
    with psycopg.connect(url) as db:
        published = db.info.server_version >= 180000
    assert read.after[1:] == streamed.after[1:] == ((10, 20) if published else (10,))


def test_a_prepared_transaction_that_a_new_slot_would_wait_for_is_told(database):
    run(database, "create table t (id int primary key)")
    with psycopg.connect(database, autocommit=True) as db:
        if db.execute("show max_prepared_transactions").fetchone() == ("0",):
            pytest.skip("this server prepares no transactions")
        db.execute("begin")
        db.execute("insert into t values (1)")
        db.execute("prepare transaction 'forgotten'")
        try:
            (finding,) = (f for f in Wal(database).make().check() if f.check == "prepared transaction")
        finally:
            db.execute("rollback prepared 'forgotten'")
    assert (
        finding.level == "warning"
        and "forgotten" in finding.message
        and "rollback prepared" in finding.remedy
    )


def test_a_table_that_appears_without_a_key_is_left_out_until_it_has_one(database):
    """As a restored backup makes its tables: first the table, then its rows, then its key."""
    run(database, "create table t (id int primary key)")
    with reading(database) as wal:
        wal.read()
        run(database, "create table late (id int, n int)", "insert into late values (1, 1)")
        wal.source._look_soon()
        run(database, "insert into t values (1)", "update late set n = 2")
        assert [e.schema.table for e in wal.read()] == ["t"]
        (warning,) = wal.source.status(wal.state).details["warnings"]
        assert warning == "not captured, for want of a replica identity: public.late"
        run(database, "alter table late add primary key (id)")
        wal.source._look_soon()
        wal.step()
        run(database, "update late set n = 3")
        rows = {e.key: e.after for e in wal.read()}
        assert rows == {(1,): (1, 3)}
        assert "warnings" not in wal.source.status(wal.state).details
