"""One cell of a row image: how many bytes it takes, and its physical value, for each type.

Plain functions from the bytes of one value: the reference that compiled decoders must agree with, what these
call for types that are not worth code of their own, and what reads rows that they cannot take.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from connectors.mysql.native import FIXED, NativeType, TypeOptions
from connectors.mysql.table_map import MapColumn, Wire
from connectors.mysql.values import decimals, temporal
from connectors.mysql.values.addresses import spell_inet4, spell_inet6, spell_uuid
from connectors.mysql.values.charsets import BINARY, charset_of, decoder
from connectors.mysql.values.compressed import uncompress
from connectors.mysql.values.geometry import geometry
from connectors.mysql.values.json import json_text
from liberator.errors import SchemaError
from liberator.schema import Column, Kind

Value = Callable[[bytes], Any]

#: Bytes of types that always take as many.
_SIZES: Final = {
    Wire.TINY: 1, Wire.SHORT: 2, Wire.INT24: 3, Wire.LONG: 4, Wire.LONGLONG: 8, Wire.FLOAT: 4,
    Wire.DOUBLE: 8, Wire.YEAR: 1, Wire.DATE: 3, Wire.TIME: 3, Wire.DATETIME: 8, Wire.TIMESTAMP: 4,
}  # fmt: skip
#: Bytes of the temporal types with fractions, without the fraction.
_FRACTIONAL: Final = {Wire.TIME2: 3, Wire.DATETIME2: 5, Wire.TIMESTAMP2: 4}
#: Bytes of MariaDB's older forms of them, by digits.
_OLD_FRACTIONAL: Final = {
    Wire.TIME: (3, 4, 4, 5, 5, 5, 6), Wire.DATETIME: (5, 6, 6, 7, 7, 7, 8),
    Wire.TIMESTAMP: (4, 5, 5, 6, 6, 7, 7),
}  # fmt: skip
_BLOBS: Final = frozenset(
    {
        Wire.TINY_BLOB, Wire.BLOB, Wire.MEDIUM_BLOB, Wire.LONG_BLOB, Wire.BLOB_COMPRESSED, Wire.JSON,
        Wire.GEOMETRY, Wire.VECTOR,
    }
)  # fmt: skip
_COMPRESSED: Final = frozenset({Wire.BLOB_COMPRESSED, Wire.VARCHAR_COMPRESSED})
_SPELL: Final = {"uuid": spell_uuid, "inet4": spell_inet4, "inet6": spell_inet6}
_float = struct.Struct("<f").unpack
_double = struct.Struct("<d").unpack


@dataclass(slots=True)
class Cell:
    """How a column's values stand in a row: ``size`` bytes, or ``prefix`` bytes of a length and then the
    bytes. ``value`` takes the bytes without the length; it raises ValueError, LookupError or
    struct.error for bytes that are not a value. ``charset`` is that of text, else None."""

    column: Column
    mapped: MapColumn
    native: NativeType
    size: int
    prefix: int
    value: Value
    charset: str | None = None


def cell(mapped: MapColumn, column: Column, options: TypeOptions) -> Cell:
    """The cell of a column. Raises SchemaError for a type that cannot be read."""
    native = NativeType.parse(column.native)
    size, prefix = _extent(mapped, native)
    charset = _charset(mapped, native)
    made = Cell(column, mapped, native, size, prefix, bytes, charset)
    made.value = _value(made, options)
    if mapped.wire in _COMPRESSED:
        inner = made.value
        made.value = lambda data: inner(uncompress(data))
    return made


def _extent(mapped: MapColumn, native: NativeType) -> tuple[int, int]:
    """``size`` and ``prefix``."""
    wire = mapped.wire
    if native.old and wire in _OLD_FRACTIONAL:
        return _OLD_FRACTIONAL[wire][native.digits], 0
    if wire in _SIZES:
        return _SIZES[wire], 0
    if wire in _FRACTIONAL:
        return _FRACTIONAL[wire] + (mapped.scale + 1) // 2, 0
    if wire is Wire.NEWDECIMAL:
        return decimals.size(mapped.precision, mapped.scale), 0
    if wire is Wire.BIT:
        return (mapped.length + 7) // 8, 0
    if wire in (Wire.ENUM, Wire.SET):
        return mapped.length, 0
    if wire in _BLOBS:
        return 0, mapped.length
    return 0, 1 if mapped.length < 256 else 2


def _charset(mapped: MapColumn, native: NativeType) -> str | None:
    if native.charset is None:
        return None
    return native.charset if mapped.collation is None else charset_of(mapped.collation)


def _value(made: Cell, options: TypeOptions) -> Value:
    mapped, native = made.mapped, made.native
    if native.name in FIXED:
        spell, size = _SPELL[native.name], FIXED[native.name]
        return lambda data: spell(data.ljust(size, b"\0"))
    wire = mapped.wire
    if wire in _INTEGERS:
        return _integer(made)
    if native.old and wire in _OLD_TEMPORAL:
        return _OLD_TEMPORAL[wire](native.digits, temporal.odd_policy(options.zero_dates))
    if wire in _TEMPORAL:
        return _TEMPORAL[wire](mapped.scale, temporal.odd_policy(options.zero_dates))
    if wire in _SIMPLE:
        return _SIMPLE[wire]
    match wire:
        case Wire.NEWDECIMAL:
            precision, scale = mapped.precision, mapped.scale
            return lambda data: decimals.unscaled(data, precision, scale)
        case Wire.BIT:
            return bits(mapped.length)
        case Wire.ENUM:
            labels = ("", *native.labels)
            return lambda data: labels[int.from_bytes(data, "little")]
        case Wire.SET:
            return Members(native.labels).value
    return _character(made)


def _integer(made: Cell) -> Value:
    if made.column.type.kind is Kind.BOOL:
        return lambda data: data != b"\0"
    signed = not made.native.unsigned
    return lambda data: int.from_bytes(data, "little", signed=signed)


def _character(made: Cell) -> Value:
    native = made.native
    if native.name == "json":
        return decoder("utf8mb4")
    if native.name == "vector":
        return vector
    if native.name == "binary":
        size = native.length or 0
        return lambda data: data.ljust(size, b"\0")
    if made.charset is None:
        return bytes
    if made.charset == BINARY:
        raise SchemaError(f"column {made.column.name} holds text in one place and bytes in another")
    return decoder(made.charset)


def bits(count: int) -> Value:
    """The function from the bytes of a bit column to its zeros and ones."""

    def value(data: bytes) -> str:
        number = int.from_bytes(data, "big")
        if number >> count:
            raise ValueError("more bits than the column has")
        return f"{number:0{count}b}"

    return value


def vector(data: bytes) -> tuple[float, ...]:
    """The numbers of a vector."""
    if len(data) % 4:
        raise ValueError("not a vector")
    return struct.unpack(f"<{len(data) // 4}f", data)


class Members(dict[int, str]):
    """A set's number → its labels with commas between them, as the server prints it."""

    def __init__(self, labels: tuple[str, ...]):
        super().__init__()
        self._labels = labels

    def __missing__(self, number: int) -> str:
        if number >> len(self._labels):
            raise ValueError("a set of labels that the type does not have")
        value = ",".join(label for i, label in enumerate(self._labels) if number >> i & 1)
        if len(self) < 10_000:
            self[number] = value
        return value

    def value(self, data: bytes) -> str:
        """The value of a set's bytes."""
        return self[int.from_bytes(data, "little")]


def _date(_: int, odd: temporal.Odd) -> Value:
    def value(data: bytes) -> Any:
        day = temporal.DAYS[data]
        return temporal.odd_date(odd, data) if day is None else day

    return value


def _datetime(digits: int, odd: temporal.Odd) -> Value:
    scale = 10 ** (6 - 2 * ((digits + 1) // 2))

    def value(data: bytes) -> Any:
        packed = int.from_bytes(data[:5], "big")
        micros = int.from_bytes(data[5:], "big") * scale
        date = temporal.DATES[packed >> 17]
        if date is None or micros >= temporal.SECOND:
            return temporal.odd_datetime(odd, digits, packed, micros)
        return date + temporal.CLOCK[packed >> 6 & 2047] + temporal.SECONDS[packed & 63] + micros

    return value


def _timestamp(digits: int, odd: temporal.Odd) -> Value:
    scale = 10 ** (6 - 2 * ((digits + 1) // 2))

    def value(data: bytes) -> Any:
        seconds = int.from_bytes(data[:4], "big")
        micros = int.from_bytes(data[4:], "big") * scale
        if micros >= temporal.SECOND:
            raise ValueError("not a timestamp")
        return seconds * temporal.SECOND + micros if seconds else temporal.odd_timestamp(odd, digits, micros)

    return value


def _time(digits: int, _: temporal.Odd) -> Value:
    width = (digits + 1) // 2
    offset, shift, scale = 0x800000 << 8 * width, 8 * width, 10 ** (6 - 2 * width)

    def value(data: bytes) -> Any:
        number = int.from_bytes(data, "big") - offset
        size = abs(number)
        packed = size >> shift << 24 | (size & ((1 << shift) - 1)) * scale
        return temporal.time_value(digits, packed if number >= 0 else -packed)

    return value


def _old_time(_: int, __: temporal.Odd) -> Value:
    return lambda data: temporal.old_time(int.from_bytes(data, "little", signed=True))


def _old_datetime(_: int, odd: temporal.Odd) -> Value:
    return lambda data: temporal.old_datetime(odd, int.from_bytes(data, "little"))


def _old_timestamp(_: int, odd: temporal.Odd) -> Value:
    plain = _timestamp(0, odd)
    return lambda data: plain(data[::-1])


def _old_fine_time(digits: int, _: temporal.Odd) -> Value:
    return lambda data: temporal.old_fine_time(digits, int.from_bytes(data, "big"))


def _old_fine_datetime(digits: int, odd: temporal.Odd) -> Value:
    return lambda data: temporal.old_fine_datetime(odd, digits, int.from_bytes(data, "big"))


def _old_fine_timestamp(digits: int, odd: temporal.Odd) -> Value:
    scale = 10 ** (6 - digits)

    def value(data: bytes) -> Any:
        seconds, micros = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:], "big") * scale
        if micros >= temporal.SECOND:
            raise ValueError("not a timestamp")
        return seconds * temporal.SECOND + micros if seconds else temporal.odd_timestamp(odd, digits, micros)

    return value


_INTEGERS: Final = frozenset({Wire.TINY, Wire.SHORT, Wire.INT24, Wire.LONG, Wire.LONGLONG})
_SIMPLE: Final[dict[Wire, Value]] = {
    Wire.FLOAT: lambda data: _float(data)[0],
    Wire.DOUBLE: lambda data: _double(data)[0],
    Wire.YEAR: lambda data: data[0] + 1900 if data[0] else 0,
    Wire.JSON: json_text,
    Wire.GEOMETRY: geometry,
    Wire.VECTOR: vector,
}
_TEMPORAL: Final[dict[Wire, Callable[[int, temporal.Odd], Value]]] = {
    Wire.DATE: _date,
    Wire.TIME: _old_time,
    Wire.DATETIME: _old_datetime,
    Wire.TIMESTAMP: _old_timestamp,
    Wire.TIME2: _time,
    Wire.DATETIME2: _datetime,
    Wire.TIMESTAMP2: _timestamp,
}
_OLD_TEMPORAL: Final[dict[Wire, Callable[[int, temporal.Odd], Value]]] = {
    Wire.TIME: _old_fine_time,
    Wire.DATETIME: _old_fine_datetime,
    Wire.TIMESTAMP: _old_fine_timestamp,
}
