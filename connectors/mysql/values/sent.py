"""Dates and times as the binary protocol sends them, to the integers of :mod:`.temporal`.

A form ends where nothing but zeros would follow: none of it at all is a zero date or midnight. As there, days
and minutes are remembered, and None means that a date is an odd one.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from connectors.mysql.values.temporal import (
    DAY,
    HOUR,
    LIMIT,
    MINUTE,
    SECOND,
    Odd,
    clock_value,
    days,
    spell_clock,
    spell_date,
)

_date = struct.Struct("<HBB")
_datetime = struct.Struct("<HBBBBBI")
_time = struct.Struct("<BIBBBI")
#: Bytes of a datetime without its time of day, without its fraction, and whole; of a time.
DATE_SIZE, CLOCK_SIZE, WHOLE_SIZE = 4, 7, 11
_TIME_SIZES: Final = (8, 12)


class _Days(dict[int, "int | None"]):
    """Year, month and day as one number of four bytes → days since 1970, in units of ``unit``."""

    def __init__(self, unit: int):
        super().__init__()
        self._unit = unit

    def __missing__(self, key: int) -> int | None:
        year, month, day = key & 0xFFFF, key >> 16 & 255, key >> 24
        spell_date(year, month, day)
        count = days(year, month, day)
        value = None if count is None else count * self._unit
        if len(self) >= LIMIT:
            self.clear()
        self[key] = value
        return value


#: As days, and as microseconds.
SENT_DAYS: Final = _Days(1)
SENT_DATES: Final = _Days(DAY)
#: Hour and minute as one number of two bytes → microseconds.
SENT_CLOCK: Final[Mapping[int, int]] = {
    hour | minute << 8: hour * HOUR + minute * MINUTE for hour in range(24) for minute in range(60)
}


def sent_date(odd: Odd, data: bytes) -> int | str | None:
    """A date, whatever it is."""
    year, month, day = _date.unpack(data or bytes(DATE_SIZE))
    text, count = spell_date(year, month, day), days(year, month, day)
    return odd(text) if count is None else count


def sent_datetime(odd: Odd, digits: int, data: bytes) -> int | str | None:
    """A datetime or timestamp, whatever it is."""
    if len(data) not in (0, DATE_SIZE, CLOCK_SIZE, WHOLE_SIZE):
        raise ValueError("not a datetime")
    year, month, day, hour, minute, second, micros = _datetime.unpack(data.ljust(WHOLE_SIZE, b"\0"))
    if hour > 23 or minute > 59 or second > 59 or micros >= SECOND:
        raise ValueError("not a datetime")
    text, count = spell_date(year, month, day), days(year, month, day)
    seconds = hour * 3600 + minute * 60 + second
    if count is None:
        return odd(f"{text} {spell_clock(seconds, micros, digits)}")
    value: int = count * DAY + seconds * SECOND + micros
    return value


def sent_time(digits: int, data: bytes) -> int | str:
    """A time."""
    if data and len(data) not in _TIME_SIZES:
        raise ValueError("not a time")
    negative, day, hour, minute, second, micros = _time.unpack(data.ljust(_time.size, b"\0"))
    if negative > 1 or hour > 23 or minute > 59 or second > 59 or micros >= SECOND:
        raise ValueError("not a time")
    seconds = day * 86_400 + hour * 3600 + minute * 60 + second
    return clock_value(seconds, micros, bool(negative), digits)
