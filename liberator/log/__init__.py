"""The contract of the log: one durable, replayable place between sources and sinks.

A log stores records by topic, the state of every source, the schemas' versions, and the cursors of
sinks that cannot keep their own. Its two promises: an append is one atomic, durable step together with
the source's state, and what was appended is read back in the same order.

A log is either *ordered* (``ordered = True``: one total order over all topics, a cursor with the single
partition ``""``) or partitioned (records of one partition are in order; a cursor has an offset for each
partition). Pumps and sinks work with both; ``apply: transaction`` needs an ordered log.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import BaseModel

if TYPE_CHECKING:
    from liberator.registry import Registry
    from liberator.source import State

Headers = tuple[tuple[str, bytes], ...]

#: The header of a record that holds only a part of its row (a JSON array of the fields it lacks). Earlier
#: records of its key are still needed: compaction keeps what the newest whole record does not supersede.
PARTIAL = "unavailable"


class Record(NamedTuple):
    """One record. ``value`` None is a tombstone, ``key`` None a record without identity;
    ``timestamp`` is in milliseconds since 1970; ``offset`` is -1 until the log has given one."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int = 0
    offset: int = -1
    partition: str = ""


@dataclass(slots=True)
class Records:
    """Many records, column by column: that is how they are made, stored and read at full speed.

    All lists have the same length, except ``offsets`` and ``partitions``, which are empty until a log
    has filled them; ``partitions`` stays empty in an ordered log.
    """

    topics: list[str] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    partitions: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.topics)

    def add(self, record: Record) -> None:
        """Append one record; for callers that are in no hurry."""
        self.topics.append(record.topic)
        self.keys.append(record.key)
        self.values.append(record.value)
        self.headers.append(record.headers)
        self.timestamps.append(record.timestamp)

    def __getitem__(self, span: slice) -> Records:
        """A copy of some of the records: ``records[1000:2000]``."""
        return Records(
            self.topics[span],
            self.keys[span],
            self.values[span],
            self.headers[span],
            self.timestamps[span],
            self.offsets[span],
            self.partitions[span],
        )

    def __iter__(self) -> Iterator[Record]:
        count = len(self)
        offsets = self.offsets or [-1] * count
        partitions = self.partitions or [""] * count
        return map(
            Record._make,
            zip(
                self.topics,
                self.keys,
                self.values,
                self.headers,
                self.timestamps,
                offsets,
                partitions,
                strict=True,
            ),
        )

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """A column-wise copy of ``records``."""
        out = cls()
        for record in records:
            out.add(record)
        return out


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in one log: per partition the offset of the next record to read.

    ``log`` is the log's identity: a cursor of one log means nothing in another, and a sink that meets
    a log it does not know must stop. A partition that is missing is read from its beginning.
    """

    log: str
    offsets: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """A plain dict that :meth:`from_json` reads back."""
        return {"log": self.log, "offsets": dict(self.offsets)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cursor:
        """The inverse of :meth:`to_json`."""
        return cls(data["log"], dict(data["offsets"]))


@dataclass(frozen=True, slots=True)
class Slice:
    """What one read gave. ``cursor`` stands behind ``records`` and behind everything that the topic
    filter left out. ``complete`` is True where no source transaction is cut in two at ``cursor``: none
    that has a wanted record before it goes on behind it. (Always True in a partitioned log.)"""

    records: Records
    cursor: Cursor
    complete: bool = True


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic's size: ``records`` still stored and the ``bytes`` of their values and keys, ``first`` offset
    still stored and ``last`` that was given (of any partition; -1: no record is left), ``timestamp`` of
    the newest record in milliseconds."""

    topic: str
    records: int
    first: int
    last: int
    bytes: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Signal:
    """A request that a person left for a running source, such as to read tables again."""

    id: int
    source: str
    body: Mapping[str, Any]


#: Which topics to read: None for all, else a predicate on the topic's name (see liberator.patterns).
Topics = Any


class Log(ABC):
    """One log. An instance belongs to one process and one thread; many processes may open the same log,
    each with its own instance. ``append`` for one source is called by one process at a time (enforced:
    a second one gets a LogError).

    Any method may raise LogError; a retryable one has changed nothing and may be called again."""

    #: The pydantic model of this log's options.
    Config: ClassVar[type[BaseModel]]
    #: Whether there is one total order over all topics.
    ordered: bool

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any, *, create: bool = True) -> Log:
        """Open the log that ``config`` (an instance of ``Config``) describes.

        ``create`` False: a log that does not exist yet is a LogError, and nothing is made; commands
        that only look use that.
        """

    @property
    @abstractmethod
    def identity(self) -> str:
        """Names this log's history for ever; a log that is deleted and made anew has another."""

    @property
    @abstractmethod
    def registry(self) -> Registry:
        """Subjects and schema versions, kept in this log."""

    @abstractmethod
    def claim(self, name: str) -> None:
        """Become the one process that works for ``name``, ``source:shop`` or ``sink:replica``, until
        ``close`` or death. ``append`` claims its source by itself.

        Raises a retryable LogError while another living process has it.
        """

    @abstractmethod
    def append(self, source: str, records: Records, state: State, *, open: bool = False) -> int:  # noqa: A002
        """Store ``records`` and ``state`` in one atomic, durable step; return the next offset (in a
        partitioned log: the number of records). ``open``: the last transaction goes on in the next
        append of this source. Empty ``records`` store the state alone."""

    @abstractmethod
    def state(self, source: str) -> State | None:
        """What the last append stored for ``source``."""

    @abstractmethod
    def sources(self) -> list[str]:
        """The sources that have a state here."""

    @abstractmethod
    def forget(self, source: str) -> None:
        """Drop the state of a source that will not come back, and take a transaction of it that stood
        open as ended. Its records stay. Raises a retryable LogError while a process works for it."""

    @abstractmethod
    def read(self, cursor: Cursor, topics: Topics, limit: int) -> Slice:
        """About ``limit`` records from ``cursor`` on, at once, possibly none.

        ``topics`` is None or a predicate ``str -> bool`` whose answer for a topic never changes; pass the
        same object again, so that the log can remember its answers. May return more than ``limit``: what
        was stored together is not split; may return fewer, or none although there are more, and then has
        moved the cursor.

        Raises LogError for a cursor of another log, behind the end, or before what retention has left.
        """

    @abstractmethod
    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Sleep until there is something behind ``cursor`` (True) or ``timeout`` seconds have passed
        (False). The end of a source transaction that the last read left open is something too."""

    @abstractmethod
    def begin(self) -> Cursor:
        """The cursor before the oldest record still stored: where a reader without a cursor begins."""

    @abstractmethod
    def end(self) -> Cursor:
        """The cursor behind the newest record."""

    def latest(self, _topics: Topics) -> Cursor:
        """Where a reader of ``topics`` begins that wants only what comes from now on: the end; in an
        ordered log, where source transactions with a wanted record stand open there, the place before the
        first of them, so that none is seen from its middle."""
        return self.end()

    def unfinished(self) -> list[str]:
        """The sources whose last transaction stands open at the end, by name; none in a partitioned log."""
        return []

    @abstractmethod
    def topics(self) -> list[TopicInfo]:
        """All topics that have ever had a record, by name."""

    @abstractmethod
    def commit(self, sink: str, cursor: Cursor) -> None:
        """Keep the cursor of a sink that cannot keep its own, durably."""

    @abstractmethod
    def committed(self, sink: str) -> Cursor | None:
        """What ``commit`` last stored for ``sink``."""

    @abstractmethod
    def post(self, source: str, body: Mapping[str, Any]) -> int:
        """Leave a signal for ``source``; return its number, which only grows."""

    @abstractmethod
    def signals(self, source: str, after: int) -> Sequence[Signal]:
        """The signals for ``source`` numbered above ``after``, in order."""

    @abstractmethod
    def put_status(self, worker: str, body: Mapping[str, Any]) -> None:
        """Say how ``worker`` (``source:shop``, ``sink:replica``) is doing: plain JSON data, the latest
        wins. Need not be durable, and never waits for an append; meant for about once a second."""

    @abstractmethod
    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """What every worker last said, by worker; also of workers that have ended since."""

    @abstractmethod
    def upkeep(self) -> bool:
        """Do one short step of retention or compaction; True while there is more to do at once.

        Safe beside appends and reads of other processes, and to be killed in its middle.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files and claims. Safe to call twice."""

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
