"""The change table: what triggers have written down and we have not read yet, and who keeps it so.

One object per kind of database (:class:`ChangeTable`) knows the SQL: how tables get their triggers, what a
row's image looks like, how a transaction is told from another. Reading the table is standard SQL and is
written once, here. In which order its rows become events is :mod:`.drain`'s business.

A row of the change table has an ``id`` that grows while the changed row is locked by its writer. Hence of two
transactions that changed the same row, the one that came later has the greater ids, whatever the order in
which they began or got their numbers: transactions taken in the order of their *last* id are in an order in
which they can have happened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from connectors.sql.horizon import Horizon, Subject
from connectors.sql.reader import Reader, SourceTable
from connectors.sql.trigger.options import TriggerOptions
from liberator.event import Row
from liberator.preflight import Finding
from liberator.schema import Column, Kind, LogicalType, TableSchema
from liberator.source import Managed


@dataclass(slots=True)
class Version:
    """One shape of a captured table, and the triggers that were made for it. ``table`` identifies the
    table, however it is called; ``at`` is when the triggers were made, in microseconds since 1970."""

    id: int
    table: str
    schema: TableSchema
    at: int


class Glance(NamedTuple):
    """A change without its images: ``transaction`` as the database names it, ``size`` of the images in
    bytes, ``at`` in microseconds since 1970."""

    id: int
    transaction: str
    size: int
    at: int


class Change(NamedTuple):
    """A row of the change table; ``operation`` is c, u, d or t, images are as the database keeps them."""

    id: int
    version: int
    operation: str
    origin: str | None
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Extent:
    """How large the change table is, and how old its oldest row, in seconds; None: unknown, or none."""

    bytes: int | None
    rows: int | None
    age: float | None


class ChangeTable(ABC):
    """The change table of one source, over ``reader``'s connection; raises what the reader raises."""

    #: Expressions over a row of the change table: its transaction, the bytes of its images, its time in
    #: microseconds since 1970; and what :meth:`changes` selects behind the id.
    transaction: str
    size: str
    at: str
    images: Sequence[str]

    def __init__(self, source: str, options: TriggerOptions, reader: Reader):
        self.source = source
        self.options = options
        self.reader = reader
        self._horizon: Horizon | None = None
        self._settled = 0

    # -- what there must be at the database ----------------------------------------------------------

    @property
    @abstractmethod
    def place(self) -> tuple[str, str]:
        """Schema and name of the change table."""

    @abstractmethod
    def tables(self) -> list[SourceTable]:
        """The tables to capture. Raises ConfigError if there is none."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether the change table is there."""

    @abstractmethod
    def managed(self, tables: Sequence[SourceTable]) -> list[Managed]:
        """What these tables need, and what is left over of others, with the present state."""

    @abstractmethod
    def create(self) -> None:
        """Make the change table and all that goes with it, but no table's triggers."""

    @abstractmethod
    def captured(self) -> dict[str, bool]:
        """The full names of the tables that have our triggers, and whether these fit the table."""

    @abstractmethod
    def capture(self, table: SourceTable) -> None:
        """Make the table's triggers, or make them anew for the shape that it has now. No change of the table
        is missed between the old triggers and the new ones."""

    @abstractmethod
    def release(self, table: str) -> None:
        """Remove the triggers of the table with this full name, which may be gone."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the change table and all that goes with it, once no table has triggers."""

    @abstractmethod
    def born(self) -> str:
        """What tells this change table from one that was made in its place."""

    @abstractmethod
    def versions(self, after: int) -> list[Version]:
        """The versions with a greater number, in order."""

    def shaken(self) -> bool:
        """Whether a table may have changed, so that its triggers do not fit it any more; asked every
        second."""
        return False

    @abstractmethod
    def newest(self, reader: Reader, table: str) -> int:
        """The number of the newest version of a table, as ``reader`` sees it."""

    def hold(self, reader: Reader, schema: TableSchema) -> None:  # noqa: B027
        """First of all in a transaction of ``reader``: keep the table from being rewritten, where a snapshot
        would not show what was in it before."""

    def relation(self, schema: TableSchema) -> str:
        """The table as it stands behind ``from``."""
        return self.reader.relation(SourceTable(schema.schema, schema.table))

    @abstractmethod
    def check(self, tables: Sequence[SourceTable]) -> list[Finding]:
        """What hinders triggers on these tables."""

    @abstractmethod
    def extent(self) -> Extent:
        """How large and how old it is."""

    # -- rows ----------------------------------------------------------------------------------------

    #: Whether triggers are made anew in the transaction that changes a table, so that nothing lies between.
    follows_ddl: bool = False

    @abstractmethod
    def pieces(self, reader: Reader, schema: TableSchema) -> Iterator[str]:
        """What stands behind ``from …`` to read all rows of a table without a key, once each and some at a
        time, within one transaction of ``reader``."""

    @abstractmethod
    def decoder(self, schema: TableSchema) -> Callable[[Any], Row]:
        """A function from an image to the physical row."""

    @abstractmethod
    def change(self, row: tuple[Any, ...]) -> Change:
        """A selected row."""

    @property
    def name(self) -> str:
        """The change table's quoted name."""
        return self.reader.quote(*self.place)

    @property
    def _ids(self) -> Subject:
        column = Column("id", LogicalType(Kind.INT64), nullable=False, key=0, native="bigint")
        return Subject(self.name, column, (self.place,))

    def given(self) -> int | None:
        """The greatest id that was given to a change; None where that cannot be known."""
        return self.reader.horizons().given(self._ids)

    def head(self) -> int:
        """The greatest id that is committed; 0 where there is none."""
        (found,) = self.reader.fetch(f"select max(id) from {self.name}")
        return int(found[0] or 0)

    def frontier(self) -> tuple[int, int]:
        """The greatest id below which nothing will be committed any more, 0 for none; and the time up to
        which that covers all commits, in microseconds since 1970."""
        now = self.reader.now()
        if self.head() <= self._settled:
            return self._settled, now  # nothing was committed since
        if self._horizon is None:
            self._horizon = self.reader.horizons().incrementing(self._ids)
        bound = self._horizon.look()
        if bound.condition is not None:
            (found,) = self.reader.fetch(f"select max(id) from {self.name} where {bound.condition}")
            self._settled = max(self._settled, int(found[0] or 0))
        return self._settled, bound.covered

    def glance(self, first: int, last: int, limit: int, transaction: str | None = None) -> list[Glance]:
        """The changes with ids from ``first`` to ``last``, in order; of all transactions, or of one."""
        only = "" if transaction is None else f" and {self.transaction} = {self.reader.text(transaction)}"
        found = self.reader.fetch(
            f"select id, {self.transaction}, {self.size}, {self.at} from {self.name}"
            f" where id >= {first} and id <= {last}{only} order by id limit {limit}"
        )
        return [Glance(int(i), str(t), int(s or 0), int(a)) for i, t, s, a in found]

    def behind(self, after: int, until: int | None = None) -> set[str]:
        """The transactions with changes behind ``after``, up to ``until``."""
        upper = "" if until is None else f" and id <= {until}"
        found = self.reader.fetch(
            f"select distinct {self.transaction} from {self.name} where id > {after}{upper}"
        )
        return {str(t) for (t,) in found}

    def wide(self, first: int, last: int, width: int) -> dict[str, int]:
        """Transactions of this range whose ids lie further apart than ``width``, with their last ids."""
        found = self.reader.fetch(
            f"select {self.transaction}, max(id) from {self.name} where id >= {first} and id <= {last}"
            f" group by {self.transaction} having max(id) - min(id) > {width}"
        )
        return {str(t): int(i) for t, i in found}

    def straddling(self, at: int) -> dict[str, int]:
        """Transactions with changes both below ``at`` and not below it, with their first ids."""
        found = self.reader.fetch(
            f"select {self.transaction}, min(id) from {self.name}"
            f" group by {self.transaction} having min(id) < {at} and max(id) >= {at}"
        )
        return {str(t): int(i) for t, i in found}

    def changes(self, ids: Sequence[int]) -> list[Change]:
        """The changes with these ids, which are in order, in order."""
        low, high = ids[0], ids[-1]
        condition = f"id >= {low} and id <= {high}"
        if high - low >= len(ids):
            condition = f"id in ({', '.join(map(str, ids))})"
        found = self.reader.fetch(
            f"select id, {', '.join(self.images)} from {self.name} where {condition} order by id"
        )
        return [self.change(row) for row in found]

    def purge(self, before: int, limit: int) -> int:
        """Delete at most ``limit`` of the changes with ids below ``before``: how many there were."""
        (found,) = self.reader.fetch(
            f"select max(id) from (select id from {self.name} where id < {before} order by id limit {limit})"
            " as oldest"
        )
        if found[0] is None:
            return 0
        return self.reader.execute(f"delete from {self.name} where id <= {int(found[0])}")
