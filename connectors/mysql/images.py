"""Rows events, read plainly: cell by cell, with the functions of :mod:`connectors.mysql.cells`.

This is the reference that compiled decoders (:mod:`connectors.mysql.rows`) must agree with, and what they
fall back on for what they cannot take. It is slow and it knows which column was wrong. Partial updates are
read here only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from connectors.mysql.cells import Cell
from connectors.mysql.table_map import TableMap, Wire
from connectors.mysql.values.json import Tree, json_tree, render
from connectors.mysql.values.json_diff import apply
from connectors.mysql.values.temporal import ZeroDateError
from connectors.mysql.wire import kinds
from liberator.errors import DecodeError, SchemaError
from liberator.event import ABSENT, Row

#: What reading a damaged value or row may raise.
TROUBLE: Final = (ValueError, LookupError, TypeError, ArithmeticError, struct.error, RecursionError)
UPDATES: Final = frozenset({kinds.UPDATE_ROWS, kinds.UPDATE_ROWS_V1, kinds.PARTIAL_UPDATE_ROWS})
_V1: Final = frozenset({kinds.WRITE_ROWS_V1, kinds.UPDATE_ROWS_V1, kinds.DELETE_ROWS_V1})
_PARTIAL_JSON: Final = 1


def image_at(kind: int, data: bytes, start: int) -> int:
    """Where an event's width and bitmaps begin: behind the table id, the flags and the extra data."""
    if kind in _V1:
        return start + 8
    return start + 8 + max(2, data[start + 8] | data[start + 9] << 8)


class ImageReader:
    """Reads bodies of one table map version."""

    def __init__(self, table: TableMap, cells: Sequence[Cell]):
        self.table = table
        self.cells = tuple(cells)
        self._jsons = [i for i, c in enumerate(cells) if c.mapped.wire is Wire.JSON]

    def read(self, kind: int, body: bytes) -> list[Any]:
        """The rows of a write or delete, the pairs of an update. Raises DecodeError."""
        try:
            return self._read(kind, body)
        except SchemaError:
            raise
        except TROUBLE:
            self._refuse("the event is truncated or damaged")

    def _read(self, kind: int, body: bytes) -> list[Any]:
        at = image_at(kind, body, 0)
        count, at = _packed(body, at)
        if count != len(self.cells):
            self._refuse(f"it has {count} columns, the table map {len(self.cells)}")
        width = (count + 7) // 8
        before = _present(_take(body, at, width), count)
        at += width
        if kind not in UPDATES:
            out: list[Any] = []
            while at < len(body):
                row, at = self._image(body, at, before)
                out.append(row)
            return out
        after = _present(_take(body, at, width), count)
        return self._pairs(kind == kinds.PARTIAL_UPDATE_ROWS, body, at + width, before, after)

    def _pairs(
        self, partial: bool, body: bytes, at: int, before: Sequence[int], after: Sequence[int]
    ) -> list[Any]:
        out: list[Any] = []
        while at < len(body):
            old, then = self._image(body, at, before)
            if partial:
                trees = self._trees(body, at, before)
                new, at = self._partial(body, then, after, trees)
            else:
                new, at = self._image(body, then, after)
            out.append((old, new))
        return out

    def _image(self, body: bytes, at: int, present: Sequence[int]) -> tuple[Row, int]:
        row: list[Any] = [ABSENT] * len(self.cells)
        begin = at
        nulls, at = _nulls(body, at, len(present))
        for place, index in enumerate(present):
            if nulls >> place & 1:
                row[index] = None
                continue
            data, at = _cell(self.cells[index], body, at)
            row[index] = self._value(self.cells[index], data)
        if at == begin:
            self._refuse("it has rows without any column")
        return tuple(row), at

    def _trees(self, body: bytes, at: int, present: Sequence[int]) -> dict[int, Tree]:
        """The documents of a full row before, which diffs apply to."""
        out: dict[int, Tree] = {}
        nulls, at = _nulls(body, at, len(present))
        for place, index in enumerate(present):
            if nulls >> place & 1:
                continue
            data, at = _cell(self.cells[index], body, at)
            if index in self._jsons:
                out[index] = json_tree(data)
        return out

    def _partial(
        self, body: bytes, at: int, present: Sequence[int], trees: dict[int, Tree]
    ) -> tuple[Row, int]:
        """A row after, whose documents may be diffs: one bit for each JSON column of the table says so."""
        row: list[Any] = [ABSENT] * len(self.cells)
        options, at = _packed(body, at)
        diffs = 0
        if options & _PARTIAL_JSON:
            width = (len(self._jsons) + 7) // 8
            diffs = int.from_bytes(_take(body, at, width), "little")
            at += width
        partial = {index for i, index in enumerate(self._jsons) if diffs >> i & 1}
        nulls, at = _nulls(body, at, len(present))
        for place, index in enumerate(present):
            if nulls >> place & 1:
                row[index] = None
                continue
            data, at = _cell(self.cells[index], body, at)
            if index not in partial:
                row[index] = self._value(self.cells[index], data)
            elif index in trees:
                row[index] = render(apply(trees[index], data))
        return tuple(row), at

    def _value(self, cell: Cell, data: bytes) -> Any:
        try:
            return cell.value(data)
        # Not chained: messages of decode() and others repeat the value.
        except ZeroDateError:
            raise DecodeError(
                f"a zero date in {self._name(cell)}",
                hint="zero_dates: null or string lets them pass; or update the rows that have them",
            ) from None
        except UnicodeDecodeError:
            raise DecodeError(
                f"a value of {self._name(cell)} is not text in {cell.charset or 'utf8mb4'}",
                hint="the column holds bytes of another character set: convert it, or make it binary",
            ) from None
        except TROUBLE:
            raise DecodeError(
                f"cannot decode a value of {self._name(cell)}",
                hint="the event is damaged, or the column was of another type when it was written",
            ) from None

    def _name(self, cell: Cell) -> str:
        where = f"table {self.table.database}.{self.table.table}"
        return f"column {cell.column.name!r} ({cell.column.native}) of {where}"

    def _refuse(self, what: str) -> NoReturn:
        raise DecodeError(
            f"cannot decode a rows event of table {self.table.database}.{self.table.table}: {what}",
            hint="the bytes are damaged, or the table map before them was not the newest one",
        ) from None


def _take(body: bytes, at: int, count: int) -> bytes:
    if at + count > len(body):
        raise ValueError("truncated")
    return body[at : at + count]


def _packed(body: bytes, at: int) -> tuple[int, int]:
    """A length-encoded integer and where it ends."""
    first = body[at]
    if first < 251:
        return first, at + 1
    size = {252: 2, 253: 3, 254: 8}[first]
    return int.from_bytes(_take(body, at + 1, size), "little"), at + 1 + size


def _present(bitmap: bytes, count: int) -> list[int]:
    bits = int.from_bytes(bitmap, "little")
    return [i for i in range(count) if bits >> i & 1]


def _nulls(body: bytes, at: int, count: int) -> tuple[int, int]:
    width = (count + 7) // 8
    return int.from_bytes(_take(body, at, width), "little"), at + width


def _cell(cell: Cell, body: bytes, at: int) -> tuple[bytes, int]:
    """The bytes of a cell's value and where they end."""
    size = cell.size
    if cell.prefix:
        size = int.from_bytes(_take(body, at, cell.prefix), "little")
        at += cell.prefix
    return _take(body, at, size), at + size
