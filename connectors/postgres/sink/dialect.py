"""Postgres as a target: connection, catalog, types, statements.

One autocommit connection, on which the sink's own ``begin`` and ``commit`` run; parameters are texts, whose
types the server infers. Schemas and enum types are made on a second, short-lived connection: a value added
to an enum cannot be used in the transaction that adds it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import psycopg
from psycopg import RawCursor

from connectors.postgres.connection import ORIGIN, connect, dsn, is_retryable, literal, quote, reason
from connectors.postgres.sink.check import findings
from connectors.postgres.sink.column_types import LOCAL, Spelled, equivalent, holds
from connectors.postgres.sink.writer import PostgresWriter
from connectors.postgres.types import text
from connectors.sql.dialect import (
    Conflict,
    Dialect,
    Encode,
    Existing,
    ExistingColumn,
    Fit,
    TableName,
    TargetType,
    Unreadable,
)
from connectors.sql.sink.table import Table, TargetColumn
from connectors.sql.statements import load
from liberator.errors import SinkError, SourceError
from liberator.preflight import Finding
from liberator.schema import Column, Kind, LogicalType

SQL = load("connectors.postgres.sink", "sink.sql")
#: Violations that another order of statements may avoid: unique, foreign key, exclusion, and the same key
#: twice in one insert-or-update.
CONFLICT = {"23505", "23503", "23P01", "21000"}
#: What DDL ends in when somebody else has just made the same thing; the last, in the very same moment.
_QUICKER = (
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateSchema,
    psycopg.errors.UniqueViolation,
)


class PostgresDialect(Dialect):
    """One Postgres database. ``schema``: where tables go whose name has no schema; None: the current one."""

    name: ClassVar[str] = text.NAME
    longest_name: ClassVar[int | None] = 63
    has_schemas: ClassVar[bool] = True

    def __init__(self, url: str, schema: str | None = None, origin: str | None = None):
        self._url = url
        self._schema = schema
        self._origin = origin
        self._conn: psycopg.Connection[Any] | None = None
        self._builtin: frozenset[str] = frozenset()
        self._stages = 0

    def connect(self, reading: bool = False) -> None:
        """Connect, and see which schema and which types there are."""
        with translated("connect to postgres"):
            self._conn = psycopg.connect(
                dsn(self._url, "liberator sink"),
                autocommit=True,
                prepare_threshold=None,
                cursor_factory=RawCursor,
            )
        if self._origin is not None:
            self.execute(f"select set_config('{ORIGIN}', $1, false)", [self._origin])
        self.home = self._schema or self.execute(SQL["home"])[0][0][0]
        if self.home is None:
            raise SinkError(
                "no schema of the search path exists, so new tables have no place to be in",
                hint="name one with the sink's option schema",
            )
        self._builtin = frozenset(name for (name,) in self.execute(SQL["builtin"])[0])

    def close(self) -> None:
        """Close the connection; the server rolls an open transaction back."""
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()

    @property
    def conn(self) -> psycopg.Connection[Any]:
        """The open connection."""
        assert self._conn is not None, "not connected"
        return self._conn

    def begin(self) -> None:
        """Begin, and say whose changes will come; what is deferrable is checked at the end."""
        begin = "begin; set constraints all deferred"
        if self._origin is not None:
            begin += f"; select pg_logical_emit_message(true, '{ORIGIN}', {literal(self._origin)})"
        self.execute(begin)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        """Run one statement."""
        with translated("write to postgres"):
            cursor = self.conn.execute(sql.encode(), params or None)
            return (cursor.fetchall() if cursor.description else []), cursor.rowcount

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run one statement for each row of parameters, in one round trip."""
        if not rows:
            return 0
        with translated("write to postgres"):
            cursor = self.conn.cursor()
            if len(rows) == 1:
                cursor.execute(sql.encode(), rows[0])
            else:
                cursor.executemany(sql.encode(), rows)
            return cursor.rowcount

    def copy(self, statement: str, pieces: Iterable[str]) -> None:
        """Run a ``copy … from stdin`` over ``pieces`` of its text format."""
        with translated("copy rows to postgres"), self.conn.cursor().copy(statement.encode()) as copy:
            for piece in pieces:
                copy.write(piece)

    def stage(self) -> str:
        """A name for a temporary table that nobody else on this connection has."""
        self._stages += 1
        return f"liberator_stage_{self._stages}"

    def mark(self, number: int) -> str:
        """``$1``."""
        return f"${number}"

    def describe(self, table: TableName) -> Existing | None:
        """The table from the catalog."""
        found, _ = self.execute(SQL["table"], [table.schema, table.table])
        if not found:
            return None
        oid = [str(found[0][0])]
        columns = {
            name: ExistingColumn(name, type_, not_null, default, computed)
            for name, type_, not_null, default, computed in self.execute(SQL["columns"], oid)[0]
        }
        indexes, _ = self.execute(SQL["indexes"], oid)
        return Existing(
            columns,
            next((frozenset(names) for primary, _, names in indexes if primary), frozenset()),
            frozenset(frozenset(names) for _, immediate, names in indexes if immediate),
            frozenset(TableName(*parent) for parent in self.execute(SQL["parents"], oid)[0]),
            self.execute(SQL["referenced"], oid)[0][0][0],
        )

    def may_truncate(self, table: TableName) -> bool:
        """Whether our role may truncate the table."""
        found, _ = self.execute(SQL["table"], [table.schema, table.table])
        return bool(found) and self.execute(SQL["may_truncate"], [str(found[0][0])])[0][0][0]

    def captures(self, source: str, table: TableName) -> bool:
        """Whether the publication that a source of this name makes has the table."""
        publication = f"liberator_{source}".replace("-", "_")
        return bool(self.execute(SQL["captures"], [table.schema, table.table, publication])[0][0][0])

    # Types.

    def type_of(self, column: Column, origin: str) -> TargetType:
        """The native type where it means the same here, else the best equivalent."""
        if origin == self.name and column.native:
            native = self._native(column)
            if native is not None:
                return TargetType(native)
        if column.type.kind is Kind.GEOMETRY and (known := self._look_up(None, "geometry")):
            return TargetType(known)
        return TargetType(equivalent(column.type))

    def _native(self, column: Column) -> str | None:
        spelled = Spelled.of(column.native)
        builtin = spelled.builtin
        if builtin is not None:
            portable = builtin in self._builtin and builtin not in LOCAL
            return column.native if portable and self._has_scale(spelled) else None
        schema, name = spelled.names()
        known = self._look_up(schema, name, _labels(column.type))
        return None if known is None else spelled.modified(known)

    def _has_scale(self, spelled: Spelled) -> bool:
        """Whether this server knows such a scale: below zero and above the precision since Postgres 15."""
        if spelled.builtin != "numeric" or not spelled.args or self.conn.info.server_version >= 150_000:
            return True
        precision, scale = map(int, spelled.args)
        return 0 <= scale <= precision

    def _look_up(self, schema: str | None, name: str, labels: tuple[str, ...] | None = None) -> str | None:
        """The qualified name of a type that is not built in; enums only with all of these labels."""
        spelling: str
        for _, kind, spelling, has in self._named(schema, name):
            if labels is None and kind in ("b", "r", "m"):
                return spelling
            if labels is not None and kind == "e" and set(labels) <= set(has):
                return spelling
        return None

    def _named(self, schema: str | None, name: str) -> list[tuple[Any, ...]]:
        return self.execute(SQL["named"], [schema, name, self.home])[0]

    def prepare(self, table: TableName, columns: Sequence[Column], origin: str) -> None:
        """Create the table's schema, the enum types of its columns, and labels that they lack."""
        statements = []
        if table.schema is not None and not self.execute(SQL["schema"], [table.schema])[0][0][0]:
            statements.append(f"create schema if not exists {quote(table.schema)}")
        if origin == self.name:
            for column in columns:
                labels = _labels(column.type)
                if labels is not None and column.native:
                    statements += self._enum(table, Spelled.of(column.native), labels)
        if statements:
            self._aside(statements)

    def _enum(self, table: TableName, spelled: Spelled, labels: tuple[str, ...]) -> list[str]:
        """The statements that make an enum type have these labels; none where its name is taken."""
        schema, name = spelled.names()
        named = self._named(schema, name)
        if not named:
            values = ", ".join(map(literal, labels))
            assert table.schema is not None
            return [f"create type {quote(table.schema, name)} as enum ({values})"]
        _, kind, spelling, has = named[0]
        if kind != "e":
            return []
        return [
            f"alter type {spelling} add value if not exists {literal(label)}"
            + (f" after {literal(labels[i - 1])}" if i else f" before {literal(has[0])}" if has else "")
            for i, label in enumerate(labels)
            if label not in has
        ]

    def _aside(self, statements: Sequence[str]) -> None:
        """Run DDL that has to be committed before our transaction can use it."""
        with translated("create types in postgres"), connect(self._url, "liberator sink") as conn:
            for statement in statements:
                # Somebody may have been quicker: what matters is that it is there.
                with contextlib.suppress(*_QUICKER):
                    conn.execute(statement.encode())

    def fit(self, existing: str, wanted: TargetType, column: Column) -> Fit:
        """See :func:`.column_types.holds`."""
        if holds(existing, wanted.sql):
            return "fits"
        return "widen" if holds(wanted.sql, existing) else "differs"

    def alter(
        self, table: TableName, column: str, type_: str | None = None, logical: LogicalType | None = None
    ) -> None:
        """Alter the column in place."""
        name, quoted = self.quoted(table), self.quote(column)
        if type_ is not None:
            self.execute(f"alter table {name} alter column {quoted} type {type_} using {quoted}::{type_}")
        else:
            self.execute(f"alter table {name} alter column {quoted} drop not null")

    # Rows.

    def encoder(self, columns: Sequence[TargetColumn], origin: str, lossy: bool) -> Encode:
        """See :mod:`connectors.postgres.types.text`."""
        return text.params(columns, origin, lossy)

    def upsert(self, table: Table) -> str:
        """``insert … on conflict … do update``: the key decides, no other unique index."""
        marks = ", ".join(self.mark(i) for i in range(1, len(table.columns) + 1))
        return self.merge(table, f"values ({marks})")

    def merge(self, table: Table, rows: str) -> str:
        """Insert-or-update from ``values …`` or ``select …``."""
        names = ", ".join(self.quote(c.name) for c in table.columns)
        key = ", ".join(self.quote(c.name) for c in table.key)
        sets = ", ".join(f"{self.quote(c.name)} = excluded.{self.quote(c.name)}" for c in table.others)
        action = f"update set {sets}" if sets else "nothing"
        name = self.quoted(table.name)
        return f"insert into {name} ({names}) overriding system value {rows} on conflict ({key}) do {action}"

    def equal(self, left: str, right: str, type_: str) -> str:
        """Compared as text: not every type has an equality, and one that has may call 1.0 and 1.00 equal."""
        return f"{left}::text is not distinct from {right}::{type_}::text"

    def erase(self, table: Table) -> str:
        """One row by its place."""
        name = self.quoted(table.name)
        match = " and ".join(
            self.equal(self.quote(c.name), self.mark(i), c.type) for i, c in enumerate(table.columns, 1)
        )
        one = f"select tableoid as part, ctid as place from {name} where {match} limit 1"
        return f"delete from {name} as t using ({one}) as o where t.ctid = o.place and t.tableoid = o.part"

    def writer(self, table: Table, lossy: bool) -> PostgresWriter:
        """A writer that stages many rows with ``copy``."""
        return PostgresWriter(self, table, lossy)

    def check(self) -> list[Finding]:
        """See :mod:`.check`."""
        return findings(self._url, self._schema)


def _labels(type_: LogicalType) -> tuple[str, ...] | None:
    """The labels of an enum, or of an array of one; None for other types."""
    if type_.kind is Kind.ARRAY and type_.item is not None:
        return _labels(type_.item)
    return type_.values if type_.kind is Kind.ENUM else None


@contextlib.contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn the driver's errors into ours: no message of theirs that could quote a value."""
    try:
        yield
    except psycopg.Error as exc:
        state = exc.sqlstate or ""
        parts = [f"cannot {action}: {reason(exc)}"]
        diag = exc.diag
        for what, name in (
            ("table", diag.table_name),
            ("column", diag.column_name),
            ("constraint", diag.constraint_name),
        ):
            if name:
                parts.append(f"{what} {name}")
        message = ", ".join(parts)
        if state in CONFLICT:
            raise Conflict(message, hint=_conflict_hint(state)) from exc
        if state.startswith("22"):
            # Only the context says which value it was, followed by the value.
            place = re.search(r"line \d+, column (.*?): |parameter (\$\d+)", diag.context or "")
            name = (place[1] or place[2]) if place else ""
            raise Unreadable(message, name, _hint(state)) from exc
        raise SinkError(message, retryable=is_retryable(exc), hint=_hint(state)) from exc
    except SourceError as exc:
        # Connections are made by what sources use too.
        raise SinkError(str(exc), hint=exc.hint, retryable=exc.retryable) from exc
    except UnicodeEncodeError:
        # The cause holds the value, so it is not kept.
        raise SinkError(f"cannot {action}: a text that is not unicode") from None


def _conflict_hint(state: str) -> str:
    if state == "23503":
        return (
            "tables are first filled one after another: create foreign keys after the snapshot or make "
            "them deferrable, and keep `apply: transaction`"
        )
    return "the target has a constraint that the source does not have, or rows that are not the source's"


def _hint(state: str) -> str | None:
    match state[:2]:
        case "22":
            return "the column's type at the target cannot hold a value of the source's"
        case "42" if state == "42501":
            return "grant the sink's role what it needs; `liberator check` lists it"
        case _:
            return None
