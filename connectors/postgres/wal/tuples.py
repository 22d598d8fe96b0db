"""pgoutput tuples, read plainly: column by column, with :mod:`connectors.postgres.types.values`.

This is the reference that compiled decoders (:mod:`.rows`) must agree with, and what
they fall back on for what they cannot take in line. It is slow and it knows which column was wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from connectors.postgres.types.values import UnknownLabel, parser
from liberator.errors import DecodeError
from liberator.event import ABSENT, Row
from liberator.schema import Column, TableSchema

#: Which old row a message carries: the identity's columns only, or all columns.
KEY: Final = ord("K")
OLD: Final = ord("O")
_NEW: Final = ord("N")

_count = struct.Struct(">h").unpack_from
_length = struct.Struct(">i").unpack_from


class ColumnReader:
    """The parsers of a table's columns, and the errors that name them."""

    def __init__(self, schema: TableSchema):
        self.schema = schema
        self.parsers = tuple(parser(column.type) for column in schema.columns)

    def value(self, index: int, text: bytes) -> Any:
        """The physical value of a column's text. Raises DecodeError naming the column."""
        column = self.schema.columns[index]
        try:
            return self.parsers[index](text.decode())
        except UnknownLabel as exc:
            raise UnknownLabel(f"{exc} ({self.name(column)})", exc.label, column.name) from None
        # Not chained: the messages of int() and decode() repeat the value.
        except UnicodeDecodeError:
            raise DecodeError(
                f"a value of {self.name(column)} is not UTF-8",
                hint="in a database of encoding SQL_ASCII text is whatever was put in: convert the database",
            ) from None
        except (ValueError, LookupError, ArithmeticError, struct.error):
            raise DecodeError(
                f"cannot decode a value of {self.name(column)}",
                hint="a connection pooler or a role's settings may have changed how this type is printed",
            ) from None

    def name(self, column: Column) -> str:
        table = self.schema
        spelled = column.native or column.type
        return f"column {column.name!r} ({spelled}) of table {table.schema}.{table.table}"

    def refuse(self, what: str) -> NoReturn:
        """Raise DecodeError for this table."""
        raise DecodeError(
            f"cannot decode a row of table {self.schema.schema}.{self.schema.table}: {what}",
            hint="the bytes are damaged, or the relation message before them was not the newest one",
        ) from None


class TupleReader(ColumnReader):
    """``insert``, ``update`` and ``delete`` of :class:`.rows.RelationDecoder`, plainly."""

    def __init__(self, schema: TableSchema, identity: Sequence[bool]):
        super().__init__(schema)
        if len(identity) != len(schema.columns):
            self.refuse("the replica identity is of another number of columns")
        self.identity = tuple(identity)

    def insert(self, data: bytes, offset: int) -> Row:
        self._expect(data, offset + 5, _NEW)
        return self._tuple(data, offset + 6, last=True)[0]

    def update(self, data: bytes, offset: int) -> tuple[Row | None, Row, int | None]:
        kind = self._kind(data, offset + 5)
        if kind == _NEW:
            return None, self._tuple(data, offset + 6, last=True)[0], None
        before, at = self._old(data, offset, kind, last=False)
        self._expect(data, at, _NEW)
        after, _ = self._tuple(data, at + 1, last=True)
        return before, fill(after, before), kind

    def delete(self, data: bytes, offset: int) -> tuple[Row, int]:
        kind = self._kind(data, offset + 5)
        return self._old(data, offset, kind, last=True)[0], kind

    def _old(self, data: bytes, offset: int, kind: int, last: bool) -> tuple[Row, int]:
        if kind not in (KEY, OLD):
            self.refuse("a row of unknown kind")
        row, at = self._tuple(data, offset + 6, last)
        if kind == OLD:
            return row, at
        if any(v is not None for v, keyed in zip(row, self.identity, strict=True) if not keyed):
            self.refuse("an old key with columns that are not of the replica identity")
        return tuple(v if keyed else ABSENT for v, keyed in zip(row, self.identity, strict=True)), at

    def _kind(self, data: bytes, at: int) -> int:
        if at >= len(data):
            self.refuse("the message is truncated")
        return data[at]

    def _expect(self, data: bytes, at: int, kind: int) -> None:
        if self._kind(data, at) != kind:
            self.refuse("a row of unknown kind")

    def _tuple(self, data: bytes, at: int, last: bool) -> tuple[Row, int]:
        try:
            (count,) = _count(data, at)
        except struct.error:
            self.refuse("the message is truncated")
        if count != len(self.parsers):
            self.refuse(f"it has {count} columns, the table {len(self.parsers)}")
        at += 2
        row = []
        for index in range(count):
            value, at = self._column(data, at, index)
            row.append(value)
        if last and at != len(data):
            self.refuse("the message is longer than its row")
        return tuple(row), at

    def _column(self, data: bytes, at: int, index: int) -> tuple[Any, int]:
        match chr(self._kind(data, at)):
            case "n":
                return None, at + 1
            case "u":
                return ABSENT, at + 1
            case "t":
                try:
                    (length,) = _length(data, at + 1)
                except struct.error:
                    self.refuse("the message is truncated")
                end = at + 5 + length
                if length < 0 or end > len(data):
                    self.refuse("the message is truncated")
                return self.value(index, data[at + 5 : end]), end
            case "b":
                self.refuse("it is in binary, which was not asked for")
            case _:
                self.refuse("a column of unknown kind")


def fill(after: Row, before: Row) -> Row:
    """``after`` with its absent columns taken from ``before``: unchanged means equal to what was."""
    return tuple(old if new is ABSENT else new for new, old in zip(after, before, strict=True))
