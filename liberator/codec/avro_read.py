"""Avro records back to events, per registered schema: rows, keys and the envelope ``change``.

The generated code (``avro_decoder``) decodes what is common and raises on anything else. Such a record is
decoded again here by the careful functions of ``avro_value``, which either know it or raise DecodeError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from liberator.codec.avro_decoder import PAD, compile_row, compile_run
from liberator.codec.avro_schema import column_branches, names
from liberator.codec.avro_value import Read, read_blocks, read_bytes, read_long, read_text, union, write_text
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
        """The row at an offset of padded data, and the offset behind it. Raises DecodeError."""
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
        row, at = self.row(value + PAD, 5)
        return _whole(row, at, value)

    def parsed_key(self, key: bytes) -> Row:
        """The values of the key columns that are a record's key. Raises DecodeError."""
        values, at = self.key(key + PAD, 5)
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


class Transactions:
    """The transaction that the records of several tables share, read once."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.origin: tuple[tuple[str, str], ...] = ()
        self.transaction: tuple[Transaction, Phase] | None = None


class ChangeReader:
    """Reads the values of one registered schema in the envelope ``change``."""

    def __init__(
        self,
        number: int,
        schema: TableSchema,
        origin: tuple[tuple[str, str], ...],
        transactions: Transactions,
    ):
        self.schema = schema
        self._transactions = transactions
        self._rows = AvroRowReader(schema)
        self._origin: list[Read] = [read_long if kind == "long" else read_text for _, kind in origin]
        unmoved = b"\0" if schema.key else b""
        plain = (Operation.CREATE, Operation.UPDATE, Operation.READ)
        rests = {write_text(op.value) + b"\0\0" + unmoved + b"\0\2": op for op in plain}
        self._run = compile_run(
            schema,
            len(min(rests)),
            {
                "frame": frame(number),
                "read_head": self._read_head,
                "read": self.read,
                "middles": Middles(rests),
            },
        )

    def run(self, items: Iterator[Item], append: Append) -> Item | None:
        """See :class:`liberator.codec.decoder.Reader`."""
        item: Item | None = self._run(items, append)
        return item

    def _read_head(self, value: bytes) -> tuple[bytes, Transaction, Phase]:
        """Everything up to the transaction's id, as bytes and as what it says."""
        transaction, phase, at = self._head(value)
        return value[:at], transaction, phase

    def _head(self, data: bytes) -> tuple[Transaction, Phase, int]:
        at = 5
        for _ in range(6):  # version, connector, name, db, schema, table
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
        if phase not in PHASES:
            raise DecodeError("a record has a phase that does not exist")
        return Transaction(id_, Position(epoch, major), stamp, tuple(origin)), PHASES[phase], at

    def read(self, topic: str, value: bytes) -> ChangeEvent:
        """The event in ``value``, which begins with the frame, the careful way. Raises DecodeError."""
        transaction, phase, at = self._head(value)
        data = value + PAD
        ordinal, at = read_long(data, at)
        table_ordinal, at = read_long(data, at)
        op, at = read_text(data, at)
        missing, at = read_blocks(data, at, read_text)
        missing_before, at = read_blocks(data, at, read_text)
        moved = None
        if self.schema.key:
            moved, at = _optional(data, at, self._rows.key)
        before, at = _optional(data, at, self._rows.row)
        after, at = _optional(data, at, self._rows.row)
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
