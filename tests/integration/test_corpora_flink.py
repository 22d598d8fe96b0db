"""flink-cdc's Postgres scripts: type tables, identities, partitions, odd names, equal in both copies."""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg import sql

from tests.corpora import all_tables, assert_copied, corpus, psql
from tests.pipeline import Inline

#: Script to the schema that it makes, and how many rows it leaves there at least.
SCRIPTS = {
    "postgres/column_type_test.sql": ("inventory", 2),
    "postgres/customer.sql": ("customer", 20),
    "postgres/index_type_test.sql": ("indexes", 1),
    "postgres/inventory.sql": ("inventory", 9),
    "postgres/inventory_partitioned.sql": ("inventory_partitioned", 9),
    "postgres/replica_identity.sql": ("inventory", 9),
    "postgres/similar_names.sql": ("similar_names", 12),
    "postgres-pipeline/column_type_test.sql": ("inventory", 1),
    "postgres-pipeline/decimal_mode_test.sql": ("test_decimal", 2),
    "postgres-pipeline/inventory.sql": ("inventory", 9),
}


def as_built(script: str) -> str:
    """The script for a server without PostGIS and without libxml: no such columns, XML as text."""
    script = re.sub(r",\s*geo(?:metry|graphy)_c\s+GEO\w+\([^)]*\)", "", script)
    script = re.sub(r",\s*'(?:SRID=|MULTILINE)[^']*'::geo\w+", "", script)
    return re.sub(r"\bxml\b", "text", script, flags=re.IGNORECASE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_copied_and_so_are_changes_of_all_its_rows(name, database, database2, tmp_path):
    schema, rows = SCRIPTS[name]
    psql(database, as_built(corpus("flink-cdc", *name.split("/")).read_text()))
    source = {"type": "postgres-wal", "url": database, "tables": [f"{schema}.*"]}
    sinks = {
        "file": {"type": "sqlite", "url": "sqlite:///copy.db"},
        "copy": {"type": "postgres", "url": database2},
    }
    with Inline(tmp_path, {"flink": source}, sinks) as flow:
        flow.catch_up()
        copy = (database, database2, tmp_path / "copy.db")
        before = assert_copied(*copy, rows, schema)
        with psycopg.connect(database) as conn:
            conn.execute("set session_replication_role = replica")  # whatever refers to what
            for table in all_tables(conn, schema):
                change(conn, sql.Identifier(schema, table.name), table)
        flow.catch_up()
        assert assert_copied(*copy, rows, schema) == before


def change(conn, name, table):
    """Take every row out and put it in again, then let every column of it be null once where it may."""
    conn.execute(sql.SQL("create temporary table kept on commit drop as table {}").format(name))
    conn.execute(sql.SQL("delete from {}").format(name))
    conn.execute(sql.SQL("insert into {} table kept").format(name))
    conn.execute("drop table kept")
    for column in table.columns[len(table.key) :]:
        try:
            with conn.transaction():
                conn.execute(sql.SQL("update {} set {} = null").format(name, sql.Identifier(column)))
        except psycopg.errors.NotNullViolation:
            conn.execute(sql.SQL("update {} set {c} = {c}").format(name, c=sql.Identifier(column)))
