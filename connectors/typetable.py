"""The page docs/types.md: which type of one database becomes which of another, from the code's own tables.

    python -m connectors.typetable > docs/types.md

Nothing here decides anything: every cell is what the dialects answer. A test compares the page with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from connectors.mysql.native import NativeType
from connectors.mysql.sink import column_types as mysql
from connectors.mysql.sink.column_types import Flavour
from connectors.postgres.sink import column_types as postgres
from connectors.postgres.types.builtin import BUILTIN, KINDS, numeric_parameters
from connectors.sqlite import types as sqlite
from connectors.sqlite.values import logical
from liberator.schema import Column, Kind, LogicalType

#: The versions that the page speaks of; an older server that lacks a type gets what holds it.
MYSQL, MARIADB = Flavour("mysql", (9, 0)), Flavour("mariadb", (11, 7))
#: Types of MySQL and MariaDB, as their columns spell them.
FAMILY = (
    "tinyint", "tinyint unsigned", "tinyint(1)", "smallint", "smallint unsigned", "mediumint",
    "mediumint unsigned", "int", "int unsigned", "bigint", "bigint unsigned", "decimal(10,2)",
    "decimal(65,30)", "decimal(38,38)", "float", "double", "bit(8)", "year", "date", "datetime(6)",
    "timestamp(6)", "time(6)", "char(20)", "varchar(200)", "varchar(2000)", "tinytext", "text",
    "text character set latin1", "mediumtext", "longtext", "binary(16)", "varbinary(200)", "tinyblob", "blob",
    "mediumblob", "longblob", "enum('a','b')", "set('a','b')", "json", "geometry", "point", "vector(3)",
    "uuid", "inet4", "inet6",
)  # fmt: skip
#: Types that columns of SQLite are declared with: by people, and by our own sink.
DECLARED = (
    "INTEGER", "BIGINT", "BOOLEAN", "REAL", "DOUBLE", "DECIMAL(10,2)", "NUMERIC", "TEXT", "VARCHAR(40)",
    "BLOB", "DATE", "TIME", "DATETIME", "TIMESTAMP", "TIMESTAMPTZ", "UUID", "JSON", "UNSIGNED_TEXT",
    "DECIMAL_TEXT(10,2)", "DATE_TEXT", "TIME_TEXT", "TIMESTAMP_TEXT", "TIMESTAMPTZ_TEXT", "DURATION_TEXT",
    "UUID_TEXT", "JSON_TEXT", "ENUM_TEXT", "ARRAY_TEXT", "BITS_TEXT", "GEOMETRY_BLOB", "all others", "",
)  # fmt: skip
LOGICAL = (
    *(LogicalType(kind) for kind in Kind if kind not in (Kind.ARRAY, Kind.DECIMAL, Kind.NATIVE, Kind.ENUM)),
    LogicalType(Kind.DECIMAL, 10, 2),
    LogicalType(Kind.DECIMAL, 100, 40),
    LogicalType(Kind.DECIMAL),
    LogicalType(Kind.ENUM, values=("a", "b")),
    LogicalType(Kind.ARRAY, item=LogicalType(Kind.INT32)),
    LogicalType(Kind.NATIVE, name="…"),
)
HEAD = """\
# Types across databases

Which type a column becomes when its rows go from one database into another. Written by
`python -m connectors.typetable` from the tables that the code uses; a test fails when this page is older.
How values look in events is in [events.md](events.md), what Postgres's types are to us in
[types-postgres.md](types-postgres.md), what happens to a table that is there already in
[sinks.md](sinks.md).

A column goes two steps: its source says which logical type it has, and the sink which type holds every value
of that. Where both databases are of one kind the native type is made again. Text that is made in MySQL and
MariaDB is `utf8mb4` and compares byte by byte; in a key it becomes a `varchar`, for an index holds 3072 bytes
of a row.
"""
NOTES = """\
## What no type says

**Values that have no place** are refused, with table, column and remedy; `allow_lossy: true` writes null
instead. A column that is text at the target takes them as they are.

| value | has no place in |
|---|---|
| NaN and infinity of a float (and the sign of -0, which is written as 0, in MariaDB) | MySQL, MariaDB |
| NaN and infinity of a decimal with precision and scale | MySQL, MariaDB |
| an infinite date, one BC or behind the year 9999 | MySQL, MariaDB |
| a date that is none (`0000-00-00`, `2024-00-10`) | Postgres |
| a time of a day and more, or below zero | Postgres, but in an `interval` that you made |
| a number in JSON that is no 64-bit integer and no double | MySQL; MariaDB's JSON is text |
| a geometry with a third coordinate | MySQL, MariaDB |
| the empty text that an enum has for a wrong label | MySQL, MariaDB, where it is no label |
| a text with a NUL | Postgres, also in text |

**Too long for its column.** A text that is longer than a key's `varchar`, or than one of a table that you
made, is refused, never cut.

**Moments.** A `timestamp` of MySQL and MariaDB is a moment: it becomes `timestamptz` in Postgres, whose own
become `datetime(6)` in UTC there, because their `timestamp` ends in 2038. A `datetime` has no zone anywhere.

**Numbers without bounds.** Postgres's `numeric` without precision is text in MySQL and MariaDB, with the
scale that each value had. A `decimal(65,30)` that you made takes it with `allow_lossy`, which rounds.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            "## From Postgres",
            "",
            *_rows(("Postgres", "logical type", "MySQL", "MariaDB", "SQLite"), _from_postgres()),
            "",
            "## From MySQL and MariaDB",
            "",
            *_rows(
                ("MySQL, MariaDB", "logical type", "Postgres", "MySQL", "MariaDB", "SQLite"), _from_mysql()
            ),
            "",
            "## From SQLite",
            "",
            *_rows(("SQLite", "logical type", "Postgres", "MySQL", "MariaDB", "SQLite"), _from_sqlite()),
            "",
            "## From any other database",
            "",
            *_rows(("logical type", "Postgres", "MySQL", "MariaDB", "SQLite"), _from_others()),
            "",
            NOTES,
        ]
    )


def _from_postgres() -> Iterable[tuple[str, ...]]:
    seen = set()
    for _, _, name, spelling in BUILTIN:
        kind = KINDS.get(name)
        if kind is None or name in seen:
            continue
        seen.add(name)
        for native, type_ in _parametrized(spelling, kind):
            column = Column("", type_, native=native)
            yield (native, str(type_), *_family(column, "postgresql"), sqlite.declared(column))
    for native, type_ in (
        ("enum", LogicalType(Kind.ENUM, values=("a", "b"))),
        ("integer[]", LogicalType(Kind.ARRAY, item=LogicalType(Kind.INT32))),
        ("geometry", LogicalType(Kind.GEOMETRY)),
        ("all others", LogicalType(Kind.NATIVE, name="…")),
    ):
        column = Column("", type_, native=native)
        yield (native, str(type_), *_family(column, "postgresql"), sqlite.declared(column))


def _parametrized(spelling: str, kind: Kind) -> Iterable[tuple[str, LogicalType]]:
    if kind is Kind.DECIMAL:
        precision, scale = numeric_parameters((10 << 16 | 2) + 4)
        yield f"numeric({precision},{scale})", LogicalType(kind, precision, scale)
    yield spelling, LogicalType(kind)


def _from_mysql() -> Iterable[tuple[str, ...]]:
    for native in FAMILY:
        type_ = NativeType.parse(native).logical()
        column = Column("", type_, native=native)
        yield (
            native,
            str(type_),
            postgres.equivalent(type_),
            *_family(column, "mysql"),
            sqlite.declared(column),
        )


def _from_sqlite() -> Iterable[tuple[str, ...]]:
    for native in DECLARED:
        type_ = logical(native)
        column = Column("", type_, native=native)
        yield (
            native or "no type",
            str(LogicalType(Kind.NATIVE, name="…")) if type_.kind is Kind.NATIVE else str(type_),
            postgres.equivalent(type_),
            *_family(column, ""),
            sqlite.declared(column, native),
        )


def _from_others() -> Iterable[tuple[str, ...]]:
    for type_ in LOGICAL:
        column = Column("", type_)
        yield (str(type_), postgres.equivalent(type_), *_family(column, ""), sqlite.declared(column))


def _family(column: Column, origin: str) -> tuple[str, str]:
    mine, theirs = (mysql.type_of(column, origin, flavour) for flavour in (MYSQL, MARIADB))
    return mine.partition(" character set ")[0], theirs.partition(" character set ")[0]


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(f'`{cell}`' for cell in row)} |" for row in rows]


if __name__ == "__main__":
    print(page(), end="")
