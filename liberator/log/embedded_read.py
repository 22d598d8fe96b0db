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
from collections.abc import Sequence
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

    def find(
        self, connection: sqlite3.Connection, offset: int, predicate: Predicate | None, limit: int
    ) -> Found:
        """Batches from ``offset`` on, about ``limit`` records; inside a read transaction."""
        if predicate is not self._wanted.predicate:
            self._wanted = Wanted(self._names, predicate)
        wanted = self._wanted
        end, standing = connection.execute("select next, open from log").fetchone()
        batches: list[tuple[Stored, Taken]] = []
        place, records, size, passed, here = offset, 0, 0, 0, None
        rows = connection.execute(_BATCHES, (place,))
        while (row := rows.fetchone()) is not None:
            place, base, here, topics, crc = row
            taken = wanted.take(connection, topics)
            if not taken.none:
                (data,) = connection.execute("select data from batches where next = ?", (place,)).fetchone()
                batches.append((Stored(place, base, topics, crc, data), taken))
                records += place - base
                size += len(data)
                if records >= limit or size >= MOST_BYTES:
                    break
                continue
            passed += 1
            if passed >= MOST_PASSED:
                break
            if passed % MANY_PASSED == 0:
                span = wanted.next_span(connection, place // SPAN)
                to = end if span is None else min(end, span * SPAN)
                if to > place:
                    place, here = to, None
                    rows = connection.execute(_BATCHES, (place,))
        else:
            place = max(place, end) if records == 0 and not batches else place
        if place >= end:
            here = standing
        elif here is None:
            last = "select open from batches where next <= ? order by next desc limit 1"
            here = (connection.execute(last, (place,)).fetchone() or ("",))[0]
        return Found(batches, place, wanted.open(connection, here), here)

    def unpack(self, found: Found, offset: int) -> Records:
        """The wanted records of ``found`` from ``offset`` on."""
        records = Records()
        for number, (stored, taken) in enumerate(found.batches):
            part = stored.unpack(taken.names, self._path)
            if part.offsets[0] < offset:  # the reader's place is inside this batch
                part = part[bisect_left(part.offsets, offset) :]
            if not taken.all:
                wants = dict(zip(taken.names, taken.wanted, strict=True))
                part = _compress(part, [wants[topic] for topic in part.topics])
            if number == 0:
                records = part
                continue
            records.topics += part.topics
            records.keys += part.keys
            records.values += part.values
            records.headers += part.headers
            records.timestamps += part.timestamps
            records.offsets += part.offsets
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
            for next_, base, _, topics, crc in connection.execute(_BATCHES, (span * SPAN,)):
                if base >= (span + 1) * SPAN:
                    break
                if str(number) in topics.split(","):
                    names = [self._names.name(connection, int(n)) for n in topics.split(",")]
                    (data,) = connection.execute(
                        "select data from batches where next = ?", (next_,)
                    ).fetchone()
                    records = Stored(next_, base, topics, crc, data).unpack(names, self._path)
                    return records.offsets[records.topics.index(name)]
        return -1


def _compress(records: Records, keep: list[bool]) -> Records:
    return Records(
        list(compress(records.topics, keep)),
        list(compress(records.keys, keep)),
        list(compress(records.values, keep)),
        list(compress(records.headers, keep)),
        list(compress(records.timestamps, keep)),
        list(compress(records.offsets, keep)),
    )
