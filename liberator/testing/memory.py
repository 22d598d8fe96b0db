"""A source and a sink without a database: the pumps' tests run on them, connectors are compared to them.

``ListSource`` plays a script of transactions and resumes from a state like any other source; an
:class:`Abort` in the script is a crash at that place. ``ListSink`` keeps its rows and its cursor in a
:class:`Store`, which outlives it as a database outlives a connection, and folds events as a sink that
mirrors the source has to.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from liberator.errors import SinkError, SourceError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Position, Row, Transaction
from liberator.log import Cursor
from liberator.options import SinkOptions, SourceOptions
from liberator.sink import Sink
from liberator.source import Batch, Managed, Source, State


class Abort:
    """A crash in a script: reading it raises once, and it is passed over after that."""

    def __init__(self, retryable: bool = True):
        self.retryable = retryable
        self.raised = False

    def crash(self) -> None:
        """Raise, the first time."""
        if not self.raised:
            self.raised = True
            raise SourceError("the script says to fail here", retryable=self.retryable)


#: What a script is made of: the events of one whole transaction, or a crash.
Item = list[ChangeEvent] | Abort


class ListSource(Source):
    """Plays ``script``, at most ``batch`` events a read; a longer transaction is read in parts.

    The script may grow while it is played. With ``snapshot`` a first open finds the rows that the script
    has made so far, and plays on from there. What was confirmed is in ``confirmed``. ``idle`` is how long
    a read without events takes, in seconds.
    """

    Config: ClassVar[type[SourceOptions]] = SourceOptions
    connector: ClassVar[str] = "list"

    def __init__(
        self,
        name: str,
        script: Sequence[Item],
        batch: int = 1000,
        snapshot: bool = False,
        idle: float = 0.001,
    ):
        super().__init__(name, None)
        self.confirmed: list[Position] = []
        self._script = script
        self._batch = batch
        self._snapshot = snapshot
        self._idle = idle
        self._state: State | None = None
        self._item = 0  # the item to read next, and how many of its events are read
        self._taken = 0
        self._rows_next = False  # rows of a snapshot and transactions take turns

    def open(self, state: State | None) -> None:
        """Go to the place in the script where ``state`` stands."""
        self._state = state or self._beginning()
        at = self._state.position
        self._item = self._taken = 0
        for index, item in enumerate(self._script):
            if isinstance(item, Abort):
                continue
            if at >= _behind(item):
                self._item = index + 1
            elif at > item[0].transaction.position:
                self._item, self._taken = index, at.minor

    def _beginning(self) -> State:
        if not self._snapshot:
            return State(Position(0, 0), {"server": "list"}, {"signal": 0, "pending": []})
        position = self.current()
        pending = [[name, []] for name in self._tables(position)]
        return State(position, {"server": "list"}, {"signal": 0, "pending": pending})

    def read(self) -> Batch:
        """Events up to ``batch``, whole transactions as far as they fit."""
        state = self._opened()
        self._rows_next = not self._rows_next
        if state.snapshot["pending"] and not self._taken and (self._rows_next or not self._more()):
            return self._read_rows(state)
        events: list[ChangeEvent] = []
        while self._more():
            item = self._script[self._item]
            if isinstance(item, Abort):
                if events:
                    break
                self._item += 1
                item.crash()
                continue
            if events and len(events) + len(item) > self._batch:
                break
            part = item[self._taken : self._taken + self._batch]
            events += part
            self._taken += len(part)
            if self._taken < len(item):
                break
            self._item, self._taken = self._item + 1, 0
        if not events:
            time.sleep(self._idle)
            return Batch([], state, open=self._taken > 0)
        last = events[-1].transaction
        epoch, major, _ = last.position
        after = Position(epoch, major, self._taken) if self._taken else Position(epoch, major + 1)
        self._state = replace(state, position=after)
        return Batch(events, self._state, open=self._taken > 0, timestamp=last.timestamp)

    def confirm(self, position: Position) -> None:
        """Remember that ``position`` was confirmed."""
        if self.confirmed and position < self.confirmed[-1]:
            raise SourceError(f"position {position} was confirmed after {self.confirmed[-1]}")
        self.confirmed.append(position)

    def snapshot(self, signal: int, tables: Sequence[str]) -> None:
        """Read ``tables`` (``schema.table``) again; one that the script never wrote is refused."""
        state = self._opened()
        known = self._tables(self.current())
        for name in tables:
            if name not in known:
                raise SourceError(f"there is no table {name}")
        if signal > state.snapshot["signal"]:
            pending = [*state.snapshot["pending"], *([name, []] for name in tables)]
            self._state = replace(state, snapshot={"signal": signal, "pending": pending})

    def current(self) -> Position:
        """Behind the last transaction of the script."""
        return max((_behind(i) for i in self._script if isinstance(i, list)), default=Position(0, 0))

    def reached(self, state: State, target: Position) -> bool:
        """Whether ``state`` is at ``target`` or behind it, with no table left to read."""
        return state.position >= target and not state.snapshot["pending"]

    def _more(self) -> bool:
        return self._item < len(self._script)

    def _opened(self) -> State:
        if self._state is None:
            raise SourceError(f"source {self.name} is not open")
        return self._state

    def _read_rows(self, state: State) -> Batch:
        """The next rows of the first pending table, in key order, as they are where the stream stands."""
        (name, after), *others = state.snapshot["pending"]
        rows = self._tables(state.position).get(name, {})
        keys = [key for key in sorted(rows) if key > tuple(after)][: self._batch]
        here = Transaction("", state.position, 0)
        events = [
            replace(rows[key], operation=Operation.READ, before=None, transaction=here, ordinal=0)
            for key in keys
        ]
        events = [replace(event, table_ordinal=0, moved=None, phase=Phase.SNAPSHOT) for event in events]
        pending = [[name, list(keys[-1])], *others] if len(keys) == self._batch else others
        self._state = replace(state, snapshot={**state.snapshot, "pending": pending})
        return Batch(events, self._state)

    def _tables(self, position: Position) -> dict[str, dict[Row, ChangeEvent]]:
        """The rows that the script has made by ``position``, by ``schema.table`` and key: for each the
        event that a snapshot would make of it."""
        tables: dict[str, dict[Row, ChangeEvent]] = {}
        for item in self._script:
            if isinstance(item, Abort) or _behind(item) > position:
                continue
            for event in item:
                table = tables.setdefault(f"{event.schema.schema}.{event.schema.table}", {})
                if event.operation is Operation.TRUNCATE:
                    table.clear()
                    continue
                assert event.key is not None
                if event.operation is Operation.DELETE:
                    table.pop(event.key, None)
                else:
                    table[event.key] = _merged(table.get(event.key), event)
        return tables


def _behind(item: list[ChangeEvent]) -> Position:
    epoch, major, _ = item[0].transaction.position
    return Position(epoch, major + 1)


def _merged(old: ChangeEvent | None, new: ChangeEvent) -> ChangeEvent:
    """``new``, with what it did not send taken from ``old``."""
    if old is None or old.schema is not new.schema or ABSENT not in (new.after or ()):
        return new
    assert old.after is not None and new.after is not None
    pairs = zip(old.after, new.after, strict=True)
    return replace(new, after=tuple(was if now is ABSENT else now for was, now in pairs))


class Store:
    """What a ListSink writes: a database in the palm of the hand.

    ``tables`` holds rows by topic and key; ``applied`` every event ever committed, in order;
    ``cursors`` the sinks' places; ``commits`` how many commits there were.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[Row, dict[str, Any]]] = {}
        self.applied: list[ChangeEvent] = []
        self.cursors: dict[str, Cursor] = {}
        self.generations: dict[str, int] = {}
        self.commits = 0

    def rows(self, topic: str) -> list[dict[str, Any]]:
        """The rows of ``topic``, ordered by key; columns that a row never received are None."""
        table = self.tables.get(topic, {})
        names = list(dict.fromkeys(name for row in table.values() for name in row))
        return [{name: table[key].get(name) for name in names} for key in sorted(table)]


class ListSink(Sink):
    """Mirrors the source in a :class:`Store`; what is not committed is forgotten on ``close``."""

    Config: ClassVar[type[SinkOptions]] = SinkOptions

    def __init__(self, name: str, store: Store):
        super().__init__(name, None)
        self._store = store
        self._written: list[ChangeEvent] = []
        self._generation = 0

    def open(self) -> Cursor | None:
        """Fence out older instances of this name."""
        self._generation = self._store.generations.get(self.name, 0) + 1
        self._store.generations[self.name] = self._generation
        return self._store.cursors.get(self.name)

    def write(self, events: Sequence[ChangeEvent]) -> None:
        """Keep ``events`` until they are committed."""
        self._fence()
        self._written += events

    def commit(self, cursor: Cursor) -> None:
        """Fold what was written into the store."""
        self._fence()
        for event in self._written:
            fold(self._store.tables.setdefault(event.topic, {}), event)
        self._store.applied += self._written
        self._store.cursors[self.name] = cursor
        self._store.commits += 1
        self._written = []

    def close(self) -> None:
        """Forget what was not committed."""
        self._written = []
        self._generation = 0

    def cursor(self) -> Cursor | None:
        """The stored cursor."""
        return self._store.cursors.get(self.name)

    def objects(self) -> list[Managed]:
        """Its place in the store."""
        return [
            Managed("cursor", name, "present", "", "") for name in self._store.cursors if name == self.name
        ]

    def teardown(self) -> list[Managed]:
        """Forget the place; rows stay."""
        gone = self.objects()
        self._store.cursors.pop(self.name, None)
        return gone

    def _fence(self) -> None:
        if self._generation != self._store.generations.get(self.name, 0) or not self._generation:
            raise SinkError(f"another process has taken over sink {self.name}, or it is not open")


def fold(table: dict[Row, dict[str, Any]], event: ChangeEvent) -> None:
    """Apply one event to ``table`` (rows by key), as a mirror of the source must look after it."""
    if event.operation is Operation.TRUNCATE:
        table.clear()
        return
    key = event.key
    if key is None:
        raise SinkError(f"table {event.schema.table} has no key to find its rows by")
    if event.operation is Operation.DELETE:
        table.pop(key, None)
        return
    assert event.after is not None
    sent = {n: v for n, v in zip(event.schema.names, event.after, strict=True) if v is not ABSENT}
    whole = len(sent) == len(event.schema.names)
    if event.operation is Operation.UPDATE and key not in table and not whole:
        if event.phase is Phase.AHEAD:
            return  # the snapshot brings the row
        raise SinkError(f"a part of a row of {event.schema.table} came before the row itself")
    table[key] = (table.get(key, {}) if not whole else {}) | sent
