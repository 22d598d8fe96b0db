"""Many events of one table become one final state per key. Pure: no database is known here.

Applying a batch row by row is slow; applying its outcome is not. The fold goes through the events in
order and keeps, per key, what the batch makes of it: a whole row, nothing, or a patch upon whatever the
target has. Columns that were not sent are filled from an earlier state of the same batch where there is
one. What cannot be said per key (a row that changes its key and keeps columns that only the target
knows) is left to exact order: ``ordered``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Row


@dataclass(slots=True)
class Gone:
    """A deleted key: the event that deleted it, and the whole row that this batch had there, if any."""

    event: ChangeEvent
    row: Row | None = None


@dataclass(slots=True)
class Patch:
    """Columns of a row that is at the target; the others are ABSENT in ``row``.

    ``ahead``: its snapshot is still to come, so that the row may be missing.
    """

    row: Row
    event: ChangeEvent
    ahead: bool


MAKE = {Operation.READ, Operation.CREATE}
Applies: TypeAlias = Callable[[ChangeEvent], bool]
#: What a batch makes of one key. Asked are only Gone and Patch: everything else is the row.
State: TypeAlias = "Row | Gone | Patch"


class Lost(Exception):
    """An event changes a row that the batch itself has deleted; ``event`` says which."""

    def __init__(self, event: ChangeEvent):
        super().__init__("a change of a row that is not there")
        self.event = event


@dataclass(slots=True)
class Folded:
    """What a batch does to a table with a key. ``truncate`` comes first, if any; then the keys of
    ``gone`` have no row, those of ``rows`` exactly that row, those of ``patches`` these columns.

    ``moved``: some row changed its key. ``fresh``: rows were made, and nothing else was done.
    ``ordered``: nothing of this holds, apply the events in order.
    """

    truncate: ChangeEvent | None = None
    rows: list[Row] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    moved: bool = False
    fresh: bool = False
    ordered: bool = False


def always(_event: ChangeEvent) -> bool:
    """Yes."""
    return True


def fold(
    events: Sequence[ChangeEvent],
    key_of: Callable[[Row], Any],
    deletes: bool = True,
    truncates: Applies = always,
    keep_dead: bool = False,
) -> Folded:
    """Fold the events of one table and one schema version.

    ``key_of`` gives a hashable key of a row. ``deletes``, ``truncates``: whether these are applied.
    ``keep_dead``: rows that a truncate empties stay known as Gone. Raises Lost.
    """
    state: dict[Any, State] = {}
    out = Folded()
    for event in events:
        after = event.after
        if after is not None:
            if ABSENT not in after:
                state[key_of(after)] = after
            elif not _fold_part(event, after, state, key_of, out.truncate is not None):
                return Folded(ordered=True)
        elif event.operation is Operation.DELETE:
            assert event.before is not None
            if deletes:
                key = key_of(event.before)
                state[key] = Gone(event, whole(state.get(key)))
                out.moved |= event.moved is not None
        elif truncates(event):
            out.truncate = event
            if keep_dead:
                state = {k: Gone(event, row) for k, s in state.items() if (row := whole(s)) is not None}
            else:
                state.clear()
    out.fresh = {event.operation for event in events} <= MAKE
    out.rows = [s for s in state.values() if not isinstance(s, (Gone, Patch))]
    out.gone = [s for s in state.values() if type(s) is Gone]
    out.patches = [s for s in state.values() if type(s) is Patch]
    return out


def whole(state: State | None) -> Row | None:
    """The whole row that a state knows, if it knows one."""
    if isinstance(state, Gone):
        return state.row
    return None if isinstance(state, Patch) else state


def row_left(event: ChangeEvent) -> Row:
    """The key that a moved row had before, in the order of the table's columns; the rest is ABSENT."""
    assert event.moved is not None
    place = dict(zip(event.schema.key, event.moved, strict=True))
    return tuple(place.get(i, ABSENT) for i in range(len(event.schema.columns)))


def merge(old: Row, new: Row) -> Row:
    """``new``, with what was not sent taken from ``old``."""
    return tuple(o if n is ABSENT else n for o, n in zip(old, new, strict=True))


def _fold_part(
    event: ChangeEvent, after: Row, state: dict[Any, State], key_of: Callable[[Row], Any], truncated: bool
) -> bool:
    """Fold a row that was sent in part; False where only the target knows what it is part of."""
    key = key_of(after)
    if event.moved is not None:
        left = whole(state.get(key_of(row_left(event))))
        if left is None:
            return False
        state[key] = merge(left, after)
        return True
    ahead = event.phase is Phase.AHEAD
    old = state.get(key)
    if isinstance(old, Patch):
        state[key] = Patch(merge(old.row, after), event, old.ahead and ahead)
    elif old is not None and not isinstance(old, Gone):
        state[key] = merge(old, after)
    elif old is None and not truncated:
        state[key] = Patch(after, event, ahead)
    elif not ahead:
        raise Lost(event)
    return True


@dataclass(slots=True)
class Bag:
    """What a batch does to a table without a key: rows as a multiset. ``minus`` are rows to take away,
    each once; ``plus`` rows to add, after that. ``imageless``: an event that did not say which row."""

    truncate: ChangeEvent | None = None
    minus: list[ChangeEvent] = field(default_factory=list)
    plus: list[Row] = field(default_factory=list)
    imageless: ChangeEvent | None = None


def fold_bag(events: Sequence[ChangeEvent], deletes: bool = True, truncates: Applies = always) -> Bag:
    """Fold the events of one table without a key; its rows are told apart by all of their values."""
    out = Bag()
    plus: Counter[Row] = Counter()
    for event in events:
        before, after = event.before, event.after
        if event.operation is Operation.TRUNCATE:
            if truncates(event):
                out = Bag(truncate=event)
                plus.clear()
            continue
        if event.operation in (Operation.UPDATE, Operation.DELETE):
            if event.operation is Operation.DELETE and not deletes:
                continue
            if before is None or ABSENT in before:
                out.imageless = event
                return out
            if plus[before] > 0:
                plus[before] -= 1
            else:
                out.minus.append(event)
        if after is not None:
            row = after if before is None else merge(before, after)
            if ABSENT in row:
                out.imageless = event
                return out
            plus[row] += 1
    out.plus = list(plus.elements())
    return out
