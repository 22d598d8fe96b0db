"""Messages: events that an application has made itself, key and payload serialized already.

A row change says what a row became; a message says what happened, in its author's own words. It flows as a
:class:`~liberator.event.ChangeEvent` all the same (operation ``CREATE``, or ``READ`` where it lay there
before the source was first started), of a schema that :func:`message_schema` makes: the same columns for
every message, the payload among them as it was written. In the log a message is a record whose key is the
aggregate's id and whose value is the payload, byte for byte (:mod:`liberator.codec.message`); sinks that
write tables get the columns, a row for each message, its id being the key.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from liberator.schema import Column, Kind, LogicalType, TableSchema

#: ``TableSchema.dialect`` of messages.
DIALECT = "message"
#: Kinds of payloads: JSON text (a str), Avro and other bytes (bytes).
JSON, AVRO, BYTES = "json", "avro", "bytes"
#: How many schemas are remembered; topics, and kinds of events in them, are few.
_REMEMBERED = 10_000


class Message(NamedTuple):
    """The row of a message, in the order of its schema's columns; an event's ``after`` is the plain tuple.

    ``headers`` is JSON, an object of texts (None: there are none); ``created_at`` in microseconds since 1970.
    """

    id: str
    aggregate_type: str | None
    aggregate_id: str | None
    type: str | None
    version: int | None
    payload: str | bytes | None
    headers: str | None
    created_at: int | None


_STRING = LogicalType(Kind.STRING)
_PAYLOAD = {JSON: LogicalType(Kind.JSON), AVRO: LogicalType(Kind.BYTES), BYTES: LogicalType(Kind.BYTES)}


@lru_cache(_REMEMBERED)
def message_schema(topic: str, kind: str, avro: str = "") -> TableSchema:
    """The schema of the messages of ``topic`` whose payloads are of one ``kind``; ``avro`` is the text of
    their Avro schema. Equal arguments, mostly the same object."""
    return TableSchema(
        DIALECT,
        "",
        DIALECT,
        topic,
        (
            Column("id", _STRING, nullable=False, key=0),
            Column("aggregate_type", _STRING),
            Column("aggregate_id", _STRING),
            Column("type", _STRING),
            Column("version", LogicalType(Kind.INT64)),
            Column("payload", _PAYLOAD[kind], native=f"{kind} {avro}" if avro else kind),
            Column("headers", LogicalType(Kind.JSON)),
            Column("created_at", LogicalType(Kind.TIMESTAMPTZ)),
        ),
    )


def payload_of(schema: TableSchema) -> tuple[str, str]:
    """The kind of the payloads of a message's schema, and the text of their Avro schema."""
    kind, _, avro = schema.columns[5].native.partition(" ")
    return kind, avro
