"""One value of a result row in the text protocol, for each type: the expression that selects it, its reading.

Plain functions from the bytes that the server sent: the reference that compiled decoders
(:mod:`connectors.mysql.text_rows`) must agree with, and what reads rows that they cannot take.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, Final

from connectors.mysql.cells import bits, vector
from connectors.mysql.native import NativeType, TypeOptions
from connectors.mysql.values import temporal
from connectors.mysql.values.geometry import geometry
from liberator.errors import SchemaError
from liberator.schema import Column, Kind

Value = Callable[[bytes], Any]

_INTEGER = re.compile(rb"-?\d+")
_DECIMAL = re.compile(rb"-?\d+(?:\.(\d+))?")
_FLOAT = re.compile(rb"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?")
_single = struct.Struct("<f")


def selected(column: Column) -> str:
    """The SQL expression by which a column is selected, so that its text says all."""
    name = "`" + column.name.replace("`", "``") + "`"
    if column.type.kind in (Kind.FLOAT32, Kind.FLOAT64):
        # A float's own text has six digits, and that of float(7,2) two behind the point. A product is a
        # double, printed with as many digits as tell it from all others; a sum would lose the sign of -0.
        return f"{name} * 1e0"
    return name


def text_value(column: Column, options: TypeOptions) -> Value:
    """The function from the text of one value, never null, to its physical value. It raises ValueError or
    LookupError for bytes that are not a value."""
    native, kind = NativeType.parse(column.native), column.type.kind
    if kind in _DATES:
        return _date(kind, temporal.odd_policy(options.zero_dates))
    match kind:
        case Kind.DECIMAL:
            return decimal(column.type.scale or 0)
        case Kind.BITS:
            return bits(native.length or 1)
        case Kind.ENUM:
            return enum(column.type.values)
        case Kind.ARRAY:
            return vector
    try:
        return _VALUES[kind]
    except KeyError:
        raise SchemaError(f"column {column.name}: no {column.type} is read from MySQL") from None


def integer(data: bytes) -> int:
    """Decimal digits with an optional minus; zeros before them (zerofill) do not count."""
    if _INTEGER.fullmatch(data) is None:
        raise ValueError("not an integer")
    return int(data)


def decimal(scale: int) -> Value:
    """The function from the text of a decimal with a fixed scale to the unscaled integer."""

    def value(data: bytes) -> int:
        match = _DECIMAL.fullmatch(data)
        if match is None or len(match[1] or b"") != scale:
            raise ValueError("not a decimal of this scale")
        return int(data.replace(b".", b""))

    return value


def float64(data: bytes) -> float:
    """A double from its shortest text."""
    if _FLOAT.fullmatch(data) is None:
        raise ValueError("not a float")
    return float(data)


def float32(data: bytes) -> float:
    """The single nearest to a text, as the double that it is."""
    single: float = _single.unpack(_single.pack(float64(data)))[0]
    return single


def enum(labels: tuple[str, ...]) -> Value:
    """The function from the text of an enum to the label; the empty label is index 0."""
    known = {label.encode(): label for label in ("", *labels)}
    return lambda data: known[data]


def _date(kind: Kind, odd: temporal.Odd) -> Value:
    def value(data: bytes) -> Any:
        day = temporal.TEXT_DAYS[data]
        return odd(data.decode()) if day is None else day

    return value if kind is Kind.DATE else lambda data: temporal.text_datetime(odd, data)


def _uuid(data: bytes) -> str:
    if len(data) != 36:
        raise ValueError("not a uuid")
    return data.decode("ascii")


_DATES: Final = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_VALUES: Final[dict[Kind, Value]] = {
    Kind.BOOL: lambda data: integer(data) != 0,
    Kind.INT16: integer,
    Kind.INT32: integer,
    Kind.INT64: integer,
    Kind.UINT64: integer,
    Kind.FLOAT32: float32,
    Kind.FLOAT64: float64,
    Kind.STRING: bytes.decode,
    Kind.JSON: bytes.decode,
    Kind.NATIVE: bytes.decode,
    Kind.BYTES: bytes,
    Kind.TIME: temporal.text_time,
    Kind.UUID: _uuid,
    Kind.GEOMETRY: geometry,
}
