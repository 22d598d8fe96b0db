"""Writes rows of one table with standard SQL; a dialect that has something faster overrides parts.

Every method takes full rows (see :mod:`connectors.sql.table`) and sends them as they are: what to write
and in which order is decided by the modes. Statements are made once per table and set of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from connectors.sql.dialect import Dialect, Encode
from connectors.sql.table import Table, TargetColumn
from liberator.event import ABSENT, Row

Columns = tuple[TargetColumn, ...]


class Writer:
    """One table's statements at one connection."""

    def __init__(self, dialect: Dialect, table: Table, lossy: bool = False):
        self.dialect = dialect
        self.table = table
        self.name = dialect.quoted(table.name)
        self._encoder = cache(lambda columns: dialect.encoder(columns, table.schema.dialect, lossy))

    def encoder(self, columns: Columns) -> Encode:
        """The compiled encoder for some of the columns."""
        return self._encoder(columns)

    def insert(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        columns = self.table.columns
        self.dialect.many(self.insert_sql(columns), self.encoder(columns)(rows))

    def upsert(self, rows: Sequence[Row]) -> None:
        """Insert rows; where a key is there already, give its row these values."""
        table = self.table
        if table.unique:
            self.dialect.many(self.dialect.upsert(table), self.encoder(table.columns)(rows))
            return
        for row in rows:
            if not self.update(table.others or table.key, [row]):
                self.insert([row])

    def update(self, columns: Columns, rows: Sequence[Row]) -> int:
        """Set these columns of the rows with these keys; how many rows were there."""
        sets = ", ".join(f"{self.quote(c)} = {self.mark(i)}" for i, c in enumerate(columns, 1))
        where = self.match(self.table.key, len(columns) + 1)
        encode = self.encoder((*columns, *self.table.key))
        return self.dialect.many(f"update {self.name} set {sets} where {where}", encode(rows))

    def delete(self, rows: Sequence[Row]) -> int:
        """Delete the rows with these keys; how many there were. Only the keys are looked at."""
        sql = f"delete from {self.name} where {self.match(self.table.key, 1)}"
        return self.dialect.many(sql, self.encoder(self.table.key)(rows))

    def clear(self) -> None:
        """Delete all rows."""
        self.dialect.execute(f"delete from {self.name}")

    def move(self, old: Row, row: Row) -> int:
        """Give the row with the key of ``old`` the key and the present columns of ``row``; how many."""
        present = self.present(row)
        sets = ", ".join(f"{self.quote(c)} = {self.mark(i)}" for i, c in enumerate(present, 1))
        sql = f"update {self.name} set {sets} where {self.match(self.table.key, len(present) + 1)}"
        return self.dialect.execute(sql, self._params(present, row, self.table.key, old))[1]

    def copy(self, old: Row, row: Row) -> int:
        """Add ``row``; what it lacks it takes from the row with the key of ``old``. How many were added."""
        present, table = self.present(row), self.table
        values = [self.mark(present.index(c) + 1) if c in present else self.quote(c) for c in table.columns]
        sql = (
            f"insert into {self.name} ({self.names(table.columns)}) select {', '.join(values)} "
            f"from {self.name} where {self.match(table.key, len(present) + 1)}"
        )
        return self.dialect.execute(sql, self._params(present, row, table.key, old))[1]

    def erase(self, rows: Sequence[Row]) -> int:
        """For each row delete one row that equals it in every column; how many rows there were."""
        sql = self.dialect.erase(self.table)
        return self.dialect.many(sql, self.encoder(self.table.columns)(rows))

    def forget(self) -> None:
        """What was made at the connection since the last savepoint is gone: it was rolled back."""

    def present(self, row: Row) -> Columns:
        """The columns that ``row`` has a value for."""
        return tuple(c for c in self.table.columns if row[c.index] is not ABSENT)

    def insert_sql(self, columns: Columns) -> str:
        """A plain insert of these columns."""
        marks = ", ".join(self.mark(i) for i in range(1, len(columns) + 1))
        return f"insert into {self.name} ({self.names(columns)}) values ({marks})"

    def names(self, columns: Columns) -> str:
        """The columns' quoted names."""
        return ", ".join(map(self.quote, columns))

    def match(self, columns: Columns, first: int) -> str:
        """A condition on the columns, parameters numbered from ``first``."""
        return " and ".join(f"{self.quote(c)} = {self.mark(i)}" for i, c in enumerate(columns, first))

    def quote(self, column: TargetColumn) -> str:
        """The column's quoted name."""
        return self.dialect.quote(column.name)

    def mark(self, number: int) -> str:
        """The placeholder of a parameter."""
        return self.dialect.mark(number)

    def _params(self, columns: Columns, row: Row, key: Columns, old: Row) -> list[Any]:
        return [*self.encoder(columns)([row])[0], *self.encoder(key)([old])[0]]
