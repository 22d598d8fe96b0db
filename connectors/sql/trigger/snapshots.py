"""The snapshot side of the source ``trigger``: which table is read next, when its rows may be emitted.

A chunk is read in one snapshot together with the greatest id that the change table shows in it. It is held
until the drain has passed that id: then everything that the chunk saw was emitted before it. A row whose key
had an event meanwhile is left out of the chunk, for that event is at least as new as the chunk (images are
complete, so nothing has to be merged). See :mod:`liberator.snapshot`.

A table without a key is read in one transaction with the drain waiting; changes which that transaction saw
are dropped from the stream, exactly those, and a reading that was interrupted begins anew after emptying the
table in the sinks.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence, Set
from typing import Any

from connectors.sql.reader import Reader, SourceTable, UnknownShape, open_reader
from connectors.sql.trigger.change_table import ChangeTable, Version
from connectors.sql.trigger.options import TriggerOptions
from liberator.errors import LiberatorError
from liberator.event import ChangeEvent, Operation, Phase, Position, Row, Transaction
from liberator.schema import TableSchema
from liberator.snapshot import Chunk, Progress, Window

#: Seconds until a chunk is tried again that could not be read.
_RETRY = 0.05
#: How many changes may lie before a reading of a table without a key.
_CUT = 50_000
Ids = list[tuple[int, int]]
Generated = Generator[tuple[TableSchema, list[Row]], None, None]


class TriggerSnapshots:
    """Reads the tables that ``progress`` says are pending, one after the other, over a connection of its
    own."""

    def __init__(self, source: str, options: TriggerOptions, table: ChangeTable, progress: Progress):
        self.progress = progress
        self._source = source
        self._options = options
        self._table = table
        self._reader: Reader | None = None
        self._latest: dict[str, Version] = {}
        self._chunk: Chunk | None = None
        self._whole: tuple[str, Generated, Ids] | None = None
        self._cuts = {name: _parse(t.cut) for name, t in progress.tables.items() if t.cut}
        self._retry_at = 0.0
        self._transaction = Transaction("", Position(0, 0), 0)

    # -- what to read ------------------------------------------------------------------------------

    def plan(self, tables: Sequence[SourceTable], made: Set[str]) -> None:
        """Take in the captured tables. New ones are read; those whose triggers had to be ``made`` although
        they are known were not captured for a while, so they are emptied first."""
        names = {t.full_name: t.estimate for t in tables}
        gone = [name for name in self.progress.tables if name not in names]
        for name in gone:
            self._abandon(name)
        if gone:
            self.progress.forget(gone)
        for name, estimate in names.items():
            known = self.progress.tables.get(name)
            if known is None and self._options.snapshot == "none":
                self.progress.update(name, state="done")
            elif known is None:
                self.progress.request(name, estimate)
            elif name in made:
                self._abandon(name)
                self.progress.request(name, estimate, empty=True)
            elif known.state == "reading" and not self._keyed(name):
                self.progress.update(name, state="pending", rows=0, cursor=None, replace=True)

    def learn(self, version: Version) -> None:
        """This is the newest shape of its table."""
        self._latest[f"{version.schema.schema}.{version.schema.table}"] = version

    def request(self, names: Sequence[str], signal: int) -> None:
        """A person wants these tables read again."""
        if signal > self.progress.signal:
            for name in names:
                self.again(name)
            self.progress.taken(signal)

    def again(self, name: str) -> None:
        """Read a table once more."""
        if name in self.progress:
            known = self.progress[name]
            if known.state != "done" and not self._keyed(name):
                self._abandon(name)
            self.progress.request(name, known.estimate, empty=not self._keyed(name))

    def _keyed(self, name: str) -> bool:
        version = self._latest.get(name)
        return version is None or bool(version.schema.key)

    def _abandon(self, name: str) -> None:
        if self._chunk is not None and self._chunk.table == name:
            self._chunk = None
        if self._whole is not None and self._whole[0] == name:
            self._close_whole()
        self._cuts.pop(name, None)

    # -- what the stream must do meanwhile ---------------------------------------------------------

    def observe(self, name: str, change: int, event: ChangeEvent) -> bool:
        """Take note of a change before it is emitted; whether it is to be emitted at all."""
        if self._chunk is not None and self._chunk.table == name:
            if event.schema != self._chunk.schema:
                self._chunk.window.broken = True
            self._chunk.window.observe(0, event)
        if name in self._cuts and any(low <= change <= high for low, high in self._cuts[name]):
            return False
        return self._keyed(name) or name not in self.progress or self.progress[name].state == "done"

    def phase(self, name: str) -> Phase:
        """How a change of this table relates to its snapshot."""
        known = self.progress.tables.get(name)
        return Phase.AHEAD if known and known.state != "done" and not known.complete else Phase.STREAM

    # -- reading -----------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether a chunk is held until the drain has passed it."""
        return self._chunk is not None

    @property
    def reading(self) -> bool:
        """Whether a table is being read in one transaction."""
        return self._whole is not None

    def next(self, position: Position, at: int) -> list[ChangeEvent] | None:
        """The next rows to emit, perhaps none although something happened; None: it is the drain's turn."""
        for name in [n for n, ids in self._cuts.items() if not ids or ids[-1][1] < position.major]:
            del self._cuts[name]
            if name in self.progress:
                self.progress.update(name, cut=None)
        self._transaction = Transaction("", Position(position.epoch, position.major), at, ("", None))
        if self._whole is not None:
            return self._go_on()
        if self._chunk is not None:
            if self._chunk.window.broken:
                self._drop()
            elif position.major >= self._chunk.high:
                return self._emit(self._chunk)
            return None
        pending = self.progress.pending
        if not pending or time.monotonic() < self._retry_at:
            return None
        return self._take_up(pending[0], position)

    def _take_up(self, name: str, position: Position) -> list[ChangeEvent] | None:
        version = self._latest[name]
        if self.progress[name].replace:
            self.progress.update(name, replace=False)
            return [self._event(Operation.TRUNCATE, version.schema, None)]
        if self._reader is None:
            application = f"liberator {self._source} snapshot"
            self._reader = open_reader(self._options.url, application, self._options.zero_dates)
            self._reader.connect()
        try:
            if version.schema.key:
                self._chunk = self._read(self._reader, name, version)
            else:
                self._whole = self._begin(self._reader, name, version, position)
        except UnknownShape:
            self._drop()
        except LiberatorError as exc:
            if not exc.retryable:
                raise
            self._drop()
            self._reader.close()
            self._reader = None
        return None

    def _read(self, reader: Reader, name: str, version: Version) -> Chunk:
        schema = version.schema
        with reader.transaction("read"):
            self._table.hold(reader, schema)
            (found,) = reader.fetch(f"select max(id) from {self._table.name}")
            self._same(reader, version)
            query = self._select(reader, schema, self.progress[name].cursor)
            selected = reader.select(query, schema, self._options.chunk_bytes, schema.key)
        rows: Any = selected.rows
        last = selected.whole and len(rows) < self._options.chunk
        window = Window(lambda _: False)
        return Chunk(
            name, schema, rows, _as_they_are, lambda _: selected.last, window, int(found[0] or 0) + 1, last
        )

    def _same(self, reader: Reader, version: Version) -> None:
        """Raise UnknownShape if the table got another version that we have not heard of."""
        if self._table.newest(reader, version.table) != version.id:
            raise UnknownShape(f"{version.schema.schema}.{version.schema.table} is not what it was")

    def _select(self, reader: Reader, schema: TableSchema, cursor: tuple[str, ...] | None) -> str:
        keys = [reader.place(c) for c in schema.key_columns]
        where = "" if cursor is None else f" where {behind(keys, cursor)}"
        relation = self._table.relation(schema)
        return (
            f"select {reader.listed(schema)} from {relation}{where}"
            f" order by {', '.join(keys)} limit {self._options.chunk}"
        )

    def _begin(
        self, reader: Reader, name: str, version: Version, position: Position
    ) -> tuple[str, Generated, Ids] | None:
        """Begin to read a table without a key, unless too much lies before it."""
        self._same(reader, version)
        rows = self._rows(reader, version.schema, position.major)
        _, first = next(rows)
        ids = [row[0] for row in first]
        if len(ids) > _CUT:
            rows.close()
            self._retry_at = time.monotonic() + _RETRY
            return None
        self.progress.update(name, state="reading", rows=0)
        return name, rows, runs(ids)

    def _rows(self, reader: Reader, schema: TableSchema, major: int) -> Generated:
        """First the ids of changes that the reading sees and that were not emitted yet, then the rows."""
        with reader.transaction("read"):
            self._table.hold(reader, schema)
            yield (
                schema,
                reader.fetch(
                    f"select id from {self._table.name} where id >= {major} order by id limit {_CUT + 1}"
                ),
            )
            for piece in self._table.pieces(reader, schema):
                yield schema, reader.select(f"select {reader.listed(schema)} from {piece}", schema).rows

    def _drop(self) -> None:
        """Give a chunk up; it is read again soon."""
        self._chunk = None
        self._retry_at = time.monotonic() + _RETRY

    def _emit(self, chunk: Chunk) -> list[ChangeEvent]:
        """All at once: only the last row's key is known as the database spells it."""
        rows, cursor = chunk.take(len(chunk.lines))
        if cursor is not None:
            self.progress.advance(chunk.table, len(rows), cursor)
        if chunk.empty:
            self._chunk = None
            if chunk.last:
                self.progress.finish(chunk.table)
        return [self._event(Operation.READ, chunk.schema, row) for row in rows]

    def _go_on(self) -> list[ChangeEvent]:
        """The next rows of a table without a key."""
        assert self._whole is not None
        name, pieces, ids = self._whole
        found = next(pieces, None)
        if found is None:
            self._whole = None
            self._cuts[name] = ids
            self.progress.finish(name, cut=_spell(ids))
            return []
        schema, rows = found
        self.progress.advance(name, len(rows), None)
        return [self._event(Operation.READ, schema, row) for row in rows]

    def _event(self, operation: Operation, schema: TableSchema, row: Row | None) -> ChangeEvent:
        topic = f"{self._source}.{schema.schema}.{schema.table}"
        return ChangeEvent(operation, topic, schema, None, row, self._transaction, 0, 0, Phase.SNAPSHOT)

    def _close_whole(self) -> None:
        if self._whole is not None:
            self._whole[1].close()
            self._whole = None

    def close(self) -> None:
        """Close the connection."""
        self._close_whole()
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def behind(columns: Sequence[str], values: Sequence[str]) -> str:
    """The condition that a key lies behind another. Spelled out with a bound on the first column, for not
    every database finds its way through an index by ``(a, b) > (1, 2)``."""
    if len(columns) == 1:
        return f"{columns[0]} > {values[0]}"
    rest = behind(columns[1:], values[1:])
    first, value = columns[0], values[0]
    return f"{first} >= {value} and ({first} > {value} or {first} = {value} and {rest})"


def runs(ids: Sequence[int]) -> Ids:
    """Ordered ids as ranges."""
    out: Ids = []
    for i in ids:
        if out and out[-1][1] == i - 1:
            out[-1] = (out[-1][0], i)
        else:
            out.append((i, i))
    return out


def _spell(ids: Ids) -> str | None:
    return ",".join(f"{low}-{high}" for low, high in ids) or None


def _parse(cut: str) -> Ids:
    return [(int(low), int(high)) for low, _, high in (part.partition("-") for part in cut.split(","))]


def _as_they_are(rows: Sequence[Any]) -> list[Row]:
    return list(rows)
