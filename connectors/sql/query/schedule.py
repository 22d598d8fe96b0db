"""When to poll: every so many seconds, or at the times that a cron expression names.

An interval is counted on the monotonic clock, from the beginning of one poll to that of the next; cron by
this machine's clock, in UTC. A poll that takes longer than the interval is followed by the next at once;
times of cron that went by meanwhile are not made up for.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable

from cronsim import CronSim, CronSimError


def check_cron(expression: str) -> str:
    """``expression`` if it can be read; ValueError if not."""
    try:
        next(CronSim(expression, datetime.datetime.now(datetime.UTC)))
    except (CronSimError, StopIteration):
        raise ValueError(
            "must be five fields of cron that some day match: minute hour day month weekday"
        ) from None
    return expression


class Schedule:
    """Says whether a poll is due; the first one always is."""

    def __init__(
        self,
        interval: float,
        cron: str | None,
        monotonic: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ):
        self._interval = interval
        self._cron = cron
        self._monotonic = monotonic
        self._utc = utc
        self._at = 0.0  # when the last poll began
        self._next: datetime.datetime | None = None
        self._begun = False

    def wait(self) -> float:
        """Seconds until the next poll is due; 0 if it is."""
        if not self._begun:
            return 0.0
        if self._next is not None:
            return max(0.0, (self._next - self._utc()).total_seconds())
        return max(0.0, self._at + self._interval - self._monotonic())

    def begin(self) -> None:
        """A poll begins now."""
        self._begun = True
        self._at = self._monotonic()
        if self._cron is not None:
            self._next = next(CronSim(self._cron, self._utc()))

    @property
    def since(self) -> float:
        """Seconds since the last poll began."""
        return self._monotonic() - self._at
