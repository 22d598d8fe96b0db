"""Events to JSON records: rows, keys and the envelope ``change`` of one table version.

As with Avro, a function is generated for each table version that writes a run of events in straight-line
code and gives everything unusual to the careful functions, here those of ``json_value``. Only integers and
names made here enter its text; column names come in by its namespace.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

from liberator.codec import Producer
from liberator.codec.avro_generate import Namespace, function
from liberator.codec.entity import add_headers, add_tombstone
from liberator.codec.envelope import (
    Misfit,
    absent,
    check_transaction,
    frame,
    keyless_move,
    wrong,
    wrong_width,
)
from liberator.codec.headers import SharedHeaders, own_headers, partial_row
from liberator.codec.json_value import BOUNDS, TEXTS, nullable
from liberator.errors import SchemaError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Row, Run, Transaction
from liberator.log import Headers, Records
from liberator.schema import Column, Kind, TableSchema

dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

#: How many different sets of absent columns are remembered per table version.
REMEMBERED = 1000
#: Names bound in every generated function.
_ALL: Namespace = {
    "join": "".join,
    "quote": encode_basestring,
    "BOOLS": {True: "true", False: "false", None: "null"},
    "CREATE": Operation.CREATE,
    "UPDATE": Operation.UPDATE,
    "READ": Operation.READ,
}


def column_lines(column: Column, i: int) -> list[str]:
    """The lines that make ``s3``, the text of the value ``v3``; what they do not know goes to ``careful``."""
    lines = _value_lines(column, i)
    if lines is None:
        return [f"s{i} = careful({i}, v{i})"]
    null = [f"    if v{i} is None: s{i} = 'null'", "    else:"] if _may_be_null(column) else ["    if True:"]
    return [
        "try:",
        *null,
        *(f"        {line}" for line in lines),
        "except Exception:",
        f"    s{i} = careful({i}, v{i})",
    ]


def _may_be_null(column: Column) -> bool:
    return column.key is None or column.nullable


def _value_lines(column: Column, i: int) -> list[str] | None:
    """The lines for a value that is not null; None: there is no short way."""
    type_ = column.type
    if type_.kind in TEXTS:
        return [f"s{i} = quote(v{i})"]
    if type_.kind in BOUNDS:
        low, high = BOUNDS[type_.kind]
        return [f"if not {low} <= v{i} <= {high}: raise ValueError", f"s{i} = f'{{v{i}:d}}'"]
    if type_.kind is Kind.BOOL:
        return [f"s{i} = BOOLS[v{i}]"]
    if type_.kind is Kind.FLOAT64:
        return [f"if v{i} - v{i} != 0.0: raise ValueError", f"s{i} = float.__repr__(v{i})"]
    scale, precision = type_.scale, type_.precision
    if type_.kind is Kind.DECIMAL and scale is not None and precision is not None and scale >= 0:
        digits = (
            f"f'\"{{v{i} // {10**scale}:d}}.{{v{i} % {10**scale}:0{scale}d}}\"'"
            if scale
            else f"f'\"{{v{i}:d}}\"'"
        )
        return [f"if not 0 <= v{i} < {10 ** min(precision, 100)}: raise ValueError", f"s{i} = {digits}"]
    return None


class _Table:
    """The lines and constants of a table version."""

    def __init__(self, schema: TableSchema):
        columns = schema.columns
        self.lines = [line for i, column in enumerate(columns) for line in column_lines(column, i)]
        self.unpack = f"({''.join(f'v{i}, ' for i in range(len(columns)))})"
        self.names: Namespace = dict(_ALL)
        self.row = self._members("n", range(len(columns)), schema)
        self.key = self._members("k", schema.key, schema)

    def _members(self, letter: str, places: Any, schema: TableSchema) -> str:
        """The parts of an object's members; the constants between them go into the namespace."""
        parts = []
        for comma, i in enumerate(places):
            self.names[f"{letter}{i}"] = f"{',' if comma else ''}{dumps(schema.names[i])}:"
            parts.append(f"{letter}{i}, s{i}, ")
        return "".join(parts)


def _compile_row(
    schema: TableSchema, careful: Careful, key_frame: bytes
) -> Callable[[Row], tuple[str, bytes | None]]:
    """A function from a row to its text and to its framed key."""
    table = _Table(schema)
    key = f"key_frame + join(('{{', {table.key}'}}')).encode()" if table.key else "None"
    body = [f"{table.unpack} = values", *table.lines, f"return join(('{{', {table.row}'}}')), {key}"]
    return function("row values", body, table.names | {"careful": careful, "key_frame": key_frame}, {})


def _compile_run(schema: TableSchema, needs: Namespace) -> Callable[..., ChangeEvent | None]:
    """The function that encodes a run of events; see :class:`liberator.codec.runs.Writer`."""
    table = _Table(schema)
    key = f"key_frame + join(('{{', {table.key}'}}')).encode()" if table.key else "None"
    body = [
        "keys = records.keys.append",
        "values = records.values.append",
        "transaction = phase = None",
        "for event in events:",
        "    if event.schema is not schema or (event.topic is not topic and event.topic != topic):",
        "        return event",
        "    if event.transaction is not transaction or event.phase is not phase:",
        "        transaction = event.transaction",
        "        phase = event.phase",
        "        source, tail = shared(transaction, phase)",
        "    after = event.after",
        "    if after is not None and event.before is None and event.moved is None:",
        "        operation = event.operation",
        "        try:",
        f"            {table.unpack} = after",
        *(f"            {line}" for line in table.lines),
        "            op = op_c if operation is CREATE else op_u if operation is UPDATE"
        " else op_r if operation is READ else None",
        f"            value = frame + join((begin, {table.row}place, source, op, tail, "
        "f'{event.ordinal:d}', between, f'{event.table_ordinal:d}', end)).encode()",
        f"            key = {key}",
        "            values(value)",
        "            keys(key)",
        "            continue",
        "        except Exception:",
        "            pass",
        "    slow(event, source, tail, records)",
        "return None",
    ]
    return function("run schema, events, records", body, table.names | needs, {})


#: Writes a value of a column by its number, or raises the error that names the column.
Careful = Callable[[int, Any], str]


class JsonRows:
    """The rows and keys of one table version, to JSON."""

    def __init__(self, schema: TableSchema, key_id: int, value_id: int):
        self.schema = schema
        self.fields = schema.names
        self.value_id = value_id
        self.key_frame, self.value_frame = frame(key_id), frame(value_id)
        self._write = [nullable(column.type)[0] for column in schema.columns]
        self._partial: dict[tuple[int, ...], Headers] = {}
        self._fast = _compile_row(schema, self.column, self.key_frame)

    def column(self, i: int, value: Any) -> str:
        """A value of column ``i``, the careful way. An absent one is null. Raises SchemaError."""
        if value is ABSENT or value is None:
            column = self.schema.columns[i]
            if column.key is not None and (value is ABSENT or not column.nullable):
                what = "was not sent" if value is ABSENT else "holds null"
                raise wrong(self.schema, i, f"{what}, and is a key column")
            return "null"
        try:
            return dumps(self._write[i](value))
        except Misfit as exc:
            raise wrong(self.schema, i, str(exc)) from None

    def row(self, row: Row) -> tuple[tuple[int, ...], str, bytes | None]:
        """The columns that were not sent; the row, in which they are null; its framed key."""
        if len(row) != len(self.fields):
            raise wrong_width(self.schema, row)
        try:
            return absent(row), *self._fast(row)
        except UnicodeEncodeError:
            raise self._surrogate() from None

    def key(self, values: Row) -> str:
        """The values of the key columns by name, in key order."""
        columns = zip(self.schema.key, values, strict=True)
        return f"{{{','.join([f'{dumps(self.fields[i])}:{self.column(i, value)}' for i, value in columns])}}}"

    def missing(self, places: tuple[int, ...]) -> str:
        """The names of some columns."""
        return dumps([self.fields[i] for i in places])

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
        places, text, key = self.row(row)
        return places, self.document(text), key

    def framed_key(self, values: Row) -> bytes:
        """The values of the key columns as a record's key."""
        return self.key_frame + self._encoded(self.key(values))

    def document(self, text: str) -> bytes:
        """A document as a record's value."""
        return self.value_frame + self._encoded(text)

    def _encoded(self, text: str) -> bytes:
        try:
            return text.encode()
        except UnicodeEncodeError:
            # not "from": the exception would carry the value
            raise self._surrogate() from None

    def _surrogate(self) -> SchemaError:
        table = f"{self.schema.schema}.{self.schema.table}"
        return SchemaError(f"table {table}: a text is not Unicode (a lone surrogate)")


class Shared:
    """What all events of a batch and of a producer share, and what those of a transaction do."""

    def __init__(self, producer: Producer):
        self._producer = producer
        self._now = 0
        self._known: tuple[Transaction | None, Phase | None, tuple[str, str]] = (None, None, ("", ""))
        self.headers = SharedHeaders(producer)

    def start(self, now: int) -> None:
        """A new batch, encoded ``now`` (milliseconds since 1970)."""
        self._now = now
        self._known = (None, None, ("", ""))

    def place(self, schema: TableSchema) -> str:
        """The first members of ``source``, with a brace before and a comma behind them."""
        producer = self._producer
        members = {
            "version": producer.version,
            "connector": producer.connector,
            "name": producer.name,
            "db": schema.database,
            "schema": schema.schema,
            "table": schema.table,
        }
        return dumps(members)[:-1] + ","

    def __call__(self, transaction: Transaction, phase: Phase) -> tuple[str, str]:
        """The other members of ``source``; and what comes between ``op`` and the ordinals."""
        known, known_phase, made = self._known
        if transaction is known and phase is known_phase:
            return made
        producer = self._producer
        check_transaction(transaction, producer.origin_fields, producer.name)
        epoch, major, _ = transaction.position
        stamp = transaction.timestamp
        own = {name: v for (name, _), v in zip(producer.origin_fields, transaction.origin, strict=True)}
        source = {
            "snapshot": phase.value,
            "ts_ms": stamp // 1000,
            "ts_us": stamp,
            "epoch": epoch,
            "major": major,
        }
        tail = f',"ts_ms":{self._now},"transaction":{{"id":{dumps(transaction.id)},"total_order":'
        made = dumps(source | own)[1:], tail
        self._known = (transaction, phase, made)
        return made


class ChangeWriter:
    """Writes the events of one table version in the envelope ``change``."""

    def __init__(self, rows: JsonRows, topic: str, shared: Shared):
        self.topic = topic
        self._rows = rows
        self._headers = shared.headers
        self._place = shared.place(rows.schema)
        self._ops = {operation.value: f',"op":"{operation.value}"' for operation in Operation}
        needs = {
            "topic": topic,
            "shared": shared,
            "frame": rows.value_frame,
            "key_frame": rows.key_frame,
            "begin": '{"before":null,"after":{',
            "place": f'}},"unavailable":[],"unavailable_before":[],"source":{self._place}',
            "between": ',"data_collection_order":',
            "end": '},"moved":null}',
            **{f"op_{letter}": text for letter, text in self._ops.items()},
            "careful": self._column,
            "slow": self._slow,
        }
        #: See :class:`liberator.codec.runs.Writer`.
        self.run = _compile_run(rows.schema, needs)

    def rows(self, run: Run, records: Records) -> None:
        """See :class:`liberator.codec.runs.Writer`."""
        self.run(run.schema, map(run.event, range(len(run.rows))), records)

    def _column(self, i: int, value: Any) -> str:
        """A value that the generated code does not know; one that is absent concerns the whole event."""
        if value is ABSENT:
            raise ValueError
        return self._rows.column(i, value)

    def _slow(self, event: ChangeEvent, source: str, tail: str, records: Records) -> None:
        """Encode an event that is not a plain create, update or read of a whole row."""
        rows, key, moved = self._rows, None, "null"
        missing_before: tuple[int, ...] = ()
        missing_after: tuple[int, ...] = ()
        before = after = "null"
        if event.before is not None:
            missing_before, before, key = rows.row(event.before)
        if event.after is not None:
            missing_after, after, key = rows.row(event.after)
        if event.moved is not None:
            if not rows.schema.key:
                raise keyless_move(rows.schema)
            moved = rows.key(event.moved)
        text = (
            f'{{"before":{before},"after":{after},"unavailable":{rows.missing(missing_after)},'
            f'"unavailable_before":{rows.missing(missing_before)},"source":{self._place}{source}'
            f'{self._ops[event.operation.value]}{tail}{event.ordinal},"data_collection_order":'
            f'{event.table_ordinal}}},"moved":{moved}}}'
        )
        value = rows.document(text)
        records.values.append(value)
        records.keys.append(key)
        if missing_after:
            add_headers(records, rows.partial(missing_after))
        if key is not None and event.operation is Operation.DELETE:
            other = None if event.moved is None else rows.framed_key(event.moved)
            headers = self._headers(event.transaction, event.phase)
            add_tombstone(records, own_headers(event, (), other, rows.value_id) + headers)
