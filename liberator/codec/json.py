"""The JSON codec: the same envelopes as Avro's, as JSON text behind the same frame.

A value is a zero byte, the id of a JSON Schema in four bytes, and the document. Larger than Avro and
slower, but every tool reads it. The form of single values is that of ``json_value``; documents are made in
``json_write`` and read in ``json_read``. For people there is :func:`to_plain`, passed on from ``plain``.
"""

from __future__ import annotations

from liberator.codec import Encode, EnvelopeName, Producer, message
from liberator.codec.avro_schema import check_origin
from liberator.codec.entity import EntityWriter
from liberator.codec.json_schema import key_schema, text, value_schema
from liberator.codec.json_write import ChangeWriter, JsonRows, Shared
from liberator.codec.plain import plain_key as plain_key  # noqa: PLC0414
from liberator.codec.plain import to_plain as to_plain  # noqa: PLC0414
from liberator.codec.runs import RunEncoder, Writer
from liberator.registry import Registry
from liberator.schema import TableSchema


class JsonCodec:
    """Writes events as JSON; see :class:`liberator.codec.Codec`."""

    def __init__(self, registry: Registry, envelope: EnvelopeName = "change") -> None:
        self._registry = registry
        self._envelope = envelope

    def encoder(self, producer: Producer) -> Encode:
        """The function that writes events of ``producer``."""
        check_origin(producer)
        shared = Shared(producer)

        def make(schema: TableSchema, topic: str) -> Writer:
            if (made := message.writer(schema, topic, self._registry, producer)) is not None:
                return made
            key = key_schema(schema, topic)
            key_id = 0 if key is None else self._register(f"{topic}-key", text(key))
            value = value_schema(schema, topic, self._envelope, producer)
            rows = JsonRows(schema, key_id, self._register(f"{topic}-value", text(value)))
            if self._envelope == "entity":
                return EntityWriter(rows, topic, shared.headers)
            return ChangeWriter(rows, topic, shared)

        return RunEncoder(make, shared.start)

    def _register(self, subject: str, text: str) -> int:
        return self._registry.register(subject, text, "JSON").id
