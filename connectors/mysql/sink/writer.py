"""Writes many rows of one table at once: ``values`` of many rows, or a temporary table and one statement.

**Insert-or-update** is ``insert … on duplicate key update``, which fires on *any* unique index and would then
change another row than the one with this key. So its first assignment is a guard: unless the row that was
found has this very key, a subquery of two rows is asked for one value, which is an error (1242) and becomes a
:class:`~connectors.sql.dialect.Conflict`. What is updated is always the row of this key, whatever indexes
there are, or will be tomorrow.

The temporary table serves what changes some columns only, or depends on what the table holds. It has the
target's columns, called c0, c1, … by their place in a full row; ``straight_join`` has the server look up each
staged row by the target's key, whatever its statistics say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING

from connectors.mysql.sink.column_types import MARIADB, Spelled
from connectors.mysql.sink.literals import Lines, lines
from connectors.sql.sink.table import Table, TargetColumn
from connectors.sql.sink.writer import Columns, Condition, Staged, Writer
from liberator.errors import SinkError
from liberator.event import Row

if TYPE_CHECKING:
    from connectors.mysql.sink.dialect import MySqlDialect

#: Up to this many rows, statements of their own are quicker than a stage.
FEW = 10
#: From this many rows on a stage is made anew instead of emptied.
LITTLE = 1000
#: About how many characters of rows go into a statement.
PIECE = 500_000
#: The error that the guard of insert-or-update raises.
GUARD = "(select 1 union all select 2)"
#: The alias of the rows that an insert brings; MariaDB has none.
NEW = "liberator_new"


class MySqlWriter(Writer):
    """One table's statements at one connection."""

    dialect: MySqlDialect

    def __init__(self, dialect: MySqlDialect, table: Table, lossy: bool = False):
        super().__init__(dialect, table, lossy)
        origin, flavour = table.schema.dialect, dialect.flavour
        self._lines = cache(lambda columns, width: lines(columns, width, origin, lossy, flavour))
        self._stage = dialect.stage()
        self._staged: int | None = None  # rows in the stage, None where there may be none
        self._in_key_order = itemgetter(*(c.index for c in table.key)) if table.key else None

    def insert(self, rows: Sequence[Row], unless: str = "") -> None:
        """Add rows; on a condition through the stage."""
        columns = self.table.columns
        if not unless:
            self._values(f"insert into {self.name} ({self.names(columns)}) values ", "", columns, rows)
            return
        terms = Staged(self.dialect)
        values = ", ".join(map(terms.value, columns))
        found = f"select 1 from {self.name} as t where {terms.match(self.table.key[:-1])} and {unless}"
        stage = self._fill(terms, rows)
        self.dialect.execute(
            f"insert into {self.name} ({self.names(columns)}) select {values} from {stage} as s "
            f"where not exists ({found})"
        )

    def upsert(self, rows: Sequence[Row], fresh: bool = False) -> None:
        """Insert rows or update them, in the order of their keys: two sinks that write the same rows
        then wait for each other instead of ending in a deadlock."""
        if not self.table.unique:
            super().upsert(rows, fresh)
            return
        if self._in_key_order is not None:
            with suppress(TypeError):  # an escape among numbers
                rows = sorted(rows, key=self._in_key_order)
        before, behind = self._statement
        self._values(before, behind, self.table.columns, rows)

    @property
    def _statement(self) -> tuple[str, str]:
        """Insert-or-update: what stands before the rows, and what behind them."""
        columns, key = self.table.columns, self.table.key
        maria = self.dialect.flavour.name == MARIADB
        target, quote = self.dialect.quote(self.table.name.table), self.dialect.quote

        def old(column: TargetColumn) -> str:
            return f"{target}.{quote(column.name)}"

        def new(column: TargetColumn) -> str:
            return f"values({quote(column.name)})" if maria else f"{NEW}.c{column.index}"

        same = " and ".join(self._equal(old(c), new(c), c) for c in key)
        sets = [f"{old(key[0])} = if({same}, {old(key[0])}, {GUARD})"]
        sets += [f"{old(c)} = {new(c)}" for c in self.table.others]
        alias = "" if maria else f" as {NEW} ({', '.join(f'c{c.index}' for c in columns)})"
        before = f"insert into {self.name} ({self.names(columns)}) values "
        return before, f"{alias} on duplicate key update {', '.join(sets)}"

    def _equal(self, left: str, right: str, column: TargetColumn) -> str:
        """Two values of a key column are one key. The table's own collation may be laxer than the source."""
        if Spelled.of(column.type).exact:
            return f"{left} = {right}"
        return f"cast({left} as binary) = cast({right} as binary)"

    def delete(self, rows: Sequence[Row]) -> int:
        """Delete the rows with these keys; how many there were."""
        if len(rows) <= FEW:
            return super().delete(rows)
        terms = Staged(self.dialect)
        match = terms.match(self.table.key)
        stage = self._fill(terms, rows)
        sql = f"delete t from {stage} as s straight_join {self.name} as t on {match}"
        return self.dialect.execute(sql)[1]

    def change(self, columns: Columns, rows: Sequence[Row], where: Condition) -> int:
        """Set columns to each row's values where a condition on that row holds; how many rows changed."""
        if len(rows) <= FEW:
            return super().change(columns, rows, where)
        terms = Staged(self.dialect)
        sets = ", ".join(f"{terms.column(c)} = {terms.value(c)}" for c in columns)
        condition = where(terms)
        stage = self._fill(terms, rows)
        sql = f"update {stage} as s straight_join {self.name} as t on {condition} set {sets}"
        return self.dialect.execute(sql)[1]

    def forget(self) -> None:
        """What is in the stage may have been rolled back."""
        self._staged = None

    def _fill(self, terms: Staged, rows: Sequence[Row]) -> str:
        """Put the values that ``terms`` uses into the stage, and nothing else; its name."""
        stage, columns = self._stage, tuple(terms.used)
        if self._staged is not None and self._staged <= LITTLE:
            self.dialect.execute(f"delete from {stage}")
        else:
            # To truncate it would commit; neither of these does.
            types = ", ".join(f"c{c.index} {c.type} null" for c in self.table.columns)
            self.dialect.execute(f"drop temporary table if exists {stage}")
            self.dialect.execute(
                f"create temporary table {stage} ({types}) engine = InnoDB default character set utf8mb4"
            )
        self._staged = len(rows)
        names = ", ".join(f"c{c.index}" for c in columns)
        self._values(f"insert into {stage} ({names}) values ", "", columns, rows)
        return stage

    def _values(self, before: str, behind: str, columns: Columns, rows: Sequence[Row]) -> None:
        """Run a statement over rows, in as many statements as the server's limit asks for."""
        whole = columns == self.table.columns and bool(rows) and len(rows[0]) == self.table.width
        make: Lines = self._lines(columns, self.table.width if whole else None)
        # A character has up to four bytes, and the statement's own text needs some.
        most = min(PIECE, max((self.dialect.largest - len(before + behind) * 4) // 4 - 100, 1))
        with self.named(columns):
            for piece in _pieces(self._made(make, rows), most):
                self.dialect.execute(before + piece + behind)

    def _made(self, make: Lines, rows: Sequence[Row]) -> list[str]:
        try:
            return make(rows)
        except SinkError as exc:
            raise SinkError(f"table {self.table.name}, {exc}", hint=exc.hint) from exc


def _pieces(made: Sequence[str], most: int) -> Iterator[str]:
    """Texts joined by commas, each piece with about ``most`` characters, or one text that is longer."""
    start = length = 0
    for index, text in enumerate(made):
        if length + len(text) > most and index > start:
            yield ",".join(made[start:index])
            start, length = index, 0
        length += len(text) + 1
    if made:
        yield ",".join(made[start:])
