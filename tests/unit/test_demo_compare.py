"""The demo's comparison finds every difference, and takes nothing for equal that only looks so."""

from __future__ import annotations

import datetime
import sqlite3
import uuid
from contextlib import closing
from decimal import Decimal

import pytest

from connectors.demo.compare import NAMED, Table, compare, sqlite_rows

TABLE = Table("orders", ("id",), ("id", "total", "note"), ("bigint", "numeric", "text"))
ROWS = [(1, Decimal("1.10"), "a"), (2, Decimal("2.20"), None), (3, None, "c")]


def test_equal_rows_are_counted_and_nothing_differs():
    result = compare(TABLE, "copy", iter(ROWS), iter(list(ROWS)))
    assert (result.rows, result.different, result.differences) == (3, 0, [])


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_row_is_named_by_its_key(missing):
    rest = [row for i, row in enumerate(ROWS) if i != missing]
    result = compare(TABLE, "copy", iter(ROWS), iter(rest))
    assert [(d.key, d.what) for d in result.differences] == [((missing + 1,), "missing in copy")]


@pytest.mark.parametrize("extra", [0, 4])
def test_a_row_too_many_is_named_by_its_key(extra):
    rows = sorted([*ROWS, (extra, Decimal(0), None)], key=lambda row: row[0])
    result = compare(TABLE, "copy", iter(ROWS), iter(rows))
    assert [(d.key, d.what) for d in result.differences] == [((extra,), "only in copy")]


def test_other_values_are_named_by_their_columns():
    other = [ROWS[0], (2, Decimal("2.21"), ""), ROWS[2]]
    result = compare(TABLE, "copy", iter(ROWS), iter(other))
    assert [(d.key, d.what) for d in result.differences] == [((2,), "other values of total, note in copy")]


def test_an_empty_copy_is_all_differences_and_only_some_are_named():
    many = [(i, None, None) for i in range(NAMED * 2)]
    result = compare(TABLE, "copy", iter(many), iter([]))
    assert (result.rows, result.different, len(result.differences)) == (0, NAMED * 2, NAMED)


def sqlite_value(declared: str, kind: str, value: object) -> object:
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute(f'create table "t" ("id" integer, "value" {declared})')
        conn.execute("insert into t values (1, ?)", [value])
        ((_, read),) = sqlite_rows(conn, Table("t", ("id",), ("id", "value"), ("bigint", kind)))
        return read


@pytest.mark.parametrize(
    ("declared", "kind", "stored", "value"),
    [
        ("text", "numeric", "123456789012345678901234567890.10", Decimal("123456789012345678901234567890.1")),
        ("", "boolean", 1, True),
        ("text", "date", "2024-02-29", datetime.date(2024, 2, 29)),
        ("text", "timestamp with time zone", "2024-01-01 00:00:00.000001+00:00",
         datetime.datetime(2024, 1, 1, microsecond=1, tzinfo=datetime.UTC)),
        ("text", "uuid", "00000000-0000-0000-0000-000000000001", uuid.UUID(int=1)),
        ("text", "jsonb", '{"a": [1, null]}', {"a": [1, None]}),
        ("text", "integer[]", "[1, null, 3]", [1, None, 3]),
        ("text", "text", None, None),
    ],
)  # fmt: skip
def test_values_are_read_from_sqlite_as_psycopg_gives_them(declared, kind, stored, value):
    assert sqlite_value(declared, kind, stored) == value


def test_a_numeric_that_sqlite_keeps_as_a_float_is_never_equal():
    assert sqlite_value("real", "numeric", 1.5) != Decimal("1.5")
