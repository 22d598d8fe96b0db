"""The rows that lie in an outbox when its log is read for the first time.

They are read in the order of their numbers, after the log source has noted where it begins: what committed
before that is seen here. What commits later comes from the log; a row of it that is seen here as well is left
out there, for the state says which rows were read. All pages are of one view of the table: it shows no event
of an aggregate without the ones before it, so they stay in their order. After a crash all is looked at once
more, and what was read is left out.

A commit is in the log before others see it, for a moment, or for as long as a synchronous standby or a
semi-synchronous replica does not answer. Such a one may lie before the log's beginning, and then the log does
not tell of it. So nothing is read before all who were writing after that beginning was noted have ended.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import replace

from connectors.sql.horizon import Ended
from connectors.sql.outbox.layout import Layout
from connectors.sql.outbox.options import OutboxOptions
from connectors.sql.outbox.rows import INTEGERS, Known, find_table
from connectors.sql.reader import open_reader
from liberator.errors import SourceError
from liberator.event import ChangeEvent, Operation, Phase, Position, Transaction
from liberator.source import Batch, State

#: Where a state says which rows were read, where the log goes on behind them, and up to where it may tell of
#: them again.
READ, BEGAN, UNTIL = "read", "began", "until"
_PAUSE = 0.02
_BUDGET = 16_000_000


class Before:
    """Reads what is there, page by page; ``known`` is what was read, and grows. ``began`` is the state of the
    source that reads the log, from which it goes on behind these rows."""

    def __init__(self, name: str, options: OutboxOptions, began: State, known: Known):
        self._options = options
        self._began = began
        self._position = Position(began.position.epoch, 0)
        self._notes = {**began.snapshot, BEGAN: list(began.position)}
        self._known = known
        self._reader = reader = open_reader(options.url, f"liberator {name}")
        reader.connect()
        table = find_table(reader, options.table, name)
        schema = reader.describe(table)
        if schema is None:
            raise SourceError(f"source {name}: table {table.full_name} is gone", retryable=True)
        self._layout = layout = Layout(name, options, schema)
        self._published = layout.columns.get("published_at")
        number, created = layout.column("id"), layout.column("created_at")
        self._number = number if number is not None and number.type.kind in INTEGERS else None
        names = ", ".join(reader.quote(c.name) for c in schema.columns)
        self._select = f"select {names} from {reader.relation(table)}"
        by = self._number or created or layout.schema.columns[layout.columns["event_id"]]
        self._order = reader.quote(by.name)
        self._after = ""
        self._ready = self._ended = False
        self._view = ExitStack()
        self._writers = Ended(reader.horizons().unseen([(table.schema, table.name)]))

    def close(self) -> None:
        """Let go of the connection."""
        with suppress(SourceError):
            self._view.close()
        self._reader.close()

    def _begin(self) -> bool:
        """Whether reading can begin."""
        if not self._writers.look():
            time.sleep(_PAUSE)
            return False
        self._ready = True
        self._view.enter_context(self._reader.transaction("read"))
        return True

    def read(self) -> Batch | None:
        """The next rows; None when all were read."""
        if not self._ready and not self._begin():
            return Batch([], self._state())
        if self._ended:
            return None
        where = f" where {self._after}" if self._after else ""
        limit = f" limit {self._options.batch}" if self._number is not None else ""
        sql = f"{self._select}{where} order by {self._order}{limit}"
        budget = _BUDGET if self._number is not None else 1 << 40
        rows = self._reader.select(sql, self._layout.schema, budget).rows
        events: list[ChangeEvent] = []
        for row in rows:
            identity = self._layout.identity(row)
            if identity not in self._known:
                self._known.add(identity)
                if self._published is None or row[self._published] is None:
                    events.append(self._event(row))
        if not rows or self._number is None:
            self._ended = True
            self._view.close()
        else:
            self._after = f"{self._order} > {self._layout.identity(rows[-1])}"
        return Batch(events, self._state())

    def _state(self) -> State:
        notes = {**self._notes, READ: self._known.pack()}
        return replace(self._began, position=self._position, snapshot=notes)

    def _event(self, row: tuple[object, ...]) -> ChangeEvent:
        transaction = Transaction("", self._position, 0)
        event = self._layout.event(row, Operation.READ, transaction, (0, 0), Phase.SNAPSHOT)
        assert event.after is not None
        transaction.id, transaction.timestamp = event.after[0], event.after[7] or 0
        return event
