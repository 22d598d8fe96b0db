"""Which tables, and which part of each: the options ``tables``, ``columns``, ``filter`` and ``where``, held
against the database before anything is made of them.

A name that fits no table would be passed over in silence, and what it was to leave out would be captured.
A condition that the server cannot read would stop a snapshot when its turn comes. And Postgres takes a
publication whose column list lacks a column of the key, or whose row filter looks at other columns than the
key's, without a word: it is the application's updates and deletes that fail from then on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import psycopg

from connectors.postgres import catalog
from connectors.postgres.catalog import Table
from connectors.postgres.connection import Connection, is_retryable, reason, translate
from connectors.postgres.wal.options import WalOptions
from liberator.errors import ConfigError
from liberator.patterns import Patterns, parse
from liberator.source import State
from liberator.spelling import suggest


def refuse(
    conn: Connection, options: WalOptions, name: str, tables: Sequence[Table], known: Collection[str] = ()
) -> None:
    """Raise ConfigError for whatever of these options of source ``name`` does not fit the database, of which
    ``tables`` are captured. Tables that are ``known`` from before may be gone."""
    with translate("look at the tables' columns"):
        problems = [
            *_missing(conn, options, name, tables, known),
            *_misnamed(options, name, tables, known),
            *_unreadable(conn, options, name, tables),
        ]
        bare = list(_bare_partitions(conn, name, [t for t in tables if t.full_name not in known]))
    if problems:
        raise ConfigError(
            problems, hint="tables are named schema.table here, columns and conditions as in SQL"
        )
    if bare:
        raise ConfigError(
            bare,
            hint="give it a primary key, or `alter table … replica identity full`: its table's is not enough",
        )


def remembered(state: State | None) -> set[str]:
    """The tables that the log has heard of, those that are gone included."""
    if state is None:
        return set()
    described = {f"{schema['schema']}.{schema['table']}" for schema in state.schemas.values()}
    return {*state.snapshot.get("tables", ()), *described}


def idle(options: WalOptions, tables: Sequence[Table]) -> list[str]:
    """The patterns with a wildcard that take none of ``tables``."""
    unmatched = Patterns(options.tables).unmatched([t.full_name for t in tables])
    return [pattern for pattern in unmatched if None in parse(pattern)]


def _missing(
    conn: Connection, options: WalOptions, name: str, tables: Sequence[Table], known: Collection[str]
) -> Iterator[str]:
    captured = {table.full_name for table in tables}
    written = [
        "".join(filter(None, parts))
        for p in Patterns(options.tables).takes
        if None not in (parts := parse(p))
    ]
    if absent := [table for table in written if table not in captured and table not in known]:
        there = [table.full_name for table in catalog.all_tables(conn)]
        for table in absent:
            if table not in there:
                yield f"sources.{name}.tables: there is no table {table}{suggest(table, there)}"


def _misnamed(
    options: WalOptions, name: str, tables: Sequence[Table], known: Collection[str]
) -> Iterator[str]:
    captured = [table.full_name for table in tables]
    for option in ("columns", "filter", "where"):
        for table in getattr(options, option):
            if table not in captured and table not in known:
                choice = suggest(table, captured)
                yield f"sources.{name}.{option}: no captured table is called {table}{choice}"


def _unreadable(conn: Connection, options: WalOptions, name: str, tables: Sequence[Table]) -> Iterator[str]:
    for table in tables:
        for option in ("filter", "where"):
            condition = getattr(options, option).get(table.full_name)
            if condition and (why := _refused(conn, f"select from {table.sql} where ({condition})")):
                yield f"sources.{name}.{option}: {table.full_name}: {why}"
        for column in options.columns.get(table.full_name, ()):
            if not catalog.rows(conn, "column", {"oid": table.oid, "name": column}):
                yield f"sources.{name}.columns: {table.full_name} has no column {column}"


def _bare_partitions(conn: Connection, name: str, tables: Sequence[Table]) -> Iterator[str]:
    for table in tables:
        if table.kind == "p" and table.identified:
            for leaf in catalog.rows(conn, "leaves_without_identity", {"oid": table.oid}):
                partition = f"partition {leaf['nspname']}.{leaf['relname']} of {table.full_name}"
                yield (
                    f"sources.{name}.tables: {partition} has no replica identity: once published, the "
                    "application's updates and deletes of it would fail"
                )


def _refused(conn: Connection, query: str) -> str:
    """Why the server cannot read ``query``; empty if it can. It is not executed."""
    try:
        conn.execute(f"explain {query}".encode())
    except psycopg.errors.InsufficientPrivilege:
        return ""  # told elsewhere
    except psycopg.Error as exc:
        if is_retryable(exc):
            raise
        return reason(exc)
    return ""


def refuse_harmful(conn: Connection, publication: str, source: str) -> None:
    """Raise ConfigError if updates and deletes fail at tables of this publication, which must be there: made,
    perhaps, in a transaction that is rolled back then."""
    if conn.info.server_version < 150000:
        return  # publishes whole tables only
    problems = []
    for row in catalog.rows(conn, "harmful", {"name": publication}):
        for option, columns, fault in (
            ("columns", row["unlisted"], "has to contain"),
            ("filter", row["foreign"], "may not look at"),
        ):
            if columns:
                problems.append(
                    f"sources.{source}.{option}: that of {row['name']} {fault} {', '.join(columns)}: once "
                    "it is published, the application's updates and deletes would fail"
                )
    if problems:
        raise ConfigError(
            problems,
            hint="a column list needs all columns of the replica identity (the primary key, unless it was "
            "altered), and a row filter may use no others",
        )
