"""MySQL and MariaDB as targets: connection, catalog, statements, errors.

One connection with autocommit off, so that rows never become visible on their own: DDL commits what was
written before it, and the next statement is in a transaction again. Parameters of ``execute`` are plain
values, those of ``many`` literals that the encoder made; both are put into the statement's text here, for
neither database has a protocol that sends many rows at once.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT

from connectors.mysql.connection import Server, code, connect, is_retryable, quote, reason
from connectors.mysql.native import GEOMETRIES
from connectors.mysql.sink import column_types, literals
from connectors.mysql.sink.check import findings
from connectors.mysql.sink.column_types import Flavour
from connectors.mysql.sink.existing import Definition, describe
from connectors.mysql.sink.writer import MySqlWriter
from connectors.sql.dialect import (
    Conflict,
    Dialect,
    Encode,
    Existing,
    Fit,
    TableName,
    TargetType,
    Unreadable,
)
from connectors.sql.sink.table import Table, TargetColumn
from connectors.sql.statements import load
from liberator.errors import SinkError, SourceError
from liberator.preflight import Finding
from liberator.schema import Column, LogicalType

SQL = load("connectors.mysql.sink", "sink.sql")
#: Like the session of every connection of ours, and what a mirror needs: a key 0 is a key, and dates that are
#: none are as they were at the source, which is of the same family then.
SQL_MODE = (
    "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_BACKSLASH_ESCAPES,NO_AUTO_VALUE_ON_ZERO,"
    "NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES"
)
#: Seconds to wait for others to let go of a table that is to be altered.
PATIENCE = 20
#: Violations that another order of statements may avoid: unique, foreign key, and the guard of our
#: insert-or-update, whose subquery has two rows (see :mod:`.writer`).
CONFLICT = {1022, 1062, 1216, 1217, 1242, 1451, 1452, 1557, 1586, 1761, 1762}
FOREIGN = {1216, 1217, 1451, 1452, 1557, 1761, 1762}
#: A value that its column does not take.
UNREADABLE = {
    1048, 1264, 1265, 1292, 1300, 1364, 1366, 1406, 1411, 1416, 1441, 1690, 3140, 3141, 3156, 3157, 3988,
    4025, 4037, 4038, 4078, 6136,
}  # fmt: skip
#: Somebody was quicker with the same DDL: what we wanted is there.
EXISTS = {1007, 1050, 1060, 1061}
#: Where such a message names the column.
_PLACE = re.compile(r"[Cc]olumn (?:`[^`]*`\.`[^`]*`\.)?['`]?([^'`]+)['`]?(?: at row \d+| cannot be null|$)")
_MARK = re.compile("\x00(\\d+)\x00")


class MySqlDialect(Dialect):
    """One database of a MySQL or MariaDB server."""

    name: ClassVar[str] = column_types.MYSQL
    longest_name: ClassVar[int | None] = 64
    counts_characters: ClassVar[bool] = True
    has_schemas: ClassVar[bool] = True
    transactional_ddl: ClassVar[bool] = False
    long_text: ClassVar[str] = "longtext"
    nullable: ClassVar[str] = " null"

    def __init__(self, url: str, origin: str | None = None):
        self._url = url
        self._origin = origin
        self._conn: Connection[Any] | None = None
        self.flavour = Flavour(self.name, (8, 0))
        self.largest = 1 << 20
        self._folds_case = False
        self._stages = 0

    def connect(self, reading: bool = False) -> None:
        """Connect, and see which kind of server it is."""
        with translated("connect to the server"):
            conn = self._conn = connect(self._url, "liberator sink", client_flag=CLIENT.FOUND_ROWS)
            server = Server.of(conn)
            self.flavour = Flavour(server.flavour, server.version)
            for setting in self._session():
                # Only some roles may choose how their changes are logged; `liberator check` tells.
                with contextlib.suppress(pymysql.err.OperationalError):
                    conn.query(setting)
            conn.autocommit(False)
        self.text_key = self.flavour.textual("varchar(255)")
        self.table_options = (
            f" engine = InnoDB row_format = dynamic default character set utf8mb4 "
            f"collate {self.flavour.collation}"
        )
        if self._origin is not None:
            self.execute(f"set @liberator_origin = {literal(self._origin)}")
        self.home = self.execute(SQL["home"])[0][0][0]
        if self.home is None:
            raise SinkError(
                "the url names no database, so tables have no place to be in",
                hint="write mysql://user@host:3306/database",
            )
        packet, folding = self.execute("select @@max_allowed_packet, @@lower_case_table_names")[0][0]
        self.largest, self._folds_case = int(packet), int(folding) != 0

    def _session(self) -> list[bytes]:
        isolation = "transaction isolation level read committed"
        return [
            f"set session sql_mode = '{SQL_MODE}', session lock_wait_timeout = {PATIENCE}".encode(),
            f"set session {isolation}".encode(),
            b"set session binlog_format = 'ROW'",
        ]

    def close(self) -> None:
        """Close the connection; the server rolls an open transaction back."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(pymysql.MySQLError):
                conn.close()

    @property
    def conn(self) -> Connection[Any]:
        """The open connection."""
        assert self._conn is not None, "not connected"
        return self._conn

    def execute(self, sql: str, params: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        """Run one statement with plain values as parameters."""
        return self._run(filled(sql, [literal(p) for p in params]) if params else sql)

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run one statement for each row of literals."""
        return sum(self._run(filled(sql, row))[1] for row in rows)

    def _run(self, sql: str) -> tuple[list[tuple[Any, ...]], int]:
        with translated("write to the server"):
            statement = sql.encode()
            if len(statement) >= self.largest:
                raise SinkError(
                    f"a statement of {len(statement)} bytes is longer than the server takes ({self.largest})",
                    hint="set global max_allowed_packet to more than the longest row has",
                )
            cursor = self.conn.cursor()
            affected = cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else [], affected

    def mark(self, number: int) -> str:
        """Something that occurs in no statement: a name here has no NUL."""
        return f"\x00{number}\x00"

    def quote(self, name: str) -> str:
        """An identifier, in back ticks."""
        return quote(name)

    def same(self, name: str) -> str:
        """Columns are compared without regard to case."""
        return name.lower()

    def same_table(self, name: str) -> str:
        """Tables are compared as the server was told when it was made."""
        return name.lower() if self._folds_case else name

    def spellable(self, name: str) -> str:
        """Names have characters of the basic plane only, no NUL, and no blank at the end."""
        plain = "".join(c if "\0" < c < "\ud800" or "\udfff" < c < "\U00010000" else "_" for c in name)
        bare = plain.rstrip(" ")
        return bare + "_" * (len(plain) - len(bare))

    def stage(self) -> str:
        """A name for a temporary table that nobody else on this connection has."""
        self._stages += 1
        assert self.home is not None
        return quote(self.home, f"liberator_stage_{self._stages}")

    # Tables and types.

    def describe(self, table: TableName) -> Existing | None:
        """The table from the catalog. One that knows no transactions is refused."""
        return describe(self.ask, table, self.same_table)

    def ask(self, statement: str, *params: str | None) -> list[tuple[Any, ...]]:
        """The rows of a query of ``sink.sql``."""
        sql = re.sub(r"\?(\d)", lambda m: self.mark(int(m[1])), SQL[statement])
        return self.execute(sql, params)[0]

    def prepare(self, table: TableName, columns: Sequence[Column], origin: str) -> None:
        """Create the table's database if it is another one than ours; on a connection of its own, because
        that commits."""
        if table.schema in (None, self.home) or self.ask("database", table.schema):
            return
        assert table.schema is not None
        with translated("create a database"), contextlib.closing(connect(self._url)) as conn:
            conn.query(f"create database if not exists {quote(table.schema)}".encode())

    def type_of(self, column: Column, origin: str) -> TargetType:
        """See :mod:`.column_types`."""
        return TargetType(column_types.type_of(column, origin, self.flavour))

    def key_types(self, types: Sequence[str]) -> Sequence[str]:
        """Text and bytes get lengths that an index can have."""
        return column_types.key_types(types, self.flavour)

    def fit(self, existing: str, wanted: TargetType, column: Column) -> Fit:
        """See :func:`.column_types.fit`."""
        return column_types.fit(existing, wanted.sql, column, self.flavour)

    def alter(
        self, table: TableName, column: str, type_: str | None = None, logical: LogicalType | None = None
    ) -> None:
        """Redefine the column; all else about it stays."""
        row = next(row for row in self.ask("columns", table.schema, table.table) if row[1] == column)
        definition = Definition.of(row, self.flavour.name)
        self.execute(
            f"alter table {self.quoted(table)} modify column {quote(column)} {definition.sql(type_, literal)}"
        )

    # Rows.

    def encoder(self, columns: Sequence[TargetColumn], origin: str, lossy: bool) -> Encode:
        """See :mod:`.literals`."""
        return literals.params(columns, origin, lossy, self.flavour)

    def upsert(self, table: Table) -> str:
        """Not a statement of ours: see :meth:`.writer.MySqlWriter.upsert`."""
        raise NotImplementedError

    def equal(self, left: str, right: str, type_: str) -> str:
        """Byte by byte: collations and JSON call different values equal."""
        spelled = column_types.Spelled.of(type_)
        if spelled.base == "json":
            left, right = f"cast(cast({left} as json) as char)", f"cast(cast({right} as json) as char)"
        elif spelled.base == "vector":
            left, right = f"hex({left})", f"hex({right})"
        elif spelled.base in GEOMETRIES or not spelled.exact:
            left, right = f"cast({left} as binary)", f"cast({right} as binary)"
        return f"{left} <=> {right}"

    def erase(self, table: Table) -> str:
        """The first row that equals."""
        match = " and ".join(
            self.equal(self.quote(c.name), self.mark(i), c.type) for i, c in enumerate(table.columns, 1)
        )
        return f"delete from {self.quoted(table.name)} where {match} limit 1"

    def writer(self, table: Table, lossy: bool) -> MySqlWriter:
        """A writer that puts many rows into one statement."""
        return MySqlWriter(self, table, lossy)

    def check(self) -> list[Finding]:
        """See :mod:`.check`."""
        return findings(self._url)


@lru_cache(500)
def _pieces(sql: str) -> tuple[str, ...]:
    return tuple(_MARK.split(sql))


def filled(sql: str, values: Sequence[str]) -> str:
    """``sql`` with literals in place of its marks."""
    pieces = _pieces(sql)
    return "".join(values[int(piece) - 1] if i % 2 else piece for i, piece in enumerate(pieces))


def literal(value: object) -> str:
    """A plain value: text, a number, or None."""
    if value is None:
        return "null"
    return literals.quote(value) if isinstance(value, str) else str(value)


@contextlib.contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn the driver's errors into ours: no message of theirs that could quote a value."""
    try:
        yield
    except pymysql.MySQLError as exc:
        number = code(exc)
        text = str(exc.args[1]) if len(exc.args) > 1 else ""
        if number in CONFLICT:
            raise Conflict(_conflict(action, number, text), hint=_conflict_hint(number)) from exc
        if number in UNREADABLE:
            message = f"cannot {action}: {reason(exc)}"
            raise Unreadable(
                message, _column(text), "the column's type cannot hold a value of the source's"
            ) from exc
        retryable = is_retryable(exc) or number in EXISTS
        raise SinkError(f"cannot {action}: {reason(exc)}", retryable=retryable, hint=_hint(number)) from exc
    except SourceError as exc:
        # Connections are made by what sources use too.
        raise SinkError(str(exc), hint=exc.hint, retryable=exc.retryable) from exc
    except UnicodeEncodeError:
        # The cause holds the value, so it is not kept.
        raise SinkError(f"cannot {action}: a text that is not unicode") from None


def _conflict(action: str, number: int, text: str) -> str:
    """Which constraint it was. The message quotes the values before the name of a key."""
    if number == 1242:
        return f"cannot {action}: another row has a unique value of this one (error {number})"
    found = re.search(r"for key '([^']*)'$" if number not in FOREIGN else r"CONSTRAINT `([^`]*)`", text)
    return f"cannot {action}: a constraint refuses a row (error {number})" + (
        f", constraint {found[1]}" if found else ""
    )


def _conflict_hint(number: int) -> str:
    if number in FOREIGN:
        return (
            "tables are first filled one after another: create foreign keys after the snapshot, "
            "and keep `apply: transaction`"
        )
    return (
        "the target has a unique constraint that the source does not have, or rows that are not the source's"
    )


def _column(text: str) -> str:
    """The column that a message about a value names at its end: the value stands before it."""
    found = _PLACE.search(text)
    return found[1] if found else ""


def _hint(number: int) -> str | None:
    if number in (1044, 1142, 1143, 1227, 1370):
        return "grant the sink's account what it needs; `liberator check` lists it"
    if number in (1071, 1118):
        return "create the table yourself, with narrower columns, and start again: a table that fits is used"
    if number == 1665:
        return "set global binlog_format = 'ROW': the server logs statements, which is not exact"
    return "somebody else has just made it; the batch begins again" if number in EXISTS else None
