"""What is settled at a database, so that a cursor may pass it.

A row's id or time is given when its statement runs; it can be seen only once its transaction commits. A
reader that follows ids or times therefore meets a later row before an earlier one, and loses the earlier.
The way out: look who is writing, wait until all of them have ended, and only then read up to where things
stood when we looked. In words: a :class:`Probe` is the clock's time, the greatest id, and those who were
active, taken in that order; whoever is going to commit an id or a time at or below these was active then,
and once nobody of them is, all is settled. Probes are taken at every poll and wait side by side, so
that one long transaction holds back what came after its beginning, not what came before.

How active ones are found is each database's own: :mod:`connectors.postgres.horizon` (where a column of type
xid8 makes all of this simpler), :mod:`connectors.mysql.horizon`, :mod:`connectors.sqlite.horizon`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from liberator.preflight import Finding
from liberator.schema import Column

if TYPE_CHECKING:
    from connectors.sql.reader import Reader

#: More waiting probes than this are thinned out: every other one goes, the oldest and the newest stay.
_MOST = 32


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who holds the horizon back. ``id`` names one transaction, or statement, for ever; ``age`` in
    seconds. ``anybody``: a prepared transaction, which had another id before it was prepared and may be any
    of those who were active. Never a query's text: it holds values."""

    id: str
    pid: int | None = None
    user: str = ""
    application: str = ""
    age: float = 0.0
    anybody: bool = False

    def __str__(self) -> str:
        who = [f"pid {self.pid}" if self.pid else self.id, self.user, self.application, f"{self.age:.0f} s"]
        return ", ".join(part for part in who if part)


@dataclass(frozen=True, slots=True)
class Probe:
    """How things stood: ``time`` by the database's clock in microseconds since 1970 UTC, ``upper`` the
    greatest cursor value as a literal (None: the time is all that is needed), and who was ``active``."""

    time: int
    upper: str | None
    active: Mapping[str, Holder]


@dataclass(frozen=True, slots=True)
class Bound:
    """What may be read now: rows for which ``condition`` holds (None: there are none yet; ``true``: all).
    Once they are read, everything that was committed at ``covered`` (microseconds) is."""

    condition: str | None
    covered: int


class Horizon(ABC):
    """What is settled for one table and one cursor column."""

    def prepare(self) -> None:  # noqa: B027
        """Called for all tables before any is looked at: what takes time can then be done for all at once."""

    @abstractmethod
    def look(self) -> Bound:
        """What may be read now. Asks the database."""

    @property
    def loss_possible(self) -> str | None:
        """Why rows may be lost, None where they cannot be."""
        return None


@dataclass(frozen=True, slots=True)
class Subject:
    """What a horizon is asked for. ``relations`` are the schema and name of the tables that are written,
    empty where they are not known; ``source`` is what stands behind ``from``; ``zone`` the time zone in which
    a column without one is written."""

    source: str
    column: Column
    relations: Sequence[tuple[str, str]] = ()
    zone: str = "UTC"


class Horizons(ABC):
    """What one database can say of what is settled, over one connection."""

    @abstractmethod
    def incrementing(self, subject: Subject) -> Horizon:
        """For ids that the database gives out in growing order."""

    @abstractmethod
    def timestamp(self, subject: Subject) -> Horizon:
        """For times that the database takes from its clock."""

    @abstractmethod
    def delayed(self, subject: Subject, times: bool) -> ProbeTaker:
        """How things stand, for a :class:`Delay`: for times, or for ids."""

    def commit(self, subject: Subject) -> Horizon | None:
        """For a column that holds the writer's transaction id; None where the column is none."""
        return None

    def given(self, subject: Subject) -> int | None:
        """The greatest number that the database has given out for a column, also if no row has it any more;
        None where that cannot be known. Less than what was read before: numbers begin again."""
        return None

    def mark(self) -> str:
        """How far the server has come: all that was seen until now; empty where it cannot say."""
        return ""

    def behind(self, mark: str) -> bool:
        """Whether this server is a replica that has not come as far as another one, or this one, said."""
        return False

    @abstractmethod
    def unseen(self, relations: Sequence[tuple[str, str]]) -> Sampler:
        """Whose changes of these tables the database's log may have and nobody else see yet."""

    @abstractmethod
    def holders(self) -> list[Holder]:
        """Who holds the horizon back right now, oldest first, ourselves left out."""

    @abstractmethod
    def check(self) -> list[Finding]:
        """What hinders seeing who is active."""


class Sampler(ABC):
    """Says who is active; one answer serves all who have asked how things stand before it was looked for."""

    def __init__(self) -> None:
        self._began = -1.0
        self._active: Mapping[str, Holder] = {}

    def since(self, moment: float) -> Mapping[str, Holder]:
        """Who was active at some time after ``moment`` of the monotonic clock."""
        if self._began <= moment:
            self._began = time.monotonic()
            self._active = self.sample()
        return self._active

    @abstractmethod
    def sample(self) -> Mapping[str, Holder]:
        """Who is active now, by their ids."""


class Ended:
    """Whether all who were active when this was made have ended."""

    def __init__(self, sampler: Sampler):
        self._sampler = sampler
        self._waiting = Waiting()
        self._waiting.add(Probe(0, None, sampler.sample()))

    def look(self) -> bool:
        """Asks the database."""
        self._waiting.update(self._sampler.sample())
        return self._waiting.settled is not None


class Waited(Horizon):
    """What a probe found is settled once all who were active after it have ended."""

    def __init__(self, taker: ProbeTaker, sampler: Sampler):
        self._taker = taker
        self._sampler = sampler
        self._waiting = Waiting()
        self._probe: Probe | None = None
        self._at = 0.0

    def prepare(self) -> None:
        """Takes a probe."""
        self._probe = self._taker.probe()
        self._at = time.monotonic()

    def look(self) -> Bound:
        """Sees who is active, for the new probe and for the earlier ones."""
        if self._probe is None:
            self.prepare()
        probe, self._probe = self._probe, None
        assert probe is not None
        active = self._sampler.since(self._at)
        self._waiting.add(Probe(probe.time, probe.upper, active))
        self._waiting.update(active)
        settled = self._waiting.settled
        return Bound(None, 0) if settled is None else self._taker.bound(settled)


@dataclass(slots=True)
class Waiting:
    """Probes that wait for those who were active. ``settled`` is the newest whose active ones have ended."""

    settled: Probe | None = None
    _probes: list[Probe] = field(default_factory=list)

    def add(self, probe: Probe) -> None:
        """Wait for one more; it must be newer than all before."""
        if len(self._probes) >= _MOST:
            del self._probes[1:-1:2]
        self._probes.append(probe)

    def update(self, active: Mapping[str, Holder]) -> None:
        """Take note of who is active now."""
        if any(holder.anybody for holder in active.values()):
            return
        for i in range(len(self._probes) - 1, -1, -1):
            if self._probes[i].active.keys().isdisjoint(active):
                self.settled = self._probes[i]
                del self._probes[: i + 1]
                return

    def held(self, active: Mapping[str, Holder]) -> list[Holder]:
        """Those of ``active`` for whom the oldest probe waits."""
        first = self._probes[0].active if self._probes else {}
        return [holder for id_, holder in active.items() if id_ in first or holder.anybody]


class Delay(Horizon):
    """Everything older than some seconds is taken for settled: what commits later than that is lost.

    For ids this needs a time too, so the greatest id is remembered until it is old enough.
    """

    def __init__(self, inner: ProbeTaker, seconds: float):
        self._inner = inner
        self._micros = round(seconds * 1_000_000)
        self._probes: list[Probe] = []
        self._bound = Bound(None, 0)

    def look(self) -> Bound:
        """The newest probe that is old enough."""
        probe = self._inner.probe()
        self._probes.append(probe)
        old = [p for p in self._probes if p.time <= probe.time - self._micros]
        if old:
            self._probes = self._probes[len(old) :]
            self._bound = self._inner.bound(old[-1])
        if len(self._probes) > 4 * _MOST:
            del self._probes[1:-1:2]
        return self._bound

    @property
    def loss_possible(self) -> str:
        """Always, and how."""
        return f"a transaction that commits more than {self._micros / 1e6:g} s after it took its id or time"


class ProbeTaker(ABC):
    """How things stand, without a look at who is active; and what a probe means for reading: the clock, and
    for ids (not ``times``) the greatest one."""

    def __init__(self, reader: Reader, subject: Subject, times: bool):
        self.subject = subject
        self.column = reader.quote(subject.column.name)
        self._reader = reader
        self._times = times

    def probe(self) -> Probe:
        """The clock first: what was committed by then has an id up to the greatest. ``active`` is empty."""
        now = self._reader.now()
        return Probe(now, None if self._times else self.greatest(), {})

    def bound(self, probe: Probe) -> Bound:
        """What may be read once ``probe`` is settled: ids up to the greatest, times before the probe's."""
        if not self._times:
            return Bound(None if probe.upper is None else f"{self.column} <= {probe.upper}", probe.time)
        upper, covered = self.before(probe.time)
        return Bound(f"{self.column} < {upper}", covered)

    @abstractmethod
    def greatest(self) -> str | None:
        """The greatest id, as a literal; None where there is no row."""

    @abstractmethod
    def before(self, moment: int) -> tuple[str, int]:
        """The time, as a literal of the column's precision, below which nobody takes one after ``moment``;
        and the moment up to which everything has a lower one."""
