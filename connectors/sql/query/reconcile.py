"""Finding rows that are gone: the keys that were read, on disk, against those that the database has.

Keys that are one integer are compared in ranges: the database says how many keys a range has and the sum of
their digests, and only where that is not what we know the range is halved, down to some hundred keys. Other
keys sort differently here and there, so all of them are read, some at a time.

What seems to be gone is then looked for by its key, with a later statement: a row may have been written again
since. What that does not find is gone as of that statement; a row of that key that comes afterwards is a new
one, and comes with the next poll. Keys that only the database has are the poll's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from connectors.sql.query.follow import Follower
from connectors.sql.query.keyfile import LOWEST, Key, KeyFile, key_row, key_text
from connectors.sql.query.options import QueryOptions
from connectors.sql.query.target import Target
from connectors.sql.reader import Reader
from liberator.event import Row
from liberator.schema import TableSchema

#: Keys in a range that is compared, and in one that is listed.
RANGE = 20_000
LISTED = 500


class Reconciler:
    """Compares one target. Each step of :meth:`steps` is some statements' work, and gives the keys that it
    found gone, perhaps none."""

    def __init__(self, reader: Reader, options: QueryOptions, target: Target, keys: KeyFile):
        self._reader = reader
        self._options = options
        self._target = target
        self._keys = keys

    def steps(self) -> Iterator[list[Key]]:
        """All of it. Keys that are given must be forgotten before the next step."""
        columns = self._target.schema.key_columns
        if len(columns) == 1 and columns[0].type.kind.value in ("int16", "int32", "int64"):
            yield from self._ranges()
        else:
            yield from self._scan()

    def _ranges(self) -> Iterator[list[Key]]:
        after: Key = LOWEST
        while True:
            last, count = self._keys.range(self._target.place, after, RANGE)
            if last is None:
                return
            yield from self._compare(after, last, count)
            after = last

    def _compare(self, after: Key, last: Key, count: int) -> Iterator[list[Key]]:
        """One range: behind ``after``, up to ``last``."""
        place = self._target.place
        if self._keys.sum(place, after, last) == self._theirs(after, last):
            yield []
        elif count <= LISTED:
            yield self.absent(self._keys.keys(place, after, last))
        else:
            middle, half = self._keys.range(place, after, count // 2)
            assert middle is not None
            yield from self._compare(after, middle, half)
            yield from self._compare(middle, last, count - half)

    def _theirs(self, after: Key, last: Key) -> tuple[int, int]:
        columns = self._target.schema.key_columns
        digest = self._reader.digest(columns)
        (found,) = self._reader.fetch(
            f"select count(*), coalesce(sum({digest}), 0) from {self._target.source}"
            f" where {self._within(after, last)}"
        )
        return int(found[0]), int(found[1])

    def _within(self, after: Key, last: Key) -> str:
        (column,) = self._target.schema.key_columns
        name = self._reader.quote(column.name)
        upper = f"{name} <= {last}"
        return upper if after == LOWEST else f"{name} > {after} and {upper}"

    def _scan(self) -> Iterator[list[Key]]:
        """All keys that the database has are marked; then those without a mark are gone."""
        self._keys.look()
        only = key_schema(self._target.schema)
        follower = Follower(self._reader, self._options, self._target, (), only)
        for piece in follower.pieces(None):
            self._keys.see([key_text(row) for row in piece.rows])
            yield []
        after: Key = LOWEST
        while True:
            unseen = self._keys.unseen(self._target.place, after, LISTED)
            if not unseen:
                return
            after = unseen[-1]
            yield self.absent(unseen)

    def absent(self, keys: Sequence[Key]) -> list[Key]:
        """Those of ``keys`` that the database does not have, asked with a statement of its own."""
        out: list[Key] = []
        for at in range(0, len(keys), LISTED):
            part = keys[at : at + LISTED]
            there = self._there(self._among(part))
            out += [key for key in part if key not in there]
        return out

    def _there(self, condition: str) -> set[Key]:
        only = key_schema(self._target.schema)
        sql = f"select {self._reader.listed(only)} from {self._target.source} where {condition}"
        return {key_text(row) for row in self._reader.select(sql, only).rows}

    def _among(self, keys: Sequence[Key]) -> str:
        columns = self._target.schema.key_columns
        names = ", ".join(self._reader.quote(c.name) for c in columns)

        def spelled(row: Row) -> str:
            values = [self._reader.literal(v, c) for v, c in zip(row, columns, strict=True)]
            return f"({', '.join(values)})" if len(values) > 1 else values[0]

        left = f"({names})" if len(columns) > 1 else names
        listed = ", ".join(spelled(key_row(key)) for key in keys)
        if len(columns) > 1 and self._reader.name == "sqlite":
            listed = f"values {listed}"
        return f"{left} in ({listed})"


def key_schema(schema: TableSchema) -> TableSchema:
    """The key's columns alone."""
    return TableSchema(schema.dialect, schema.database, schema.schema, schema.table, schema.key_columns)
