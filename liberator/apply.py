"""Pump two: the log into a sink.

Read a slice, decode it, write its events, commit them together with the cursor behind them. A sink that
keeps its cursor beside its rows is thereby exactly once: after any error the pump opens a new sink and goes
on from the cursor that this one finds. One commit takes what is there, at most about a batch: a sink that
is behind works in large batches, one that has caught up commits each change as it comes.

Events that the topic filter leaves out move the cursor too, written about once a second and at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from liberator.codec import Decoder
from liberator.errors import ConfigError, SinkError
from liberator.event import ChangeEvent
from liberator.log import Cursor, Log, Topics
from liberator.metrics import Every, Meter, Publish, unpublished
from liberator.reading import LARGE, Ahead, Piece, Place, Reader
from liberator.retry import Backoff, retryable
from liberator.sink import Sink

#: How often the cursor of events that were left out is written, and the status published.
SECOND = 1.0
#: How long a read that finds nothing waits for more; a stop is seen this much later at most.
WAIT = 0.2
#: How long a commit may be put off to gather more events while the log gives little at a time.
GATHER = 0.005


@dataclass(frozen=True, slots=True)
class Plan:
    """What to apply, and how: the options that every sink has (see liberator.options)."""

    topics: Topics = None
    apply: Literal["transaction", "batch"] = "transaction"
    batch: int = 5000
    start: Literal["earliest", "latest"] = "earliest"

    def reader(self, log: Log, decoder: Decoder) -> Reader:
        """What reads ``log`` for such a sink."""
        return Reader(log, decoder, self.topics, self.apply == "transaction")


class Apply:
    """Moves the log into one sink. All calls from one thread; an instance runs once.

    ``make`` gives a new, unopened sink each time. ``ahead`` reads the same log as ``log`` while the sink
    works; without it, reading and writing take turns. ``publish`` receives the pump's status about once a
    second, and at once when it has to try again.
    """

    def __init__(
        self,
        make: Callable[[], Sink],
        log: Log,
        decoder: Decoder,
        plan: Plan,
        publish: Publish = unpublished,
        backoff: Backoff | None = None,
        ahead: Ahead | None = None,
    ):
        if plan.apply == "transaction" and not log.ordered:
            raise ConfigError(
                "apply: transaction needs a log with one total order, and this log has partitions",
                hint="set `apply: batch` at the sink, or use the embedded log",
            )
        self._make = make
        self._log = log
        self._plan = plan
        self._reader = plan.reader(log, decoder)
        self._ahead = ahead
        self._publish = publish
        self._sink: Sink | None = None
        self._place: Place | None = None  # how far we have read
        self._done: Cursor | None = None  # how far the sink has committed
        self._uncommitted = 0
        self._timestamp = 0
        self._backoff = backoff or Backoff(calm=5)
        self._trouble: SinkError | None = None
        self._meter = Meter()
        self._idle = Every(SECOND)
        self._chores = Every(SECOND)

    def run(self, stop: Callable[[], bool], until: Callable[[], Cursor | None] = lambda: None) -> bool:
        """Apply until ``stop()``, or until the sink has committed ``until()``; True for the latter.

        ``until`` is asked again and again, for the place to reach may become known later. Errors that a
        retry can mend are retried here for as long as it takes; the others are raised.
        """
        try:
            while not stop():
                try:
                    if self._round(until()):
                        return True
                except SinkError as exc:
                    if not retryable(exc):
                        raise
                    self._retry(exc, stop)
            if self._sink is not None and self._place is not None and self._may_commit(self._place):
                self._commit(self._sink, self._place.cursor)  # the cursor of what was left out
            return False
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the sink; what it did not commit, it rolls back."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()

    def _round(self, until: Cursor | None) -> bool:
        """One commit, or one wait for something to commit; whether ``until`` is committed."""
        sink = self._sink or self._open_sink()
        behind = self._gather(sink)
        assert self._place is not None and self._done is not None
        here = self._place.cursor
        reached = until is not None and covers(here, until)
        if self._may_commit(self._place) and (self._uncommitted or reached or self._idle()):
            self._commit(sink, here)
        if self._chores():
            self._publish(self.status())
        if until is not None and covers(self._done, until):
            self._publish(self.status())
            return True
        if not behind:
            if reached:
                raise self._cut()
            self._log.wait(here, WAIT)
        return False

    def _gather(self, sink: Sink) -> bool:
        """Read and write about one batch; whether there may be more to read."""
        deadline = time.monotonic() + GATHER
        events: list[ChangeEvent] = []
        behind = True
        while behind and len(events) < self._plan.batch:
            assert self._place is not None
            piece = self._next(self._place, self._plan.batch - len(events))
            if events and piece.place.open and not self._place.open:
                break  # a transaction that will take a while: first commit what came before it
            behind = piece.place.cursor != self._place.cursor
            self._place = piece.place
            events = events + piece.events if events else piece.events
            if time.monotonic() >= deadline:
                break
        if events:
            sink.write(events)
            self._uncommitted += len(events)
            self._meter.add(len(events))
            self._timestamp = events[-1].transaction.timestamp
        return behind

    def _next(self, place: Place, limit: int) -> Piece:
        """The piece behind ``place``. One that is full has most likely another one behind it."""
        piece = self._ahead.take(place) if self._ahead is not None else None
        if piece is None:
            piece = self._reader.read(place, limit)
        if self._ahead is not None and piece.records >= self._plan.batch and piece.size < LARGE:
            self._ahead.begin(piece.place, self._plan.batch)
        return piece

    def _may_commit(self, place: Place) -> bool:
        return place.cursor != self._done and (self._plan.apply == "batch" or not place.open)

    def _commit(self, sink: Sink, cursor: Cursor) -> None:
        sink.commit(cursor)
        if not sink.keeps_cursor:
            self._log.commit(sink.name, cursor)
        self._done = cursor
        self._uncommitted = 0
        self._backoff_is_over()

    def _open_sink(self) -> Sink:
        """Open a new sink and go where it stopped. One that has no place yet gets one at once, so that
        the next start does not choose anew."""
        sink = self._sink = self._make()
        self._backoff.began()
        cursor = sink.open()
        if not sink.keeps_cursor:
            cursor = self._log.committed(sink.name)
        self._uncommitted = 0
        if cursor is None:
            log, plan = self._log, self._plan
            cursor = log.begin() if plan.start == "earliest" else log.latest(plan.topics)
            self._commit(sink, cursor)
        else:
            self._check(sink, cursor)
            self._done = cursor
        self._place = Place(cursor)
        return sink

    def _cut(self) -> SinkError:
        """The error for a log that ends in the middle of a transaction, with nothing more to come."""
        names = ", ".join(self._log.unfinished())
        return SinkError(
            f"the log ends in the middle of a transaction of source {names}, which cannot be applied yet",
            hint="run that source again, so that it completes the transaction; one that is gone for good is "
            f"given up with `liberator teardown --config FILE {names}`",
        )

    def _check(self, sink: Sink, cursor: Cursor) -> None:
        """Refuse a place that this log does not know: another log's, or one behind its end."""
        if cursor.log != self._log.identity:
            raise SinkError(
                f"sink {sink.name} was filled from another log ({cursor.log}) than this one "
                f"({self._log.identity}), so its place means nothing here",
                hint="configure the log it was filled from; or, to fill it anew from this one, empty its "
                "tables and forget its place with `liberator teardown`",
            )
        end = self._log.end()
        if not covers(end, cursor):
            raise SinkError(
                f"sink {sink.name} is ahead of the log: its place is {_text(cursor)}, the log ends at "
                f"{_text(end)}",
                hint="the log was replaced by an older copy of itself; restore the newer one, or empty the "
                "sink's tables and forget its place with `liberator teardown`",
            )

    def _retry(self, error: SinkError, stop: Callable[[], bool]) -> None:
        """Roll back by closing the sink, then wait; the next round opens a new one."""
        self._trouble = error
        delay = self._backoff.failed()
        self._publish(self.status() | {"retry_in": round(delay, 3)})
        try:
            self.close()
        except SinkError:
            self._sink = None  # it is broken: that is why we are here
        until = time.monotonic() + delay
        while not stop() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, WAIT))

    def _backoff_is_over(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            self._publish(self.status())

    def status(self) -> dict[str, Any]:
        """What ``liberator status`` shows of this sink; ``timestamp`` in microseconds since 1970."""
        lag = None
        if self._done is not None:
            end = self._log.end()
            lag = sum(max(0, o - self._done.offsets.get(p, 0)) for p, o in end.offsets.items())
        return {
            "phase": "retrying" if self._trouble else "applying",
            "events": self._meter.total,
            "rate": self._meter.rate(),
            "cursor": self._done.to_json() if self._done is not None else None,
            "lag": lag,
            "timestamp": self._timestamp,
            "transaction_open": self._place is not None and self._place.open,
            "error": str(self._trouble) if self._trouble else None,
            "hint": self._trouble.hint if self._trouble else None,
        }


def covers(cursor: Cursor, target: Cursor) -> bool:
    """Whether everything before ``target`` is before ``cursor`` too; both are of one log."""
    return all(cursor.offsets.get(partition, 0) >= offset for partition, offset in target.offsets.items())


def _text(cursor: Cursor) -> str:
    """The offsets for a message: ``17``, or ``a:3, b:9`` with partitions."""
    return ", ".join(f"{p}:{o}" if p else str(o) for p, o in sorted(cursor.offsets.items())) or "0"
