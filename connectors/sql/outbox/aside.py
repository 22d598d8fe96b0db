"""Statements on a connection of their own, one at a time, while the first one reads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from connectors.sql.reader import Reader


class Aside:
    """Runs statements on a thread. The connection is made there when it is first needed, by ``new``, for not
    every driver lets another thread have it."""

    def __init__(self, new: Callable[[], Reader]):
        self._new = new
        self._reader: Reader | None = None
        self._thread = ThreadPoolExecutor(1)
        self._begun = False
        self._under_way: Future[int] | None = None

    def begin(self, statement: str) -> None:
        """Run a statement; the one before must have ended."""
        assert self._under_way is None
        self._begun = True
        self._under_way = self._thread.submit(self._run, statement)

    def end(self, wait: bool) -> int | None:
        """How many rows the statement affected; None if there is none, or it has not ended. Raises what it
        raised."""
        future = self._under_way
        if future is None or not (wait or future.done()):
            return None
        self._under_way = None
        return future.result()

    def close(self) -> None:
        """Let the statement end, and go of the connection. Safe to call twice."""
        if self._begun:
            self._begun = False
            self._thread.submit(self._leave).result()
        self._thread.shutdown()

    def _run(self, statement: str) -> int:
        if self._reader is None:
            reader = self._new()
            reader.connect()
            self._reader = reader
        return self._reader.execute(statement)

    def _leave(self) -> None:
        if self._reader is not None:
            self._reader.close()
