"""Faults on order: wrap a source, a sink or a log, and queue what shall go wrong in which operation.

    faults = Faults()
    faults.before("append", Crash())            # the next append fails without effect
    faults.after("confirm", Crash(), skip=2)    # the third confirm takes effect, then fails
    faults.delay("commit", 0.5)                 # the next commit takes its time
    log = faults.wrap(MemoryLog())

Each operation has its own queue, first in, first out: one call takes one entry. A fault *after* an
operation is the one that programs forget: it did happen, and the caller does not know. ``calls`` lists every
operation in the order in which they were called, across all that one ``Faults`` wraps.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

Wrapped = TypeVar("Wrapped")


class Crash(BaseException):
    """The process dies here. Like a SIGKILL, and unlike an error, nobody handles it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens in one call: raise ``error`` before or after it takes effect, or just wait."""

    when: Literal["before", "after", "never"]
    error: BaseException | None = None
    seconds: float = 0.0


class Faults:
    """Queues of faults by operation, for everything that was wrapped."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._queues: dict[str, deque[Fault | None]] = defaultdict(deque)

    def before(self, operation: str, error: BaseException, skip: int = 0) -> None:
        """Fail a call before it takes effect, after ``skip`` calls that are left alone."""
        self._queue(operation, Fault("before", error), skip)

    def after(self, operation: str, error: BaseException, skip: int = 0) -> None:
        """Fail a call that has taken effect."""
        self._queue(operation, Fault("after", error), skip)

    def delay(self, operation: str, seconds: float, skip: int = 0) -> None:
        """Let a call take ``seconds`` longer."""
        self._queue(operation, Fault("never", None, seconds), skip)

    def pending(self) -> bool:
        """Whether a fault is still waiting for its call; a test that ends so has tested nothing."""
        return any(fault is not None for queue in self._queues.values() for fault in queue)

    def wrap(self, thing: Wrapped) -> Wrapped:
        """``thing``, but every method call takes its fault first; attributes pass through."""
        return cast(Wrapped, _Faulty(thing, self))

    def call(self, operation: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``method`` with the fault that is next in the operation's queue."""
        self.calls.append(operation)
        queue = self._queues[operation]
        fault = queue.popleft() if queue else None
        if fault is None:
            return method(*args, **kwargs)
        time.sleep(fault.seconds)
        if fault.error is not None and fault.when == "before":
            raise fault.error
        result = method(*args, **kwargs)
        if fault.error is not None:
            raise fault.error
        return result

    def _queue(self, operation: str, fault: Fault, skip: int) -> None:
        self._queues[operation] += [*[None] * skip, fault]


class _Faulty:
    """Stands for a source, sink or log; only ``Faults.wrap`` makes one."""

    def __init__(self, thing: Any, faults: Faults):
        self._thing = thing
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._thing, name)
        if not callable(value) or isinstance(value, type):
            return value

        def called(*args: Any, **kwargs: Any) -> Any:
            return self._faults.call(name, value, *args, **kwargs)

        return called
