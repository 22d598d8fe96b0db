"""Avro records back to events, per registered schema: rows, keys and the envelope ``change``.

The generated code (``avro_decoder``) decodes what is common and raises on anything else. Such a record is
decoded again here by the careful functions of ``avro_value``, which either know it or raise DecodeError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import Any

from liberator.codec.avro_decoder import compile_head, compile_row, compile_run
from liberator.codec.avro_generate import Namespace
from liberator.codec.avro_schema import column_branches, names, shared_part
from liberator.codec.avro_value import Read, read_blocks, read_long, read_text, union, write_text
from liberator.codec.envelope import OPERATIONS, PHASES, Append, Gone, Item, frame
from liberator.errors import DecodeError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Position, Row, Transaction
from liberator.schema import TableSchema

#: Columns, by their place in the table.
Places = tuple[int, ...]


class AvroRowReader:
    """The rows and keys of one table version, from bytes."""

    def __init__(self, schema: TableSchema):
        self.schema = schema
        self.fields = names(schema.columns)
        self._read: list[Read] = [union(c.type, column_branches(c))[1] for c in schema.columns]

    @cached_property
    def _fast(self) -> Callable[[bytes, int], tuple[Row, int]]:
        """Compiled at its first use: plain changes have no need of it."""
        return compile_row(self.schema)

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
        #: How many bytes stand between the ordinals and the row.
        self.rest = len(min(rests))

    def __missing__(self, data: bytes) -> tuple[int, int, Operation]:
        ordinal, at = read_long(data, 0)
        table_ordinal, at = read_long(data, at)
        made = ordinal, table_ordinal, self._rests[data[at:]]
        if len(self) >= self.MOST:
            self.clear()
        self[data] = made
        return made


@lru_cache
def middles(keyed: bool) -> Middles:
    """The middles of all tables that have a key, or of all that have none."""
    plain = (Operation.CREATE, Operation.UPDATE, Operation.READ)
    unmoved = b"\0" if keyed else b""
    return Middles({write_text(op.value) + b"\0\0" + unmoved + b"\0\2": op for op in plain})


class ChangeReader:
    """Reads the values of one registered schema in the envelope ``change``."""

    def __init__(self, number: int, schema: TableSchema, origin: tuple[tuple[str, str], ...], gone: Gone):
        self.schema = schema
        self._rows = AvroRowReader(schema)
        self._shared = shared_part(origin)
        self._shared_read = [union(c.type, column_branches(c))[1] for c in self._shared.columns]
        self._fast_head = compile_head(self._shared)
        # What the last head had before the transaction's fields; no number is so long as this.
        self._known, self._phase = b"\xff" * 11, Phase.STREAM
        self._words_known: list[tuple[bytes, Operation, Places, Places]] = []
        known = middles(bool(schema.key))
        needs: Namespace = {
            "gone": gone,
            "frame": frame(number),
            "read_head": self._read_head,
            "read": self.read,
        }
        # what the runs hand on: the last record's head, what it says, its length, that of the middle
        needs |= {"saved": [b"\xff", None, None, 0, 0], "middles": known, "known": known.get}
        #: See :class:`liberator.codec.decoder.Reader`.
        self.run: Callable[[Iterator[Item], Append], Item | None] = compile_run(schema, known.rest, needs)

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

    def read(self, topic: str, data: bytes, at: int, transaction: Transaction, phase: Phase) -> ChangeEvent:
        """The event in ``data``, whose head ends at ``at``, the careful way. Raises DecodeError."""
        ordinal, at = read_long(data, at)
        table_ordinal, at = read_long(data, at)
        operation, missing, missing_before, at = self._words(data, at)
        moved = before = after = None
        if self.schema.key:
            moved, at = _optional(data, at, self._rows.key)
        before, at = _optional(data, at, self._rows.row)
        after, at = _optional(data, at, self._rows.row)
        if at != len(data):
            raise DecodeError("a record does not end where its schema says")
        if missing_before and before is not None:
            before = _absent(before, missing_before)
        if missing and after is not None:
            after = _absent(after, missing)
        return ChangeEvent(
            operation, topic, self.schema, before, after, transaction, ordinal, table_ordinal, phase, moved
        )

    def _words(self, data: bytes, at: int) -> tuple[Operation, Places, Places, int]:
        """The operation, the columns that were not sent of after and of before, and the offset behind.

        The same few combinations come again and again, so they are recognised as a whole."""
        for known, operation, missing, missing_before in self._words_known:
            if data.startswith(known, at):
                return operation, missing, missing_before, at + len(known)
        begin = at
        letter, at = read_text(data, at)
        after, at = read_blocks(data, at, read_text)
        before, at = read_blocks(data, at, read_text)
        fields = self._rows.fields
        try:
            operation = OPERATIONS[letter]
            missing, missing_before = tuple(map(fields.index, after)), tuple(map(fields.index, before))
        except (KeyError, ValueError):
            raise DecodeError("a record has an operation, or names a field, that does not exist") from None
        del self._words_known[7:]
        self._words_known.insert(0, (data[begin:at], operation, missing, missing_before))
        return operation, missing, missing_before, at


def _absent(row: Row, places: Places) -> Row:
    out = list(row)
    for i in places:
        out[i] = ABSENT
    return tuple(out)


def _optional(data: bytes, at: int, read: Read) -> tuple[Any, int]:
    """What ``read`` finds behind the branch byte of a nullable record."""
    branch, at = read_long(data, at)
    if branch == 0:
        return None, at
    if branch != 1:
        raise DecodeError("a value in the record is of no kind that its type knows")
    return read(data, at)
