"""Single values as JSON, one pair of functions per logical type: exact, for records.

What JSON has no form for is written so that nothing is lost and nothing is ambiguous: decimals as strings
of digits with their very scale, bytes as base64, the floats NaN, Infinity and -Infinity as strings, times
as the integers of the physical value, an escape as ``{"text": …}``. How values are shown to people lives
in ``plain``; rows and envelopes in ``json``.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from liberator.codec.avro_value import write_float32
from liberator.codec.envelope import Misfit
from liberator.errors import DecodeError
from liberator.schema import ESCAPABLE, Kind, LogicalType

Convert = Callable[[Any], Any]

#: An unbounded decimal is written out in digits up to this scale, beyond it with an exponent.
MOST_DIGITS = 40_000
_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SHORT = 10**4000  # int and str convert into each other up to here; Decimal knows no limit


def digits(value: int) -> str:
    """An int of any size in decimal."""
    return str(value) if -_SHORT < value < _SHORT else str(Decimal(value))


def number(text: str) -> int:
    """The inverse of :func:`digits`; raises ValueError."""
    body = text[1:] if text[:1] == "-" else text
    if not (body.isascii() and body.isdigit()):
        raise ValueError("not a number")
    return int(text) if len(text) < 4000 else int(Decimal(text))


def decimal_text(value: int, scale: int) -> str:
    """An unscaled value and its scale as people write it: 1230 at scale 2 is ``12.30``."""
    if scale == 0:
        return digits(value)
    if scale < 0 or scale > MOST_DIGITS:
        return f"{digits(value)}E{-scale}"
    body = digits(abs(value)).rjust(scale + 1, "0")
    return f"{'-' if value < 0 else ''}{body[:-scale]}.{body[-scale:]}"


def decimal_parts(text: str) -> tuple[int, int]:
    """The inverse of :func:`decimal_text`; raises ValueError."""
    body, exponent, power = text.partition("E")
    if exponent:
        return number(body), -number(power)
    whole, _, fraction = body.partition(".")
    return number(whole + fraction), len(fraction)


def _same(kind: type, what: str) -> tuple[Convert, Convert]:
    def write(value: Any) -> Any:
        if not isinstance(value, kind):
            raise Misfit(f"holds {type(value).__name__}, not {what}")
        return value

    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise DecodeError(f"a value in the record is not {what}")
        return value

    return write, read


def _integer(low: int, high: int) -> tuple[Convert, Convert]:
    def write(value: Any) -> int:
        if not isinstance(value, int):
            raise Misfit(f"holds {type(value).__name__}, not int")
        if not low <= value <= high:
            raise Misfit(f"holds a number outside {low} to {high}")
        return int(value)

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise DecodeError(f"a value in the record is no whole number from {low} to {high}")
        return value

    return write, read


def _write_float(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misfit(f"holds {type(value).__name__}, not float")
    try:
        made = float(value)
    except OverflowError:
        raise Misfit("holds a number that 64 bits cannot hold") from None
    if math.isfinite(made):
        return made
    return "NaN" if made != made else "Infinity" if made > 0 else "-Infinity"  # noqa: PLR0124


def _write_float32(value: Any) -> Any:
    write_float32(value)  # refuses what 32 bits would round
    return _write_float(value)


def _read_float(value: Any) -> float:
    if isinstance(value, str) and value in _FLOATS:
        return _FLOATS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeError("a value in the record is not a number")
    try:
        return float(value)
    except OverflowError:
        raise DecodeError("a number in the record is too large for 64 bits") from None


def _write_bytes(value: Any) -> str:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise Misfit(f"holds {type(value).__name__}, not bytes")
    return base64.b64encode(value).decode("ascii")


def _read_bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise DecodeError("a value in the record is not base64") from None


def _write_decimal(value: Any) -> str:
    match value:
        case (int(unscaled), int(scale)):
            return decimal_text(unscaled, _WRITE_INT32(scale))
    raise Misfit("holds no pair of unscaled value and scale")


def _read_decimal(value: Any) -> tuple[int, int]:
    try:
        return decimal_parts(value)
    except (ValueError, AttributeError, ArithmeticError):
        raise DecodeError("a value in the record is not a decimal") from None


def _scaled(precision: int, scale: int) -> tuple[Convert, Convert]:
    most = 10**precision
    point = scale + 1

    def write(value: Any) -> str:
        if not isinstance(value, int):
            raise Misfit(f"holds {type(value).__name__}, not int")
        if not -most < value < most:
            raise Misfit("holds a number with more digits than its type")
        return decimal_text(value, scale)

    def read(value: Any) -> int:
        if scale > 0 and value.__class__ is str and value[-point:-scale] == ".":
            digits = value[:-point] + value[-scale:]
            if digits.isdigit() and digits.isascii() and len(digits) <= precision:
                return int(digits)
        unscaled, found = _read_decimal(value)
        if found != scale or not -most < unscaled < most:
            raise DecodeError("a decimal in the record does not fit its type")
        return unscaled

    return write, read


def _write_interval(value: Any) -> dict[str, int]:
    match value:
        case (int(months), int(days), int(micros)):
            return {
                "months": _WRITE_INT32(months),
                "days": _WRITE_INT32(days),
                "micros": _WRITE_INT64(micros),
            }
    raise Misfit("holds no triple of months, days and microseconds")


def _read_interval(value: Any) -> tuple[int, int, int]:
    months, days, micros = _members(value, "months", "days", "micros")
    return _READ_INT32(months), _READ_INT32(days), _READ_INT64(micros)


def _write_geometry(value: Any) -> dict[str, Any]:
    match value:
        case (wkb, int() | None as srid):
            return {"wkb": _write_bytes(wkb), "srid": None if srid is None else _WRITE_INT32(srid)}
    raise Misfit("holds no pair of WKB and SRID")


def _read_geometry(value: Any) -> tuple[bytes, int | None]:
    wkb, srid = _members(value, "wkb", "srid")
    return _read_bytes(wkb), None if srid is None else _READ_INT32(srid)


def _members(value: Any, *names: str) -> list[Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise DecodeError("a value in the record lacks a member, or has one too many")
    return [value[name] for name in names]


def _array(item: LogicalType) -> tuple[Convert, Convert]:
    write_item, read_item = nullable(item)

    def write(value: Any) -> list[Any]:
        if not isinstance(value, tuple):
            raise Misfit(f"holds {type(value).__name__}, not a tuple")
        return list(map(write_item, value))

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise DecodeError("a value in the record is not a list")
        return tuple(map(read_item, value))

    return write, read


#: Kinds written as text as it is.
TEXTS = frozenset({Kind.STRING, Kind.UUID, Kind.JSON, Kind.ENUM, Kind.BITS, Kind.NATIVE})
#: Kinds written as whole numbers, with their bounds.
BOUNDS = {
    Kind.INT16: (-(1 << 15), (1 << 15) - 1),
    Kind.INT32: (-(1 << 31), (1 << 31) - 1),
    Kind.INT64: (-(1 << 63), (1 << 63) - 1),
    Kind.UINT64: (0, (1 << 64) - 1),
    Kind.DATE: (-(1 << 31), (1 << 31) - 1),
    Kind.TIME: (0, 86_400_000_000 - 1),
    Kind.TIMESTAMP: (-(1 << 63), (1 << 63) - 1),
    Kind.TIMESTAMPTZ: (-(1 << 63), (1 << 63) - 1),
}
_INT32, _INT64 = _integer(*BOUNDS[Kind.INT32]), _integer(*BOUNDS[Kind.INT64])
_WRITE_INT32, _READ_INT32 = _INT32
_WRITE_INT64, _READ_INT64 = _INT64
_TEXT = _same(str, "text")
_FLOAT = (_write_float, _read_float)
_SIMPLE: dict[Kind, tuple[Convert, Convert]] = {
    Kind.BOOL: _same(bool, "a boolean"),
    **{kind: _integer(low, high) for kind, (low, high) in BOUNDS.items()},
    **dict.fromkeys(TEXTS, _TEXT),
    Kind.FLOAT32: (_write_float32, _read_float),
    Kind.FLOAT64: _FLOAT,
    Kind.BYTES: (_write_bytes, _read_bytes),
    Kind.INTERVAL: (_write_interval, _read_interval),
    Kind.GEOMETRY: (_write_geometry, _read_geometry),
}


def _value(type: LogicalType) -> tuple[Convert, Convert]:  # noqa: A002
    if type.kind is Kind.DECIMAL:
        if type.precision is None or type.scale is None:
            return _write_decimal, _read_decimal
        return _scaled(type.precision, type.scale)
    if type.kind is Kind.ARRAY and type.item is not None:
        return _array(type.item)
    return _SIMPLE[type.kind]


def nullable(type: LogicalType) -> tuple[Convert, Convert]:  # noqa: A002
    """The functions that write and read a value of this type, null and escape included.

    The first raises Misfit, the second DecodeError.
    """
    write_value, read_value = _value(type)
    escapable = type.kind in ESCAPABLE

    def write(value: Any) -> Any:
        if value is None:
            return None
        if escapable and isinstance(value, str):
            return {"text": value}
        return write_value(value)

    def read(value: Any) -> Any:
        if value is None:
            return None
        if escapable and isinstance(value, dict) and value.keys() == {"text"}:
            return _TEXT[1](value["text"])
        return read_value(value)

    return write, read
