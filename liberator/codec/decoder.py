"""Records back to events, whichever codec and envelope wrote them: the schema that a record names says."""

from __future__ import annotations

from liberator.codec.avro_read import ChangeReader
from liberator.codec.avro_schema import understand
from liberator.errors import DecodeError
from liberator.event import ChangeEvent
from liberator.log import Records
from liberator.registry import Registry


class RecordDecoder:
    """Decodes the records of one log; see :class:`liberator.codec.Decoder`."""

    def __init__(self, registry: Registry):
        self._registry = registry
        self._readers: dict[bytes, ChangeReader] = {}

    def decode(self, records: Records) -> list[ChangeEvent]:
        """The events that ``records`` hold, in order."""
        out = []
        readers = self._readers
        for topic, value in zip(records.topics, records.values, strict=True):
            if value is None:
                continue
            reader = readers.get(value[:5])
            if reader is None:
                reader = self._reader(value)
            out.append(reader.read(topic, value))
        return out

    def _reader(self, value: bytes) -> ChangeReader:
        if len(value) < 5 or value[0] != 0:
            raise DecodeError("a record does not begin with the id of a schema")
        schema = self._registry.get(int.from_bytes(value[1:5], "big"))
        _envelope, table, origin = understand(schema.text)
        reader = ChangeReader(table, origin)
        self._readers[value[:5]] = reader
        return reader
