"""Records and states in few words, and the fixtures that the log's contract suites share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import pytest

from liberator.event import Position
from liberator.log import Cursor, Log, Record, Records, Slice, Topics
from liberator.source import State

NOTHING = Records()


def state(number: int, **parts: object) -> State:
    """A state at the position ``number``."""
    return State(Position(1, number), **parts)  # type: ignore[arg-type]


def record(number: int, topic: str = "shop.public.orders", key: str | None = None) -> Record:
    """A record whose value tells its number."""
    return Record(topic, (key or f"k{number}").encode(), b"v%d" % number, (), 1_700_000_000_000 + number)


def records(*numbers: int, topic: str = "shop.public.orders") -> Records:
    """A batch of such records."""
    return Records.of(record(number, topic) for number in numbers)


def numbers(found: Records) -> list[int]:
    """The numbers that the values tell."""
    return [int(value[1:]) for value in found.values if value is not None]


def plain(record: Record) -> Record:
    """A record without what the log added."""
    return record._replace(offset=-1, partition="")


def read_all(log: Log, cursor: Cursor | None = None, topics: Topics = None, limit: int = 100) -> list[Slice]:
    """All slices from ``cursor`` on (None: from the beginning) to the end."""
    slices: list[Slice] = []
    cursor = cursor or log.begin()
    while True:
        found = log.read(cursor, topics, limit)
        if found.cursor == cursor and not found.records:
            return slices
        slices.append(found)
        cursor = found.cursor


def joined(slices: list[Slice]) -> Records:
    """The records of all slices, without offsets."""
    return Records.of(record for found in slices for record in found.records)


class LogBase(ABC):
    """The fixtures of the suites below."""

    patience = 5.0

    @abstractmethod
    def make(self) -> Log:
        """A new instance of this test's log."""

    @pytest.fixture
    def opened(self) -> Iterator[Callable[[], Log]]:
        """Opens instances, and closes them in the end."""
        made: list[Log] = []

        def opened() -> Log:
            made.append(self.make())
            return made[-1]

        yield opened
        for log in made:
            log.close()

    @pytest.fixture
    def log(self, opened: Callable[[], Log]) -> Log:
        """One instance."""
        return opened()
