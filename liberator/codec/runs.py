"""A batch of events as runs of one table version each: what the codecs' encoders have in common.

A codec says how to make the writer of a table version; here the writers are found again by the identity of
the schema object, and the columns of :class:`~liberator.log.Records` that a run shares are filled at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Protocol

from liberator.event import ChangeEvent, Events, Run
from liberator.log import Headers, Records
from liberator.schema import TableSchema

#: How many schema objects an encoder remembers; a source may make a new, equal one for each message.
REMEMBERED = 10_000
_NO_HEADERS: Headers = ()


class Writer(Protocol):
    """Writes the events of one table version."""

    topic: str

    def run(self, schema: TableSchema, events: Iterator[ChangeEvent], records: Records) -> ChangeEvent | None:
        """Append keys and values, and headers if there are any, until an event has another schema object
        or topic, which is returned; None when all are done. ``schema`` equals the writer's own."""
        ...

    def rows(self, run: Run, records: Records) -> None:
        """Append keys and values of a run, and headers if there are any."""
        ...


class RunEncoder:
    """An encoder in the sense of :data:`liberator.codec.Encode`.

    ``make`` compiles the writer of a table version; ``start`` is told the time, in milliseconds since
    1970, before each batch.
    """

    def __init__(self, make: Callable[[TableSchema, str], Writer], start: Callable[[int], None]):
        self._make = make
        self._start = start
        # the schema is kept beside its writer, so that its id cannot be given to another object
        self._by_object: dict[tuple[int, str], tuple[Writer, TableSchema]] = {}
        self._by_fingerprint: dict[tuple[str, str], Writer] = {}

    def __call__(self, events: Sequence[ChangeEvent], records: Records) -> None:
        now = time.time_ns() // 1_000_000
        self._start(now)
        values = records.values
        try:
            for part in events.parts if isinstance(events, Events) else (events,):
                if isinstance(part, Run):
                    self._rows(part, records)
                else:
                    self._events(part, records)
        finally:
            records.headers.extend([_NO_HEADERS] * (len(values) - len(records.headers)))
            records.timestamps.extend([now] * (len(values) - len(records.timestamps)))

    def _rows(self, run: Run, records: Records) -> None:
        writer = self._find(run.schema, run.topic)
        try:
            writer.rows(run, records)
        finally:
            records.topics.extend([writer.topic] * (len(records.values) - len(records.topics)))

    def _events(self, events: Sequence[ChangeEvent], records: Records) -> None:
        topics, values = records.topics, records.values
        rest = iter(events)
        event = next(rest, None)
        while event is not None:
            writer = self._find(event.schema, event.topic)
            try:
                event = writer.run(event.schema, chain((event,), rest), records)
            finally:
                topics.extend([writer.topic] * (len(values) - len(topics)))

    def _find(self, schema: TableSchema, topic: str) -> Writer:
        known = self._by_object.get((id(schema), topic))
        if known is not None:
            return known[0]
        made = self._by_fingerprint.get((schema.fingerprint, topic))
        if made is None:
            made = self._by_fingerprint[schema.fingerprint, topic] = self._make(schema, topic)
        if len(self._by_object) >= REMEMBERED:
            self._by_object.clear()
        self._by_object[id(schema), topic] = (made, schema)
        return made
