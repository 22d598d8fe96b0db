"""Physical values written out as Postgres would print them, to check how they were read.

Nothing of the product's reading is used here: a value is turned into text by other means, and compared
with the text that the database gave for it.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any

from liberator.schema import ESCAPABLE, Kind, LogicalType

EPOCH = datetime.date(1970, 1, 1).toordinal()


def same(a: Any, b: Any) -> bool:
    """Equal, of one type, with NaN equal to itself and the zeros apart."""
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def agrees(type_: LogicalType, text: str, value: Any) -> None:
    """The value, written out by other means than it was read, is the text."""
    if isinstance(value, str) and type_.kind in ESCAPABLE:
        assert value == text
        assert escapes(type_, text), "an escape where the physical form would do"
        return
    assert not escapes(type_, text), "a physical value where only an escape will do"
    if type_.kind in (Kind.FLOAT32, Kind.FLOAT64):
        # The text that Postgres prints is not always the shortest one: this is what it is nearest to.
        assert same(value, nearest(text, ">f" if type_.kind is Kind.FLOAT32 else ">d"))
    else:
        assert render(type_, value) == text


def nearest(text: str, form: str) -> float:
    """The number of that form which a decimal text is nearest to, by exact arithmetic."""
    guess = float(text)
    if not math.isfinite(guess):
        return guess
    bits = int.from_bytes(struct.pack(form, guess), "big")
    size = struct.calcsize(form)
    near = [struct.unpack(form, (bits + d).to_bytes(size, "big"))[0] for d in (-1, 0, 1) if bits + d >= 0]
    near = [number for number in near if math.isfinite(number)]
    exact = Fraction(text)
    return min(near, key=lambda number: (abs(Fraction(number) - exact), number != guess))


def escapes(type_: LogicalType, text: str) -> bool:
    """Whether the physical form has no room for this value."""
    match type_.kind:
        case Kind.DECIMAL:
            return text in ("NaN", "Infinity", "-Infinity")
        case Kind.DATE | Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return "infinity" in text or "BC" in text or len(text.partition("-")[0]) > 4
        case Kind.TIME:
            return text == "24:00:00"
        case Kind.INTERVAL:
            return "infinity" in text
        case Kind.ARRAY:
            return text.startswith(("[", "{{"))
        case _:
            return False


def render(type_: LogicalType, value: Any) -> str:  # noqa: PLR0912
    match type_.kind:
        case Kind.BOOL:
            return {True: "t", False: "f"}[value]
        case Kind.INT16 | Kind.INT32 | Kind.INT64 | Kind.UINT64:
            assert type(value) is int
            return str(value)
        case Kind.FLOAT64:
            return shortest(value)
        case Kind.FLOAT32:
            assert struct.unpack(">f", struct.pack(">f", value))[0] == value or math.isnan(value)
            return shortest_single(value)
        case Kind.DECIMAL:
            unscaled, scale = (value, type_.scale) if type_.precision is not None else value
            assert type(unscaled) is int and scale is not None
            return plain(unscaled, scale)
        case Kind.BYTES:
            return "\\x" + value.hex()
        case Kind.DATE:
            return datetime.date.fromordinal(value + EPOCH).isoformat()
        case Kind.TIME:
            return clock(value)
        case Kind.TIMESTAMP:
            return stamp(value)
        case Kind.TIMESTAMPTZ:
            return stamp(value) + "+00"
        case Kind.INTERVAL:
            return interval(*value)
        case Kind.ENUM:
            assert value in type_.values
            return value
        case Kind.ARRAY:
            assert type_.item is not None
            delimiter = ";" if type_.item.name == "box" else ","
            return "{" + delimiter.join(element(type_.item, v, delimiter) for v in value) + "}"
        case _:
            assert type(value) is str
            return value


def plain(unscaled: int, scale: int) -> str:
    """Digits with a point ``scale`` places from the right, or zeros behind them if that is negative."""
    minus = "-" if unscaled < 0 else ""
    whole = digits(abs(unscaled))
    if scale <= 0:
        return minus + (whole + "0" * -scale if unscaled else "0")
    whole = whole.rjust(scale + 1, "0")
    return f"{minus}{whole[:-scale]}.{whole[-scale:]}"


def digits(number: int) -> str:
    """``str(number)`` for as many digits as Postgres has, which ``str`` refuses or takes long for."""
    if number < 10**600:
        return str(number)
    half = int(number.bit_length() * 0.30103) // 2
    high, low = divmod(number, 10**half)
    return digits(high) + digits(low).rjust(half, "0")


def shortest(value: float) -> str:
    """As Postgres prints a double: scientific from 1e+15 up and below 1e-4."""
    if math.isnan(value) or math.isinf(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return scientific(repr(value), 15)


def shortest_single(value: float) -> str:
    if math.isnan(value) or math.isinf(value) or value == 0:
        return shortest(value)
    for digits in range(1, 10):
        text = f"{value:.{digits - 1}e}"
        # Rounded up, the greatest ones are too great to pack.
        with contextlib.suppress(OverflowError):
            if struct.pack(">f", float(text)) == struct.pack(">f", value):
                break
    return scientific(text, 6)


def scientific(text: str, limit: int) -> str:
    sign, digits, exponent = Decimal(text).normalize().as_tuple()
    assert isinstance(exponent, int)
    place = len(digits) + exponent - 1 if digits != (0,) else 0
    minus = "-" if sign else ""
    mantissa = "".join(map(str, digits))
    if -4 <= place < limit:
        return f"{Decimal(text).normalize():f}" if digits != (0,) else minus + "0"
    point = f".{mantissa[1:]}" if len(mantissa) > 1 else ""
    return f"{minus}{mantissa[0]}{point}e{'-' if place < 0 else '+'}{abs(place):02}"


def clock(micros: int) -> str:
    seconds, fraction = divmod(micros, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return text + (f".{fraction:06}".rstrip("0") if fraction else "")


def stamp(micros: int) -> str:
    days, rest = divmod(micros, 86_400_000_000)
    return f"{datetime.date.fromordinal(days + EPOCH).isoformat()} {clock(rest)}"


def interval(months: int, days: int, micros: int) -> str:
    """Under IntervalStyle postgres: each part with its own sign, a plus behind a minus."""
    years, months = (
        abs(months) // 12 * (1 if months >= 0 else -1),
        abs(months) % 12 * (1 if months >= 0 else -1),
    )
    parts, negative = [], False
    for number, unit in ((years, "year"), (months, "mon"), (days, "day")):
        if number:
            plus = "+" if negative and number > 0 else ""
            parts.append(f"{plus}{number} {unit}{'' if number == 1 else 's'}")
            negative = number < 0
    if micros or not parts:
        sign = "-" if micros < 0 else "+" if negative else ""
        parts.append(sign + clock(abs(micros)))
    return " ".join(parts)


def element(item: LogicalType, value: Any, delimiter: str) -> str:
    if value is None:
        return "NULL"
    text = value if isinstance(value, str) and item.kind in ESCAPABLE else render(item, value)
    if text == "" or text.upper() == "NULL" or any(c in '{}"\\ \t\n\r\v\f' + delimiter for c in text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text
