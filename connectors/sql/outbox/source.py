"""The source ``outbox``: events that an application wrote into a table, in its own transactions.

Whether the table is polled (:mod:`.poll`) or its inserts come out of the database's log
(:mod:`.log`), the same records are the result: :mod:`.layout` makes them of rows. How an
application writes such a table is not our business; ``liberator/outbox.py`` is a help with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from connectors.sql.outbox.layout import Layout
from connectors.sql.outbox.log import Logged, stream
from connectors.sql.outbox.options import OutboxOptions
from connectors.sql.outbox.poll import NANOSECONDS, Polled
from connectors.sql.outbox.rows import find_table
from connectors.sql.reader import Reader, connected
from liberator.errors import LiberatorError
from liberator.event import Position
from liberator.preflight import Finding
from liberator.source import Batch, Managed, Source, SourceStatus, State

#: Waiting rows are counted so far.
_COUNTED = 10_000


class OutboxSource(Source):
    """Publishes the events of one outbox table. Exactly once: what is read and not yet marked is part of
    the state."""

    Config: ClassVar[type[OutboxOptions]] = OutboxOptions
    connector: ClassVar[str] = "outbox"

    config: OutboxOptions

    def __init__(self, name: str, config: Any):
        super().__init__(name, config)
        self._opened: Polled | Logged | None = None
        self._log: Source | None = None

    def open(self, state: State | None) -> None:
        """Find the table, take the lease, mark what the log has already."""
        kind = Logged if self.config.capture == "log" else Polled
        self._opened = kind(self.name, self.config, state)

    def read(self) -> Batch:
        """The next events."""
        assert self._opened is not None
        return self._opened.read()

    def confirm(self, position: Position) -> None:
        """Mark or delete the rows, or let the server forget its log."""
        assert self._opened is not None
        self._opened.confirm(position)

    def close(self) -> None:
        """Let go of connections, and of the lease with them."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def current(self) -> Position:
        """The database's clock; of a log its end."""
        if self.config.capture == "log":
            return self._stream().current()
        with connected(self.config.url, f"liberator {self.name}") as reader:
            return Position(0, reader.now() * NANOSECONDS)

    def reached(self, state: State, target: Position) -> bool:
        """Whether everything that was committed at ``target`` is read."""
        if self.config.capture == "log":
            return state.position.major > 0 and self._stream().reached(state, target)
        return state.position.major >= target.major

    def recover(self, state: State) -> State:
        """After a gap: of a new epoch, beginning with the rows that are there."""
        return State(Position(state.position.epoch + 1, 0))

    def describe(self, position: Position) -> str:
        """The moment up to which everything is read."""
        if not position.major:
            return "the beginning"
        if self.config.capture == "log":
            return self._stream().describe(position)
        seconds = position.major // NANOSECONDS / 1_000_000
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")

    def _stream(self) -> Source:
        """The source that reads the log, not opened."""
        if self._log is None:
            self._log = stream(self.name, self.config)
        return self._log

    # -- set-up ------------------------------------------------------------------------------------

    def objects(self) -> list[Managed]:
        """What reading the log needs; the table is the application's."""
        return self._stream().objects() if self.config.capture == "log" else []

    def setup(self) -> list[Managed]:
        """Create it."""
        return self._stream().setup() if self.config.capture == "log" else []

    def teardown(self) -> list[Managed]:
        """Remove it."""
        return self._stream().teardown() if self.config.capture == "log" else []

    def check(self) -> list[Finding]:
        """Whether the table is one, and may be read and drained."""
        with connected(self.config.url, f"liberator {self.name}") as reader:
            try:
                findings = [self._look(reader)]
            except LiberatorError as exc:
                return [Finding("error", "table", str(exc), exc.hint or "")]
            if self.config.capture == "poll" and self.config.drain == "cursor":
                findings += reader.horizons().check()
        return findings + (self._stream().check() if self.config.capture == "log" else [])

    def _look(self, reader: Reader) -> Finding:
        table = find_table(reader, self.config.table, self.name)
        schema = reader.describe(table)
        assert schema is not None
        layout = Layout(self.name, self.config, schema)
        relation = reader.relation(table)
        if self.config.capture == "poll" and self.config.drain == "delete":
            reader.execute(f"delete from {relation} where 1 = 0")
        published = layout.column("published_at")
        if self.config.capture == "poll" and self.config.drain == "mark" and published is not None:
            name = reader.quote(published.name)
            reader.execute(f"update {relation} set {name} = {name} where 1 = 0")
        return Finding("ok", "table", f"{table.full_name} is an outbox, and can be drained")

    def status(self, state: State | None) -> SourceStatus:
        """How many rows wait, and who holds a cursor back."""
        if self.config.capture == "log":
            return self._stream().status(state)
        with connected(self.config.url, f"liberator {self.name}") as reader:
            table = find_table(reader, self.config.table, self.name)
            details: dict[str, Any] = {}
            if self.config.drain == "cursor":
                details["holders"] = [str(holder) for holder in reader.horizons().holders()]
            else:
                schema = reader.describe(table)
                column = (
                    None if schema is None else Layout(self.name, self.config, schema).column("published_at")
                )
                marked = self.config.drain == "mark" and column is not None
                where = f" where {reader.quote(column.name)} is null" if marked and column else ""
                inner = f"select 1 from {reader.relation(table)}{where} limit {_COUNTED}"
                (found,) = reader.fetch(f"select count(*) from ({inner}) as waiting")
                details["waiting"] = f"{_COUNTED} or more" if found[0] == _COUNTED else found[0]
            position = None if state is None else self.describe(state.position)
            return SourceStatus(position=position, details=details)
