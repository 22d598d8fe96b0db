"""Writes many rows of one table at once: ``copy`` into a temporary table, then one statement over it.

The temporary table has the target's columns, called c0, c1, … by their place in a full row, so that no
name of the user's is looked for in an error. It is made when first needed and emptied before each use.
A handful of rows goes without it, in one round trip: that is what a sink that has caught up writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from connectors.postgres.text import Lines, lines
from connectors.sql.table import Table
from connectors.sql.writer import Columns, Writer
from liberator.event import Row

if TYPE_CHECKING:
    from connectors.postgres.dialect import PostgresDialect

#: Up to this many rows, statements of their own are quicker than a stage.
FEW = 20


class PostgresWriter(Writer):
    """One table's statements at one Postgres connection."""

    dialect: PostgresDialect

    def __init__(self, dialect: PostgresDialect, table: Table, lossy: bool = False):
        super().__init__(dialect, table, lossy)
        origin = table.schema.dialect
        self._lines = cache(lambda columns, width: lines(columns, width, origin, lossy))
        self._stage = dialect.stage()
        self._staged = False

    def insert(self, rows: Sequence[Row]) -> None:
        """Add rows; many by ``copy`` straight into the table."""
        if len(rows) <= FEW:
            super().insert(rows)
            return
        columns = self.table.columns
        statement = f"copy {self.name} ({self.names(columns)}) from stdin"
        self.dialect.copy(statement, self._text(columns, self.table.width, rows))

    def upsert(self, rows: Sequence[Row]) -> None:
        """Insert rows or update them, in the order of their keys: two sinks that write the same rows
        then wait for each other instead of ending in a deadlock."""
        table = self.table
        if table.unique and len(rows) <= FEW:
            super().upsert(rows)
            return
        stage = self._fill(table.columns, table.width, rows)
        values = ", ".join(f"c{c.index}" for c in table.columns)
        order = ", ".join(f"c{c.index}" for c in table.key)
        if table.unique:
            self.dialect.execute(self.dialect.merge(table, f"select {values} from {stage} order by {order}"))
            return
        # The key has no index that insert-or-update could rely on, a deferrable one for example.
        match = self._match(table.key)
        if table.others:
            self.dialect.execute(
                f"update {self.name} as t set {self._sets(table.others)} from {stage} as s where {match}"
            )
        lacking = f"not exists (select from {self.name} as t where {match})"
        self.dialect.execute(
            f"insert into {self.name} ({self.names(table.columns)}) overriding system value "
            f"select {values} from {stage} as s where {lacking} order by {order}"
        )

    def update(self, columns: Columns, rows: Sequence[Row]) -> int:
        """Set these columns of the rows with these keys; how many rows were there."""
        if len(rows) <= FEW:
            return super().update(columns, rows)
        key = self.table.key
        stage = self._fill((*key, *(c for c in columns if c not in key)), None, rows)
        sql = f"update {self.name} as t set {self._sets(columns)} from {stage} as s where {self._match(key)}"
        return self.dialect.execute(sql)[1]

    def delete(self, rows: Sequence[Row]) -> int:
        """Delete the rows with these keys; how many there were."""
        if len(rows) <= FEW:
            return super().delete(rows)
        key = self.table.key
        stage = self._fill(key, None, rows)
        sql = f"delete from {self.name} as t using {stage} as s where {self._match(key)}"
        return self.dialect.execute(sql)[1]

    def erase(self, rows: Sequence[Row]) -> int:
        """For each row delete one row that equals it in every column: one pass over the table."""
        if len(rows) <= 1:
            return super().erase(rows)
        columns = self.table.columns
        stage = self._fill(columns, None, rows)
        wanted = "row(" + ", ".join(f"s.c{c.index}::text" for c in columns) + ")::text"
        image = "row(" + ", ".join(f"t.{self.quote(c)}::text" for c in columns) + ")::text"
        sql = f"""
            with wanted as (select {wanted} as image, count(*) as many from {stage} as s group by 1),
            found as (select t.tableoid as part, t.ctid as place, {image} as image,
                             row_number() over (partition by {image}) as number
                        from {self.name} as t
                       where {image} in (select image from wanted))
            delete from {self.name} as t using found as f join wanted as w on w.image = f.image
             where f.number <= w.many and t.ctid = f.place and t.tableoid = f.part"""
        return self.dialect.execute(sql)[1]

    def clear(self) -> None:
        """Truncate; or delete, where foreign keys or privileges forbid to truncate."""
        if self.table.referenced or not self.dialect.may_truncate(self.table.name):
            super().clear()
        else:
            self.dialect.execute(f"truncate {self.name}")

    def forget(self) -> None:
        """The temporary table went with what was rolled back."""
        self._staged = False

    def _fill(self, columns: Columns, width: int | None, rows: Sequence[Row]) -> str:
        """Put rows into the stage, and nothing else; its name."""
        stage = f"pg_temp.{self._stage}"
        if self._staged:
            self.dialect.execute(f"truncate {stage}")
        else:
            types = ", ".join(f"c{c.index} {c.type}" for c in self.table.columns)
            self.dialect.execute(f"create temp table {self._stage} ({types})")
            self._staged = True
        names = ", ".join(f"c{c.index}" for c in columns)
        self.dialect.copy(f"copy {stage} ({names}) from stdin", self._text(columns, width, rows))
        return stage

    def _text(self, columns: Columns, width: int | None, rows: Sequence[Row]) -> str:
        make: Lines = self._lines(columns, width)
        return make(rows)

    def _sets(self, columns: Columns) -> str:
        return ", ".join(f"{self.quote(c)} = s.c{c.index}" for c in columns)

    def _match(self, columns: Columns) -> str:
        return " and ".join(f"t.{self.quote(c)} = s.c{c.index}" for c in columns)
