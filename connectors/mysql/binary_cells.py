"""One value of a result row in the binary protocol, for each type, by how the server says that it sends it.

Plain functions from a payload and a place in it to a value and the place behind it: the reference that
compiled decoders (:mod:`connectors.mysql.binary_rows`) must agree with, and what reads rows that they cannot
take. Whatever has no form of its own is sent as in the text protocol, behind its length.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from connectors.mysql.native import NativeType, TypeOptions
from connectors.mysql.result import UNSIGNED, ResultColumn
from connectors.mysql.row_packets import NULL, sized
from connectors.mysql.table_map import Wire
from connectors.mysql.text_cells import text_value
from connectors.mysql.values import sent, temporal
from liberator.errors import SchemaError
from liberator.schema import Column, Kind

#: From a payload and where a value begins in it, never null: the value and where it ends. Raises ValueError,
#: LookupError or struct.error for bytes that are not a value.
Cell = Callable[[bytes, int], tuple[Any, int]]

_INTEGERS: Final = {
    Wire.TINY: "b", Wire.SHORT: "h", Wire.YEAR: "h", Wire.INT24: "i", Wire.LONG: "i", Wire.LONGLONG: "q",
}  # fmt: skip
_FLOATS: Final = {Wire.FLOAT: "f", Wire.DOUBLE: "d"}
#: A decimal may be selected without its point.
_INTEGER_KINDS: Final = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64, Kind.BOOL, Kind.DECIMAL})
_FLOAT_KINDS: Final = {Wire.FLOAT: Kind.FLOAT32, Wire.DOUBLE: Kind.FLOAT64}
_DATES: Final = frozenset({Wire.DATE, Wire.DATETIME, Wire.TIMESTAMP})
_DATE_KINDS: Final = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_OWN_KINDS: Final = (_INTEGER_KINDS - {Kind.DECIMAL}) | _DATE_KINDS | {Kind.FLOAT32, Kind.FLOAT64, Kind.TIME}


def number_format(column: Column, definition: ResultColumn) -> str | None:
    """The letter by which :mod:`struct` reads a number; None for what is none."""
    kind, wire = column.type.kind, definition.wire
    if wire in _INTEGERS and kind in _INTEGER_KINDS:
        letter = _INTEGERS[Wire(wire)]
        return letter.upper() if definition.flags & UNSIGNED else letter
    if wire in _FLOATS and kind is _FLOAT_KINDS[Wire(wire)]:
        return _FLOATS[Wire(wire)]
    return None


def is_date(column: Column, definition: ResultColumn) -> bool:
    """Whether values are dates, perhaps with a time of day, in their own form."""
    return definition.wire in _DATES and column.type.kind in _DATE_KINDS


def cell(column: Column, definition: ResultColumn, options: TypeOptions) -> Cell:
    """The function that reads a column's values. Raises SchemaError where the server sends what the column's
    type is not."""
    kind = column.type.kind
    letter = number_format(column, definition)
    if letter is not None:
        return _number(letter, kind is Kind.BOOL)
    digits = NativeType.parse(column.native).digits
    if is_date(column, definition):
        return _date(kind is Kind.DATE, digits, temporal.odd_policy(options.zero_dates))
    if definition.wire == Wire.TIME and kind is Kind.TIME:
        return _time(digits)
    if kind in _OWN_KINDS or definition.wire in _INTEGERS or definition.wire in _FLOATS:
        raise SchemaError(f"column {column.name}: the server sends no {column.type}")
    return _text(text_value(column, options))


def _number(letter: str, bool_: bool) -> Cell:
    form = struct.Struct("<" + letter)

    def read(payload: bytes, at: int) -> tuple[Any, int]:
        (value,) = form.unpack_from(payload, at)
        return (value != 0 if bool_ else value), at + form.size

    return read


def _date(day_only: bool, digits: int, odd: temporal.Odd) -> Cell:
    def read(payload: bytes, at: int) -> tuple[Any, int]:
        data, end = _short(payload, at)
        return sent.sent_date(odd, data) if day_only else sent.sent_datetime(odd, digits, data), end

    return read


def _time(digits: int) -> Cell:
    def read(payload: bytes, at: int) -> tuple[Any, int]:
        data, end = _short(payload, at)
        return sent.sent_time(digits, data), end

    return read


def _text(value: Callable[[bytes], Any]) -> Cell:
    def read(payload: bytes, at: int) -> tuple[Any, int]:
        if at < len(payload) and payload[at] == NULL:
            raise ValueError("not a length")
        data, end = sized(payload, at)
        if data is None:
            raise ValueError("truncated")
        return value(data), end

    return read


def _short(payload: bytes, at: int) -> tuple[bytes, int]:
    """The bytes behind a length of one byte."""
    end = at + 1 + payload[at]
    if end > len(payload):
        raise ValueError("truncated")
    return payload[at + 1 : end], end
