"""Compaction of the embedded log: of topics that ask for it, the last whole record of each key is enough.

A round has two passes, in steps of a few milliseconds. The first reads what was appended since the last
round and notes the last offset of each key, in a temporary database that SQLite keeps small in memory
and else on the disk. The second goes through the log from its beginning and rewrites batches without the
records that a later one supersedes, and without tombstones that have become old. A round that is cut
short has removed only what was superseded, and the next one starts over.

What is left alone: records without a key, whatever was appended in the last minute, source transactions
that go on, and records that hold a part of their row (an update without its unchanged columns) together
with the whole record before them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

from liberator.errors import LogError
from liberator.log import PARTIAL, Headers, Records
from liberator.log.embedded_read import SPAN, Scan, selected
from liberator.log.embedded_rewrite import Replacement, Whole, counts, load, unpack
from liberator.log.embedded_topics import Names, Predicate, Taken, Wanted
from liberator.log.storage import Storage

#: About how many bytes of batches a step works on.
READ = 256 << 10
#: A round begins when so many records came since the last one, and half as many as it had left; else,
#: where there is anything to do, once in the delay after which tombstones go.
FEWEST, SHARE = 1000, 0.5
#: Memory of the temporary database, in KiB.
CACHE = 8192

_LAST = "select offset from latest where topic = ? and key = ?"


@dataclass(frozen=True, slots=True)
class Compact:
    """``topics`` to compact; tombstones go ``tombstone_delay`` seconds after they were appended; what
    was appended in the last ``settle`` seconds is left alone."""

    topics: Predicate
    tombstone_delay: float
    settle: float


class Compaction:
    """Begins rounds when they are due, and leads them through step by step."""

    def __init__(self, storage: Storage, names: Names, compact: Compact, clock: Callable[[], float]):
        self._storage = storage
        self._names = names
        self._compact = compact
        self._clock = clock
        self._wanted = Wanted(names, compact.topics)
        self._round: _Round | None = None

    def step(self) -> bool:
        """Do one step of a round; False where none is due."""
        if self._round is None:
            self._round = self._due()
        if self._round is None:
            return False
        if self._round.step():
            return True
        self._round.close()
        self._round = None
        return True

    def close(self) -> None:
        """Forget a round that is not finished."""
        if self._round is not None:
            self._round.close()

    def _due(self) -> _Round | None:
        """A new round, if there is enough to gain."""
        now, compact = self._clock(), self._compact
        with self._storage.read("look for records to compact in") as connection:
            topics = [
                _Topic(*row)
                for row in connection.execute(
                    "select id, records, cleaned, clean from topics where records > 0"
                )
                if self._wanted.wants(connection, row[0])
            ]
            trimmed, compacted, tombstones = connection.execute(
                "select trimmed, compacted, tombstones from log"
            ).fetchone()
            # behind the end, batches are too young or source transactions go on
            find = "select next from batches where open = '' and stored <= ? order by next desc limit 1"
            row = connection.execute(find, ((now - compact.settle) * 1000,)).fetchone()
            if not topics or row is None or now < compacted / 1000 + compact.settle:
                return None
            end = row[0]
            begin = min(end, *(self._begin(connection, topic) for topic in topics))
        dirty = min(end - begin, sum(max(0, topic.records - topic.clean) for topic in topics))
        if dirty < max(FEWEST, SHARE * sum(topic.clean for topic in topics)):
            late = now >= compacted / 1000 + compact.tombstone_delay
            if not late or not (dirty or tombstones):
                return None
        times = _Times(now, compact.tombstone_delay)
        return _Round(self._storage, self._names, self._wanted, _Span(begin, trimmed, end), times)

    @staticmethod
    def _begin(connection: sqlite3.Connection, topic: _Topic) -> int:
        """The offset from which on the records of a topic were not seen by compaction."""
        row = connection.execute("select min(span) from spans where topic = ?", (topic.id,)).fetchone()
        return max(topic.cleaned, (row[0] or 0) * SPAN)


def _is_partial(headers: Headers) -> bool:
    return any(name == PARTIAL for name, _ in headers)


class _Topic(NamedTuple):
    """A topic's number, how many records it has, and how many of them were left when compaction had seen
    everything below the offset ``cleaned``."""

    id: int
    records: int
    cleaned: int
    clean: int


class _Span(NamedTuple):
    """Three offsets: what lies from ``dirty`` to ``end`` is new since the last round, and what lies
    from ``begin`` to ``end`` is to be rewritten."""

    dirty: int
    begin: int
    end: int


class _Times(NamedTuple):
    """When a round began, in seconds since 1970, and how old a tombstone must be then to be removed."""

    now: float
    delay: float


class _Round:
    """One round."""

    def __init__(self, storage: Storage, names: Names, wanted: Wanted, span: _Span, times: _Times):
        self._storage = storage
        self._names = names
        self._wanted = wanted
        self._span = span
        self._now = int(times.now * 1000)
        self._old = int((times.now - times.delay) * 1000)
        self._place = span.dirty
        self._noting = True
        self._tombstones = 0
        self._left: Counter[int] = Counter()  # records of each topic
        self._latest = sqlite3.connect("", isolation_level=None)
        self._latest.execute("pragma journal_mode=off")
        self._latest.execute(f"pragma cache_size=-{CACHE}")
        self._latest.execute("begin")  # for ever: a commit would write to the disk
        self._latest.execute(
            "create table latest (topic, key, offset, primary key (topic, key)) without rowid"
        )

    def step(self) -> bool:
        """A part of a pass; whether there is more to do."""
        with self._storage.read("compact") as connection:
            scan = Scan(connection, self._wanted, self._place)
            batches: list[tuple[Whole, Taken]] = []
            size = 0
            for row, taken in scan:
                if row.next > self._span.end:
                    break
                whole = load(connection, row.next)
                batches.append((whole, taken))
                size += len(whole.batch.data)
                if size >= READ:
                    break
        self._place = scan.place
        if self._noting:
            self._note(batches)
        else:
            self._clean(batches)
        if not scan.finished and self._place < self._span.end:
            return True
        if self._noting:
            self._noting, self._place = False, self._span.begin
            return True
        self._finish()
        return False

    def close(self) -> None:
        """Throw the notes away."""
        self._latest.close()

    def _note(self, batches: list[tuple[Whole, Taken]]) -> None:
        """Note the last offset of each key at which its whole row stands, or its tombstone."""
        last: dict[tuple[int | None, bytes | None], int] = {}
        for whole, taken in batches:
            records = unpack(whole, taken.names, self._storage.path)
            if records is not None:
                numbers = map(_numbers(whole, taken).get, records.topics)
                whole_ones = (not _is_partial(headers) for headers in records.headers)
                keyed = zip(zip(numbers, records.keys, strict=True), records.offsets, strict=True)
                last.update(compress(keyed, whole_ones))
        noted = sorted(
            (number, key, offset)
            for (number, key), offset in last.items()
            if number is not None and key is not None
        )
        with self._temporary():
            self._latest.executemany("insert or replace into latest values (?, ?, ?)", noted)

    def _clean(self, batches: list[tuple[Whole, Taken]]) -> None:
        """Rewrite batches without the records that need not stay."""
        replacements = []
        for whole, taken in batches:
            records = unpack(whole, taken.names, self._storage.path)
            if records is None:
                self._left.update(counts(whole.batch.topics, whole.sizes))
                continue
            keep = self._keep(records, _numbers(whole, taken), whole.stored <= self._old)
            if not all(keep):
                replacements.append(Replacement([whole], selected(records, keep)))
        if replacements:
            with self._storage.write("compact") as connection:
                for replacement in replacements:
                    replacement.write(connection, self._names)

    def _keep(self, records: Records, numbers: dict[str, int], old: bool) -> list[bool]:
        """For each record whether it stays; ``numbers`` has the topics that are compacted."""
        find = self._latest.execute
        keep, seen = [], set()
        with self._temporary():
            # backwards, for of the records of one key within a batch none before the last whole one stays
            for topic, key, value, headers, offset in zip(
                reversed(records.topics),
                reversed(records.keys),
                reversed(records.values),
                reversed(records.headers),
                reversed(records.offsets),
                strict=True,
            ):
                number = numbers.get(topic)
                stays = True
                if number is not None and key is not None:
                    if (number, key) in seen:
                        stays = False
                    else:
                        if not _is_partial(headers):
                            seen.add((number, key))
                        last = find(_LAST, (number, key)).fetchone()
                        stays = (last is None or last[0] <= offset) and not (value is None and old)
                        self._tombstones += stays and value is None
                if number is not None:
                    self._left[number] += stays
                keep.append(stays)
        return keep[::-1]

    def _finish(self) -> None:
        """Write down that everything up to the end of the span is clean."""
        with self._storage.write("compact") as connection:
            for (number,) in connection.execute("select id from topics").fetchall():
                if self._wanted.wants(connection, number):
                    put = "update topics set cleaned = ?, clean = ? where id = ?"
                    connection.execute(put, (self._span.end, self._left[number], number))
            # what is left may be small: it is put together anew from the beginning
            put = "update log set compacted = ?, tombstones = ?, packed = 0"
            connection.execute(put, (self._now, self._tombstones))

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise LogError(
                f"cannot compact log {self._storage.path}: its temporary file: {exc}",
                hint="is the disk for temporary files full? SQLITE_TMPDIR chooses another",
                retryable=True,
            ) from exc


def _numbers(whole: Whole, taken: Taken) -> dict[str, int]:
    """The numbers of a batch's topics that are compacted."""
    numbers = map(int, whole.batch.topics.split(","))
    return {name: n for name, n, wanted in zip(taken.names, numbers, taken.wanted, strict=True) if wanted}
