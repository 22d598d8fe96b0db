"""SQLite as a target: declared types, parameters, statements.

SQLite stores what it is given unless a column's *affinity* makes it something else; the affinity follows
from words in the declared type. Ours are chosen so that nothing is changed: decimals, dates and times are
TEXT (``DECIMAL_TEXT(10,2)`` contains TEXT), exact and in an order that sorts; a NaN, which SQLite would
turn into NULL, is the text ``NaN``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from connectors.sql.dialect import (
    Conflict,
    Dialect,
    Encode,
    Existing,
    ExistingColumn,
    Fit,
    TableName,
    TargetType,
)
from connectors.sql.sink.table import Table, TargetColumn
from connectors.sql.statements import load
from connectors.sqlite import types
from liberator.errors import ConfigError, SinkError
from liberator.log.storage import APPLICATION
from liberator.preflight import Finding
from liberator.schema import Column, LogicalType

SQL = load("connectors.sqlite", "sink.sql")
#: How long to wait for another writer, in seconds.
PATIENCE = 20.0
#: Result codes after which trying again can help: busy, locked, out of memory, I/O, disk full.
RETRYABLE = {5, 6, 7, 10, 13, 14}
#: Extended codes of constraints that another order of statements may satisfy: unique, primary key,
#: rowid, foreign key.
CONFLICT = {2067, 1555, 2579, 787}
#: A trigger's own message: it may quote values.
TRIGGER = 1811


class SqliteDialect(Dialect):
    """One SQLite file."""

    name: ClassVar[str] = "sqlite"

    def __init__(self, url: str):
        self.path = path_of(url)
        self._conn: sqlite3.Connection | None = None

    def connect(self, reading: bool = False) -> None:
        """Open the file, in WAL mode and with full synchronization; a missing one is created.

        ``reading`` a missing file finds an empty database and creates nothing.
        """
        target = ":memory:" if reading and not self.path.exists() else str(self.path)
        with translated():
            self._conn = sqlite3.connect(target, timeout=PATIENCE, isolation_level=None)
            if self._conn.execute("pragma application_id").fetchone() == (APPLICATION,):
                raise SinkError(
                    f"{self.path} is a log of liberator's", hint="name another file in the sink's url"
                )
            if not reading:
                self._conn.execute("pragma journal_mode = wal")
                self._conn.execute("pragma synchronous = full")
                self._conn.execute("pragma foreign_keys = on")

    def close(self) -> None:
        """Close the file; an open transaction is rolled back."""
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()

    @property
    def conn(self) -> sqlite3.Connection:
        """The open connection."""
        assert self._conn is not None, "not connected"
        return self._conn

    def begin(self) -> None:
        """Take the write lock at once: a transaction that starts by reading cannot always write later."""
        self.execute("begin immediate")
        self.execute("pragma defer_foreign_keys = on")

    def execute(self, sql: str, params: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        """Run one statement."""
        with translated():
            cursor = self.conn.execute(sql, params)
            return cursor.fetchall(), cursor.rowcount

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run one statement for each row of parameters."""
        with translated():
            return self.conn.executemany(sql, rows).rowcount

    def mark(self, number: int) -> str:
        """``?1``."""
        return f"?{number}"

    def same(self, name: str) -> str:
        """SQLite compares names without regard to case, in ASCII."""
        return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)

    def describe(self, table: TableName) -> Existing | None:
        """The table from SQLite's table-valued pragmas."""
        rows, _ = self.execute(SQL["columns"], [table.table])
        if not rows:
            return None
        columns = {
            name: ExistingColumn(name, type_, bool(not_null or pk), default is not None, hidden in (2, 3))
            for name, type_, not_null, default, pk, hidden in rows
        }
        primary = frozenset(name for name, _, _, _, pk, _ in rows if pk)
        indexes: dict[str, set[str | None]] = {}
        for index, column in self.execute(SQL["unique"], [table.table])[0]:
            indexes.setdefault(index, set()).add(column)
        # An index on an expression has a column without a name: nothing that a key could use.
        unique = {frozenset(c for c in found if c) for found in indexes.values() if None not in found}
        parents = frozenset(TableName(None, p) for (p,) in self.execute(SQL["parents"], [table.table])[0])
        return Existing(
            columns,
            primary,
            frozenset({primary, *unique} - {frozenset()}),
            parents,
            bool(self.execute(SQL["referenced"], [table.table])[0]),
        )

    def type_of(self, column: Column, origin: str) -> TargetType:
        """See :mod:`connectors.sqlite.types`."""
        return TargetType(types.declared(column, column.native if origin == self.name else ""))

    def fit(self, existing: str, wanted: TargetType, column: Column) -> Fit:
        """See :mod:`connectors.sqlite.types`."""
        return types.fit(existing, wanted.sql, column.type)

    def alter(
        self, table: TableName, column: str, type_: str | None = None, logical: LogicalType | None = None
    ) -> None:
        """SQLite cannot change a column: a new one takes the values over, and then the name."""
        existing = self.describe(table)
        assert existing is not None
        old = existing.columns[column]
        name, spare = self.quoted(table), self.quote(f"{column}__liberator")
        quoted = self.quote(column)
        value = quoted if logical is None else types.converted(quoted, old.type, logical)
        self.execute(f"alter table {name} add column {spare} {type_ or old.type}")
        self.execute(f"update {name} set {spare} = {value}")
        try:
            self.execute(f"alter table {name} drop column {quoted}")
        except SinkError as exc:
            raise SinkError(
                f"table {table}, column {column}: cannot be altered, for an index, a key, a trigger or a "
                "view uses it",
                hint="drop what uses it, let the sink go on, and create it again",
            ) from exc
        self.execute(f"alter table {name} rename column {spare} to {quoted}")

    def encoder(self, columns: Sequence[TargetColumn], origin: str, lossy: bool) -> Encode:
        """See :mod:`connectors.sqlite.types`."""
        return types.encoder(columns)

    def upsert(self, table: Table) -> str:
        """``insert … on conflict … do update``: the key decides, no other unique index."""
        names = ", ".join(self.quote(c.name) for c in table.columns)
        marks = ", ".join(self.mark(i) for i in range(1, len(table.columns) + 1))
        key = ", ".join(self.quote(c.name) for c in table.key)
        sets = ", ".join(f"{self.quote(c.name)} = excluded.{self.quote(c.name)}" for c in table.others)
        action = f"update set {sets}" if sets else "nothing"
        name = self.quoted(table.name)
        return f"insert into {name} ({names}) values ({marks}) on conflict ({key}) do {action}"

    def equal(self, left: str, right: str, type_: str) -> str:
        """``is`` is equality that knows null."""
        return f"{left} is {right}"

    def erase(self, table: Table) -> str:
        """One row by its rowid."""
        taken = {self.same(c.name) for c in table.columns}
        rowid = next((n for n in ("_rowid_", "rowid", "oid") if n not in taken), None)
        if rowid is None:
            raise SinkError(
                f"table {table.name} has no key, and its columns hide SQLite's row number",
                hint="give the source's table a primary key, or use mode: append",
            )
        name = self.quoted(table.name)
        match = " and ".join(
            self.equal(self.quote(c.name), self.mark(i), c.type) for i, c in enumerate(table.columns, 1)
        )
        return f"delete from {name} where {rowid} = (select {rowid} from {name} where {match} limit 1)"

    def check(self) -> list[Finding]:
        """Whether the file, or the directory it will be in, can be written; whether SQLite is new enough."""
        findings = []
        if sqlite3.sqlite_version_info < (3, 35):
            findings.append(
                Finding(
                    "error",
                    "version",
                    f"SQLite {sqlite3.sqlite_version} is too old; 3.35 is needed",
                    "use a Python that brings a newer SQLite",
                )
            )
        findings.append(_writable(self.path))
        return findings


def path_of(url: str) -> Path:
    """The file of ``sqlite:///relative`` or ``sqlite:////absolute``. Raises ConfigError for others."""
    scheme, separator, path = url.partition(":///")
    if scheme != "sqlite" or not separator or not path or path.startswith(":"):
        raise ConfigError(
            "url: not the URL of a SQLite file",
            hint="write sqlite:///relative.db or sqlite:////absolute/path.db",
        )
    return Path(path)


def check_url(url: object) -> object:
    """``url`` unless it is text and no SQLite file's URL; ValueError says how one is written."""
    try:
        if isinstance(url, str) and url.strip():
            path_of(url)
    except ConfigError as exc:
        raise ValueError(f"must be the URL of a SQLite file; {exc.hint}") from None
    return url


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours. SQLite's messages name tables and columns, never values."""
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", 0)
        if code in CONFLICT:
            raise Conflict(f"the target refused a row: {exc}", hint=_conflict_hint(code)) from exc
        reason = "a trigger refused a row" if code == TRIGGER else str(exc)
        raise SinkError(f"cannot write to sqlite: {reason}", retryable=code & 0xFF in RETRYABLE) from exc
    except (OverflowError, UnicodeEncodeError) as exc:
        # The cause holds the value, so it is not kept.
        raise SinkError(f"cannot write to sqlite: {type(exc).__name__}: a value it cannot hold") from None


def _conflict_hint(code: int) -> str:
    if code == 787:
        return (
            "tables are first filled one after another: create foreign keys after the snapshot, "
            "and keep `apply: transaction`"
        )
    return "the target has a unique index that the source does not have, or rows that are not the source's"


def _writable(path: Path) -> Finding:
    if path.is_dir():
        return Finding("error", "file", f"{path} is a directory", "name a file in the sink's url")
    if not path.exists():
        if path.parent.is_dir():
            return Finding("ok", "file", f"{path} will be created")
        return Finding("error", "file", f"there is no directory {path.parent}", f"mkdir -p {path.parent}")
    try:
        conn = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=1, isolation_level=None)
    except sqlite3.Error as exc:
        return Finding("error", "file", f"{path} cannot be opened: {exc}", f"chmod u+rw {path}")
    try:
        if conn.execute("pragma application_id").fetchone() == (APPLICATION,):
            return Finding(
                "error", "file", f"{path} is a log of liberator's", "name another file in the sink's url"
            )
        conn.execute("begin immediate")
        conn.execute("rollback")
    except sqlite3.Error as exc:
        busy = getattr(exc, "sqlite_errorcode", 0) & 0xFF == 5
        if busy:
            return Finding("warning", "file", f"{path} is being written by somebody else", "")
        return Finding("error", "file", f"{path} cannot be written: {exc}", "is it a SQLite file of ours?")
    finally:
        conn.close()
    return Finding("ok", "file", f"{path} can be written")
