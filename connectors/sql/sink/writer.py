"""Writes rows of one table with standard SQL; a dialect that has something faster overrides parts.

Every method takes full rows (see :mod:`.table`) and sends them as they are: what to write
and in which order is decided by the modes. A condition is a function of :class:`Terms`, so that the same
one serves a statement run once per row and a statement run once over many staged rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeAlias

from connectors.sql.dialect import Dialect, Encode, Unreadable
from connectors.sql.sink.table import Table, TargetColumn
from liberator.errors import SinkError
from liberator.event import ABSENT, Row

Columns: TypeAlias = tuple[TargetColumn, ...]


class Terms:
    """What a statement is made of: the target's columns and the values of a row.

    Here values are parameters, numbered as they are asked for; ``used`` says which.
    """

    def __init__(self, dialect: Dialect):
        self._dialect = dialect
        self.used: list[TargetColumn] = []

    def column(self, column: TargetColumn) -> str:
        """A column of the target."""
        return self._dialect.quote(column.name)

    def value(self, column: TargetColumn) -> str:
        """The row's value for a column."""
        self.used.append(column)
        return self._dialect.mark(len(self.used))

    def match(self, columns: Columns) -> str:
        """The row is the one with these values; none of them is null."""
        return " and ".join(f"{self.column(c)} = {self.value(c)}" for c in columns)

    def differ(self, columns: Columns) -> str:
        """Some value is another one; nulls are equal."""
        equal = (self._dialect.equal(self.column(c), self.value(c), c.type) for c in columns)
        return f"not ({' and '.join(equal)})"


class Staged(Terms):
    """Columns of the target ``t``, and values of the staged row ``s``."""

    def column(self, column: TargetColumn) -> str:
        """A column of the target."""
        return f"t.{super().column(column)}"

    def value(self, column: TargetColumn) -> str:
        """The staged row's value for a column."""
        if column not in self.used:
            self.used.append(column)
        return f"s.c{column.index}"


Condition: TypeAlias = Callable[[Terms], str]


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

    def insert(self, rows: Sequence[Row], unless: str = "") -> None:
        """Add rows; with a condition ``unless`` only where no row of the same key meets it. The key is
        then all but the last of the key columns: a version's place is no part of what it is a version of."""
        terms, columns = Terms(self.dialect), self.table.columns
        values = ", ".join(terms.value(c) for c in columns)
        sql = f"insert into {self.name} ({self.names(columns)}) "
        if unless:
            found = f"select 1 from {self.name} where {terms.match(self.table.key[:-1])} and {unless}"
            sql += f"select {values} where not exists ({found})"
        else:
            sql += f"values ({values})"
        self._run(sql, terms, rows)

    def upsert(self, rows: Sequence[Row], fresh: bool = False) -> None:
        """Insert rows; where a key is there already, give its row these values. ``fresh``: the source
        has just made these rows, so probably none of them is there."""
        table = self.table
        if table.unique:
            with self.named(table.columns):
                self.dialect.many(self.dialect.upsert(table), self.encoder(table.columns)(rows))
            return
        for row in rows:
            if not self.update(table.others or table.key, [row]):
                self.insert([row])

    def update(self, columns: Columns, rows: Sequence[Row]) -> int:
        """Set these columns of the rows with these keys; how many rows were there."""
        return self.change(columns, rows, lambda terms: terms.match(self.table.key))

    def delete(self, rows: Sequence[Row]) -> int:
        """Delete the rows with these keys; how many there were. Only the keys are looked at."""
        terms = Terms(self.dialect)
        return self._run(f"delete from {self.name} where {terms.match(self.table.key)}", terms, rows)

    def change(self, columns: Columns, rows: Sequence[Row], where: Condition) -> int:
        """Set columns to each row's values where a condition on that row holds; how many rows changed."""
        terms = Terms(self.dialect)
        sets = ", ".join(f"{terms.column(c)} = {terms.value(c)}" for c in columns)
        return self._run(f"update {self.name} set {sets} where {where(terms)}", terms, rows)

    def clear(self) -> None:
        """Delete all rows."""
        self.dialect.execute(f"delete from {self.name}")

    def move(self, old: Row, row: Row) -> int:
        """Give the row with the key of ``old`` the key and the present columns of ``row``; how many."""
        terms = Terms(self.dialect)
        sets = ", ".join(f"{terms.column(c)} = {terms.value(c)}" for c in self.present(row))
        return self._run_from(f"update {self.name} set {sets}", terms, row, old)

    def copy(self, old: Row, row: Row, only: str = "") -> int:
        """Add ``row``; what it lacks it takes from the row with the key of ``old``. How many were added.

        With a condition ``only`` the key is all but the last of the key columns, as in ``insert``.
        """
        terms, columns = Terms(self.dialect), self.table.columns
        present = self.present(row)
        values = ", ".join(terms.value(c) if c in present else terms.column(c) for c in columns)
        sql = f"insert into {self.name} ({self.names(columns)}) select {values} from {self.name}"
        return self._run_from(sql, terms, row, old, only)

    def erase(self, rows: Sequence[Row]) -> int:
        """For each row delete one row that equals it in every column; how many rows there were."""
        sql = self.dialect.erase(self.table)
        return self.dialect.many(sql, self.encoder(self.table.columns)(rows))

    def forget(self) -> None:
        """What was made at the connection since the last savepoint is gone: it was rolled back."""

    def present(self, row: Row) -> Columns:
        """The columns that ``row`` has a value for."""
        return tuple(c for c in self.table.columns if row[c.index] is not ABSENT)

    def names(self, columns: Columns) -> str:
        """The columns' quoted names."""
        return ", ".join(self.dialect.quote(c.name) for c in columns)

    @contextmanager
    def named(self, columns: Sequence[TargetColumn]) -> Iterator[None]:
        """Say which table and column a value was for that the target could not read; ``columns`` are the
        statement's parameters."""
        try:
            yield
        except Unreadable as exc:
            places = {f"c{c.index}": c for c in columns}
            places |= {f"${i}": c for i, c in enumerate(columns, 1)}
            places |= {c.name: c for c in columns}
            column = places.get(exc.place)
            name = "" if column is None else f", column {column.name} ({column.type})"
            raise SinkError(f"{exc}: table {self.table.name}{name}", hint=exc.hint) from exc

    def _run(self, sql: str, terms: Terms, rows: Sequence[Row]) -> int:
        with self.named(terms.used):
            return self.dialect.many(sql, self.encoder(tuple(terms.used))(rows))

    def _run_from(self, sql: str, terms: Terms, row: Row, old: Row, only: str = "") -> int:
        """Run a statement over the values of ``row`` where the key is that of ``old``."""
        key = self.table.key[:-1] if only else self.table.key
        params: list[Any] = [*self.encoder(tuple(terms.used))([row])[0], *self.encoder(key)([old])[0]]
        condition = f"{terms.match(key)} and {only}" if only else terms.match(key)
        return self.dialect.many(f"{sql} where {condition}", [params])
