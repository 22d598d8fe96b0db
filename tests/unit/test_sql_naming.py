"""What tables and columns are called, and which templates are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from connectors.postgres.sink.dialect import PostgresDialect
from connectors.sql.dialect import TableName
from connectors.sql.sink.naming import column_names, shorten, table_name
from connectors.sqlite.dialect import SqliteDialect
from connectors.sqlite.sink import SqliteSink
from liberator.schema import Kind
from liberator.testing.events import table

SQLITE = SqliteDialect("sqlite:///x.db")
POSTGRES = PostgresDialect("postgresql:///x")
POSTGRES.home = "public"
ORDERS = table("orders", {"id": Kind.INT64}, schema="sales.eu")


@pytest.mark.parametrize(
    ("template", "sqlite", "postgres"),
    [
        ("{table}", "orders", ("public", "orders")),
        ("{schema}_{table}", "sales.eu_orders", ("public", "sales.eu_orders")),
        ("{source}_{schema}_{table}", "shop.v2_sales.eu_orders", ("public", "shop.v2_sales.eu_orders")),
        ("{schema}.{table}", "sales.eu.orders", ("sales.eu", "orders")),
        ("raw.{source}_{table}", "raw.shop.v2_orders", ("raw", "shop.v2_orders")),
    ],
)
def test_a_template_is_filled_in(template, sqlite, postgres):
    topic = "shop.v2.sales.eu.orders"
    assert table_name(SQLITE, template, topic, ORDERS) == TableName(None, sqlite)
    assert table_name(POSTGRES, template, topic, ORDERS) == TableName(*postgres)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{tabel}", "unknown field"),
        ("{table!r}", "unknown field"),
        ("{table:>9}", "unknown field"),
        ("{", "not a template"),
        ("orders", "needs"),
        ("{0}", "unknown field"),
        ("{table.__class__}", "unknown field"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused(template, complaint):
    with pytest.raises(ValidationError, match=complaint):
        SqliteSink.Config(type="sqlite", url="sqlite:///x.db", table=template)


def test_soft_deletes_belong_to_mirrors():
    with pytest.raises(ValidationError, match="delete: soft belongs to mode upsert"):
        SqliteSink.Config(type="sqlite", url="sqlite:///x.db", mode="append", delete="soft")


def test_names_are_cut_between_characters_and_always_alike():
    name = "é" * 40
    short = shorten(POSTGRES, name)
    assert len(short.encode()) <= 63
    assert short == shorten(POSTGRES, name) != shorten(POSTGRES, name + "x")
    assert shorten(POSTGRES, "x" * 63) == "x" * 63
    assert shorten(SQLITE, name * 9) == name * 9


def test_columns_that_the_database_takes_for_one_are_told_apart():
    first, second, third = column_names(SQLITE, ["Note", "note", "Ünote"])
    assert first == "Note" and second.startswith("note_") and third == "Ünote"
    assert column_names(POSTGRES, ["Note", "note"]) == ["Note", "note"]
