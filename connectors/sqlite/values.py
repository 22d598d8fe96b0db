"""Physical values of what a SQLite file holds: a column's logical type, and values of any class as it.

A declared type of ours (see :mod:`.types`) is the logical type again; one of another program is taken by its
words, as SQLite itself does it:

===========================  ====================================================================
BOOL…                        bool
…INT…                        int64
DECIMAL(p,s) NUMERIC(p,s)    decimal(p,s); without p and s, and NUMBER: unbounded decimal
DATE, TIME                   date, time
DATETIME, TIMESTAMP          timestamp; with "TZ" or "TIME ZONE": timestamptz
REAL FLOA… DOUB…             float64
UUID, JSON, JSONB            uuid, json
BLOB                         bytes
…CHAR… …CLOB… …TEXT…         string
nothing, and the rest        native, each value as the literal that SQL has for it
===========================  ====================================================================

SQLite enforces nothing of this. A value of another class is an escape where the type has escapes (then
it is its text), and otherwise an error: a column that says INTEGER and holds a text has no type.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from connectors.sqlite.types import DECLARED, affinity
from liberator.errors import DecodeError
from liberator.schema import Column, Kind, LogicalType

Decode = Callable[[Any], Any]

_OURS: Final = {
    declared: kind
    for kind, declared in reversed(DECLARED.items())
    if declared not in ("INTEGER", "REAL", "TEXT", "BLOB")
}
_NAME: Final = re.compile(
    r"\s*([A-Za-z_][A-Za-z0-9_ ]*)(?:\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\))?\s*([A-Za-z ]*)"
)
_KINDS: Final = {
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
    "DATETIME": Kind.TIMESTAMP,
    "TIMESTAMP": Kind.TIMESTAMP,
    "TIMESTAMPTZ": Kind.TIMESTAMPTZ,
    "TIMESTAMP WITH TIME ZONE": Kind.TIMESTAMPTZ,
    "UUID": Kind.UUID,
    "JSON": Kind.JSON,
    "JSONB": Kind.JSON,
    "DECIMAL": Kind.DECIMAL,
    "NUMERIC": Kind.DECIMAL,
    "NUMBER": Kind.DECIMAL,
}
_AFFINITY: Final = {
    "INTEGER": Kind.INT64,
    "TEXT": Kind.STRING,
    "BLOB": Kind.BYTES,
    "REAL": Kind.FLOAT64,
    "NUMERIC": Kind.NATIVE,
}
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?")
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\S+?)(\+00(?::?00)?|Z)?")
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
_DAY: Final = 86_400_000_000
#: A number with a larger exponent is carried as its text.
_LONG: Final = 400


def logical(declared: str) -> LogicalType:
    """The logical type of a column with this declared type."""
    match = _NAME.fullmatch(declared)
    if match is None or not declared.strip():
        return (
            LogicalType(Kind.NATIVE, name=declared) if declared.strip() else LogicalType(Kind.NATIVE, name="")
        )
    word, precision, scale, tail = match.groups()
    word = f"{word.strip()} {tail}".strip().upper()
    kind = _OURS.get(word) or _KINDS.get(word)
    if kind is None and word.startswith("BOOL"):
        kind = Kind.BOOL
    if kind is Kind.DECIMAL:
        fixed = precision is not None
        return LogicalType(kind, int(precision), int(scale or 0)) if fixed else LogicalType(kind)
    if kind in (Kind.ARRAY, Kind.ENUM, Kind.GEOMETRY, Kind.INTERVAL):
        # What these were made of is not in the declaration: their text, or bytes, as they are.
        kind = Kind.BYTES if kind is Kind.GEOMETRY else Kind.STRING
    kind = kind or _AFFINITY[affinity(declared)]
    return LogicalType(kind, name=declared) if kind is Kind.NATIVE else LogicalType(kind)


def decoder(column: Column) -> Decode | None:
    """From what the driver gives, never None, to the physical value; None where that is the same for
    every value that the column may hold. It raises DecodeError for a value of a class that the type has
    no place for."""
    type_ = column.type
    if type_.kind is Kind.NATIVE:
        return literal
    convert = _decimal(type_.scale) if type_.kind is Kind.DECIMAL else _CONVERT.get(type_.kind)
    if convert is None:
        raise DecodeError(f"column {column.name!r}: there is no {type_} in sqlite")
    name = column.name

    def decode(value: Any) -> Any:
        try:
            return convert(value)
        except (ValueError, TypeError, ArithmeticError):
            raise DecodeError(
                f"column {name!r} is declared {column.native or 'without a type'} and holds a value of "
                f"class {type(value).__name__}",
                hint="name a query instead that casts the column",
            ) from None

    return decode


def literal(value: Any) -> str:
    """A value of any class as SQL has it: ``12``, ``'text'``, ``X'00FF'``."""
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, str):
        if "\0" in value:
            return f"cast(X'{value.encode().hex()}' as text)"
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            return "9e999" if value > 0 else "-9e999"
        return repr(value)
    return str(value)


def _of(*classes: type) -> Decode:
    def same(value: Any) -> Any:
        if type(value) in classes:
            return value
        raise TypeError

    return same


def _boolean(value: Any) -> bool:
    if value in (0, 1) and type(value) is int:
        return bool(value)
    raise TypeError


def _float(value: Any) -> float:
    if type(value) in (float, int):
        return float(value)
    if value == "NaN":
        return float("nan")
    raise TypeError


def _unsigned(value: Any) -> int:
    if type(value) is bytes:
        raise TypeError
    return int(value)


def _decimal(scale: int | None) -> Decode:
    def convert(value: Any) -> Any:
        if type(value) is bytes:
            raise TypeError
        text = repr(value) if type(value) is float else str(value)
        try:
            number = Decimal(text)
        except InvalidOperation:
            return text
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or abs(exponent) > _LONG:
            return text
        if scale is None:
            unscaled = _unscaled(number)
            return (unscaled * 10**exponent, 0) if exponent > 0 else (unscaled, -exponent)
        unscaled = _unscaled(number)
        shift = exponent + scale
        if shift >= 0:
            return unscaled * 10**shift
        whole, rest = divmod(abs(unscaled), 10**-shift)
        if rest:
            return text  # more digits than the column declares
        return -whole if unscaled < 0 else whole

    return convert


def _unscaled(number: Decimal) -> int:
    sign, digits, _ = number.as_tuple()
    unscaled = int("".join(map(str, digits)))
    return -unscaled if sign else unscaled


def _escaped(parse: Callable[[str], Any]) -> Decode:
    """Text that ``parse`` takes, any other text or number as an escape."""

    def convert(value: Any) -> Any:
        if type(value) is bytes:
            raise TypeError
        if type(value) is not str:
            return str(value)
        try:
            return parse(value)
        except ValueError:
            return value

    return convert


def _date(text: str) -> int:
    if len(text) != 10:
        raise ValueError
    return datetime.date.fromisoformat(text).toordinal() - _EPOCH


def _time(text: str) -> int:
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError
    hours, minutes, seconds, fraction = match.groups()
    return (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 1_000_000 + int(
        (fraction or "").ljust(6, "0")
    )


def _moment(zoned: bool) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = _MOMENT.fullmatch(text)
        if match is None or (match[3] is not None) != zoned:
            raise ValueError
        return _date(match[1]) * _DAY + _time(match[2])

    return parse


def _uuid(value: Any) -> str:
    if type(value) is str and _UUID.fullmatch(value.lower()):
        return value.lower()
    if type(value) is bytes and len(value) == 16:
        h = value.hex()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
    raise TypeError


_CONVERT: Final[dict[Kind, Decode]] = {
    Kind.BOOL: _boolean,
    Kind.INT64: _of(int),
    Kind.UINT64: _unsigned,
    Kind.FLOAT64: _float,
    Kind.STRING: _of(str),
    Kind.BYTES: _of(bytes),
    Kind.DATE: _escaped(_date),
    Kind.TIME: _escaped(_time),
    Kind.TIMESTAMP: _escaped(_moment(False)),
    Kind.TIMESTAMPTZ: _escaped(_moment(True)),
    Kind.UUID: _uuid,
    Kind.JSON: _of(str),
    Kind.BITS: _of(str),
}
