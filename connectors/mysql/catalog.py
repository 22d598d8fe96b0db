"""What a MySQL or MariaDB server holds: its tables, their columns and keys, as the catalog says *now*, and
the settings of its binlog.

The stream says most of a table itself where ``binlog_row_metadata`` is FULL; what it leaves out, and
everything for snapshots, comes from here. Types are :mod:`connectors.mysql.types`' business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql

from connectors.mysql.connection import Connection, Server, is_retryable, query, quote, reason
from connectors.mysql.types import CatalogColumn, TypeOptions, from_catalog
from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.maria_gtid import MariaPosition
from connectors.sql.sink.bookkeeping import is_bookkeeping
from connectors.sql.statements import load
from liberator.errors import ConfigError, SourceError
from liberator.patterns import Patterns
from liberator.schema import Column, TableSchema

SQL = load("connectors.mysql", "catalog.sql")
#: What the servers call a table that is not an ordinary one (``table_type``).
VERSIONED = "SYSTEM VERSIONED"
SEQUENCE = "SEQUENCE"
SYSTEM = frozenset(("mysql", "sys", "information_schema", "performance_schema"))
_FOREIGN = re.compile(r"^\s*CONSTRAINT (`(?:[^`]|``)+`|\S+) FOREIGN KEY .*", re.MULTILINE)
_RULE = re.compile(r"\bON (?:DELETE|UPDATE) (?:CASCADE|SET NULL|SET DEFAULT)\b")
_JSON = re.compile(r"^\s*json_valid\(`((?:[^`]|``)+)`\)\s*$", re.IGNORECASE)
_SETTINGS = (
    "server_id", "server_uuid", "log_bin", "binlog_format", "binlog_row_image", "binlog_row_metadata",
    "gtid_mode", "gtid_strict_mode", "gtid_domain_id", "binlog_expire_logs_seconds", "expire_logs_days",
    "log_replica_updates", "log_slave_updates", "replica_preserve_commit_order",
    "slave_preserve_commit_order", "slave_parallel_mode",
    "binlog_order_commits", "lower_case_table_names", "performance_schema",
    "max_allowed_packet", "binlog_row_value_options", "innodb_native_foreign_keys",
    "binlog_expire_logs_auto_purge",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """A table that can be captured. ``estimate`` is the server's idea of its number of rows; ``engine`` is
    InnoDB where snapshots of it are consistent."""

    schema: str
    name: str
    engine: str
    estimate: int
    keyed: bool

    @property
    def full_name(self) -> str:
        """``database.table``, unquoted: what patterns match and people read."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The quoted name."""
        return quote(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class BinlogStatus:
    """Where a server writes its binlog now; ``gtids`` are those executed (MySQL), as text. Changes of other
    databases than those in ``only``, if there are any, and of those in ``without`` are not written."""

    file: str
    position: int
    gtids: str
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def leaves_out(self, database: str) -> bool:
        """Whether changes of a database's tables are not written."""
        return database not in self.only if self.only else database in self.without


def all_tables(conn: Connection[Any]) -> list[Table]:
    """Every table that could be captured, by name."""
    return [
        Table(schema, name, engine or "", int(rows), bool(keyed))
        for schema, name, engine, rows, keyed in query(conn, SQL["tables"])
    ]


def special(conn: Connection[Any]) -> list[tuple[str, str]]:
    """Full name and type (VERSIONED, SEQUENCE) of tables whose rows are in the binlog and not captured."""
    return [(f"{schema}.{name}", kind) for schema, name, kind in query(conn, SQL["special"])]


class Chosen:
    """Whether a table, by its full name, is captured: ``patterns`` name it and ``ghosts`` do not. The
    bookkeeping of our sinks must be named in full: each commit of a sink would be a change."""

    def __init__(self, patterns: Sequence[str], ghosts: Sequence[str]):
        self._patterns = frozenset(patterns)
        self._wanted = Patterns(patterns)
        self._ghost = Patterns(ghosts) if ghosts else None

    def __call__(self, full_name: str) -> bool:
        if not self._wanted(full_name) or self.ghost(full_name):
            return False
        # A database's name may have dots; theirs have none.
        return not is_bookkeeping(full_name.rpartition(".")[2], full_name, self._patterns)

    def ghost(self, full_name: str) -> bool:
        """Whether it belongs to a schema change under way."""
        return self._ghost is not None and self._ghost(full_name)


def captured(
    tables: Sequence[Table], patterns: Sequence[str], ghosts: Sequence[str], where: str
) -> list[Table]:
    """The tables that are :class:`Chosen`. Raises ConfigError if nothing is left; ``where`` is the option."""
    chosen = Chosen(patterns, ghosts)
    out = [t for t in tables if chosen(t.full_name)]
    if not out:
        raise ConfigError(
            f"{where}: no table matches {', '.join(patterns)}",
            hint="`select table_schema, table_name from information_schema.tables` lists what there is",
        )
    return out


class Catalog:
    """Reads table schemas over one connection."""

    def __init__(self, conn: Connection[Any], server: Server, options: TypeOptions):
        self._conn = conn
        self._server = server
        self._options = options

    @property
    def mariadb(self) -> bool:
        """Whether the server is one."""
        return self._server.mariadb

    def columns(self, schema: str, table: str) -> tuple[Column, ...]:
        """The columns of a table as they are now; none if there is no such table (or it may not be seen)."""
        name = {"schema": schema, "table": table}
        found = query(self._conn, SQL["columns"], name)
        json: set[str] = set()
        if found and self._server.mariadb:
            checks = (_JSON.match(clause) for (clause,) in query(self._conn, SQL["checks"], name))
            json = {check[1].replace("``", "`") for check in checks if check}
        rows = [
            CatalogColumn(
                n,
                type_,
                charset,
                nullable=bool(nullable),
                key=None if key is None else int(key),
                default=_text(default),
                extra=extra,
                json=n in json,
                sql_default=self._server.mariadb,
            )
            for n, type_, charset, nullable, key, default, extra in found
        ]
        return from_catalog(rows, self._options) if rows else ()

    def special(self, schema: str, table: str) -> str:
        """VERSIONED or SEQUENCE, if the table is such a one now; else empty."""
        if not self._server.mariadb:
            return ""
        found = query(self._conn, SQL["type"], {"schema": schema, "table": table})
        return found[0][0] if found and found[0][0] in (VERSIONED, SEQUENCE) else ""

    def schema(self, schema: str, table: str) -> TableSchema | None:
        """A table as it is now, or None if it is gone."""
        columns = self.columns(schema, table)
        return self.make(schema, table, columns) if columns else None

    def make(self, schema: str, table: str, columns: Sequence[Column]) -> TableSchema:
        """The schema of a table with these columns."""
        return TableSchema(self._server.flavour, schema, schema, table, tuple(columns))


def _text(value: Any) -> str | None:
    """A default is a blob in some servers' catalogs."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def settings(conn: Connection[Any]) -> Mapping[str, str]:
    """The server's variables that matter, by name; those that it does not know are left out."""
    names = ", ".join(f"'{name}'" for name in _SETTINGS)
    found = query(conn, f"show global variables where variable_name in ({names})")
    return {name.lower(): str(value) for name, value in found}


def is_on(value: str | None) -> bool:
    """Whether a setting is on, in any of its spellings."""
    return (value or "").upper() in ("ON", "1", "YES", "TRUE")


def binlog_status(conn: Connection[Any], server: Server) -> BinlogStatus:
    """Where the binlog is written now. Everything that is visible to anybody is before it."""
    words = "show master status"
    if server.mariadb:
        words = "show binlog status" if server.version >= (10, 5, 2) else words
    elif server.version >= (8, 2):
        words = "show binary log status"
    rows = query(conn, words)
    if not rows:
        raise SourceError(
            "the server writes no binlog", hint="set log_bin in the server's configuration; restart it"
        )
    row = rows[0]
    only, without = (tuple(name.strip() for name in (names or "").split(",") if name) for names in row[2:4])
    return BinlogStatus(
        row[0], int(row[1]), "".join(str(row[4]).split()) if len(row) > 4 else "", only, without
    )


def committing(conn: Connection[Any]) -> set[tuple[int, int]]:
    """MySQL: who is committing now. Raises SourceError where that cannot be seen."""
    why, hint = (
        "the server notes no locks",
        "set performance_schema=ON, with wait/lock/metadata/sql/mdl in it",
    )
    try:
        found = query(conn, SQL["committing"])
    except pymysql.MySQLError as exc:
        if is_retryable(exc):
            raise
        found = []
        why, hint = reason(exc), "grant select on performance_schema.metadata_locks to our user"
    if not found:
        raise SourceError(
            f"cannot see who is committing, which snapshots without GTIDs need: {why}",
            hint=f"{hint}; or switch GTIDs on (gtid_mode=ON)",
        )
    return {(thread, event) for thread, event, commit in found if commit}


def binlog_files(conn: Connection[Any]) -> list[tuple[str, int]]:
    """The binlog files that the server still has: name and size in bytes, the oldest first."""
    return [(row[0], int(row[1])) for row in query(conn, "show binary logs")]


def executed(conn: Connection[Any]) -> GtidSet:
    """MySQL: all transactions that are committed, and visible to whoever looks from now on."""
    return GtidSet("".join(str(query(conn, "select @@global.gtid_executed")[0][0]).split()))


def purged(conn: Connection[Any]) -> GtidSet:
    """MySQL: the transactions that are in no binlog file any more."""
    return GtidSet("".join(str(query(conn, "select @@global.gtid_purged")[0][0]).split()))


def maria_position(conn: Connection[Any], file: str, position: int) -> MariaPosition | None:
    """MariaDB: the GTID position at a place of the binlog; None if it does not say, as behind an event that
    is larger than its max_allowed_packet."""
    found = query(conn, "select binlog_gtid_pos(%s, %s)", (file, position))[0][0]
    return None if found is None else MariaPosition(found)


def maria_current(conn: Connection[Any]) -> MariaPosition:
    """MariaDB: the last GTID of each domain in the server's binlog."""
    return MariaPosition(query(conn, "select @@global.gtid_binlog_pos")[0][0] or "")


def cascades(conn: Connection[Any], table: Table) -> list[tuple[str, str]]:
    """The foreign keys of a table through which a change of another one changes its rows, and their rules."""
    made = str(query(conn, f"show create table {table.sql}")[0][1])
    found = (
        (match[1].removeprefix("`").removesuffix("`").replace("``", "`"), _RULE.findall(match[0]))
        for match in _FOREIGN.finditer(made)
    )
    return [(name, ", ".join(rules).lower()) for name, rules in found if rules]


def may_read(conn: Connection[Any], table: Table) -> str | None:
    """Why a table cannot be read; None if it can."""
    try:
        query(conn, f"select 1 from {table.sql} limit 0")
    except pymysql.MySQLError as exc:
        return reason(exc)
    return None
