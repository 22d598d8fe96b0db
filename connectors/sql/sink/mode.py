"""What a mode is: how the events of a batch become statements.

A mode receives a *segment*: consecutive events in order, in which every stream keeps one version of its
schema. It writes through the tables' writers, inside the sink's transaction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from connectors.sql.dialect import Dialect, TableName
from connectors.sql.sink.options import SqlSinkOptions
from connectors.sql.sink.planner import Extra
from connectors.sql.sink.table import Table
from connectors.sql.sink.writer import Writer
from liberator.errors import SinkError
from liberator.event import ChangeEvent, Phase, Row, Transaction

#: The hint of every error about a row that should be at the target and is not.
REFILL = (
    "the target's table was changed by somebody else, or filled without a snapshot; after "
    "`liberator teardown --config FILE SINK` the next run fills it again from the beginning of the log"
)


@dataclass(slots=True)
class Target:
    """One stream at its table: the writer, and ``key_of``, which gives a row's key as something hashable."""

    table: Table
    writer: Writer
    key_of: Callable[[Row], Any]

    @classmethod
    def of(cls, table: Table, writer: Writer) -> Target:
        """The target of ``table``; without a key ``key_of`` is the row itself."""
        key = table.schema.key
        return cls(table, writer, itemgetter(*key) if key else tuple)


@dataclass(slots=True)
class Segment:
    """Events in order, and the same events by topic."""

    events: list[ChangeEvent] = field(default_factory=list)
    by_topic: dict[str, list[ChangeEvent]] = field(default_factory=lambda: defaultdict(list))


class Mode(ABC):
    """One way to write. ``targets`` holds, by topic, the streams that were met so far."""

    def __init__(self, dialect: Dialect, options: SqlSinkOptions):
        self.dialect = dialect
        self.options = options
        self.targets: dict[str, Target] = {}

    @property
    @abstractmethod
    def extra(self) -> Extra:
        """The columns that this mode adds to every table."""

    @abstractmethod
    def apply(self, segment: Segment) -> None:
        """Write a segment."""

    def empties(self, event: ChangeEvent, keyed: bool = True) -> bool:
        """Whether a truncate is applied. One of a snapshot says that the table is read anew: what is not
        read again is not at the source any more, and rows without a key would be there twice."""
        if event.phase is Phase.SNAPSHOT:
            return not keyed or self.options.delete != "ignore"
        return self.options.truncate == "apply"

    def suits(self, target: Target) -> None:  # noqa: B027
        """Raise SinkError if this mode cannot write ``target`` at all."""


def where(event: ChangeEvent) -> str:
    """An event's place for a message: ``topic shop.public.orders, position 0/4711/3``."""
    epoch, major, minor = event.position
    return f"topic {event.topic}, position {epoch}/{major}/{minor}"


def transaction_place(transaction: Transaction) -> str:
    """Where a transaction stands in its source, as text that sorts."""
    epoch, major, _ = transaction.position
    return f"{epoch:08}.{major:020}"


def in_order(targets: Sequence[Target]) -> list[Target] | None:
    """Targets such that a table comes behind those that its foreign keys point to; None: there is none."""
    rest = {t.table.name: t for t in targets}
    out: list[Target] = []
    while rest:
        free = [n for n, t in rest.items() if not any(p in rest for p in t.table.parents if p != n)]
        if not free:
            return None
        out += [rest.pop(name) for name in free]
    return out


def lacks_row(table: TableName, event: ChangeEvent) -> SinkError:
    """The error for a change of a row that the target does not have."""
    return SinkError(
        f"table {table} lacks the row that an event changes in part ({where(event)})", hint=REFILL
    )
