"""Dates and times: from the forms in which the servers store and print them to integers, exactly.

What a date column may hold and a calendar does not is decided in one place, :func:`odd_policy`: zero dates
and partial zero dates by the user's option; a day that no month has (``sql_mode ALLOW_INVALID_DATES``) and
dates in the year 0 are the database's own text, the escape described in :mod:`liberator.schema`. So are
times outside a day.

The same minute, and even more the same day, occurs in many rows, so both are remembered in dicts that are
emptied when they grow too large. In these, None means that the date is an odd one.

Packed forms: ``my_datetime_packed_to_binary`` and its sisters in ``mysys/my_time.cc``; the older ones in
``sql/field.cc``, in MariaDB also those with fractions (``Field_datetime_hires``).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
#: The sign bit of a packed datetime without its fraction, and of a packed time.
_DATETIME_SIGN: Final = 1 << 39
LIMIT: Final = 40_000
_MOST_HOURS: Final = 838

#: A second's microseconds; longer ones there are not.
SECONDS: Final = tuple(second * SECOND for second in range(60))
#: The microseconds of an hour and a minute: five bits and six. What is no minute is no number either.
CLOCK: Final[tuple[Any, ...]] = tuple(
    (bits >> 6) * HOUR + (bits & 63) * MINUTE if (bits & 63) < 60 else None for bits in range(24 << 6)
)

#: What becomes of a date that is none: from its text to a value.
Odd = Callable[[str], str | None]
_Value = int | str | None


@lru_cache(maxsize=4096)
def days(year: int, month: int, day: int) -> int | None:
    """Days since 1970-01-01; None for what is not a date from year 1 to 9999."""
    try:
        return datetime.date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None


def odd_policy(zero_dates: str) -> Odd:
    """The function for dates (and times on them) that are not in the calendar, from the text that the
    database prints. It raises ValueError if zero dates are an error."""

    def odd(text: str) -> str | None:
        if text[5:7] != "00" and text[8:10] != "00":
            return text
        if zero_dates == "string":
            return text
        if zero_dates == "null":
            return None
        raise ZeroDateError("a zero date")

    return odd


class ZeroDateError(ValueError):
    """A zero date where the user wants none."""


def spell_date(year: int, month: int, day: int) -> str:
    """``YYYY-MM-DD``, of any numbers that fit. Raises ValueError for what no server stores."""
    if year > 9999 or month > 12 or day > 31:
        raise ValueError("not a date")
    return f"{year:04}-{month:02}-{day:02}"


def spell_clock(seconds: int, micros: int, digits: int) -> str:
    """``HH:MM:SS`` with so many digits of a fraction; hours may be more than 23."""
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{micros:06}"[: len(text) + 1 + digits] if digits else text


# Stored forms.


class _Days(dict[bytes, "int | None"]):
    """Three bytes of a stored date → days since 1970."""

    def __missing__(self, key: bytes) -> int | None:
        year, month, day = _split_date(key)
        spell_date(year, month, day)
        value = days(year, month, day)
        if len(self) >= LIMIT:
            self.clear()
        self[key] = value
        return value


def _split_date(data: bytes) -> tuple[int, int, int]:
    if len(data) != 3:
        raise ValueError("not a date")
    packed = int.from_bytes(data, "little")
    return packed >> 9, packed >> 5 & 15, packed & 31


def odd_date(odd: Odd, data: bytes) -> str | None:
    """A stored date that the calendar does not have."""
    return odd(spell_date(*_split_date(data)))


class _Dates(dict[int, "int | None"]):
    """A stored datetime's bits before the hour → microseconds since 1970."""

    def __missing__(self, key: int) -> int | None:
        year, month, day = _split_datetime(key)
        date = days(year, month, day)
        value = None if date is None else date * DAY
        if len(self) >= LIMIT:
            self.clear()
        self[key] = value
        return value


def _split_datetime(bits: int) -> tuple[int, int, int]:
    bits -= _DATETIME_SIGN >> 17
    year, month = divmod(bits >> 5, 13)
    if bits < 0 or year > 9999:
        raise ValueError("not a datetime")
    return year, month, bits & 31


def odd_datetime(odd: Odd, digits: int, packed: int, micros: int) -> str | None:
    """A stored datetime on an odd date; ``packed`` has all but the fraction."""
    seconds = (CLOCK[packed >> 6 & 2047] + SECONDS[packed & 63]) // SECOND
    if not 0 <= micros < SECOND:
        raise ValueError("not a datetime")
    return odd(f"{spell_date(*_split_datetime(packed >> 17))} {spell_clock(seconds, micros, digits)}")


def odd_timestamp(odd: Odd, digits: int, micros: int) -> str | None:
    """A stored timestamp of second 0, which stands for the zero date."""
    if micros:
        raise ValueError("not a timestamp")
    return odd("0000-00-00 " + spell_clock(0, 0, digits))


def time_value(digits: int, packed: int) -> int | str:
    """A stored time; ``packed`` is its integer, 24 bits of a fraction and all, without the sign's offset."""
    size = abs(packed)
    seconds, micros = size >> 24, size & 0xFFFFFF
    hour, minute, second = seconds >> 12, seconds >> 6 & 63, seconds & 63
    if hour > _MOST_HOURS or minute > 59 or second > 59 or micros >= SECOND:
        raise ValueError("not a time")
    return clock_value(hour * 3600 + minute * 60 + second, micros, packed < 0, digits)


def clock_value(seconds: int, micros: int, negative: bool, digits: int) -> int | str:
    if seconds < 86_400 and not negative:
        return seconds * SECOND + micros
    return ("-" if negative else "") + spell_clock(seconds, micros, digits)


def old_time(number: int) -> int | str:
    """A time as stored before MySQL 5.6: the number HHMMSS."""
    size = abs(number)
    hour, minute, second = size // 10_000, size // 100 % 100, size % 100
    if hour > _MOST_HOURS or minute > 59 or second > 59:
        raise ValueError("not a time")
    return clock_value(hour * 3600 + minute * 60 + second, 0, number < 0, 0)


def old_datetime(odd: Odd, number: int) -> _Value:
    """A datetime as stored before MySQL 5.6: the number YYYYMMDDHHMMSS."""
    date, clock = divmod(number, 1_000_000)
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("not a datetime")
    text = spell_date(year, month, day)
    seconds = hour * 3600 + minute * 60 + second
    count = days(year, month, day)
    if count is None:
        return odd(f"{text} {spell_clock(seconds, 0, 0)}")
    return count * DAY + seconds * SECOND


def old_fine_time(digits: int, number: int) -> int | str:
    """A time with a fraction as MariaDB stored it before 10.1: a count of its smallest unit."""
    number -= (_MOST_HOURS * 3600 + 3600) * 10**digits
    seconds, fraction = divmod(abs(number), 10**digits)
    if seconds > _MOST_HOURS * 3600 + 3599:
        raise ValueError("not a time")
    return clock_value(seconds, fraction * 10 ** (6 - digits), number < 0, digits)


def old_fine_datetime(odd: Odd, digits: int, number: int) -> _Value:
    """A datetime with a fraction as MariaDB stored it before 10.1: months of 32 days, years of 13 months."""
    unit: int = 10**digits
    rest, fraction = divmod(number, unit)
    micros = fraction * (SECOND // unit)
    rest, seconds = divmod(rest, 86_400)
    rest, day = divmod(rest, 32)
    year, month = divmod(rest, 13)
    text = spell_date(year, month, day)
    count = days(year, month, day)
    if count is None:
        return odd(f"{text} {spell_clock(seconds, micros, digits)}")
    return count * DAY + seconds * SECOND + micros


DAYS: Final = _Days()
DATES: Final = _Dates()

# Printed forms.

_DATE = re.compile(rb"(\d{4})-(\d\d)-(\d\d)")
_TIME = re.compile(rb"(-?)(\d{2,3}):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?")


class _TextDays(dict[bytes, "int | None"]):
    """``YYYY-MM-DD`` → days since 1970."""

    def __missing__(self, key: bytes) -> int | None:
        match = _DATE.fullmatch(key)
        if match is None:
            raise ValueError("not a date")
        value = days(int(match[1]), int(match[2]), int(match[3]))
        if len(self) >= LIMIT:
            self.clear()
        self[key] = value
        return value


def text_datetime(odd: Odd, data: bytes) -> _Value:
    """A printed datetime or timestamp, whatever it is."""
    time = text_time(data[11:])
    if data[10:11] != b" " or isinstance(time, str):
        raise ValueError("not a datetime")
    day = TEXT_DAYS[data[:10]]
    return odd(data.decode()) if day is None else day * DAY + time


def text_time(data: bytes) -> int | str:
    """A printed time."""
    match = _TIME.fullmatch(data)
    if match is None:
        raise ValueError("not a time")
    sign, hours, minutes, seconds, fraction = match.groups()
    count = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    if count >= 86_400 or sign:
        return data.decode()
    return count * SECOND + (int(fraction.ljust(6, b"0")) if fraction else 0)


TEXT_DAYS: Final = _TextDays()

TEXT_CLOCK: Final[Mapping[bytes, int]] = {
    f" {m // 60:02}:{m % 60:02}:".encode(): m * MINUTE for m in range(24 * 60)
}
