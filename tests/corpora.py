"""Sample databases and change scripts written by others, where they are present.

They are found through ``LIBERATOR_CORPORA`` (default: ``../shared/corpora`` beside the project); a test
that needs one is skipped, with the reason, where it is absent. Scripts are run by ``psql``, as their authors
meant.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from connectors.demo.compare import Table
from connectors.postgres.server import embedded_binaries

ROOT = Path(__file__).parent.parent
CORPORA = Path(os.environ.get("LIBERATOR_CORPORA", ROOT.parent / "shared" / "corpora"))


def corpus(*parts: str) -> Path:
    """A file or folder of the corpora; skips the test where it is absent."""
    path = CORPORA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the corpus {'/'.join(parts)} is not there (LIBERATOR_CORPORA={CORPORA})")
    return path


def psql(url: str, script: str, stop: bool = True) -> str:
    """Run a script in ``psql``, to its first error or in spite of errors; its messages."""
    done = subprocess.run(
        [embedded_binaries() / "psql", "-X", "-q", "-v", f"ON_ERROR_STOP={int(stop)}", url],
        input=script, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not stop or done.returncode == 0, done.stderr[-2000:]
    return done.stderr


TABLES = """
select c.relname,
       coalesce((select array_agg(a.attname::text order by k.o)
                 from pg_index i, unnest(i.indkey) with ordinality k(n, o), pg_attribute a
                 where i.indrelid = c.oid and i.indisprimary and a.attrelid = c.oid and a.attnum = k.n), '{}')
from pg_class c
where relkind in ('r', 'p') and not relispartition
      and relnamespace = (select oid from pg_namespace where nspname = %s)
order by 1
"""
COLUMNS = """
select attname::text, format_type(atttypid, null)
from pg_attribute
where attrelid = format('%%I.%%I', %s::text, %s::text)::regclass
      and attnum > 0 and not attisdropped and attgenerated = ''
order by array_position(%s::text[], attname::text), attnum
"""


def all_tables(conn: psycopg.Connection[Any], schema: str = "public") -> list[Table]:
    """Every ordinary table, as the comparison wants it; one without a primary key is keyed by all columns."""
    out = []
    for name, key in conn.execute(TABLES.encode(), [schema]).fetchall():
        columns = conn.execute(COLUMNS.encode(), [schema, name, key]).fetchall()
        names = tuple(c for c, _ in columns)
        out.append(Table(name, tuple(key) or names, names, tuple(t for _, t in columns)))
    return out


def assert_copied(source: str, target: str, file: Path, at_least: int, schema: str = "public") -> int:
    """Every table of the source's schema is the same in both copies; how many rows there are."""
    count = 0
    with (
        psycopg.connect(source, autocommit=True) as left,
        psycopg.connect(target, autocommit=True) as right,
        contextlib.closing(sqlite3.connect(file)) as lite,
    ):
        for table in all_tables(left, schema):
            theirs = rows(left, table, schema)
            # What never had a row has no table in the copies yet.
            exists = right.execute(
                "select to_regclass(format('public.%%I', %s::text))", [table.name]
            ).fetchone()
            if exists[0] or theirs:
                assert_same(theirs, rows(right, table, "public"), f"{table.name} in Postgres")
                assert_same(
                    [tuple(map(plain, table.types, row)) for row in theirs],
                    list(lite_rows(lite, left, table)),
                    f"{table.name} in SQLite",
                )
            count += len(theirs)
    assert count >= at_least, f"only {count} rows"
    return count


def assert_same(left: list[Any], right: list[Any], where: str) -> None:
    """The same rows, each as often, in whatever order."""
    one, other = Counter(left), Counter(right)
    assert one == other, f"{where}: missing {list(one - other)[:3]}, too many {list(other - one)[:3]}"


def rows(conn: psycopg.Connection[Any], table: Table, schema: str) -> list[tuple[str | None, ...]]:
    """Every row in the database's own text, without those of tables that inherit from this one; arrays of one
    dimension as JSON."""
    columns = [
        sql.SQL("case when array_ndims({c}) = 1 then to_json({c})::text else {c}::text end")
        if kind.endswith("[]")
        else sql.SQL("case when {c} is not null then format('%s', {c}) end")  # a cast may trim or add
        for kind in table.types
    ]
    named = [part.format(c=sql.Identifier(name)) for part, name in zip(columns, table.columns, strict=True)]
    partitioned = conn.execute(
        "select relkind = 'p' from pg_class where oid = format('%%I.%%I', %s::text, %s::text)::regclass",
        [schema, table.name],
    ).fetchone()
    query = sql.SQL("select {} from {} {}").format(
        sql.SQL(", ").join(named),
        sql.SQL("" if partitioned[0] else "only"),
        sql.Identifier(schema, table.name),
    )
    return conn.execute(query).fetchall()


def plain(kind: str, text: str | None) -> object:
    """A value's text at Postgres, made comparable with what SQLite holds for it."""
    if text is None:
        return None
    if kind.endswith("[]"):
        return elements(text)
    return POSTGRES.get(kind, str)(text)


def lite_rows(lite: sqlite3.Connection, server: psycopg.Connection[Any], table: Table) -> Any:
    """Every row of the SQLite copy, comparable with ``plain``. The server reads an interval's text."""

    def interval(value: str) -> object:
        return server.execute("select %s::interval::text", [value]).fetchone()[0]

    readers = [
        elements if kind.endswith("[]") else interval if kind == "interval" else LITE.get(kind, str)
        for kind in table.types
    ]
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in table.columns)
    name = table.name.replace('"', '""')
    for row in lite.execute(f'select {columns} from "{name}"'):
        yield tuple(None if v is None else read(v) for read, v in zip(readers, row, strict=True))


def elements(text: str) -> object:
    """An array: a tuple of its elements' texts, or the database's own text for several dimensions."""
    return text if text.startswith("{") else tuple(None if e is None else str(e) for e in json.loads(text))


def moment(text: str) -> object:
    """A date or time, however many digits its fraction has."""
    for read in (datetime.datetime.fromisoformat, datetime.time.fromisoformat):
        with contextlib.suppress(ValueError):
            return read(text)
    return text


def number(value: object) -> object:
    """A float; NaN equals itself."""
    return repr(float(value))  # type: ignore[arg-type]


WHOLE, FLOATS = ("smallint", "integer", "bigint"), ("real", "double precision")
MOMENTS = ("date", "time without time zone", "timestamp without time zone", "timestamp with time zone")
POSTGRES: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(WHOLE, int),
    **dict.fromkeys(FLOATS, number),
    **dict.fromkeys(MOMENTS, moment),
    "boolean": lambda text: text == "t",
    "bytea": lambda text: bytes.fromhex(text[2:]),
}
LITE: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(WHOLE, lambda value: value),
    **dict.fromkeys(FLOATS, number),
    **dict.fromkeys(MOMENTS, moment),
    "boolean": lambda value: value == 1,
    "bytea": lambda value: value,
}
