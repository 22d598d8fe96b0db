"""Row decoders for pgoutput's tuples, compiled once per table version.

For each table, functions are generated in which every column's parsing stands in line, without a loop
and without a look at its type: several times as fast as calling a parser per column. Rows of a known
shape take the quick way of :mod:`.shapes`; a row of any other is walked column by
column here, and its shape learned. What even the walk cannot take is read by
:mod:`.tuples`, which either gives the row or names the column that is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from connectors.postgres.types.inline import Writer, row
from connectors.postgres.wal.shapes import SEPARATOR, Learner, Shape, ShapeWriter
from connectors.postgres.wal.tuples import KEY, OLD, TupleReader, fill
from liberator.event import Row
from liberator.schema import TableSchema

Insert = Callable[[bytes, int], Row]
Inserts = Callable[[bytes, int, "list[Row]"], int]
Update = Callable[[bytes, int], "tuple[Row | None, Row, int | None]"]
Delete = Callable[[bytes, int], "tuple[Row, int]"]

#: How often columns may turn out to have many values before none is remembered any more.
_PATIENCE: Final = 8


class RelationDecoder:
    """The decoders of one relation's rows, as they stand in pgoutput's change messages.

    ``identity`` says for each column whether it belongs to the replica identity (the flags of the
    relation message). ``data`` is one message up to its end, and ``offset`` is where its kind byte
    (I, U, D) stands; the kind and the relation's oid are the caller's to look at.

    * ``insert(data, offset)`` → the new row.
    * ``inserts(block, pos, rows)`` → the place behind the last of the whole frames (CopyData around WAL data)
      from ``pos`` on that are inserts into this relation, whose rows are appended to ``rows``. It stops
      before whatever else comes, and before a message that it cannot take: ``insert`` then says why.
    * ``update(data, offset)`` → old row or None, new row, and which old row was sent: ``KEY`` (identity
      columns only, the rest ABSENT), ``OLD`` (all columns) or None.
    * ``delete(data, offset)`` → old row, and ``KEY`` or ``OLD``.

    Unchanged TOAST is ABSENT in the new row, unless the old row holds the value. Raises DecodeError for
    a message that is truncated, damaged or not of this table, UnknownLabel for a new enum label.

    The four are attributes to be looked up anew for each call: they are replaced by better ones as the
    table's rows become known.
    """

    __slots__ = (
        "_code",
        "_forgotten",
        "_learner",
        "_plain",
        "_reader",
        "delete",
        "insert",
        "inserts",
        "relation",
        "schema",
        "update",
    )

    def __init__(self, schema: TableSchema, identity: Sequence[bool], relation: int = 0):
        self.schema = schema
        self.relation = relation
        self._reader = TupleReader(schema, identity)
        self._learner = Learner(len(schema.columns))
        self._plain: set[int] = set()
        self._code: _Code | None = None
        self._forgotten = 0
        self._begin()

    def _begin(self) -> None:
        # Each is compiled at its first row: many announced tables never change, or only grow.
        self.insert: Insert = partial(self._first, "insert")
        self.inserts: Inserts = partial(self._first, "inserts")
        self.update: Update = partial(self._first, "update")
        self.delete: Delete = partial(self._first, "delete")

    def _first(self, name: str, data: bytes, offset: int, *rows: list[Row]) -> Any:
        if self._code is None:
            self._code = _Code(self, self._reader, self._learner, self._plain, self._forget)
        function = self._code.function(name)
        setattr(self, name, function)
        return function(data, offset, *rows)

    def _forget(self) -> None:
        """Compile anew at the next row: columns turned out to have many values."""
        if self._code is None:
            return
        self._plain |= self._code.writer.many()
        self._forgotten += 1
        if self._forgotten == _PATIENCE:
            self._plain.update(range(len(self.schema.columns)))
        self._code = None
        self._begin()


class _Code:
    """The generated functions of one relation."""

    def __init__(
        self,
        decoder: RelationDecoder,
        reader: TupleReader,
        learner: Learner,
        plain: set[int],
        overflow: Callable[[], None],
    ):
        schema = decoder.schema
        self.writer = Writer(schema, True, plain, overflow)
        self._schema = schema
        self._relation = decoder.relation
        self._identity = reader.identity
        #: The likeliest shape: all columns sent, none of them long.
        self._whole = Shape(None, None, "t" * len(reader.identity))
        self._shapes = ShapeWriter(self.writer, schema, reader.identity)
        self._learner = learner
        self._known: dict[tuple[int | None, bool], dict[int, tuple[Callable[..., Any], ...]]] = {
            (kind, whole): {} for kind in (None, KEY, OLD) for whole in (True, False)
        }
        self.writer.globals |= {
            "head": struct.Struct(">BI").unpack_from,
            "length": struct.Struct(">I").unpack_from,
            "fill": fill,
            "learn": self._learn,
            "learner": learner,
            "insert_again": reader.insert,
            "update_again": reader.update,
            "delete_again": reader.delete,
            "new": self._known[None, True],
            "by_key": self._known[KEY, True],
            "by_row": self._known[OLD, True],
            "gone_by_key": self._known[KEY, False],
            "gone_by_row": self._known[OLD, False],
        }
        for shape in learner.known:
            self._add(shape)

    def function(self, name: str) -> Callable[..., Any]:
        """``insert``, ``inserts``, ``update`` or ``delete``."""
        source: list[str] = getattr(self, f"_{name}")()
        for walk, wanted in (("walk", [True] * len(self._identity)), ("walk_key", self._identity)):
            if any(f"{walk}(" in line for line in source) and walk not in self.writer.globals:
                source = [*_walk(self.writer, walk, wanted), *source]
        function: Callable[..., Any] = self._run(source)[name]
        return function

    def _run(self, source: list[str]) -> dict[str, Any]:
        return self.writer.run(source, f"rows of {self._schema.schema}.{self._schema.table}")

    def _add(self, shape: Shape) -> None:
        lines = [f"  {line}" for line in self._shapes.lines(shape, "return None")]
        function = self._run(["def decode(s, size, off):", "  GLOBAL", *lines])["decode"]
        functions = self._known[shape.kind, shape.after is not None]
        functions[shape.pieces] = (*functions.get(shape.pieces, ()), function)

    def _learn(self, data: bytes, offset: int) -> None:
        shape = self._learner.saw(data, offset)
        if shape is not None:
            self._add(shape)

    def _likeliest(self, shape: Shape, give: str) -> list[str]:
        """In-line code for one shape, to stand before the others."""
        lines = self._shapes.lines(shape, "break", give)
        # A loop that never loops: break goes on behind it.
        return [f"    while len(s) == {shape.pieces}:", *(f"      {line}" for line in lines)]

    def _new(self, give: str) -> list[str]:
        """A message that holds a new row only."""
        return [
            *self._likeliest(self._whole, give),
            "    for decode in new.get(len(s), ()):",
            "      row = decode(s, size, off)",
            f"      if row is not None: {give.format('row')}",
            "    if data[off + 5] != 78: raise ValueError",
            "    row = walk(data, off + 6, True)[0]",
            "    if learner.learning: learn(data, off)",
            f"    {give.format('row')}",
        ]

    def _insert(self) -> list[str]:
        return [
            "def insert(data, off):",
            "  GLOBAL",
            "  try:",
            f"    s, size = data.split({SEPARATOR!r}), len(data)",
            *self._new("return {}"),
            "  except TROUBLE: pass",
            "  return insert_again(data, off)",
        ]

    def _inserts(self) -> list[str]:
        # A frame: d, its length (4 bytes), w, places and a time (24 bytes), then the message.
        head = b"I" + self._relation.to_bytes(4, "big") + b"N"
        return [
            "def inserts(block, pos, rows):",
            "  GLOBAL",
            "  append, off, end = rows.append, 0, len(block)",
            "  try:",
            f"    while block[pos + 30:pos + 36] == {head!r}:",
            "      if block[pos] != 100 or block[pos + 5] != 119: break",
            "      after = pos + 1 + int.from_bytes(block[pos + 1:pos + 5], 'big')",
            "      if after > end: break",
            "      data = block[pos + 30:after]",
            f"      s, size = data.split({SEPARATOR!r}), len(data)",
            "      row = None",
            *(f"  {line}" for line in self._likeliest(self._whole, "row = {}; break")),
            "      if row is None:",
            "        for decode in new.get(len(s), ()):",
            "          row = decode(s, size, off)",
            "          if row is not None: break",
            "        else:",
            "          row = walk(data, off + 6, True)[0]",
            "          if learner.learning: learn(data, off)",
            "      append(row)",
            "      pos = after",
            "  except TROUBLE: pass",
            "  return pos",
        ]

    def _update(self) -> list[str]:
        return [
            "def update(data, off):",
            "  GLOBAL",
            "  try:",
            f"    s, size, kind = data.split({SEPARATOR!r}), len(data), data[off + 5]",
            "    if kind == 78:",
            *(f"  {line}" for line in self._new("return None, {}, None")),
            f"    for decode in (by_row if kind == {OLD} else by_key).get(len(s), ()):",
            "      change = decode(s, size, off)",
            "      if change is not None: return change",
            f"    if kind == {OLD}: before, p = walk(data, off + 6, False)",
            f"    elif kind == {KEY}: before, p = walk_key(data, off + 6, False)",
            "    else: raise ValueError",
            "    if data[p] != 78: raise ValueError",
            "    after = walk(data, p + 1, True)[0]",
            "    if learner.learning: learn(data, off)",
            "    return before, (fill(after, before) if ABSENT in after else after), kind",
            "  except TROUBLE: pass",
            "  return update_again(data, off)",
        ]

    def _delete(self) -> list[str]:
        gone = Shape(KEY, "".join("t" if keyed else "n" for keyed in self._identity), None)
        return [
            "def delete(data, off):",
            "  GLOBAL",
            "  try:",
            f"    s, size, kind = data.split({SEPARATOR!r}), len(data), data[off + 5]",
            f"    if kind == {KEY}:",
            *(f"  {line}" for line in self._likeliest(gone, "return {}")),
            f"    for decode in (gone_by_row if kind == {OLD} else gone_by_key).get(len(s), ()):",
            "      change = decode(s, size, off)",
            "      if change is not None: return change",
            f"    if kind == {OLD}: row = walk(data, off + 6, True)[0]",
            f"    elif kind == {KEY}: row = walk_key(data, off + 6, True)[0]",
            "    else: raise ValueError",
            "    if learner.learning: learn(data, off)",
            "    return row, kind",
            "  except TROUBLE: pass",
            "  return delete_again(data, off)",
        ]


def _walk(writer: Writer, name: str, wanted: Sequence[bool]) -> list[str]:
    """``name(data, p, last)`` → row and end of the tuple whose count of columns stands at ``p``.

    Columns not wanted must be null and become ABSENT. With ``last``, the tuple ends the data.
    """
    # Padded, so that a head can be read at the very last column, which may be one byte.
    lines = [
        f"def {name}(data, p, last):",
        f"  d = data + {bytes(4)!r}",
        f"  if d[p:p + 2] != {len(wanted).to_bytes(2, 'big')!r}: raise ValueError",
        "  p += 2",
    ]
    values: list[str] = []
    for i, keyed in enumerate(wanted):
        if not keyed:
            lines += ["  if d[p] != 110: raise ValueError", "  p += 1"]
            values.append("ABSENT")
            continue
        values.append(f"v{i}")
        lines += [
            "  k, n = head(d, p)",
            "  if k == 116:",
            "    p += 5",
            "    x = d[p:p + n]",
            "    p += n",
            f"    v{i} = {writer.value(i, 'x')}",
            f"  elif k == 110: v{i} = None; p += 1",
            f"  elif k == 117: v{i} = ABSENT; p += 1",
            "  else: raise ValueError",
        ]
    return [
        *lines,
        "  if p != len(data) if last else p >= len(data): raise ValueError",
        f"  return {row(values)}, p",
    ]
