"""Records back to events, whichever codec and envelope wrote them: the schema that a record names says.

Records come in runs of one schema; a reader that is compiled for it takes a whole run at once. A tombstone
that follows its delete is passed over; one that *is* a delete (envelope ``entity``) is known by its headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Protocol

from liberator.codec import avro_schema, json_schema
from liberator.codec.avro_read import AvroRowReader, ChangeReader
from liberator.codec.entity import EntityReader
from liberator.codec.envelope import Append, Item, frame, read_headers
from liberator.codec.json import JsonChangeReader, JsonRows
from liberator.errors import DecodeError
from liberator.event import ChangeEvent
from liberator.log import Records
from liberator.registry import Registry


class Reader(Protocol):
    """Reads the records of one schema."""

    def run(self, items: Iterator[Item], append: Append) -> Item | None:
        """Decode records and append their events, until one has no value that begins with the frame of
        this schema, and is no mere tombstone: that one is returned. None when all are done.

        Raises DecodeError.
        """
        ...


class RecordDecoder:
    """Decodes the records of one log; see :class:`liberator.codec.Decoder`."""

    def __init__(self, registry: Registry):
        self._registry = registry
        self._readers: dict[bytes, Reader] = {}

    def decode(self, records: Records) -> list[ChangeEvent]:
        """The events that ``records`` hold, in order."""
        out: list[ChangeEvent] = []
        items = zip(records.topics, records.keys, records.values, records.headers, strict=True)
        item = next(items, None)
        while item is not None:
            value = item[2]
            if value is None:
                self._without_value(item, out.append)
                item = next(items, None)
            else:
                reader = self._readers.get(value[:5]) or self._reader(value[:5])
                item = reader.run(chain((item,), items), out.append)
        return out

    def _without_value(self, item: Item, append: Append) -> None:
        """A tombstone: an event where its headers say so, else what follows a delete."""
        topic, key, _, headers = item
        if not any(name == "op" for name, _ in headers):
            if key is None:
                raise DecodeError(f"a record of topic {topic} has neither key nor value")
            return
        meta = read_headers(headers)
        if meta.schema is None or not 0 <= meta.schema < 1 << 32:
            raise DecodeError(f"a record of topic {topic} has no value and names no schema")
        reader = self._readers.get(frame(meta.schema)) or self._reader(frame(meta.schema))
        if not isinstance(reader, EntityReader):
            raise DecodeError(f"a record of topic {topic} has no value, and a schema that wants one")
        append(reader.read(topic, key, None, meta))

    def _reader(self, framed: bytes) -> Reader:
        if len(framed) < 5 or framed[0]:
            raise DecodeError("a record does not begin with the id of a schema")
        number = int.from_bytes(framed[1:], "big")
        schema = self._registry.get(number)
        made: Reader
        if schema.type == "AVRO":
            envelope, table, origin = avro_schema.understand(schema.text)
            if envelope == "entity":
                made = EntityReader(number, AvroRowReader(table))
            else:
                made = ChangeReader(number, table, origin)
        else:
            envelope, table, origin = json_schema.understand(schema.text)
            if envelope == "entity":
                made = EntityReader(number, JsonRows(table))
            else:
                made = JsonChangeReader(number, table, origin)
        self._readers[framed] = made
        return made
