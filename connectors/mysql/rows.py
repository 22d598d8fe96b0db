"""Row decoders for rows events, compiled once per table map version.

A ``RowsDecoder`` belongs to one table map and its columns; for each combination of columns that an event
holds (row images full, minimal, noblob) it generates one function that walks the whole body without a look
at any type. Rows come out as tuples of physical values, ABSENT for columns that the event left out: the
very values that :mod:`connectors.mysql.text_rows` reads from a ``select``.

The body of an event is what lies between its header and its checksum. MariaDB's compressed rows events
have to be uncompressed first (:mod:`connectors.mysql.wire.compressed`).

Rows without nulls take the way in line. For the others a function is generated per pattern of nulls, as long
as a table has few; rows of more patterns are walked cell by cell, still in generated code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from connectors.mysql.cells import cell
from connectors.mysql.images import UPDATES, ImageReader, image_at
from connectors.mysql.inline import ImageWriter, indent
from connectors.mysql.table_map import TableMap
from connectors.mysql.types import DEFAULTS, TypeOptions
from connectors.mysql.wire import kinds
from liberator.errors import DecodeError
from liberator.event import Row
from liberator.schema import Column

#: An update: the row before and the row after.
Change = tuple[Row, Row]
_Decode = Callable[[bytes, int, int], "list[Any] | None"]
_Walk = Callable[[bytes, int], tuple[Row, int]]

#: Patterns of nulls of one image for which functions are generated; fewer if the table is wide.
_PATTERNS: Final = 64
_MOST_COLUMNS: Final = 2_000
#: Combinations of columns present for which decoders are kept.
_IMAGES: Final = 64


def end_of_statement(data: bytes, start: int) -> bool:
    """Whether the rows event whose body begins at ``start`` is the last of its statement: the table maps
    before it count no longer."""
    return bool(data[start + 6] & 1)


class RowsDecoder:
    """Decodes the rows events of one version of a table.

    ``columns`` are those of :func:`connectors.mysql.types.from_table_map` for ``table``; every row has a
    value for each. The decoders are pure functions; ``kind`` is the event's number (``wire.kinds``), and
    ``data[start:end]`` the event's body. All of them raise DecodeError for a body that is
    truncated, damaged or not of this table.
    """

    __slots__ = ("_bitmap", "_cells", "_decoders", "_reader", "_width", "columns", "options", "table")

    def __init__(self, table: TableMap, columns: Sequence[Column], options: TypeOptions = DEFAULTS):
        self.table = table
        self.columns = tuple(columns)
        self.options = options
        if len(self.columns) != len(table.columns):
            raise DecodeError(
                f"table {table.database}.{table.table} has {len(self.columns)} columns, "
                f"its table map {len(table.columns)}"
            )
        self._cells = tuple(
            cell(mapped, column, options) for mapped, column in zip(table.columns, columns, strict=True)
        )
        self._reader = ImageReader(table, self._cells)
        self._decoders: dict[tuple[bool, bytes], _Decode] = {}
        self._bitmap = (len(self.columns) + 7) // 8
        # The count of columns, as it stands before the bitmaps, and one bitmap.
        self._width = (1 if len(self.columns) < 251 else 3) + self._bitmap

    def rows(self, kind: int, data: bytes, start: int, end: int) -> list[Row]:
        """The rows of a write or delete event."""
        return self._decode(kind, data, start, end, update=False)

    def changes(self, kind: int, data: bytes, start: int, end: int) -> list[Change]:
        """The rows of an update event, before and after.

        In a partial update (PARTIAL_UPDATE_ROWS) a JSON document may be sent as a diff. It is applied
        where the row before holds the document; else the column is ABSENT after, as one that was not sent.
        """
        if kind == kinds.PARTIAL_UPDATE_ROWS:
            return self._reader.read(kind, data[start:end])
        return self._decode(kind, data, start, end, update=True)

    def _decode(self, kind: int, data: bytes, start: int, end: int, update: bool) -> list[Any]:
        if (kind in UPDATES) is not update:
            raise DecodeError(f"an event of kind {kind} was read as {'changes' if update else 'rows'}")
        try:
            at = image_at(kind, data, start)
            begin = at + (self._width + self._bitmap if update else self._width)
            decode = self._decoders.get((update, data[at:begin]))
            if decode is None:
                decode = self._compile(update, data[at:begin])
            if begin <= end:
                decoded = decode(data, begin, end)
                if decoded is not None:
                    return decoded
        except (LookupError, _UnusualError):
            pass
        return self._reader.read(kind, data[start:end])

    def _compile(self, update: bool, head: bytes) -> _Decode:
        """The decoder for events that begin with these bytes: count of columns, bitmaps of those present."""
        count, size = len(self.columns), self._bitmap
        skip = self._width - size
        expected = bytes([count]) if skip == 1 else b"\xfc" + count.to_bytes(2, "little")
        if len(head) != skip + size * (1 + update) or head[:skip] != expected:
            raise _UnusualError
        bitmaps = [int.from_bytes(head[i : i + size], "little") for i in range(skip, len(head), size)]
        presents = [[i for i in range(count) if bits >> i & 1] for bits in bitmaps]
        if not presents[0]:
            raise _UnusualError
        name = f"rows of {self.table.database}.{self.table.table}"
        decode = _Code(ImageWriter(self._cells, self.options), presents, name).function()
        if len(self._decoders) >= _IMAGES:
            self._decoders.clear()
        self._decoders[update, head] = decode
        return decode


class _UnusualError(Exception):
    """An event that generated code is not made for."""


class _Code:
    """The generated function for events with certain columns, and those it calls for rows with nulls."""

    def __init__(self, writer: ImageWriter, presents: Sequence[Sequence[int]], name: str):
        self._writer = writer
        self._presents = presents
        self._name = name

    def function(self) -> _Decode:
        """``decode(d, p, end)`` → the rows or pairs in ``d[p:end]``, or None if it cannot tell."""
        lines: list[str] = []
        for place, present in enumerate(self._presents):
            lines += self._image(place, present)
        result = "row0" if len(self._presents) == 1 else "(row0, row1)"
        source = [
            "def decode(d, p, end):",
            "  out = []",
            "  add = out.append",
            "  try:",
            "    while p < end:",
            *indent(lines, 6),
            f"      add({result})",
            "  except TROUBLE: return None",
            "  return out if p == end else None",
        ]
        decode: _Decode = self._run(source, "decode")
        return decode

    def _image(self, place: int, present: Sequence[int]) -> list[str]:
        """Statements that read one image into ``row0`` or ``row1``."""
        row, size = f"row{place}", (len(present) + 7) // 8
        if not present:
            return [f"{row} = {self._writer.row({})}"]
        nulls = self._writer.give(("nulls", place), _Patterns(self, present))
        lines, values = self._writer.image(present, skip=size)
        # The bits beyond the last column may be set: MariaDB does.
        spare = (1 << 8 * size) - (1 << len(present))
        if size == 1:
            head, test = "n = d[p]", f"n and n != {spare}" if spare else "n"
        else:
            none = {bytes(size), spare.to_bytes(size, "little")}
            head, test = f"n = d[p:p + {size}]", " and ".join(f"n != {bits!r}" for bits in sorted(none))
        return [
            head,
            f"if {test}: {row}, p = {nulls}[n](d, p)",
            "else:",
            *indent(lines, 2),
            f"  {row} = {self._writer.row(values)}",
        ]

    def pattern(self, present: Sequence[int], nulls: frozenset[int]) -> _Walk:
        """``walk(d, p)`` → row and its end, for rows in which exactly these columns are null."""
        lines, values = self._writer.image(present, nulls, (len(present) + 7) // 8)
        source = ["def walk(d, p):", *indent(lines, 2), f"  return {self._writer.row(values)}, p"]
        walk: _Walk = self._run(source, "walk")
        return walk

    def any_pattern(self, present: Sequence[int]) -> _Walk:
        """The same for rows with whatever nulls."""
        size = (len(present) + 7) // 8
        lines = [f"n = int.from_bytes(d[p:p + {size}], 'little')", f"p += {size}"]
        for place, index in enumerate(present):
            statements, values = self._writer.image([index])
            lines += [f"if n >> {place} & 1: c{index} = None", "else:"]
            lines += indent([*statements, f"c{index} = {values[index]}"], 2)
        row = self._writer.row({index: f"c{index}" for index in present})
        walk: _Walk = self._run(["def walk(d, p):", *indent(lines, 2), f"  return {row}, p"], "walk")
        return walk

    def _run(self, source: Sequence[str], name: str) -> Any:
        names = self._writer.globals
        exec(compile("\n".join(source), f"<{self._name}>", "exec"), names)
        return names.pop(name)


class _Patterns(dict[Any, _Walk]):
    """The bytes (or byte) of a null bitmap → the function for rows with these nulls."""

    def __init__(self, code: _Code, present: Sequence[int]):
        super().__init__()
        self._code = code
        self._present = present
        self._most = min(_PATTERNS, 1 + _MOST_COLUMNS // len(present))
        self._any: _Walk | None = None

    def __missing__(self, bits: int | bytes) -> _Walk:
        if len(self) < self._most:
            number = bits if isinstance(bits, int) else int.from_bytes(bits, "little")
            nulls = frozenset(index for place, index in enumerate(self._present) if number >> place & 1)
            walk = self[bits] = self._code.pattern(self._present, nulls)
            return walk
        if self._any is None:
            self._any = self._code.any_pattern(self._present)
        return self._any
