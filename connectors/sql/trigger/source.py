"""The source ``trigger``: tables whose triggers write every change into a change table.

This module is the conductor, over any database that has a :class:`.change_table.ChangeTable`.
It owns the state and decides what comes next: rows of a snapshot (:mod:`.snapshots`), or changes
(:mod:`.drain`), and purges what the log holds. Setting up and looking from outside is in
:mod:`.objects`.

Positions: ``major`` is the last id of the transaction that it is in and ``minor`` the events taken of it;
behind a whole transaction ``major`` is the id that follows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from connectors.sql.reader import Reader, UnknownShape
from connectors.sql.trigger.change_table import Change, ChangeTable, Version
from connectors.sql.trigger.drain import Drain, Due, Piece
from connectors.sql.trigger.objects import Objects, dialect_of
from connectors.sql.trigger.options import TriggerOptions
from connectors.sql.trigger.snapshots import TriggerSnapshots
from liberator.errors import ConfigError, DecodeError, PositionLost, SourceError
from liberator.event import ChangeEvent, Operation, Position, Row, Transaction
from liberator.patterns import Patterns
from liberator.preflight import Finding
from liberator.snapshot import Progress, anew, gives_values
from liberator.source import Batch, Managed, Source, SourceStatus, State

#: Seconds between two looks for tables that have appeared, and for tables that were changed.
_TABLES = 30.0
_SHAPES = 1.0
#: A read that finds nothing waits at most so long, in seconds.
_WAIT = 0.05
#: How many changes are deleted at once, and how often, in seconds.
_PURGE = 2000
_PURGES = 0.1
_OPERATIONS = {
    "c": Operation.CREATE, "u": Operation.UPDATE, "d": Operation.DELETE, "t": Operation.TRUNCATE,
}  # fmt: skip


class Captured:
    """One version of a table: its decoder, and what its events have in common."""

    __slots__ = ("count", "decode", "key", "name", "schema", "topic", "transaction")

    def __init__(self, source: str, version: Version, table: ChangeTable):
        self.schema = version.schema
        self.name = f"{version.schema.schema}.{version.schema.table}"
        self.topic = f"{source}.{self.name}"
        self.key = version.schema.key
        self.decode = table.decoder(version.schema)
        self.transaction: Transaction | None = None
        self.count = 0


class TriggerSource(Source):
    """Captures tables of one database by triggers. Exactly once: a position names a single change."""

    Config: ClassVar[type[TriggerOptions]] = TriggerOptions
    origin_fields: ClassVar[tuple[tuple[str, Literal["long", "string"]], ...]] = (
        ("txId", "string"),
        ("origin", "string"),
    )

    config: TriggerOptions

    def __init__(self, name: str, config: Any):
        super().__init__(name, config)
        self.connector = dialect_of(config.url)  # type: ignore[misc]
        self._objects = Objects(name, config)
        self._reader: Reader | None = None
        self._confirmed = 0
        self._purged = self._looked = self._shaped = self._polled = 0.0
        self._lows: deque[tuple[Position, int]] = deque()
        self._low = self._clean = 0
        self._timestamp = 0

    # -- opening -----------------------------------------------------------------------------------

    def open(self, state: State | None) -> None:
        """Connect, make sure of the triggers, verify that the change table goes on where the log ends."""
        self._reader, self._table = self._objects.connect()
        if self._reader.replica:
            raise SourceError(
                f"source {self.name}: triggers do not run on a replica", hint="give the primary's url"
            )
        fresh = state is None or not state.identity
        if not fresh and not self._table.exists():
            raise self._lost("the change table had been dropped")
        tables, made = self._objects.ensure(self._table)
        identity = {"server": self._reader.identity(), "changes": self._table.born()}
        if state is not None and not fresh and dict(state.identity) != identity:
            raise self._lost("this is another change table, or another server, than the position belongs to")
        if state is not None and not fresh:
            given = self._table.given()
            if given is not None and given < state.position.major - 1:
                raise self._lost(
                    f"the change table has come to {given} only, which is before {state.position.major}: the"
                    " database was restored from a backup"
                )
        self._identity: Mapping[str, Any] = state.identity if state is not None and not fresh else identity
        self._position = state.position if state is not None and not fresh else Position(1, 1)
        if state is not None and fresh:
            self._position = Position(state.position.epoch, 1)
        self._skip = self._position.minor
        self._ordinal = 0
        self._transaction = Transaction("", self._position, 0)
        self._open = False
        self._drain = Drain(self._table, self._position.major)
        self._captured: dict[int, Captured] = {}
        self._newest: dict[str, Version] = {}
        self._learned: Mapping[str, Any] = state.schemas if state is not None else {}
        progress = Progress(state.snapshot if state else None)
        self._snapshots = TriggerSnapshots(self.name, self.config, self._table, progress)
        self._learn(0)
        self._snapshots.plan(tables, made)
        self._tables = {t.full_name: t for t in tables}
        self._looked = self._shaped = time.monotonic()

    def _lost(self, what: str) -> PositionLost:
        return PositionLost(
            f"source {self.name}: {what}; changes since the last position may be missing",
            hint=f"`liberator snapshot --config FILE --recover {self.name}` reads all tables anew",
        )

    # -- reading -----------------------------------------------------------------------------------

    def read(self) -> Batch:
        """The next piece: rows of a snapshot that is due, else what the change table has."""
        now = time.monotonic()
        self._chores(now)
        if not self._open:
            found = self._snapshots.next(self._position, self._moment())
            if found is not None:
                return self._batch(found)
        if self._drain.idle and not self._snapshots.waiting and now < self._polled + self.config.poll:
            time.sleep(min(_WAIT, max(0.0, self._polled + self.config.poll - now)))
            return self._batch([])
        self._polled = now
        events: list[ChangeEvent] = []
        while pieces := self._drain.take(self.config.batch, self.config.batch_bytes):
            for piece in pieces:
                self._take(piece, events)
            if not self._open or self._ordinal > self._skip:
                break  # otherwise all of this was in the log already
        if not pieces and self._drain.next_id > self._position.major:
            # Everything up to here is in the log, or begun and not yet whole.
            self._position = Position(self._position.epoch, self._drain.next_id)
        if self._drain.idle:
            self._timestamp = max(self._timestamp, self._drain.covered)
        if not events and not self._snapshots.waiting:
            time.sleep(min(_WAIT, self.config.poll))
        return self._batch(events)

    def _take(self, piece: Piece, events: list[ChangeEvent]) -> None:
        due = piece.due
        if not self._open:
            self._begin(due, piece)
        for change in piece.changes:
            captured = self._captured.get(change.version) or self._unknown(change.version)
            if change.origin is None or change.origin not in self.config.skip_origins:
                self._emit(captured, change, events)
            else:
                self._pass(captured, change)
        epoch = self._position.epoch
        self._open = not piece.whole
        if piece.whole:
            self._position = Position(epoch, due.last + 1)
            self._skip = 0
            self._timestamp = max(self._timestamp, due.at)
        elif self._ordinal > self._skip:
            self._position = Position(epoch, due.last, self._ordinal)

    def _begin(self, due: Due, piece: Piece) -> None:
        position = Position(self._position.epoch, due.last)
        origin = next((c.origin for c in piece.changes if c.origin is not None), None)
        self._transaction = Transaction(due.name, position, due.at, (due.name, origin))
        self._ordinal = 0
        if due.last != self._position.major:
            self._skip = 0

    def _emit(
        self, captured: Captured, change: Change, events: list[ChangeEvent], again: bool = False
    ) -> None:
        """The events of one change: a row that got another key was deleted, and created anew."""
        try:
            old = captured.decode(change.old) if change.old is not None else None
            new = captured.decode(change.new) if change.new is not None else None
        except UnknownShape:
            # A type has changed under the same columns (an enum's labels): describe all versions again.
            if again:
                raise
            self._captured.clear()
            self._learn(0)
            self._emit(self._captured[change.version], change, events, again=True)
            return
        operation = _OPERATIONS[change.operation]
        if operation is Operation.UPDATE and old is not None and new is not None:
            was, now = _key(captured, old), _key(captured, new)
            if was != now:
                self._append(captured, change, (Operation.DELETE, old, None, now), events)
                self._append(captured, change, (Operation.CREATE, None, new, was), events)
                return
        self._append(captured, change, (operation, old, new, None), events)

    def _pass(self, captured: Captured, change: Change) -> None:
        """A change that is not told, for its origin. A snapshot that is under way must know of it: the row as
        it was before must not be told either."""
        counts = self._ordinal, self._skip, captured.transaction, captured.count
        self._skip = -1
        self._emit(captured, change, [])
        self._ordinal, self._skip, captured.transaction, captured.count = counts

    def _append(
        self,
        captured: Captured,
        change: Change,
        what: tuple[Operation, Row | None, Row | None, Row | None],
        events: list[ChangeEvent],
    ) -> None:
        self._ordinal += 1
        if captured.transaction is not self._transaction:
            captured.transaction, captured.count = self._transaction, 0
        captured.count += 1
        if self._ordinal <= self._skip:
            return
        operation, before, after, moved = what
        event = ChangeEvent(
            operation, captured.topic, captured.schema, before, after, self._transaction,
            self._ordinal, captured.count, self._snapshots.phase(captured.name), moved,
        )  # fmt: skip
        if self._snapshots.observe(captured.name, change.id, event):
            events.append(event)

    def _batch(self, events: Sequence[ChangeEvent]) -> Batch:
        state = State(self._position, self._identity, self._snapshots.progress.to_json(), self._learned)
        low = self._drain.low
        if not self._lows or self._lows[-1][1] != low:
            self._lows.append((self._position, low))
        return Batch(events, state, self._open, self._timestamp)

    def _moment(self) -> int:
        return self._timestamp or time.time_ns() // 1000

    # -- confirming and purging --------------------------------------------------------------------

    def confirm(self, position: Position) -> None:
        """What lies before ``position`` is deleted from the change table, a little at a time."""
        while self._lows and self._lows[0][0] <= position:
            self._low = self._lows.popleft()[1]

    def _chores(self, now: float) -> None:
        if self._snapshots.reading:
            return  # what is read in one transaction must not wait for what we write, nor we for it
        if self.config.purge and now - self._purged >= _PURGES and self._low > self._clean:
            deleted = self._table.purge(self._low, _PURGE)
            self._purged = 0.0 if deleted == _PURGE else now
            if deleted < _PURGE:
                self._clean = self._low
        if now - self._shaped >= _SHAPES and not self._open:
            self._shaped = now
            self._look_for_shapes()
        if now - self._looked >= _TABLES and not self._open:
            self._looked = now
            self._look_for_tables()

    def close(self) -> None:
        """Close the connections."""
        if hasattr(self, "_snapshots"):
            self._snapshots.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # -- tables and schemas ------------------------------------------------------------------------

    def _unknown(self, version: int) -> Captured:
        self._learn(max(self._captured, default=0))
        if version not in self._captured:
            raise DecodeError(
                f"source {self.name}: a change of a version {version} that nobody has described",
                hint="was a row of the table of versions deleted?",
            )
        return self._captured[version]

    def _learn(self, after: int) -> None:
        """Take in the versions behind ``after``. Where a change of columns gave existing rows values, or rows
        were written before the triggers knew of it, the table is read again."""
        known = self._learned.get("version", 0)
        for version in self._table.versions(after):
            before = self._newest.get(version.table)
            self._captured[version.id] = Captured(self.name, version, self._table)
            self._newest[version.table] = version
            self._snapshots.learn(version)
            if version.id > known:
                if before is not None and known and self._gave_values(before, version):
                    self._snapshots.again(self._captured[version.id].name)
                self._learned = {"version": version.id}

    def _gave_values(self, before: Version, version: Version) -> bool:
        if not self.config.reread_after_ddl or self.config.snapshot == "none":
            return False
        if self._table.follows_ddl:
            return gives_values(before.schema, version.schema)
        return not set(version.schema.names) <= set(before.schema.names) or gives_values(
            before.schema, version.schema
        )

    def _look_for_shapes(self) -> None:
        """Tables that were changed since their triggers were made get new ones, where the database does not
        do that by itself; and versions that no change has told of yet."""
        if self._table.shaken():
            self._look_for_tables()
        else:
            self._learn(max(self._captured, default=0))

    def _look_for_tables(self) -> None:
        """Tables that have appeared since, or were dropped and made again, join in."""
        tables, made = self._objects.ensure(self._table)
        self._tables = {t.full_name: t for t in tables}
        self._learn(max(self._captured, default=0))
        self._snapshots.plan(tables, made)

    # -- requests ----------------------------------------------------------------------------------

    def snapshot(self, signal: int, tables: Sequence[str]) -> None:
        """Read tables again. ``tables`` are patterns over ``schema.table``."""
        wanted = Patterns(tables)
        names = [name for name in self._tables if wanted(name)]
        if not names:
            raise ConfigError(f"snapshot: no table matches {', '.join(tables)}")
        self._snapshots.request(names, signal)

    def current(self) -> Position:
        """Behind the last change that is committed."""
        return self._objects.current()

    def reached(self, state: State, target: Position) -> bool:
        """Whether everything before ``target`` was taken and no table waits to be read."""
        if any(t["state"] != "done" for t in state.snapshot.get("tables", {}).values()):
            return False
        return state.position.major >= target.major

    def recover(self, state: State) -> State:
        """The state after a gap was accepted: a new epoch, all tables emptied and read anew."""
        return anew(state)

    # -- set-up ------------------------------------------------------------------------------------

    def check(self) -> list[Finding]:
        """Everything that would hinder a run."""
        return self._objects.check()

    def objects(self) -> list[Managed]:
        """The change table and the triggers."""
        return self._objects.listed()

    def setup(self) -> list[Managed]:
        """The change table, then the triggers."""
        return self._objects.create()

    def teardown(self) -> list[Managed]:
        """The triggers, also of tables that are captured no more, then the change table."""
        return self._objects.remove()

    def status(self, state: State | None) -> SourceStatus:
        """How large and how old the change table is, and who holds the drain back."""
        return self._objects.status(state)

    def describe(self, position: Position) -> str:
        """The change's id; inside a transaction also the events taken of it."""
        return f"{position.major}+{position.minor}" if position.minor else str(position.major)


def _key(captured: Captured, row: Row) -> Row:
    return tuple(row[i] for i in captured.key)
