"""What tests of the source ``trigger`` have in common: a source with small pieces, and ways to read it."""

from __future__ import annotations

import time

from connectors.sql.trigger.source import TriggerSource
from liberator.event import Operation
from tests.race import Feed


def make(url, *tables, name="shop", **options):
    """A source, not opened."""
    given = {"type": "trigger", "url": url, "tables": list(tables), "poll": 0.01, "batch": 7, "chunk": 5}
    return TriggerSource(name, TriggerSource.Config(**{**given, **options}))


class Reading:
    """A source that is open, and all that it gave; confirmed as it comes."""

    def __init__(self, url, *tables, state=None, **options):
        self.source = make(url, *tables, **options)
        self.events = []
        self.state = state
        self.source.open(state)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.source.close()

    def read(self, patience=30.0):
        """Until all that is committed now was read and no snapshot is pending: the events since last time."""
        target = self.source.current()
        deadline = time.monotonic() + patience
        new = []
        while True:
            batch = self.source.read()
            new += batch.events
            self.state = batch.state
            self.source.confirm(batch.state.position)
            if not batch.open and self.source.reached(batch.state, target):
                self.events += new
                return new
            assert time.monotonic() < deadline, f"at {batch.state.position} of {target}"

    def until(self, done, patience=30.0):
        """Until ``done(events)``: the events since last time."""
        deadline = time.monotonic() + patience
        new = []
        while not done(new):
            batch = self.source.read()
            new += batch.events
            self.state = batch.state
            assert time.monotonic() < deadline, new
        self.events += new
        return new


def told(event):
    """Operation, and the row as a dict."""
    row = event.after if event.after is not None else event.before
    return event.operation.name.lower(), None if row is None else dict(
        zip(event.schema.names, row, strict=True)
    )


def mirror(events):
    """The rows that are there after these events, by key."""
    rows = {}
    for event in events:
        if event.operation is Operation.TRUNCATE:
            rows = {k: v for k, v in rows.items() if k[0] != event.topic}
        elif event.operation is Operation.DELETE:
            del rows[event.topic, event.key]
        else:
            rows[event.topic, event.key] = event.after
    return rows


class Confirming(Feed):
    """A feed that confirms what it has read, so that the change table is purged meanwhile."""

    def step(self):
        super().step()
        if self.source is not None:
            self.source.confirm(self.state.position)
