"""Dates, times and intervals: from the text that Postgres prints to integers, exactly.

Every function takes the text of one value as printed under ``DateStyle ISO``, ``IntervalStyle
postgres`` and ``TimeZone UTC``. What the integer form cannot say (infinity, BC, years after 9999,
24:00:00) is returned as it came, as ``str``: the escape described in :mod:`liberator.schema`. What is not
such a text at all raises ValueError, without the value in it; callers say which column it was.

The same minute, and even more the same day, occurs in many rows, so both are remembered in dicts that
are emptied when they grow too large. Neither callers nor other modules write to them.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import AnyStr, Final

_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
_MINUTE: Final = 60 * 1_000_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
#: Entries per cache: the days of a century, minutes of a month. An entry takes about 150 bytes.
_LIMIT: Final = 40_000

_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
#: What the integer form has no room for, yet Postgres prints.
_ODD_DATE = re.compile(r"-?infinity|\d{4,7}-\d\d-\d\d BC|\d{5,7}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,6})?)(\+00)?", re.ASCII)
_ODD_STAMP = re.compile(
    r"-?infinity|(?:\d{4,7}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?)(?P<zone>\+00)?(?P<bc> BC)?", re.ASCII
)
#: Of a blank and the text, so that every part has a blank before it.
_INTERVAL = re.compile(
    r"(?: ([+-]?\d+) years?)?(?: ([+-]?\d+) mons?)?(?: ([+-]?\d+) days?)?"
    r"(?: ([+-])?(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?",
    re.ASCII,
)


def parse_date(text: str) -> int | str:
    """Days since 1970-01-01, or the text itself where years 0001 to 9999 do not hold it."""
    match = _DATE.fullmatch(text)
    if match is not None:
        year, month, day = match.groups()
        return datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH
    if _ODD_DATE.fullmatch(text) is None:
        raise ValueError("not a date")
    return text


def parse_time(text: str) -> int | str:
    """Microseconds since midnight; ``24:00:00``, which is not ``00:00:00``, stays text."""
    micros = _micros(text)
    if micros < _DAY:
        return micros
    if micros > _DAY:
        raise ValueError("not a time of day")
    return text


def parse_timestamp(text: str) -> int | str:
    """Microseconds since 1970-01-01 00:00 of a timestamp without zone."""
    return _parse_stamp(text, None)


def parse_timestamptz(text: str) -> int | str:
    """Microseconds since 1970-01-01 00:00 UTC of a timestamp printed in UTC."""
    return _parse_stamp(text, "+00")


def _parse_stamp(text: str, zone: str | None) -> int | str:
    match = _STAMP.fullmatch(text)
    if match is not None and match[3] == zone:
        micros = _micros(match[2])
        if micros < _DAY:
            day = parse_date(match[1])
            assert isinstance(day, int)
            return day * _DAY + micros
    elif (match := _ODD_STAMP.fullmatch(text)) is not None and (
        text.endswith("infinity") or (match["zone"] == zone and (match["bc"] or text.index("-") > 4))
    ):
        return text
    raise ValueError("not a timestamp")


def _micros(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a time of day")
    hours, minutes, seconds, fraction = match.groups()
    if int(minutes) > 59 or int(seconds) > 59:
        raise ValueError("not a time of day")
    return _clock(hours, minutes, seconds, fraction)


def _clock(hours: str, minutes: str, seconds: str, fraction: str | None) -> int:
    micros = int(hours) * _HOUR + int(minutes) * _MINUTE + int(seconds) * 1_000_000
    return micros + int(fraction.ljust(6, "0")) if fraction else micros


def parse_interval(text: str) -> tuple[int, int, int] | str:
    """``(months, days, microseconds)``, each with its own sign; infinite intervals stay text."""
    match = _INTERVAL.fullmatch(" " + text)
    if match is None or not text:
        if text in ("infinity", "-infinity"):
            return text
        raise ValueError("not an interval")
    years, months, days, sign, hours, minutes, seconds, fraction = match.groups()
    micros = _clock(hours, minutes, seconds, fraction) if hours else 0
    return (
        int(years or 0) * 12 + int(months or 0),
        int(days or 0),
        -micros if sign == "-" else micros,
    )


class _Days(dict[AnyStr, "int | str"]):
    """``text of a date -> parse_date(text)``."""

    def __missing__(self, key: AnyStr) -> int | str:
        value = parse_date(key if isinstance(key, str) else key.decode())
        if len(self) >= _LIMIT:
            self.clear()
        self[key] = value
        return value


class _Minutes(dict[AnyStr, int]):
    """``YYYY-MM-DD HH:MM -> microseconds since 1970``. Raises an exception of another text."""

    def __init__(self, days: _Days[AnyStr], clock: Mapping[AnyStr, int]):
        super().__init__()
        self._days: _Days[AnyStr] = days
        self._clock: Mapping[AnyStr, int] = clock

    def __missing__(self, key: AnyStr) -> int:
        day = self._days[key[:10]]
        if isinstance(day, str):
            raise ValueError("not a timestamp")
        value: int = day * _DAY + self._clock[key[10:]]
        if len(self) >= _LIMIT:
            self.clear()
        self[key] = value
        return value


_CLOCK: Final = {f" {m // 60:02}:{m % 60:02}": m * _MINUTE for m in range(24 * 60)}

#: One of each for text and for the bytes of text: a lookup must not begin with a conversion.
DAYS: Final = _Days[str]()
BYTE_DAYS: Final = _Days[bytes]()
MINUTES: Final = _Minutes(DAYS, _CLOCK)
BYTE_MINUTES: Final = _Minutes(BYTE_DAYS, {text.encode(): micros for text, micros in _CLOCK.items()})
