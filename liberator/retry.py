"""When to try again, and how long to wait before.

Whether a retry can help is written on the error (``error.retryable``) and read nowhere else. How long to
wait is a :class:`Backoff`: exponential with full jitter, so that many workers that lost one server do not
come back in step, capped, and forgotten after a calm while.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from liberator.errors import LiberatorError


def retryable(error: BaseException) -> bool:
    """Whether trying again can help. An error that is not ours is a defect: it is not tried again."""
    return isinstance(error, LiberatorError) and error.retryable


class Backoff:
    """How long to wait before the next attempt; one per thing that is attempted.

    The nth wait in a row is a random part of ``base * 2**n`` seconds, at most ``cap``. An attempt that
    lasted ``calm`` seconds was a success: the waits begin anew.
    """

    def __init__(
        self,
        base: float = 0.25,
        cap: float = 30.0,
        calm: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ):
        self.failures = 0
        self._base = base
        self._cap = cap
        self._calm = calm
        self._clock = clock
        self._jitter = jitter
        self._began = clock()

    def began(self) -> None:
        """An attempt begins now."""
        self._began = self._clock()

    def failed(self) -> float:
        """The attempt failed: count it, and return the seconds to wait before the next one."""
        if self._clock() - self._began >= self._calm:
            self.failures = 0
        # 2**30 seconds is above any cap, and the exponent must not grow for ever
        limit = min(self._cap, self._base * 2 ** min(self.failures, 30))
        self.failures += 1
        return self._jitter(0, limit)
