"""Pump one: a source into the log.

Read a batch, encode it, append its records and the source's state in one durable step, and only then
confirm the position to the source: that order, in this one place, is why nothing is lost and nothing
comes twice. A batch without events still moves the position: such a state is stored about once a
second, not for every keepalive, and nothing that is not stored is confirmed.

How an append is carried out while the next batch is read is the appender's matter
(:mod:`liberator.appender`); which process this runs in, and what happens after an error, the worker's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import liberator
from liberator.appender import Append, Appender, Straight
from liberator.codec import Codec, Producer
from liberator.errors import LiberatorError
from liberator.event import Position
from liberator.log import Log, Records
from liberator.metrics import Every, Meter, Publish, unpublished
from liberator.source import Batch, Source, State

#: How often an idle source's state is stored, signals are looked for and the status is published.
SECOND = 1.0


class Capture:
    """Moves one source into the log. All calls from one thread; an instance runs once.

    ``appender`` appends to the same log as ``log``; without one, appends are made at once. ``publish``
    receives the pump's status about once a second.
    """

    def __init__(
        self,
        source: Source,
        log: Log,
        codec: Codec,
        publish: Publish = unpublished,
        clock: Callable[[], float] = time.monotonic,
        appender: Appender | None = None,
    ):
        self._source = source
        self._log = log
        self._appender = appender or Straight(log, source.name)
        self._encode = codec.encoder(
            Producer(source.name, source.connector, liberator.__version__, source.origin_fields)
        )
        self._publish = publish
        self._stored: State | None = None  # durable
        self._handed: State | None = None  # durable, or on its way
        self._timestamp = 0
        self._meter = Meter(clock)
        self._idle = Every(SECOND, clock)
        self._chores = Every(SECOND, clock)
        self._looks = Every(SECOND, clock)
        self._asked = 0
        self._refused: dict[int, str] = {}

    def run(self, stop: Callable[[], bool], until: Position | None = None) -> bool:
        """Capture until ``stop()``, or until the log durably covers ``until``, or the source says that
        it has come to its end; True for the latter two.

        The batch in hand is always finished, stored and confirmed. Errors are raised as they come;
        whatever the last append stored is where the next run goes on.
        """
        source = self._source
        self._stored = self._handed = self._log.state(source.name)
        source.open(self._stored)
        if self._stored is not None:
            self._asked = self._stored.snapshot.get("signal", 0)
            source.confirm(self._stored.position)  # a crash may have come between append and confirm
        self._look_for_signals()
        while True:
            batch = source.read()
            reached = batch.end or (until is not None and not batch.open and self._covers(batch.state, until))
            last = reached or stop()
            self._take(batch, at_once=last)
            if last:
                self._confirm(self._appender.poll(wait=True))
            if last or self._chores():
                self._publish(self.status(batch.state))
            if last:
                return reached
            if self._looks():
                self._look_for_signals()

    def _take(self, batch: Batch, at_once: bool) -> None:
        """Store a batch; one without events only now and then, or ``at_once``. Confirm what is stored."""
        if batch.timestamp:
            self._timestamp = batch.timestamp
        if batch.events or (batch.state != self._handed and (at_once or self._idle())):
            records = Records()
            self._encode(batch.events, records)
            self._confirm(self._appender.append(Append(records, batch.state, batch.open)))
            self._handed = batch.state
            self._meter.add(len(batch.events))
        self._confirm(self._appender.poll())

    def _confirm(self, durable: State | None) -> None:
        if durable is not None:
            self._stored = durable
            self._source.confirm(durable.position)

    def _covers(self, state: State, until: Position) -> bool:
        """Whether ``state`` covers ``until`` and every signal that was passed on to the source."""
        if not self._source.reached(state, until):
            return False
        noted = state.snapshot.get("signal", 0)
        return self._asked <= noted or self._asked in self._refused

    def _look_for_signals(self) -> None:
        """Pass new requests to the source. One that it refuses must not stop the stream: it is shown
        in the status, and looked at again only after a restart."""
        source = self._source
        for signal in self._log.signals(source.name, after=self._asked):
            self._asked = signal.id
            try:
                source.snapshot(signal.id, signal.body.get("tables", []))
            except NotImplementedError as exc:
                self._refused[signal.id] = str(exc)
            except LiberatorError as exc:
                if exc.retryable:
                    raise
                self._refused[signal.id] = str(exc)

    def status(self, state: State) -> dict[str, Any]:
        """What ``liberator status`` shows of this source; ``timestamp`` in microseconds since 1970."""
        snapshotting = not self._source.reached(state, state.position)
        stored = self._stored or state
        return {
            "phase": "snapshot" if snapshotting else "streaming",
            "events": self._meter.total,
            "rate": self._meter.rate(),
            "position": self._source.describe(stored.position),
            "timestamp": self._timestamp,
            "snapshot": dict(state.snapshot),
            "refused": {str(number): reason for number, reason in self._refused.items()},
        }
