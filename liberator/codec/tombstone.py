"""The key of a tombstone that stands alone: its delete was compacted away, or lies before where one reads.

The bytes of a key name the key's schema, which says less than the table's: the latter is found among the
topic's value schemas, by the key schema that belongs to it. For people who look at a log; sinks need none
of this, for a delete comes before its tombstone.
"""

from __future__ import annotations

from typing import Any

from liberator.codec import avro_schema, json_schema
from liberator.codec.avro_read import AvroRowReader
from liberator.codec.entity import RowReader
from liberator.codec.envelope import key_only
from liberator.codec.json import JsonRows
from liberator.codec.plain import plain_key
from liberator.errors import DecodeError
from liberator.event import ChangeEvent, Operation, Position, Transaction
from liberator.registry import RegisteredSchema, Registry
from liberator.schema import TableSchema


class TombstoneKeys:
    """Reads keys of one log; keeps what it found."""

    def __init__(self, registry: Registry):
        self._registry = registry
        self._readers: dict[tuple[str, bytes], RowReader] = {}

    def plain(self, topic: str, key: bytes) -> dict[str, Any] | None:
        """The key columns by name, as :func:`liberator.codec.plain.plain_key` has them.

        Raises DecodeError for bytes that are no key of this topic.
        """
        reader = self._readers.get((topic, key[:5]))
        if reader is None:
            reader = self._readers[topic, key[:5]] = self._reader(topic, key)
        table = reader.schema
        row = key_only(table, reader.parsed_key(key))
        nowhere = Transaction("", Position(0, 0), 0)
        return plain_key(ChangeEvent(Operation.DELETE, topic, table, row, None, nowhere))

    def _reader(self, topic: str, key: bytes) -> RowReader:
        if len(key) < 5 or key[0]:
            raise DecodeError(f"a key of topic {topic} does not begin with the id of a schema")
        schema = self._registry.get(int.from_bytes(key[1:5], "big"))
        for version in reversed(self._registry.versions(f"{topic}-value")):
            table = _table(version, schema, topic)
            if table is not None:
                return AvroRowReader(table) if schema.type == "AVRO" else JsonRows(table)
        raise DecodeError(f"no value schema of topic {topic} has the key schema {schema.id}")


def _table(version: RegisteredSchema, key: RegisteredSchema, topic: str) -> TableSchema | None:
    """The table of a value schema, if the key schema is its own."""
    if version.type != key.type:
        return None
    language = avro_schema if key.type == "AVRO" else json_schema
    _, table, _ = language.understand(version.text)
    own = language.key_schema(table, topic)
    return table if own is not None and language.text(own) == key.text else None
