"""Mode history: every version of a row becomes a row, with the time from and to which it was valid.

An update ends the version that is current and begins another one, a delete or a truncate only ends it.
``valid_from`` and ``valid_to`` are the commit times of the transactions, by the source's clock: ``valid_to``
is null and ``is_current`` true for the version that holds now. Two versions may have begun in the same
transaction; ``_position``, which is part of the primary key, tells them apart and sorts them.
A snapshot's row begins a version only if it differs from the current one.

When a snapshot begins anew because changes were lost, every current version becomes *doubtful*: it ends
then, and ``is_current`` is null. What the snapshot reads unchanged goes on as if nothing had been; whatever
else is heard of a row ends its doubtful version at that moment. Doubtful for good are rows that
were deleted while nobody looked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar

from connectors.sql.dialect import Dialect
from connectors.sql.sink.fold import Lost, merge, row_left
from connectors.sql.sink.mode import Mode, Segment, Target, lacks_row, transaction_place
from connectors.sql.sink.options import SqlSinkOptions
from connectors.sql.sink.planner import Extra
from connectors.sql.sink.table import TargetColumn
from connectors.sql.sink.writer import Terms
from liberator.errors import SinkError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Row
from liberator.schema import Column, Kind, LogicalType

FROM, TO, CURRENT, POSITION = (
    Column("valid_from", LogicalType(Kind.TIMESTAMPTZ)),
    Column("valid_to", LogicalType(Kind.TIMESTAMPTZ)),
    Column("is_current", LogicalType(Kind.BOOL)),
    Column("_position", LogicalType(Kind.STRING), nullable=False),
)


@dataclass(slots=True)
class Version:
    """A version that a batch begins. ``base``: a row with the key under which the target has what
    ``row`` lacks; None where nothing is lacking. ``end``: when it ends within the batch."""

    row: Row
    event: ChangeEvent
    base: Row | None = None
    end: int | None = None

    def full(self, open_: bool = True) -> Row:
        """The full row; ``open_`` False: as ended, though it is not."""
        start = self.event.transaction.timestamp
        end = self.end if self.end is not None or open_ else start
        return (*self.row, start, end, end is None, place(self.event))


@dataclass(slots=True)
class Chain:
    """What a batch does to one key: ``closed`` is the event that ends the version which the target has,
    None if the batch begins with a row of a snapshot, ``read``."""

    closed: ChangeEvent | None = None
    read: Version | None = None
    versions: list[Version] = field(default_factory=list)

    @property
    def last(self) -> Version | None:
        """The newest version of the batch."""
        return self.versions[-1] if self.versions else self.read

    def end(self, event: ChangeEvent) -> None:
        """End the version that is current, in the batch or at the target."""
        last = self.last
        if last is not None and last.end is None:
            last.end = event.transaction.timestamp
        if not self.versions and self.closed is None:
            # What a snapshot found may be what the target has already: then that version ends here.
            self.closed = event


def place(event: ChangeEvent) -> str:
    """Where an event stands, as text that sorts."""
    return f"{transaction_place(event.transaction)}.{event.ordinal:010}"


class History(Mode):
    """Tables that keep every version of every row."""

    extra: ClassVar = Extra((FROM, TO, CURRENT, POSITION), key=(POSITION.name,))

    def __init__(self, dialect: Dialect, options: SqlSinkOptions):
        super().__init__(dialect, options)
        self._doubts: dict[str, bool] = {}  # by topic, once known

    def suits(self, target: Target) -> None:
        """Versions of a row need a key to be versions of one row."""
        if not target.table.schema.key:
            raise SinkError(
                f"table {target.table.name} has no key, so versions of a row cannot be told from rows",
                hint="give the source's table a primary key, or use mode: append",
            )

    def apply(self, segment: Segment) -> None:
        """Write the versions of a segment; a truncate parts it."""
        for topic, events in segment.by_topic.items():
            target, start = self.targets[topic], 0
            for index, event in enumerate(events):
                if event.operation is Operation.TRUNCATE:
                    self._apply(target, events[start:index])
                    start = index + 1
                    if self.empties(event) and event.phase is Phase.SNAPSHOT:
                        self._doubt(target, event)
                    elif self.empties(event):
                        self._end_all(target, event)
            self._apply(target, events[start:])

    def _apply(self, target: Target, events: Sequence[ChangeEvent]) -> None:
        if not events:
            return
        writer = target.writer
        try:
            chains = fold_versions(events, target.key_of, self.options.delete != "ignore")
        except Lost as exc:
            raise lacks_row(target.table.name, exc.event) from None
        reads = [c.read.full() for c in chains.values() if c.read is not None]
        versions = list(chain.from_iterable(c.versions for c in chains.values()))
        carried = [v for v in versions if v.base is not None]
        if self._doubtful(target):
            self._confirm(target, reads)
            heard = [_ending(c.closed) for c in chains.values() if c.read is None and c.closed is not None]
            self._end(target, reads + heard, which=self._in_doubt(target))
        if reads:
            self._end(target, reads, self._differs(target))
            writer.insert(reads, unless=self._is_current(target))
        # Before anything is ended: what is carried over comes from the version that is current.
        carried = [v for v in carried if self._carry(target, v)]
        self._end(target, [_ending(c.closed) for c in chains.values() if c.closed is not None])
        whole = [v.full() for v in versions if v.base is None]
        if whole:
            writer.upsert(whole)
        opened = [v.full() for v in carried if v.end is None]
        if opened:
            writer.update((self._column(target, TO), self._column(target, CURRENT)), opened)

    def _carry(self, target: Target, version: Version) -> bool:
        """Add a version that takes columns over from the current one, as ended; whether there was one."""
        assert version.base is not None
        base = (*version.base, None, None, None, None)
        if target.writer.copy(base, version.full(open_=False), only=self._is_current(target)):
            return True
        if version.event.phase is not Phase.AHEAD:
            raise lacks_row(target.table.name, version.event)
        return False

    def _end(
        self,
        target: Target,
        rows: Sequence[Row],
        more: Callable[[Terms], str] | None = None,
        which: str = "",
    ) -> None:
        """End the current versions of the keys of ``rows`` (or those of a condition, ``which``), at the time
        that each row begins."""
        if not rows:
            return
        key = target.table.key[:-1]
        ended = [(*r[:-4], r[-4], r[-4], False, r[-1]) for r in rows]
        current = which or self._is_current(target)

        def where(terms: Terms) -> str:
            condition = f"{terms.match(key)} and {current}"
            return f"{condition} and {more(terms)}" if more else condition

        target.writer.change((self._column(target, TO), self._column(target, CURRENT)), ended, where)

    def _end_all(self, target: Target, event: ChangeEvent) -> None:
        columns = (self._column(target, TO), self._column(target, CURRENT))
        stamp = event.transaction.timestamp
        row = (*(None,) * len(target.table.schema.columns), stamp, stamp, False, "")
        target.writer.change(columns, [row], lambda _: self._is_current(target))

    # What a snapshot that begins anew makes of the versions there.

    def _doubt(self, target: Target, event: ChangeEvent) -> None:
        """End all current versions for now; what an earlier snapshot left in doubt is so no longer."""
        columns = (self._column(target, TO), self._column(target, CURRENT))
        stamp = event.transaction.timestamp
        nothing = (None,) * len(target.table.schema.columns)
        settled, doubtful = (*nothing, stamp, stamp, False, ""), (*nothing, stamp, stamp, None, "")
        target.writer.change(columns[1:], [settled], lambda _: self._in_doubt(target))
        target.writer.change(columns, [doubtful], lambda _: self._is_current(target))
        self._doubts[target.table.topic] = True

    def _confirm(self, target: Target, reads: Sequence[Row]) -> None:
        """Rows that a snapshot has read as they were: their doubtful version is current again."""
        if not reads:
            return
        key, doubtful, differs = target.table.key[:-1], self._in_doubt(target), self._differs(target)
        current = [(*r[:-4], r[-4], None, True, r[-1]) for r in reads]
        columns = (self._column(target, TO), self._column(target, CURRENT))
        target.writer.change(
            columns, current, lambda terms: f"{terms.match(key)} and {doubtful} and not ({differs(terms)})"
        )

    def _doubtful(self, target: Target) -> bool:
        """Whether the table has doubtful versions; looked up once."""
        topic = target.table.topic
        if topic not in self._doubts:
            name = self.dialect.quoted(target.table.name)
            found, _ = self.dialect.execute(f"select 1 from {name} where {self._in_doubt(target)} limit 1")
            self._doubts[topic] = bool(found)
        return self._doubts[topic]

    def _in_doubt(self, target: Target) -> str:
        return f"{self.dialect.quote(self._column(target, CURRENT).name)} is null"

    def _differs(self, target: Target) -> Callable[[Terms], str]:
        width = len(target.table.schema.columns)
        columns = tuple(c for c in target.table.columns if c.index < width and c not in target.table.key)
        return lambda terms: terms.differ(columns) if columns else "1 = 0"

    def _is_current(self, target: Target) -> str:
        return f"{self.dialect.quote(self._column(target, TO).name)} is null"

    def _column(self, target: Target, column: Column) -> TargetColumn:
        return next(c for c in target.table.columns if c.column is column)


def _ending(event: ChangeEvent) -> Row:
    """A full row with the key whose version ``event`` ends, and the time."""
    row = event.after if event.after is not None else event.before
    assert row is not None
    stamp = event.transaction.timestamp
    return (*row, stamp, stamp, False, place(event))


def fold_versions(
    events: Sequence[ChangeEvent], key_of: Callable[[Row], Any], deletes: bool = True
) -> dict[Any, Chain]:
    """The versions that events of one table, without truncates, begin and end; per key."""
    chains: dict[Any, Chain] = {}
    for event in events:
        after = event.after
        if after is None:
            if deletes:
                assert event.before is not None
                chains.setdefault(key_of(event.before), Chain()).end(event)
            continue
        key = key_of(after)
        known = chains.setdefault(key, Chain())
        last = known.last
        fresh = last is None and known.closed is None
        if event.operation is Operation.READ and ABSENT not in after:
            if fresh:
                known.read = Version(after, event)
                continue
            if last is not None and last.end is None and last.row == after:
                continue
        version = Version(after, event)
        if ABSENT in after and not _complete(version, chains, key_of):
            if event.phase is not Phase.AHEAD:
                raise Lost(event)
            continue
        known.end(event)
        known.versions.append(version)
    return chains


def _complete(version: Version, chains: dict[Any, Chain], key_of: Callable[[Row], Any]) -> bool:
    """Fill what was not sent from an earlier version of the batch, or say where the target has it; False
    where the batch itself has ended the row before."""
    event = version.event
    base = version.row if event.moved is None else row_left(event)
    known = chains.get(key_of(base), Chain())
    last = known.last
    if event.moved is None and (known.closed is not None if last is None else last.end is not None):
        return False
    if last is None:
        version.base = base
    else:
        version.row = merge(last.row, version.row)
        version.base = last.base
    return True
