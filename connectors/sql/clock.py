"""Clocks on walls: what a column without a time zone holds when it is written at a given moment.

Such a column holds what the clock in the writer's zone showed. Where that clock is put back in autumn it
shows every time of one hour twice: what was written later looks earlier. A cursor must not pass a time that
will be shown again, so :func:`wall` gives the smallest time that the clock shows from a moment on.
"""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

from connectors.sql.spelling import timestamp

_SECOND = 1_000_000
#: Clocks are put back by less than this, and not again within it.
_AHEAD = 4 * 3600
_STEP = 900
_UTC = datetime.timezone.utc  # noqa: UP017
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=_UTC)


def wall(micros: int, zone: str) -> int:
    """The smallest time that a clock in ``zone`` shows at ``micros`` (since 1970 UTC) or later, in
    microseconds since 1970-01-01 00:00 of that clock."""
    if zone == "UTC":
        return micros
    info = ZoneInfo(zone)
    now = micros + _offset(micros, info)
    # From now on the clock runs forward but where it is put back: just behind such a moment it may show
    # less than now.
    least = now
    before = _offset(micros, info)
    for step in range(_STEP, _AHEAD + _STEP, _STEP):
        later = micros + step * _SECOND
        after = _offset(later, info)
        if after < before:
            least = min(least, _change(later - _STEP * _SECOND, later, info) + after)
        before = after
    return least


def _change(low: int, high: int, info: ZoneInfo) -> int:
    """The first moment behind ``low``, to the second, at which the offset is that of ``high``."""
    wanted = _offset(high, info)
    while high - low > _SECOND:
        middle = (low + high) // 2
        if _offset(middle, info) == wanted:
            high = middle
        else:
            low = middle
    return high // _SECOND * _SECOND


def _offset(micros: int, info: ZoneInfo) -> int:
    moment = _EPOCH + datetime.timedelta(microseconds=micros)
    offset = moment.astimezone(info).utcoffset()
    assert offset is not None
    return offset // datetime.timedelta(microseconds=1)


def spell(micros: int) -> str:
    """A moment for people: ``2024-02-29 12:34:56.000001+00``."""
    return timestamp(micros, "+00")
