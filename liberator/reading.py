"""Reading the log for a sink: records become events, in pieces that end outside of source transactions.

:class:`Reader` reads when it is asked. :class:`Ahead` reads the next piece on a thread of its own while the
sink waits for its database; the pump asks it only when it is behind, for a sink that has caught up must
take everything that is there at the moment when it is free.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import NamedTuple

from liberator.codec import Decoder
from liberator.event import ChangeEvent
from liberator.log import Cursor, Log, Topics

#: A piece with more bytes than that is large enough to have in memory once.
LARGE = 4 << 20


class Place(NamedTuple):
    """Where to read on, and whether a source transaction is open there."""

    cursor: Cursor
    open: bool = False


class Piece(NamedTuple):
    """Events; the place behind them; the number of their ``records``, and the ``size`` of these in bytes."""

    events: list[ChangeEvent]
    place: Place
    records: int
    size: int


class Reader:
    """Reads one log for one sink. ``whole``: where it can, a piece ends outside of transactions."""

    def __init__(self, log: Log, decoder: Decoder, topics: Topics, whole: bool):
        self._log = log
        self._decoder = decoder
        self._topics = topics
        self._whole = whole

    def read(self, place: Place, limit: int) -> Piece:
        """About ``limit`` records behind ``place``; fewer where a transaction begins that does not end
        with them."""
        while True:
            found = self._log.read(place.cursor, self._topics, limit)
            if found.complete or place.open or limit == 1 or not self._whole:
                break
            limit //= 2
        records = found.records
        events = self._decoder.decode(records, place.cursor.offsets) if records else []
        size = sum(len(value) for value in records.values if value)
        return Piece(events, Place(found.cursor, not found.complete), len(records), size)


class Ahead:
    """Reads one piece ahead, with a reader that ``open_reader`` makes on the thread that uses it.

    ``open_reader`` returns the reader, and a function that closes what it opened.
    """

    def __init__(self, open_reader: Callable[[], tuple[Reader, Callable[[], None]]]):
        self._open_reader = open_reader
        self._thread: threading.Thread | None = None
        self._orders: queue.SimpleQueue[tuple[Place, int] | None] = queue.SimpleQueue()
        self._pieces: queue.SimpleQueue[Piece | BaseException] = queue.SimpleQueue()
        self._place: Place | None = None  # where the read under way began

    def begin(self, place: Place, limit: int) -> None:
        """Begin to read behind ``place``; the piece before it must have been taken."""
        assert self._place is None
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="read ahead", daemon=True)
            self._thread.start()
        self._place = place
        self._orders.put((place, limit))

    def take(self, place: Place) -> Piece | None:
        """The piece behind ``place``, if that is what was begun; raises what reading it raised. One that
        was begun elsewhere is thrown away, for the sink has gone back since."""
        begun, self._place = self._place, None
        if begun is None:
            return None
        piece = self._pieces.get()
        if begun != place:
            return None
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def close(self) -> None:
        """End the thread, and close its log. Safe to call twice."""
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        reader: Reader | None = None
        close: Callable[[], None] = lambda: None  # noqa: E731
        try:
            while (order := self._orders.get()) is not None:
                try:
                    if reader is None:
                        reader, close = self._open_reader()
                    self._pieces.put(reader.read(*order))
                except BaseException as exc:
                    self._pieces.put(exc)
        finally:
            close()
