"""The embedded log: one SQLite file with one total order, and nothing to run beside it.

What is appended together is stored together, one row for a batch (see :mod:`liberator.log.batch`), in
one transaction with the source's state and with the counters that ``topics`` shows. The next offset is
assigned inside that transaction, so any number of processes may append for different sources and read
at the same time. The tables are in schema.sql; transactions, locks and errors in
:mod:`liberator.log.storage`; retention and compaction in :mod:`liberator.log.embedded_upkeep`.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from liberator.errors import LogError
from liberator.event import Position
from liberator.log import Cursor, Log, Records, Signal, Slice, TopicInfo, Topics
from liberator.log.batch import pack_all
from liberator.log.embedded_read import SPAN, Reader
from liberator.log.embedded_topics import Names
from liberator.log.embedded_upkeep import KEEP_ALL, Policy, Upkeep
from liberator.log.embedded_write import Writing
from liberator.log.storage import Storage
from liberator.options import LocalPath, LogOptions, Options, PatternList
from liberator.patterns import Patterns
from liberator.registry import Registry
from liberator.registry.embedded import EmbeddedRegistry
from liberator.source import State
from liberator.units import Duration, Size

#: A waiting reader looks for news this often, in seconds: while news were recent, and else.
BUSY, IDLE = 0.001, 0.007
#: For how long news are recent, in seconds.
RECENT = 0.25

_PARTS = ("identity", "snapshot", "schemas")


class Retention(Options):
    """How much history to keep; what is beyond either limit is removed, the oldest first."""

    age: Duration | None = Field(
        default=None, description="For how long records are kept, such as 7d; for ever if unset."
    )
    size: Size | None = Field(
        default=None, description="How many bytes of records are kept, such as 50GB; all if unset."
    )


class EmbeddedOptions(LogOptions):
    """What the embedded log can be told."""

    path: LocalPath = Field(description="The log's file; it is made if it is missing.")
    retention: Retention = Field(Retention(), description="How much history to keep.")
    compact: PatternList | None = Field(
        None, description="Topics, as patterns, of which only the last record of each key is kept."
    )
    tombstone_delay: Duration = Field(
        86_400.0,
        description="How long a compacted topic remembers that a key was deleted, such as 1d: readers that "
        "are further behind miss the deletion.",
    )


class EmbeddedLog(Log):
    """The log in the file at ``path``. One instance for one thread of one process.

    ``policy`` says what ``upkeep`` removes; ``clock`` gives the time in seconds since 1970, by which
    records age. ``create`` False: a missing file is a LogError.
    """

    Config = EmbeddedOptions
    ordered = True

    def __init__(
        self,
        path: Path | str,
        policy: Policy = KEEP_ALL,
        *,
        create: bool = True,
        clock: Callable[[], float] = time.time,
    ):
        self._storage = Storage(Path(path), create=create)
        self._clock = clock
        self._names = Names()
        self._reader = Reader(self._names, self._storage.path)
        self._registry = EmbeddedRegistry(self._storage)
        self._upkeep = Upkeep(self._storage, self._names, policy, clock)
        with self._storage.read("open") as connection:
            self._identity: str = connection.execute("select identity from log").fetchone()[0]
        self._sources: dict[str, _Kept] = {}
        self._spans: set[tuple[int, int]] = set()
        self._news = 0.0  # when a wait last ended with success
        self._seen = (-1, "")  # the end of the log as last read: offset, open transactions

    @classmethod
    def from_config(cls, config: EmbeddedOptions, *, create: bool = True) -> EmbeddedLog:
        """Open the log that ``config`` describes."""
        compact = Patterns(config.compact) if config.compact else None
        policy = Policy(config.retention.age, config.retention.size, compact, config.tombstone_delay)
        return cls(config.path, policy, create=create)

    @property
    def identity(self) -> str:
        """32 hex digits, made with the file."""
        return self._identity

    @property
    def registry(self) -> Registry:
        """Subjects and schema versions, in the same file."""
        return self._registry

    def claim(self, name: str) -> None:
        """Become the one process that works for ``name``, ``source:shop`` or ``sink:replica``."""
        self._storage.beside.claim(name)

    def append(self, source: str, records: Records, state: State, *, open: bool = False) -> int:  # noqa: A002
        """Store ``records`` and ``state`` in one transaction, synced to the disk; return the next offset.

        Claims the source. More than about 4 MB are stored as several batches, still in one transaction.
        """
        self.claim(f"source:{source}")
        batches = pack_all(records)
        checksums = [zlib.crc32(batch.data) for batch in batches]
        with self._storage.write(f"append records of source {source} to") as connection:
            kept = self._put_state(connection, source, state)
            end, standing = connection.execute("select next, open from log").fetchone()
            writing = Writing(connection, self._names, kept.id, self._clock(), end, standing)
            for number, (batch, crc) in enumerate(zip(batches, checksums, strict=True), 1):
                writing.put(batch, crc, open or number < len(batches), self._spans)
            writing.finish(open, bool(batches), standing)
        self._sources[source] = kept
        self._names.keep(writing.numbers)
        if writing.spans:
            self._spans = {known for known in self._spans if known[1] >= end // SPAN} | writing.spans
        return writing.next

    def _put_state(self, connection: sqlite3.Connection, source: str, state: State) -> _Kept:
        """Write the position, and the parts that are not the objects that are stored already."""
        known = self._sources.get(source)
        position = json.dumps(state.position)
        if known is None:
            put = "insert into sources (name, position) values (?, ?) on conflict (name) do update set "
            put += "position = excluded.position returning id"
            number = int(connection.execute(put, (source, position)).fetchone()[0])
        else:
            number = known.id
            connection.execute("update sources set position = ? where id = ?", (position, number))
        for part in _PARTS:
            value = getattr(state, part)
            if known is None or value is not getattr(known.state, part):
                body = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                connection.execute("insert or replace into parts values (?, ?, ?)", (number, part, body))
        return _Kept(number, state)

    def state(self, source: str) -> State | None:
        """What the last append stored for ``source``."""
        with self._storage.read(f"read the state of source {source} from") as connection:
            row = connection.execute("select id, position from sources where name = ?", (source,)).fetchone()
            if row is None:
                return None
            parts = dict(connection.execute("select part, body from parts where source = ?", row[:1]))
        return State(Position(*json.loads(row[1])), **{part: json.loads(parts[part]) for part in _PARTS})

    def sources(self) -> list[str]:
        """The sources that have a state here, by name."""
        with self._storage.read("list the sources of") as connection:
            return [row[0] for row in connection.execute("select name from sources order by name")]

    def forget(self, source: str) -> None:
        """Drop the state of a source that will not come back, and end its open transaction."""
        self.claim(f"source:{source}")
        with self._storage.write(f"forget source {source} in") as connection:
            row = connection.execute("delete from sources where name = ? returning id", (source,)).fetchone()
            if row is not None:
                connection.execute("delete from parts where source = ?", row)
                end, standing = connection.execute("select next, open from log").fetchone()
                writing = Writing(connection, self._names, row[0], self._clock(), end, standing)
                writing.finish(False, False, standing)
        self._sources.pop(source, None)

    def read(self, cursor: Cursor, topics: Topics, limit: int) -> Slice:
        """About ``limit`` records from ``cursor`` on. Stops early after some 16 MB."""
        with self._storage.read("read") as connection:
            offset = self._offset(connection, cursor)
            found = self._reader.find(connection, offset, topics, limit)
        self._seen = (found.place, found.standing)
        records = self._reader.unpack(found, offset)
        return Slice(records, Cursor(self._identity, {"": found.place}), not found.transaction)

    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Sleep until there is something behind ``cursor``, or a transaction that was open there has
        ended; at most ``timeout`` seconds."""
        offset = cursor.offsets.get("", 0)
        deadline = time.monotonic() + timeout
        version = -1
        while True:
            if (seen := self._storage.version()) != version:
                version = seen
                if self._is_news(offset):
                    self._news = time.monotonic()
                    return True
            now = time.monotonic()
            if now >= deadline:
                self._storage.check_place()
                return False
            time.sleep(min(BUSY if now - self._news < RECENT else IDLE, deadline - now))

    def _is_news(self, offset: int) -> bool:
        """Whether there is something behind ``offset``, or less stands open there than when it was read."""
        with self._storage.read("look for news in") as connection:
            end, standing = connection.execute("select next, open from log").fetchone()
        return end > offset or (self._seen[0] == offset and self._seen[1] != standing)

    def begin(self) -> Cursor:
        """The cursor before the oldest record that retention has left."""
        with self._storage.read("read") as connection:
            return Cursor(self._identity, {"": connection.execute("select trimmed from log").fetchone()[0]})

    def end(self) -> Cursor:
        """The cursor behind the newest record."""
        with self._storage.read("read") as connection:
            return Cursor(self._identity, {"": connection.execute("select next from log").fetchone()[0]})

    def latest(self, topics: Topics) -> Cursor:
        """The last place where no source transaction with a wanted record is open."""
        with self._storage.read("read") as connection:
            return Cursor(self._identity, {"": self._reader.closed(connection, topics)})

    def unfinished(self) -> list[str]:
        """The sources whose last transaction stands open at the end, by name."""
        with self._storage.read("list the sources of") as connection:
            (standing,) = connection.execute("select open from log").fetchone()
            names = dict(connection.execute("select id, name from sources"))
        return sorted(names[int(number)] for number in json.loads(standing or "{}"))

    def topics(self) -> list[TopicInfo]:
        """All topics that have ever had a record, by name; from counters, not by reading the records."""
        with self._storage.read("list the topics of") as connection:
            return self._reader.topics(connection)

    def commit(self, sink: str, cursor: Cursor) -> None:
        """Keep the cursor of a sink that cannot keep its own, durably."""
        if cursor.log != self._identity:
            raise LogError(f"the cursor of sink {sink} belongs to another log than {self._storage.path}")
        with self._storage.write(f"keep the cursor of sink {sink} in") as connection:
            body = json.dumps(cursor.to_json())
            connection.execute("insert or replace into cursors values (?, ?)", (sink, body))

    def committed(self, sink: str) -> Cursor | None:
        """What ``commit`` last stored for ``sink``."""
        with self._storage.read(f"read the cursor of sink {sink} from") as connection:
            row = connection.execute("select body from cursors where sink = ?", (sink,)).fetchone()
        return Cursor.from_json(json.loads(row[0])) if row else None

    def post(self, source: str, body: Mapping[str, Any]) -> int:
        """Leave a signal for ``source``; return its number."""
        with self._storage.write(f"leave a signal for source {source} in") as connection:
            put = "insert into signals (source, body) values (?, ?) returning id"
            return int(connection.execute(put, (source, json.dumps(body))).fetchone()[0])

    def signals(self, source: str, after: int) -> Sequence[Signal]:
        """The signals for ``source`` numbered above ``after``, in order."""
        with self._storage.read(f"look for signals for source {source} in") as connection:
            find = "select id, source, body from signals where source = ? and id > ? order by id"
            rows = connection.execute(find, (source, after)).fetchall()
        return [Signal(number, name, json.loads(body)) for number, name, body in rows]

    def put_status(self, worker: str, body: Mapping[str, Any]) -> None:
        """Say how ``worker`` is doing: a small file beside the log, replaced as a whole."""
        self._storage.beside.put_status(worker, body)

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """What every worker last said."""
        return self._storage.beside.statuses()

    def upkeep(self) -> bool:
        """One step of retention, compaction or giving space back; holds the write lock for at most
        about 50 ms. Does nothing while another process is at it."""
        return self._upkeep.step()

    def close(self) -> None:
        """Let go of the file and of claims. Safe to call twice."""
        self._upkeep.close()
        self._storage.close()

    def _offset(self, connection: sqlite3.Connection, cursor: Cursor) -> int:
        """Where ``cursor`` stands in this log, if it can be read from there."""
        if cursor.log != self._identity:
            raise LogError(
                f"the cursor belongs to log {cursor.log}, and {self._storage.path} is log {self._identity}",
                hint="use the log it came from; or begin anew at the start of this one, with an empty sink",
            )
        trimmed, end = connection.execute("select trimmed, next from log").fetchone()
        offset = cursor.offsets.get("", trimmed)
        if offset < trimmed:
            raise LogError(
                f"the offsets {offset} to {trimmed - 1} of log {self._storage.path} are lost for this "
                "reader: retention removed them before they were read",
                hint="fill the sink anew from a snapshot, and set a longer `retention` in the log's "
                "configuration, or keep the sink running",
            )
        if offset > end:
            raise LogError(
                f"the cursor stands at offset {offset}, but log {self._storage.path} ends at {end}",
                hint="was the log replaced by an older copy? put the newer one back, or fill the sink anew",
            )
        return int(offset)


class _Kept(NamedTuple):
    """A source's number, and the state whose parts are in the file."""

    id: int
    state: State
