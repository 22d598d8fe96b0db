"""A source and a sink without a database: the pumps' tests run on them, connectors are compared to them.

``ListSource`` plays a script of transactions and resumes from a state like any other source; an
:class:`Abort` in the script is a crash at that place. ``ListSink`` keeps its rows and its cursor in a
:class:`Store`, which outlives it as a database outlives a connection, and folds events as a sink that
mirrors the source has to.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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


#: What a script is made of: the events of one whole transaction, or a crash.
Item = list[ChangeEvent] | Abort


class ListSource(Source):
    """Plays ``script``, at most ``batch`` events a read; a longer transaction is read in parts.

    The script may grow while it is played. ``rows`` holds what a snapshot of a table finds, by the
    table's name. What was confirmed is in ``confirmed``. ``idle`` is how long a read without events
    takes, in seconds.
    """

    Config: ClassVar[type[SourceOptions]] = SourceOptions
    connector: ClassVar[str] = "list"

    def __init__(
        self,
        name: str,
        script: Sequence[Item],
        batch: int = 1000,
        rows: Mapping[str, Sequence[ChangeEvent]] | None = None,
        idle: float = 0.001,
    ):
        super().__init__(name, None)
        self.confirmed: list[Position] = []
        self._script = script
        self._batch = batch
        self._rows = rows or {}
        self._idle = idle
        self._state: State | None = None
        self._item = 0  # the item to read next, and how many of its events are read
        self._taken = 0

    def open(self, state: State | None) -> None:
        """Go to the place in the script where ``state`` stands."""
        self._state = state or State(Position(0, 0), {"server": "list"}, {"signal": 0, "pending": []})
        at = self._state.position
        self._item = self._taken = 0
        for index, item in enumerate(self._script):
            if isinstance(item, Abort):
                continue
            behind = _behind(item)
            if at >= behind:
                self._item = index + 1
            elif at > item[0].transaction.position:
                self._item, self._taken = index, at.minor

    def read(self) -> Batch:
        """Events up to ``batch``, whole transactions as far as they fit."""
        state = self._opened()
        pending = state.snapshot["pending"]
        if pending and not self._taken:
            return self._read_table(state, pending)
        events: list[ChangeEvent] = []
        while self._item < len(self._script):
            item = self._script[self._item]
            if isinstance(item, Abort):
                if events:
                    break
                self._item += 1
                if not item.raised:
                    item.raised = True
                    raise SourceError("the script says to fail here", retryable=item.retryable)
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
        self._state = State(after, state.identity, state.snapshot, state.schemas)
        return Batch(events, self._state, open=self._taken > 0, timestamp=last.timestamp)

    def confirm(self, position: Position) -> None:
        """Remember that ``position`` was confirmed."""
        if self.confirmed and position < self.confirmed[-1]:
            raise SourceError(f"position {position} was confirmed after {self.confirmed[-1]}")
        self.confirmed.append(position)

    def snapshot(self, signal: int, tables: Sequence[str]) -> None:
        """Read ``tables`` again; one that ``rows`` does not have is refused."""
        state = self._opened()
        for name in tables:
            if name not in self._rows:
                raise SourceError(f"there is no table {name}")
        if signal > state.snapshot["signal"]:
            progress = {"signal": signal, "pending": [*state.snapshot["pending"], *tables]}
            self._state = State(state.position, state.identity, progress, state.schemas)

    def current(self) -> Position:
        """Behind the last transaction of the script."""
        return max((_behind(i) for i in self._script if isinstance(i, list)), default=Position(0, 0))

    def reached(self, state: State, target: Position) -> bool:
        """Whether ``state`` is at ``target`` or behind it, with no table left to read."""
        return state.position >= target and not state.snapshot["pending"]

    def _opened(self) -> State:
        if self._state is None:
            raise SourceError(f"source {self.name} is not open")
        return self._state

    def _read_table(self, state: State, pending: Sequence[str]) -> Batch:
        """All rows of the first pending table; they stand where the stream stands."""
        here = Transaction("", state.position._replace(minor=0), 0)
        topic = f"{self.name}.public.{pending[0]}"
        events = [
            ChangeEvent(Operation.READ, topic, row.schema, None, row.after, here, phase=Phase.SNAPSHOT)
            for row in self._rows[pending[0]]
        ]
        progress = {**state.snapshot, "pending": list(pending[1:])}
        self._state = State(state.position, state.identity, progress, state.schemas)
        return Batch(events, self._state)


def _behind(item: list[ChangeEvent]) -> Position:
    epoch, major, _ = item[0].transaction.position
    return Position(epoch, major + 1)


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
