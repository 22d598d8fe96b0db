"""Messages as records: what an application serialized is the value, and nothing is put around it.

The key is the aggregate's id in UTF-8. The value is the payload's own bytes; where it is Avro, a zero byte
and the schema's id come first, as everywhere, and the schema is registered for the subject
``<topic>-<name of the record>``, since a topic holds events of several types. Everything else stands in
headers: ``message`` (the payload's kind) says that the record is one, :data:`OWN` follow, then those of the
application, then those that the events of a transaction share (:mod:`liberator.codec.headers`).

Decoding gives the message back. An Avro payload comes as JSON, for who reads events are sinks and people.
"""

from __future__ import annotations

import base64
import datetime
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from liberator.codec import Producer
from liberator.codec.envelope import OPERATIONS, Append, Item, frame, not_unicode
from liberator.codec.headers import HeaderReader, SharedHeaders
from liberator.errors import DecodeError, SchemaError
from liberator.event import ChangeEvent, Operation
from liberator.log import Headers, Records
from liberator.message import AVRO, DIALECT, JSON, Message, message_schema, payload_of
from liberator.registry import Registry
from liberator.schema import TableSchema

if TYPE_CHECKING:
    from liberator.event import Run

#: The header that every message begins with.
MESSAGE = "message"
#: The headers of a message's own, in this order; those that say nothing are left out, but for the last.
OWN = {
    "op": "c, or r where the message lay there before the source was first started",
    "order": "the place in the transaction, twice",
    "id": "the message's id: what a consumer knows it again by",
    "aggregate_type": "what kind of thing the message is about",
    "type": "what happened",
    "version": "the aggregate's version",
    "created_at": "microseconds since 1970 UTC; empty where it is not known",
}


class MessageWriter:
    """Writes the messages of one topic and one schema; see :class:`liberator.codec.runs.Writer`."""

    def __init__(self, schema: TableSchema, topic: str, registry: Registry, shared: SharedHeaders):
        self.topic = topic
        self._shared = shared
        self._kind, avro = payload_of(schema)
        self._head = (MESSAGE, self._kind.encode())
        self._frame = frame(_register(registry, topic, avro)) if self._kind == AVRO else b""

    def run(self, schema: TableSchema, events: Iterator[ChangeEvent], records: Records) -> ChangeEvent | None:
        """Append messages until an event has another schema object or topic, which is returned."""
        topic, framed = self.topic, self._frame
        # Records before ours may have none, and have not been given that yet.
        records.headers.extend([()] * (len(records.values) - len(records.headers)))
        for event in events:
            if event.schema is not schema or event.topic != topic:
                return event
            if event.after is None or event.operation not in (Operation.CREATE, Operation.READ):
                raise SchemaError(f"an event of topic {topic} is no message: it has no row")
            message = Message._make(event.after)
            try:
                headers = self._headers(event, message) + self._shared(event.transaction, event.phase)
                key = None if message.aggregate_id is None else message.aggregate_id.encode()
                payload = message.payload.encode() if isinstance(message.payload, str) else message.payload
            except UnicodeEncodeError:
                raise not_unicode(f"a message of topic {topic}") from None
            records.headers.append(headers)
            records.keys.append(key)
            records.values.append(framed + payload if payload is not None else None)
        return None

    def rows(self, run: Run, records: Records) -> None:
        """See :class:`liberator.codec.runs.Writer`."""
        self.run(run.schema, map(run.event, range(len(run.rows))), records)

    def _headers(self, event: ChangeEvent, message: Message) -> Headers:
        out = [
            self._head,
            ("op", event.operation.value.encode()),
            ("order", b"%d/%d" % (event.ordinal, event.table_ordinal)),
            ("id", message.id.encode()),
        ]
        if message.aggregate_type is not None:
            out.append(("aggregate_type", message.aggregate_type.encode()))
        if message.type is not None:
            out.append(("type", message.type.encode()))
        if message.version is not None:
            out.append(("version", b"%d" % message.version))
        out.append(("created_at", b"" if message.created_at is None else b"%d" % message.created_at))
        if message.headers is not None:
            out += [(name, value.encode()) for name, value in _loads(message.headers).items()]
        return tuple(out)


def writer(schema: TableSchema, topic: str, registry: Registry, producer: Producer) -> MessageWriter | None:
    """What writes the messages of a schema; None where it is a table's."""
    if schema.dialect != DIALECT:
        return None
    return MessageWriter(schema, topic, registry, SharedHeaders(producer))


def is_message(headers: Headers) -> bool:
    """Whether these are the headers of a message."""
    return bool(headers) and headers[0][0] == MESSAGE


def plain_message(event: ChangeEvent) -> tuple[str | None, Any]:
    """Key and payload of a message for people to read; bytes in base64."""
    assert event.after is not None
    message = Message._make(event.after)
    if isinstance(message.payload, str):
        return message.aggregate_id, json.loads(message.payload)
    return message.aggregate_id, None if message.payload is None else _plain(message.payload)


class MessageReader:
    """Reads messages."""

    def __init__(self, registry: Registry):
        self._registry = registry
        self._headers = HeaderReader()
        self._parsed: dict[bytes, Any] = {}

    def run(self, items: Iterator[Item], append: Append) -> None:
        """Decode records, which are all messages, and append their events. Raises DecodeError."""
        for item in items:
            append(self.read(item))

    def read(self, item: Item) -> ChangeEvent:
        """The message of one record."""
        topic, key, value, headers = item
        try:
            last = next(i for i, (name, _) in enumerate(headers) if name == "created_at")
            shared = len(headers) - next(i for i, (n, _) in enumerate(reversed(headers), 1) if n == "source")
            own = {name: data.decode() for name, data in headers[: last + 1]}
            extra = {name: data.decode() for name, data in headers[last + 1 : shared]}
            meta = self._headers.read((*headers[1:3], *headers[shared:]))
            kind = own[MESSAGE]
            message = Message(
                own["id"],
                own.get("aggregate_type"),
                None if key is None else key.decode(),
                own.get("type"),
                int(own["version"]) if "version" in own else None,
                None if value is None else self._payload(kind, value),
                _dumps(extra) if extra else None,
                int(own["created_at"]) if own["created_at"] else None,
            )
            operation = OPERATIONS[own["op"]]
        except (KeyError, ValueError, StopIteration, RuntimeError):
            raise DecodeError(f"a record of topic {topic} says that it is a message, and is none") from None
        schema = message_schema(topic, JSON if kind == AVRO else kind)
        return ChangeEvent(
            operation,
            topic,
            schema,
            None,
            tuple(message),  # a row is a plain tuple
            meta.transaction,
            meta.ordinal,
            meta.table_ordinal,
            meta.phase,
        )

    def _payload(self, kind: str, value: bytes) -> str | bytes:
        if kind == JSON:
            return value.decode()
        return self._avro(value) if kind == AVRO else value

    def _avro(self, value: bytes) -> str:
        import fastavro

        framed = value[:5]
        parsed = self._parsed.get(framed)
        if parsed is None:
            text = self._registry.get(int.from_bytes(framed[1:], "big")).text
            parsed = self._parsed[framed] = fastavro.parse_schema(json.loads(text))
        try:
            return _dumps(fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None))
        except Exception as exc:  # any error at all: the bytes decide what is called
            raise DecodeError("an Avro payload is not what its schema says") from exc


def _register(registry: Registry, topic: str, avro: str) -> int:
    """The id of a payload's schema. Raises SchemaError for one that is no Avro schema."""
    import fastavro

    try:
        schema = json.loads(avro)
        fastavro.parse_schema(schema)
    except Exception as exc:  # parse_schema lets through whatever a wrong schema leads to
        raise SchemaError(f"the schema of a message of topic {topic} is no Avro schema") from exc
    name = schema.get("name") if isinstance(schema, dict) else None
    space = schema.get("namespace") if isinstance(schema, dict) else None
    full = f"{space}.{name}" if name and space and "." not in name else name or "value"
    return registry.register(f"{topic}-{full}", avro, "AVRO").id


def _plain(value: Any) -> Any:
    """What Avro's logical types become in JSON."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


_dumps = json.JSONEncoder(default=_plain, ensure_ascii=False, separators=(",", ":")).encode
_loads = json.JSONDecoder().decode
