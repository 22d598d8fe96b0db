"""The envelope ``entity``, written and read around any codec's rows and keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from liberator.codec.envelope import Append, Item, check_entity, frame, key_only, with_absent
from liberator.codec.headers import HeaderReader, Meta, SharedHeaders, own_headers
from liberator.errors import DecodeError
from liberator.event import ChangeEvent, Row, Run
from liberator.log import Headers, Records
from liberator.schema import TableSchema


class RowWriter(Protocol):
    """A codec's rows and keys as record bytes, frame included. Raises SchemaError."""

    schema: TableSchema
    fields: tuple[str, ...]
    value_id: int

    def framed(self, row: Row) -> tuple[tuple[int, ...], bytes, bytes | None]:
        """The columns that were not sent; the row, in which they are null, as a value; its key."""
        ...

    def framed_key(self, values: Row) -> bytes:
        """The values of the key columns as a key."""
        ...


class RowReader(Protocol):
    """The inverse of :class:`RowWriter`; raises DecodeError."""

    schema: TableSchema
    fields: tuple[str, ...]

    def parsed_row(self, value: bytes) -> Row: ...
    def parsed_key(self, key: bytes) -> Row: ...


class EntityWriter:
    """Writes the events of one table version in the envelope ``entity``."""

    def __init__(self, rows: RowWriter, topic: str, shared: SharedHeaders):
        self.topic = topic
        self._rows = rows
        self._shared = shared

    def run(self, schema: TableSchema, events: Iterator[ChangeEvent], records: Records) -> ChangeEvent | None:
        """See :class:`liberator.codec.runs.Writer`."""
        rows, topic = self._rows, self.topic
        for event in events:
            if event.schema is not schema or event.topic != topic:
                return event
            check_entity(event)
            shared = self._shared(event.transaction, event.phase)
            value = key = None
            missing: tuple[int, ...] = ()
            if event.after is not None:
                missing, value, key = rows.framed(event.after)
            elif (values := event.key) is not None:
                key = rows.framed_key(values)
            names = [rows.fields[i] for i in missing]
            moved = None if event.moved is None else rows.framed_key(event.moved)
            records.headers.append(own_headers(event, names, moved, rows.value_id) + shared)
            records.keys.append(key)
            records.values.append(value)
        return None

    def rows(self, run: Run, records: Records) -> None:
        """See :class:`liberator.codec.runs.Writer`."""
        self.run(run.schema, map(run.event, range(len(run.rows))), records)


def add_tombstone(records: Records, headers: Headers) -> None:
    """Append the tombstone of a delete whose record (envelope ``change``) was just appended."""
    records.keys.append(records.keys[-1])
    records.values.append(None)
    add_headers(records, headers)


def add_headers(records: Records, headers: Headers) -> None:
    """Give the record that was just appended its headers; those before it that have none get theirs."""
    records.headers.extend([()] * (len(records.values) - 1 - len(records.headers)))
    records.headers.append(headers)


class EntityReader:
    """Reads the records of one schema in the envelope ``entity``, and tombstones of any."""

    def __init__(self, number: int, rows: RowReader, headers: HeaderReader):
        self._frame = frame(number)
        self._rows = rows
        self._headers = headers

    def run(self, items: Iterator[Item], append: Append) -> Item | None:
        """See :class:`liberator.codec.decoder.Reader`."""
        for item in items:
            topic, key, value, headers = item
            if value is None or not value.startswith(self._frame):
                return item
            append(self.read(topic, key, value, self._headers.read(headers)))
        return None

    def read(self, topic: str, key: bytes | None, value: bytes | None, meta: Meta) -> ChangeEvent:
        """The event of one record. Raises DecodeError."""
        rows, schema = self._rows, self._rows.schema
        before = after = None
        if value is not None:
            after = with_absent(rows.parsed_row(value), rows.fields, meta.missing)
        elif key is not None:
            before = key_only(schema, rows.parsed_key(key))
        if meta.moved is not None and not schema.key:
            raise DecodeError("a record of a table without a key says that its key changed")
        return ChangeEvent(
            meta.operation,
            topic,
            schema,
            before,
            after,
            meta.transaction,
            meta.ordinal,
            meta.table_ordinal,
            meta.phase,
            None if meta.moved is None else rows.parsed_key(meta.moved),
        )
