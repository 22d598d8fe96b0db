"""What flows: one row change, and where it stood in its source.

A :class:`ChangeEvent` is what every source produces and every sink receives. Rows are tuples of
*physical* values in column order (see :mod:`liberator.schema`), beside a shared ``TableSchema``.
Many rows that came the same way are one :class:`Run`, and :class:`Events` is a batch of both. How an event
becomes bytes is the codecs' business; how it is ordered in the log is the log's.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, overload

if TYPE_CHECKING:
    from liberator.schema import TableSchema

Row = tuple[Any, ...]


class Operation(enum.Enum):
    """What happened to the row. The letter is what Debezium writes; it is used in codecs only."""

    READ = "r"
    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    TRUNCATE = "t"


class Absent(enum.Enum):
    """The type of :data:`ABSENT`; an enum, so that the value survives pickling and copying."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


#: A column whose value was not sent (unchanged TOAST, partial row image). It is not ``None``: a sink
#: leaves such a column alone.
ABSENT: Final = Absent.ABSENT


def whole_key(key: Sequence[int], before: Row, row: Row) -> Row:
    """``row`` with key columns that were not sent, because they did not change, from ``before``."""
    if not any(row[i] is ABSENT for i in key):
        return row
    whole = list(row)
    for i in key:
        if whole[i] is ABSENT:
            whole[i] = before[i]
    return tuple(whole)


class Position(NamedTuple):
    """Where we are in a source; positions of one source are totally ordered by plain comparison.

    ``epoch`` grows when the source's position space breaks (slot recreated, server restored);
    ``major`` is the transaction's place (for a WAL its commit LSN; after the transaction, the LSN
    behind it); ``minor`` counts the rows already taken of the transaction at ``major``, 0 for none.
    """

    epoch: int
    major: int
    minor: int = 0


@dataclass(slots=True)
class Transaction:
    """A source transaction, shared by its events; never mutated after construction.

    ``id`` as the source spells it; ``position`` has ``minor`` 0; ``timestamp`` is the commit time in
    microseconds since 1970 UTC by the database's clock; ``origin`` holds the values of the source's
    ``origin_fields`` (for Postgres: transaction id and LSN), in that order.
    """

    id: str
    position: Position
    timestamp: int
    origin: tuple[int | str | None, ...] = ()


class Phase(enum.Enum):
    """How an event relates to the snapshot of its table."""

    SNAPSHOT = "true"  #: a row read by a snapshot (operation READ)
    STREAM = "false"  #: a change, streamed; the rows before it are all in the log
    AHEAD = "ahead"  #: a change streamed before its table's snapshot has ended, or without one: a sink that
    #: lacks the row may leave a partial update out, for the row comes with the snapshot if at all


@dataclass(slots=True)
class ChangeEvent:
    """One row change. Never mutated; not frozen, because freezing triples its cost.

    * ``operation``: READ and CREATE carry ``after``; UPDATE carries ``after`` and, if the source sent
      it, ``before``; DELETE carries ``before`` (at least its key columns); TRUNCATE carries neither.
    * ``before``, ``after``: tuples in the order of ``schema.columns``; :data:`ABSENT` for what was
      not sent.
    * ``ordinal``: the event's place in its transaction, from 1; ``table_ordinal`` its place among
      those of the same table. Both are 0 for READ.
    * ``transaction``: the change's transaction; for READ a transaction-like value whose position is
      where the stream stood when the row was emitted.
    * ``moved``: a key change is two events, DELETE of the old key, then CREATE of the new one, in one
      transaction; each carries the other's key values here (a tuple in key order).
    """

    operation: Operation
    topic: str
    schema: TableSchema
    before: Row | None
    after: Row | None
    transaction: Transaction
    ordinal: int = 0
    table_ordinal: int = 0
    phase: Phase = Phase.STREAM
    moved: Row | None = field(default=None)

    @property
    def position(self) -> Position:
        """Where this very event stands in its source."""
        epoch, major, _ = self.transaction.position
        return Position(epoch, major, self.ordinal)

    @property
    def key(self) -> Row | None:
        """The values of the key columns, in key order; None where the table has no key."""
        row = self.after if self.after is not None else self.before
        if row is None or not self.schema.key:
            return None
        return tuple(row[i] for i in self.schema.key)


@dataclass(slots=True)
class Run:
    """Rows of one table that came one directly after the other: an event for each of ``rows``, without an
    object for each. Never mutated.

    ``operation`` is CREATE or READ, so each row is its event's ``after``. ``ordinal`` and ``table_ordinal``
    are those of the first event and grow by one from row to row; those of READ are all 0.
    """

    operation: Operation
    topic: str
    schema: TableSchema
    rows: Sequence[Row]
    transaction: Transaction
    ordinal: int = 0
    table_ordinal: int = 0
    phase: Phase = Phase.STREAM

    def event(self, i: int) -> ChangeEvent:
        """The event of row ``i``."""
        step = 0 if self.operation is Operation.READ else i
        return ChangeEvent(
            self.operation, self.topic, self.schema, None, self.rows[i],
            self.transaction, self.ordinal + step, self.table_ordinal + step, self.phase,
        )  # fmt: skip


class Events(Sequence[ChangeEvent]):
    """Events in order, some of them as runs. To whoever iterates it is a sequence of events like any
    other; whoever knows of runs (an encoder) goes through ``parts``, lists of events and runs."""

    __slots__ = ("_before", "_tail", "parts")

    def __init__(self, run: Run | None = None) -> None:
        self._tail: list[ChangeEvent] = []
        self._before = 0  # events in front of the tail
        self.parts: list[list[ChangeEvent] | Run] = [self._tail]
        if run is not None:
            self.extend(run)

    @property
    def tail(self) -> list[ChangeEvent]:
        """Where single events are appended; another list after each :meth:`extend`."""
        return self._tail

    def extend(self, run: Run) -> None:
        """Append a run."""
        self._before += len(self._tail) + len(run.rows)
        self._tail = []
        self.parts += (run, self._tail)

    def cut(self, length: int) -> None:
        """Take back all but the first ``length`` events."""
        self._tail = list(self)[:length]
        self._before = 0
        self.parts = [self._tail]

    def __len__(self) -> int:
        return self._before + len(self._tail)

    def __iter__(self) -> Iterator[ChangeEvent]:
        for part in self.parts:
            if isinstance(part, Run):
                yield from map(part.event, range(len(part.rows)))
            else:
                yield from part

    @overload
    def __getitem__(self, index: int) -> ChangeEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[ChangeEvent]: ...
    def __getitem__(self, index: int | slice) -> ChangeEvent | list[ChangeEvent]:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
