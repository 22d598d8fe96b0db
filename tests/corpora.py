"""Sample databases and change scripts written by others, where they are present.

They are found through ``LIBERATOR_CORPORA`` (default: ``../shared/corpora`` beside the project); a test
that needs one is skipped, with the reason, where it is absent. Scripts are run by ``psql``, as their authors
meant.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from connectors.demo.compare import Table, compare, postgres_rows, sqlite_rows
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


def own_rows(conn: psycopg.Connection[Any], table: Table) -> Any:
    """The table's rows without those of tables that inherit from it."""
    if conn.execute(
        "select 1 from pg_inherits i join pg_class c on c.oid = inhparent"
        " where c.oid = format('%%I', %s::text)::regclass and c.relkind = 'r'",
        [table.name],
    ).fetchone():
        columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        keys = sql.SQL(", ").join(map(sql.Identifier, table.key))
        query = sql.SQL("select {} from only {} order by {}").format(
            columns, sql.Identifier(table.name), keys
        )
        return iter(conn.execute(query).fetchall())
    return postgres_rows(conn, table)


def assert_copied(source: str, target: str, file: Path, at_least: int) -> int:
    """Every table of the source is the same in the Postgres and in the SQLite copy; how many rows."""
    rows = 0
    with (
        psycopg.connect(source, autocommit=True) as left,
        psycopg.connect(target, autocommit=True) as right,
        contextlib.closing(sqlite3.connect(file)) as lite,
    ):
        for table in all_tables(left):
            exists = right.execute("select to_regclass(format('%%I', %s::text))", [table.name]).fetchone()
            for name, copied in (
                # What never had a row has no table in the copies yet.
                ("postgres", postgres_rows(right, table) if exists[0] else iter(())),
                ("sqlite", sqlite_rows(lite, table) if exists[0] else iter(())),
            ):
                result = compare(table, name, ordered(own_rows(left, table), table), ordered(copied, table))
                assert result.different == 0, (table.name, result.differences)
            rows += result.rows
    assert rows >= at_least, f"only {rows} rows"
    return rows


def ordered(rows: Any, table: Table) -> Any:
    """Rows without a key have no order of their own."""
    return iter(sorted(rows, key=repr)) if table.key == table.columns else rows
