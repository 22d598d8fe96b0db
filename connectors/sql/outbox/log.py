"""Reading an outbox through the database's log: the insert of a row is the event.

The source that reads the log does the work, and owns state and position: here its changes of one table become
messages. Updates and deletes say nothing, so the application may delete its row in the transaction that
inserted it, and keep an empty table. On Postgres an application can also write logical messages.

Rows that are there at the first start come first (:mod:`.before`). The log goes on from before they
were read, so what it tells of them again is left out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connectors.sql.outbox.before import BEGAN, READ, UNTIL, Before
from connectors.sql.outbox.layout import Layout
from connectors.sql.outbox.options import OutboxOptions
from connectors.sql.outbox.rows import INTEGERS, Cleaner, Known, Numbers, find_table
from connectors.sql.reader import Reader, connected, open_reader
from liberator import plugins
from liberator.errors import ConfigError, SourceError
from liberator.event import ChangeEvent, Operation, Phase, Position, Transaction
from liberator.schema import Column, Kind, LogicalType, TableSchema
from liberator.source import Batch, Source, State

#: The source that reads a database's log, by the scheme of its URL.
LOGS = {
    "postgresql": "postgres-wal",
    "postgres": "postgres-wal",
    "mysql": "mysql-binlog",
    "mariadb": "mysql-binlog",
}
_STRING = LogicalType(Kind.STRING)
#: What the helper puts into a logical message.
_FIELDS = (
    "event_id",
    "aggregate_type",
    "aggregate_id",
    "event_type",
    "version",
    "payload",
    "payload_schema",
    "headers",
    "created_at",
)


def stream(name: str, options: OutboxOptions) -> Source:
    """The source that reads the log for the outbox ``name``, not opened. Connects to find the table."""
    kind = LOGS.get(options.url.partition("://")[0])
    if kind is None:
        raise ConfigError(
            f"sources.{name}.capture: this database has no log that could be read",
            hint="set capture: poll",
        )
    with connected(options.url, f"liberator {name}") as reader:
        table = find_table(reader, options.table, name)
    made = plugins.source_class(kind)
    config: dict[str, Any] = {
        "type": kind,
        "url": options.url,
        "tables": [_pattern(table.schema, table.name)],
    }
    config |= {"batch": options.batch, **options.stream, "snapshot": "none"}
    if options.messages is not None:
        config["messages"] = [options.messages]
    return made(name, made.Config(**config))


def _pattern(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


class Logged:
    """The outbox table of one source, opened by way of the log."""

    def __init__(self, name: str, options: OutboxOptions, state: State | None):
        self._name = name
        self._options = options
        self._layouts: dict[str, Layout] = {}
        self._messages: Layout | None = None
        self._of: Transaction | None = None
        self._transaction: Transaction | None = None
        self._reader: Reader | None = None
        self._source = stream(name, options)
        try:
            self._open(state)
        except BaseException:
            self._source.close()
            raise

    def _open(self, state: State | None) -> None:
        notes = dict(state.snapshot) if state is not None else {}
        known = Known(notes.pop(READ, ""))
        #: Where the log has told of all rows that were read before it.
        self._until = Position(*notes.pop(UNTIL)) if UNTIL in notes else None
        self._notes: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
        self._known: Known | None = known if self._until is not None else None
        self._before: Before | None = None
        place = notes.pop(BEGAN, None)
        if state is not None and (state.position.major or self._until is not None):
            self._source.open(state if self._until is None else replace(state, snapshot=notes))
            return
        begin = None if state is None or state.position.epoch == 1 else State(state.position)
        if state is not None and place is not None:
            begin = replace(state, position=Position(*place), snapshot=notes)
        self._source.open(begin)
        began = self._source.began()
        assert began is not None, "a source that reads a log can say where it began"
        self._before, self._known = Before(self._name, self._options, began, known), known

    def close(self) -> None:
        """Let go of the log and the connections."""
        self._source.close()
        for opened in (self._before, self._reader):
            if opened is not None:
                opened.close()

    def read(self) -> Batch:
        """The rows that were there before; then the changes that are events."""
        if self._before is not None:
            batch = self._before.read()
            if batch is not None:
                return batch
            self._before.close()
            self._before = None
            self._until = self._source.current()
        batch = self._source.read()
        events = [made for event in batch.events if (made := self._message(event)) is not None]
        if not events and self._options.keep is not None:
            self._clean()
        return Batch(events, self._state(batch.state), batch.open, batch.timestamp, batch.end)

    def _state(self, state: State) -> State:
        """The log source's state, with the rows that were read before while the log may tell of them."""
        if self._known is None or self._until is None:
            return state
        if self._source.reached(state, self._until):
            self._known = None
            return state
        inner, notes = self._notes
        if inner is not state.snapshot:
            notes = {**state.snapshot, READ: self._known.pack(), UNTIL: list(self._until)}
            self._notes = state.snapshot, notes
        return replace(state, snapshot=notes)

    def confirm(self, position: Position) -> None:
        """The source that reads the log is told, once it has begun."""
        if position.major:
            self._source.confirm(position)

    def _message(self, event: ChangeEvent) -> ChangeEvent | None:
        if event.operation is not Operation.CREATE or event.after is None or event.moved is not None:
            return None
        transaction = event.transaction
        if transaction is not self._of:
            # A message says the same whichever way it came; the log's own fields are of no use with it.
            self._of = transaction
            self._transaction = Transaction(transaction.id, transaction.position, transaction.timestamp)
        assert self._transaction is not None
        ordinals = event.ordinal, event.table_ordinal
        if event.schema.schema == "pg_logical":
            return self._logical(event, self._transaction)
        layout = self._layouts.get(event.schema.fingerprint)
        if layout is None:
            layout = self._layouts[event.schema.fingerprint] = Layout(self._name, self._options, event.schema)
        if self._known is not None and layout.identity(event.after) in self._known:
            return None
        return layout.event(event.after, event.operation, self._transaction, ordinals, event.phase)

    def _logical(self, event: ChangeEvent, transaction: Transaction) -> ChangeEvent:
        """The event in a logical message, as the helper writes it."""
        assert event.after is not None
        layout = self._messages
        if layout is None:
            columns = [Column(name, _STRING) for name in _FIELDS]
            schema = TableSchema(
                event.schema.dialect, event.schema.database, "pg_logical", "message", tuple(columns)
            )
            plain = self._options.model_copy(update={"columns": {}, "headers": {}})
            layout = self._messages = Layout(self._name, plain, schema)
        try:
            fields = json.loads(event.after[1])
            payload = fields["payload"]
            if "payload_schema" in fields:
                payload = base64.b64decode(payload, validate=True)
            fields |= {"payload": payload, "created_at": transaction.timestamp}
            row = tuple(fields.get(name) for name in _FIELDS)
        except (ValueError, KeyError, TypeError):
            raise SourceError(
                f"source {self._name}: a logical message of prefix {self._options.messages} is no event",
                hint="give liberator.outbox, and whoever else writes messages, prefixes of their own",
            ) from None
        ordinals = event.ordinal, event.table_ordinal
        return layout.event(row, Operation.CREATE, transaction, ordinals, Phase.STREAM)

    # -- cleaning ----------------------------------------------------------------------------------

    def _clean(self) -> None:
        """Delete old rows. That nobody has read them yet does no harm: the log has their inserts."""
        if self._reader is None:
            reader = self._reader = open_reader(self._options.url, f"liberator {self._name}")
            reader.connect()
            table = find_table(reader, self._options.table, self._name)
            schema = reader.describe(table)
            if schema is None:
                raise SourceError(f"source {self._name}: table {table.full_name} is gone", retryable=True)
            layout = Layout(self._name, self._options, schema)
            key = [schema.columns[i] for i in schema.key] or [schema.columns[layout.columns["event_id"]]]
            number = layout.column("id")
            growing = number if number is not None and number.type.kind in INTEGERS else None
            self._numbers = Numbers(reader, growing, key)
            self._numbers.locate(schema)
            self._cleaner = Cleaner(reader.relation(table), layout.column("created_at"), self._options.keep)
        self._cleaner.clean(self._reader, self._numbers)
