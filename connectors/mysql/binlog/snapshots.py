"""The snapshot side of the binlog source: which table is read next, when its rows may be emitted.

Between two pieces of the stream the source asks :meth:`Snapshots.next` for rows. Tables with a key come in
chunks that are held until the stream has passed them (:mod:`liberator.snapshot`); while the rows of one
leave, the server sends the next one. A table without one is read in one consistent snapshot: opened, its
rows waiting, until the stream has come to where it was taken, and then read with the stream waiting.
Changes from before that place are in it, those behind it are not; where a server cannot tell of a change in
between, the reading begins anew. Until it is read, its changes are dropped from the stream; a reading that
was interrupted begins anew after emptying the table in the sinks.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from connectors.mysql.binlog.chunks import Chunk, ChunkReader, Reading, Target, Whole, chunkable, key_text
from connectors.mysql.binlog.options import BinlogOptions
from connectors.mysql.binlog.tables import Captured, Hook, Tables, Watcher
from connectors.mysql.binlog.transactions import Transactions
from connectors.mysql.catalog import Table
from connectors.mysql.connection import Server
from liberator.event import ChangeEvent, Events, Operation, Phase, Position, Row, Run, Transaction
from liberator.schema import TableSchema
from liberator.snapshot import Progress, Window, gives_values, retry_at

#: How many rows are read on their own before a table is rather read from its beginning.
_STRAYS: Final = 1000
_DROPPED: Final = "dropped"


class Snapshots(Watcher):
    """Reads the tables that ``progress`` says are pending, one after the other.

    ``reader`` reads; ``look`` gives the captured tables as the catalog has them now, by full name.
    """

    def __init__(
        self,
        source: str,
        options: BinlogOptions,
        progress: Progress,
        reader: ChunkReader,
        server: Server,
        look: Callable[[], Mapping[str, Table]],
    ):
        self.progress = progress
        self.tables: Tables | None = None
        self._source = source
        self._options = options
        self._server = server
        self._reader = reader
        self._look = look
        self._found: dict[str, Table] = {}
        self._chunk: Chunk | None = None
        #: The chunk behind it, on its way. The stream stands still while a chunk's rows leave, so that no
        #: change falls between the two.
        self._ahead: Reading | None = None
        self._whole: Whole | None = None
        self._reading = False
        self._retry_at = 0.0
        self._transaction: Transaction | None = None

    # -- what to read ----------------------------------------------------------------------------

    def plan(self, tables: Mapping[str, Table]) -> None:
        """Take in the captured tables when the source is opened: new ones are read; those captured
        otherwise than before (with another condition) are emptied first."""
        self._found = dict(tables)
        for name in [n for n in self.progress.tables if n not in tables]:
            if self.progress[name].id != _DROPPED and self.progress[name].state != "done":
                self.progress.update(name, state="done", id=_DROPPED)
        for name, table in tables.items():
            known = self.progress.tables.get(name)
            if known is None and self._options.snapshot == "none":
                self.progress.update(name, state="done", id=self._id(name))
            elif known is None or (known.id not in (self._id(name), _DROPPED)):
                self.progress.request(name, table.estimate, empty=known is not None)
                self.progress.update(name, id=self._id(name))
            elif known.state == "reading" and not self._keyed(name):
                self._empty(name)

    def _id(self, name: str) -> str:
        """What a table's snapshot was made of: which part of the table."""
        condition = self._options.where.get(name)
        return "all" if condition is None else hashlib.sha256(condition.encode()).hexdigest()[:12]

    def _table(self, name: str) -> Table | None:
        if name not in self._found:
            self._found = dict(self._look())
        return self._found.get(name)

    def _keyed(self, name: str) -> bool:
        table = self._table(name)
        return table is not None and table.keyed

    def request(self, names: Sequence[str], signal: int) -> None:
        """A person wants these tables read again."""
        if signal > self.progress.signal:
            for name in names:
                self._again(name, empty=not self._keyed(name))
            self.progress.taken(signal)

    def _again(self, name: str, *, empty: bool) -> None:
        table = self._table(name)
        if empty:
            self._abandon(name)
        self.progress.request(name, table.estimate if table is not None else 0, empty=empty)
        self.progress.update(name, id=self._id(name))
        self._refresh(name)

    def _empty(self, name: str) -> None:
        self.progress.update(name, state="pending", rows=0, cursor=None, replace=True)

    def _abandon(self, name: str) -> None:
        if self._chunk is not None and self._chunk.table == name:
            self._chunk = None
            self._abandon_ahead()
        if self._whole is not None and self._whole.table == name:
            self._whole = None
            self._reading = False
            self._reader.abandon()

    # -- what happens to tables ------------------------------------------------------------------

    def altered(self, name: str, old: TableSchema, new: TableSchema) -> None:
        """DDL writes no row changes, so where it gave existing rows new values (a default, a conversion, a
        renamed column) they are read again. One that took the key is another table."""
        if name not in self.progress or self._options.snapshot == "none":
            return
        self._found.pop(name, None)
        if self._options.reread_after_ddl and gives_values(old, new):
            self._again(name, empty=not self._keyed(name))

    def appeared(self, name: str) -> bool:
        """A table that was created holds nothing: the stream has all there will be."""
        self._found.pop(name, None)
        known = self.progress.tables.get(name)
        if known is not None and known.id != _DROPPED:
            return False
        self.progress.update(
            name, state="done", rows=0, estimate=0, cursor=None, complete=True, id=self._id(name),
            replace=False, strays=(), again=False,
        )  # fmt: skip
        self._refresh(name)
        return known is not None

    def replaced(self, name: str) -> None:
        """Other rows are there: in the sinks, those before must go."""
        self._found.pop(name, None)
        if self._options.unlogged == "reread":
            self._again(name, empty=True)
        elif name in self.progress:
            self.progress.update(name, id=self._id(name))
        else:
            self.unknown(name)

    def begun(self) -> list[str]:
        """A table that waits for its first chunk will be read as it is then."""
        held = self._chunk.table if self._chunk is not None else self._whole and self._whole.table
        return [
            name
            for name, table in self.progress.tables.items()
            if table.id != _DROPPED and (table.state != "pending" or table.complete or name == held)
        ]

    def dropped(self, name: str) -> None:
        """A table is gone; one that is made under its name later begins empty."""
        if name in self.progress:
            self._abandon(name)
            self.progress.update(
                name, state="done", cursor=None, strays=(), id=_DROPPED, again=False, replace=False
            )
            self._found.pop(name, None)
            self._refresh(name)

    def unknown(self, name: str) -> None:
        """Changes of a table of whose creation the binlog does not tell."""
        if name not in self.progress:
            if self._options.snapshot == "none":
                self.progress.update(name, state="done", id=self._id(name))
            else:
                self._again(name, empty=False)

    def stray(self, captured: Captured, row: Row) -> None:
        """A row to be read on its own."""
        name = captured.name
        if name not in self.progress:
            return
        strays = self.progress[name].strays
        if len(strays) >= _STRAYS:
            self.progress.update(name, strays=())
            self._again(name, empty=False)
            return
        key = key_text(captured.schema, self._server, row)
        if key not in strays:
            if self._chunk is not None and self._chunk.table == name and key in self._chunk.strays:
                self._chunk.window.broken = True
            self.progress.update(name, strays=(*strays, key))
            self._refresh(name)
        elif self._chunk is not None and self._chunk.table == name and key in self._chunk.strays:
            self._chunk.window.broken = True  # read before this change of it

    # -- what the stream must do meanwhile -------------------------------------------------------

    def attend(self, captured: Captured) -> None:
        """Set a table version's phase and hook by what its table's snapshot needs now."""
        name = captured.name
        chunk, whole = self._chunk, self._whole
        if chunk is not None and chunk.table == name and captured.schema != chunk.schema:
            chunk.window.broken = True
        captured.hook, captured.phase = None, Phase.STREAM
        if name not in self.progress:
            return
        pending = self.progress[name].state != "done"
        if pending and not chunkable(captured.schema):
            captured.hook = _suppress if whole is None or whole.table != name else _watch(whole)
        elif not self.progress[name].complete and (pending or self._options.snapshot == "none"):
            captured.phase = Phase.AHEAD
        if chunk is not None and chunk.table == name:
            captured.hook = _observe(chunk.window)

    def _refresh(self, name: str) -> None:
        if self.tables is not None:
            for captured in self.tables.live():
                if captured.name == name:
                    self.attend(captured)

    # -- reading ---------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether rows are held until the stream has passed them."""
        return self._chunk is not None or (self._whole is not None and not self._reading)

    @property
    def done(self) -> bool:
        """Whether no table is pending and nothing is held."""
        return not self._due and self._chunk is None and self._whole is None

    @property
    def _due(self) -> list[str]:
        strays = self._due_strays
        return [*strays, *(name for name in self.progress.pending if name not in strays)]

    @property
    def _due_strays(self) -> list[str]:
        return [name for name, table in self.progress.tables.items() if table.strays]

    def next(self, place: Transactions, limit: int, now: float) -> Events | list[ChangeEvent] | None:
        """The next rows to emit, perhaps none although something happened; None: it is the stream's turn."""
        if self._whole is not None:
            return self._go_on(self._whole, place)
        place.rest(None)
        if self._chunk is not None:
            if self._chunk.window.broken:
                self._drop_chunk(self._chunk.table)
            elif place.position.major >= self._chunk.high:
                return self._emit(self._chunk, place, limit)
            return None
        if now < self._retry_at:
            return None
        due = self._due
        return self._take_up(due[0], place) if due else None

    def _take_up(self, name: str, place: Transactions) -> list[ChangeEvent] | None:
        table = self._table(name)
        if table is None:
            # Gone already; the stream will tell.
            self.progress.update(name, state="done", strays=(), id=_DROPPED)
            return []
        progress = self.progress[name]
        if progress.replace and progress.state != "done":
            # The table is emptied before the chunk's snapshot is taken: whatever the stream brings after
            # this event is then newer than the emptying, and stays.
            emptied = self._truncate(table, place)
            self.progress.update(name, replace=False)
            return emptied
        target = self._target(table)
        began = time.monotonic()
        if not table.keyed or not chunkable(self._reader.schema(table)):
            whole = self._reader.read_whole(target, place)
            if whole is not None:
                whole.schema = self._seen(name, whole.schema)
                self._whole, self._reading = whole, False
                place.rest(whole.high)
                self._refresh(name)
        else:
            reading = self._reader.begin(target, progress.strays or progress.cursor, place)
            if reading is not None:
                self._hold(reading)
        if self._chunk is None and self._whole is None:
            self._retry_at = retry_at(began)
        return None

    def _target(self, table: Table) -> Target:
        options = self._options
        return Target(table, options.where.get(table.full_name), options.chunk, options.chunk_bytes)

    def _hold(self, reading: Reading) -> None:
        """Take the chunk in hand that was begun, until the stream has passed it."""
        self._chunk = self._reader.finish(reading)
        if self._chunk is not None:
            name = self._chunk.table
            self._chunk.schema = self._seen(name, self._chunk.schema)
            self._refresh(name)

    def _seen(self, name: str, schema: TableSchema) -> TableSchema:
        assert self.tables is not None
        return self.tables.seen(name, schema)

    def _drop_chunk(self, name: str) -> None:
        """Give a chunk up; it is read again soon."""
        self._chunk = None
        self._abandon_ahead()
        self._retry_at = retry_at()
        self._refresh(name)

    def _emit(self, chunk: Chunk, place: Transactions, limit: int) -> Events:
        rows, cursor = chunk.take(limit)
        name = chunk.table
        if chunk.emitted <= limit:
            self._transaction = self._moment(place)
            if chunk.starts and not chunk.last and not chunk.strays:
                self._look_ahead(chunk, place)
        events = self._reads(chunk.schema, rows)
        if not chunk.strays and (rows or cursor is not None):
            self.progress.advance(name, len(rows), cursor)
        if chunk.empty:
            self._chunk = None
            self._retry_at = 0.0
            if chunk.strays:
                left = tuple(k for k in self.progress[name].strays if k not in chunk.strays)
                self.progress.update(name, strays=left)
            elif chunk.last:
                self.progress.finish(name)
            self._refresh(name)
            ahead, self._ahead = self._ahead, None
            if ahead is not None:
                self._hold_ahead(ahead)
        elif self._ahead is not None:
            self._ahead.gather()
        return events

    def _look_ahead(self, chunk: Chunk, place: Transactions) -> None:
        """Have the server begin with the chunk behind this one."""
        table = self._table(chunk.table)
        if table is not None and not self._due_strays:
            self._ahead = self._reader.begin(self._target(table), chunk.end, place)

    def _abandon_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead = None
            self._reader.abandon()

    def _hold_ahead(self, ahead: Reading) -> None:
        """Take the chunk that was begun in hand, unless something else is to be read first."""
        progress = self.progress[ahead.target.table.full_name]
        if progress.state == "reading" and not self._due_strays and ahead.place == progress.cursor:
            self._hold(ahead)
        else:
            self._reader.abandon()

    def _go_on(self, whole: Whole, place: Transactions) -> Events | None:
        """A table without a key: wait for the stream, then the next rows."""
        if not self._reading:
            if whole.spoilt:
                place.rest(None)
                self._abandon(whole.table)
                self._retry_at = retry_at()
                self._refresh(whole.table)
                return None
            if place.position.major < whole.high or place.open:
                return None
            self._reading = True
            place.rest(None)
            self._transaction = self._moment(place)
        rows = next(whole.rows, None)
        if rows is None:
            self._whole, self._reading = None, False
            self._retry_at = 0.0
            self.progress.finish(whole.table)
            self._refresh(whole.table)
            return Events()
        self.progress.advance(whole.table, len(rows), None)
        return self._reads(whole.schema, rows)

    # -- events ----------------------------------------------------------------------------------

    def _moment(self, place: Transactions) -> Transaction:
        """What stands for a transaction in rows that were read: where the stream is, and when."""
        epoch, major, _ = place.position
        where = (None, None, place.file, major & 0xFFFFFFFFFF, None)
        return Transaction("", Position(epoch, major), time.time_ns() // 1000, where)

    def _reads(self, schema: TableSchema, rows: list[Row]) -> Events:
        topic = f"{self._source}.{schema.schema}.{schema.table}"
        assert self._transaction is not None
        run = Run(Operation.READ, topic, schema, rows, self._transaction, phase=Phase.SNAPSHOT)
        return Events(run if rows else None)

    def _truncate(self, table: Table, place: Transactions) -> list[ChangeEvent]:
        schema = self._seen(table.full_name, self._reader.schema(table))
        topic = f"{self._source}.{table.schema}.{table.name}"
        moment = self._moment(place)
        return [ChangeEvent(Operation.TRUNCATE, topic, schema, None, None, moment, 0, 0, Phase.SNAPSHOT)]

    def close(self) -> None:
        """Close the chunks' connection."""
        self._whole = self._chunk = self._ahead = None
        self._reader.close()


def _suppress(_transaction: Transaction, _event: ChangeEvent) -> bool:
    return False


def _observe(window: Window) -> Hook:
    def hook(transaction: Transaction, event: ChangeEvent) -> bool:
        window.observe(transaction, event)
        return True

    return hook


def _watch(whole: Whole) -> Hook:
    """Changes before the snapshot are in it; of one that may be or not, nobody can say."""

    def hook(transaction: Transaction, _event: ChangeEvent) -> bool:
        if not whole.seen(transaction):
            whole.spoilt = True
        return False

    return hook
