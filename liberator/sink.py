"""The contract of a sink: what writes a database.

A sink keeps its cursor where it keeps its rows, in one transaction with them: that is what makes every
event take effect exactly once. A sink that cannot (a terminal, a file) says so with
``keeps_cursor = False``; the log then keeps the cursor, and an event may arrive twice after a crash.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from liberator.event import ChangeEvent
from liberator.log import Cursor
from liberator.preflight import Finding
from liberator.source import Managed


class Sink(ABC):
    """Writes one target. All methods are called from one thread.

    Order of calls: ``open``, then any number of rounds of ``write`` … ``write``, ``commit``; then
    ``close`` (not guaranteed). After an error the sink is closed and a new one opened.
    """

    #: The pydantic model of this connector's options.
    Config: ClassVar[type[BaseModel]]
    #: Whether the cursor is stored with the rows, in one transaction.
    keeps_cursor: ClassVar[bool] = True

    def __init__(self, name: str, config: Any):
        self.name = name
        self.config = config

    @abstractmethod
    def open(self) -> Cursor | None:
        """Connect; return the cursor stored here, None where nothing was ever committed.

        Fences out any older process that still writes for the same sink name.
        """

    @abstractmethod
    def write(self, events: Sequence[ChangeEvent]) -> None:
        """Apply events, in order, inside the transaction that the next ``commit`` ends.

        Raises SinkError; retryable ones (deadlock, lost connection) mean that nothing since the last
        commit has taken effect.
        """

    @abstractmethod
    def commit(self, cursor: Cursor) -> None:
        """Make everything written since the last commit, and the cursor, visible and durable at once.

        May be called with nothing written: events that this sink does not take still move its cursor.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of connections; what was not committed is rolled back. Safe to call twice."""

    def cursor(self) -> Cursor | None:
        """The stored cursor, read without fencing anyone; connects by itself."""
        return None

    def check(self) -> list[Finding]:
        """Everything at the target that would hinder this sink; reads only."""
        return []

    def objects(self) -> list[Managed]:
        """What this sink created at the target besides the tables that hold the data."""
        return []

    def setup(self) -> list[Managed]:
        """Create what is missing; returns what was created."""
        return []

    def teardown(self) -> list[Managed]:
        """Remove our own bookkeeping, never a table that holds data; returns what was removed."""
        return []
