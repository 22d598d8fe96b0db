"""Chunks of a table, by ``copy``, each in one read-only snapshot.

A chunk's transaction first takes the lock that every reader takes (``access share``), and its snapshot only
then: a table rewritten by DDL between the two would look empty. The lock is waited for briefly; a
chunk that cannot be read now is read later. Which rows of a chunk are still news is
:mod:`liberator.snapshot`'s business.

Tables with a key are read by ranges of it, each range in a transaction of its own. Tables without one
are read by ranges of their physical place, all of them in *one* transaction: rows without identity
cannot be told apart from their own newer versions, so the cut between snapshot and stream must be exact.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import pq

from connectors.postgres import copy_out
from connectors.postgres.catalog import Catalog, Table
from connectors.postgres.connection import Connection, literal, parse_lsn, quote, translate
from connectors.postgres.types.copying import compile_block_decoder
from connectors.postgres.types.escapes import unescape
from connectors.postgres.wal.lines import Lines
from liberator.decoding import Decoder
from liberator.errors import SourceError
from liberator.event import Row
from liberator.schema import TableSchema
from liberator.snapshot import Chunk, Window

#: What reading a chunk may run into that goes away by itself: a lock, a column that was just dropped.
_LATER = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedTable,
    psycopg.errors.SerializationFailure,
    psycopg.errors.QueryCanceled,
)
_PAGES = 4096
#: Seconds for which a column may be missing: whatever the table is like, it is looked at before each try.
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Visibility:
    """A ``pg_snapshot``: which transactions a query saw. Called with the 32-bit transaction id of a WAL
    transaction, it tells whether that transaction is among them."""

    text: str
    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Visibility:
        """From ``xmin:xmax:xip,xip,…``."""
        xmin, xmax, running = text.split(":")
        return cls(text, int(xmin), int(xmax), frozenset(int(x) for x in running.split(",") if x))

    def __call__(self, xid: int) -> bool:
        # The WAL's ids lack their epoch: take the one that puts the id nearest to this snapshot.
        full = (self.xmax & ~0xFFFFFFFF) | xid
        if full >= self.xmax + 0x80000000:
            full -= 1 << 32
        elif full < self.xmax - 0x80000000:
            full += 1 << 32
        return full < self.xmax and full not in self.running


#: Behind which key a chunk begins (the database's text per key column), or which keys it is read for.
Place = tuple[str, ...] | tuple[tuple[str, ...], ...] | None


@dataclass(frozen=True, slots=True)
class Target:
    """What to read: the table, the SQL conditions on it, how much at once (rows, bytes), in what steps the
    rows are emitted."""

    table: Table
    conditions: tuple[str, ...]
    rows: int
    bytes: int
    step: int


@dataclass(frozen=True, slots=True)
class DatabaseSnapshot:
    """What a chunk's transaction sees of a table: whose rows, in which columns. All that it sees lies in the
    WAL before ``high``."""

    visible: Visibility
    schema: TableSchema
    high: int


@dataclass(slots=True)
class Reading:
    """A chunk that the server is sending. ``size`` is that of ``lines`` in bytes; ``ended``: all have come,
    or as many as we wanted (``short``)."""

    target: Target
    place: Place
    snapshot: DatabaseSnapshot
    lines: Lines
    size: int = 0
    short: bool = False
    ended: bool = False


class ChunkReader:
    """Reads chunks over a connection of its own, one at a time: between ``begin`` and ``finish`` (or
    ``abandon``) the server sends while we are at something else. ``ready`` decides whether a snapshot may
    be used."""

    def __init__(self, conn: Connection, catalog: Callable[[Connection], Catalog]):
        self._conn = conn
        self._catalog = catalog
        self._decoder: Decoder | None = None
        self._missing = 0.0  # when a column was first found missing
        self._fewer: int | None = None  # how many rows of given keys fit into a chunk

    def begin(self, target: Target, place: Place, ready: Callable[[Visibility], bool]) -> Reading | None:
        """Have the server begin with the chunk behind ``place`` (a key; None: the first), or with the rows
        of these keys (several). None if it cannot be read now: ``ready`` refused its snapshot, or a lock or
        a change of the table stands in the way."""
        reading = None
        if place is not None and not isinstance(place[0], str):
            place = place[: min(target.rows, self._fewer or target.rows)]
        try:
            self._conn.execute("begin isolation level repeatable read read only")
            began = self._begin(target.table, ready)
            if began is not None:
                copy_out.start(self._conn.pgconn, _keyed(target, began.schema, place))
                self._missing = 0.0
                reading = Reading(target, place, began, Lines(began.schema, target.step, self._decoder))
        except _LATER as exc:
            self._bear(exc, target.table)
        except psycopg.Error as exc:
            with translate(f"read a chunk of {target.table.full_name}"):
                raise exc
        finally:
            if reading is None and not self._conn.closed:
                self._conn.execute("rollback")
        return reading

    def _bear(self, exc: psycopg.Error, table: Table) -> None:
        """Wait for a missing column, but not for ever. Raises SourceError."""
        if not isinstance(exc, psycopg.errors.UndefinedColumn):
            return
        now = time.monotonic()
        self._missing = self._missing or now
        if now - self._missing > _PATIENCE:
            raise SourceError(
                f"cannot read {table.full_name}: {exc.diag.message_primary}",
                hint="a column that `where` or `filter` names may have been dropped or renamed",
            ) from exc

    def gather(self, reading: Reading) -> None:
        """Take what has come of the chunk, without waiting, so that the server can go on."""
        with contextlib.suppress(psycopg.Error):  # if the connection is broken, ``finish`` says so
            self._conn.pgconn.consume_input()
            self._lines(reading, wait=False)
            reading.lines.offer()

    def finish(self, reading: Reading) -> Chunk | None:
        """The whole chunk; None if something came in the way."""
        target, place, snapshot = reading.target, reading.place, reading.snapshot
        schema = snapshot.schema
        try:
            try:
                self._lines(reading, wait=True)
                if not reading.short:
                    copy_out.finish(self._conn.pgconn)
            finally:
                if not self._conn.closed:
                    self._conn.execute("rollback")
        except _LATER:
            return None
        except psycopg.Error as exc:
            with translate(f"read a chunk of {target.table.full_name}"):
                raise exc
        lines = reading.lines
        strays = () if place is None or isinstance(place[0], str) else place
        if reading.short and len(lines) < len(strays):
            self._fewer = len(lines)
            return None  # which of them these are is not told: fewer are asked for next time
        lines.offer(ended=True)
        last = not reading.short and len(lines) < target.rows and not strays
        keys = [schema.columns[i].name for i in schema.key]
        return Chunk(
            target.table.full_name, schema, lines, lines.decode,
            _key_text(schema, keys), Window(snapshot.visible), snapshot.high, last, strays=strays,
        )  # fmt: skip

    def abandon(self) -> None:
        """Give up the chunk that was begun."""
        if not self._conn.closed:
            copy_out.drop(self._conn.pgconn)
            self._conn.execute("rollback")

    def _lines(self, reading: Reading, *, wait: bool) -> None:
        """Take lines of the copy, all of them or those that are there; cut it short once there are enough
        bytes."""
        if reading.ended:
            return
        pgconn, left = self._conn.pgconn, reading.target.bytes - reading.size
        size, reading.ended = copy_out.gather(pgconn, reading.lines, left, waiting=wait)
        reading.size += size
        if size > left and not reading.ended:
            copy_out.drop(pgconn)
            reading.short = reading.ended = True

    def decode_beside(self) -> None:
        """Have a second process decode the chunks that begin from now on."""
        if self._decoder is None:
            self._decoder = Decoder()

    def decode_here(self) -> None:
        """Do without the second process again."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.close()

    def read_whole(
        self, target: Target, ready: Callable[[Visibility], bool]
    ) -> Iterator[tuple[TableSchema, Visibility, list[Row], int]] | None:
        """All rows of a table without a key, in one transaction that lives as long as the iterator: each
        step gives schema, snapshot, some rows, and the high mark (0 but in the last step)."""
        try:
            began = None
            self._conn.execute("begin isolation level repeatable read read only")
            began = self._begin(target.table, ready)
        except _LATER:
            began = None
        except psycopg.Error as exc:
            with translate(f"read {target.table.full_name}"):
                raise exc
        finally:
            if began is None and not self._conn.closed:
                self._conn.execute("rollback")
        return None if began is None else self._ranges(target, began)

    def _ranges(
        self, target: Target, snapshot: DatabaseSnapshot
    ) -> Iterator[tuple[TableSchema, Visibility, list[Row], int]]:
        schema, visible = snapshot.schema, snapshot.visible
        try:
            with translate(f"read {target.table.full_name}"):
                for place in self._places(target.table):
                    command = _unkeyed(target, schema, place)
                    for lines in self._stream(command, target):
                        rows = compile_block_decoder(schema)(b"".join(lines))
                        yield schema, visible, rows, 0
                self._conn.execute("commit")
                yield schema, visible, [], snapshot.high
        finally:
            if not self._conn.closed and self._conn.info.transaction_status != pq.TransactionStatus.IDLE:
                copy_out.drop(self._conn.pgconn)
                self._conn.execute("rollback")

    def schema(self, table: Table) -> TableSchema:
        """The table's columns as they are now."""
        with translate(f"read the catalog for {table.full_name}"):
            found = self._catalog(self._conn).schemas([table]).get(table.oid)
        if found is None:
            raise SourceError(f"table {table.full_name} has no column to capture")
        return found

    def _places(self, table: Table) -> Iterator[tuple[str, str]]:
        """The leaves of ``table`` and a condition on ``ctid`` for each range of pages."""
        for leaf in table.leaves:
            row = self._conn.execute(
                "select quote_ident(n.nspname) || '.' || quote_ident(c.relname),"
                " pg_relation_size(c.oid) / current_setting('block_size')::int"
                " from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = %s::oid",
                (leaf,),
            ).fetchone()
            if row is None:
                continue
            name, pages = row
            # Before Postgres 14 a range of ctid reads the whole table: take it in one go there.
            step = _PAGES if self._conn.info.server_version >= 140000 else pages + 1
            for page in range(0, pages + 1, step):
                upper = f" and ctid < '({page + step},0)'" if page + step <= pages else ""
                yield name, f"ctid >= '({page},0)'{upper}"

    def _begin(self, table: Table, ready: Callable[[Visibility], bool]) -> DatabaseSnapshot | None:
        """Where the WAL is written to is asked for right behind the snapshot: what is visible lies before it,
        flushed or not (with synchronous_commit off a commit is visible before it is flushed). Not later: to
        read a table that was just filled writes WAL of its own (hints, where pages have checksums), which
        nobody flushes soon, and the stream would be waited for."""
        conn = self._conn
        conn.execute("set local lock_timeout = '500ms'")
        conn.execute(f"lock table {table.sql} in access share mode".encode())
        row = conn.execute(
            "select pg_current_snapshot()::text, case when pg_is_in_recovery() then"
            " pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end::text"
        ).fetchone()
        if row is None or not ready(visible := Visibility.parse(row[0])):
            return None
        return DatabaseSnapshot(visible, self.schema(table), parse_lsn(row[1]))

    def _stream(self, command: str, target: Target) -> Iterator[list[bytes]]:
        """The lines of a copy, some at a time; the server waits while we do not ask."""
        pgconn = self._conn.pgconn
        copy_out.start(pgconn, command)
        ended = False
        while not ended:
            lines: list[bytes] = []
            _, ended = copy_out.gather(pgconn, lines, target.bytes, target.rows)
            if ended:
                copy_out.finish(pgconn)
            if lines:
                yield lines

    def close(self) -> None:
        """Close the connection."""
        self.decode_here()
        self._conn.close()


def _select(target: Target, schema: TableSchema, source: str, conditions: Sequence[str]) -> str:
    columns = ", ".join(quote(name) for name in schema.names)
    every = [f"({c})" for c in (*target.conditions, *conditions)]
    where = f" where {' and '.join(every)}" if every else ""
    return f"select {columns} from {source}{where}"


def _keyed(target: Target, schema: TableSchema, place: Place) -> str:
    keys = ", ".join(quote(c.name) for c in schema.key_columns)

    def values(key: Sequence[str]) -> str:
        pairs = zip(key, schema.key_columns, strict=True)
        return "(" + ", ".join(f"{literal(text)}::{c.native}" for text, c in pairs) + ")"

    after = []
    if place is not None and isinstance(place[0], str):
        after.append(f"({keys}) > {values(place)}")
    elif place is not None:
        after.append(f"({keys}) in ({', '.join(map(values, place))})")
    only = target.table.sql if target.table.kind == "p" else f"only {target.table.sql}"
    query = _select(target, schema, only, after)
    return f"{query} order by {keys} limit {target.rows}"


def _unkeyed(target: Target, schema: TableSchema, place: tuple[str, str]) -> str:
    leaf, condition = place
    return _select(target, schema, f"only {leaf}", [condition])


def _key_text(schema: TableSchema, keys: Sequence[str]) -> Callable[[bytes], tuple[str, ...]]:
    """The key columns' text of a copy line. Key columns are never null."""
    places = [schema.names.index(name) for name in keys]

    def text(line: bytes) -> tuple[str, ...]:
        fields = line.rstrip(b"\n").split(b"\t")
        return tuple(unescape(fields[i].decode()) for i in places)

    return text
