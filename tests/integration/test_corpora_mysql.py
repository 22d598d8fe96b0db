"""Chinook goes from Postgres to MySQL and MariaDB and the other way, by the sample configurations: the
snapshot, then its deletes and inserts as a stream, every cell compared; and beside Postgres to SQLite."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.corpora import all_tables, assert_same, corpus, psql
from tests.pipeline import Inline
from tests.targets import MySqlTarget, PostgresTarget, SqliteTarget

CONFIGS = Path(__file__).parent.parent.parent / "configs"
TABLES = """
select table_name from information_schema.tables
where table_schema = database() and table_type = 'BASE TABLE' and table_name not like 'liberator%' order by 1
"""
ROWS = 15_600


def sample(directory, name, **changes):
    """A sample configuration, with its log in ``directory`` and some of its lines changed."""
    flow = Inline(directory, {}, {})
    text = (CONFIGS / name).read_text()
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    flow.path.write_text(text)
    return flow


def count_same(names, left, right):
    """The rows of every table are the same here and there; how many there are."""
    count = 0
    for name in names:
        rows = left(name)
        assert_same(rows, right(name), name)
        count += len(rows)
    return count


def lite(value):
    """A value of a MySQL driver, as SQLite holds it."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    return str(value) if isinstance(value, Decimal) else value


def rows_of(target, columns):
    def rows(name):
        cells = ", ".join(f'"{c}"' for c in columns[name])
        return target.query(f'select {cells} from "{name}"')

    return rows


@pytest.fixture
def chinook():
    script = corpus("chinook", "Chinook_PostgreSql.sql").read_text()
    script = script[script.index("\\c chinook") :].partition("\n")[2]
    schema, insert, rest = script.partition("INSERT INTO")
    return schema, insert + rest


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_chinook_is_copied_from_postgres_emptied_and_filled_again(
    request, database, chinook, tmp_path, monkeypatch, kind
):
    schema, fill = chinook
    target = MySqlTarget(request.getfixturevalue(f"{kind}_database"), kind)
    monkeypatch.setenv("SHOP_URL", database)
    monkeypatch.setenv("WAREHOUSE_URL", target.url)
    psql(database, schema)
    psql(database, fill)
    source = PostgresTarget(database)
    with psycopg.connect(database) as conn:
        tables = all_tables(conn)
    columns = {t.name: t.columns for t in tables}
    flow = sample(tmp_path, "postgres-to-mysql.yaml")
    flow.catch_up()
    both = rows_of(source, columns), rows_of(target, columns)
    assert count_same(columns, *both) >= ROWS
    with psycopg.connect(database) as conn:
        conn.execute("set session_replication_role = replica")  # in any order, whatever refers to what
        for table in tables:
            conn.execute(f'delete from "{table.name}"'.encode())
    flow.catch_up()
    assert count_same(columns, *both) == 0
    psql(database, fill)
    flow.catch_up()
    assert count_same(columns, *both) >= ROWS


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_chinook_is_copied_to_postgres_emptied_and_filled_again(
    request, database, tmp_path, monkeypatch, kind
):
    script = corpus("chinook", "Chinook_MySql.sql").read_text()
    script = re.sub(r"/\*.*?\*/", "", script[script.index("USE `Chinook`;") + 14 :], flags=re.DOTALL)
    schema, insert, rest = script.partition("INSERT INTO")
    source = MySqlTarget(request.getfixturevalue(f"{kind}_database"), kind)
    name = urlsplit(source.url).path[1:]
    monkeypatch.setenv("SHOP_URL", source.url)
    monkeypatch.setenv("WAREHOUSE_URL", database)
    # The script quotes as MySQL does, and escapes in its strings.
    source.run(schema)
    source.run(insert + rest)
    names = [table for (table,) in source.query(TABLES)]
    columns = {
        table: [c for (c,) in source.query(
            "select column_name from information_schema.columns "
            f"where table_schema = database() and table_name = '{table}'"
        )]
        for table in names
    }  # fmt: skip
    file = SqliteTarget(tmp_path / "copy.db")
    sink = f"sinks:\n  file: {{type: sqlite, url: '{file.url}', topics: [shop.*]}}"
    flow = sample(
        tmp_path, "mysql-to-postgres.yaml", tables=('["*.*"]', f'["{name}.*"]'), sinks=("sinks:", sink)
    )
    flow.catch_up()
    here, there = rows_of(source, columns), rows_of(PostgresTarget(database), columns)
    in_file = rows_of(file, columns)

    def same():
        """How many rows there are, in either copy."""
        count = count_same(names, lambda table: [tuple(map(lite, row)) for row in here(table)], in_file)
        assert count_same(names, here, there) == count
        return count

    assert len(names) == 11
    assert same() >= ROWS
    source.run(
        "set foreign_key_checks = 0; " + "; ".join(f"delete from `{table}`" for table in reversed(names))
    )
    flow.catch_up()
    assert same() == 0
    source.run(insert + rest)
    flow.catch_up()
    assert same() >= ROWS
