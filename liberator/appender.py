"""Between capture and the log: appends one after the other, at once or on a thread of their own.

Most of an append is waiting for the disk. :class:`Behind` lets the pump read and encode the next batches
meanwhile: one append is under way and one more may wait, so that an append that takes longer than others
does not stop the pump. They are made one after the other, so order and bounds stay what they are. What both
promise: a state is returned only once it is durable, and an append that failed is raised by the next
call, after which nothing more is appended.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from liberator.log import Log, Records
from liberator.source import State

#: Appends that may be handed over at a time: the one under way, and one that waits.
_GIVEN: Final = 2


class Append(NamedTuple):
    """What goes into the log in one step; see :meth:`liberator.log.Log.append`."""

    records: Records
    state: State
    open: bool


class Appender(Protocol):
    """Appends for one source. ``append`` and ``poll`` return the newest state that has become durable and was
    not returned before, or None."""

    def append(self, step: Append) -> State | None:
        """Begin to append, or wait until that is possible."""
        ...

    def poll(self, wait: bool = False) -> State | None:
        """Look which appends have ended; ``wait`` until all have."""
        ...

    def close(self) -> None:
        """Let go; what is under way is brought to its end. Safe to call twice."""
        ...


class Straight:
    """Appends at once, with the caller's own log."""

    def __init__(self, log: Log, source: str):
        self._log = log
        self._source = source

    def append(self, step: Append) -> State | None:
        """Append; the state is durable on return."""
        self._log.append(self._source, step.records, step.state, open=step.open)
        return step.state

    def poll(self, wait: bool = False) -> State | None:
        """Nothing is ever under way."""
        return None

    def close(self) -> None:
        """The log is the caller's."""


class Behind:
    """Appends on a thread of its own, with a log of its own that ``open_log`` opens there.

    On return from the constructor the log is open and the source is claimed. Raises what opening and
    claiming raise.
    """

    def __init__(self, open_log: Callable[[], Log], source: str):
        self._steps: queue.SimpleQueue[Append | None] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[State | BaseException | None] = queue.SimpleQueue()
        self._given = 1  # appends of which the end is not known, and the opening of the log
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._work, args=(open_log, source), name=f"append {source}", daemon=True
        )
        self._thread.start()
        self.poll(wait=True)

    def append(self, step: Append) -> State | None:
        """Hand the append over, as soon as no other one waits for its turn."""
        durable = self._ended(_GIVEN - 1)
        self._given += 1
        self._steps.put(step)
        return durable

    def poll(self, wait: bool = False) -> State | None:
        """The state of the last append that has ended, if it was not told yet."""
        return self._ended(0 if wait else _GIVEN)

    def _ended(self, left: int) -> State | None:
        """Take note of all ends there are, and wait until no more than ``left`` are missing."""
        if self._failure is not None:
            raise self._failure
        durable = None
        while self._given:
            try:
                end = self._ends.get(block=self._given > left)
            except queue.Empty:
                break
            if isinstance(end, BaseException):
                self._failure = end
                raise end
            self._given -= 1
            durable = end
        return durable

    def close(self) -> None:
        """Wait for the appends that were handed over, and end the thread."""
        self._steps.put(None)
        self._thread.join()

    def _work(self, open_log: Callable[[], Log], source: str) -> None:
        try:
            with open_log() as log:
                log.claim(f"source:{source}")
                self._ends.put(None)
                while (step := self._steps.get()) is not None:
                    log.append(source, step.records, step.state, open=step.open)
                    self._ends.put(step.state)
        except BaseException as exc:
            self._ends.put(exc)
