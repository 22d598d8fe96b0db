"""The snapshot side of the WAL source: which table is read next, when its rows may be emitted.

Between two pieces of the stream the source asks :meth:`Snapshots.next` for rows. Tables with a key come in
chunks that are held until the stream has passed them (:mod:`liberator.snapshot`). A table without one is
read in one go, with the stream waiting: its rows have no identity by which a newer version could replace
an older one, so changes that the reading saw are dropped from the stream, exactly those, and a reading
that was interrupted begins anew after emptying the table in the sinks.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from connectors.postgres.catalog import Table
from connectors.postgres.connection import Connection
from connectors.postgres.types.text import params
from connectors.postgres.wal.changes import Captured, ChangeDecoder
from connectors.postgres.wal.chunks import ChunkReader, Place, Reading, Target, Visibility
from connectors.postgres.wal.options import WalOptions
from connectors.sql.sink.table import TargetColumn
from liberator import decoding
from liberator.event import ChangeEvent, Events, Operation, Phase, Position, Row, Run, Transaction
from liberator.schema import TableSchema
from liberator.snapshot import Chunk, Progress, Window, gives_values, retry_at

#: How many moved rows are remembered before a table is rather read from its beginning.
_STRAYS = 1000
Whole = Iterator[tuple[TableSchema, Visibility, list[Row], int]]


class Snapshots:
    """Reads the tables that ``progress`` says are pending, one after the other.

    ``connect`` opens a connection for chunks and gives a function that makes its catalog; ``seen`` is told
    each schema (with the table's oid) that a chunk was read under, and gives the shared object for it.
    """

    def __init__(
        self,
        source: str,
        options: WalOptions,
        progress: Progress,
        connect: Callable[[], tuple[Connection, Any]],
        seen: Callable[[int, TableSchema], TableSchema],
    ):
        self.progress = progress
        self._source = source
        self._options = options
        self._connect = connect
        self._seen = seen
        self._reader: ChunkReader | None = None
        self._tables: dict[str, Table] = {}
        self._chunk: Chunk | None = None
        #: The chunk behind, which the server sends while the rows of this one are emitted. No event of the
        #: stream comes between its snapshot and its becoming the chunk in hand.
        self._ahead: Reading | None = None
        self._whole: tuple[str, Whole] | None = None
        self._cuts: dict[str, tuple[Visibility, int]] = {}
        self._attended: dict[str, Captured] = {}
        self._retry_at = 0.0
        self._read = 0  # rows that were read in large chunks
        self._transaction: Transaction | None = None
        for name, table in progress.tables.items():
            if table.cut:
                text, _, high = table.cut.partition("@")
                self._cuts[name] = (Visibility.parse(text), int(high))

    # -- what to read ----------------------------------------------------------------------------

    def plan(self, tables: Mapping[int, Table], *, settle: int) -> None:
        """Take in the captured tables: new ones are read; those made anew, or captured otherwise than
        before (other columns, another filter), are emptied first."""
        self._tables = {t.full_name: t for t in tables.values()}
        for name in [n for n in self.progress.tables if n not in self._tables]:
            self._abandon(name)
            self.progress.forget([name])
        for name, table in self._tables.items():
            known = self.progress.tables.get(name)
            if known is None and self._options.snapshot == "none":
                self.progress.update(name, state="done", id=self._id(table))
            elif known is None or known.id != self._id(table):
                self._abandon(name)
                self.progress.request(name, table.estimate, settle=settle, empty=known is not None)
                self.progress.update(name, id=self._id(table))
            elif known.state == "reading" and not table.keyed:
                self._empty(name)
            elif settle and known.state != "done":
                self.progress.update(name, settle=settle)

    def unpublished(self, published: frozenset[int]) -> None:
        """Tables that we know but that were in no publication when we came: somebody had taken them out,
        and what happened to them meanwhile is in no stream."""
        for name, table in self._tables.items():
            known = self.progress[name]
            if table.oid not in published and known.complete:
                self._abandon(name)
                self.progress.request(name, table.estimate, settle=known.settle, empty=True)
                self.progress.update(name, id=self._id(table))

    def _id(self, table: Table) -> str:
        """What a table's snapshot was made of: the table itself, and which part of it."""
        name = table.full_name
        part = [self._options.columns.get(name), self._options.filter.get(name)]
        if part == [None, None]:
            return str(table.oid)
        return f"{table.oid} {hashlib.sha256(repr(part).encode()).hexdigest()[:12]}"

    def request(self, tables: Sequence[Table], signal: int) -> None:
        """A person wants these tables read again."""
        if signal > self.progress.signal:
            for table in tables:
                self._again(table)
            self.progress.taken(signal)

    def changed(self, table: Table, old: TableSchema, new: TableSchema) -> None:
        """The table's columns changed. DDL writes no row changes, so where it gave existing rows new
        values (a default, a conversion, a renamed column) they are read again."""
        wanted = self._options.reread_after_ddl and self._options.snapshot != "none"
        if wanted and table.full_name in self.progress and gives_values(old, new):
            self._again(table)

    def moved(self, captured: Captured, row: Row) -> None:
        """A row whose unchanged columns were not sent has moved to another key while its table is read for
        the first time: no sink has those columns, so the row is read on its own."""
        schema = captured.schema
        name = f"{schema.schema}.{schema.table}"
        if name not in self.progress or self.progress[name].complete or self.progress[name].state == "done":
            return
        strays = self.progress[name].strays
        if len(strays) < _STRAYS:
            self.progress.update(name, strays=(*strays, key_text(schema, row)))
        else:
            self._abandon(name)
            self.progress.update(name, state="pending", rows=0, cursor=None, strays=())
            self._refresh(name)

    def _again(self, table: Table) -> None:
        name = table.full_name
        self.progress.request(name, table.estimate, empty=not table.keyed)
        self.progress.update(name, id=self._id(table))

    def _empty(self, name: str) -> None:
        self.progress.update(name, state="pending", rows=0, cursor=None, replace=True)

    def _abandon(self, name: str) -> None:
        if self._chunk is not None and self._chunk.table == name:
            self._chunk = None
            self._abandon_ahead()
        if self._whole is not None and self._whole[0] == name:
            self._whole = None
        self._cuts.pop(name, None)

    # -- what the stream must do meanwhile -------------------------------------------------------

    def attend(self, captured: Captured) -> None:
        """Set a relation's phase and hook by what its table's snapshot needs now."""
        name = f"{captured.schema.schema}.{captured.schema.table}"
        self._attended[name] = captured
        if self._chunk is not None and self._chunk.table == name and captured.schema != self._chunk.schema:
            self._chunk.window.broken = True
        captured.hook, captured.phase = None, Phase.STREAM
        if name not in self.progress:
            return
        table = self._tables.get(name)
        pending = self.progress[name].state != "done"
        if pending and table is not None and not table.keyed:
            captured.hook = _suppress
        elif not self.progress[name].complete and (pending or self._options.snapshot == "none"):
            captured.phase = Phase.AHEAD
        if self._chunk is not None and self._chunk.table == name:
            captured.hook = _observe(self._chunk.window)
        elif name in self._cuts and not pending:
            captured.hook = _behind(self._cuts[name][0])

    def reattend(self, relations: Iterable[Captured]) -> None:
        """Attend to every relation anew."""
        for captured in list(relations):
            self.attend(captured)

    def _refresh(self, name: str) -> None:
        if name in self._attended:
            self.attend(self._attended[name])

    # -- reading ---------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether a chunk is held, or a table's cut is watched, until the stream has passed it."""
        return self._chunk is not None or bool(self._cuts)

    @property
    def done(self) -> bool:
        """Whether no table is pending and nothing is held."""
        return not self.progress.pending and not self.waiting and self._whole is None

    def next(self, decoder: ChangeDecoder, limit: int, now: float) -> Sequence[ChangeEvent] | None:
        """The next rows to emit, perhaps none although something happened; None: it is the stream's turn."""
        self._close_cuts(decoder)
        if self._whole is not None:
            return self._go_on(decoder)
        if self._chunk is not None:
            if self._chunk.window.broken:
                self._drop_chunk(self._chunk.table)
            elif decoder.position.major >= self._chunk.high:
                return self._emit(self._chunk, decoder, limit)
            return None
        pending = self.progress.pending
        if not pending or now < self._retry_at:
            return None
        return self._take_up(pending[0], decoder)

    def _take_up(self, name: str, decoder: ChangeDecoder) -> Sequence[ChangeEvent] | None:
        table = self._tables[name]
        progress = self.progress[name]
        if progress.replace:
            # The table is emptied before the chunk's snapshot is taken: whatever the stream brings after
            # this event is then newer than the emptying, and stays.
            emptied = self._truncate(table, decoder)
            self.progress.update(name, replace=False)
            return emptied
        if self._reader is None:
            self._reader = ChunkReader(*self._connect())
        began = time.monotonic()
        if table.keyed:
            self._hold(self._begin(table, progress.strays or progress.cursor, decoder))
            if self._chunk is None:
                self._retry_at = retry_at(began)
            return None
        whole = self._reader.read_whole(self._target(table), self._ready(table, decoder))
        if whole is None:
            self._retry_at = retry_at(began)
            return None
        self._whole = (name, whole)
        return self._go_on(decoder)

    def _target(self, table: Table) -> Target:
        name, options = table.full_name, self._options
        conditions = [c for c in (options.where.get(name), options.filter.get(name)) if c]
        return Target(table, tuple(conditions), options.chunk, options.chunk_bytes, options.batch)

    def _ready(self, table: Table, decoder: ChangeDecoder) -> Callable[[Visibility], bool]:
        settle = self.progress[table.full_name].settle

        def ready(visible: Visibility) -> bool:
            if visible.xmin < settle or not all(map(visible, decoder.emitted)):
                return False
            # Of a transaction that the stream is in, some rows were emitted already.
            if decoder.open and not visible(decoder.xid):
                return False
            decoder.emitted.clear()  # seen once, seen by every later snapshot
            return True

        return ready

    def _begin(self, table: Table, place: Place, decoder: ChangeDecoder) -> Reading | None:
        assert self._reader is not None
        return self._reader.begin(self._target(table), place, self._ready(table, decoder))

    def _hold(self, reading: Reading | None) -> None:
        """Take a chunk in hand, until the stream has passed it; without one try again soon."""
        assert self._reader is not None
        chunk = None if reading is None else self._reader.finish(reading)
        if reading is None or chunk is None:
            self._retry_at = retry_at()
            return
        chunk.schema = self._seen(reading.target.table.oid, chunk.schema)
        self._chunk = chunk
        if not chunk.last:
            self._decode_beside(len(chunk.lines))
        self._refresh(chunk.table)

    def _decode_beside(self, rows: int) -> None:
        """Have a second process decode from now on, once so much was read that it is worth it."""
        assert self._reader is not None
        self._read += rows
        if self._read >= decoding.WORTH and self._options.second_process and decoding.processors() > 1:
            self._reader.decode_beside()

    def _drop_chunk(self, name: str) -> None:
        """Give a chunk up; it is read again soon."""
        self._chunk = None
        self._abandon_ahead()
        self._retry_at = retry_at()
        self._refresh(name)

    def _emit(self, chunk: Chunk, decoder: ChangeDecoder, limit: int) -> Events:
        rows, cursor = chunk.take(limit)
        if chunk.emitted <= limit:
            self._transaction = self._moment(decoder)
            if not chunk.last and not chunk.strays:
                self._look_ahead(chunk, decoder)
        elif self._ahead is not None and self._reader is not None:
            self._reader.gather(self._ahead)
        events = self._reads(chunk.schema, rows)
        if chunk.strays:
            cursor = self.progress[chunk.table].cursor
        if rows or cursor is not None:
            self.progress.advance(chunk.table, len(rows), cursor)
        if chunk.empty:
            self._leave(chunk)
        return events

    def _leave(self, chunk: Chunk) -> None:
        """The chunk's last row was emitted: note it, and take the one that was begun in hand."""
        self._chunk = None
        left = tuple(k for k in self.progress[chunk.table].strays if k not in chunk.strays)
        if chunk.strays:
            self.progress.update(chunk.table, strays=left)
        elif chunk.last and not left:
            self.progress.finish(chunk.table)
        if not self.progress.pending and self._reader is not None:
            self._reader.decode_here()
        self._refresh(chunk.table)
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._hold_ahead(ahead)

    def _look_ahead(self, chunk: Chunk, decoder: ChangeDecoder) -> None:
        """Have the server begin with the chunk behind this one."""
        if chunk.lines and not self.progress[chunk.table].strays:
            place = chunk.cursor(chunk.lines[-1])
            self._ahead = self._begin(self._tables[chunk.table], place, decoder)

    def _abandon_ahead(self) -> None:
        if self._ahead is not None and self._reader is not None:
            self._reader.abandon()
        self._ahead = None

    def _hold_ahead(self, ahead: Reading) -> None:
        """Take the chunk that was begun in hand, unless something else is to be read first."""
        assert self._reader is not None
        progress = self.progress[ahead.target.table.full_name]
        if progress.state == "reading" and not progress.strays and ahead.place == progress.cursor:
            self._hold(ahead)
        else:
            self._reader.abandon()

    def _go_on(self, decoder: ChangeDecoder) -> Events:
        """The next rows of a table without a key."""
        assert self._whole is not None
        name, whole = self._whole
        schema, visible, rows, high = next(whole)
        schema = self._seen(self._tables[name].oid, schema)
        self._transaction = self._moment(decoder)
        self.progress.advance(name, len(rows), None)
        if high:
            self._whole = None
            self._cuts[name] = (visible, high)
            self.progress.finish(name, cut=f"{visible.text}@{high}")
            self._refresh(name)
        return self._reads(schema, rows)

    def _close_cuts(self, decoder: ChangeDecoder) -> None:
        """Behind a cut's high mark no transaction comes that the reading saw."""
        for name in [n for n, (_, high) in self._cuts.items() if decoder.position.major >= high]:
            del self._cuts[name]
            if name in self.progress:
                self.progress.update(name, cut=None)
                self._refresh(name)

    # -- events ----------------------------------------------------------------------------------

    def _moment(self, decoder: ChangeDecoder) -> Transaction:
        """What stands for a transaction in rows that were read: where the stream is, and when."""
        epoch, major, _ = decoder.position
        return Transaction("", Position(epoch, major), time.time_ns() // 1000, (None, major))

    def _reads(self, schema: TableSchema, rows: list[Row]) -> Events:
        topic = f"{self._source}.{schema.schema}.{schema.table}"
        assert self._transaction is not None
        run = Run(Operation.READ, topic, schema, rows, self._transaction, phase=Phase.SNAPSHOT)
        return Events(run if rows else None)

    def _truncate(self, table: Table, decoder: ChangeDecoder) -> list[ChangeEvent]:
        if self._reader is None:
            self._reader = ChunkReader(*self._connect())
        schema = self._reader.schema(table)
        topic = f"{self._source}.{table.schema}.{table.name}"
        moment = self._moment(decoder)
        return [ChangeEvent(Operation.TRUNCATE, topic, schema, None, None, moment, 0, 0, Phase.SNAPSHOT)]

    def close(self) -> None:
        """Close the chunks' connection."""
        self._whole = self._ahead = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def key_text(schema: TableSchema, row: Row) -> tuple[str, ...]:
    """A row's key as the database's text."""
    columns = [
        TargetColumn(c.name, c.native, i, c) for i, c in zip(schema.key, schema.key_columns, strict=True)
    ]
    (text,) = params(columns, "postgresql", False)([row])
    return tuple(str(value) for value in text)


def _suppress(_xid: int, _event: ChangeEvent) -> bool:
    return False


def _observe(window: Window) -> Callable[[int, ChangeEvent], bool]:
    def hook(xid: int, event: ChangeEvent) -> bool:
        window.observe(xid, event)
        return True

    return hook


def _behind(visible: Visibility) -> Callable[[int, ChangeEvent], bool]:
    return lambda xid, _event: not visible(xid)
