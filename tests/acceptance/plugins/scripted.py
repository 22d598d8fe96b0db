"""A source and sinks for tests with real processes: what they read, write and suffer is in files.

``ScriptedSource`` reads transactions from a file that may grow, ``RecordingSink`` keeps every event that it
ever committed, with its cursor, in one SQLite file. ``trip`` lets one of them fail: a file that says how,
found and removed by whoever stumbles over it.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

from liberator.errors import SinkError, SourceError
from liberator.event import Operation, Position
from liberator.log import Cursor
from liberator.options import SinkOptions, SourceOptions
from liberator.schema import Kind
from liberator.sink import Sink
from liberator.source import Batch, Source, State
from liberator.testing.events import create, table, transaction

TABLE = table("things", {"id": Kind.INT64, "note": Kind.STRING}, key=["id"])


def write(path, first, last, size=1):
    """Append transactions ``first`` to ``last``, each of ``size`` rows, to a script."""
    with Path(path).open("a") as script:
        for number in range(first, last + 1):
            script.write(json.dumps([number, size]) + "\n")


def expected(first, last, size=1):
    """What those transactions are in a recording."""
    return [(number, ordinal) for number in range(first, last + 1) for ordinal in range(1, size + 1)]


def recorded(path):
    """``(transaction, ordinal)`` of everything that a RecordingSink has committed, in order."""
    if not Path(path).exists():
        return []
    with sqlite3.connect(path, timeout=30) as db:
        try:
            return db.execute("select number, ordinal from applied order by seq").fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            db.commit()


def trip(path, how):
    """Let whoever watches ``path`` fail once: retryable, fatal, defect, exit, hang or a signal's name."""
    Path(f"{path}.trip").write_text(how)


def stumble(path, error):
    """Fail as ``trip`` said, if it said so."""
    wire = Path(f"{path}.trip")
    try:
        how = wire.read_text()
        wire.unlink()
    except FileNotFoundError:
        return
    if how == "exit":
        os._exit(3)
    if how == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        time.sleep(600)
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
    if how == "defect":
        raise ValueError(f"the secret is {12300 + 45}")
    raise error("the test says to fail", hint="ask the test", retryable=how == "retryable")


class ScriptedSource(Source):
    connector = "scripted"

    class Config(SourceOptions):
        path: str
        batch: int = 100
        pace: float = 0.0

    def __init__(self, name, config):
        super().__init__(name, config)
        self._path = Path(config.path)
        self._state = None
        self._at = 0
        self._ready = []

    def open(self, state):
        self._state = state or State(Position(0, 0), {"path": str(self._path)}, {"signal": 0})
        self._lines = self._path.open("rb")
        self._ready = []

    def read(self):
        stumble(self._path, SourceError)
        time.sleep(self.config.pace)
        events = []
        position = self._state.position
        while len(events) < self.config.batch:
            if not self._ready:
                self._ready = self._next()
            if not self._ready:
                break
            room = self.config.batch - len(events)
            part, self._ready = self._ready[:room], self._ready[room:]
            events += part
            epoch, major, _ = part[-1].transaction.position
            position = Position(epoch, major, part[-1].ordinal) if self._ready else Position(epoch, major + 1)
        if not events:
            time.sleep(0.01)
        self._state = State(position, self._state.identity, self._state.snapshot)
        return Batch(events, self._state, open=bool(self._ready))

    def _next(self):
        """The events of the next line that are not behind us."""
        while True:
            here = self._lines.tell()
            line = self._lines.readline()
            if not line.endswith(b"\n"):
                self._lines.seek(here)
                return []
            number, size = json.loads(line)
            at = self._state.position
            if at >= Position(0, number * 10 + 1):
                continue
            rows = (create(TABLE, id=number * 1000 + n, note=f"row {n}") for n in range(size))
            events = transaction(number * 10, *rows, source=self.name)
            return [event for event in events if event.position > at]

    def close(self):
        if self._state is not None:
            self._lines.close()

    def current(self):
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return Position(0, json.loads(lines[-1])[0] * 10 + 1 if lines else 0)

    def reached(self, state, target):
        return state.position >= target


class RecordingSink(Sink):
    class Config(SinkOptions):
        path: str
        slow: float = 0.0

    def open(self):
        stumble(self.config.path, SinkError)
        self._db = sqlite3.connect(self.config.path, timeout=30, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute(
            "create table if not exists applied (seq integer primary key, number integer, ordinal integer)"
        )
        self._db.execute("create table if not exists place (sink text primary key, cursor text)")
        row = self._db.execute("select cursor from place where sink = ?", [self.name]).fetchone()
        return Cursor.from_json(json.loads(row[0])) if row else None

    def write(self, events):
        stumble(self.config.path, SinkError)
        if not self._db.in_transaction:
            self._db.execute("begin immediate")
        assert all(event.operation is Operation.CREATE for event in events)
        self._db.executemany(
            "insert into applied (number, ordinal) values (?, ?)",
            [(event.transaction.position.major // 10, event.ordinal) for event in events],
        )
        time.sleep(self.config.slow)

    def commit(self, cursor):
        if not self._db.in_transaction:
            self._db.execute("begin immediate")
        self._db.execute(
            "insert or replace into place values (?, ?)", [self.name, json.dumps(cursor.to_json())]
        )
        self._db.execute("commit")

    def close(self):
        if hasattr(self, "_db"):
            self._db.close()


class PrintingSink(Sink):
    """Keeps no cursor: events may be printed twice."""

    keeps_cursor = False
    Config = SinkOptions

    def open(self):
        return None

    def write(self, events):
        for event in events:
            print(event.transaction.position.major // 10, event.ordinal, flush=True)

    def commit(self, cursor):
        pass
