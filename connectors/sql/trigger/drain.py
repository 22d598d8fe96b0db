"""From the change table to transactions in order: what is settled, which transactions are whole, what is
next.

The table is gone through once, by ranges of ids up to the frontier (below it nothing will be committed any
more). A transaction's changes lie among those of others; it is *due* once the range holds its last id, and
transactions are taken in the order of their last ids, which is one they can have happened in (see
:mod:`.change_table`). What has begun in the range but goes on behind it is *begun*: its first
id is remembered, and nothing from there on may be purged yet.

A position's ``major`` is the last id of the transaction that it is in, or, behind a whole one, the id that
follows. Nothing else has to be remembered: which transactions go across a position is asked of the table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from dataclasses import dataclass
from typing import NamedTuple

from connectors.sql.trigger.change_table import Change, ChangeTable, Glance

#: How many ids are looked at in one go, and how far apart the ids of a transaction are, so that the search
#: for its end need not go further.
SLICE = 10_000


@dataclass(slots=True)
class Due:
    """A transaction that is whole. ``glances`` are its changes, or None: too many to keep. Those with ids up
    to ``done`` have been taken."""

    name: str
    first: int
    last: int
    at: int
    glances: list[Glance] | None
    done: int = 0


class Piece(NamedTuple):
    """Some changes of a transaction; ``whole``: its last ones."""

    due: Due
    changes: list[Change]
    whole: bool


class Drain:
    """Goes through ``table`` from ``major`` on. ``next_id`` is the id up to which everything was looked at;
    ``covered`` the time, in microseconds since 1970, up to which all commits lie below it."""

    def __init__(self, table: ChangeTable, major: int):
        self._table = table
        self.next_id = major
        self.covered = 0
        self._frontier = 0
        self._due: deque[Due] = deque()
        self._begun: dict[str, int] = table.straddling(major)
        self._behind: set[str] = set()
        self._wide: dict[str, int] = {}
        self._wide_until = 0

    @property
    def low(self) -> int:
        """What has a smaller id is not needed any more, once all that was taken is stored."""
        return min([self.next_id, *self._begun.values(), *(due.first for due in self._due)])

    @property
    def idle(self) -> bool:
        """Whether all that is settled was taken."""
        return not self._due and self.next_id > self._frontier

    def take(self, limit: int, budget: int) -> list[Piece]:
        """The next changes, ``limit`` at most, and hardly more than ``budget`` bytes; none: there are none
        yet."""
        if not self._due:
            self._look()
        parts: list[tuple[Due, list[int], bool]] = []
        while self._due and limit > 0 and budget > 0:
            due = self._due[0]
            chosen: list[int] = []
            glances, whole = self._ahead(due, limit)
            for glance in glances:
                if budget <= 0 or limit <= 0:
                    whole = False
                    break
                chosen.append(glance.id)
                budget -= glance.size
                limit -= 1
            parts.append((due, chosen, whole))
            if not whole:
                due.done = chosen[-1]
                break
            self._due.popleft()
        ids = sorted(i for _, chosen, _ in parts for i in chosen)
        read = {change.id: change for change in self._table.changes(ids)} if ids else {}
        return [Piece(due, [read[i] for i in chosen], whole) for due, chosen, whole in parts]

    def _ahead(self, due: Due, limit: int) -> tuple[list[Glance], bool]:
        """The changes of a transaction that were not taken yet; all of them, or some."""
        if due.glances is not None:
            left = due.glances if not due.done else [g for g in due.glances if g.id > due.done]
            return left, True
        found = self._table.glance(max(due.first, due.done + 1), due.last, limit, due.name)
        return found, found[-1].id == due.last

    def _look(self) -> None:
        """Take up the next slice below the frontier, asking for a newer frontier where none is left."""
        if self.next_id > self._frontier:
            frontier, self.covered = self._table.frontier()
            if self.next_id > frontier:
                return
            self._frontier = frontier
            # Whoever has an id below the frontier has ended, so its ids behind it are there already.
            self._behind = self._table.behind(frontier)
        found = self._table.glance(self.next_id, self._frontier, SLICE)
        until = found[-1].id if len(found) == SLICE else self._frontier
        members: dict[str, list[Glance]] = {}
        for glance in found:
            members.setdefault(glance.transaction, []).append(glance)
        continuing = self._continuing(members.keys(), until)
        for name, glances in members.items():
            if name in continuing:
                self._begun.setdefault(name, glances[0].id)
        ended = [(glances[-1].id, name) for name, glances in members.items() if name not in continuing]
        for last, name in sorted(ended):
            self._due.append(self._whole(name, last, members[name]))
        self.next_id = until + 1

    def _continuing(self, names: Set[str], until: int) -> Set[str]:
        """Those that have changes behind ``until``. Where much lies behind it, those that reach far are found
        once for all of it, and for the others a look at what comes next is enough."""
        found = names & self._behind
        if until >= self._frontier:
            return found
        if self._wide_until < self._frontier:
            first = min([self.next_id, *self._begun.values()])
            self._wide = self._table.wide(first, self._frontier, SLICE)
            self._wide_until = self._frontier
        found |= {name for name in names if self._wide.get(name, 0) > until}
        return found | (names & self._table.behind(until, min(until + SLICE, self._frontier)))

    def _whole(self, name: str, last: int, glances: list[Glance]) -> Due:
        first = self._begun.pop(name, glances[0].id)
        at = glances[-1].at
        if first == glances[0].id:
            return Due(name, first, last, at, glances)
        before = self._table.glance(first, glances[0].id - 1, SLICE, name)
        return Due(name, first, last, at, None if len(before) == SLICE else before + glances)
