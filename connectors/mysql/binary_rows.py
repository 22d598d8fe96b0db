"""Rows of a prepared ``select`` (binary protocol): what to select, and compiled decoders for the packets.

Numbers and dates come here in their own forms, of which :mod:`struct` reads many at once, where the text
protocol has digits that are to be found and converted one by one: decoding takes half as long. The values
are the very same as those of :mod:`connectors.mysql.text_rows`.

So that as many columns as possible lie at fixed places, numbers that are never null are selected first and
dates behind them (:func:`select_order`); rows come out in the columns' own order. A decimal that fits in 64
bits without its point is a number too: digits behind their length would cost ten times as much.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

from connectors.mysql.binary_cells import Cell, cell, is_date, number_format
from connectors.mysql.connection import quote
from connectors.mysql.images import TROUBLE
from connectors.mysql.native import NativeType
from connectors.mysql.result import NOT_NULL, ResultColumn
from connectors.mysql.row_packets import (
    NULL,
    Decode,
    RowPackets,
    refuse,
    refuse_value,
    refuse_zero_date,
    sized,
)
from connectors.mysql.text_cells import text_value
from connectors.mysql.types import DEFAULTS, TypeOptions
from connectors.mysql.values import sent, temporal
from connectors.mysql.values.temporal import ZeroDateError
from liberator.event import Row
from liberator.schema import Column, Kind

_NUMBERS: Final = frozenset(
    {Kind.BOOL, Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64, Kind.FLOAT32, Kind.FLOAT64}
)
_DATES: Final = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_TEXTS: Final = frozenset({Kind.STRING, Kind.JSON, Kind.NATIVE})
#: Digits that fit in 64 bits, whatever they are.
_SHORT_DECIMAL: Final = 18
#: The bits in front of the first column's in the map of nulls.
_RESERVED: Final = 2
#: By bytes, the most first.
_LETTERS: Final = {8: "Q", 4: "I", 2: "H", 1: "B"}


def select_order(columns: Sequence[Column]) -> list[int]:
    """The places of the columns in the order in which they are selected."""

    def rank(i: int) -> int:
        column = columns[i]
        if column.type.kind in _NUMBERS or _is_short(column):
            return 2 if column.nullable else 0
        return 1 if column.type.kind in _DATES else 2

    return sorted(range(len(columns)), key=rank)


def select_list(columns: Sequence[Column]) -> list[str]:
    """What to select, in that order."""
    return [_selected(columns[i]) for i in select_order(columns)]


def _selected(column: Column) -> str:
    name, scale = quote(column.name), column.type.scale
    if not _is_short(column):
        return name
    return f"cast({name} * {10**scale} as signed)" if scale else f"cast({name} as signed)"


def _is_short(column: Column) -> bool:
    """Whether a column is a decimal that fits in 64 bits without its point."""
    return column.type.kind is Kind.DECIMAL and (column.type.precision or 99) <= _SHORT_DECIMAL


class BinaryRows(RowPackets):
    """The rows of a prepared ``select`` of :func:`select_list`, of which the server said that its columns
    are ``definitions``. Compiled at the first use."""

    def __init__(
        self, columns: Sequence[Column], definitions: Sequence[ResultColumn], options: TypeOptions = DEFAULTS
    ):
        super().__init__(columns, options)
        self._order = select_order(columns)
        if len(definitions) != len(columns):
            refuse("it has another number of columns")
        self._definitions = tuple(definitions)
        self._cells: tuple[Cell, ...] = tuple(
            cell(self.columns[i], definition, options)
            for i, definition in zip(self._order, definitions, strict=True)
        )
        self._width = (len(columns) + _RESERVED + 7) // 8

    def row(self, payload: bytes) -> Row:
        """See :meth:`RowPackets.row`."""
        at = 1 + self._width
        if len(payload) < at or payload[0]:
            refuse("a row is truncated or of other columns")
        nulls = int.from_bytes(payload[1:at], "little") >> _RESERVED
        out: list[Any] = [None] * len(self.columns)
        for place, (i, read) in enumerate(zip(self._order, self._cells, strict=True)):
            if nulls >> place & 1:
                continue
            try:
                out[i], at = read(payload, at)
            except ZeroDateError:
                refuse_zero_date(self.columns[i])
            except TROUBLE:
                refuse_value(self.columns[i])
        if at != len(payload):
            refuse("a row is longer than its columns")
        return tuple(out)

    def _compiled(self) -> Decode:
        selected = zip(self._order, self._definitions, strict=True)
        columns = [(i, self.columns[i], definition) for i, definition in selected]
        return _Compiler(columns, self._cells, self._width, self.options).function()


_Selected = tuple[int, Column, ResultColumn]


class _Compiler:
    """Generates ``decode(d, p, size, rows)``.

    What a row begins with is read by one ``head``: the packet's length ``h`` and ``l`` (a row of 64 KB and
    more is left to the plain reader), the marker ``m``, the map of nulls (``b0`` and so on, in pieces of
    which struct has letters), the numbers that are never null and the first date behind them, in the form
    that is usual for its type. ``q`` is then the place of the next cell, and each moves it on; ``s`` is
    where a text begins. Of column 3 ``v3`` is the value and ``c3`` the plain reader, which takes dates of
    another form and whatever has no short way here. A row that does not end where its packet does was
    misunderstood, and is left to the plain reader, as is everything that raises.
    """

    def __init__(self, columns: Sequence[_Selected], cells: Sequence[Cell], width: int, options: TypeOptions):
        self._columns = columns
        self._width = width
        self._names: dict[str, Any] = {
            "TROUBLE": TROUBLE,
            "DAYS": sent.SENT_DAYS,
            "DATES": sent.SENT_DATES,
            "CLOCK": sent.SENT_CLOCK,
            "SECONDS": temporal.SECONDS,
            "sized": sized,
        }
        self._names |= {f"c{i}": read for (i, _, _), read in zip(columns, cells, strict=True)}
        self._options = options
        #: For each place in the select list the piece of the map of nulls and the bit in it.
        self._bits: list[tuple[str, int]] = []

    def function(self) -> Decode:
        row = "(" + "".join(f"v{i}, " for i in range(len(self._columns))) + ")"
        source = [
            "def decode(d, p, size, rows):",
            "  add = rows.append",
            "  try:",
            "    while True:",
            *(f"      {line}" for line in self._lines()),
            "      if q != end: return p",
            f"      add({row})",
            "      p = end",
            "  except TROUBLE: return p",
        ]
        exec(compile("\n".join(source), "<rows of a prepared select>", "exec"), self._names)
        decode: Decode = self._names["decode"]
        return decode

    def _lines(self) -> list[str]:
        format_, names = "<HBxB", ["h", "l", "m"]
        for letter, piece in self._pieces():
            format_ += letter
            names.append(piece)
        values: list[str] = []
        rest = list(self._columns)
        while rest and (number := _always(*rest[0])) is not None:
            i, column, _ = rest.pop(0)
            format_ += number
            names.append(f"v{i}")
            if column.type.kind is Kind.BOOL:
                values.append(f"v{i} = v{i} != 0")
        behind = f"p + {struct.calcsize(format_)}"
        moved = f"q = {behind}"
        if rest and is_date(*rest[0][1:]) and rest[0][2].flags & NOT_NULL:
            i, column, _ = rest.pop(0)
            form, parts, sum_ = _date(column)
            format_ += form
            names += parts
            whole = f"p + {struct.calcsize(format_)}"
            values += self._dated(i, column, sum_, behind, whole)
            moved = ""
        self._names["head"] = struct.Struct(format_).unpack_from
        lines = [
            f"{', '.join(names)} = head(d, p)",
            "end = p + 4 + h",
            "if l or m or end > size: return p",
            *self._never_null(),
            *values,
            *([moved] if moved else []),
        ]
        first = len(self._columns) - len(rest)
        for place, selected in enumerate(rest, first):
            lines += self._column(place, *selected)
        return lines

    def _pieces(self) -> list[tuple[str, str]]:
        """The map of nulls in pieces that struct can read: letters and names."""
        pieces: list[tuple[str, str]] = []
        left = self._width
        while left:
            size = next(size for size in _LETTERS if size <= left)
            name = f"b{len(pieces)}"
            pieces.append((_LETTERS[size], name))
            self._bits += [(name, bit) for bit in range(8 * size)]
            left -= size
        return pieces

    def _bit(self, place: int) -> tuple[str, int]:
        return self._bits[place + _RESERVED]

    def _never_null(self) -> list[str]:
        """What stops at a row that has a null where none can be."""
        masks: dict[str, int] = {}
        for place, (_, _, definition) in enumerate(self._columns):
            if definition.flags & NOT_NULL:
                name, bit = self._bit(place)
                masks[name] = masks.get(name, 0) | 1 << bit
        return [f"if {name} & {mask}: return p" for name, mask in masks.items()]

    def _column(self, place: int, i: int, column: Column, definition: ResultColumn) -> list[str]:
        lines = self._value(i, column, definition)
        if definition.flags & NOT_NULL:
            return lines
        name, bit = self._bit(place)
        return [f"if {name} & {1 << bit}: v{i} = None", "else:", *(f"  {line}" for line in lines)]

    def _value(self, i: int, column: Column, definition: ResultColumn) -> list[str]:
        """Statements that read the value at ``q`` and move that behind it."""
        v, type_ = f"v{i}", column.type
        kind = type_.kind
        letter = number_format(column, definition)
        if letter is not None:
            form = struct.Struct("<" + letter)
            self._names[f"n{letter}"] = form.unpack_from
            lines = [f"{v}, = n{letter}(d, q)", f"q += {form.size}"]
            return [*lines, f"{v} = {v} != 0"] if kind is Kind.BOOL else lines
        if is_date(column, definition):
            form_, parts, sum_ = _date(column)
            dated = struct.Struct("<" + form_)
            self._names[f"s{form_}"] = dated.unpack_from
            lines = [f"{', '.join(parts)} = s{form_}(d, q)"]
            return [*lines, *self._dated(i, column, sum_, "q", f"q + {dated.size}")]
        parse = self._text(i, column)
        if parse is None:
            return [f"{v}, q = c{i}(d, q)"]
        if kind is Kind.DECIMAL or 0 < definition.length < NULL:
            # A longer one would be noticed at the row's end.
            return ["s = q + 1", "q = s + d[q]", parse]
        self._names[f"f{i}"] = text_value(column, self._options)
        lines = ["n = d[q]", f"if n < {NULL}:", "  s = q + 1", "  q = s + n", f"  {parse}"]
        return [*lines, "else:", "  x, q = sized(d, q)", f"  {v} = f{i}(x)"]

    def _text(self, i: int, column: Column) -> str | None:
        """The statement that reads ``d[s:q]``; None where the plain reader does it."""
        v, type_ = f"v{i}", column.type
        match type_.kind:
            case Kind.DECIMAL:
                return f"{v} = int(d[s:q].replace(b'.', b''))" if type_.scale else f"{v} = int(d[s:q])"
            case kind if kind in _TEXTS:
                return f"{v} = d[s:q].decode()"
            case Kind.BYTES:
                return f"{v} = d[s:q]"
            case Kind.ENUM:
                self._names[f"labels{i}"] = {label.encode(): label for label in ("", *type_.values)}
                return f"{v} = labels{i}[d[s:q]]"
        return None

    def _dated(self, i: int, column: Column, sum_: str, start: str, end: str) -> list[str]:
        """Statements for a date whose parts were read: from ``start`` to ``end`` if it has the usual form."""
        table, size = ("DAYS", 4) if column.type.kind is Kind.DATE else ("DATES", _usual(column))
        sane = f" and f < {temporal.SECOND}" if size == sent.WHOLE_SIZE else ""
        return [
            f"v{i} = {table}[y] if n == {size}{sane} else None",
            f"if v{i} is None: v{i}, q = c{i}(d, {start})",
            f"else: v{i} += {sum_}; q = {end}" if sum_ else f"else: q = {end}",
        ]


def _always(_: int, column: Column, definition: ResultColumn) -> str | None:
    """The letter of a number that is never null."""
    return number_format(column, definition) if definition.flags & NOT_NULL else None


def _usual(column: Column) -> int:
    """The bytes that a datetime usually takes: all, where it has a fraction."""
    return sent.WHOLE_SIZE if NativeType.parse(column.native).digits else sent.CLOCK_SIZE


def _date(column: Column) -> tuple[str, list[str], str]:
    """The usual form of a date behind its length, the names of its parts, and what is added to the day."""
    if column.type.kind is Kind.DATE:
        return "BI", ["n", "y"], ""
    if _usual(column) == sent.CLOCK_SIZE:
        return "BIHB", ["n", "y", "t", "s"], "CLOCK[t] + SECONDS[s]"
    return "BIHBI", ["n", "y", "t", "s", "f"], "CLOCK[t] + SECONDS[s] + f"
