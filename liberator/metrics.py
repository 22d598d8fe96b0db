"""How fast a pump goes: a counter that knows its rate.

Pumps count; what they publish about once a second is a plain dict, kept in the log for
``liberator status``. Nothing here talks to a monitoring system.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

#: Takes what a pump publishes about itself: JSON data, never a cell value.
Publish = Callable[[Mapping[str, Any]], None]


def unpublished(_status: Mapping[str, Any]) -> None:
    """A :data:`Publish` that nobody listens to."""


class Meter:
    """Counts events, and how many a second there were since the last look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.total = 0
        self._clock = clock
        self._looked = clock()
        self._seen = 0

    def add(self, count: int) -> None:
        """Count ``count`` more events."""
        self.total += count

    def rate(self) -> float:
        """Events per second since the last call."""
        now = self._clock()
        elapsed = now - self._looked
        rate = (self.total - self._seen) / elapsed if elapsed > 0 else 0.0
        self._looked, self._seen = now, self.total
        return round(rate, 1)


class Every:
    """True at most once per ``seconds``: for what is done while other work goes on."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._seconds = seconds
        self._clock = clock
        self._due = clock()

    def __call__(self) -> bool:
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + self._seconds
        return True
