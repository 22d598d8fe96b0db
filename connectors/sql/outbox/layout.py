"""Which column of an outbox table is what, and the message that a row of it is.

The same for rows that were polled and rows that came through a database's log: that is why both give the
same records. Nothing here asks a database.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.sql.outbox.options import COLUMNS, OutboxOptions
from liberator.errors import ConfigError, SourceError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Row, Transaction
from liberator.message import AVRO, BYTES, JSON, Message, message_schema
from liberator.schema import Column, Kind, TableSchema

#: What an event cannot do without.
NEEDED = ("event_id", "aggregate_id", "payload")
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Layout:
    """The columns of one version of the table, found by what they are for.

    Raises ConfigError where one that is needed, or named in the options, is not there.
    """

    def __init__(self, source: str, options: OutboxOptions, schema: TableSchema):
        self.schema = schema
        self._source = source
        self._stop = options.invalid == "stop"
        self._places = {name: i for i, name in enumerate(schema.names)}
        self.columns = self._found(options.columns)
        self._headers = [(name, self._named(column, "headers")) for name, column in options.headers.items()]
        self._topic = self._template(options.topic)
        self._topics: dict[tuple[Any, ...], str] = {}
        at = self._at
        self._id, self._aggregate_type = at("event_id"), at("aggregate_type")
        self._aggregate_id, self._type = at("aggregate_id"), at("event_type")
        self._payload, self._schema = at("payload"), at("payload_schema")
        self._header, self._version, self._created = at("headers"), at("version"), at("created_at")
        # The database has looked already.
        self._checked = schema.columns[self.columns["payload"]].type.kind is Kind.JSON

    def _found(self, names: Mapping[str, str]) -> dict[str, int]:
        out = {}
        for what, usual in COLUMNS.items():
            if what in names:
                out[what] = self._named(names[what], f"columns.{what}")
            elif (name := next((n for n in usual if n in self._places), None)) is not None:
                out[what] = self._places[name]
        missing = [what for what in NEEDED if what not in out]
        if missing:
            table = f"{self.schema.schema}.{self.schema.table}"
            raise ConfigError(
                f"sources.{self._source}.table: {table} has no column for {', '.join(missing)}",
                hint="name it: columns: {" + f"{missing[0]}: …" + "}; `liberator outbox ddl` shows a table",
            )
        return out

    def _named(self, column: str, option: str) -> int:
        if column not in self._places:
            table = f"{self.schema.schema}.{self.schema.table}"
            raise ConfigError(f"sources.{self._source}.{option}: {table} has no column {column}")
        return self._places[column]

    def _at(self, what: str) -> int:
        return self.columns.get(what, -1)

    def _template(self, template: str) -> list[tuple[str, int | None]]:
        out: list[tuple[str, int | None]] = []
        for literal, field, _, _ in string.Formatter().parse(template):
            at = None
            if field is not None:
                at = self.columns[field] if field in self.columns else self._named(field, "topic")
            out.append((literal, at))
        return out

    def column(self, what: str) -> Column | None:
        """The column for something; None where there is none."""
        return self.schema.columns[self.columns[what]] if what in self.columns else None

    def wanted(self) -> list[Column]:
        """The columns that messages are made of, and the row's number, in the table's order."""
        places = {at for what, at in self.columns.items() if what != "published_at"}
        places |= {at for _, at in self._headers} | {at for _, at in self._topic if at is not None}
        return [self.schema.columns[i] for i in sorted(places)]

    def identity(self, row: Row) -> str:
        """What tells a row from all others: its number, else the event's id."""
        return str(row[self.columns.get("id", self._id)])

    def event(
        self,
        row: Row,
        operation: Operation,
        transaction: Transaction,
        ordinals: tuple[int, int] = (1, 1),
        phase: Phase = Phase.STREAM,
    ) -> ChangeEvent:
        """The message of a row. Raises SourceError for one that is none, naming its id."""
        identity = text(row[self._id])
        if identity is None or ABSENT in row:
            raise SourceError(f"source {self._source}: a row of the outbox has no id, or is incomplete")
        payload = row[self._payload]
        avro = row[self._schema] if self._schema >= 0 else None
        kind = JSON
        if avro is not None:
            kind = AVRO
            if not isinstance(payload, bytes):
                raise self._invalid(identity, "has an Avro schema, but its payload's column holds no bytes")
        elif payload is not None:
            if not isinstance(payload, str | bytes):
                payload = str(payload)
            kind, payload = (JSON, payload) if self._checked else self._json(identity, payload)
        message = Message(
            identity,
            text(row[self._aggregate_type]) if self._aggregate_type >= 0 else None,
            text(row[self._aggregate_id]),
            text(row[self._type]) if self._type >= 0 else None,
            row[self._version] if self._version >= 0 else None,
            payload,
            self._headers_of(identity, row),
            micros(row[self._created]) if self._created >= 0 else None,
        )
        topic = self._topic_of(identity, row)
        schema = message_schema(topic, kind, avro or "")
        return ChangeEvent(operation, topic, schema, None, tuple(message), transaction, *ordinals, phase)

    def _json(self, identity: str, payload: str | bytes) -> tuple[str, str | bytes]:
        """The payload's kind, JSON if it is that, and the payload as that kind has it."""
        try:
            json.loads(payload, parse_constant=_no_json)
            return JSON, payload if isinstance(payload, str) else payload.decode()
        except (ValueError, RecursionError):
            if self._stop:
                raise self._invalid(identity, "has a payload that is no JSON") from None
        return BYTES, payload if isinstance(payload, bytes) else payload.encode()

    def _headers_of(self, identity: str, row: Row) -> str | None:
        raw = row[self._header] if self._header >= 0 else None
        if raw is None and not self._headers:
            return None
        found: dict[str, str] = {}
        if raw is not None:
            try:
                given = json.loads(raw)
                found = {name: v if isinstance(v, str) else json.dumps(v) for name, v in given.items()}
            except (ValueError, TypeError, AttributeError, RecursionError):
                if self._stop:
                    raise self._invalid(identity, "has headers that are no JSON object") from None
        for name, at in self._headers:
            if (value := text(row[at])) is not None:
                found[name] = value
        return _dumps(found) if found else None

    def _topic_of(self, identity: str, row: Row) -> str:
        values = tuple([row[at] for _, at in self._topic if at is not None])
        known = self._topics.get(values)
        if known is None:
            if None in values or "" in values:
                raise self._invalid(identity, "has no value in a column that its topic is made of")
            if len(self._topics) > 10_000:
                self._topics.clear()
            parts = [literal + ("" if at is None else text(row[at]) or "") for literal, at in self._topic]
            known = self._topics[values] = "".join(parts)
        return known

    def _invalid(self, identity: str, what: str) -> SourceError:
        return SourceError(
            f"source {self._source}: event {identity} of {self.schema.schema}.{self.schema.table} {what}",
            hint="mend or delete the row; or set `invalid: pass` to hand on payloads as they are",
        )


def text(value: Any) -> str | None:
    """An id or a name as text; bytes, such as a binary UUID, in hexadecimal."""
    if value is None or isinstance(value, str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def micros(value: Any) -> int | None:
    """A time in microseconds since 1970; also one that is spelled out, in UTC unless it says another."""
    if not isinstance(value, str):
        return value if isinstance(value, int) else None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    since = (found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _no_json(_constant: str) -> None:
    raise ValueError("not JSON")
