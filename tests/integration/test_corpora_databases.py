"""Whole sample databases of others: snapshot, then their deletes and inserts as a stream."""

from __future__ import annotations

import psycopg
import pytest

from tests.corpora import all_tables, assert_copied, corpus, psql
from tests.pipeline import Inline


def both_sinks(directory, source, target):
    return Inline(
        directory,
        {"sample": {"type": "postgres-wal", "url": source, "tables": ["public.*"]}},
        {
            "file": {"type": "sqlite", "url": "sqlite:///copy.db"},
            "copy": {"type": "postgres", "url": target},
        },
    )


def test_sakila_is_copied_emptied_and_filled_again(database, database2, tmp_path):
    folder = corpus("sakila", "postgres")
    psql(database, (folder / "postgres-sakila-schema.sql").read_text(), stop=False)
    fill = (folder / "postgres-sakila-insert-data-using-copy.sql").read_text()
    psql(database, fill, stop=False)
    with psycopg.connect(database, autocommit=True) as conn:
        # Its payments of a month inherit from a table with a key and have none: without an identity the
        # script's deletes would fail as soon as they are published.
        for table in all_tables(conn):
            if table.key == table.columns:
                conn.execute(f'alter table "{table.name}" replica identity full'.encode())
    with both_sinks(tmp_path, database, database2) as flow:
        flow.catch_up()
        rows = assert_copied(database, database2, tmp_path / "copy.db", 46_000)
        psql(database, (folder / "postgres-sakila-delete-data.sql").read_text())
        flow.catch_up()
        assert assert_copied(database, database2, tmp_path / "copy.db", 0) == 0
        psql(database, fill, stop=False)
        flow.catch_up()
        assert assert_copied(database, database2, tmp_path / "copy.db", 46_000) == rows


@pytest.mark.parametrize("file", ["Chinook_PostgreSql.sql", "Chinook_PostgreSql_SerialPKs.sql"])
def test_chinook_is_copied_emptied_and_filled_again(database, database2, tmp_path, file):
    script = corpus("chinook", file).read_text()
    # The script makes its own database; ours is there already.
    script = script[script.index("\\c chinook") :].partition("\n")[2]
    schema, insert, rest = script.partition("INSERT INTO")
    psql(database, schema)
    psql(database, insert + rest)
    with both_sinks(tmp_path, database, database2) as flow:
        flow.catch_up()
        rows = assert_copied(database, database2, tmp_path / "copy.db", 15_600)
        with psycopg.connect(database) as conn:
            conn.execute("set session_replication_role = replica")  # in any order, whatever refers to what
            for table in all_tables(conn):
                conn.execute(f'delete from "{table.name}"'.encode())
            for (name,) in conn.execute("select relname from pg_class where relkind = 'S'").fetchall():
                conn.execute(f'alter sequence "{name}" restart'.encode())
        flow.catch_up()
        assert assert_copied(database, database2, tmp_path / "copy.db", 0) == 0
        psql(database, insert + rest)
        flow.catch_up()
        assert assert_copied(database, database2, tmp_path / "copy.db", 15_600) == rows
