"""Chunks of a table, by ``select``, each in one consistent snapshot; nothing is locked and nothing written.

A chunk's transaction first looks at the table, which keeps DDL away until it ends (the metadata lock that
every reader takes), and reads its columns only then; a table that was changed between snapshot and look is
refused by the server itself. Results come unbuffered, straight from the socket into the compiled decoders of
:mod:`connectors.mysql.binary_rows`. What a snapshot sees is :mod:`.marks`' business, which of a chunk's rows
are still news that of :mod:`liberator.snapshot`.

Tables with a key are read by ranges of it, each in a transaction of its own. Tables without one are read in
one go: rows without identity cannot be told apart from their own newer versions, so the cut between
snapshot and stream must be exact (see :class:`Whole`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pymysql

from connectors.mysql.binary_rows import BinaryRows, select_list
from connectors.mysql.binlog.marks import Marks, Seen
from connectors.mysql.binlog.transactions import Transactions
from connectors.mysql.catalog import Catalog, Table
from connectors.mysql.connection import Connection, Server, code, query, quote, translate
from connectors.mysql.results import BinaryResult, TextResult, is_unprepared
from connectors.mysql.row_packets import RowPackets
from connectors.mysql.sink.column_types import Flavour
from connectors.mysql.sink.literals import params
from connectors.mysql.text_rows import TextRows
from connectors.mysql.types import TypeOptions
from connectors.sql.sink.table import TargetColumn
from liberator.errors import LiberatorError, SourceError
from liberator.event import Row
from liberator.schema import Column, Kind, TableSchema
from liberator.snapshot import Window

#: What reading a chunk may run into that goes away by itself: a lock, a table that was just changed or
#: dropped, a query ended from outside.
_LATER: Final = frozenset((1146, 1205, 1213, 1317, 1412, 1684, 1969, 3024))
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What to read: the table, an SQL condition on it, how much at once (rows, bytes)."""

    table: Table
    condition: str | None
    rows: int
    bytes: int


@dataclass(slots=True)
class Chunk:
    """Rows of one table, read in one snapshot and not yet emitted, as the server sent them (decoded they take
    five times the memory). ``strays`` are the keys it was read for, empty for a range. ``high`` is the
    position's major that the stream must have passed; ``last``: there is nothing behind this chunk."""

    table: str
    schema: TableSchema
    packets: RowPackets
    data: bytes
    starts: Sequence[int]
    window: Window
    high: int
    last: bool
    key: Callable[[Row], Key]
    strays: tuple[Key, ...] = ()
    emitted: int = 0

    def take(self, count: int) -> tuple[list[Row], Key | None]:
        """The next rows to emit, of at most ``count``, and the key of the last row taken.

        Called only once the stream has passed ``high``, with no event observed between two calls.
        """
        starts, first = self.starts, self.emitted
        self.emitted = until = min(first + count, len(starts))
        if until == first:
            return [], None
        end = starts[until] if until < len(starts) else len(self.data)
        rows = self.packets.decode_all(self.data[starts[first] : end])
        cursor = self.key(rows[-1])
        if self.window:
            key, merge = self.schema.key, self.window.merge
            merged = (merge(row, tuple(row[i] for i in key)) for row in rows)
            rows = [row for row in merged if row is not None]
        return rows, cursor

    @property
    def end(self) -> Key:
        """The key of the last row, of which there must be one."""
        return self.key(self.packets.decode_all(self.data[self.starts[-1] :])[-1])

    @property
    def empty(self) -> bool:
        """Whether every row has been taken."""
        return self.emitted >= len(self.starts)


@dataclass(slots=True)
class Whole:
    """A table without a key, about to be read in one consistent snapshot, which is open already.

    ``seen`` says what the snapshot surely sees. What lies between that and ``high`` it may see or not: if the
    stream brings a change of this very table from there, the cut would not be exact (``spoilt``).
    """

    table: str
    schema: TableSchema
    seen: Seen
    high: int
    rows: Iterator[list[Row]]
    spoilt: bool = False


@dataclass(slots=True)
class Reading:
    """A chunk that the server is sending: ``limit`` rows behind ``place``, or the rows that have its keys."""

    target: Target
    place: Key | tuple[Key, ...] | None
    limit: int
    seen: Seen
    schema: TableSchema
    packets: RowPackets
    result: TextResult

    def gather(self) -> None:
        """Take what the server has sent meanwhile: it waits when nobody does."""
        self.result.gather(self.target.bytes)


class ChunkReader:
    """Reads chunks over a connection of its own, which ``connect`` makes, one at a time: between ``begin``
    and ``finish`` the server sends while we are at something else."""

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        server: Server,
        marks: Marks,
        options: TypeOptions,
    ):
        self._connect = connect
        self._server = server
        self._marks = marks
        self._options = options
        self._conn: Connection[Any] | None = None
        #: Rows per chunk of tables whose rows are so large that a chunk ended early.
        self._limits: dict[str, int] = {}

    @property
    def _ready(self) -> Connection[Any]:
        if self._conn is None:
            conn = self._connect()
            with translate("prepare a connection for snapshots"):
                query(conn, "set session sql_mode = 'NO_BACKSLASH_ESCAPES', lock_wait_timeout = 1")
                query(conn, "set session transaction isolation level repeatable read")
            self._conn = conn
        return self._conn

    def schema(self, table: Table) -> TableSchema:
        """The table's columns as they are now."""
        with translate(f"read the catalog for {table.full_name}"):
            found = Catalog(self._ready, self._server, self._options).schema(table.schema, table.name)
        if found is None:
            raise SourceError(f"table {table.full_name} is gone", retryable=True)
        return found

    def begin(
        self, target: Target, place: Key | tuple[Key, ...] | None, stream: Transactions
    ) -> Reading | None:
        """Have the server begin with the chunk behind ``place`` (a key; None: the first), or with the rows
        that have these keys (several). None if it cannot be read now: its snapshot does not yet see what the
        stream has told, or a lock or a change of the table stands in the way. Until :meth:`finish` or
        :meth:`abandon` nothing else can be read."""
        name = target.table.full_name
        limit = min(target.rows, self._limits.get(name, target.rows))
        if place is not None and not isinstance(place[0], str):
            place = place[:limit]
        strays: tuple[Key, ...] = () if place is None or isinstance(place[0], str) else place
        reading = None
        with self._attempt(target.table):
            began = self._begin(target.table, stream)
            if began is None:
                return None
            seen, schema = began
            conditions = [f"({target.condition})"] if target.condition and not strays else []
            if strays:
                conditions.append(_any(schema, strays))
            elif place is not None:
                conditions.append(_behind(schema, place))  # type: ignore[arg-type]
            tail = f"{_where(conditions)} order by {_order(schema)} limit {limit}"
            packets, result = self._ask(target.table, schema, tail)
            reading = Reading(target, place, limit, seen, schema, packets, result)
        return reading

    def finish(self, reading: Reading) -> Chunk | None:
        """The chunk that was begun; None if something came in the way."""
        target, schema, place = reading.target, reading.schema, reading.place
        name = target.table.full_name
        strays: tuple[Key, ...] = () if place is None or isinstance(place[0], str) else place
        chunk = None
        with self._attempt(target.table):
            data, starts, whole = reading.result.read(target.bytes)
            if whole:
                query(self._ready, "rollback")
            else:
                # The rest of the result is of no use, and the server would go on sending it.
                self.close()
                self._limits[name] = max(1, len(starts))
                if len(starts) < len(strays):
                    return None  # which of them these are is not told: fewer are asked for next time
            high = self._marks.high(self._ready)
            key = _key_text(schema, self._server)
            last = whole and len(starts) < reading.limit and not strays
            window = Window(reading.seen)
            chunk = Chunk(name, schema, reading.packets, data, starts, window, high, last, key, strays)
        return chunk

    def read_whole(self, target: Target, stream: Transactions) -> Whole | None:
        """Open a snapshot of a table, of which the rows are then read; None as in :meth:`read`."""
        whole = None
        with self._attempt(target.table):
            began = self._begin(target.table, stream)
            if began is None:
                return None
            seen, schema = began
            high = self._marks.high(self._ready)
            whole = Whole(target.table.full_name, schema, seen, high, self._rows(target, schema))
        return whole

    def _rows(self, target: Target, schema: TableSchema) -> Iterator[list[Row]]:
        conditions = [f"({target.condition})"] if target.condition else []
        with translate(f"read {target.table.full_name}"):
            packets, result = self._ask(target.table, schema, _where(conditions))
            whole = False
            while not whole:
                data, starts, whole = result.read(target.bytes, target.rows)
                if starts:
                    yield packets.decode_all(data[starts[0] :])
            query(self._ready, "rollback")

    def _ask(self, table: Table, schema: TableSchema, tail: str) -> tuple[RowPackets, TextResult]:
        """Have the server send all columns of some rows: in the binary protocol, which is read much faster,
        unless it prepares no statement."""
        columns, options = schema.columns, self._options
        try:
            prepared = BinaryResult(self._ready, _select(table, select_list(columns), tail))
            return BinaryRows(columns, prepared.definitions, options), prepared
        except pymysql.MySQLError as exc:
            if not is_unprepared(exc):
                raise
        text = TextRows(columns, options)
        return text, TextResult(self._ready, _select(table, text.select, tail))

    def abandon(self) -> None:
        """Let go of a snapshot that is open."""
        self.close()

    def _begin(self, table: Table, stream: Transactions) -> tuple[Seen, TableSchema] | None:
        conn = self._ready
        seen = self._marks.begin(conn, stream)
        if seen is None:
            return None
        query(conn, f"select 1 from {table.sql} limit 0")
        schema = Catalog(conn, self._server, self._options).schema(table.schema, table.name)
        if schema is None:
            query(conn, "rollback")
            return None
        return seen, schema

    def _attempt(self, table: Table) -> _Attempt:
        return _Attempt(self, table)

    def close(self) -> None:
        """Close the connection; the next chunk opens another."""
        if self._conn is not None:
            driver: Any = self._conn
            with contextlib.suppress(Exception):
                driver._force_close()
            self._conn = None


class _Attempt:
    """Reading that may fail for reasons that pass: these end it without an error."""

    def __init__(self, reader: ChunkReader, table: Table):
        self._reader = reader
        self._table = table

    def __enter__(self) -> None:
        """Nothing to be had."""

    def __exit__(self, _kind: object, exc: BaseException | None, _trace: object) -> bool:
        if exc is None:
            return False
        self._reader.close()
        if isinstance(exc, pymysql.MySQLError) and code(exc) in _LATER:
            return True
        if isinstance(exc, LiberatorError) or not isinstance(exc, (pymysql.MySQLError, OSError)):
            return False
        with translate(f"read a chunk of {self._table.full_name}"):
            raise exc
        return False


def chunkable(schema: TableSchema) -> bool:
    """Whether the key's order and its literals are understood; else the table is read like one without a
    key."""
    return bool(schema.key) and not any(
        c.native.startswith("set") or c.type.kind in (Kind.GEOMETRY, Kind.JSON) for c in schema.key_columns
    )


def _select(table: Table, expressions: Sequence[str], tail: str) -> str:
    return f"select {', '.join(expressions)} from {table.sql}{tail}"


def _where(conditions: Sequence[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""


def _place(column: Column) -> str:
    """What a key column is ordered and compared by: an enum by its index."""
    name = quote(column.name)
    return f"{name} + 0" if column.type.kind is Kind.ENUM else name


def _order(schema: TableSchema) -> str:
    return ", ".join(_place(c) for c in schema.key_columns)


def _behind(schema: TableSchema, key: Key) -> str:
    """``(a, b) > (1, 2)`` in a form for which the servers use the index."""
    names = [_place(c) for c in schema.key_columns]
    condition = f"{names[-1]} > {key[-1]}"
    for name, value in zip(names[-2::-1], key[-2::-1], strict=True):
        condition = f"({name} >= {value} and ({name} > {value} or {condition}))"
    return condition


def _any(schema: TableSchema, keys: Sequence[Key]) -> str:
    names = [_place(c) for c in schema.key_columns]
    each = (" and ".join(f"{n} = {v}" for n, v in zip(names, key, strict=True)) for key in keys)
    return "(" + " or ".join(f"({condition})" for condition in each) + ")"


def _key_text(schema: TableSchema, server: Server) -> Callable[[Row], Key]:
    """From a row to its key as SQL literals."""
    columns = [
        TargetColumn(c.name, c.native, i, c) for i, c in zip(schema.key, schema.key_columns, strict=True)
    ]
    spell = params(columns, server.flavour, False, Flavour(server.flavour, server.version))
    labels = {
        n: {label: str(i) for i, label in enumerate(c.type.values, 1)}
        for n, c in enumerate(schema.key_columns)
        if c.type.kind is Kind.ENUM
    }

    def text(row: Row) -> Key:
        (literals,) = spell([row])
        key = [str(value) for value in literals]
        for n, indexes in labels.items():
            key[n] = indexes.get(row[schema.key[n]], "0")
        if "null" in key:
            raise SourceError(
                f"table {schema.schema}.{schema.table} has a key that we make null of",
                hint="zero_dates: string keeps a zero date in a key apart from others",
            )
        return tuple(key)

    return text


def key_text(schema: TableSchema, server: Server, row: Row) -> Key:
    """A row's key as SQL literals."""
    return _key_text(schema, server)(row)
