"""Putting small batches of the embedded log together, once they are a minute old.

A source that follows a busy application appends a few records at a time, so that they arrive at once.
Later, when a sink is filled anew, many small batches would cost time and space for nothing: thousands of
records together are read ten times as fast. Every record is moved at most once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from liberator.log import Records
from liberator.log.embedded_read import extend
from liberator.log.embedded_rewrite import Replacement, Whole, load, records_in, unpack
from liberator.log.embedded_topics import Names
from liberator.log.storage import Storage

#: Batches are put together up to so many records or bytes, of at most so many milliseconds' appends.
FULL, BYTES, SPAN = 2000, 256 << 10, 3_600_000
#: A batch of so many records is left as it is.
LARGE = FULL // 4
#: How many batches a step looks at, and how often it writes down that there was nothing to do.
LOOK, NOTED = 2000, 1000
#: About how many records a step moves.
MOVED = 10_000


class _Row(NamedTuple):
    next: int
    stored: int
    open: str
    sizes: str
    bytes: int


class Packing:
    """Goes through the log once, behind whoever appends. ``settle``: the age in seconds from which on
    batches are looked at."""

    def __init__(self, storage: Storage, names: Names, settle: float, clock: Callable[[], float]):
        self._storage = storage
        self._names = names
        self._settle = settle
        self._clock = clock

    def step(self) -> bool:
        """Put some batches together; whether there may be more to do."""
        with self._storage.read("look for small batches in") as connection:
            (packed,) = connection.execute("select packed from log").fetchone()
            groups, done, seen = self._groups(connection, packed)
            loaded = [[load(connection, row.next) for row in group] for group in groups]
            names = self._names.load(connection)
        if not loaded and seen < NOTED:
            return False
        replacements = []
        for group in loaded:
            replacement = self._together(group, names)
            if replacement is not None:
                replacements.append(replacement)
        with self._storage.write("put small batches together in") as connection:
            for replacement in replacements:
                replacement.write(connection, self._names)
            connection.execute("update log set packed = ?", (done,))
        return True

    def _groups(self, connection: sqlite3.Connection, packed: int) -> tuple[list[list[_Row]], int, int]:
        """Groups of neighbours to put together, the offset up to which all is then done, and how many
        batches are before it."""
        look = "select next, stored, open, sizes, length(data) from batches where next > ? and stored <= ? "
        young = (self._clock() - self._settle) * 1000
        groups: list[list[_Row]] = []
        group: list[_Row] = []
        records = size = moved = seen = 0
        done = packed
        for number, values in enumerate(
            connection.execute(look + "order by next limit ?", (packed, young, LOOK)), 1
        ):
            row = _Row(*values)
            count = records_in(row.sizes)
            large = count >= LARGE or row.bytes >= BYTES // 4 or row.open != ""
            full = records + count > FULL or size + row.bytes > BYTES
            if group and (large or full or row.stored - group[0].stored > SPAN):
                done, seen = group[-1].next, number - 1
                if len(group) > 1:
                    groups.append(group)
                    moved += records
                group, records, size = [], 0, 0
                if moved >= MOVED:
                    break
            if large:
                done, seen = row.next, number
                continue
            group.append(row)
            records += count
            size += row.bytes
        return groups, done, seen

    def _together(self, group: list[Whole], names: dict[int, str]) -> Replacement | None:
        """One batch for several; None where one of them is damaged."""
        records = Records()
        for whole in group:
            topics = [names[int(number)] for number in whole.batch.topics.split(",")]
            part = unpack(whole, topics, self._storage.path)
            if part is None:
                return None
            extend(records, part)
        return Replacement(group, records)
