"""Row decoders for pgoutput's tuples, compiled once per table version.

For each table, functions are generated in which every column's parsing stands in line, without a loop
and without a look at its type: several times as fast as calling a parser per column.

There are two ways through a tuple. Where every column is sent and shorter than 256 bytes, which is most
rows, the bytes ``t 0 0 0`` stand before each column and nowhere else, for a text holds no zero byte. One
``split`` then does the walking, and the lengths are added up as proof. Any other tuple (nulls, unchanged
TOAST, long values) is walked column by column. A row that raises is read again by
:mod:`connectors.postgres.tuples`, which either gives its value or names the column that is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from connectors.postgres.inline import Writer, row
from connectors.postgres.tuples import KEY, OLD, TupleReader, fill
from liberator.event import Row
from liberator.schema import TableSchema

Insert = Callable[[bytes, int], Row]
Update = Callable[[bytes, int], "tuple[Row | None, Row, int | None]"]
Delete = Callable[[bytes, int], "tuple[Row, int]"]


class RelationDecoder:
    """The decoders of one relation's rows, as they stand in pgoutput's change messages.

    ``identity`` says for each column whether it belongs to the replica identity (the flags of the
    relation message). ``data`` is one message up to its end, and ``offset`` is where its kind byte
    (I, U, D) stands; the kind and the relation's oid are the caller's to look at.

    * ``insert(data, offset)`` → the new row.
    * ``update(data, offset)`` → old row or None, new row, and which old row was sent: ``KEY`` (identity
      columns only, the rest ABSENT), ``OLD`` (all columns) or None.
    * ``delete(data, offset)`` → old row, and ``KEY`` or ``OLD``.

    Unchanged TOAST is ABSENT in the new row, unless the old row holds the value. Raises DecodeError for
    a message that is truncated, damaged or not of this table, UnknownLabel for a new enum label.
    """

    __slots__ = ("_reader", "delete", "insert", "schema", "update")

    def __init__(self, schema: TableSchema, identity: Sequence[bool]):
        self.schema = schema
        self._reader = TupleReader(schema, identity)
        # Compiled at the first row: many announced tables never change.
        self.insert: Insert = lambda data, offset: self._compile().insert(data, offset)
        self.update: Update = lambda data, offset: self._compile().update(data, offset)
        self.delete: Delete = lambda data, offset: self._compile().delete(data, offset)

    def _compile(self) -> RelationDecoder:
        functions = _compile(self.schema, self._reader)
        self.insert, self.update, self.delete = (functions[name] for name in ("insert", "update", "delete"))
        return self


def _compile(schema: TableSchema, reader: TupleReader) -> dict[str, Any]:
    writer = Writer(binary=True)
    writer.globals |= {
        "head": struct.Struct(">BI").unpack_from,
        "fill": fill,
        "insert_again": reader.insert,
        "update_again": reader.update,
        "delete_again": reader.delete,
    }
    count = len(schema.columns)
    new, old = _Split(writer, schema, ["c"]), _Split(writer, schema, ["o", "c"])
    source = [
        *_walk(writer, schema, "walk", [True] * count),
        *_walk(writer, schema, "walk_key", reader.identity),
        "def insert(data, off):",
        "  try:",
        *new.lines("return {c}"),
        "    if data[off + 5] != 78: raise ValueError",
        "    return walk(data, off + 6, True)[0]",
        "  except TROUBLE: pass",
        "  return insert_again(data, off)",
        "def update(data, off):",
        "  try:",
        "    kind = data[off + 5]",
        "    if kind == 78:",
        *new.lines("return None, {c}, None", "  "),
        "      return None, walk(data, off + 6, True)[0], None",
        f"    if kind == {OLD}:",
        *old.lines("return {o}, {c}, kind", "  "),
        "      before, p = walk(data, off + 6, False)",
        f"    elif kind == {KEY}: before, p = walk_key(data, off + 6, False)",
        "    else: raise ValueError",
        "    if data[p] != 78: raise ValueError",
        "    after = walk(data, p + 1, True)[0]",
        "    return before, (fill(after, before) if ABSENT in after else after), kind",
        "  except TROUBLE: pass",
        "  return update_again(data, off)",
        "def delete(data, off):",
        "  try:",
        "    kind = data[off + 5]",
        f"    if kind == {KEY}: return walk_key(data, off + 6, True)[0], kind",
        f"    if kind != {OLD}: raise ValueError",
        *new.lines("return {c}, kind"),
        "    return walk(data, off + 6, True)[0], kind",
        "  except TROUBLE: pass",
        "  return delete_again(data, off)",
    ]
    return writer.run(source, f"rows of {schema.schema}.{schema.table}")


class _Split:
    """The quick way: one ``split`` for the message's one or two tuples, whose variables begin with
    ``letters``. The lines fall through where the tuple is of another shape."""

    def __init__(self, writer: Writer, schema: TableSchema, letters: Sequence[str]):
        count = len(schema.columns)
        self.names = [f"{letter}{i}" for letter in letters for i in range(count)]
        # Header, then per tuple its count and five bytes a column; N stands before the second tuple.
        self.fixed = 8 + 5 * len(self.names) + 3 * (len(letters) - 1)
        self.rows = {
            letter: row(
                writer.value(column.type, f"{letter}{i}", 1) for i, column in enumerate(schema.columns)
            )
            for letter in letters
        }
        self.between = b"N" + count.to_bytes(2, "big") if len(letters) == 2 else b""
        self.last = f"{letters[0]}{count - 1}"
        self.possible = count > 0

    def lines(self, result: str, indent: str = "") -> list[str]:
        if not self.possible:
            return []
        lengths = _sum([f"{name}[0]" for name in self.names])
        proof = f"len(h) == off + 8 and off + {self.fixed} + {lengths} == len(data)"
        lines = ["s = data.split(b't\\0\\0\\0')", f"if len(s) == {len(self.names) + 1}:"]
        lines += [f"  h, {', '.join(self.names)} = s"]
        if self.between:
            lines += [f"  if {proof} and {self.last}[-3:] == {self.between!r}:"]
            lines += [f"    {self.last} = {self.last}[:-3]"]
        else:
            lines += [f"  if {proof}:"]
        lines += ["    " + result.format(**self.rows)]
        return [f"    {indent}{line}" for line in lines]


def _sum(terms: Sequence[str]) -> str:
    # In groups: a thousand additions in a row nest too deeply for the compiler.
    groups = [" + ".join(terms[i : i + 40]) for i in range(0, len(terms), 40)]
    return " + ".join(f"({group})" for group in groups)


def _walk(writer: Writer, schema: TableSchema, name: str, wanted: Sequence[bool]) -> list[str]:
    """``name(data, p, last)`` → row and end of the tuple whose count of columns stands at ``p``.

    Columns not wanted must be null and become ABSENT. With ``last``, the tuple ends the data.
    """
    count = len(schema.columns)
    # Padded, so that a head can be read at the very last column, which may be one byte.
    lines = [
        f"def {name}(data, p, last):",
        "  d = data + b'\\0\\0\\0\\0'",
        f"  if d[p:p + 2] != {count.to_bytes(2, 'big')!r}: raise ValueError",
        "  p += 2",
    ]
    values: list[str] = []
    skipped = 0
    for i, column in enumerate(schema.columns):
        if not wanted[i]:
            skipped += 1
            values.append("ABSENT")
            continue
        lines += _skip(skipped)
        skipped = 0
        values.append(f"v{i}")
        lines += [
            "  k, n = head(d, p)",
            "  if k == 116:",
            "    p += 5",
            "    x = d[p:p + n]",
            "    p += n",
            f"    v{i} = {writer.value(column.type, 'x')}",
            f"  elif k == 110: v{i} = None; p += 1",
            f"  elif k == 117: v{i} = ABSENT; p += 1",
            "  else: raise ValueError",
        ]
    lines += _skip(skipped)
    lines += [
        "  if p != len(data) if last else p >= len(data): raise ValueError",
        f"  return {row(values)}, p",
    ]
    return lines


def _skip(nulls: int) -> list[str]:
    if not nulls:
        return []
    return [f"  if d[p:p + {nulls}] != {b'n' * nulls!r}: raise ValueError", f"  p += {nulls}"]
