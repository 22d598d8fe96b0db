"""The source text of one table version's decoder.

For each column a few lines that take its value ``v3`` from ``data`` at ``at`` and move ``at`` behind it;
the common values take the short way through ``avro_tables``, all others through ``w3``, the careful
function of ``avro_value``, or raise. A slice that would reach beyond the record is merely short: whether
``at`` ends where the record does is looked at once, in the end. Only integers and names made here enter
the text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from liberator.codec import avro_tables
from liberator.codec.avro_encoder import TEXTS
from liberator.codec.avro_generate import Namespace, function
from liberator.codec.avro_schema import Branch, column_branches, fixed_scale
from liberator.codec.avro_value import read_long, union
from liberator.event import ChangeEvent, Position, Row, Transaction
from liberator.schema import Column, Kind, LogicalType, TableSchema

_TIMES = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_INTEGERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.DATE})

#: Names bound in every generated function.
_ALL: Namespace = {
    "ONE": avro_tables.ONE,
    "UPPER": avro_tables.UPPER,
    "BEHIND": avro_tables.BEHIND,
    "FIRST": avro_tables.FIRST,
    **{f"NEXT{place}": table for place, table in enumerate(avro_tables.NEXT)},
    **{f"SHARE{place}": table for place, table in enumerate(avro_tables.SHARE)},
    **{f"SIGNED{place}": table for place, table in enumerate(avro_tables.SIGNED)},
    "text": avro_tables.text,
    "highs": avro_tables.Highs(),
    "long": read_long,
    "eight": struct.Struct("<BBBBI").unpack_from,
    "double": struct.Struct("<d").unpack_from,
    "from_bytes": int.from_bytes,
    "BOOLS": (False, True),
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
        return _time(i, start, skip)
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
    lines = [f"a = data[{start}]", f"if a < 128: v{i} = ONE[a]; at += {skip + 1}"]
    if kind is Kind.INT16:
        return [*lines, f"else: {_careful(i)}"]
    lines += ["elif a & 1:", f"    v{i}, at = long(data, {start})"]
    if kind is not Kind.INT64:
        lines += [f"    if v{i} < {-(1 << 31)}: raise ValueError"]
    # as many bytes as can be no number out of range
    longest = 8 if kind is Kind.INT64 else 4
    return [*lines, "else:", *(f"    {line}" for line in _bytes(i, skip, longest, 1))]


def _bytes(i: int, skip: int, longest: int, place: int) -> list[str]:
    """The lines for a number that goes on with the byte at ``place``."""
    if place == longest:
        return [_careful(i)]
    name = "abcdefgh"[place]
    share = f"SHARE{place}[{name}]"
    longer = _bytes(i, skip, longest, place + 1)
    return [
        f"{name} = data[at + {skip + place}]; v{i} {'= SHARE0[a] +' if place == 1 else '+='} {share}",
        f"if {name} < 128: at += {skip + place + 1}",
        "else:",
        *(f"    {line}" for line in longer),
    ]


def _time(i: int, start: str, skip: int) -> list[str]:
    """Eight bytes, not negative, is what a time of these years takes. The last four of them are the same
    for two minutes."""
    return [
        f"a, b, c, d, e = eight(data, {start})",
        f"v{i} = highs[e] + FIRST[a] + NEXT1[b] + NEXT2[c] + NEXT3[d]",
        f"if v{i} >= 0: at += {skip + 8}",
        f"else: {_careful(i)}",
    ]


def _decimal(i: int, start: str, skip: int, type: LogicalType, names: Namespace) -> list[str]:  # noqa: A002
    # sizes whose every number fits the precision; longer ones are checked in the careful way
    fits = [size for size in range(1, 17) if 1 << 8 * size - 1 < 10 ** (type.precision or 0)]
    names[f"s{i}"] = _sizes(skip + 1, len(fits))
    lines = [f"e = data[{start}]"]
    digits = [f"data[at + {skip + 1 + k}]" for k in range(3)]
    for size, total in (
        (3, f"SIGNED2[{digits[0]}] + UPPER[{digits[1]}] + {digits[2]}"),
        (2, f"SIGNED1[{digits[0]}] + {digits[1]}"),
        (1, f"SIGNED0[{digits[0]}]"),
    ):
        if size in fits:
            word = "elif" if len(lines) > 1 else "if"
            lines.append(f"{word} e == {2 * size}: v{i} = {total}; at += {skip + 1 + size}")
    if not fits:
        return [_careful(i)]
    return [
        *lines,
        f"elif s{i}[e]:",
        f"    e = at + s{i}[e]",
        f"    v{i} = from_bytes(data[at + {skip + 1}:e], 'big', signed=True); at = e",
        "else:",
        f"    {_careful(i)}",
    ]


@lru_cache(maxsize=100)
def _sizes(skip: int, most: int) -> tuple[int, ...]:
    """By the length byte of a decimal of up to ``most`` bytes: how much to go on; 0 for any other."""
    return tuple(skip + n // 2 if n % 2 == 0 and 0 < n // 2 <= most else 0 for n in range(256))


def compile_row(schema: TableSchema) -> Callable[[bytes, int], tuple[Row, int]]:
    """A function from data and an offset to the row there and the offset behind it; it raises
    anything at all for what it does not know."""
    names = dict(_ALL)
    lines = [line for i, c in enumerate(schema.columns) for line in column_lines(c, i, names)]
    values = "".join(f"v{i}, " for i in range(len(schema.columns)))
    return function("row data, at", [*lines, f"return ({values}), at"], names, {})


@lru_cache(maxsize=100)  # the tables of a source have it in common
def compile_head(schema: TableSchema) -> Callable[[bytes, bytes], tuple[int, Transaction]]:
    """A function that reads what stands between the frame and the ordinals: from data, and what is to be
    found before the transaction's own fields, to the offset behind and the transaction.

    ``schema`` is that of ``avro_schema.shared_part``. Raises anything for what it does not expect.
    """
    names = {**_ALL, "new": object.__new__, "new_tuple": tuple.__new__}
    names |= {"Transaction": Transaction, "Position": Position}
    columns = list(enumerate(schema.columns))
    names["w2"] = read_long
    last = len(columns) - 1
    body = [
        "if not data.startswith(known, 5): raise ValueError",
        "at = 5 + len(known)",
        # ts_ms says nothing that ts_us does not say
        "while data[at] > 127: at += 1",
        "at += 1",
        *_time(2, "at", 0),
        *(line for i, c in columns[3:] for line in column_lines(c, i, names)),
        "if at > len(data): raise ValueError",
        "transaction = new(Transaction)",
        f"transaction.id = v{last}",
        "transaction.position = new_tuple(Position, (v3, v4, 0))",
        "transaction.timestamp = v2",
        f"transaction.origin = ({''.join(f'v{i}, ' for i in range(5, last))})",
        "return at, transaction",
    ]
    return function("head data, known", body, names, {})


def compile_run(schema: TableSchema, rest: int, needs: Namespace) -> Callable[..., Any]:
    """The function that decodes a run of records of one schema in the envelope ``change``.

    ``rest`` is the number of bytes between the two ordinals and the row of a plain create, update or
    read; ``needs`` what the function needs of its reader: see ``avro_read.ChangeReader``.
    """
    names = {**_ALL, **needs, "schema": schema, "ChangeEvent": ChangeEvent, "new": object.__new__}
    lines = [line for i, c in enumerate(schema.columns) for line in column_lines(c, i, names)]
    values = "".join(f"v{i}, " for i in range(len(schema.columns)))
    body = [
        "head, transaction, phase, start, size = saved",
        "for topic, key, data, headers in items:",
        "    if data is None:",
        "        if gone.owns(topic, key, headers):",
        "            continue",
        "        return topic, key, data, headers",
        "    if not data.startswith(head):",
        "        if not data.startswith(frame):",
        "            return topic, key, data, headers",
        "        head, transaction, phase = read_head(data)",
        "        start = len(head)",
        "        saved[:] = head, transaction, phase, start, size",
        "    try:",
        # The ordinals take as many bytes as those of the event before, mostly.
        "        at = start + size",
        "        middle = known(data[start:at])",
        "        if middle is None:",
        "            at = start",
        "            while data[at] > 127: at += 1",
        "            at += 1",
        "            while data[at] > 127: at += 1",
        f"            at += {rest + 1}",
        "            size = saved[4] = at - start",
        "            middle = middles[data[start:at]]",
        "        ordinal, table_ordinal, operation = middle",
        *(f"        {line}" for line in lines),
        "        if at != len(data):",
        "            raise ValueError",
        "    except Exception:",
        "        event = read(topic, data, start, transaction, phase)",
        "        gone.note(topic, key, event)",
        "        append(event)",
        "        continue",
        # Filled by hand: calling the class takes half as long again.
        "    event = new(ChangeEvent)",
        "    event.operation = operation",
        "    event.topic = topic",
        "    event.schema = schema",
        "    event.before = None",
        f"    event.after = ({values})",
        "    event.transaction = transaction",
        "    event.ordinal = ordinal",
        "    event.table_ordinal = table_ordinal",
        "    event.phase = phase",
        "    event.moved = None",
        "    append(event)",
        "return None",
    ]
    return function("run items, append", body, names, {})
