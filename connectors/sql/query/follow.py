"""Following a column: rows behind a cursor, in its order, up to what is settled.

The cursor is the last row's value together with its key, ``(value, key)``: rows of equal values are told
apart, and a batch may end among them. It is kept as literals of exactly what the database holds, in the
column's own precision. A statement asks for what lies behind the cursor and below the bound of a
:class:`~connectors.sql.horizon.Horizon`, and for no more rows than a batch. Reading everything by key
(``bulk``, ``diff``) is the same with no other column than the key and no bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from connectors.sql.query.options import QueryOptions
from connectors.sql.query.target import Target
from connectors.sql.reader import Reader, UnknownShape
from liberator.errors import SourceError
from liberator.event import Row
from liberator.schema import TableSchema

#: How often a table may change while a batch of it is read.
_PATIENCE = 5

Cursor = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one statement, read before ``moment`` (microseconds since 1970 by the database's clock);
    ``cursor`` is where the next one goes on."""

    rows: list[Row]
    cursor: Cursor
    last: bool
    moment: int


class Follower:
    """Reads one target in the order of ``columns`` and then of its key, which makes the order total.
    ``only``: these columns alone, whatever becomes of the others."""

    def __init__(
        self,
        reader: Reader,
        options: QueryOptions,
        target: Target,
        columns: Sequence[str],
        only: TableSchema | None = None,
    ):
        self._reader = reader
        self._options = options
        self._target = target
        self._only = only
        self.columns = list(dict.fromkeys([*columns, *(c.name for c in target.schema.key_columns)]))

    def pieces(
        self, cursor: Cursor | None, conditions: Sequence[str] = (), bound: str | None = None
    ) -> Iterator[Piece]:
        """All rows behind ``cursor`` for which the conditions hold, up to ``bound``, some at a time. While
        one piece leaves, the server sends the next, if nobody asks it for anything else."""
        while True:
            piece = self._read(cursor, conditions, bound)
            cursor = piece.cursor
            if not piece.last:
                self._reader.ahead(self._statement(cursor, conditions, bound)[0])
            if piece.rows:
                yield piece
            if piece.last:
                return

    def _read(self, cursor: Cursor | None, conditions: Sequence[str], bound: str | None) -> Piece:
        reader, target, options = self._reader, self._target, self._options
        for _ in range(_PATIENCE):
            schema = self._only or target.schema
            sql, places = self._statement(cursor, conditions, bound)
            try:
                selected = reader.select(sql, schema, options.batch_bytes, places)
            except UnknownShape:
                target.renew(reader, options)
                continue
            # The columns were looked up before the rows were read: are they still the same?
            if selected.rows and self._only is None and target.renew(reader, options):
                continue
            last = selected.whole and len(selected.rows) < options.batch
            return Piece(selected.rows, selected.last, last, reader.now())
        raise SourceError(f"{target.name} changes faster than it can be read", retryable=True)

    def _statement(
        self, cursor: Cursor | None, conditions: Sequence[str], bound: str | None
    ) -> tuple[str, list[int]]:
        """What asks for the rows behind ``cursor``, and the places of the columns that are its next value."""
        reader, target = self._reader, self._target
        schema = self._only or target.schema
        where = [f"({c})" for c in conditions if c != "true"]
        places = [schema.names.index(name) for name in self.columns if name in schema.names]
        if len(places) < len(self.columns):
            raise SourceError(f"{target.name} has lost a column that the cursor needs")
        names = [reader.place(schema.columns[i]) for i in places]
        if cursor is not None:
            where.append(self._behind(names, cursor))
        columns, order = reader.listed(schema), ", ".join(names)
        return reader.page(columns, target.source, where, order, self._options.batch, bound), places

    def _behind(self, names: Sequence[str], cursor: Cursor) -> str:
        """The condition that a row lies behind the cursor."""
        if self._reader.row_values or len(names) == 1:
            left, right = ", ".join(names), ", ".join(cursor)
            return f"({left}) > ({right})" if len(names) > 1 else f"{left} > {right}"
        # The first column's own condition lets an index be used.
        rest = ""
        for name, value in list(zip(names, cursor, strict=True))[::-1]:
            rest = f"{name} > {value}" + (f" or ({name} = {value} and ({rest}))" if rest else "")
        return f"({names[0]} >= {cursor[0]} and ({rest}))"
