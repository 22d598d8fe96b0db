"""Topics as numbers: how the embedded log's file spells them, and which of them a reader wants.

A batch says which topics it holds as text, ``3,7``, and where source transactions stand open behind it
as JSON text; both repeat from batch to batch, so what they mean for one reader is worked out once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from liberator.errors import LogError

Predicate = Callable[[str], bool]
T = TypeVar("T")
#: How many different texts a reader remembers the meaning of.
REMEMBERED = 10_000


class Names:
    """The numbers of topics; they never change, so what was once read is kept."""

    def __init__(self) -> None:
        self._by_id: dict[int, str] = {}
        self._by_name: dict[str, int] = {}

    def name(self, connection: sqlite3.Connection, number: int) -> str:
        """The topic with this number."""
        if number not in self._by_id:
            self.load(connection)
        try:
            return self._by_id[number]
        except KeyError:
            raise LogError(f"the log mentions topic number {number}, which it does not list") from None

    def load(self, connection: sqlite3.Connection) -> dict[int, str]:
        """All topics by number, read now; only what is committed may be read here."""
        self.keep({name: number for number, name in connection.execute("select id, name from topics")})
        return self._by_id

    def keep(self, numbers: dict[str, int]) -> None:
        """Remember what is committed."""
        for name, number in numbers.items():
            self._by_id[number] = name
            self._by_name[name] = number

    def number(self, connection: sqlite3.Connection, name: str) -> int:
        """The number of a topic, which is given one if it is new; inside a write. The caller passes it
        to ``keep`` after the commit."""
        known = self._by_name.get(name)
        if known is not None:
            return known
        row = connection.execute("select id from topics where name = ?", (name,)).fetchone()
        if row is None:
            row = connection.execute("insert into topics (name) values (?) returning id", (name,)).fetchone()
        return int(row[0])


class Taken(NamedTuple):
    """What a reader wants of a batch: its topics' names in the order in which the data numbers them,
    and for each whether it is wanted; ``all`` and ``none`` are the frequent cases."""

    names: list[str]
    wanted: list[bool]
    all: bool
    none: bool


class Wanted:
    """Which topics one reader wants; asks ``predicate`` once for each topic. None: all."""

    def __init__(self, names: Names, predicate: Predicate | None):
        self.predicate = predicate
        self._names = names
        self._topics: dict[int, bool] = {}
        self._taken: dict[str, Taken] = {}
        self._open: dict[str, bool] = {"": False}

    def take(self, connection: sqlite3.Connection, topics: str) -> Taken:
        """What is wanted of a batch that holds ``topics``."""
        taken = self._taken.get(topics)
        if taken is None:
            numbers = [int(number) for number in topics.split(",")]
            wanted = [self.wants(connection, number) for number in numbers]
            names = [self._names.name(connection, number) for number in numbers]
            taken = self._remember(self._taken, topics, Taken(names, wanted, all(wanted), not any(wanted)))
        return taken

    def open(self, connection: sqlite3.Connection, text: str) -> bool:
        """Whether a source transaction of which the reader has seen a wanted record goes on."""
        known = self._open.get(text)
        if known is None:
            numbers = {number for topics in json.loads(text).values() for number in topics}
            known = self._remember(self._open, text, any(self.wants(connection, n) for n in numbers))
        return known

    def next_span(self, connection: sqlite3.Connection, span: int) -> int | None:
        """The first span from ``span`` on in which a wanted topic has records; None: there is none."""
        known = self._names.load(connection)
        found = [
            row[0]
            for number in known
            if self.wants(connection, number)
            for row in connection.execute(
                "select min(span) from spans where topic = ? and span >= ?", (number, span)
            )
            if row[0] is not None
        ]
        return min(found, default=None)

    def wants(self, connection: sqlite3.Connection, number: int) -> bool:
        """Whether the topic with this number is wanted."""
        wanted = self._topics.get(number)
        if wanted is None:
            name = self._names.name(connection, number)
            wanted = self._topics[number] = self.predicate is None or bool(self.predicate(name))
        return wanted

    @staticmethod
    def _remember(cache: dict[str, T], key: str, value: T) -> T:
        if len(cache) >= REMEMBERED:
            cache.clear()
        cache[key] = value
        return value


def opened(text: str, source: int, topics: Sequence[int], goes_on: bool) -> str:
    """``text`` after an append of ``source`` with records of ``topics``: its open transactions."""
    if not text and not goes_on:
        return ""
    standing = json.loads(text) if text else {}
    before = standing.pop(str(source), [])
    if goes_on:
        standing[str(source)] = sorted({*before, *topics})
    return json.dumps(standing, separators=(",", ":"), sort_keys=True) if standing else ""
