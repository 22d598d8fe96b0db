"""What the embedded log does in the background, in short steps: retention first, then compaction, then
putting small batches together, then giving free space back to the file system.

Each step is one transaction that holds the write lock for at most about 50 ms, so a writer hardly
notices, and a process that is killed leaves nothing half done. One process at a time does the upkeep of
a log. States, cursors, signals and schemas are never removed.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from liberator.log.embedded_compaction import Compact, Compaction
from liberator.log.embedded_pack import Packing
from liberator.log.embedded_read import SPAN
from liberator.log.embedded_rewrite import count, counts
from liberator.log.embedded_topics import Names, Predicate
from liberator.log.storage import PAGE, Storage

#: How long a step may hold the write lock, in seconds, without what its commit takes.
STEP = 0.02
#: The longest pause after a step, in seconds.
PAUSE = 0.01
#: Free space is given back to the file system above this many bytes, and above this share of the file.
FREE_BYTES, FREE_SHARE = 64 << 20, 0.25
#: Pages given back at once.
PAGES = 64


@dataclass(frozen=True, slots=True)
class Policy:
    """What to remove: batches older than ``retention_age`` seconds, the oldest beyond
    ``retention_bytes``; of topics that ``compact`` takes, records with a newer one of the same key, and
    tombstones ``tombstone_delay`` seconds after they were appended. What was appended in the last
    ``settle`` seconds is neither compacted nor put together. None: remove nothing."""

    retention_age: float | None = None
    retention_bytes: int | None = None
    compact: Predicate | None = None
    tombstone_delay: float = 86_400.0
    settle: float = 60.0


KEEP_ALL = Policy()


class Upkeep:
    """The upkeep of one log by one process."""

    def __init__(self, storage: Storage, names: Names, policy: Policy, clock: Callable[[], float]):
        self._storage = storage
        self._names = names
        self._policy = policy
        self._clock = clock
        self._packing = Packing(storage, names, policy.settle, clock)
        self._compaction: Compaction | None = None
        if policy.compact is not None:
            compact = Compact(policy.compact, policy.tombstone_delay, policy.settle)
            self._compaction = Compaction(storage, names, compact, clock)

    def step(self) -> bool:
        """Do one step; whether there is more to do at once."""
        if not self._storage.beside.claims("upkeep"):
            return False
        started = time.monotonic()
        more = self._retain() or self._compact() or self._packing.step() or self._give_back()
        if more:  # leave the file to others for as long as it was ours
            time.sleep(min(time.monotonic() - started, PAUSE))
        return more

    def close(self) -> None:
        """Forget what is not finished."""
        if self._compaction is not None:
            self._compaction.close()

    def _compact(self) -> bool:
        return self._compaction is not None and self._compaction.step()

    def _retain(self) -> bool:
        """Remove the oldest batches that retention does not cover; whether there may be more."""
        policy = self._policy
        if policy.retention_age is None and policy.retention_bytes is None:
            return False
        with self._storage.read("look for old batches in") as connection:
            if self._doomed(_Removal(connection)) is None:
                return False
        started = time.monotonic()
        with self._storage.write("remove old batches from") as connection:
            removal = _Removal(connection)
            while (oldest := self._doomed(removal)) is not None and time.monotonic() - started < STEP:
                removal.remove(oldest)
            removal.finish()
        return oldest is not None

    def _doomed(self, removal: _Removal) -> _Oldest | None:
        """The oldest batch, if retention does not cover it."""
        policy = self._policy
        oldest = removal.oldest()
        if oldest is None:
            return None
        if policy.retention_bytes is not None and removal.left > policy.retention_bytes:
            return oldest
        if policy.retention_age is not None and oldest.stored < (self._clock() - policy.retention_age) * 1000:
            return oldest
        return None

    def _give_back(self) -> bool:
        """Return free pages to the file system where there are many; whether there are more."""
        with self._storage.read("look for free pages in") as connection:
            (free,) = connection.execute("pragma freelist_count").fetchone()
            (pages,) = connection.execute("pragma page_count").fetchone()
        if free * PAGE <= FREE_BYTES or free <= FREE_SHARE * pages:
            return False
        started = time.monotonic()
        with self._storage.write("give free pages back from") as connection:
            while time.monotonic() - started < STEP:
                connection.execute(f"pragma incremental_vacuum({PAGES})").fetchall()
        return True


class _Oldest(NamedTuple):
    """A batch's row, with the length of its data instead of the data."""

    next: int
    stored: int
    topics: str
    sizes: str
    bytes: int


class _Removal:
    """Removes batches from the beginning of the log, and keeps count."""

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection
        self._trimmed, self.left = connection.execute("select trimmed, bytes from log").fetchone()
        self._before = self._trimmed

    def oldest(self) -> _Oldest | None:
        """The oldest batch that is there."""
        find = "select next, stored, topics, sizes, length(data) from batches order by next limit 1"
        row = self._connection.execute(find).fetchone()
        return _Oldest(*row) if row else None

    def remove(self, batch: _Oldest) -> None:
        """Remove it, and count its records no more."""
        self._connection.execute("delete from batches where next = ?", (batch.next,))
        count(self._connection, -1, batch.topics, batch.sizes)
        gone = [(records, number) for number, records in counts(batch.topics, batch.sizes).items()]
        self._connection.executemany("update topics set clean = max(0, clean - ?) where id = ?", gone)
        self.left -= batch.bytes
        self._trimmed = batch.next

    def finish(self) -> None:
        """Write where the log begins now."""
        connection, span = self._connection, self._trimmed // SPAN
        connection.execute("update log set trimmed = ?, bytes = ?", (self._trimmed, self.left))
        if span > self._before // SPAN:
            for (number,) in connection.execute("select id from topics").fetchall():
                connection.execute("delete from spans where topic = ? and span < ?", (number, span))
