"""Rewriting stored batches of the embedded log: with fewer records, or several as one.

Only the process that does the upkeep rewrites, so what it read outside of the write lock is still true
when it writes. Offsets stay; the counters of topics follow.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from liberator.errors import LogError
from liberator.log import Records
from liberator.log.batch import Packed, pack
from liberator.log.embedded_read import Stored, checksum
from liberator.log.embedded_topics import Names

_ROW = "select next, base, topics, crc, data, stored, open, sizes from batches where next = ?"


class Whole(NamedTuple):
    """A batch's row with all that a rewritten one needs."""

    batch: Stored
    stored: int
    open: str
    sizes: str


def load(connection: sqlite3.Connection, next: int) -> Whole:  # noqa: A002
    """The row of the batch that ends before offset ``next``; inside a read transaction."""
    row = connection.execute(_ROW, (next,)).fetchone()
    return Whole(Stored(*row[:5]), *row[5:])


def unpack(whole: Whole, names: Sequence[str], path: Path) -> Records | None:
    """Its records; None where they are damaged: such a batch is left as it is, for the reader to report."""
    try:
        return whole.batch.unpack(names, path)
    except LogError:
        return None


class Replacement:
    """What takes the place of ``old``, some batches in a row: one with ``records``, or nothing at all."""

    def __init__(self, old: Sequence[Whole], records: Records):
        self._old = old
        self._packed: Packed | None = None
        self._crc = 0
        if len(records):
            base = old[0].batch.base
            self._packed = pack(records, [offset - base for offset in records.offsets])
            self._crc = zlib.crc32(self._packed.data)

    @property
    def bytes(self) -> int:
        """How much is to be written."""
        return len(self._packed.data) if self._packed else 0

    def write(self, connection: sqlite3.Connection, names: Names) -> None:
        """Write it; inside a write transaction."""
        gained = self.bytes
        for whole in self._old:
            gained -= len(whole.batch.data)
            connection.execute("delete from batches where next = ?", (whole.batch.next,))
            count(connection, -1, whole.batch.topics, whole.sizes)
        connection.execute("update log set bytes = bytes + ?", (gained,))
        if self._packed is None:
            return
        packed, last = self._packed, self._old[-1]
        base, next_ = self._old[0].batch.base, last.batch.next
        topics = ",".join([str(names.number(connection, topic)) for topic in packed.topics])
        sizes = ",".join([f"{tally.records}:{tally.bytes}" for tally in packed.tallies])
        crc = checksum(self._crc, base, next_, topics)
        stored = max(whole.stored for whole in self._old)
        row = (next_, base, stored, last.open, topics, sizes, crc, packed.data)
        connection.execute("insert into batches values (?, ?, ?, ?, ?, ?, ?, ?)", row)
        count(connection, 1, topics, sizes)


def count(connection: sqlite3.Connection, sign: int, topics: str, sizes: str) -> None:
    """Add a batch's records to the topics' counters, or take them out; from two columns of its row."""
    changes = [
        (sign * int(records), sign * int(size), int(number))
        for number, records, size in _sizes(topics, sizes)
    ]
    connection.executemany("update topics set records = records + ?, bytes = bytes + ? where id = ?", changes)


def counts(topics: str, sizes: str) -> dict[int, int]:
    """How many records of each topic a batch has, by the topic's number; from two columns of its row."""
    return {int(number): int(records) for number, records, _ in _sizes(topics, sizes)}


def _sizes(topics: str, sizes: str) -> Iterator[tuple[str, str, str]]:
    for number, size in zip(topics.split(","), sizes.split(","), strict=True):
        records, _, bytes_ = size.partition(":")
        yield number, records, bytes_


def records_in(sizes: str) -> int:
    """How many records a batch has, from a column of its row."""
    return sum(int(size.partition(":")[0]) for size in sizes.split(","))
