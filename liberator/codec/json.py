"""The JSON codec: the same envelopes as Avro's, as JSON text behind the same frame.

A value is a zero byte, the id of a JSON Schema in four bytes, and the document. Slower than Avro and
larger, but every tool reads it. The form of single values is that of ``json_value``; :func:`to_plain`,
for people, is passed on from ``plain``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from liberator.codec import Encode, EnvelopeName, Producer
from liberator.codec.avro_schema import check_origin
from liberator.codec.entity import EntityWriter, SharedHeaders, add_tombstone
from liberator.codec.envelope import (
    OPERATIONS,
    PHASES,
    Append,
    Gone,
    Item,
    Misfit,
    absent,
    check_transaction,
    frame,
    keyless_move,
    tombstone_headers,
    with_absent,
    wrong,
    wrong_width,
)
from liberator.codec.json_schema import key_schema, text, value_schema
from liberator.codec.json_value import nullable
from liberator.codec.plain import plain_key as plain_key  # noqa: PLC0414
from liberator.codec.plain import to_plain as to_plain  # noqa: PLC0414
from liberator.codec.runs import RunEncoder, Writer
from liberator.errors import DecodeError, SchemaError
from liberator.event import ABSENT, ChangeEvent, Operation, Position, Row, Transaction
from liberator.log import Records
from liberator.registry import Registry
from liberator.schema import TableSchema

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class JsonCodec:
    """Writes events as JSON; see :class:`liberator.codec.Codec`."""

    def __init__(self, registry: Registry, envelope: EnvelopeName = "change") -> None:
        self._registry = registry
        self._envelope = envelope

    def encoder(self, producer: Producer) -> Encode:
        """The function that writes events of ``producer``."""
        check_origin(producer)
        now, headers = [0], SharedHeaders(producer)

        def start(time: int) -> None:
            now[0] = time

        def make(schema: TableSchema, topic: str) -> Writer:
            key = key_schema(schema, topic)
            key_id = 0 if key is None else self._registry.register(f"{topic}-key", text(key), "JSON").id
            value = value_schema(schema, topic, self._envelope, producer)
            value_id = self._registry.register(f"{topic}-value", text(value), "JSON").id
            rows = JsonRows(schema, key_id, value_id)
            if self._envelope == "entity":
                return EntityWriter(rows, topic, headers)
            return _ChangeWriter(rows, topic, producer, headers, lambda: now[0])

        return RunEncoder(make, start)


class JsonRows:
    """The rows and keys of one table version as JSON, both ways."""

    def __init__(self, schema: TableSchema, key_id: int = 0, value_id: int = 0):
        self.schema = schema
        self.fields = schema.names
        self.value_id = value_id
        self._key_frame, self._value_frame = frame(key_id), frame(value_id)
        converts = [nullable(column.type) for column in schema.columns]
        self._write = [write for write, _ in converts]
        self._read = [read for _, read in converts]

    def row(self, row: Row) -> dict[str, Any]:
        """A row by column name; what was not sent stands as null."""
        if len(row) != len(self.fields):
            raise wrong_width(self.schema, row)
        return {name: self._column(i, row[i]) for i, name in enumerate(self.fields)}

    def key(self, values: Row) -> dict[str, Any]:
        """The key columns by name, in key order."""
        columns = zip(self.schema.key, values, strict=True)
        return {self.fields[i]: self._column(i, value) for i, value in columns}

    def _column(self, i: int, value: Any) -> Any:
        if value is ABSENT or value is None:
            column = self.schema.columns[i]
            if column.key is not None and (value is ABSENT or not column.nullable):
                what = "was not sent" if value is ABSENT else "holds null"
                raise wrong(self.schema, i, f"{what}, and is a key column")
            return None
        try:
            return self._write[i](value)
        except Misfit as exc:
            raise wrong(self.schema, i, str(exc)) from None

    def document(self, value: Any) -> bytes:
        """The frame of a value, and ``value`` as JSON behind it."""
        return self._value_frame + self._encoded(value)

    def framed_row(self, row: Row) -> bytes:
        """A row as a record's value."""
        return self.document(self.row(row))

    def framed_key(self, values: Row) -> bytes:
        """The values of the key columns as a record's key."""
        return self._key_frame + self._encoded(self.key(values))

    def _encoded(self, value: Any) -> bytes:
        try:
            return _dumps(value).encode()
        except UnicodeEncodeError:
            table = f"{self.schema.schema}.{self.schema.table}"
            # not "from": the exception would carry the value
            raise SchemaError(f"table {table}: a text is not Unicode (a lone surrogate)") from None

    def read_row(self, members: Any) -> Row:
        """The inverse of :meth:`row`. Raises DecodeError."""
        return self._values(members, range(len(self.fields)))

    def read_key(self, members: Any) -> Row:
        """The inverse of :meth:`key`. Raises DecodeError."""
        return self._values(members, self.schema.key)

    def _values(self, members: Any, places: Any) -> Row:
        if not isinstance(members, dict) or len(members) != len(places):
            raise DecodeError("a row in the record does not have the columns of its schema")
        try:
            return tuple([self._read[i](members[self.fields[i]]) for i in places])
        except KeyError:
            raise DecodeError("a row in the record does not have the columns of its schema") from None

    def parsed_row(self, value: bytes) -> Row:
        """The inverse of :meth:`framed_row`. Raises DecodeError."""
        return self.read_row(parse(value))

    def parsed_key(self, key: bytes) -> Row:
        """The inverse of :meth:`framed_key`. Raises DecodeError."""
        return self.read_key(parse(key))


def _refuse(_: str) -> NoReturn:
    raise ValueError("not JSON")


def parse(data: bytes) -> Any:
    """The document behind a frame. Raises DecodeError."""
    try:
        return json.loads(data[5:].decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise DecodeError("a record's document is not JSON") from None


class _ChangeWriter:
    """Writes the events of one table version in the envelope ``change``."""

    def __init__(
        self, rows: JsonRows, topic: str, producer: Producer, headers: SharedHeaders, now: Callable[[], int]
    ):
        self.topic = topic
        self._rows = rows
        self._headers = headers
        self._producer = producer
        self._now = now
        self._shared: tuple[object, object, dict[str, Any]] = (None, None, {})

    def run(self, schema: TableSchema, events: Iterator[ChangeEvent], records: Records) -> ChangeEvent | None:
        """See :class:`liberator.codec.runs.Writer`."""
        rows, topic = self._rows, self.topic
        for event in events:
            if event.schema is not schema or event.topic != topic:
                return event
            values = event.key
            key = None if values is None else rows.framed_key(values)
            value = rows.document(self._value(event))
            records.keys.append(key)
            records.values.append(value)
            if key is not None and event.operation is Operation.DELETE:
                moved = None if event.moved is None else rows.framed_key(event.moved)
                shared = self._headers(event.transaction, event.phase)
                add_tombstone(records, tombstone_headers(event, moved, rows.value_id) + shared)
        return None

    def _value(self, event: ChangeEvent) -> dict[str, Any]:
        rows, schema, before, after = self._rows, self._rows.schema, event.before, event.after
        if event.moved is not None and not schema.key:
            raise keyless_move(schema)
        return {
            "before": None if before is None else rows.row(before),
            "after": None if after is None else rows.row(after),
            "unavailable": [schema.names[i] for i in absent(after)],
            "unavailable_before": [schema.names[i] for i in absent(before)],
            "source": self._source(event),
            "op": event.operation.value,
            "ts_ms": self._now(),
            "transaction": {
                "id": event.transaction.id,
                "total_order": event.ordinal,
                "data_collection_order": event.table_ordinal,
            },
            "moved": None if event.moved is None else rows.key(event.moved),
        }

    def _source(self, event: ChangeEvent) -> dict[str, Any]:
        transaction, phase, made = self._shared
        if transaction is event.transaction and phase is event.phase:
            return made
        producer, schema, stamp = self._producer, self._rows.schema, event.transaction.timestamp
        check_transaction(event.transaction, len(producer.origin_fields), producer.name)
        epoch, major, _ = event.transaction.position
        made = {
            "version": producer.version,
            "connector": producer.connector,
            "name": producer.name,
            "db": schema.database,
            "schema": schema.schema,
            "table": schema.table,
            "snapshot": event.phase.value,
            "ts_ms": stamp // 1000,
            "ts_us": stamp,
            "epoch": epoch,
            "major": major,
            **{
                name: v for (name, _), v in zip(producer.origin_fields, event.transaction.origin, strict=True)
            },
        }
        self._shared = (event.transaction, event.phase, made)
        return made


class JsonChangeReader:
    """Reads the values of one registered schema in the envelope ``change``."""

    def __init__(self, number: int, schema: TableSchema, origin: tuple[tuple[str, str], ...], gone: Gone):
        self._frame = frame(number)
        self._gone = gone
        self._rows = JsonRows(schema)
        self._origin = tuple((name, int if kind == "long" else str) for name, kind in origin)

    def run(self, items: Iterator[Item], append: Append) -> Item | None:
        """See :class:`liberator.codec.decoder.Reader`."""
        for item in items:
            topic, key, value, _ = item
            if value is None or not value.startswith(self._frame):
                return item
            event = self.read(topic, value)
            self._gone.note(key, event)
            append(event)
        return None

    def read(self, topic: str, data: bytes) -> ChangeEvent:
        """The event in ``data``, which begins with the frame. Raises DecodeError."""
        rows = self._rows
        try:
            found = parse(data)
            place = found["transaction"]
            before, after = found["before"], found["after"]
            moved = found["moved"]
            return ChangeEvent(
                OPERATIONS[found["op"]],
                topic,
                rows.schema,
                None if before is None else self._row(before, found["unavailable_before"]),
                None if after is None else self._row(after, found["unavailable"]),
                self._transaction(found["source"], place["id"]),
                _whole(place["total_order"]),
                _whole(place["data_collection_order"]),
                PHASES[found["source"]["snapshot"]],
                None if moved is None else rows.read_key(moved),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DecodeError("a record's document is not an event") from None

    def _row(self, members: Any, missing: Any) -> Row:
        if not isinstance(missing, list):
            raise DecodeError("a record's list of columns that were not sent is not a list")
        return with_absent(self._rows.read_row(members), self._rows.fields, missing)

    def _transaction(self, source: dict[str, Any], id_: Any) -> Transaction:
        origin = tuple([source[name] for name, _ in self._origin])
        for value, (_, kind) in zip(origin, self._origin, strict=True):
            if value is not None and type(value) is not kind:
                raise DecodeError("a record's source has a field of a wrong type")
        if not isinstance(id_, str):
            raise DecodeError("a record's transaction has no id")
        position = Position(_whole(source["epoch"]), _whole(source["major"]))
        return Transaction(id_, position, _whole(source["ts_us"]), origin)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise DecodeError("a record has something else where a whole number belongs")
    return value
