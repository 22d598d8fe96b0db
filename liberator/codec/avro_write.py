"""Events to Avro records: what is generated per table version, and what it falls back on.

For each table version a function is generated that encodes a run of its events in straight-line code: no
loop over columns, no look-up of types, the common value of each type by table. Whatever that code does
not expect (an escape, an absent column, a number out of range) makes it raise, and the event is encoded
again by the careful functions of ``avro_value``, which either know it or say which column is wrong.

Only integers and literals quoted by ``repr`` enter the generated source. Subjects, registration and the
batch are the business of ``avro``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from liberator.codec import Producer
from liberator.codec.avro_schema import column_branches, names
from liberator.codec.avro_value import Misfit, Write, union, write_long, write_text
from liberator.codec.envelope import absent, check_transaction
from liberator.errors import SchemaError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Row, Transaction
from liberator.schema import TableSchema

#: Encodes the events it is given until one is of another table version, which it returns (None: all
#: encoded); appends keys and values.
Run = Callable[[Iterator[ChangeEvent], list[bytes | None], list[bytes | None]], ChangeEvent | None]


class Shared:
    """The part of a ``change`` value that the events of a transaction share, made once for each."""

    def __init__(self, producer: Producer):
        self._producer = producer
        self._origin = [kind for _, kind in producer.origin_fields]
        self._now = b""
        self.constant = b"".join(map(write_text, (producer.version, producer.connector, producer.name)))
        self.transaction: Transaction | None = None
        self.phase: Phase | None = None
        self.data = b""

    def start(self, now: int) -> None:
        """A new batch, encoded ``now`` (milliseconds since 1970)."""
        self._now = write_long(now)
        self.transaction = None

    def __call__(self, transaction: Transaction, phase: Phase) -> bytes:
        if transaction is self.transaction and phase is self.phase:
            return self.data
        check_transaction(transaction, len(self._origin), self._producer.name)
        epoch, major, _ = transaction.position
        stamp = transaction.timestamp
        try:
            parts = [
                write_text(phase.value),
                write_long(stamp // 1000),
                write_long(stamp),
                write_long(epoch),
                write_long(major),
            ]
            for kind, value in zip(self._origin, transaction.origin, strict=True):
                if value is None:
                    parts.append(b"\0")
                else:
                    parts.append(b"\2" + (write_long(value) if kind == "long" else write_text(value)))
            parts.append(self._now)
            parts.append(write_text(transaction.id))
        except (Misfit, TypeError) as exc:
            raise SchemaError(
                f"source {self._producer.name} gave a transaction that does not fit its envelope: {exc}"
            ) from None
        self.transaction, self.phase, self.data = transaction, phase, b"".join(parts)
        return self.data


class Rows:
    """The rows and keys of one table version, to bytes."""

    def __init__(self, schema: TableSchema):
        self._schema = schema
        self._names = names(schema.columns)
        self._write: list[Write] = [union(c.type, column_branches(c))[0] for c in schema.columns]
        self._missing: dict[tuple[int, ...], bytes] = {(): b"\0"}

    def row(self, row: Row) -> bytes:
        """A row; absent columns are written as null."""
        return b"".join(map(self._column, range(len(self._names)), row))

    def _column(self, i: int, value: Any) -> bytes:
        column = self._schema.columns[i]
        if value is ABSENT:
            if "null" in column_branches(column):
                return b"\0"
            raise self._wrong(i, "was not sent, and is a key column")
        try:
            return self._write[i](value)
        except Misfit as exc:
            raise self._wrong(i, str(exc)) from None

    def _wrong(self, i: int, why: str) -> SchemaError:
        table = f"{self._schema.schema}.{self._schema.table}"
        return SchemaError(f"table {table}: column {self._schema.columns[i].name} {why}")

    def key(self, values: Row) -> bytes:
        """The values of the key columns, in key order."""
        return b"".join(map(self._column, self._schema.key, values))

    def missing(self, row: Row | None) -> bytes:
        """The array of the field names that were not sent."""
        places = absent(row)
        known = self._missing.get(places)
        if known is None:
            fields = [write_text(self._names[i]) for i in places]
            known = b"".join((write_long(len(fields)), *fields, b"\0"))
            if len(self._missing) < 1000:
                self._missing[places] = known
        return known


class ChangeTable:
    """Writes the events of one table version in the envelope ``change``."""

    def __init__(self, schema: TableSchema, topic: str, shared: Shared, key_id: int, value_id: int):
        self.schema = schema
        self.topic = topic
        self._shared = shared
        self._rows = Rows(schema)
        self._key_frame = frame(key_id)
        place = b"".join(map(write_text, (schema.database, schema.schema, schema.table)))
        self._prefix = frame(value_id) + shared.constant + place

    def run(
        self, events: Iterator[ChangeEvent], keys: list[bytes | None], values: list[bytes | None]
    ) -> ChangeEvent | None:
        schema, topic = self.schema, self.topic
        for event in events:
            if event.schema is not schema or event.topic != topic:
                return event
            key = self._key(event)
            value = self._value(event)
            keys.append(key)
            values.append(value)
            if key is not None and event.operation is Operation.DELETE:
                keys.append(key)
                values.append(None)
        return None

    def _key(self, event: ChangeEvent) -> bytes | None:
        values = event.key
        return None if values is None else self._key_frame + self._rows.key(values)

    def _value(self, event: ChangeEvent) -> bytes:
        rows, before, after = self._rows, event.before, event.after
        parts = [
            self._prefix,
            self._shared(event.transaction, event.phase),
            write_long(event.ordinal),
            write_long(event.table_ordinal),
            write_text(event.operation.value),
            rows.missing(after),
            rows.missing(before),
        ]
        if self.schema.key:
            parts.append(b"\0" if event.moved is None else b"\2" + rows.key(event.moved))
        elif event.moved is not None:
            table = f"{self.schema.schema}.{self.schema.table}"
            raise SchemaError(f"table {table} has no key, yet an event says that its key changed")
        parts.append(b"\0" if before is None else b"\2" + rows.row(before))
        parts.append(b"\0" if after is None else b"\2" + rows.row(after))
        return b"".join(parts)


def frame(schema_id: int) -> bytes:
    """What every key and value begins with: a zero byte, and the schema's id."""
    return b"\0" + schema_id.to_bytes(4, "big")
