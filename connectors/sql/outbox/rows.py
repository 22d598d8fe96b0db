"""The rows of an outbox table as such: which table it is, and by what a row is known again.

A row is known by its growing number ``id`` where the table has one, else by its primary key. As text, numbers
are plain digits and keys are literals of their database, joined by commas; many numbers are packed as ranges.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections.abc import Sequence

from connectors.sql.reader import Reader, SourceTable
from liberator.errors import ConfigError
from liberator.event import Row
from liberator.schema import Column, Kind, TableSchema

#: Rows to delete at once, and seconds between two attempts while there is little to delete.
MOST = 1000
EVERY = 10.0
INTEGERS = (Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64)
#: Where a table without a schema is looked for first.
_USUAL = ("public", "main")


def find_table(reader: Reader, name: str, source: str) -> SourceTable:
    """The table called ``name``, or ``schema.name``. Raises ConfigError if there is none, or several."""
    found = [t for t in reader.tables() if name in (t.full_name, t.name)]
    exact = [t for t in found if t.full_name == name]
    usual = [t for t in found if t.schema in (*_USUAL, reader.database)]
    for choice in (exact, usual, found):
        if len(choice) == 1:
            return choice[0]
    if found:
        raise ConfigError(
            f"sources.{source}.table: there are several tables {name}",
            hint=f"write its schema too, such as {found[0].full_name}",
        )
    raise ConfigError(
        f"sources.{source}.table: there is no table {name}, or this account may not see it",
        hint="`liberator outbox ddl` shows how to make one",
    )


class Numbers:
    """How rows of one version of the table are told apart; see the module."""

    def __init__(self, reader: Reader, number: Column | None, key: Sequence[Column]):
        self._reader = reader
        self.number = number
        self.columns = [number] if number is not None else list(key)
        self.selected = ", ".join(reader.quote(c.name) for c in self.columns)
        self._places: list[int] = []

    def locate(self, schema: TableSchema) -> None:
        """Rows that are passed to :meth:`of` are of this schema."""
        self._places = [schema.names.index(c.name) for c in self.columns]
        self.schema = TableSchema(
            schema.dialect, schema.database, schema.schema, schema.table, tuple(self.columns)
        )

    def of(self, rows: Sequence[Row], alone: bool = False) -> list[str]:
        """What tells each of these rows; ``alone``: rows of the telling columns only."""
        places = range(len(self.columns)) if alone else self._places
        if self.number is not None:
            at = places[0]
            return [str(row[at]) for row in rows]
        literal = self._reader.literal
        pairs = list(zip(self.columns, places, strict=True))
        return [", ".join([literal(row[at], column) for column, at in pairs]) for row in rows]

    def condition(self, identities: Sequence[str]) -> str:
        """A condition that holds for exactly these rows."""
        if len(self.columns) == 1:
            return f"{self.selected} in ({', '.join(identities)})"
        return f"({self.selected}) in ({', '.join(f'({i})' for i in identities)})"


class Known:
    """Identities that were met: numbers as ranges, so that a million of them take little room."""

    def __init__(self, packed: str = ""):
        self._first: list[int] = []
        self._last: list[int] = []
        self._others: set[str] = set()
        if packed.startswith("["):
            for identity in unpack(packed):
                self.add(identity)
            return
        for part in filter(None, packed.split(",")):
            first, _, last = part.partition("-")
            self._first.append(int(first))
            self._last.append(int(last or first))

    def __contains__(self, identity: str) -> bool:
        if not identity.isdecimal():
            return identity in self._others
        at = bisect_right(self._first, int(identity)) - 1
        return at >= 0 and int(identity) <= self._last[at]

    def add(self, identity: str) -> None:
        """Remember one that is not known."""
        if not identity.isdecimal():
            self._others.add(identity)
            return
        number = int(identity)
        at = bisect_right(self._first, number)
        if at and self._last[at - 1] == number - 1:
            self._last[at - 1] = number
        else:
            self._first.insert(at, number)
            self._last.insert(at, number)

    def pack(self) -> str:
        """As the constructor takes it."""
        pairs = zip(self._first, self._last, strict=True)
        ranges = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pairs)
        return pack([*unpack(ranges), *sorted(self._others)]) if self._others else ranges


class Cleaner:
    """Deletes rows that were published long enough ago, some at a time, the oldest first.

    ``age`` is the column that tells how old a row is; without it, or without ``keep`` (seconds), rows stay.
    """

    def __init__(self, relation: str, age: Column | None, keep: float | None):
        self._relation = relation
        self._age = age
        self._keep = keep
        self._due = 0.0

    def clean(self, reader: Reader, numbers: Numbers, condition: str | None = None) -> None:
        """One statement, now and then; ``condition`` holds for rows that may be deleted.

        Only the lowest numbers are looked at, so that a large table is not read through for nothing.
        """
        now = time.monotonic()
        if self._keep is None or self._age is None or now < self._due:
            return
        self._due = now + EVERY
        age = reader.quote(self._age.name)
        before = reader.instant(reader.now() - round(self._keep * 1_000_000), self._age)
        old = f"{age} < {before}" + (f" and {condition}" if condition else "")
        if numbers.number is not None:
            oldest = f"select {numbers.selected}, {age} from {self._relation} order by 1 limit {MOST}"
            sql = f"select {numbers.selected} from ({oldest}) as oldest where {old}"
        else:
            sql = f"select {numbers.selected} from {self._relation} where {old} limit {MOST}"
        found = numbers.of(reader.select(sql, numbers.schema).rows, alone=True)
        if found:
            reader.execute(f"delete from {self._relation} where {numbers.condition(found)}")
        if len(found) == MOST:
            self._due = now


def pack(identities: Sequence[str]) -> str:
    """Many identities as one text: numbers as ranges, ``17-4016,4020``; others as JSON."""
    if not all(i.isdecimal() for i in identities):
        return json.dumps(list(identities))
    ranges: list[list[int]] = []
    for number in map(int, identities):
        if ranges and ranges[-1][1] + 1 == number:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def unpack(text: str) -> list[str]:
    """The inverse of :func:`pack`."""
    if text.startswith("["):
        return list(json.loads(text))
    out: list[str] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        out += map(str, range(int(first), int(last or first) + 1))
    return out
