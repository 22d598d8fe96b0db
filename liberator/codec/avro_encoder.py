"""The source text of one table version's encoder.

For each column a few lines that turn its value ``v3`` into parts ``p3``, ``q3``, ``r3`` of the row; the
common values take the short way through ``avro_tables``, all others through ``w3``, the careful function
of ``avro_value``. Only integers and names made here enter the text; everything else that the lines need
goes into the namespace it is run in.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from liberator.codec import avro_tables
from liberator.codec.avro_generate import Namespace, function
from liberator.codec.avro_schema import column_branches, fixed_scale
from liberator.codec.avro_value import union, write_long
from liberator.event import ChangeEvent, Operation, Phase, Row, Transaction
from liberator.schema import Column, Kind, LogicalType, TableSchema

#: Kinds written as text; those whose columns often repeat themselves come first.
REPEATING = frozenset({Kind.STRING, Kind.ENUM, Kind.BITS, Kind.NATIVE, Kind.JSON})
TEXTS = REPEATING | {Kind.UUID}
#: Kinds written as an int or long, with the bounds that the short ways must stay within.
_INTEGERS = {Kind.INT16: 1 << 15, Kind.INT32: 1 << 31, Kind.INT64: 1 << 63, Kind.DATE: 1 << 31}
_WINDOWED = frozenset({Kind.INT64, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})


@dataclass(slots=True)
class Lines:
    """The lines for one column: ``parts`` are the names that together are its bytes, ``state`` the names
    that live from one event to the next and are assigned in the lines."""

    lines: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    state: list[str] = field(default_factory=list)


def column_lines(column: Column, i: int, repeats: bool, names: Namespace) -> Lines:
    """The lines for column ``i``; what they need is put into ``names``. ``repeats``: a text column
    whose values are worth remembering."""
    order = column_branches(column)
    prefix = write_long(order.index("value")) if len(order) > 1 else b""
    names[f"w{i}"] = union(column.type, order)[0]
    kind = column.type.kind
    if kind is Kind.BOOL:
        out = _bool(i, prefix, names)
    elif kind in TEXTS and repeats:
        names[f"t{i}"] = avro_tables.Texts(prefix)
        out = Lines([f"p{i} = t{i}[v{i}]"], [f"p{i}"])
    elif kind in TEXTS:
        out = _sized(i, prefix, f"v{i}.encode()", names)
    elif kind is Kind.BYTES:
        out = _sized(i, prefix, f"v{i}", names)
    elif kind in _INTEGERS or kind in _WINDOWED:
        out = _integer(i, prefix, kind)
    elif kind is Kind.TIME:
        out = _time(i, prefix)
    elif kind is Kind.FLOAT64:
        names["double"] = struct.Struct("<d").pack
        out = Lines([f"q{i} = double(v{i})", f"p{i} = {prefix!r}"], [f"p{i}", f"q{i}"])
    elif kind is Kind.DECIMAL and fixed_scale(column.type):
        out = _decimal(i, prefix, column.type)
    else:
        return Lines([f"p{i} = w{i}(v{i})"], [f"p{i}"])
    if "null" in order and kind is not Kind.BOOL and not (kind in TEXTS and repeats):
        values = ((part, b"\0" if part[0] == "p" else b"") for part in out.parts)
        nothing = "; ".join(f"{part} = {value!r}" for part, value in values)
        indented = [f"    {line}" for line in out.lines]
        out.lines = [f"if v{i} is None:", f"    {nothing}", "else:", *indented]
    return out


def _bool(i: int, prefix: bytes, names: Namespace) -> Lines:
    table: dict[Any, bytes] = {True: prefix + b"\1", False: prefix + b"\0"}
    if prefix:
        table[None] = b"\0"
    names[f"t{i}"] = table
    return Lines([f"p{i} = t{i}[v{i}]"], [f"p{i}"])


def _sized(i: int, prefix: bytes, data: str, names: Namespace) -> Lines:
    lengths = "sizes_n" if prefix else "sizes"
    names[lengths] = _LENGTHS[prefix]
    return Lines([f"q{i} = {data}", f"p{i} = {lengths}[len(q{i})]"], [f"p{i}", f"q{i}"])


_LENGTHS = {prefix: avro_tables.Lengths(prefix) for prefix in (b"", b"\0", b"\2")}


def _tables(i: int, prefix: bytes) -> tuple[str, str, list[str], list[str]]:
    """Which tables write a number behind ``prefix``, and the line and part that write it else."""
    if prefix == b"\2":
        return "ZN", "LN", [], []
    return "Z", "L", [f"o{i} = {prefix!r}"] if prefix else [], [f"o{i}"] if prefix else []


def _integer(i: int, prefix: bytes, kind: Kind) -> Lines:
    small, low, before, first = _tables(i, prefix)
    top = min(avro_tables.WINDOW, _INTEGERS.get(kind, 1 << 63))
    lines = [
        *before,
        f"if 0 <= v{i} < {avro_tables.SMALL}:",
        f"    p{i} = {small}[v{i}]; q{i} = b''",
        f"elif 0 < v{i} < {top}:",
        f"    p{i} = {low}[v{i} & 8191]; q{i} = F[v{i} >> 13]",
    ]
    if kind not in _WINDOWED:
        return Lines([*lines, *_careful(i, prefix, f"q{i} = b''")], [*first, f"p{i}", f"q{i}"])
    near = [
        f"h = v{i} - b{i}",
        f"if 0 <= h < {avro_tables.WINDOW}:",
        f"    p{i} = {low}[h & 8191]; q{i} = M[h >> 13]; r{i} = c{i}",
    ]
    far = [
        f"b{i}, c{i}, p{i}, q{i}, r{i} = window(v{i}, {low})",
    ]
    parts = [*first, f"p{i}", f"q{i}", f"r{i}"]
    if kind is Kind.INT64:
        lines[-3] += f"; r{i} = b''"
        lines[-1] += f"; r{i} = b''"
        inner = [*near, "else:", *(f"    {line}" for line in far)]
        lines += ["else:", *(f"    {line}" for line in inner)]
    else:
        lines = [*before, *near, "else:", *(f"    {line}" for line in far)]
    return Lines(lines, parts, [f"b{i}", f"c{i}"])


def _careful(i: int, prefix: bytes, rest: str) -> list[str]:
    """The line for what has no short way; ``w`` writes the branch itself."""
    undo = f"o{i} = b''; " if prefix == b"\0" else ""
    return ["else:", f"    {undo}p{i} = w{i}(v{i}); {rest}"]


def _time(i: int, prefix: bytes) -> Lines:
    _, low, before, first = _tables(i, prefix)
    lines = [
        *before,
        f"if {avro_tables.WINDOW} <= v{i} < 86400000000:",
        f"    p{i} = {low}[v{i} & 8191]; q{i} = M[v{i} >> 13 & 16383]; r{i} = F[v{i} >> 27]",
        *_careful(i, prefix, f"q{i} = b''; r{i} = b''"),
    ]
    return Lines(lines, [*first, f"p{i}", f"q{i}", f"r{i}"])


def _decimal(i: int, prefix: bytes, type: LogicalType) -> Lines:  # noqa: A002
    most = 10 ** (type.precision or 0)
    lines: list[str] = []
    for size in (3, 2, 1, 4):  # the usual first
        low, high = (0 if size == 1 else 1 << 8 * size - 9), min(1 << 8 * size - 1, most)
        if low < high:
            lines.append(f"{'elif' if lines else 'if'} {low} <= v{i} < {high}:")
            lines.append(f"    p{i} = {prefix + write_long(size)!r}; q{i} = v{i}.to_bytes({size}, 'big')")
    lines += ["else:", f"    p{i} = w{i}(v{i}); q{i} = b''"]
    return Lines(lines, [f"p{i}", f"q{i}"])


#: Names bound in every generated function.
_ALL: Namespace = {
    "join": b"".join,
    **{name: getattr(avro_tables, name) for name in ("Z", "ZN", "L", "LN", "F", "M", "window", "number")},
    "CREATE": Operation.CREATE,
    "UPDATE": Operation.UPDATE,
    "READ": Operation.READ,
}


class _Table:
    """The lines of all columns of a table version, and what they need."""

    def __init__(self, schema: TableSchema, repeating: frozenset[int]):
        self.names: Namespace = dict(_ALL)
        columns = [column_lines(c, i, i in repeating, self.names) for i, c in enumerate(schema.columns)]
        self.lines = [line for made in columns for line in made.lines]
        self.parts = "".join(f"{part}, " for made in columns for part in made.parts)
        self.key = "".join(f"{part}, " for i in schema.key for part in columns[i].parts)
        self.unpack = f"({''.join(f'v{i}, ' for i in range(len(columns)))})"
        state = [name for made in columns for name in made.state]
        self.state = {name: avro_tables.NOWHERE if name[0] == "b" else b"" for name in state}


def compile_row(schema: TableSchema) -> Callable[[Row], bytes]:
    """A function from a row to its bytes, which raises anything at all for what it does not know."""
    table = _Table(schema, frozenset())
    body = [f"{table.unpack} = values", *table.lines, f"return join(({table.parts}))"]
    return function("row values", body, table.names, table.state)


def compile_shared(schema: TableSchema, phases: dict[str, bytes]) -> Callable[[Transaction, Phase], bytes]:
    """A function from a transaction and a phase to the part of a value that their events share.

    ``schema`` is that of ``avro_schema.shared_part``; ``phases`` has a phase's bytes by its name. Raises
    anything at all for a transaction that does not fit. These numbers grow in small steps, so they are
    written by way of ``avro_tables.near``.
    """
    names: Namespace = {"join": b"".join, **phases}
    names |= {"near": avro_tables.near, "near_n": avro_tables.near_n}
    names |= {f"{name}_": Phase[name] for name in phases}
    made = [_step(column, i, names) for i, column in enumerate(schema.columns)]
    made[0] = Lines(
        [f"p0 = {' else '.join(f'{name} if phase is {name}_' for name in phases)} else None"], ["p0"]
    )
    last = len(made) - 1
    own = "".join(f"v{i}, " for i in range(5, last))
    body = [
        "v3, v4, minor = transaction.position",
        "if minor: raise ValueError",
        f"({own}) = transaction.origin",
        "v2 = transaction.timestamp",
        "v1 = v2 // 1000",
        f"v{last} = transaction.id",
        *(line for column in made for line in column.lines),
        f"return join(({''.join(f'{part}, ' for column in made for part in column.parts)}))",
    ]
    first: dict[str, Any] = {"b": avro_tables.NOWHERE, "c": b"", "t": ()}
    state = {name: first[name[0]] for column in made for name in column.state}
    return function("shared transaction, phase", body, names, state)


def _step(column: Column, i: int, names: Namespace) -> Lines:
    """The lines for a value of the shared part: a text, or a number near the last one."""
    order = column_branches(column)
    prefix = write_long(order.index("value")) if len(order) > 1 else b""
    if column.type.kind in TEXTS:
        out = _sized(i, prefix, f"v{i}.encode()", names)
    else:
        lines = [
            f"h = v{i} - b{i}",
            f"if 0 <= h < {avro_tables.SMALL}: p{i} = t{i}[h]; q{i} = c{i}",
            f"else: b{i}, c{i}, t{i}, p{i}, q{i} = {'near_n' if prefix else 'near'}(v{i})",
        ]
        out = Lines(lines, [f"p{i}", f"q{i}"], [f"b{i}", f"c{i}", f"t{i}"])
    if "null" in order:
        nothing = f"p{i} = {write_long(order.index('null'))!r}; q{i} = b''"
        out.lines = [f"if v{i} is None: {nothing}", "else:", *(f"    {line}" for line in out.lines)]
    return out


def compile_run(
    schema: TableSchema, repeating: frozenset[int], names: Namespace
) -> tuple[Callable[..., ChangeEvent | None], dict[int, avro_tables.Texts]]:
    """The function that encodes a run of events, and the texts that it remembers by column.

    ``repeating`` are the text columns worth remembering; ``names`` is what the function needs of its
    writer: see :class:`liberator.codec.avro_write.ChangeWriter`.
    """
    table = _Table(schema, repeating)
    body = [
        "keys = records.keys.append",
        "values = records.values.append",
        "transaction = phase = None",
        "prefix = frame + shared.now + place",
        "for event in events:",
        "    if event.schema is not schema or (event.topic is not topic and event.topic != topic):",
        "        return event",
        "    if event.transaction is not transaction or event.phase is not phase:",
        "        transaction = event.transaction",
        "        phase = event.phase",
        "        head = prefix + shared(transaction, phase)",
        "    after = event.after",
        "    if after is not None and event.before is None and event.moved is None:",
        "        operation = event.operation",
        "        try:",
        f"            {table.unpack} = after",
        *(f"            {line}" for line in table.lines),
        "            made = ordinals_c if operation is CREATE else ordinals_u if operation is UPDATE"
        " else ordinals_r if operation is READ else None",
        "            ordinal = event.ordinal",
        "            if ordinal == event.table_ordinal:",
        f"                value = join((head, made[ordinal], {table.parts}))",
        "            else:",
        "                value = join((head, number(ordinal), number(event.table_ordinal), made.rest, "
        f"{table.parts}))",
        f"            key = join((key_frame, {table.key}))" if table.key else "            key = None",
        "            values(value)",
        "            keys(key)",
        "            continue",
        "        except Exception:",
        "            pass",
        "    slow(event, head, keys, values)",
        "return None",
    ]
    run = function("run schema, events, records", body, table.names | names, table.state)
    return run, {i: table.names[f"t{i}"] for i in repeating}
