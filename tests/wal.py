"""Reading a WAL source in tests: open, read until all that is committed has come, compare briefly."""

from __future__ import annotations

import time
from contextlib import contextmanager

import psycopg

from connectors.postgres.wal.source import PostgresWal
from liberator.event import ABSENT


class Wal:
    """One source over its lives; ``state`` is what a log would hold. ``read`` gives the new events."""

    def __init__(self, url, name="wal", **options):
        self.url = url
        self.name = name
        self.options = {"type": "postgres-wal", "url": url, "tables": ["public.*"], "heartbeat": 1, **options}
        self.state = None
        self.source = None

    def make(self):
        return PostgresWal(self.name, PostgresWal.Config(**self.options))

    def open(self):
        self.source = self.make()
        self.source.open(self.state)
        return self

    def close(self):
        if self.source is not None:
            self.source.close()
            self.source = None

    def reopen(self, **options):
        self.close()
        self.options.update(options)
        return self.open()

    def step(self):
        batch = self.source.read()
        self.state = batch.state
        self.source.confirm(batch.state.position)
        return batch

    def read(self, timeout=30.0):
        """All events up to what is committed now, snapshots included."""
        target = self.source.current()
        events = []
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            batch = self.step()
            events += batch.events
            if not batch.open and self.source.reached(batch.state, target):
                return events
        raise AssertionError(f"not there after {timeout} s: {self.state}")

    def briefs(self):
        return [brief(e) for e in self.read()]


def brief(event):
    """``("update", "t", {"id": 1, …})``: absent columns are left out."""
    row = event.after if event.after is not None else event.before
    if row is None:
        return event.operation.name.lower(), event.schema.table, None
    values = {n: v for n, v in zip(event.schema.names, row, strict=True) if v is not ABSENT}
    return event.operation.name.lower(), event.schema.table, values


@contextmanager
def reading(url, **options):
    wal = Wal(url, **options)
    try:
        yield wal.open()
    finally:
        wal.close()


def run(url, *statements):
    """Each statement in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as db:
        for statement in statements:
            db.execute(statement)


def together(url, *statements):
    """All statements in one transaction."""
    with psycopg.connect(url) as db:
        for statement in statements:
            db.execute(statement)
