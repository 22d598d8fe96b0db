"""Sets of MySQL's global transaction ids: ``uuid:1-5:7, uuid:tag:3``.

A set is kept per source id (a server's uuid, with a tag since 8.4) as sorted disjoint intervals; adding the next
transaction widens the last of them. Text as ``@@gtid_executed`` shows it, binary as the events and
COM_BINLOG_DUMP_GTID have it (two encodings: the older has no tags).

https://dev.mysql.com/doc/refman/8.4/en/replication-gtids-concepts.html
"""

from __future__ import annotations

from collections.abc import Iterator


class GtidSet:
    """A mutable set of GTIDs. A source id ("sid") is ``uuid`` or ``uuid:tag``, in lower case."""

    __slots__ = ("_sets",)

    def __init__(self, text: str = ""):
        """Raises DecodeError for what is no GTID set."""
        raise NotImplementedError

    @classmethod
    def decode(cls, data: bytes, start: int = 0, end: int | None = None) -> GtidSet:
        """From either binary encoding. Raises DecodeError."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """Binary: the older encoding where there are no tags."""
        raise NotImplementedError

    def __str__(self) -> str:
        """In MySQL's own order and spelling, on one line: sids sorted, joined by commas."""
        raise NotImplementedError

    def __bool__(self) -> bool:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        raise NotImplementedError

    __hash__ = None  # type: ignore[assignment]  # it changes

    def copy(self) -> GtidSet:
        raise NotImplementedError

    def add(self, sid: str, number: int) -> None:
        """Put one transaction in. The hot path: about half a microsecond if it is the sid's next."""
        raise NotImplementedError

    def has(self, sid: str, number: int) -> bool:
        """Whether one transaction is in the set."""
        raise NotImplementedError

    def contains(self, other: GtidSet) -> bool:
        """Whether every transaction of ``other`` is in this set."""
        raise NotImplementedError

    def update(self, other: GtidSet) -> None:
        """Put all of ``other`` in."""
        raise NotImplementedError

    def union(self, other: GtidSet) -> GtidSet:
        raise NotImplementedError

    def subtract(self, other: GtidSet) -> GtidSet:
        """What is in this set and not in ``other``."""
        raise NotImplementedError

    def intersect(self, other: GtidSet) -> GtidSet:
        raise NotImplementedError

    def sids(self) -> Iterator[str]:
        raise NotImplementedError

    def intervals(self, sid: str) -> list[tuple[int, int]]:
        """First and last of every interval, both within; empty for an unknown sid."""
        raise NotImplementedError
