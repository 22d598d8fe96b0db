"""Writing the embedded log: what an append does inside its transaction."""

from __future__ import annotations

import sqlite3

from liberator.log.batch import Packed
from liberator.log.embedded_read import SPAN, checksum
from liberator.log.embedded_topics import Names, opened

_COUNT = "update topics set records = records + ?, bytes = bytes + ?, last = ?, timestamp = ? where id = ?"


class Writing:
    """The part of an append that happens inside its transaction; thrown away if that fails."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        names: Names,
        source: int,
        now: float,
        next: int,  # noqa: A002
        standing: str,
    ):
        self.next = next
        self.numbers: dict[str, int] = {}
        self.spans: set[tuple[int, int]] = set()
        self._connection = connection
        self._names = names
        self._source = source
        self._stored = int(now * 1000)
        self._standing = standing
        self._bytes = 0

    def put(self, batch: Packed, crc: int, goes_on: bool, known_spans: set[tuple[int, int]]) -> None:
        """Insert one batch and count its records."""
        connection, base = self._connection, self.next
        self.next += batch.count
        ids = [self._number(topic) for topic in batch.topics]
        self._standing = opened(self._standing, self._source, ids, goes_on)
        topics = ",".join(map(str, ids))
        sizes = ",".join([f"{tally.records}:{tally.bytes}" for tally in batch.tallies])
        crc = checksum(crc, base, self.next, topics)
        row = (self.next, base, self._stored, self._standing, topics, sizes, crc, batch.data)
        connection.execute("insert into batches values (?, ?, ?, ?, ?, ?, ?, ?)", row)
        counts = [
            (tally.records, tally.bytes, base + tally.last, tally.timestamp, number)
            for number, tally in zip(ids, batch.tallies, strict=True)
        ]
        connection.executemany(_COUNT, counts)
        # where a batch begins is enough: readers come from before it
        spans = {(number, base // SPAN) for number in ids}
        if fresh := spans - known_spans - self.spans:
            connection.executemany("insert or ignore into spans values (?, ?)", fresh)
            self.spans |= fresh
        self._bytes += len(batch.data)

    def finish(self, goes_on: bool, stored: bool, before: str) -> None:
        """Write where the log stands now."""
        connection = self._connection
        if not stored:
            self._standing = opened(self._standing, self._source, (), goes_on)
            if self._standing != before:
                # a transaction ended (or began) without a record: readers learn it from the last batch
                connection.execute("update batches set open = ? where next = ?", (self._standing, self.next))
            else:
                return
        connection.execute(
            "update log set next = ?, open = ?, bytes = bytes + ?", (self.next, self._standing, self._bytes)
        )

    def _number(self, topic: str) -> int:
        number = self.numbers.get(topic)
        if number is None:
            number = self.numbers[topic] = self._names.number(self._connection, topic)
        return number
