"""Avro's binary form of single values, one careful function per logical type.

These functions check everything: ranges when writing, lengths when reading. The compiled encoders and
decoders take shortcuts for what is common and come here for the rest, so this module is what defines
the bytes. Nothing here knows of rows, envelopes or tables.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from liberator.codec.avro_schema import Branch, branches, fixed_scale
from liberator.codec.envelope import Misfit
from liberator.errors import DecodeError
from liberator.schema import Kind, LogicalType

Write = Callable[[Any], bytes]
#: From data and offset: the value, and the offset behind it.
Read = Callable[[bytes, int], tuple[Any, int]]

_FLOAT = struct.Struct("<f")
_DOUBLE = struct.Struct("<d")


def write_long(value: int) -> bytes:
    """An int or long of Avro: zigzag, then seven bits a byte, the lowest first."""
    rest = (value << 1) ^ (value >> 63)
    if rest < 128 and rest >= 0:
        return bytes((rest,))
    if not -(1 << 63) <= value < 1 << 63:
        raise Misfit("the number needs more than 64 bits")
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """The inverse of :func:`write_long`; at most ten bytes."""
    try:
        byte = data[at]
        if byte < 128:
            return (byte >> 1) ^ -(byte & 1), at + 1
        rest = shift = 0
        while byte > 127 and shift < 70:
            rest |= (byte & 127) << shift
            shift += 7
            at += 1
            byte = data[at]
    except IndexError:
        raise DecodeError("the record ends in the middle of a number") from None
    rest |= byte << shift
    if shift == 70 or rest >> 64:
        raise DecodeError("a number in the record is longer than 64 bits")
    return (rest >> 1) ^ -(rest & 1), at + 1


def _integer(low: int, high: int) -> tuple[Write, Read]:
    def write(value: Any) -> bytes:
        if not isinstance(value, int):
            raise Misfit(f"holds {type(value).__name__}, not int")
        if not low <= value <= high:
            raise Misfit(f"holds a number outside {low} to {high}")
        return write_long(value)

    def read(data: bytes, at: int) -> tuple[int, int]:
        value, at = read_long(data, at)
        if not low <= value <= high:
            raise DecodeError(f"a number in the record is outside {low} to {high}")
        return value, at

    return write, read


write_int, read_int = _integer(-(1 << 31), (1 << 31) - 1)


def write_bytes(value: Any) -> bytes:
    """A length and that many bytes."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise Misfit(f"holds {type(value).__name__}, not bytes")
    data = bytes(value)
    return write_long(len(data)) + data


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """The inverse of :func:`write_bytes`; never takes more than there is."""
    size, at = read_long(data, at)
    if size < 0 or at + size > len(data):
        raise DecodeError("a length in the record is wrong")
    return data[at : at + size], at + size


def write_text(value: Any) -> bytes:
    """A string, in UTF-8."""
    if not isinstance(value, str):
        raise Misfit(f"holds {type(value).__name__}, not str")
    try:
        return write_bytes(value.encode())
    except UnicodeEncodeError:
        # not "from": the exception would carry the value
        raise Misfit("holds text that is not Unicode (a lone surrogate)") from None


def read_text(data: bytes, at: int) -> tuple[str, int]:
    """The inverse of :func:`write_text`."""
    raw, at = read_bytes(data, at)
    try:
        return raw.decode(), at
    except UnicodeDecodeError:
        raise DecodeError("text in the record is not UTF-8") from None


def write_bool(value: Any) -> bytes:
    """One byte, 0 or 1."""
    if not isinstance(value, bool):
        raise Misfit(f"holds {type(value).__name__}, not bool")
    return b"\1" if value else b"\0"


def read_bool(data: bytes, at: int) -> tuple[bool, int]:
    """The inverse of :func:`write_bool`."""
    byte = data[at : at + 1]
    if byte not in (b"\0", b"\1"):
        raise DecodeError("a boolean in the record is neither 0 nor 1, or missing")
    return byte == b"\1", at + 1


def write_float32(value: Any) -> bytes:
    """Four bytes; refuses a float that four bytes would round."""
    try:
        made: bytes = _FLOAT.pack(value)
    except (struct.error, OverflowError, TypeError):
        raise Misfit("holds no number of 32 bits") from None
    back: float = _FLOAT.unpack(made)[0]
    if back != value and value == value:  # noqa: PLR0124
        raise Misfit("holds a number that 32 bits would round")
    return made


def write_float64(value: Any) -> bytes:
    """Eight bytes."""
    try:
        made: bytes = _DOUBLE.pack(value)
        return made
    except (struct.error, OverflowError, TypeError):
        raise Misfit(f"holds {type(value).__name__}, not float") from None


def _read_packed(packed: struct.Struct) -> Read:
    def read(data: bytes, at: int) -> tuple[float, int]:
        if at + packed.size > len(data):
            raise DecodeError("the record ends in the middle of a number")
        value: float = packed.unpack_from(data, at)[0]
        return value, at + packed.size

    return read


def unscaled(value: int) -> bytes:
    """The shortest big endian two's complement of any int."""
    return value.to_bytes(
        (value.bit_length() if value >= 0 else (value + 1).bit_length()) // 8 + 1, "big", signed=True
    )


def _number(low: int, high: int) -> tuple[Write, Read]:
    """An int as Avro's decimal bytes, within bounds."""

    def write(value: Any) -> bytes:
        if not isinstance(value, int):
            raise Misfit(f"holds {type(value).__name__}, not int")
        if not low <= value <= high:
            raise Misfit("holds a number with more digits than its type")
        return write_bytes(unscaled(value))

    def read(data: bytes, at: int) -> tuple[int, int]:
        raw, at = read_bytes(data, at)
        value = int.from_bytes(raw, "big", signed=True)
        if not raw or not low <= value <= high:
            raise DecodeError("a decimal in the record does not fit its type")
        return value, at

    return write, read


def write_decimal(value: Any) -> bytes:
    """A decimal of any scale: (unscaled, scale)."""
    match value:
        case (int(), int()):
            return write_int(value[1]) + write_bytes(unscaled(value[0]))
    raise Misfit("holds no pair of unscaled value and scale")


def read_decimal(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """The inverse of :func:`write_decimal`."""
    scale, at = read_int(data, at)
    raw, at = read_bytes(data, at)
    if not raw:
        raise DecodeError("a decimal in the record has no digits")
    return (int.from_bytes(raw, "big", signed=True), scale), at


def _scaled(precision: int, scale: int) -> tuple[Write, Read]:
    """A decimal of one negative scale, which Avro's own cannot state."""
    most = 10**precision - 1
    unscaled_write, _ = _number(-most, most)

    def write(value: Any) -> bytes:
        return write_int(scale) + unscaled_write(value)

    def read(data: bytes, at: int) -> tuple[int, int]:
        (value, found), at = read_decimal(data, at)
        if found != scale or not -most <= value <= most:
            raise DecodeError("a decimal in the record does not fit its type")
        return value, at

    return write, read


def write_interval(value: Any) -> bytes:
    """Months, days, microseconds."""
    if not isinstance(value, tuple) or len(value) != 3:
        raise Misfit("holds no triple of months, days and microseconds")
    return write_int(value[0]) + write_int(value[1]) + write_int64(value[2])


def read_interval(data: bytes, at: int) -> tuple[tuple[int, int, int], int]:
    """The inverse of :func:`write_interval`."""
    months, at = read_int(data, at)
    days, at = read_int(data, at)
    micros, at = read_long(data, at)
    return (months, days, micros), at


def write_geometry(value: Any) -> bytes:
    """WKB and SRID."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise Misfit("holds no pair of WKB and SRID")
    return write_bytes(value[0]) + (b"\0" if value[1] is None else b"\2" + write_int(value[1]))


def read_geometry(data: bytes, at: int) -> tuple[tuple[bytes, int | None], int]:
    """The inverse of :func:`write_geometry`."""
    wkb, at = read_bytes(data, at)
    branch, at = read_long(data, at)
    if branch == 0:
        return (wkb, None), at
    if branch != 1:
        raise DecodeError("a value in the record is of no kind that its type knows")
    srid, at = read_int(data, at)
    return (wkb, srid), at


def _array(item: LogicalType) -> tuple[Write, Read]:
    write_item, read_item = union(item, branches(item, nullable=True))

    def write(value: Any) -> bytes:
        if not isinstance(value, tuple):
            raise Misfit(f"holds {type(value).__name__}, not a tuple")
        if not value:
            return b"\0"
        return b"".join((write_long(len(value)), *map(write_item, value), b"\0"))

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        return read_blocks(data, at, read_item)

    return write, read


def read_blocks(data: bytes, at: int, read_item: Read) -> tuple[tuple[Any, ...], int]:
    """An array of Avro. An item takes a byte at least, so a wrong count ends where the data end."""
    out: list[Any] = []
    while True:
        count, at = read_long(data, at)
        if not count:
            return tuple(out), at
        if count < 0:
            _, at = read_long(data, at)  # the block's size in bytes, for those who skip
            count = -count
        for _ in range(count):
            item, at = read_item(data, at)
            out.append(item)


write_int64, read_int64 = _integer(-(1 << 63), (1 << 63) - 1)
_read_float, _read_double = _read_packed(_FLOAT), _read_packed(_DOUBLE)
_TEXT = (write_text, read_text)
_SIMPLE: dict[Kind, tuple[Write, Read]] = {
    Kind.BOOL: (write_bool, read_bool),
    Kind.INT16: _integer(-(1 << 15), (1 << 15) - 1),
    Kind.INT32: (write_int, read_int),
    Kind.INT64: (write_int64, read_int64),
    Kind.UINT64: _number(0, (1 << 64) - 1),
    Kind.FLOAT32: (write_float32, _read_float),
    Kind.FLOAT64: (write_float64, _read_double),
    Kind.BYTES: (write_bytes, read_bytes),
    Kind.DATE: (write_int, read_int),
    Kind.TIME: _integer(0, 86_400_000_000 - 1),
    Kind.TIMESTAMP: (write_int64, read_int64),
    Kind.TIMESTAMPTZ: (write_int64, read_int64),
    Kind.INTERVAL: (write_interval, read_interval),
    Kind.GEOMETRY: (write_geometry, read_geometry),
    Kind.STRING: _TEXT,
    Kind.UUID: _TEXT,
    Kind.JSON: _TEXT,
    Kind.ENUM: _TEXT,
    Kind.BITS: _TEXT,
    Kind.NATIVE: _TEXT,
}


def value(type: LogicalType) -> tuple[Write, Read]:  # noqa: A002
    """The functions that write and read a value of this type, neither null nor escaped."""
    if type.kind is Kind.DECIMAL:
        if type.precision is None or type.scale is None:
            return write_decimal, read_decimal
        if not fixed_scale(type):
            return _scaled(type.precision, type.scale)
        most = 10**type.precision - 1
        return _number(-most, most)
    if type.kind is Kind.ARRAY and type.item is not None:
        return _array(type.item)
    return _SIMPLE[type.kind]


def union(type: LogicalType, order: tuple[Branch, ...]) -> tuple[Write, Read]:  # noqa: A002
    """The functions that write and read a value that may be null or escaped, as ``order`` says."""
    write_value, read_value = value(type)
    if len(order) == 1:
        return write_value, read_value
    index = {branch: write_long(i) for i, branch in enumerate(order)}

    def write(value: Any) -> bytes:
        if value is None:
            if "null" not in index:
                raise Misfit("holds null, and is a key column that cannot")
            return index["null"]
        if isinstance(value, str) and "text" in index:
            return index["text"] + write_text(value)
        return index["value"] + write_value(value)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        branch, at = read_long(data, at)
        if not 0 <= branch < len(order):
            raise DecodeError("a value in the record is of no kind that its type knows")
        name = order[branch]
        if name == "value":
            return read_value(data, at)
        return (None, at) if name == "null" else read_text(data, at)

    return write, read
