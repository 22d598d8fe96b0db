"""Events to Avro records: rows, keys and the envelope ``change`` of one table version.

The generated code (``avro_encoder``) encodes what is common and raises on anything else: an escape, an
absent column, a number out of range. Such an event is encoded again here by the careful functions of
``avro_value``, which either know it or say which column is wrong. Subjects and registration are the
business of ``avro``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from liberator.codec import Producer
from liberator.codec.avro_encoder import REPEATING, compile_encoders, compile_row, compile_shared
from liberator.codec.avro_generate import Namespace
from liberator.codec.avro_schema import column_branches, names, shared_part
from liberator.codec.avro_tables import number, ordinals
from liberator.codec.avro_value import Write, union, write_long, write_text
from liberator.codec.entity import add_headers, add_tombstone
from liberator.codec.envelope import (
    Misfit,
    absent,
    check_transaction,
    frame,
    keyless_move,
    wrong,
    wrong_ordinal,
    wrong_width,
)
from liberator.codec.headers import SharedHeaders, own_headers, partial_row
from liberator.errors import SchemaError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Row, Transaction
from liberator.log import Headers, Records
from liberator.schema import TableSchema

#: How many different sets of absent columns are remembered per table version.
REMEMBERED = 1000


class Shared:
    """What all events of a batch share (``now``), of a producer (``constant``) and, called with a
    transaction and a phase, what the events of these share."""

    def __init__(self, producer: Producer):
        self._producer = producer
        self._fields = shared_part(producer.origin_fields)
        self._fast = compile_shared(self._fields, {phase.name: write_text(phase.value) for phase in Phase})
        self._transaction: Transaction | None = None
        self._phase: Phase | None = None
        self._data = b""
        self.now = b""
        self.constant = b"".join(map(write_text, (producer.version, producer.connector, producer.name)))

    def start(self, now: int) -> None:
        """A new batch, encoded ``now`` (milliseconds since 1970)."""
        self.now = write_long(now)

    def __call__(self, transaction: Transaction, phase: Phase) -> bytes:
        if transaction is self._transaction and phase is self._phase:
            return self._data
        try:
            made = self._fast(transaction, phase)
        except Exception:
            made = self._careful(transaction, phase)
        self._data, self._transaction, self._phase = made, transaction, phase
        return made

    def _careful(self, transaction: Transaction, phase: Phase) -> bytes:
        name = self._producer.name
        check_transaction(transaction, self._producer.origin_fields, name)
        epoch, major, _ = transaction.position
        stamp = transaction.timestamp
        row = (phase.value, stamp // 1000, stamp, epoch, major, *transaction.origin, transaction.id)
        parts = []
        for column, value in zip(self._fields.columns, row, strict=True):
            try:
                parts.append(union(column.type, column_branches(column))[0](value))
            except Misfit as exc:
                raise SchemaError(f"source {name} gave a transaction whose {column.name} {exc}") from None
        return b"".join(parts)


class AvroRows:
    """The rows and keys of one table version, to bytes."""

    def __init__(self, schema: TableSchema, key_id: int, value_id: int):
        self.schema = schema
        self.fields = names(schema.columns)
        self.value_id = value_id
        self.key_frame, self.value_frame = frame(key_id), frame(value_id)
        self._write: list[Write] = [union(c.type, column_branches(c))[0] for c in schema.columns]
        self._missing: dict[tuple[int, ...], bytes] = {(): b"\0"}
        self._partial: dict[tuple[int, ...], Headers] = {}

    @cached_property
    def _fast(self) -> Callable[[Row], tuple[bytes, bytes]]:
        """Compiled at its first use: plain changes have no need of it."""
        return compile_row(self.schema, self.column, self.key_frame)

    def column(self, i: int, value: Any) -> bytes:
        """A value of column ``i``, the careful way. An absent one is null. Raises SchemaError."""
        if value is ABSENT:
            if "null" in column_branches(self.schema.columns[i]):
                return b"\0"
            raise wrong(self.schema, i, "was not sent, and is a key column")
        try:
            return self._write[i](value)
        except Misfit as exc:
            raise wrong(self.schema, i, str(exc)) from None

    def row(self, row: Row) -> tuple[tuple[int, ...], bytes, bytes | None]:
        """The columns that were not sent; the row, in which they are null; its framed key."""
        if len(row) != len(self.fields):
            raise wrong_width(self.schema, row)
        places = absent(row)
        if places:
            key = self.schema.key
            row = tuple([None if i in places and i not in key else value for i, value in enumerate(row)])
        return places, *self._fast(row)

    def missing(self, places: tuple[int, ...]) -> bytes:
        """The array of the names of some fields."""
        known = self._missing.get(places)
        if known is None:
            fields = [write_text(self.fields[i]) for i in places]
            known = b"".join((write_long(len(fields)), *fields, b"\0"))
            if len(self._missing) < REMEMBERED:
                self._missing[places] = known
        return known

    def key(self, values: Row) -> bytes:
        """The values of the key columns, in key order."""
        return b"".join(map(self.column, self.schema.key, values))

    def partial(self, places: tuple[int, ...]) -> Headers:
        """The headers of a record whose row lacks some columns."""
        known = self._partial.get(places)
        if known is None:
            known = (partial_row([self.fields[i] for i in places]),)
            if len(self._partial) < REMEMBERED:
                self._partial[places] = known
        return known

    def framed(self, row: Row) -> tuple[tuple[int, ...], bytes, bytes | None]:
        """The columns that were not sent; the row as a record's value; its framed key."""
        places, data, key = self.row(row)
        return places, self.value_frame + data, key

    def framed_key(self, values: Row) -> bytes:
        """The values of the key columns as a record's key."""
        return self.key_frame + self.key(values)


class ChangeWriter:
    """Writes the events of one table version in the envelope ``change``.

    Texts that repeat themselves are remembered per column. A column that turns out not to is compiled
    anew, to be encoded directly.
    """

    def __init__(self, rows: AvroRows, topic: str, shared: Shared, headers: SharedHeaders):
        self.topic = topic
        self._rows = rows
        self._headers = headers
        schema = rows.schema
        place = map(write_text, (schema.database, schema.schema, schema.table))
        self._unmoved = b"\0" if schema.key else b""
        self._letters = {operation.value: write_text(operation.value) for operation in Operation}
        rest = b"\0\0" + self._unmoved + b"\0\2"
        self._names: Namespace = {
            "topic": topic,
            "frame": rows.value_frame,
            "place": shared.constant + b"".join(place),
            "shared": shared,
            "key_frame": rows.key_frame,
            "ordinals_c": ordinals(self._letters["c"] + rest),
            "ordinals_u": ordinals(self._letters["u"] + rest),
            "ordinals_r": ordinals(self._letters["r"] + rest),
            "careful": self._column,
            "slow": self._slow,
        }
        self._repeating = frozenset(i for i, c in enumerate(schema.columns) if c.type.kind in REPEATING)
        self._compile()

    def _compile(self) -> None:
        made = compile_encoders(self._rows.schema, self._repeating, self._names)
        #: See :class:`liberator.codec.runs.Writer`.
        self.run: Callable[..., ChangeEvent | None] = made.run
        self.rows: Callable[..., None] = made.rows
        for i, remembered in made.texts.items():
            remembered.full = partial(self._remember_no_more, i)

    def _remember_no_more(self, i: int) -> None:
        """Compile anew before the next run, when all columns that are full are known."""
        self._repeating -= {i}
        self.run, self.rows = self._run_anew, self._rows_anew

    def _run_anew(self, *run: Any) -> ChangeEvent | None:
        self._compile()
        return self.run(*run)

    def _rows_anew(self, *run: Any) -> None:
        self._compile()
        self.rows(*run)

    def _column(self, i: int, value: Any) -> bytes:
        """A value that the generated code does not know; one that is absent concerns the whole event."""
        if value is ABSENT:
            raise ValueError
        return self._rows.column(i, value)

    def _slow(self, event: ChangeEvent, head: bytes, records: Records) -> None:
        """Encode an event that is not a plain create, update or read of a whole row."""
        rows, before, after, key = self._rows, event.before, event.after, None
        missing_before: tuple[int, ...] = ()
        missing_after: tuple[int, ...] = ()
        row_before = row_after = b""
        if before is not None:
            missing_before, row_before, key = rows.row(before)
        if after is not None:
            missing_after, row_after, key = rows.row(after)
        moved, other = self._unmoved, None
        if event.moved is not None:
            if not moved:
                raise keyless_move(rows.schema)
            values = rows.key(event.moved)
            moved, other = b"\2" + values, rows.key_frame + values
        parts = (
            head,
            *_ordinals(event),
            self._letters[event.operation.value],
            rows.missing(missing_after),
            rows.missing(missing_before),
            moved,
            b"\0" if before is None else b"\2",
            row_before,
            b"\0" if after is None else b"\2",
            row_after,
        )
        records.values.append(b"".join(parts))
        records.keys.append(key)
        if missing_after:
            add_headers(records, rows.partial(missing_after))
        if key is not None and event.operation is Operation.DELETE:
            shared = self._headers(event.transaction, event.phase)
            add_tombstone(records, own_headers(event, (), other, rows.value_id) + shared)


def _ordinals(event: ChangeEvent) -> tuple[bytes, bytes]:
    try:
        return number(event.ordinal), number(event.table_ordinal)
    except (Misfit, TypeError):
        raise wrong_ordinal(event.schema) from None
