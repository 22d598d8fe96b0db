"""Records back to events, whichever codec and envelope wrote them: the schema that a record names says.

Records come in runs of one schema; a reader that is compiled for it takes a whole run at once. A tombstone
that follows its delete is passed over, in the next call too; any other is a delete itself, told by its
headers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, groupby
from typing import Protocol

from liberator.codec import EnvelopeName, avro_schema, json_schema
from liberator.codec.avro_read import AvroRowReader, ChangeReader
from liberator.codec.entity import EntityReader, RowReader
from liberator.codec.envelope import Append, Gone, Item
from liberator.codec.headers import HeaderReader
from liberator.codec.json_read import JsonChangeReader, JsonRowReader
from liberator.codec.message import MESSAGE, MessageReader, is_message
from liberator.errors import DecodeError
from liberator.event import ChangeEvent
from liberator.log import Records
from liberator.registry import Registry, SchemaType

#: Names and types of a source's own fields.
Fields = tuple[tuple[str, str], ...]


class Reader(Protocol):
    """Reads the records of one schema."""

    def run(self, items: Iterator[Item], append: Append) -> Item | None:
        """Decode records and append their events, until one is not of this schema or has no value, which
        is returned; None when all are done. Raises DecodeError."""
        ...


class RecordDecoder:
    """Decodes the records of one log; see :class:`liberator.codec.Decoder`."""

    def __init__(self, registry: Registry):
        self._registry = registry
        self._gone = Gone()
        self._headers = HeaderReader()
        self._messages = MessageReader(registry)
        self._readers: dict[bytes, Reader] = {}
        self._deletes: dict[int, EntityReader] = {}

    def decode(self, records: Records, begin: Mapping[str, int] | None = None) -> list[ChangeEvent]:
        """The events that ``records`` hold, in order."""
        if begin and records.offsets:
            self._expect(records, begin)
        out: list[ChangeEvent] = []
        append = out.append
        items = zip(records.topics, records.keys, records.values, records.headers, strict=True)
        if any(headers[0][0] == MESSAGE for headers in filter(None, records.headers)):
            # The values of messages are anybody's bytes: nothing in them is taken for a schema's id.
            for messages, part in groupby(items, lambda item: is_message(item[3])):
                (self._messages.run if messages else self._changes)(part, append)
        else:
            self._changes(items, append)
        return out

    def _changes(self, items: Iterator[Item], append: Append) -> None:
        """Decode records that are no messages."""
        item = next(items, None)
        while item is not None:
            value = item[2]
            if value is None:
                self._without_value(item, append)
                item = next(items, None)
            else:
                reader = self._readers.get(value[:5]) or self._reader(value[:5])
                item = reader.run(chain((item,), items), append)

    def _expect(self, records: Records, begin: Mapping[str, int]) -> None:
        """Note the tombstones that stand where reading began: their deletes were read before."""
        for partition, offset in begin.items():
            if not records.partitions:
                at = 0
            elif partition in records.partitions:
                at = records.partitions.index(partition)
            else:
                continue
            if records.values[at] is None and records.offsets[at] == offset:
                headers = records.headers[at]
                found = dict(headers)
                if "schema" in found and self._understood(_number(found["schema"]))[1] == "change":
                    self._gone.expect(records.topics[at], records.keys[at], headers)

    def _without_value(self, item: Item, append: Append) -> None:
        """A tombstone: an event of its own, unless it follows its delete."""
        topic, key, _, headers = item
        if self._gone.owns(topic, key, headers):
            return
        if not any(name == "op" for name, _ in headers):
            raise DecodeError(f"a record of topic {topic} has no value, and no headers that tell of an event")
        meta = self._headers.read(headers)
        if meta.schema is None:
            raise DecodeError(f"a record of topic {topic} has no value and names no schema")
        reader = self._deletes.get(meta.schema)
        if reader is None:
            _, _, rows, _ = self._understood(meta.schema)
            reader = self._deletes[meta.schema] = EntityReader(meta.schema, rows, self._headers)
        append(reader.read(topic, key, None, meta))

    def _reader(self, framed: bytes) -> Reader:
        if len(framed) < 5 or framed[0]:
            raise DecodeError("a record does not begin with the id of a schema")
        number = int.from_bytes(framed[1:], "big")
        kind, envelope, rows, origin = self._understood(number)
        made: Reader
        if envelope == "entity":
            made = EntityReader(number, rows, self._headers)
        elif kind == "AVRO":
            made = ChangeReader(number, rows.schema, origin, self._gone)
        else:
            made = JsonChangeReader(number, rows.schema, origin, self._gone)
        self._readers[framed] = made
        return made

    def _understood(self, number: int) -> tuple[SchemaType, EnvelopeName, RowReader, Fields]:
        """What the schema with this id says: its language, the envelope, how to read its rows, and the
        source's own fields."""
        if not 0 <= number < 1 << 32:
            raise DecodeError("a record names a schema that cannot be")
        schema = self._registry.get(number)
        if schema.type == "AVRO":
            envelope, table, origin = avro_schema.understand(schema.text)
            return "AVRO", envelope, AvroRowReader(table), origin
        envelope, table, origin = json_schema.understand(schema.text)
        return "JSON", envelope, JsonRowReader(table), origin


def _number(data: bytes) -> int:
    try:
        return int(data)
    except ValueError:
        raise DecodeError("the headers of a record without a value name no schema") from None
