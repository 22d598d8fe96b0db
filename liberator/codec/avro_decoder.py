"""The source text of one table version's decoder.

For each column a few lines that take its value ``v3`` from ``data`` at ``at`` and move ``at`` behind it;
the common values take the short way through ``avro_tables``, all others through ``w3``, the careful
function of ``avro_value``, or raise. The lines may read beyond the record, into zeros that were put behind
it; whether the record ended where it should is looked at once, in the end. Only integers and names made
here enter the text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from liberator.codec import avro_tables
from liberator.codec.avro_encoder import TEXTS
from liberator.codec.avro_generate import Namespace, function
from liberator.codec.avro_schema import Branch, column_branches, fixed_scale
from liberator.codec.avro_value import union
from liberator.event import ChangeEvent, Row
from liberator.schema import Column, Kind, LogicalType, TableSchema

#: Zeros behind a record, for lines that read a few bytes too far.
PAD = bytes(16)

_TIMES = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_INTEGERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.DATE})

#: Names bound in every generated function.
_ALL: Namespace = {
    **{name: getattr(avro_tables, name) for name in ("ONE", "TWO", "BEGIN", "END", "LENGTH")},
    **{name: getattr(avro_tables, name) for name in ("POSITIVE", "MIDDLE", "BEHIND", "text")},
    "highs": avro_tables.Highs(),
    "pairs": struct.Struct("<HH").unpack_from,
    "pairs_end": struct.Struct("<HHI").unpack_from,
    "double": struct.Struct("<d").unpack_from,
    "from_bytes": int.from_bytes,
    "BOOLS": (False, True),
    "PAD": PAD,
}


def column_lines(column: Column, i: int, names: Namespace) -> list[str]:
    """The lines for column ``i``; what they need is put into ``names``."""
    order = column_branches(column)
    names[f"w{i}"] = union(column.type, order)[1]
    lines = _value_lines(column.type, i, "at + 1" if len(order) > 1 else "at", names)
    if lines is None:
        return [_careful(i)]
    if len(order) == 1:
        return lines
    return _branches(i, order, lines)


def _branches(i: int, order: Sequence[Branch], lines: list[str]) -> list[str]:
    """``lines`` where the branch byte says "value"; null here, an escape in the careful way."""
    out = [f"if data[at] == {2 * order.index('value')}:", *(f"    {line}" for line in lines)]
    if "null" in order:
        out += ["elif not data[at]:", f"    v{i} = None; at += 1"]
    return [*out, "else:", f"    {_careful(i)}"]


def _careful(i: int) -> str:
    return f"v{i}, at = w{i}(data, at)"


def _value_lines(type: LogicalType, i: int, start: str, names: Namespace) -> list[str] | None:  # noqa: A002
    """The lines for a value that begins at ``start``; None: there is no short way. They may also go the
    careful way, from ``at``, where a branch byte stands if there is one."""
    kind = type.kind
    skip = 1 if start == "at + 1" else 0
    if kind is Kind.BOOL:
        return [f"v{i} = BOOLS[data[{start}]]; at += {skip + 1}"]
    if kind in TEXTS or kind is Kind.BYTES:
        return _sized(i, start, skip, kind)
    if kind in _INTEGERS:
        return _integer(i, start, skip, kind)
    if kind in _TIMES:
        return [f"a, b, c = pairs_end(data, {start})", *_eight(i, skip), "else:", f"    {_careful(i)}"]
    if kind is Kind.FLOAT64:
        return [f"v{i}, = double(data, {start}); at += {skip + 8}"]
    if kind is Kind.DECIMAL and fixed_scale(type):
        return _decimal(i, start, skip, type, names)
    return None


def _sized(i: int, start: str, skip: int, kind: Kind) -> list[str]:
    value = f"data[at + {skip + 1}:e]" + ("" if kind is Kind.BYTES else ".decode()")
    longer = _careful(i) if kind is Kind.BYTES else f"v{i}, at = text(data, {start})"
    behind = "at" if skip else "at - 1"
    return [
        f"e = BEHIND[data[{start}]]",
        "if e:",
        f"    e += {behind}; v{i} = {value}; at = e",
        "else:",
        f"    {longer}",
    ]


def _integer(i: int, start: str, skip: int, kind: Kind) -> list[str]:
    lines = [
        f"a = data[{start}]",
        "if a < 128:",
        f"    v{i} = ONE[a]; at += {skip + 1}",
        "else:",
    ]
    if kind is Kind.INT16:
        return [*lines, f"    {_careful(i)}"]
    read = "a, b, c = pairs_end" if kind is Kind.INT64 else "a, b = pairs"
    longer = [
        f"{read}(data, {start})",
        f"v{i} = TWO[a]",
        f"if v{i} is not None: at += {skip + 2}",
        "elif END[b] is not None:",
        "    e = BEGIN[a]",
        f"    v{i} = e + END[b] if e >= 0 else e - END[b]",
        f"    at += LENGTH[b]{f' + {skip}' if skip else ''}",
    ]
    if kind is Kind.INT64:
        eight = _eight(i, skip)
        longer += ["else:", *(f"    {line}" for line in [*eight, "else:", f"    {_careful(i)}"])]
    else:
        longer += ["else:", f"    {_careful(i)}"]
    return [*lines, *(f"    {line}" for line in longer)]


def _eight(i: int, skip: int) -> list[str]:
    """Eight bytes, not negative: what a time of these years takes."""
    return [
        f"v{i} = highs[c] + POSITIVE[a] + MIDDLE[b]",
        f"if v{i} < {avro_tables.FAR}: at += {skip + 8}",
    ]


def _decimal(i: int, start: str, skip: int, type: LogicalType, names: Namespace) -> list[str]:  # noqa: A002
    most = 10 ** (type.precision or 0)
    # sizes whose every number fits the precision; longer ones are checked in the careful way
    fits = [size for size in range(1, 17) if 1 << 8 * size - 1 < most]
    names[f"s{i}"] = tuple(skip + 1 + n // 2 if n % 2 == 0 and n // 2 in fits else 0 for n in range(256))
    return [
        f"e = s{i}[data[{start}]]",
        "if e:",
        f"    e += at; v{i} = from_bytes(data[at + {skip + 1}:e], 'big', signed=True); at = e",
        "else:",
        f"    {_careful(i)}",
    ]


def compile_row(schema: TableSchema) -> Callable[[bytes, int], tuple[Row, int]]:
    """A function from padded data and an offset to the row there and the offset behind it; it raises
    anything at all for what it does not know."""
    names = dict(_ALL)
    lines = [line for i, c in enumerate(schema.columns) for line in column_lines(c, i, names)]
    values = "".join(f"v{i}, " for i in range(len(schema.columns)))
    return function("row data, at", [*lines, f"return ({values}), at"], names, {})


def compile_run(schema: TableSchema, rest: int, needs: Namespace) -> Callable[..., Any]:
    """The function that decodes a run of records of one schema in the envelope ``change``.

    ``rest`` is the number of bytes between the two ordinals and the row of a plain create, update or
    read; ``needs`` what the function needs of its reader: see ``avro_read.ChangeReader``.
    """
    names = {**_ALL, **needs, "schema": schema, "ChangeEvent": ChangeEvent}
    lines = [line for i, c in enumerate(schema.columns) for line in column_lines(c, i, names)]
    values = "".join(f"v{i}, " for i in range(len(schema.columns)))
    body = [
        "head = None",
        "for topic, key, value, headers in items:",
        "    if value is None:",
        "        if headers or key is None:",
        "            return topic, key, value, headers",
        "        continue",
        "    if head is None or not value.startswith(head):",
        "        if not value.startswith(frame):",
        "            return topic, key, value, headers",
        "        head, transaction, phase = read_head(value)",
        "        start = len(head)",
        "    data = value + PAD",
        "    try:",
        "        n = start",
        "        while data[n] > 127: n += 1",
        "        n += 1",
        "        while data[n] > 127: n += 1",
        f"        at = n + {rest + 1}",
        "        ordinal, table_ordinal, operation = middles[data[start:at]]",
        *(f"        {line}" for line in lines),
        "        if at != len(value):",
        "            raise ValueError",
        "    except Exception:",
        "        append(read(topic, value))",
        "        continue",
        f"    append(ChangeEvent(operation, topic, schema, None, ({values}), transaction, ordinal, "
        "table_ordinal, phase, None))",
        "return None",
    ]
    return function("run items, append", body, names, {})
