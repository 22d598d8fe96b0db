"""Physical values as SQL databases spell them: dates, times, decimals, intervals, arrays.

The spelling is the one that Postgres prints and every other database of ours reads: ``2024-02-29``,
``12:34:56.000001``, ``0044-03-15 BC``. A fraction of a second has six digits or is left out, so that texts
sort as the times do. Escapes (see :mod:`liberator.schema`) are such text already and are never passed here.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from typing import Any

from liberator.codec.json_value import digits
from liberator.schema import ESCAPABLE, Kind, LogicalType

_EPOCH = datetime.date(1970, 1, 1).toordinal()
_LAST = datetime.date.max.toordinal()
_DAY = 86_400_000_000
#: The first moment of the year 1.
_FIRST = (1 - _EPOCH) * _DAY
_TWO = tuple(f"{n:02}" for n in range(60))
_MINUTES = tuple(f"{h:02}:{m:02}:" for h in range(24) for m in range(60))
#: The flag of extended WKB that says: a SRID follows.
_SRID_FLAG = 0x20000000


@lru_cache(20_000)
def date(days: int) -> str:
    """Days since 1970-01-01."""
    ordinal = days + _EPOCH
    if 1 <= ordinal <= _LAST:
        return datetime.date.fromordinal(ordinal).isoformat()
    return _far_date(days)


def _far_date(days: int) -> str:
    """A date outside of the years 1 to 9999, in the calendar continued both ways.

    Eras of 400 years have equal lengths; years begin in March, so that leap days come last.
    """
    era, day = divmod(days + 719_468, 146_097)
    year_of_era = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year_of_era + year_of_era // 4 - year_of_era // 100
    month = (5 * day + 2) // 153
    day_of_month = day - (153 * month + 2) // 5 + 1
    month += 3 if month < 10 else -9
    year = year_of_era + era * 400 + (month <= 2)
    shown = f"{year:04}" if year > 0 else f"{1 - year:04}"
    return f"{shown}-{month:02}-{day_of_month:02}{'' if year > 0 else ' BC'}"


def time(micros: int) -> str:
    """Microseconds since midnight; 24:00:00 is possible."""
    seconds, fraction = divmod(micros, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    clock = _MINUTES[minutes] if minutes < 1440 else f"{minutes // 60:02}:{minutes % 60:02}:"
    return f"{clock}{_TWO[seconds]}.{fraction:06}" if fraction else clock + _TWO[seconds]


def timestamp(micros: int, zone: str = "") -> str:
    """Microseconds since 1970-01-01 00:00; ``zone`` is put behind the time."""
    if micros < _FIRST:
        days, rest = divmod(micros, _DAY)
        return f"{date(days)[:-3]} {time(rest)}{zone} BC"
    minutes, rest = divmod(micros, 60_000_000)
    seconds, fraction = divmod(rest, 1_000_000)
    if fraction:
        return f"{_minute(minutes)}{_TWO[seconds]}.{fraction:06}{zone}"
    return _minute(minutes) + _TWO[seconds] + zone


@lru_cache(20_000)
def _minute(minutes: int) -> str:
    """Minutes since 1970, as all timestamps within that minute begin."""
    days, minutes = divmod(minutes, 1440)
    return f"{date(days)} {_MINUTES[minutes]}"


def decimal(unscaled: int, scale: int) -> str:
    """An unscaled value and its scale in plain digits: 1230 and 2 are ``12.30``."""
    if scale <= 0:
        return digits(unscaled * 10**-scale)
    body = digits(abs(unscaled)).rjust(scale + 1, "0")
    return f"{'-' if unscaled < 0 else ''}{body[:-scale]}.{body[-scale:]}"


def interval(value: tuple[int, int, int]) -> str:
    """Months, days and microseconds, each with its own sign: ``14 mons -3 days -04:05:06.000007``."""
    months, days, micros = value
    seconds, fraction = divmod(abs(micros), 1_000_000)
    clock = f"{'-' if micros < 0 else ''}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{months} mons {days} days {clock}" + (f".{fraction:06}" if fraction else "")


def ewkb(value: tuple[bytes, int | None]) -> bytes:
    """A geometry as extended WKB: the WKB with its SRID inside."""
    wkb, srid = value
    if srid is None:
        return wkb
    order = "little" if wkb[:1] == b"\x01" else "big"
    kind = int.from_bytes(wkb[1:5], order) | _SRID_FLAG  # type: ignore[arg-type]
    return wkb[:1] + kind.to_bytes(4, order) + srid.to_bytes(4, order) + wkb[5:]  # type: ignore[arg-type]


def real(value: float) -> str:
    """A float in the fewest digits that say which one it is: ``0.1``, ``NaN``, ``-Infinity``."""
    text = repr(value)
    return _ENDLESS.get(text, text)


def array(values: tuple[Any, ...], item: Callable[[Any], Any]) -> str:
    """One dimension of elements as a JSON array; ``item`` makes an element plain."""
    return json.dumps([None if v is None else item(v) for v in values], ensure_ascii=False)


def element(type_: LogicalType) -> Callable[[Any], Any]:
    """What an array's element is in JSON: a number or a truth where JSON has it exactly, else text."""
    if type_.kind in (Kind.BOOL, Kind.INT16, Kind.INT32, Kind.INT64):
        return lambda v: v
    if type_.kind in (Kind.FLOAT32, Kind.FLOAT64):
        return lambda v: v if isfinite(v) else real(v)
    spell = text(type_)
    return (lambda v: v if type(v) is str else spell(v)) if type_.kind in ESCAPABLE else spell


def text(type_: LogicalType) -> Callable[[Any], str]:
    """From a physical value that is no escape to its text, for a column that takes any text."""
    match type_.kind:
        case Kind.DECIMAL:
            scale = type_.scale
            if scale is None:
                return lambda v: decimal(*v)
            fixed = scale
            return lambda v: decimal(v, fixed)
        case Kind.ARRAY:
            assert type_.item is not None
            item = element(type_.item)
            return lambda v: array(v, item)
        case _:
            return _TEXT.get(type_.kind, str)


_ENDLESS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_TEXT: dict[Kind, Callable[[Any], str]] = {
    Kind.BOOL: lambda v: "true" if v else "false",
    Kind.FLOAT32: real,
    Kind.FLOAT64: real,
    Kind.BYTES: bytes.hex,
    Kind.DATE: date,
    Kind.TIME: time,
    Kind.TIMESTAMP: timestamp,
    Kind.TIMESTAMPTZ: lambda v: timestamp(v, "+00:00"),
    Kind.INTERVAL: interval,
    Kind.GEOMETRY: lambda v: ewkb(v).hex(),
}
