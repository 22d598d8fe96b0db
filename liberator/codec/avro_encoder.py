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
from itertools import count, repeat
from typing import Any

from liberator.codec import avro_tables
from liberator.codec.avro_generate import Namespace, function
from liberator.codec.avro_schema import column_branches, fixed_scale
from liberator.codec.avro_value import union, write_long
from liberator.event import ChangeEvent, Operation, Phase, Row, Transaction
from liberator.schema import Column, Kind, LogicalType, TableSchema

#: The branch "null" of a union; it stands first.
NOTHING = b"\0"
#: Kinds written as text; those whose columns often repeat themselves come first.
REPEATING = frozenset({Kind.STRING, Kind.ENUM, Kind.BITS, Kind.NATIVE, Kind.JSON})
TEXTS = REPEATING | {Kind.UUID}
#: Kinds written as an int or long, with the bounds that the short ways must stay within.
_INTEGERS = {Kind.INT16: 1 << 15, Kind.INT32: 1 << 31, Kind.DATE: 1 << 31}
_WINDOWED = frozenset({Kind.INT64, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})


@dataclass(slots=True)
class Lines:
    """The lines for one column: ``parts`` are the names that together are its bytes, ``state`` the names
    that live from one event to the next and are assigned in the lines."""

    lines: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    state: list[str] = field(default_factory=list)

    def guarded(self, i: int) -> list[str]:
        """The lines with a way out: whatever they raise, ``careful`` writes the value or says why not.
        A ``try`` costs nothing where nothing is raised."""
        rest = "".join(f"; {part} = b''" for part in self.parts[1:])
        return [
            "try:",
            *(f"    {line}" for line in self.lines),
            "except Exception:",
            f"    {self.parts[0]} = careful({i}, v{i}){rest}",
        ]


def column_lines(column: Column, i: int, repeats: bool, names: Namespace) -> Lines:
    """The lines for column ``i``; what they need is put into ``names``. ``repeats``: a text column
    whose values are worth remembering."""
    order = column_branches(column)
    prefix = write_long(order.index("value")) if len(order) > 1 else b""
    kind = column.type.kind
    if kind is Kind.BOOL:
        return _bool(i, prefix, names)
    if kind in TEXTS and repeats:
        names[f"t{i}"] = avro_tables.Texts(prefix)
        return Lines([f"p{i} = t{i}[v{i}]"], [f"p{i}"])
    made = _value_lines(column.type, i, prefix, names)
    if made is None:
        names[f"w{i}"] = union(column.type, order)[0]
        return Lines([f"p{i} = w{i}(v{i})"], [f"p{i}"])
    if "null" in order:
        rest = "".join(f"; {part} = b''" for part in made.parts[1:])
        indented = [f"    {line}" for line in made.lines]
        made.lines = [f"if v{i} is None: {made.parts[0]} = {NOTHING!r}{rest}", "else:", *indented]
    return made


def _value_lines(type: LogicalType, i: int, prefix: bytes, names: Namespace) -> Lines | None:  # noqa: A002
    """The lines for a value that is not null; None: there is no short way."""
    kind = type.kind
    if kind in TEXTS:
        return _sized(i, prefix, f"v{i}.encode()", names)
    if kind is Kind.BYTES:
        return _sized(i, prefix, f"v{i} + b''", names)  # the same bytes, and an error for a str
    if kind in _INTEGERS:
        return _integer(i, prefix, _INTEGERS[kind])
    if kind in _WINDOWED:
        return _windowed(i, prefix, kind)
    if kind is Kind.TIME:
        return _time(i, prefix)
    if kind is Kind.FLOAT64:
        names["double"] = struct.Struct("<d").pack
        return Lines([f"p{i} = {prefix!r}", f"q{i} = double(v{i})"], [f"p{i}", f"q{i}"])
    if kind is Kind.DECIMAL and fixed_scale(type):
        return _decimal(i, prefix, type)
    return None


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


def _named(prefix: bytes, name: str) -> str:
    """The table or function that writes a number behind ``prefix``."""
    return f"{name}N" if prefix == b"\2" else name


def _behind(i: int, prefix: bytes, made: Lines) -> Lines:
    """A prefix that no table contains (the value of a key that may be an escape) as a part of its own."""
    if prefix != b"\0":
        return made
    return Lines([f"o{i} = {prefix!r}", *made.lines], [f"o{i}", *made.parts], made.state)


def _integer(i: int, prefix: bytes, top: int) -> Lines:
    z, low, below = (_named(prefix, name) for name in ("Z", "L", "below"))
    near = min(avro_tables.WINDOW, top)
    lines = [
        f"if 0 <= v{i} < {avro_tables.SMALL}: p{i} = {z}[v{i}]; q{i} = b''",
        f"elif 0 < v{i} < {near}: p{i} = {low}[v{i} & 8191]; q{i} = F[v{i} >> 13]",
        f"elif 0 > v{i} >= {-near}: p{i} = {below}(v{i}); q{i} = b''",
        "else: raise ValueError",
    ]
    return _behind(i, prefix, Lines(lines, [f"p{i}", f"q{i}"]))


def _windowed(i: int, prefix: bytes, kind: Kind) -> Lines:
    z, low = _named(prefix, "Z"), _named(prefix, "L")
    lines = [
        f"h = v{i} - b{i}",
        f"if 0 <= h < {avro_tables.WINDOW}: p{i} = {low}[h & 8191]; q{i} = M[h >> 13]; r{i} = c{i}",
        f"else: b{i}, c{i}, p{i}, q{i}, r{i} = window(v{i}, {low})",
    ]
    if kind is Kind.INT64:
        lines = [
            f"if 0 <= v{i} < {avro_tables.SMALL}: p{i} = {z}[v{i}]; q{i} = r{i} = b''",
            f"elif 0 < v{i} < {avro_tables.WINDOW}:",
            f"    p{i} = {low}[v{i} & 8191]; q{i} = F[v{i} >> 13]; r{i} = b''",
            "else:",
            *(f"    {line}" for line in lines),
        ]
    return _behind(i, prefix, Lines(lines, [f"p{i}", f"q{i}", f"r{i}"], [f"b{i}", f"c{i}"]))


def _time(i: int, prefix: bytes) -> Lines:
    low = _named(prefix, "L")
    lines = [
        f"if {avro_tables.WINDOW} <= v{i} < 86400000000:",
        f"    p{i} = {low}[v{i} & 8191]; q{i} = M[v{i} >> 13 & 16383]; r{i} = F[v{i} >> 27]",
        "else: raise ValueError",
    ]
    return _behind(i, prefix, Lines(lines, [f"p{i}", f"q{i}", f"r{i}"]))


def _decimal(i: int, prefix: bytes, type: LogicalType) -> Lines:  # noqa: A002
    most = 10 ** (type.precision or 0)
    lines: list[str] = []
    for size in (3, 2, 1, 4):  # the usual first
        low, high = (0 if size == 1 else 1 << 8 * size - 9), min(1 << 8 * size - 1, most)
        if low < high:
            part = f"p{i} = {prefix + write_long(size)!r}; q{i} = v{i}.to_bytes({size}, 'big')"
            lines.append(f"{'elif' if lines else 'if'} {low} <= v{i} < {high}: {part}")
    for size in (1, 2, 3, 4):
        low = max(-1 << 8 * size - 1, 1 - most)
        part = (
            f"p{i} = {prefix + write_long(size)!r}; q{i} = (v{i} + {1 << 8 * size}).to_bytes({size}, 'big')"
        )
        lines.append(f"elif 0 > v{i} >= {low}: {part}")
    return Lines([*lines, "else: raise ValueError"], [f"p{i}", f"q{i}"])


#: Writes a value of a column by its number, or raises the error that names the column.
Careful = Callable[[int, Any], bytes]
#: Names bound in every generated function.
_ALL: Namespace = {
    "join": b"".join,
    **{name: getattr(avro_tables, name) for name in ("Z", "ZN", "L", "LN", "F", "M", "window", "number")},
    "below": avro_tables.below,
    "belowN": avro_tables.below_n,
    "CREATE": Operation.CREATE,
    "UPDATE": Operation.UPDATE,
    "READ": Operation.READ,
    "repeat": repeat,
    "count": count,
}


class _Table:
    """The lines of all columns of a table version, and what they need."""

    def __init__(self, schema: TableSchema, repeating: frozenset[int]):
        self.names: Namespace = dict(_ALL)
        columns = [column_lines(c, i, i in repeating, self.names) for i, c in enumerate(schema.columns)]
        self.lines = [line for i, made in enumerate(columns) for line in made.guarded(i)]
        self.parts = "".join(f"{part}, " for made in columns for part in made.parts)
        self.key = "".join(f"{part}, " for i in schema.key for part in columns[i].parts)
        self.unpack = f"({''.join(f'v{i}, ' for i in range(len(columns)))})"
        state = [name for made in columns for name in made.state]
        self.state = {name: avro_tables.NOWHERE if name[0] == "b" else b"" for name in state}


def compile_row(
    schema: TableSchema, careful: Careful, key_frame: bytes
) -> Callable[[Row], tuple[bytes, bytes]]:
    """A function from a row to its bytes and those of its framed key.

    Whatever it has no short way for it gives to ``careful``.
    """
    table = _Table(schema, frozenset())
    key = f"join((key_frame, {table.key}))" if table.key else "None"
    body = [f"{table.unpack} = values", *table.lines, f"return join(({table.parts})), {key}"]
    names = table.names | {"careful": careful, "key_frame": key_frame}
    return function("row values", body, names, table.state)


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


@dataclass(frozen=True, slots=True)
class Encoders:
    """What encodes the events of one table version, in the sense of :class:`liberator.codec.runs.Writer`;
    ``texts`` are the values remembered, by column."""

    run: Callable[..., ChangeEvent | None]
    rows: Callable[..., None]
    texts: dict[int, avro_tables.Texts]


def compile_encoders(schema: TableSchema, repeating: frozenset[int], names: Namespace) -> Encoders:
    """The functions that encode single events and runs of rows.

    ``repeating`` are the text columns worth remembering; ``names`` is what the functions need of their
    writer: see :class:`liberator.codec.avro_write.ChangeWriter`.
    """
    table = _Table(schema, repeating)
    names = table.names | names
    state = table.state | {"now": None, "prefix": b""}
    run = function("run schema, events, records", _run_lines(table), names, state)
    rows = function("rows run, records", _rows_lines(table), names, state)
    return Encoders(run, rows, {i: table.names[f"t{i}"] for i in repeating})


_BEGIN = (
    "keys = records.keys.append",
    "values = records.values.append",
    "if now is not shared.now:",
    "    now = shared.now",
    "    prefix = frame + now + place",
)


def _key(table: _Table) -> str:
    return f"join((key_frame, {table.key}))" if table.key else "None"


def _run_lines(table: _Table) -> list[str]:
    return [
        *_BEGIN,
        "transaction = phase = None",
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
        f"            key = {_key(table)}",
        "            values(value)",
        "            keys(key)",
        "            continue",
        "        except Exception:",
        "            pass",
        "    slow(event, head, records)",
        "return None",
    ]


def _rows_lines(table: _Table) -> list[str]:
    return [
        *_BEGIN,
        "head = prefix + shared(run.transaction, run.phase)",
        "first, shift = run.ordinal, run.table_ordinal - run.ordinal",
        "if run.operation is READ: places = repeat(ordinals_r[0])",
        "elif not shift: places = map(ordinals_c.__getitem__, count(first))",
        "else: places = (number(n) + number(n + shift) + ordinals_c.rest for n in count(first))",
        "done = 0",
        "for after, place in zip(run.rows, places):",
        "    try:",
        f"        {table.unpack} = after",
        *(f"        {line}" for line in table.lines),
        f"        value = join((head, place, {table.parts}))",
        f"        key = {_key(table)}",
        "        values(value)",
        "        keys(key)",
        "    except Exception:",
        "        slow(run.event(done), head, records)",
        "    done += 1",
    ]
