"""Binlog events to change events: the hot loop of the binlog source.

Walks over the blocks of the stream, keeps track of the transaction that their events belong to, and makes a
change event of each row. What an event's bytes mean is the business of :mod:`connectors.mysql.wire` and
:mod:`connectors.mysql.rows`, which transaction is where that of :mod:`.transactions`, what a table looks like
that of :mod:`.tables`, and what becomes of the events the source's.

A transaction's rows are counted, so that a position inside it is exact: after a restart it is read again from
its beginning, and the rows already in the log are passed over.

Rows of an XA transaction are written to the binlog when it is prepared, and count when it is committed, at
another place and perhaps never. They are passed over at the first place; at the second they are read from the
first one again (``replay``), so that memory holds no transaction that waits.
"""

from __future__ import annotations

from typing import Final

from connectors.mysql.binlog.controls import Controls, Frame
from connectors.mysql.binlog.tables import Captured
from connectors.mysql.wire import kinds
from connectors.mysql.wire.blocks import Block
from connectors.mysql.wire.compressed import uncompress_rows
from connectors.mysql.wire.query import is_begin
from liberator.errors import DecodeError
from liberator.event import (
    ABSENT,
    ChangeEvent,
    Events,
    Operation,
    Phase,
    Row,
    Run,
    Transaction,
    whole_key,
)

_WRITES: Final = frozenset((kinds.WRITE_ROWS, kinds.WRITE_ROWS_V1))
_UPDATES: Final = frozenset((kinds.UPDATE_ROWS, kinds.UPDATE_ROWS_V1, kinds.PARTIAL_UPDATE_ROWS))
_DELETES: Final = frozenset((kinds.DELETE_ROWS, kinds.DELETE_ROWS_V1))
_MARIA_ROWS: Final = frozenset(kinds.COMPRESSED_ROWS)
#: The table id of a rows event that holds nothing but the end of a statement.
_UNKNOWN: Final = 0
_NO_TABLE: Final = (b"\xff\xff\xff\x00\x00\x00", b"\xff\xff\xff\xff\xff\xff", b"\xff\xff\xff\xff\x00\x00")


class ChangeDecoder(Controls):
    """Turns blocks into events. ``place`` says where the stream stands, ``tables`` what its tables look
    like."""

    @property
    def open(self) -> bool:
        """Whether the stream stands inside a transaction."""
        return self.place.open

    @property
    def busy(self) -> bool:
        """Whether there is something left to walk without reading more."""
        return bool(self._stack)

    def pieces(self, events: Events) -> int:
        """How many of ``events`` belong to the transaction that is still open."""
        return len(events) - self._first if self.place.open else 0

    def begin(self) -> None:
        """A new batch begins: what is appended to it is counted from its beginning."""
        self._first = 0
        self._savepoints = [(name, 0, 0) for name, _, _ in self._savepoints]

    def feed(self, block: Block) -> None:
        """Take the stream's next block; only when not :attr:`busy`."""
        self._stack.append(Frame(iter((block,))))

    def decode(self, events: Events, limit: int) -> bool:
        """Append events until all that was fed is walked (False), or there are ``limit`` (True), behind a
        transaction if it is not larger than that."""
        stack = self._stack
        while stack:
            frame = stack[-1]
            block = frame.block
            if block is None:
                stack.pop()
                if frame.ends:
                    self._replayed()
                    if len(events) >= limit or self.place.resting:
                        return True
                continue
            if self._walk(frame, block, events, limit):
                return True
            if stack[-1] is frame and frame.index >= len(block.events):
                frame.block, frame.index = next(frame.blocks, None), 0
                if len(stack) == 1 and frame.block is None:
                    self.place.behind(block.events[-1][4])
        return False

    def _walk(self, frame: Frame, block: Block, events: Events, limit: int) -> bool:  # noqa: C901, PLR0912, PLR0915
        """Walk one block to its end, to a place from which a nested one must be walked first (both False), or
        until there is enough (True). One long function over local variables, because every call and
        every attribute would be paid for by every row."""
        data, entries = block.data, block.events
        place, known, maps = self.place, self._known, self._maps
        tail = events.tail
        append, before_tail = tail.append, len(events) - len(tail)
        create, update, delete = Operation.CREATE, Operation.UPDATE, Operation.DELETE
        transaction, ordinal, skip = place.transaction, place.ordinal, place.skip
        index, count = frame.index, len(entries)
        try:
            while index < count:
                entry = entries[index]
                kind, start, end, _, position, timestamp, server_id, _ = entry
                index += 1
                if kind == 19:  # TABLE_MAP
                    body = data[start:end]
                    found = maps.get(body)
                    if found is None:
                        found = body[:6], self.tables.described(body)
                        if len(maps) > 10_000:
                            maps.clear()
                        maps[body] = found
                    known[found[0]] = found[1]
                    continue
                if kind == 16:  # XID
                    if frame.replay:
                        raise DecodeError("a prepared transaction that is committed")
                    place.ordinal = ordinal
                    place.end(position, timestamp)
                    if len(tail) + before_tail >= limit or place.position.major >= place.stop:
                        return True
                    continue
                if kind == 2 and place.open and is_begin(data, start, end):
                    place.begun = True
                    place.thread = int.from_bytes(data[start : start + 4], "little")
                    continue
                if kind in _MARIA_ROWS:
                    source = uncompress_rows(kind, data, start, end)
                    kind, start, end = kinds.COMPRESSED_ROWS[kind], 0, len(source)
                else:
                    source = data
                if kind in _WRITES:
                    rel = known.get(source[start : start + 6], _UNKNOWN)
                    if not rel:
                        self._undescribed(rel, source[start : start + 6])
                        continue
                    if self._withheld and not frame.replay:
                        self._touched = True
                        continue
                    rows = rel.decoder.rows(kind, source, start, end)
                    if transaction is None:
                        transaction = place.make(server_id, timestamp)
                    if rel.transaction is not transaction:
                        rel.transaction, rel.count = transaction, 0
                    first, shift = ordinal + 1, ordinal - rel.count
                    ordinal += len(rows)
                    rel.count = ordinal - shift
                    if rows and ABSENT in rows[0]:
                        self.tables.incomplete(rel, rows, inserted=True)
                    if rel.hook is None and first > skip:
                        topic, schema, phase = rel.topic, rel.schema, rel.phase
                        if len(rows) == 1:
                            append(
                                ChangeEvent(
                                    create,
                                    topic,
                                    schema,
                                    None,
                                    rows[0],
                                    transaction,
                                    ordinal,
                                    rel.count,
                                    phase,
                                )
                            )
                        else:
                            run = Run(create, topic, schema, rows, transaction, first, first - shift, phase)
                            events.extend(run)
                            tail = events.tail
                            append, before_tail = tail.append, len(events) - len(tail)
                    else:
                        for n, row in enumerate(rows, first):
                            self._emit(events, rel, (create, None, row), transaction, (n, n - shift), skip)
                elif kind in _UPDATES:
                    rel = known.get(source[start : start + 6], _UNKNOWN)
                    if not rel:
                        self._undescribed(rel, source[start : start + 6])
                        continue
                    if self._withheld and not frame.replay:
                        self._touched = True
                        continue
                    changes = rel.decoder.changes(kind, source, start, end)
                    if transaction is None:
                        transaction = place.make(server_id, timestamp)
                    if rel.transaction is not transaction:
                        rel.transaction, rel.count = transaction, 0
                    shift = ordinal - rel.count
                    if kind == 39:
                        rows = [whole_key(rel.schema.key, b, a) for b, a in changes]
                        self.tables.incomplete(rel, rows, inserted=False)
                    key, hook = rel.schema.key, rel.hook
                    topic, schema, phase = rel.topic, rel.schema, rel.phase
                    for before, after in changes:
                        for i in key:
                            if before[i] != after[i]:
                                after = whole_key(key, before, after)  # noqa: PLW2901
                                break
                        else:
                            ordinal += 1
                            if ordinal > skip:
                                event = ChangeEvent(
                                    update, topic, schema, before, after,
                                    transaction, ordinal, ordinal - shift, phase,
                                )  # fmt: skip
                                if hook is None or hook(transaction, event):
                                    append(event)
                            continue
                        if moves(key, before, after):
                            self._split(events, rel, (before, after), transaction, (ordinal, shift), skip)
                            ordinal += 2
                        else:
                            ordinal += 1
                            self._emit(
                                events,
                                rel,
                                (update, before, after),
                                transaction,
                                (ordinal, ordinal - shift),
                                skip,
                            )
                    rel.count = ordinal - shift
                elif kind in _DELETES:
                    rel = known.get(source[start : start + 6], _UNKNOWN)
                    if not rel:
                        self._undescribed(rel, source[start : start + 6])
                        continue
                    if self._withheld and not frame.replay:
                        self._touched = True
                        continue
                    rows = rel.decoder.rows(kind, source, start, end)
                    if transaction is None:
                        transaction = place.make(server_id, timestamp)
                    if rel.transaction is not transaction:
                        rel.transaction, rel.count = transaction, 0
                    shift = ordinal - rel.count
                    for n, row in enumerate(rows, ordinal + 1):
                        self._emit(events, rel, (delete, row, None), transaction, (n, n - shift), skip)
                    ordinal += len(rows)
                    rel.count = ordinal - shift
                else:
                    place.ordinal, frame.index = ordinal, index
                    descend = self._other(frame, block, entry, events)
                    transaction, ordinal, skip = place.transaction, place.ordinal, place.skip
                    tail = events.tail
                    append, before_tail = tail.append, len(events) - len(tail)
                    if descend:
                        return False
                    if not place.open and (len(tail) + before_tail >= limit or place.resting):
                        return True
                    continue
                if len(tail) + before_tail - self._first >= limit:
                    return True
        finally:
            frame.index = index
            if place.open:
                place.ordinal = ordinal
        return False

    def _undescribed(self, rel: Captured | int | None, table: bytes) -> None:
        """Rows that are not captured are passed over; those of an unknown table must not be."""
        if rel is not None and table not in _NO_TABLE:
            raise DecodeError("a change of a table that the stream has not described")

    def _split(
        self,
        events: Events,
        rel: Captured,
        rows: tuple[Row, Row],
        transaction: Transaction,
        counts: tuple[int, int],
        skip: int,
    ) -> None:
        """A key change: the old key's delete, then the new key's create, each naming the other."""
        before, row = rows
        ordinal, shift = counts
        key = rel.schema.key
        old, new = tuple(before[i] for i in key), tuple(row[i] for i in key)
        pair = (
            (Operation.DELETE, before, None, new),
            (Operation.CREATE, None, row, old),
        )
        for n, (operation, was, now, other) in enumerate(pair, ordinal + 1):
            if n > skip:
                event = ChangeEvent(
                    operation, rel.topic, rel.schema, was, now, transaction, n, n - shift, rel.phase, other
                )
                if rel.hook is None or rel.hook(transaction, event):
                    events.tail.append(event)
        if rel.phase is Phase.AHEAD and ABSENT in row:
            self.tables.moved(rel, row)


def moves(key: tuple[int, ...], before: Row, row: Row) -> bool:
    """Whether an update changes the key."""
    return any(before[i] != row[i] for i in key)
