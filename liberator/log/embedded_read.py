"""Reading the embedded log: from batches in the file to the records that a reader wants.

A read looks at the file in one short transaction and takes the packed batches out; checking and
unpacking them comes afterwards, so that no reader keeps the write-ahead file from beginning anew.
Batches without a wanted topic are passed over without touching their data, long stretches of them by
the coarse index ``spans``.
"""

from __future__ import annotations

import sqlite3
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import NamedTuple

from liberator.errors import LogError
from liberator.log import Records, TopicInfo
from liberator.log.batch import unpack
from liberator.log.embedded_topics import Names, Predicate, Taken, Wanted

#: How many offsets one span of the coarse index covers.
SPAN = 1 << 16
#: A read stops after about so many bytes of batches, whatever its limit.
MOST_BYTES = 16 << 20
#: A read stops after passing over so many batches; it jumps after the smaller number.
MOST_PASSED, MANY_PASSED = 20_000, 200

_BATCHES = "select next, base, open, topics, crc from batches where next > ? order by next"


class Stored(NamedTuple):
    """A batch as it lies in the file."""

    next: int
    base: int
    topics: str
    crc: int
    data: bytes

    def unpack(self, names: Sequence[str], path: Path) -> Records:
        """The records with their offsets. Raises LogError where they are not what was appended."""
        if checksum(zlib.crc32(self.data), self.base, self.next, self.topics) != self.crc:
            raise LogError(
                f"the batch with the offsets {self.base} to {self.next - 1} of log {path} is damaged",
                hint="restore the log from a backup; a check of the disk and the memory is due as well",
            )
        records, deltas = unpack(self.data, names)
        base = self.base
        if isinstance(deltas, range):
            records.offsets = list(range(base, base + len(deltas)))
        else:
            records.offsets = [base + delta for delta in deltas]
        return records


def checksum(data: int, base: int, next: int, topics: str) -> int:  # noqa: A002
    """A batch's checksum, from that of its data: a batch in the wrong place is damaged too."""
    return zlib.crc32(f"{base},{next},{topics}".encode(), data)


class Row(NamedTuple):
    """What is known of a batch without its data."""

    next: int
    base: int
    open: str
    topics: str
    crc: int


class Scan:
    """Goes through the batches from ``place`` on and gives those with a wanted topic; inside a read
    transaction, and only so far as one may take."""

    def __init__(self, connection: sqlite3.Connection, wanted: Wanted, place: int):
        self._connection = connection
        self._wanted = wanted
        #: The offset behind the last batch that was looked at, and what stood open there (None: unknown).
        self.place = place
        self.open: str | None = None
        #: Whether there are no more batches.
        self.finished = False

    def __iter__(self) -> Iterator[tuple[Row, Taken]]:
        connection, passed = self._connection, 0
        rows = connection.execute(_BATCHES, (self.place,))
        while (values := rows.fetchone()) is not None:
            row = Row(*values)
            self.place, self.open = row.next, row.open
            taken = self._wanted.take(connection, row.topics)
            if not taken.none:
                yield row, taken
                continue
            passed += 1
            if passed >= MOST_PASSED:
                return
            if passed % MANY_PASSED == 0:
                span = self._wanted.next_span(connection, self.place // SPAN)
                if span is None:
                    break
                if span * SPAN > self.place:
                    self.place, self.open = span * SPAN, None
                    rows = connection.execute(_BATCHES, (self.place,))
        self.finished = True

    def load(self, row: Row) -> Stored:
        """The batch with its data."""
        return stored(self._connection, row)


def stored(connection: sqlite3.Connection, row: Row) -> Stored:
    """The batch of a row, with its data."""
    (data,) = connection.execute("select data from batches where next = ?", (row.next,)).fetchone()
    return Stored(row.next, row.base, row.topics, row.crc, data)


class Found(NamedTuple):
    """What one look at the file gave: ``batches`` with what is wanted of them, the ``place`` behind
    everything looked at, whether a source ``transaction`` that matters goes on there, and all that are
    ``standing`` open as the file spells it."""

    batches: list[tuple[Stored, Taken]]
    place: int
    transaction: bool
    standing: str


class Reader:
    """Reads for one process; remembers what the last reader wanted."""

    def __init__(self, names: Names, path: Path):
        self._names = names
        self._path = path
        self._wanted = Wanted(names, None)

    def _want(self, predicate: Predicate | None) -> None:
        if predicate is not self._wanted.predicate:
            self._wanted = Wanted(self._names, predicate)

    def find(
        self, connection: sqlite3.Connection, offset: int, predicate: Predicate | None, limit: int
    ) -> Found:
        """Batches from ``offset`` on, about ``limit`` records; inside a read transaction."""
        self._want(predicate)
        batches: list[tuple[Stored, Taken]] = []
        records = size = 0
        scan = Scan(connection, self._wanted, offset)
        for row, taken in scan:
            batch = scan.load(row)
            batches.append((batch, taken))
            records += row.next - row.base
            size += len(batch.data)
            if records >= limit or size >= MOST_BYTES:
                break
        end, standing = connection.execute("select next, open from log").fetchone()
        place = end if scan.finished else scan.place
        if place < end and (standing := scan.open) is None:
            last = "select open from batches where next <= ? order by next desc limit 1"
            standing = (connection.execute(last, (place,)).fetchone() or ("",))[0]
        return Found(batches, place, self._wanted.open(connection, standing), standing)

    def closed(self, connection: sqlite3.Connection, predicate: Predicate | None) -> int:
        """The last offset at which no transaction with a wanted record is open; inside a read transaction."""
        self._want(predicate)
        end, standing, trimmed = connection.execute("select next, open, trimmed from log").fetchone()
        if not self._wanted.open(connection, standing):
            return int(end)
        for place, open_ in connection.execute("select next, open from batches order by next desc"):
            if not self._wanted.open(connection, open_):
                return int(place)
        return int(trimmed)

    def unpack(self, found: Found, offset: int) -> Records:
        """The wanted records of ``found`` from ``offset`` on."""
        records = Records()
        for number, (stored, taken) in enumerate(found.batches):
            part = stored.unpack(taken.names, self._path)
            if part.offsets[0] < offset:  # the reader's place is inside this batch
                part = part[bisect_left(part.offsets, offset) :]
            if not taken.all:
                wants = dict(zip(taken.names, taken.wanted, strict=True))
                part = selected(part, [wants[topic] for topic in part.topics])
            if number == 0:
                records = part
            else:
                extend(records, part)
        return records

    def topics(self, connection: sqlite3.Connection) -> list[TopicInfo]:
        """All topics by name; inside a read transaction."""
        (trimmed,) = connection.execute("select trimmed from log").fetchone()
        rows = connection.execute(
            "select id, name, records, last, bytes, timestamp from topics order by name"
        )
        return [
            TopicInfo(name, records, self._first(connection, number, trimmed), last, size, stamp)
            if records
            else TopicInfo(name, 0, -1, -1, 0, stamp)
            for number, name, records, last, size, stamp in rows.fetchall()
        ]

    def _first(self, connection: sqlite3.Connection, number: int, trimmed: int) -> int:
        """The offset of the oldest record of a topic that has records."""
        name = self._names.name(connection, number)
        spans = "select span from spans where topic = ? and span >= ? order by span"
        for (span,) in connection.execute(spans, (number, trimmed // SPAN)):
            for row in map(Row._make, connection.execute(_BATCHES, (span * SPAN,))):
                if row.base >= (span + 1) * SPAN:
                    break
                numbers = [int(text) for text in row.topics.split(",")]
                if number in numbers:
                    names = [self._names.name(connection, n) for n in numbers]
                    records = stored(connection, row).unpack(names, self._path)
                    return records.offsets[records.topics.index(name)]
        return -1


def selected(records: Records, keep: Sequence[bool]) -> Records:
    """The records whose place in ``keep`` says so."""
    return Records(
        list(compress(records.topics, keep)),
        list(compress(records.keys, keep)),
        list(compress(records.values, keep)),
        list(compress(records.headers, keep)),
        list(compress(records.timestamps, keep)),
        list(compress(records.offsets, keep)),
    )


def extend(records: Records, more: Records) -> None:
    """Add ``more`` behind ``records``."""
    records.topics += more.topics
    records.keys += more.keys
    records.values += more.values
    records.headers += more.headers
    records.timestamps += more.timestamps
    records.offsets += more.offsets
