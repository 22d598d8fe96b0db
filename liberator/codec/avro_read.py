"""Avro records back to events, per registered schema: rows, keys and the envelope ``change``.

The generated code (``avro_decoder``) decodes what is common and raises on anything else. Such a record is
decoded again here by the careful functions of ``avro_value``, which either know it or raise DecodeError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from liberator.codec.avro_decoder import compile_head, compile_row, compile_run
from liberator.codec.avro_schema import column_branches, names, shared_part
from liberator.codec.avro_value import Read, read_blocks, read_long, read_text, union, write_text
from liberator.codec.envelope import OPERATIONS, PHASES, Append, Item, frame, with_absent
from liberator.errors import DecodeError
from liberator.event import ChangeEvent, Operation, Phase, Position, Row, Transaction
from liberator.schema import TableSchema


class AvroRowReader:
    """The rows and keys of one table version, from bytes."""

    def __init__(self, schema: TableSchema):
        self.schema = schema
        self.fields = names(schema.columns)
        self._fast = compile_row(schema)
        self._read: list[Read] = [union(c.type, column_branches(c))[1] for c in schema.columns]

    def row(self, data: bytes, at: int) -> tuple[Row, int]:
        """The row at an offset, and the offset behind it. Raises DecodeError."""
        try:
            return self._fast(data, at)
        except Exception:
            return self._columns(range(len(self._read)), data, at)

    def key(self, data: bytes, at: int) -> tuple[Row, int]:
        """The values of the key columns, in key order, and the offset behind them."""
        return self._columns(self.schema.key, data, at)

    def _columns(self, places: Any, data: bytes, at: int) -> tuple[Row, int]:
        out = []
        for i in places:
            value, at = self._read[i](data, at)
            out.append(value)
        return tuple(out), at

    def parsed_row(self, value: bytes) -> Row:
        """The row that is a record's value. Raises DecodeError."""
        row, at = self.row(value, 5)
        return _whole(row, at, value)

    def parsed_key(self, key: bytes) -> Row:
        """The values of the key columns that are a record's key. Raises DecodeError."""
        values, at = self.key(key, 5)
        return _whole(values, at, key)


def _whole(row: Row, at: int, data: bytes) -> Row:
    if at != len(data):
        raise DecodeError("a record does not end where its schema says")
    return row


class Middles(dict[bytes, tuple[int, int, Operation]]):
    """What stands between the transaction and the row of a plain create, update or read: the two ordinals
    and the operation. Anything else is not found: KeyError."""

    MOST = 20_000

    def __init__(self, rests: dict[bytes, Operation]):
        super().__init__()
        self._rests = rests

    def __missing__(self, data: bytes) -> tuple[int, int, Operation]:
        ordinal, at = read_long(data, 0)
        table_ordinal, at = read_long(data, at)
        made = ordinal, table_ordinal, self._rests[data[at:]]
        if len(self) >= self.MOST:
            self.clear()
        self[data] = made
        return made


class ChangeReader:
    """Reads the values of one registered schema in the envelope ``change``."""

    def __init__(self, number: int, schema: TableSchema, origin: tuple[tuple[str, str], ...]):
        self.schema = schema
        self._rows = AvroRowReader(schema)
        self._shared = shared_part(origin)
        self._shared_read = [union(c.type, column_branches(c))[1] for c in self._shared.columns]
        self._fast_head = compile_head(self._shared)
        self._known, self._phase = b"", Phase.STREAM
        unmoved = b"\0" if schema.key else b""
        plain = (Operation.CREATE, Operation.UPDATE, Operation.READ)
        rests = {write_text(op.value) + b"\0\0" + unmoved + b"\0\2": op for op in plain}
        middles = Middles(rests)
        needs = {"frame": frame(number), "read_head": self._read_head, "read": self.read}
        # what the runs hand on: the last record's head, what it says, its length, that of the middle
        needs |= {"saved": [b"\xff", None, None, 0, 0], "middles": middles, "known": middles.get}
        self._run = compile_run(schema, len(min(rests)), needs)

    def run(self, items: Iterator[Item], append: Append) -> Item | None:
        """See :class:`liberator.codec.decoder.Reader`."""
        item: Item | None = self._run(items, append)
        return item

    def _read_head(self, data: bytes) -> tuple[bytes, Transaction, Phase]:
        """Everything up to the transaction's id, as bytes and as what it says."""
        try:
            at, transaction = self._fast_head(data, self._known)
        except Exception:
            at, transaction, self._phase = self._head(data)
        return data[:at], transaction, self._phase

    def _head(self, data: bytes) -> tuple[int, Transaction, Phase]:
        _, at = read_long(data, 5)
        for _ in range(6):  # version, connector, name, db, schema, table
            _, at = read_text(data, at)
        name, at = read_text(data, at)
        if name not in PHASES:
            raise DecodeError("a record has a phase that does not exist")
        self._known, self._phase = data[5:at], PHASES[name]
        row = []
        for read in self._shared_read[1:]:
            value, at = read(data, at)
            row.append(value)
        _, stamp, epoch, major, *origin, id_ = row
        return at, Transaction(id_, Position(epoch, major), stamp, tuple(origin)), PHASES[name]

    def read(self, topic: str, value: bytes) -> ChangeEvent:
        """The event in ``value``, which begins with the frame, the careful way. Raises DecodeError."""
        at, transaction, phase = self._head(value)
        ordinal, at = read_long(value, at)
        table_ordinal, at = read_long(value, at)
        op, at = read_text(value, at)
        missing, at = read_blocks(value, at, read_text)
        missing_before, at = read_blocks(value, at, read_text)
        moved = None
        if self.schema.key:
            moved, at = _optional(value, at, self._rows.key)
        before, at = _optional(value, at, self._rows.row)
        after, at = _optional(value, at, self._rows.row)
        if at != len(value):
            raise DecodeError("a record does not end where its schema says")
        if op not in OPERATIONS:
            raise DecodeError("a record has an operation that does not exist")
        fields = self._rows.fields
        return ChangeEvent(
            OPERATIONS[op],
            topic,
            self.schema,
            None if before is None else with_absent(before, fields, missing_before),
            None if after is None else with_absent(after, fields, missing),
            transaction,
            ordinal,
            table_ordinal,
            phase,
            moved,
        )


def _optional(data: bytes, at: int, read: Read) -> tuple[Any, int]:
    branch, at = read_long(data, at)
    if branch == 0:
        return None, at
    if branch != 1:
        raise DecodeError("a value in the record is of no kind that its type knows")
    return read(data, at)
