"""Mode upsert: the table mirrors its source.

A segment is folded per key and its outcome written set by set: truncates, then deletes with children
before parents, then rows with parents before children. Where the order of events matters after all (the
target's unique or foreign keys refuse, a row changes its key and keeps values that only the target has),
the segment is rolled back to its beginning and written event by event.
"""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

from connectors.sql.dialect import Conflict, Missing
from connectors.sql.sink.fold import Bag, Folded, Lost, Patch, fold, fold_bag
from connectors.sql.sink.mode import REFILL, Mode, Segment, Target, in_order, lacks_row, where
from connectors.sql.sink.planner import Extra
from connectors.sql.sink.table import TargetColumn
from liberator.errors import SinkError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Row
from liberator.schema import Column, Kind, LogicalType

DELETED_AT = "_deleted_at"
SAVEPOINT = "liberator_segment"


class Upsert(Mode):
    """Tables equal to their sources; with ``delete: soft`` deleted rows stay, marked by ``_deleted_at``."""

    added: ClassVar = Column(DELETED_AT, LogicalType(Kind.TIMESTAMPTZ))

    @property
    def extra(self) -> Extra:
        """``_deleted_at``, if rows are deleted softly."""
        return Extra((self.added,)) if self._soft else Extra()

    @property
    def _soft(self) -> bool:
        return self.options.delete == "soft"

    def suits(self, target: Target) -> None:
        """A table without a key cannot keep a mark on a deleted row."""
        if self._soft and not target.table.key:
            raise SinkError(
                f"table {target.table.name} has no key, so delete: soft cannot find a deleted row again",
                hint="give the source's table a primary key, or use delete: hard or mode: append",
            )

    def apply(self, segment: Segment) -> None:
        """Write a segment: its outcome if possible, else event by event."""
        execute = self.dialect.execute
        execute(f"savepoint {SAVEPOINT}")
        try:
            done = self._apply_folded(segment)
        except (Conflict, Missing, Lost):
            # Exact order is the judge: what fails there too, is really wrong.
            done = False
        if not done:
            execute(f"rollback to savepoint {SAVEPOINT}")
            for topic in segment.by_topic:
                self.targets[topic].writer.forget()
            self._apply_in_order(segment)
        execute(f"release savepoint {SAVEPOINT}")

    def _apply_folded(self, segment: Segment) -> bool:
        """Write the outcome of a segment; False where there is no such thing."""
        targets = in_order([self.targets[topic] for topic in segment.by_topic])
        if targets is None:
            return False
        folded: list[tuple[Target, Folded | Bag]] = []
        for target in targets:
            result = self._fold(target, segment.by_topic[target.table.topic])
            if isinstance(result, Folded) and (result.ordered or (result.moved and target.table.referenced)):
                return False
            folded.append((target, result))
        for target, result in reversed(folded):
            if result.truncate is not None:
                self._truncate(target, result.truncate)
            if isinstance(result, Folded):
                self._delete(target, result)
            else:
                self._erase(target, result.minus)
        for target, result in folded:
            if isinstance(result, Folded):
                self._write(target, result)
            elif result.plus:
                target.writer.insert(result.plus)
        return True

    def _fold(self, target: Target, events: list[ChangeEvent]) -> Folded | Bag:
        deletes = self.options.delete != "ignore"
        if target.table.key:
            return fold(events, target.key_of, deletes, self.empties, keep_dead=self._soft)
        bag = fold_bag(events, deletes, lambda event: self.empties(event, keyed=False))
        if bag.imageless is not None:
            raise _imageless(target, bag.imageless)
        return bag

    def _truncate(self, target: Target, event: ChangeEvent) -> None:
        if not self._soft:
            target.writer.clear()
            return
        mark, writer = self._deleted_at(target), target.writer
        column = self.dialect.quote(mark.name)
        row = self._dead(event, (None,) * len(target.table.schema.columns))
        writer.change((mark,), [row], lambda _: f"{column} is null")

    def _delete(self, target: Target, folded: Folded) -> None:
        """Delete the keys that are gone. Softly: mark them; rows of this very segment are written."""
        if not folded.gone:
            return
        if not self._soft:
            target.writer.delete([_before(g.event) for g in folded.gone])
            return
        known = [self._dead(g.event, g.row) for g in folded.gone if g.row is not None]
        unknown = [self._dead(g.event, _before(g.event)) for g in folded.gone if g.row is None]
        if known:
            target.writer.upsert(known)
        if unknown:
            target.writer.update((self._deleted_at(target),), unknown)

    def _write(self, target: Target, folded: Folded) -> None:
        """Write the rows, then the patches, grouped by the columns they have."""
        if folded.rows:
            rows = [(*row, None) for row in folded.rows] if self._soft else folded.rows
            target.writer.upsert(rows, folded.fresh)
        if not folded.patches:
            return
        groups: dict[tuple[bool, tuple[TargetColumn, ...]], list[Patch]] = defaultdict(list)
        for patch in folded.patches:
            groups[patch.ahead, self._sent(target, patch.row)].append(patch)
        for (ahead, columns), patches in groups.items():
            hit = target.writer.update(columns, [p.row for p in patches])
            if hit < len(patches) and not ahead:
                raise Missing(f"table {target.table.name} lacks a row")

    def _sent(self, target: Target, row: Row) -> tuple[TargetColumn, ...]:
        """The columns of a patch, without the key; the key alone where there is nothing else."""
        key, width = target.table.key, len(row)
        sent = tuple(
            c for c in target.table.columns
            if c.index < width and row[c.index] is not ABSENT and c not in key
        )  # fmt: skip
        return sent or key

    def _erase(self, target: Target, events: list[ChangeEvent]) -> None:
        """Take one equal row away for each event."""
        if not events:
            return
        # One that misses, even ahead of a snapshot, decides what happens to the row it would have become.
        if target.writer.erase([_before(e) for e in events]) < len(events):
            raise Missing(f"table {target.table.name} lacks a row")

    # Event by event.

    def _apply_in_order(self, segment: Segment) -> None:
        leaving: dict[str, ChangeEvent] = {}  # by topic, the first half of a key change
        for event in segment.events:
            target = self.targets[event.topic]
            first = leaving.pop(event.topic, None)
            if first is not None and event.moved is not None and event.after is not None:
                self._move(target, first, event)
                continue
            if first is not None:
                self._delete_one(target, first)
            if event.operation is Operation.DELETE and event.moved is not None and target.table.key:
                leaving[event.topic] = event
            else:
                self._apply_one(target, event)
        for topic, event in leaving.items():
            self._delete_one(self.targets[topic], event)

    def _apply_one(self, target: Target, event: ChangeEvent) -> None:
        after = event.after
        if event.operation is Operation.TRUNCATE:
            if self.empties(event, bool(target.table.key)):
                self._truncate(target, event)
        elif not target.table.key:
            self._apply_keyless(target, event)
        elif after is None:
            self._delete_one(target, event)
        elif ABSENT not in after:
            target.writer.upsert([(*after, None) if self._soft else after])
        elif not target.writer.update(self._sent(target, after), [after]) and event.phase is not Phase.AHEAD:
            raise lacks_row(target.table.name, event)

    def _apply_keyless(self, target: Target, event: ChangeEvent) -> None:
        bag = self._fold(target, [event])
        assert isinstance(bag, Bag)
        if bag.minus and not target.writer.erase([_before(event)]):
            if event.phase is Phase.AHEAD:
                return  # the snapshot brings what became of it
            raise SinkError(
                f"table {target.table.name} lacks the row that an event changes ({where(event)})",
                hint=REFILL,
            )
        if bag.plus:
            target.writer.insert(bag.plus)

    def _delete_one(self, target: Target, event: ChangeEvent) -> None:
        if self.options.delete == "hard":
            target.writer.delete([_before(event)])
        elif self._soft:
            target.writer.update((self._deleted_at(target),), [self._dead(event, _before(event))])

    def _move(self, target: Target, first: ChangeEvent, event: ChangeEvent) -> None:
        """A row leaves its key for another one; what was not sent stays as it is at the target."""
        after = event.after
        assert after is not None
        old = _before(first)
        row = (*after, None) if self._soft else after
        if ABSENT not in after and not (target.table.referenced and self.options.delete == "hard"):
            self._delete_one(target, first)
            target.writer.upsert([row])
            return
        writer = target.writer
        if self.options.delete == "hard":
            hit = writer.move(old, row)
        elif hit := writer.update(target.table.key, [old]):
            # The old row stays; a dead one that still has the new key makes room.
            writer.delete([row])
            writer.copy(old, row)
            self._delete_one(target, first)
        if hit:
            return
        if ABSENT not in after:
            writer.upsert([row])
        elif not writer.update(self._sent(target, after), [row]) and event.phase is not Phase.AHEAD:
            raise lacks_row(target.table.name, event)

    def _deleted_at(self, target: Target) -> TargetColumn:
        return next(c for c in target.table.columns if c.column is self.added)

    def _dead(self, event: ChangeEvent, row: Row) -> Row:
        """A full row, marked as deleted when the event's transaction committed."""
        return (*row, event.transaction.timestamp)


def _before(event: ChangeEvent) -> Row:
    assert event.before is not None
    return event.before


def _imageless(target: Target, event: ChangeEvent) -> SinkError:
    return SinkError(
        f"table {target.table.name} has no key, and an event does not say which row it changes "
        f"({where(event)})",
        hint="give the source's table a primary key or a full old image (replica identity full), "
        "or use mode: append",
    )
