"""Compares every row of a Postgres database with a copy of it, column by column, by value.

Reads both sides with the databases' own drivers and none of liberator's decoders: a proof must not share
code with what it proves. Both sides are read in key order and walked together, so memory does not grow
with the tables. SQLite has five storage classes; :data:`FROM_SQLITE` says how a copy must hold the rest,
and what it must not do (a numeric kept as a float is a difference, however close).
"""

from __future__ import annotations

import datetime
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from connectors.sql.statements import load

Row = tuple[Any, ...]
#: Differences are counted all, named only so many.
NAMED = 5


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the source: ``columns`` and their Postgres types, the ``key`` columns first."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    types: tuple[str, ...]


class Difference(NamedTuple):
    """One row that is not the same: its key, and in which way."""

    key: Row
    what: str


@dataclass(slots=True)
class Result:
    """What comparing one table with its copy gave; ``differences`` names the first few."""

    table: str
    copy: str
    rows: int
    different: int
    differences: list[Difference]


def tables(source: psycopg.Connection[Any], schema: str = "public") -> list[Table]:
    """The ordinary tables with a primary key in ``schema``, by name."""
    statements = load("connectors.demo", "catalog.sql")
    out = []
    for name, key in source.execute(statements["tables"].encode(), [schema]).fetchall():
        columns = source.execute(statements["columns"].encode(), [schema, name, key]).fetchall()
        out.append(Table(name, tuple(key), tuple(c for c, _ in columns), tuple(t for _, t in columns)))
    return out


def postgres_rows(conn: psycopg.Connection[Any], table: Table) -> Iterator[Row]:
    """Every row in key order; text by code point, as Python and SQLite order it."""
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    order = sql.SQL(", ").join(
        sql.SQL("{} collate {}").format(sql.Identifier(name), sql.Identifier("C"))
        if kind in ("text", "character varying")
        else sql.Identifier(name)
        for name, kind in zip(table.key, table.types, strict=False)
    )
    query = sql.SQL("select {} from {} order by {}").format(columns, sql.Identifier(table.name), order)
    with conn.transaction(), conn.cursor("compare") as cursor:
        cursor.itersize = 5000
        yield from cursor.execute(query)


def sqlite_rows(conn: sqlite3.Connection, table: Table) -> Iterator[Row]:
    """Every row in key order, each value as psycopg would give it; see :data:`FROM_SQLITE`."""
    readers = [_reader(kind) for kind in table.types]
    columns = ", ".join(map(_quoted, table.columns))
    order = ", ".join(map(_quoted, table.key))
    for row in conn.execute(f"select {columns} from {_quoted(table.name)} order by {order}"):
        yield tuple(None if value is None else read(value) for read, value in zip(readers, row, strict=True))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _exact(value: object) -> object:
    return Decimal(value) if isinstance(value, str | int) else f"a {type(value).__name__}, not exact"


def _moment(value: object) -> object:
    return datetime.datetime.fromisoformat(value) if isinstance(value, str) else "not a moment's text"


def _unchanged(value: object) -> object:
    return value


#: How a value of a Postgres type is read back from SQLite; types that are not here are compared as they are.
FROM_SQLITE: dict[str, Callable[[Any], object]] = {
    "numeric": _exact,
    "boolean": bool,
    "date": datetime.date.fromisoformat,
    "timestamp with time zone": _moment,
    "timestamp without time zone": _moment,
    "time without time zone": datetime.time.fromisoformat,
    "uuid": uuid.UUID,
    "jsonb": json.loads,
    "json": json.loads,
}


def _reader(kind: str) -> Callable[[Any], object]:
    if kind.endswith("[]"):
        item = FROM_SQLITE.get(kind.removesuffix("[]"), _unchanged)
        return lambda value: [None if v is None else item(v) for v in json.loads(value)]
    return FROM_SQLITE.get(kind, _unchanged)


def compare(table: Table, copy: str, left: Iterator[Row], right: Iterator[Row]) -> Result:
    """Walk two key-ordered streams of rows together."""
    width, result = len(table.key), Result(table.name, copy, 0, 0, [])
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[:width] < b[:width]):
            assert a is not None
            _note(result, a[:width], f"missing in {copy}")
            a = next(left, None)
        elif a is None or b[:width] < a[:width]:
            _note(result, b[:width], f"only in {copy}")
            b = next(right, None)
        else:
            if a != b:
                _note(result, a[:width], f"other values of {_differing(table.columns, a, b)} in {copy}")
            result.rows += 1
            a, b = next(left, None), next(right, None)
    return result


def _note(result: Result, key: Row, what: str) -> None:
    result.different += 1
    if len(result.differences) < NAMED:
        result.differences.append(Difference(key, what))


def _differing(columns: Sequence[str], a: Row, b: Row) -> str:
    return ", ".join(name for name, x, y in zip(columns, a, b, strict=True) if x != y)
