"""The Avro codec: events as Avro records in Confluent's wire format.

Here the subjects ``<topic>-key`` and ``<topic>-value`` are registered when a table version is first met.
The bytes are made in ``avro_write`` and read in ``avro_read``.
"""

from __future__ import annotations

from liberator.codec import Encode, EnvelopeName, Producer, message
from liberator.codec.avro_schema import change_schema, check_origin, entity_schema, key_schema, text
from liberator.codec.avro_write import AvroRows, ChangeWriter, Shared
from liberator.codec.entity import EntityWriter
from liberator.codec.envelope import Misfit, not_unicode
from liberator.codec.headers import SharedHeaders
from liberator.codec.runs import RunEncoder, Writer
from liberator.registry import Registry
from liberator.schema import TableSchema


class AvroCodec:
    """Writes events as Avro; see :class:`liberator.codec.Codec`."""

    def __init__(self, registry: Registry, envelope: EnvelopeName = "change") -> None:
        self._registry = registry
        self._envelope = envelope

    def encoder(self, producer: Producer) -> Encode:
        """The function that writes events of ``producer``."""
        check_origin(producer)
        shared, headers = Shared(producer), SharedHeaders(producer)

        def make(schema: TableSchema, topic: str) -> Writer:
            if (made := message.writer(schema, topic, self._registry, producer)) is not None:
                return made
            key = key_schema(schema, topic)
            key_id = 0 if key is None else self._register(f"{topic}-key", text(key))
            if self._envelope == "entity":
                value_id = self._register(f"{topic}-value", text(entity_schema(schema, topic)))
                return EntityWriter(AvroRows(schema, key_id, value_id), topic, headers)
            value_id = self._register(f"{topic}-value", text(change_schema(schema, topic, producer)))
            try:
                return ChangeWriter(AvroRows(schema, key_id, value_id), topic, shared, headers)
            except Misfit:
                raise not_unicode(f"the name of table {schema.table!a}") from None

        return RunEncoder(make, shared.start)

    def _register(self, subject: str, text: str) -> int:
        return self._registry.register(subject, text, "AVRO").id
