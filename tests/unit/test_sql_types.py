"""Which types a column gets at a target, and which an existing one may have."""

from __future__ import annotations

import pytest

from connectors.postgres.sink.column_types import Spelled, equivalent, holds
from connectors.sqlite import types as sqlite
from liberator.schema import Column, Kind, LogicalType


def decimal(precision=None, scale=None):
    return LogicalType(Kind.DECIMAL, precision, scale)


@pytest.mark.parametrize(
    ("spelling", "parts"),
    [
        ("bigint", ("bigint", (), False)),
        ("numeric(10,2)[]", ("numeric", ("10", "2"), True)),
        ("timestamp(3) without time zone", ("timestamp without time zone", ("3",), False)),
        ("time(6) with time zone[]", ("time with time zone", ("6",), True)),
        ('"Odd (schema)"."My [type]"', ('"Odd (schema)"."My [type]"', (), False)),
        ("ext.geometry(Point,4326)", ("ext.geometry", ("Point", "4326"), False)),
    ],
)
def test_a_spelling_is_taken_apart(spelling, parts):
    taken = Spelled.of(spelling)
    assert (taken.base, taken.args, taken.array) == parts


def test_names_of_types_are_unquoted():
    assert Spelled.of('"Odd ""schema"""."My.type"').names() == ('Odd "schema"', "My.type")
    assert Spelled.of("mood[]").names() == (None, "mood")


@pytest.mark.parametrize(
    ("big", "small"),
    [
        ("bigint", "smallint"), ("numeric(12,2)", "numeric(10,2)"), ("numeric", "numeric(10,2)"),
        ("numeric(12,2)", "integer"), ("numeric", "bigint"), ("text", "bigint"), ("text", "jsonb"),
        ("character varying", "character varying(3)"), ("character varying(9)", "character varying(3)"),
        ("double precision", "integer"), ("timestamp without time zone", "timestamp(3) without time zone"),
        ("bit varying", "bit(3)"), ("bigint[]", "integer[]"), ("text", "integer[]"),
        ("interval", "interval day to second(3)"), ("character varying(9)", "character(9)"),
    ],
)  # fmt: skip
def test_a_wider_type_holds_a_narrower_one(big, small):
    assert holds(big, small)
    assert not holds(small, big)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("numeric(12,2)", "numeric(12,4)"), ("real", "bigint"), ("numeric(9,0)", "bigint"),
        ("timestamp without time zone", "timestamp with time zone"), ("boolean", "integer"),
        ("bit(3)", "bit(4)"), ("integer[]", "integer"), ("character varying(9)", "text[]"),
        ("public.mood", "public.colour"), ("uuid", "bytea"), ("real", "integer"),
    ],
)  # fmt: skip
def test_types_that_hold_something_else_do_not_hold_each_other(one, other):
    assert not holds(one, other)


@pytest.mark.parametrize(
    ("logical", "type_"),
    [
        (decimal(10, 2), "numeric(10,2)"), (decimal(5, -2), "numeric"), (decimal(2, 5), "numeric"),
        (decimal(2000, 5), "numeric"), (decimal(), "numeric"),
        (LogicalType(Kind.ARRAY, item=LogicalType(Kind.ARRAY, item=LogicalType(Kind.INT16))), "smallint[]"),
    ],
)  # fmt: skip
def test_equivalents_at_postgres(logical, type_):
    assert equivalent(logical) == type_


def test_every_kind_has_an_equivalent_at_every_target():
    for kind in Kind:
        type_ = LogicalType(kind, item=LogicalType(Kind.STRING) if kind is Kind.ARRAY else None)
        assert equivalent(type_)
        assert sqlite.declared(Column("c", type_))


@pytest.mark.parametrize("kind", list(Kind))
def test_what_sqlite_stores_is_what_its_affinity_leaves_alone(kind):
    wanted = {Kind.BOOL: "NUMERIC", Kind.BYTES: "BLOB", Kind.GEOMETRY: "BLOB"}
    wanted |= dict.fromkeys((Kind.INT16, Kind.INT32, Kind.INT64), "INTEGER")
    wanted |= dict.fromkeys((Kind.FLOAT32, Kind.FLOAT64), "REAL")
    type_ = LogicalType(kind, item=LogicalType(Kind.STRING) if kind is Kind.ARRAY else None)
    assert sqlite.affinity(sqlite.declared(Column("c", type_))) == wanted.get(kind, "TEXT")


def test_sqlite_keeps_a_native_type_whose_affinity_is_right():
    text, number = LogicalType(Kind.STRING), decimal(10, 2)
    assert sqlite.declared(Column("c", text), "VARCHAR(20)") == "VARCHAR(20)"
    assert sqlite.declared(Column("c", number), "DECIMAL(10,2)") == "DECIMAL_TEXT(10,2)"


@pytest.mark.parametrize(
    ("existing", "logical", "fit"),
    [
        ("VARCHAR(20)", LogicalType(Kind.STRING), "fits"), ("TEXT", decimal(10, 2), "fits"),
        ("", decimal(10, 2), "fits"), ("DECIMAL(10,2)", decimal(10, 2), "differs"),
        ("DATE", LogicalType(Kind.DATE), "fits"), ("DATETIME", LogicalType(Kind.TIMESTAMP), "fits"),
        ("INTEGER", LogicalType(Kind.UINT64), "widen"), ("INTEGER", decimal(10, 2), "widen"),
        ("REAL", LogicalType(Kind.INT64), "differs"), ("REAL", LogicalType(Kind.FLOAT64), "fits"),
        ("INTEGER", LogicalType(Kind.FLOAT64), "differs"), ("TEXT", LogicalType(Kind.BYTES), "differs"),
        ("DECIMAL_TEXT(10,2)", decimal(12, 2), "fits"), ("DECIMAL_TEXT(10,2)", decimal(12, 4), "widen"),
        ("DECIMAL_TEXT(10,4)", decimal(12, 2), "differs"), ("NUMERIC", LogicalType(Kind.STRING), "differs"),
    ],
)  # fmt: skip
def test_how_columns_of_sqlite_suit(existing, logical, fit):
    assert sqlite.fit(existing, sqlite.declared(Column("c", logical)), logical) == fit
