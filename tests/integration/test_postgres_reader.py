"""Reading Postgres by asking: the select that the server begins before it is wanted."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from connectors.postgres.reader import PostgresReader
from connectors.sql.reader import SourceTable, UnknownShape
from liberator.errors import SourceError

ALL = "select id, note from orders order by id"


@pytest.fixture
def orders(database):
    """A reader, the schema of a table of 5,000 rows, and a connection of the application's."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("create table orders (id int primary key, note text)")
        db.execute("insert into orders select n, repeat('x', 1000) from generate_series(1, 5000) n")
        with closing(PostgresReader(database)) as reader:
            reader.connect()
            yield reader, reader.describe(SourceTable("public", "orders")), db


def ids(selected):
    return [row[0] for row in selected.rows]


def test_what_was_begun_ahead_is_what_is_selected(orders):
    reader, schema, db = orders
    reader.ahead(ALL)
    db.execute("delete from orders where id > 10")
    assert ids(reader.select(ALL, schema)) == list(range(1, 5001)), "begun before the rows were deleted"
    assert ids(reader.select(ALL, schema)) == list(range(1, 11))


def test_whatever_else_is_asked_ends_what_was_begun(orders):
    reader, schema, _ = orders
    for ask in (
        lambda: reader.fetch("select 1") == [(1,)],
        lambda: reader.execute("select 1") == 1,
        lambda: ids(reader.select(f"{ALL} limit 3", schema)) == [1, 2, 3],
        lambda: reader.describe(SourceTable("public", "orders")) == schema,
    ):
        reader.ahead(ALL)
        assert ask()
        assert len(reader.select(ALL, schema, budget=10_000, places=[0]).rows) < 20
    reader.ahead("select 1 / 0")
    assert reader.fetch("select 2") == [(2,)]


def test_what_was_begun_and_failed_is_asked_for_again(orders):
    """As when it waited for us longer than a statement may take."""
    reader, schema, db = orders
    sleepy = f"{ALL} offset (select 0 from pg_sleep(0.3))"
    reader.ahead(sleepy)
    canceled = db.execute(
        "select pg_cancel_backend(pid) from pg_stat_activity"
        " where application_name = 'liberator' and datname = current_database() and state = 'active'"
    )
    assert canceled.fetchall() == [(True,)]
    assert len(reader.select(sleepy, schema).rows) == 5000


def test_a_table_that_changed_after_the_begin_is_described_anew(orders):
    reader, schema, db = orders
    db.execute("alter table orders rename note to remark")
    reader.ahead(ALL)
    with pytest.raises(UnknownShape):
        reader.select(ALL, schema)


def test_what_was_begun_on_a_connection_that_broke_is_an_error_of_its_own(orders):
    reader, schema, db = orders
    reader.ahead(ALL)
    db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'liberator' and datname = current_database()"
    )
    with pytest.raises(SourceError) as caught:
        reader.select(ALL, schema)
    assert caught.value.retryable


def test_a_page_between_two_bounds_is_found_in_the_index_without_statistics(orders, monkeypatch):
    """A planner that knows nothing expects a few rows between two bounds, and sorts them."""
    reader, _, db = orders
    db.execute("create table fresh (id int primary key, note text) with (autovacuum_enabled = false)")
    db.execute("insert into fresh select n, repeat('x', 50) from generate_series(1, 100000) n")

    def plan():
        page = reader.page("id, note", "fresh", ["(id > 50000)"], "id", 1000, "id <= 90000")
        assert [row[0] for row in reader.fetch(page)] == list(range(50_001, 51_001))
        return "".join(line for (line,) in reader.fetch(f"explain {page}"))

    assert "Sort" not in plan()
    monkeypatch.setattr(PostgresReader, "limits_first", False)
    assert "Sort" in plan(), "the plain statement is no better: the other is not needed"
