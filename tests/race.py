"""The commit race: writers take ids and times early and commit late, while readers follow.

``Race`` runs eight writers in threads. Each takes the id and time of its transaction's first row, dawdles,
writes the rest, and commits or rolls back. Meanwhile sources are read, each into a list of its own, and
opened anew now and then from the last state, as after a crash; beside them a naive reader asks for
``id > last``.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from liberator.source import Source, State

WRITERS = 8


@dataclass
class Feed:
    """One source and what it gave; ``state`` is the one that belongs to the events."""

    make: Callable[[], Source]
    ids: list[int] = field(default_factory=list)
    state: State | None = None
    source: Source | None = None
    reads: int = 0

    def step(self) -> None:
        """One read; every so often the source is dropped and opened again."""
        if self.source is None:
            self.source = self.make()
            self.source.open(self.state)
        batch = self.source.read()
        for event in batch.events:
            assert event.after is not None
            self.ids.append(event.after[event.schema.names.index("id")])
        self.state = batch.state
        self.reads += 1
        if batch.events and self.reads % 15 == 0:
            self.drop()

    def drop(self) -> None:
        """As after a crash: nothing is confirmed."""
        if self.source is not None:
            self.source.close()
            self.source = None

    def finish(self, timeout: float) -> None:
        """Read until everything that is committed now was read."""
        self.step()
        assert self.state is not None
        if self.source is None:
            self.step()
        assert self.source is not None
        target = self.source.current()
        deadline = time.monotonic() + timeout
        while self.source is None or not self.source.reached(self.state, target):
            assert time.monotonic() < deadline, f"not there after {timeout} s"
            self.step()
        self.drop()


class Race:
    """``connect`` gives a connection with ``execute``, ``commit``, ``rollback`` and ``close``; ``begin`` is
    executed first in every transaction. The table ``race (id, writer, …)`` exists."""

    def __init__(self, connect: Callable[[], Any], rows: int, begin: str | None = None, size: int = 50):
        self._connect = connect
        self._begin = begin
        self._size = size
        self._transactions = rows // WRITERS // size
        self.naive: set[int] = set()
        self._running = WRITERS
        self._trouble: list[BaseException] = []

    def run(
        self, feeds: Sequence[Feed], naive: str, value: Callable[[Any], str], timeout: float = 60
    ) -> None:
        """Race, then let the feeds finish. ``naive`` is a statement with ``{last}``, which ``value`` spells
        from the last row's first column; its second column is the id."""
        threads = [threading.Thread(target=self._guarded, args=[self._write, n]) for n in range(WRITERS)]
        threads.append(threading.Thread(target=self._guarded, args=[self._follow, naive, value]))
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                for feed in feeds:
                    feed.step()
        finally:
            for thread in threads:
                thread.join()
        assert not self._trouble, self._trouble
        for feed in feeds:
            feed.finish(timeout)

    def committed(self) -> set[int]:
        """The ids that are there in the end."""
        conn = self._connect()
        found = conn.execute("select id from race").fetchall()
        conn.close()
        return {row[0] for row in found}

    def verify(self, feeds: Sequence[Feed]) -> None:
        """Every committed row came exactly once, no other came, and the naive reader has lost some."""
        committed = self.committed()
        for feed in feeds:
            counts = Counter(feed.ids)
            assert not committed - counts.keys(), f"{len(committed - counts.keys())} rows lost"
            assert not counts.keys() - committed, "rows that were rolled back came"
            assert max(counts.values()) == 1, "rows came twice"
        assert committed - self.naive, "the naive reader lost nothing: this was no race"

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as exc:  # told by run()
            self._trouble.append(exc)

    def _write(self, number: int) -> None:
        chance = random.Random(number)
        conn = self._connect()
        try:
            for _ in range(self._transactions):
                while not self._transaction(conn, number, chance):
                    pass
        finally:
            self._running -= 1
            conn.close()

    def _transaction(self, conn: Any, number: int, chance: random.Random) -> bool:
        """Whether it committed."""
        if self._begin:
            conn.execute(self._begin)
        conn.execute(f"insert into race (writer) values ({number})")
        time.sleep(chance.random() * 0.005)
        rest = ", ".join([f"({number})"] * (self._size - 1))
        conn.execute(f"insert into race (writer) values {rest}")
        if chance.random() < 0.1:
            conn.rollback()
            return False
        conn.commit()
        return True

    def _follow(self, statement: str, value: Callable[[Any], str]) -> None:
        conn = self._connect()
        last: Any = None
        while True:
            over = not self._running
            found = conn.execute(statement.format(last=value(last))).fetchall()
            conn.commit()
            if found:
                last = found[-1][0]
                self.naive.update(row[1] for row in found)
            elif over:
                break
            time.sleep(0.002)
        conn.close()
