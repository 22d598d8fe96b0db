"""One parse function per logical type: from Postgres's text to the physical value, exactly.

``parser(type)`` returns the function; it takes the text of one value that is not null. The text is what
the type's output function prints under the settings of :data:`connectors.postgres.connection.SESSION`,
the same in a pgoutput tuple and in ``copy``. The functions raise ValueError for text that they cannot
understand, and :class:`UnknownLabel` for an enum's; callers name the column, and nobody names the value.
Decoders compiled by :mod:`connectors.postgres.wal.rows` have the common case of the common types in line, and
use these for the rest.
"""

from __future__ import annotations

import math
import re
import struct
from binascii import unhexlify
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final

from connectors.postgres.types.arrays import array_parser, delimiter
from connectors.postgres.types.temporal import (
    parse_date,
    parse_interval,
    parse_time,
    parse_timestamp,
    parse_timestamptz,
)
from liberator.errors import DecodeError, SchemaError
from liberator.schema import Kind, LogicalType

Parse = Callable[[str], Any]


class UnknownLabel(DecodeError):
    """An enum's label that the schema does not have: added, or renamed, since one of the two was made.

    ``label`` and ``column``, the column's name, are for a source that extends the schema. The label is
    a value, so it is in no message.
    """

    def __init__(self, message: str, label: str, column: str = ""):
        super().__init__(message, hint="the type's labels have to be read again")
        self.label = label
        self.column = column


_NUMERIC = re.compile(r"-?\d+(?:\.(\d+))?", re.ASCII)
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_FLOAT = re.compile(r"-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Infinity)|NaN", re.ASCII)
_BITS = re.compile(r"[01]*")
_SPECIAL = frozenset({"NaN", "Infinity", "-Infinity"})
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_single = struct.Struct(">f")
_double = struct.Struct(">d")
_double_bits = struct.Struct(">Q")
#: Of singles; below it they have fewer bits.
_SMALLEST_NORMAL: Final = 2.0**-126


def parse_bool(text: str) -> bool:
    """``t`` or ``f``."""
    if text == "t":
        return True
    if text == "f":
        return False
    raise ValueError("not a boolean")


def parse_integer(text: str) -> int:
    """Decimal digits with an optional minus."""
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("not an integer")
    return int(text)


def parse_float64(text: str) -> float:
    """A double from its shortest text; NaN and the infinities are floats too."""
    if _FLOAT.fullmatch(text) is None:
        raise ValueError("not a float")
    return float(text)


def parse_float32(text: str) -> float:
    """The exact double of the single-precision number that the text stands for."""
    number = parse_float64(text)
    (bits,) = _double_bits.unpack(_double.pack(number))
    # Rounding twice, to a double and then to a single, goes wrong where the double lies exactly between
    # two singles and the text does not. Among the smallest numbers such places are not at one bit.
    if bits & 0x1FFF_FFFF == 0x1000_0000 or 0 < abs(number) < _SMALLEST_NORMAL:
        number = _to_odd(text, number, bits)
    single: float = _single.unpack(_single.pack(number))[0]
    return single


def _to_odd(text: str, nearest: float, bits: int) -> float:
    # Of the two doubles around the text the odd one: from there the second rounding is right.
    exact = Fraction(text)
    if bits & 1 or exact == nearest:
        return nearest
    return math.nextafter(nearest, math.inf if exact > nearest else -math.inf)


def parse_numeric(text: str) -> tuple[int, int] | str:
    """``(unscaled, scale)`` of an unbounded numeric: ``1.20`` is ``(120, 2)``; NaN and ±Infinity as text."""
    match = _NUMERIC.fullmatch(text)
    if match is None:
        return _special(text)
    fraction = match[1]
    if fraction is None:
        return digits_to_int(text), 0
    return digits_to_int(text.replace(".", "")), len(fraction)


def decimal_parser(scale: int) -> Callable[[str], int | str]:
    """The parse function of ``numeric(p, scale)``: the unscaled int; NaN and ±Infinity as text."""

    def parse_decimal(text: str) -> int | str:
        match = _NUMERIC.fullmatch(text)
        if match is None:
            return _special(text)
        if scale > 0:
            if match[1] is None or len(match[1]) != scale:
                raise ValueError("a numeric of another scale")
            return digits_to_int(text.replace(".", ""))
        if match[1] is not None:
            raise ValueError("a numeric of another scale")
        value = digits_to_int(text)
        if scale < 0:
            value, rest = divmod(value, 10**-scale)
            if rest:
                raise ValueError("a numeric of another scale")
        return value

    return parse_decimal


def _special(text: str) -> str:
    if text not in _SPECIAL:
        raise ValueError("not a numeric")
    return text


#: The longest run of digits that ``int`` takes whatever the interpreter's limit is set to, and the
#: longest that a numeric can have.
_SAFE_DIGITS: Final = 640
_MOST_DIGITS: Final = 131_072 + 16_383


def digits_to_int(text: str) -> int:
    """``int(text)`` of decimal digits, as many as a numeric can have, which ``int`` itself refuses."""
    if len(text) <= _SAFE_DIGITS:
        return int(text)
    if text[0] == "-":
        return -digits_to_int(text[1:])
    if len(text) > _MOST_DIGITS:
        raise ValueError("not a numeric: too many digits")
    half = len(text) // 2
    shift: int = 10 ** (len(text) - half)
    return digits_to_int(text[:half]) * shift + digits_to_int(text[half:])


def parse_string(text: str) -> str:
    """Text is its own value; so are the json, bits and native types."""
    return text


def parse_bytea(text: str) -> bytes:
    """``\\x`` and hex digits (``bytea_output hex``)."""
    if not text.startswith("\\x"):
        raise ValueError("not a bytea in hex")
    return unhexlify(text[2:])


def parse_bits(text: str) -> str:
    """Zeros and ones."""
    if _BITS.fullmatch(text) is None:
        raise ValueError("not a bit string")
    return text


def parse_uuid(text: str) -> str:
    """Lower case with hyphens, as Postgres prints it."""
    if _UUID.fullmatch(text) is None:
        raise ValueError("not a uuid")
    return text


def parse_geometry(text: str) -> tuple[bytes, int | None]:
    """``(WKB, SRID or None)`` from PostGIS's hex EWKB: the flag and the SRID leave the bytes."""
    ewkb = unhexlify(text)
    if len(ewkb) < 5 or ewkb[0] > 1:
        raise ValueError("not a geometry")
    order = "<" if ewkb[0] else ">"
    (kind,) = struct.unpack_from(order + "I", ewkb, 1)
    if not kind & 0x20000000:
        return ewkb, None
    if len(ewkb) < 9:
        raise ValueError("not a geometry")
    (srid,) = struct.unpack_from(order + "i", ewkb, 5)
    return ewkb[:1] + struct.pack(order + "I", kind & ~0x20000000) + ewkb[9:], srid


def enum_parser(type_: LogicalType) -> Callable[[str], str]:
    """The parse function of an enum: the label, if the type has it."""
    labels = {label: label for label in type_.values}

    def parse_enum(text: str) -> str:
        label = labels.get(text)
        if label is None:
            raise UnknownLabel("an enum holds a label that its type did not have", text)
        return label

    return parse_enum


_PARSERS: Final[Mapping[Kind, Parse]] = {
    Kind.BOOL: parse_bool,
    Kind.INT16: parse_integer,
    Kind.INT32: parse_integer,
    Kind.INT64: parse_integer,
    Kind.UINT64: parse_integer,
    Kind.FLOAT32: parse_float32,
    Kind.FLOAT64: parse_float64,
    Kind.STRING: parse_string,
    Kind.BYTES: parse_bytea,
    Kind.DATE: parse_date,
    Kind.TIME: parse_time,
    Kind.TIMESTAMP: parse_timestamp,
    Kind.TIMESTAMPTZ: parse_timestamptz,
    Kind.INTERVAL: parse_interval,
    Kind.UUID: parse_uuid,
    Kind.JSON: parse_string,
    Kind.BITS: parse_bits,
    Kind.GEOMETRY: parse_geometry,
    Kind.NATIVE: parse_string,
}


def parser(type_: LogicalType) -> Parse:
    """The parse function of a logical type. Raises SchemaError for a type without parameters it needs."""
    match type_.kind:
        case Kind.DECIMAL if type_.scale is not None:
            return decimal_parser(type_.scale)
        case Kind.DECIMAL:
            return parse_numeric
        case Kind.ENUM:
            return enum_parser(type_)
        case Kind.ARRAY:
            if type_.item is None:
                raise SchemaError("an array type without an item type")
            return array_parser(parser(type_.item), delimiter(type_.item))
        case kind:
            return _PARSERS[kind]
