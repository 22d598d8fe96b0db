"""wal2json's regression scripts give the changes that its expected files describe."""

from __future__ import annotations

import psycopg
import pytest

from liberator.event import Operation
from tests.corpora import all_tables, corpus, psql
from tests.pipeline import Inline
from tests.wal2json import assert_is, expected_changes, expected_messages, script_parts, unfold

#: Scripts whose tables exist before their slot does, and that ask for nothing but the changes.
SCRIPTS = [
    "bytea", "default", "delete1", "delete3", "delete4", "insert1", "pk", "position", "rename_column",
    "savepoint", "truncate", "type_oid", "typmod", "update1", "update3", "update4",
]  # fmt: skip
#: Scripts that change rows of tables without identity only, which nobody may see.
SILENT = ["delete2", "update2"]


def identities(url, identity):
    """Set the replica identity of all tables without a primary key."""
    with psycopg.connect(url, autocommit=True) as conn:
        for (schema,) in conn.execute(
            "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema$)'"
        ).fetchall():
            for table in all_tables(conn, schema):
                name = f"{quoted(schema)}.{quoted(table.name)}"
                index = conn.execute(
                    "select 1 from pg_index where indrelid = %s::regclass and indisreplident", [name]
                ).fetchone()
                if table.key == table.columns and not index:
                    conn.execute(f"alter table {name} replica identity {identity}".encode())


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def run(name, database, tmp_path):
    """The events of a script, and what its expected file says."""
    folder = corpus("wal2json")
    before, changes = script_parts((folder / "sql" / f"{name}.sql").read_text())
    psql(database, before, stop=False)
    # A publication makes the server refuse updates of tables without identity; wal2json skips them. So they
    # get one for the moment in which they are published, and lose it again for the script.
    identities(database, "full")
    source = {"type": "postgres-wal", "url": database, "tables": ["*"], "snapshot": "none"}
    with Inline(tmp_path, {"s": source}, {}) as flow:
        flow.setup()
        identities(database, "default")
        psql(database, changes, stop=False)
        identities(database, "full")
        flow.catch_up()
        events = flow.events()
    expected = expected_changes((folder / "expected" / f"{name}.out").read_text())
    return events, expected


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_gives_the_changes_that_its_expected_file_describes(name, database, tmp_path):
    events, expected = run(name, database, tmp_path)
    keys = {f"{e.schema.schema}.{e.schema.table}": {c.name for c in e.schema.key_columns} for e in events}
    unfolded = [part for change in expected for part in unfold(change, keys.get(change.table, set()))]
    assert unfolded
    assert [e.operation for e in events] == [x.operation for x in unfolded]
    for event, change in zip(events, unfolded, strict=True):
        assert_is(event, change)


@pytest.mark.parametrize("name", SILENT)
def test_changes_that_cannot_be_identified_are_not_seen(name, database, tmp_path):
    events, expected = run(name, database, tmp_path)
    assert (events, expected) == ([], [])


def test_logical_messages_come_as_the_expected_file_has_them(database, tmp_path):
    folder = corpus("wal2json")
    _, changes = script_parts((folder / "sql" / "message.sql").read_text())
    with psycopg.connect(database) as conn:
        conn.execute("create table quiet (id bigint primary key)")
    source = {"type": "postgres-wal", "url": database, "tables": ["*"], "snapshot": "none"}
    # The prefixes that the script asks for, less the one that it filters out.
    with Inline(tmp_path, {"s": {**source, "messages": ["added1", "added3", "wal2json"]}}, {}) as flow:
        flow.setup()
        psql(database, changes)
        flow.catch_up()
        events = flow.events()
    shown = expected_messages((folder / "expected" / "message.out").read_text())
    assert len(shown) == 10
    assert [
        (prefix, content.decode(), within) for prefix, content, within in (e.after for e in events)
    ] == shown


def test_a_file_that_says_something_else_is_noticed(database, tmp_path):
    events, expected = run("bytea", database, tmp_path)
    created = next(x for x in expected if x.operation is Operation.CREATE)
    created.values[next(iter(created.values))] = 17
    with pytest.raises(AssertionError):
        for event, change in zip(events, expected, strict=True):
            assert_is(event, change)
