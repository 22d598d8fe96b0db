"""One target table as a writer sees it: which columns, where their values are in a row, which key.

A *full row* is a source row in the order of its schema's columns, followed by the values of the columns
that the mode adds. Tables are made by :mod:`.planner`, one per version of a stream.
"""

from __future__ import annotations

from dataclasses import dataclass

from connectors.sql.dialect import TableName
from liberator.schema import Column, TableSchema


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column at the target: its name and type there, its place in a full row, what it holds."""

    name: str
    type: str
    index: int
    column: Column


@dataclass(frozen=True, slots=True)
class Table:
    """The target of one version of a stream.

    ``columns`` are those that are written; ``key`` those of them that identify a row, in key order
    (empty: no key). ``unique``: an index lets insert-or-update find the key. ``parents`` and
    ``referenced`` as in :class:`~connectors.sql.dialect.Existing`; ``width`` is the length of a full row.
    """

    name: TableName
    topic: str
    schema: TableSchema
    columns: tuple[TargetColumn, ...]
    key: tuple[TargetColumn, ...]
    unique: bool = True
    parents: frozenset[TableName] = frozenset()
    referenced: bool = False
    width: int = 0

    @property
    def others(self) -> tuple[TargetColumn, ...]:
        """The columns that are not part of the key."""
        return tuple(c for c in self.columns if c not in self.key)

    def column(self, name: str) -> TargetColumn:
        """The column that is called ``name`` at the target."""
        return next(c for c in self.columns if c.name == name)
