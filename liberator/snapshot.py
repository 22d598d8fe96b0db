"""Reading what is already there, in chunks, while streaming goes on.

A chunk is a range of a table's keys, read in one database snapshot. Between the moment that snapshot was
taken and the moment the chunk enters the log, the stream goes on, so some of the chunk's rows are older
than what the log already holds. Three rules make the result exact, without a lock and without writing
to the source (DBLog's idea, https://arxiv.org/abs/2010.12597, with visibility in place of watermarks):

1. A chunk's snapshot must see every transaction whose events were already emitted, else it is read again.
2. The chunk is held until the stream has passed the *high* mark, taken after the chunk was read.
3. Meanwhile a :class:`Window` watches the events of the chunk's table. One whose transaction the snapshot
   does not see is newer than the chunk's row and replaces it; columns it did not send come from the chunk.

Nothing here knows a database: marks (a transaction id, a GTID) are opaque, visibility is a predicate. How
far each table has got is :class:`Progress`, the plain data that a state carries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from liberator.event import ABSENT, ChangeEvent, Operation, Position, Row
from liberator.schema import TableSchema
from liberator.source import State

#: Seconds until a chunk is tried again, and at the most; between them so many times as long as the try took.
_RETRY: Final = 0.02
_LONGEST: Final = 10.0
_REST: Final = 9
#: Whether a snapshot sees a transaction, which is told by the source's own mark.
Visible = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class TableProgress:
    """One table's snapshot: ``rows`` emitted so far, ``estimate`` of all, ``cursor`` the last key emitted
    (the database's text per key column; None: nothing yet). ``again``: start over when this pass ends.
    ``replace``: empty the table in the sinks before its rows. ``settle``, ``cut`` and ``id`` are the
    source's own notes: what must have ended before the table may be read, where a table without a key
    was cut, which table of this name it is. ``complete``: all rows were read once, so that a sink has them.
    ``strays``: keys to which rows have moved while the table was read for the first time; they are read on
    their own, for a row that moved from behind the chunks to before them is in none."""

    state: Literal["pending", "reading", "done"] = "pending"
    rows: int = 0
    estimate: int = 0
    cursor: tuple[str, ...] | None = None
    again: bool = False
    replace: bool = False
    settle: int = 0
    cut: str | None = None
    id: str = ""
    complete: bool = False
    strays: tuple[tuple[str, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A plain dict without the fields that say nothing."""
        out: dict[str, Any] = {"state": self.state, "rows": self.rows, "estimate": self.estimate}
        if self.cursor is not None:
            out["cursor"] = list(self.cursor)
        if self.strays:
            out["strays"] = [list(key) for key in self.strays]
        for name in ("again", "replace", "settle", "cut", "id", "complete"):
            if value := getattr(self, name):
                out[name] = value
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableProgress:
        """The inverse of :meth:`to_json`."""
        cursor = data.get("cursor")
        strays = tuple(tuple(key) for key in data.get("strays", ()))
        return cls(**{**data, "cursor": tuple(cursor) if cursor is not None else None, "strays": strays})


class Progress:
    """How far a source's snapshot is: tables by name, in reading order, and the newest signal taken.

    ``to_json`` gives the same object until something changes, as a state's parts must.
    """

    def __init__(self, data: Mapping[str, Any] | None = None):
        data = data or {}
        self.signal: int = data.get("signal", 0)
        self.tables = {name: TableProgress.from_json(t) for name, t in data.get("tables", {}).items()}
        self._json: dict[str, Any] | None = None

    def __getitem__(self, table: str) -> TableProgress:
        return self.tables[table]

    def __contains__(self, table: str) -> bool:
        return table in self.tables

    @property
    def pending(self) -> list[str]:
        """The tables not yet done, in order."""
        return [name for name, t in self.tables.items() if t.state != "done"]

    def update(self, table: str, **changes: Any) -> None:
        """Change some fields of one table, which is added if new."""
        self.tables[table] = replace(self.tables.get(table, TableProgress()), **changes)
        self._json = None

    def request(self, table: str, estimate: int, *, settle: int = 0, empty: bool = False) -> None:
        """Have ``table`` read from its beginning. One being read now is read once more afterwards, for a
        chunk may have been taken before whatever made the request necessary. ``empty``: as if it were
        new, emptied first."""
        known = self.tables.get(table)
        if known is not None and known.state == "reading" and not empty:
            self.update(table, again=True, settle=max(settle, known.settle))
            return
        self.tables.pop(table, None)  # to the end of the reading order
        complete = known is not None and known.complete and not empty
        self.update(table, estimate=estimate, settle=settle, replace=empty, complete=complete)

    def anew(self) -> None:
        """Changes were lost: every table is emptied and read from its beginning, as if it were new. Sinks
        may lack rows until then, so nothing counts as complete."""
        for name, known in self.tables.items():
            self.tables[name] = TableProgress(estimate=known.estimate, replace=True, id=known.id)
        self._json = None

    def advance(self, table: str, rows: int, cursor: tuple[str, ...] | None) -> None:
        """``rows`` more rows were emitted, the last with key ``cursor``."""
        self.update(table, state="reading", rows=self[table].rows + rows, cursor=cursor, replace=False)

    def finish(self, table: str, cut: str | None = None) -> None:
        """The table's last row was emitted; a pass that was asked for meanwhile begins."""
        known = self[table]
        if known.again:
            self.update(table, state="pending", rows=0, cursor=None, again=False, complete=True)
        else:
            self.update(
                table, state="done", cursor=None, cut=cut, estimate=known.rows, settle=0, complete=True
            )

    def forget(self, tables: Sequence[str]) -> None:
        """These tables are no longer captured."""
        for table in tables:
            del self.tables[table]
        self._json = None

    def taken(self, signal: int) -> None:
        """A person's request with this number is now part of the progress."""
        self.signal = max(self.signal, signal)
        self._json = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``State.snapshot``."""
        if self._json is None:
            self._json = {
                "signal": self.signal,
                "tables": {name: t.to_json() for name, t in self.tables.items()},
            }
        return self._json


def anew(state: State) -> State:
    """The state after a gap was accepted: a new epoch, all tables emptied and read anew."""
    progress = Progress(state.snapshot)
    progress.anew()
    return State(Position(state.position.epoch + 1, 0), {}, progress.to_json(), {})


class Window:
    """What the stream has said of a chunk's table since the chunk's snapshot was taken.

    Events whose transactions the snapshot sees are passed over; of the others only the outcome is kept:
    per key the row as the newest event left it, None for a deleted one, ABSENT for columns that none of them
    sent. ``emptied``: a truncate left nothing of what the chunk holds. ``broken``: the chunk must be read
    again, because its columns changed, or so many of its rows that keeping them would cost too much.
    """

    __slots__ = ("_limit", "_rows", "_visible", "broken", "emptied")

    def __init__(self, visible: Visible, limit: int = 50_000):
        self.broken = False
        self.emptied = False
        self._visible = visible
        self._limit = limit
        self._rows: dict[Row, Row | None] = {}

    def observe(self, mark: Any, event: ChangeEvent) -> None:
        """Take note of one event, in order."""
        if self._visible(mark):
            return
        if event.operation is Operation.TRUNCATE:
            self.emptied = True
            self._rows.clear()
            return
        key = event.key
        if key is None:
            return
        if event.operation is Operation.DELETE:
            self._rows[key] = None
        elif event.after is not None:
            known = self._rows.get(key)
            self._rows[key] = event.after if known is None else fill(event.after, known)
        if len(self._rows) > self._limit:
            self.broken = True
            self._rows.clear()

    def merge(self, row: Row, key: Row) -> Row | None:
        """The row to emit for a chunk's row; None if the stream has said all there is to say of it."""
        if key in self._rows:
            newest = self._rows[key]
            if newest is None or ABSENT not in newest:
                return None
            return fill(newest, row)
        return None if self.emptied else row

    def __bool__(self) -> bool:
        return self.emptied or bool(self._rows)


def fill(row: Row, older: Row) -> Row:
    """``row`` with its ABSENT columns taken from ``older``."""
    return tuple(o if v is ABSENT else v for v, o in zip(row, older, strict=True))


@dataclass(slots=True)
class Chunk:
    """Rows of one table, read in one snapshot and not yet emitted.

    ``lines`` are undecoded rows (a decoded row takes five times the memory); ``decode`` makes tuples of
    the next of them, ``cursor`` the key's text of one. ``strays`` are the keys it was read for, empty for a
    range. ``high`` is the position's major that the stream must have passed; ``last``: there is nothing
    behind this chunk.
    """

    table: str
    schema: TableSchema
    lines: Sequence[bytes]
    decode: Callable[[Sequence[bytes]], list[Row]]
    cursor: Callable[[bytes], tuple[str, ...]]
    window: Window
    high: int
    last: bool
    emitted: int = 0
    strays: tuple[tuple[str, ...], ...] = ()

    def take(self, count: int) -> tuple[list[Row], tuple[str, ...] | None]:
        """The next rows to emit, of at most ``count`` lines, and the key of the last line taken.

        Called only once the stream has passed ``high``, with no event observed between two calls.
        """
        lines = self.lines[self.emitted : self.emitted + count]
        self.emitted += len(lines)
        rows = self.decode(lines)
        if self.window:
            key, merge = self.schema.key, self.window.merge
            merged = (merge(row, tuple(row[i] for i in key)) for row in rows)
            rows = [row for row in merged if row is not None]
        return rows, self.cursor(lines[-1]) if lines else None

    @property
    def empty(self) -> bool:
        """Whether every line has been taken."""
        return self.emitted >= len(self.lines)


def retry_at(began: float | None = None) -> float:
    """When a chunk is tried again that could not be read, by the monotonic clock: soon, but where the try
    that ``began`` then has waited for a lock, so much later that the stream has nearly all of the time."""
    now = time.monotonic()
    tried = 0.0 if began is None else now - began
    return now + min(max(_RETRY, _REST * tried), _LONGEST)


def gives_values(old: TableSchema, new: TableSchema) -> bool:
    """Whether a change of columns may have given existing rows values that no event told of.

    A column that was added without a default is null in every row. Everything else that adds or retypes
    a column may have filled it; a rename looks like a drop and an addition at once.
    """
    before = {c.name: c for c in old.columns}
    after = {c.name: c for c in new.columns}
    added = [c for name, c in after.items() if name not in before]
    if any(name not in after for name in before) and added:
        return True
    if any(c.default is not None or not c.nullable or c.generated for c in added):
        return True
    return any(before[n].native != c.native for n, c in after.items() if n in before)
