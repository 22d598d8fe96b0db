"""A log in memory: for tests, and for showing what a partitioned log is like.

With one partition it is ordered as the embedded log is. With more, a topic's records are spread by key
over ``<topic>/0``, ``<topic>/1`` and so on, as in Kafka: in order within a partition only, and a cursor
has an offset for each. What it holds dies with the process; no upkeep removes anything from it.
"""

from __future__ import annotations

import json
import threading
import uuid
import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from liberator.errors import LogError
from liberator.event import Position
from liberator.log import Cursor, Log, Record, Records, Signal, Slice, TopicInfo, Topics
from liberator.options import LogOptions
from liberator.registry import Registry
from liberator.registry.memory import MemoryRegistry
from liberator.source import State

_PARTS = ("identity", "snapshot", "schemas")


class MemoryOptions(LogOptions):
    """What the log in memory can be told."""

    partitions: int = Field(1, ge=1, le=1000, description="Over how many partitions a topic is spread.")


@dataclass(slots=True)
class _Mark:
    """The place behind an append of an ordered log, and the topics of each transaction open there."""

    offset: int
    open: dict[str, frozenset[str]]


@dataclass(slots=True)
class _Store:
    """What all handles on one log share; changed only under ``news``."""

    partitions: int
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    news: threading.Condition = field(default_factory=threading.Condition)
    records: defaultdict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    marks: list[_Mark] = field(default_factory=lambda: [_Mark(0, {})])
    states: dict[str, tuple[Position, dict[str, str]]] = field(default_factory=dict)
    topics: dict[str, list[Record]] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)
    signals: list[Signal] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    claims: dict[str, object] = field(default_factory=dict)


class MemoryLog(Log):
    """A log in memory. ``handle()`` gives another instance on the same records, as another process
    would have; different handles may be used by different threads."""

    Config = MemoryOptions

    def __init__(self, partitions: int = 1):
        self._store = _Store(partitions)
        self._stored: dict[str, State] = {}
        self._seen: dict[str, frozenset[str]] | None = None  # transactions open at the end when last read
        self.ordered = partitions == 1

    @classmethod
    def from_config(cls, config: MemoryOptions, *, create: bool = True) -> MemoryLog:
        """A new, empty log; ``create`` False is a LogError, for nothing could be in it."""
        if not create:
            raise LogError(
                "a log in memory exists only in the process that runs", hint="use the embedded log"
            )
        return cls(config.partitions)

    def handle(self) -> MemoryLog:
        """Another instance on the same log."""
        other = MemoryLog(self._store.partitions)
        other._store = self._store
        return other

    @property
    def identity(self) -> str:
        """32 hex digits."""
        return self._store.identity

    @property
    def registry(self) -> Registry:
        """Subjects and schema versions, in memory too."""
        return self._store.registry

    def claim(self, name: str) -> None:
        """Become the one handle that works for ``name``."""
        with self._store.news:
            if self._store.claims.setdefault(name, self) is not self:
                raise LogError(
                    f"{name} of the log in memory is already at work",
                    hint="only one at a time may work for it",
                    retryable=True,
                )

    def append(self, source: str, records: Records, state: State, *, open: bool = False) -> int:  # noqa: A002
        """Store ``records`` and ``state``; return the next offset, or the number of records if there
        are several partitions."""
        self.claim(f"source:{source}")
        parts = self._written(source, state)
        store = self._store
        with store.news:
            for record in records:
                partition = self._partition(record)
                offset = len(store.records[partition])
                kept = record._replace(offset=offset, partition=partition)
                store.records[partition].append(kept)
                store.topics.setdefault(record.topic, []).append(kept)
            store.states[source] = (state.position, parts)
            self._mark(source, frozenset(records.topics), open)
            store.news.notify_all()
            self._stored[source] = state
            return len(store.records[""]) if self.ordered else len(records)

    def _written(self, source: str, state: State) -> dict[str, str]:
        """The state's parts as JSON: only what JSON can say is kept, as in any other log."""
        known, (_, parts) = self._stored.get(source), self._store.states.get(source, (None, {}))
        return {
            part: parts[part]
            if known is not None and getattr(known, part) is getattr(state, part)
            else json.dumps(getattr(state, part))
            for part in _PARTS
        }

    def _partition(self, record: Record) -> str:
        if self.ordered:
            return ""
        spread = zlib.crc32(record.key) if record.key is not None else len(self._store.topics)
        return f"{record.topic}/{spread % self._store.partitions}"

    def _mark(self, source: str, topics: frozenset[str], goes_on: bool) -> None:
        if not self.ordered:
            return
        marks = self._store.marks
        standing = dict(marks[-1].open)
        before = standing.pop(source, frozenset())
        if goes_on:
            standing[source] = before | topics
        mark = _Mark(len(self._store.records[""]), standing)
        if mark.offset == marks[-1].offset:
            marks[-1] = mark
        else:
            marks.append(mark)

    def state(self, source: str) -> State | None:
        """What the last append stored for ``source``."""
        with self._store.news:
            kept = self._store.states.get(source)
        return State(kept[0], **{part: json.loads(kept[1][part]) for part in _PARTS}) if kept else None

    def sources(self) -> list[str]:
        """The sources that have a state here, by name."""
        with self._store.news:
            return sorted(self._store.states)

    def forget(self, source: str) -> None:
        """Drop the state of a source that will not come back."""
        self.claim(f"source:{source}")
        with self._store.news:
            self._store.states.pop(source, None)
            self._stored.pop(source, None)
            self._mark(source, frozenset(), False)
            self._store.news.notify_all()

    def read(self, cursor: Cursor, topics: Topics, limit: int) -> Slice:
        """About ``limit`` records from ``cursor`` on; an append is not split in an ordered log."""
        with self._store.news:
            places = self._places(cursor)
            return (
                self._read_ordered(places[""], topics, limit)
                if self.ordered
                else self._read_spread(places, topics, limit)
            )

    def _read_ordered(self, offset: int, topics: Topics, limit: int) -> Slice:
        store = self._store
        at = bisect_right(store.marks, offset, key=lambda mark: mark.offset)
        found: list[Record] = []
        place = offset
        for mark in store.marks[at:]:
            if len(found) >= limit:
                break
            found += [r for r in store.records[""][place : mark.offset] if topics is None or topics(r.topic)]
            place, at = mark.offset, at + 1
        complete = not _wanted(store.marks[at - 1], topics)
        records = _columns(found)
        records.partitions = []
        self._seen = store.marks[-1].open
        return Slice(records, Cursor(self.identity, {"": place}), complete)

    def _read_spread(self, places: dict[str, int], topics: Topics, limit: int) -> Slice:
        store = self._store
        names = [name for name in store.records if topics is None or topics(name.rpartition("/")[0])]
        found: list[Record] = []
        for name in names:
            share = store.records[name][places[name] : places[name] + max(1, limit // max(1, len(names)))]
            found += share
            places[name] += len(share)
        for name in store.records.keys() - set(names):
            places[name] = len(store.records[name])
        return Slice(_columns(found), Cursor(self.identity, places))

    def _places(self, cursor: Cursor) -> dict[str, int]:
        """Where ``cursor`` stands in each partition."""
        if cursor.log != self.identity:
            raise LogError(
                f"the cursor belongs to log {cursor.log}, and this is log {self.identity}",
                hint="use the log it came from; or begin anew at the start of this one, with an empty sink",
            )
        ends = self.end().offsets
        beyond = [name for name, offset in cursor.offsets.items() if offset > ends.get(name, 0)]
        if beyond:
            raise LogError(
                f"the cursor stands behind the end of the log in partition '{beyond[0]}'",
                hint="was the log replaced by another one?",
            )
        return {name: cursor.offsets.get(name, 0) for name in ends}

    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Sleep until there is something behind ``cursor``, or a transaction that was open there has
        ended; at most ``timeout`` seconds."""
        with self._store.news:

            def news() -> bool:
                ends = self.end().offsets
                more = any(end > cursor.offsets.get(name, 0) for name, end in ends.items())
                return more or self._seen not in (None, self._store.marks[-1].open)

            return self._store.news.wait_for(news, timeout)

    def begin(self) -> Cursor:
        """The cursor before the first record."""
        with self._store.news:
            return Cursor(self.identity, dict.fromkeys(self.end().offsets, 0))

    def end(self) -> Cursor:
        """The cursor behind the newest record."""
        with self._store.news:
            if self.ordered:
                return Cursor(self.identity, {"": len(self._store.records[""])})
            return Cursor(self.identity, {name: len(kept) for name, kept in self._store.records.items()})

    def latest(self, topics: Topics) -> Cursor:
        """The end; in an ordered log the last place where no transaction with a wanted record is open."""
        with self._store.news:
            if not self.ordered:
                return self.end()
            closed = (mark.offset for mark in reversed(self._store.marks) if not _wanted(mark, topics))
            return Cursor(self.identity, {"": next(closed)})

    def unfinished(self) -> list[str]:
        """The sources whose last transaction stands open at the end, by name."""
        with self._store.news:
            return sorted(self._store.marks[-1].open)

    def topics(self) -> list[TopicInfo]:
        """All topics that have ever had a record, by name."""
        with self._store.news:
            return [_info(topic, records) for topic, records in sorted(self._store.topics.items())]

    def commit(self, sink: str, cursor: Cursor) -> None:
        """Keep the cursor of a sink that cannot keep its own."""
        if cursor.log != self.identity:
            raise LogError(f"the cursor of sink {sink} belongs to another log")
        with self._store.news:
            self._store.cursors[sink] = json.dumps(cursor.to_json())

    def committed(self, sink: str) -> Cursor | None:
        """What ``commit`` last stored for ``sink``."""
        with self._store.news:
            kept = self._store.cursors.get(sink)
        return Cursor.from_json(json.loads(kept)) if kept else None

    def post(self, source: str, body: Mapping[str, Any]) -> int:
        """Leave a signal for ``source``; return its number."""
        with self._store.news:
            signals = self._store.signals
            signals.append(Signal(len(signals) + 1, source, json.loads(json.dumps(body))))
            return len(signals)

    def signals(self, source: str, after: int) -> Sequence[Signal]:
        """The signals for ``source`` numbered above ``after``, in order."""
        with self._store.news:
            return [signal for signal in self._store.signals if signal.source == source and signal.id > after]

    def put_status(self, worker: str, body: Mapping[str, Any]) -> None:
        """Say how ``worker`` is doing."""
        with self._store.news:
            self._store.statuses[worker] = json.dumps(body)

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """What every worker last said."""
        with self._store.news:
            return {worker: json.loads(body) for worker, body in sorted(self._store.statuses.items())}

    def upkeep(self) -> bool:
        """Nothing is ever removed from memory."""
        return False

    def close(self) -> None:
        """Let go of claims."""
        with self._store.news:
            for name in [name for name, owner in self._store.claims.items() if owner is self]:
                del self._store.claims[name]


def _wanted(mark: _Mark, topics: Topics) -> bool:
    """Whether a transaction with a record that ``topics`` takes is open at ``mark``."""
    return any(topics is None or topics(topic) for open_ in mark.open.values() for topic in open_)


def _columns(found: list[Record]) -> Records:
    records = Records.of(found)
    records.offsets = [record.offset for record in found]
    records.partitions = [record.partition for record in found]
    return records


def _info(topic: str, records: list[Record]) -> TopicInfo:
    size = sum(len(record.key or b"") + len(record.value or b"") for record in records)
    offsets = [record.offset for record in records]
    return TopicInfo(topic, len(records), min(offsets), max(offsets), size, records[-1].timestamp)
