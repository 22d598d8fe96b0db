"""Avro records back to events, per registered schema."""

from __future__ import annotations

from typing import Any

from liberator.codec.avro_schema import SOURCE_FIELDS, column_branches, names
from liberator.codec.avro_value import Read, read_blocks, read_bytes, read_long, read_text, union
from liberator.codec.envelope import OPERATIONS, PHASES, with_absent
from liberator.errors import DecodeError
from liberator.event import ChangeEvent, Position, Row, Transaction
from liberator.schema import TableSchema


class ChangeReader:
    """Reads the values of one registered schema in the envelope ``change``."""

    def __init__(self, schema: TableSchema, origin: tuple[tuple[str, str], ...]):
        self.schema = schema
        self._fields = names(schema.columns)
        self._read: list[Read] = [union(c.type, column_branches(c))[1] for c in schema.columns]
        self._origin: list[Read] = [read_long if kind == "long" else read_text for _, kind in origin]
        self._places = sum(kind == "string" for _, kind in SOURCE_FIELDS) - 1

    def read(self, topic: str, data: bytes) -> ChangeEvent:
        """The event in ``data``, which begins with the frame. Raises DecodeError."""
        at = 5
        for _ in range(self._places):
            _, at = read_bytes(data, at)
        phase, at = read_text(data, at)
        _, at = read_long(data, at)
        stamp, at = read_long(data, at)
        epoch, at = read_long(data, at)
        major, at = read_long(data, at)
        origin: list[int | str | None] = []
        for read in self._origin:
            value, at = _optional(data, at, read)
            origin.append(value)
        _, at = read_long(data, at)
        id_, at = read_text(data, at)
        ordinal, at = read_long(data, at)
        table_ordinal, at = read_long(data, at)
        op, at = read_text(data, at)
        missing, at = read_blocks(data, at, read_text)
        missing_before, at = read_blocks(data, at, read_text)
        moved = None
        if self.schema.key:
            moved, at = _optional(data, at, self._key)
        before, at = _optional(data, at, self._row)
        after, at = _optional(data, at, self._row)
        if at != len(data):
            raise DecodeError("a record has more bytes than its schema says")
        if op not in OPERATIONS or phase not in PHASES:
            raise DecodeError("a record has an operation or phase that does not exist")
        transaction = Transaction(id_, Position(epoch, major), stamp, tuple(origin))
        return ChangeEvent(
            OPERATIONS[op],
            topic,
            self.schema,
            None if before is None else with_absent(before, self._fields, missing_before),
            None if after is None else with_absent(after, self._fields, missing),
            transaction,
            ordinal,
            table_ordinal,
            PHASES[phase],
            moved,
        )

    def _row(self, data: bytes, at: int) -> tuple[Row, int]:
        out = []
        for read in self._read:
            value, at = read(data, at)
            out.append(value)
        return tuple(out), at

    def _key(self, data: bytes, at: int) -> tuple[Row, int]:
        out = []
        for i in self.schema.key:
            value, at = self._read[i](data, at)
            out.append(value)
        return tuple(out), at


def _optional(data: bytes, at: int, read: Read) -> tuple[Any, int]:
    branch, at = read_long(data, at)
    if branch == 0:
        return None, at
    if branch != 1:
        raise DecodeError("a value in the record is of no kind that its type knows")
    return read(data, at)
