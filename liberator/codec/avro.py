"""The Avro codec: events as Avro records in Confluent's wire format.

Here a batch becomes runs of one table version each, and subjects (``<topic>-key``, ``<topic>-value``) are
registered when a table version is first met. The bytes are made in ``avro_write`` and read in ``avro_read``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import chain

from liberator.codec import Encode, EnvelopeName, Producer
from liberator.codec.avro_schema import change_schema, key_schema, text
from liberator.codec.avro_write import ChangeTable, Shared
from liberator.event import ChangeEvent
from liberator.log import Headers, Records
from liberator.registry import Registry
from liberator.schema import TableSchema

#: How many schema objects an encoder remembers; a source may make a new, equal one for each message.
REMEMBERED = 10_000
_NO_HEADERS: Headers = ()


class AvroCodec:
    """Writes events as Avro; see :class:`liberator.codec.Codec`."""

    def __init__(self, registry: Registry, envelope: EnvelopeName = "change") -> None:
        self._registry = registry
        self._envelope = envelope

    def encoder(self, producer: Producer) -> Encode:
        """The function that writes events of ``producer``."""
        return _Encoder(self._registry, producer)


class _Encoder:
    def __init__(self, registry: Registry, producer: Producer):
        self._registry = registry
        self._producer = producer
        self._shared = Shared(producer)
        self._by_object: dict[tuple[int, str], ChangeTable] = {}

    def __call__(self, events: Sequence[ChangeEvent], records: Records) -> None:
        now = time.time_ns() // 1_000_000
        self._shared.start(now)
        rest: Iterator[ChangeEvent] = iter(events)
        event = next(rest, None)
        while event is not None:
            table = self._table(event.schema, event.topic)
            try:
                event = table.run(chain((event,), rest), records.keys, records.values)
            finally:
                count = len(records.values) - len(records.topics)
                records.topics.extend([table.topic] * count)
                records.headers.extend([_NO_HEADERS] * count)
                records.timestamps.extend([now] * count)

    def _table(self, schema: TableSchema, topic: str) -> ChangeTable:
        known = self._by_object.get((id(schema), topic))
        if known is not None:
            return known
        key = key_schema(schema, topic)
        key_id = 0 if key is None else self._registry.register(f"{topic}-key", text(key), "AVRO").id
        value = change_schema(schema, topic, self._producer)
        value_id = self._registry.register(f"{topic}-value", text(value), "AVRO").id
        made = ChangeTable(schema, topic, self._shared, key_id, value_id)
        if len(self._by_object) >= REMEMBERED:
            self._by_object.clear()
        self._by_object[id(schema), topic] = made
        return made
