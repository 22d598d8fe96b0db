"""Writes many rows of one table at once: ``copy`` into a temporary table, then one statement over it.

The temporary table has the target's columns, called c0, c1, … by their place in a full row, so that no
name of the user's is looked for in an error. It is made when first needed and emptied before each use.
A handful of rows goes without it, in one round trip: that is what a sink that has caught up writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from connectors.postgres.types.text import Lines, lines
from connectors.sql.dialect import Conflict
from connectors.sql.sink.table import Table
from connectors.sql.sink.writer import Columns, Condition, Staged, Terms, Writer
from liberator.event import Row

if TYPE_CHECKING:
    from connectors.postgres.sink.dialect import PostgresDialect

#: Up to this many rows, statements of their own are quicker than a stage.
FEW = 20
#: Up to this many rows the stage is emptied by delete, which is quicker than a truncate and leaves little.
LITTLE = 1000
#: After fresh rows turned out to be there, how many times they are not believed to be fresh.
DISTRUST = 20
#: Rows that are turned into text at once.
PIECE = 500


class PostgresWriter(Writer):
    """One table's statements at one Postgres connection."""

    dialect: PostgresDialect

    def __init__(self, dialect: PostgresDialect, table: Table, lossy: bool = False):
        super().__init__(dialect, table, lossy)
        origin = table.schema.dialect
        self._lines = cache(lambda columns, width: lines(columns, width, origin, lossy))
        self._stage = dialect.stage()
        self._staged: int | None = None  # rows in the stage, None where it may not be there
        self._distrust = 0

    def insert(self, rows: Sequence[Row], unless: str = "") -> None:
        """Add rows; many by ``copy`` straight into the table, or through the stage on a condition."""
        columns = self.table.columns
        if len(rows) <= FEW:
            super().insert(rows, unless)
        elif unless:
            terms = Staged(self.dialect)
            values = ", ".join(map(terms.value, columns))
            found = f"select from {self.name} as t where {terms.match(self.table.key[:-1])} and {unless}"
            stage = self._fill(terms, rows)
            self.dialect.execute(
                f"insert into {self.name} ({self.names(columns)}) overriding system value "
                f"select {values} from {stage} as s where not exists ({found})"
            )
        else:
            statement = f"copy {self.name} ({self.names(columns)}) from stdin"
            with self.named(columns):
                self.dialect.copy(statement, self._text(columns, rows))

    def upsert(self, rows: Sequence[Row], fresh: bool = False) -> None:
        """Insert rows or update them, in the order of their keys: two sinks that write the same rows
        then wait for each other instead of ending in a deadlock. Fresh rows are copied straight into the
        table, at half the cost, as long as none of them is there."""
        table = self.table
        if len(rows) <= FEW:
            super().upsert(rows)
            return
        if fresh and table.unique and self._copied(rows):
            return
        terms = Staged(self.dialect)
        values = ", ".join(map(terms.value, table.columns))
        order = ", ".join(map(terms.value, table.key))
        stage = self._fill(terms, rows)
        if table.unique:
            select = f"select {values} from {stage} as s order by {order}"
            self.dialect.execute(self.dialect.merge(table, select))
            return
        # The key has no index that insert-or-update could rely on, a deferrable one for example.
        match = terms.match(table.key)
        if table.others:
            sets = self._sets(terms, table.others)
            self.dialect.execute(f"update {self.name} as t set {sets} from {stage} as s where {match}")
        lacking = f"not exists (select from {self.name} as t where {match})"
        self.dialect.execute(
            f"insert into {self.name} ({self.names(table.columns)}) overriding system value "
            f"select {values} from {stage} as s where {lacking} order by {order}"
        )

    def _copied(self, rows: Sequence[Row]) -> bool:
        """Try to add rows that are probably not there; False where one is."""
        self._distrust -= 1
        if self._distrust > 0:
            return False
        self.dialect.execute("savepoint liberator_copy")
        try:
            self.insert(rows)
        except Conflict:
            self.dialect.execute("rollback to savepoint liberator_copy")
            self._distrust = DISTRUST
            return False
        self.dialect.execute("release savepoint liberator_copy")
        return True

    def delete(self, rows: Sequence[Row]) -> int:
        """Delete the rows with these keys; how many there were."""
        if len(rows) <= FEW:
            return super().delete(rows)
        terms = Staged(self.dialect)
        match = terms.match(self.table.key)
        stage = self._fill(terms, rows)
        return self.dialect.execute(f"delete from {self.name} as t using {stage} as s where {match}")[1]

    def change(self, columns: Columns, rows: Sequence[Row], where: Condition) -> int:
        """Set columns to each row's values where a condition on that row holds; how many rows changed."""
        if len(rows) <= FEW:
            return super().change(columns, rows, where)
        terms = Staged(self.dialect)
        sets, condition = self._sets(terms, columns), where(terms)
        stage = self._fill(terms, rows)
        sql = f"update {self.name} as t set {sets} from {stage} as s where {condition}"
        return self.dialect.execute(sql)[1]

    def erase(self, rows: Sequence[Row]) -> int:
        """For each row delete one row that equals it in every column: one pass over the table."""
        if len(rows) <= 1:
            return super().erase(rows)
        terms, columns = Staged(self.dialect), self.table.columns
        wanted = f"row({', '.join(f'{terms.value(c)}::text' for c in columns)})::text"
        image = f"row({', '.join(f'{terms.column(c)}::text' for c in columns)})::text"
        stage = self._fill(terms, rows)
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
        """The temporary table may have gone with what was rolled back."""
        self._staged = None

    def _fill(self, terms: Staged, rows: Sequence[Row]) -> str:
        """Put the values that ``terms`` uses into the stage, and nothing else; its name."""
        stage, columns = f"pg_temp.{self._stage}", tuple(terms.used)
        if self._staged is None:
            types = ", ".join(f"c{c.index} {c.type}" for c in self.table.columns)
            self.dialect.execute(f"create temp table if not exists {self._stage} ({types})")
        if self._staged is not None and self._staged <= LITTLE:
            self.dialect.execute(f"delete from {stage}")
        else:
            self.dialect.execute(f"truncate {stage}")
        self._staged = len(rows)
        names = ", ".join(f"c{c.index}" for c in columns)
        with self.named(columns):
            self.dialect.copy(f"copy {stage} ({names}) from stdin", self._text(columns, rows))
        return stage

    def _text(self, columns: Columns, rows: Sequence[Row]) -> Iterator[str]:
        """Lines for ``copy``, piece by piece: the server reads one while we make the next."""
        whole = columns == self.table.columns and len(rows[0]) == self.table.width
        make: Lines = self._lines(columns, self.table.width if whole else None)
        for start in range(0, len(rows), PIECE):
            yield make(rows[start : start + PIECE])

    def _sets(self, terms: Terms, columns: Columns) -> str:
        return ", ".join(f"{self.dialect.quote(c.name)} = {terms.value(c)}" for c in columns)
