"""Row images in generated code: the usual types in line, runs of fixed width in one ``unpack``.

A cell of fixed width contributes a format and an expression to a *run*: everything between two values of
variable length, including the length of the next one, is unpacked at once. Integers of the two byte orders
need a ``Struct`` each. Only integers enter the source; labels, tables and functions reach it as globals. What
the in-line code cannot take it answers with one of :data:`connectors.mysql.images.TROUBLE`, upon which the
event is read again by :mod:`connectors.mysql.images`.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.mysql.cells import Cell, Members
from connectors.mysql.images import TROUBLE
from connectors.mysql.native import TypeOptions
from connectors.mysql.table_map import Wire
from connectors.mysql.values import decimals, temporal
from connectors.mysql.values.charsets import UTF8, decoder, table
from liberator.event import ABSENT
from liberator.schema import Kind

_SIGNED: Final = {Wire.TINY: "b", Wire.SHORT: "h", Wire.LONG: "i", Wire.LONGLONG: "q"}
_LETTERS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_TEXT: Final = frozenset(
    {
        Wire.STRING, Wire.VAR_STRING, Wire.VARCHAR, Wire.BLOB, Wire.TINY_BLOB, Wire.MEDIUM_BLOB,
        Wire.LONG_BLOB,
    }
)  # fmt: skip
#: Formats of the prefix before a value.
_PREFIXES: Final = {1: ("", "B"), 2: ("<", "H"), 3: ("<", "HB"), 4: ("<", "I")}


@dataclass(slots=True)
class Fixed:
    """Part of a run. ``order`` is ``<``, ``>`` or, for single bytes and byte strings, nothing; ``value`` is
    an expression of ``{0}``, ``{1}``…, the parts of ``format`` in their order, and ``lines`` are statements
    before it, which may use ``{v}``, a variable of the cell's own."""

    order: str
    format: str
    value: str
    lines: Sequence[str] = ()


@dataclass(slots=True)
class _Run:
    """What has been gathered since the last value of variable length: formats with their variables, and the
    statements that need these. ``size`` counts bytes, the first ``skip`` of which are passed over."""

    skip: int = 0
    size: int = 0
    parts: list[tuple[str, str, list[str]]] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.size = self.skip

    def add(self, order: str, format_: str, names: list[str]) -> None:
        self.parts.append((order, format_, names))
        self.size += struct.calcsize("<" + format_)


class ImageWriter:
    """Writes the code for images of one table; holds the globals that it needs."""

    def __init__(self, cells: Sequence[Cell], options: TypeOptions):
        self.cells = tuple(cells)
        self._odd = temporal.odd_policy(options.zero_dates)
        self.globals: dict[str, Any] = {
            "ABSENT": ABSENT,
            "TROUBLE": TROUBLE,
            "DATES": temporal.DATES,
            "CLOCK": temporal.CLOCK,
            "SECONDS": temporal.SECONDS,
            "DAYS": temporal.DAYS,
            "charmap": codecs.charmap_decode,
            "odd": self._odd,
            "odd_date": temporal.odd_date,
            "odd_datetime": temporal.odd_datetime,
            "odd_timestamp": temporal.odd_timestamp,
            "refuse": refuse,
        }
        self._given: dict[object, str] = {}

    def give(self, key: object, thing: object) -> str:
        """The global name of an object."""
        name = self._given.setdefault(key, f"g{len(self._given)}")
        self.globals[name] = thing
        return name

    def image(
        self, present: Sequence[int], nulls: frozenset[int] = frozenset(), skip: int = 0
    ) -> tuple[list[str], dict[int, str]]:
        """Statements that walk an image from ``p`` on and leave ``p`` behind it, and an expression for each
        column that is present. The first ``skip`` bytes are passed over."""
        lines: list[str] = []
        values: dict[int, str] = {}
        run = _Run(skip)
        for index in present:
            cell = self.cells[index]
            if index in nulls:
                values[index] = "None"
            elif not cell.prefix:
                values[index] = self._add_fixed(run, index, cell)
            else:
                order, format_ = _PREFIXES[cell.prefix]
                names = [f"l{index}_{k}" for k in range(len(format_))]
                run.add(order, format_, names)
                length = names[0] if len(names) == 1 else f"({names[0]} | {names[1]} << 16)"
                lines += [*self._flush(run), f"q = p + {run.size}", f"p = q + {length}"]
                lines.append(f"v{index} = {self._sized(index, cell, 'd[q:p]')}")
                values[index] = f"v{index}"
                run = _Run()
        if run.size:
            lines += [*self._flush(run), f"p += {run.size}"]
        return lines, values

    def row(self, values: Mapping[int, str]) -> str:
        """A tuple of expressions; columns without one are absent."""
        return "(" + "".join(f"{values.get(i, 'ABSENT')}, " for i in range(len(self.cells))) + ")"

    def _add_fixed(self, run: _Run, index: int, cell: Cell) -> str:
        fixed = self._fixed(index, cell)
        names = [f"r{index}_{k}" for k in range(_parts(fixed.format))]
        run.add(fixed.order, fixed.format, names)
        own = {"v": f"v{index}"}
        run.after += [line.format(*names, **own) for line in fixed.lines]
        return fixed.value.format(*names, **own)

    def _flush(self, run: _Run) -> list[str]:
        """The unpacking of a run, and the statements that use it."""
        if not run.parts:
            return []
        if len(run.parts) == 1 and run.parts[0][1] == "B":
            return [f"{run.parts[0][2][0]} = d[p + {run.skip}]", *run.after]
        orders = {order for order, _, _ in run.parts if order}
        if len(orders) < 2:
            return [self._struct(run, orders.pop() if orders else "<", {"", "<", ">"}), *run.after]
        return [self._struct(run, "<", {"", "<"}), self._struct(run, ">", {">"}), *run.after]

    def _struct(self, run: _Run, order: str, wanted: set[str]) -> str:
        text, names = f"{order}{run.skip}x", []
        for part, format_, parts in run.parts:
            if part in wanted:
                text += format_
                names += parts
            else:
                text += f"{struct.calcsize('<' + format_)}x"
        name = self.give(text, struct.Struct(text).unpack_from)
        return f"{', '.join(names)}, = {name}(d, p)"

    def _sized(self, index: int, cell: Cell, x: str) -> str:
        """The value of bytes of variable length."""
        wire, kind = cell.mapped.wire, cell.column.type.kind
        if wire in _TEXT and kind is Kind.STRING and cell.charset is not None:
            return self._text(cell.charset, x)
        if wire in _TEXT and kind is Kind.JSON:
            return f"{x}.decode()"
        if wire in _TEXT and kind is Kind.BYTES and cell.native.name != "binary":
            return x
        return f"{self.give(('value', index), cell.value)}({x})"

    def _text(self, charset: str, x: str) -> str:
        if charset in UTF8:
            return f"{x}.decode()"
        characters = table(charset)
        if characters is not None:
            return f"charmap({x}, 'strict', {self.give(charset, characters)})[0]"
        return f"{self.give(charset, decoder(charset))}({x})"

    def _fixed(self, index: int, cell: Cell) -> Fixed:
        wire, unsigned = cell.mapped.wire, cell.native.unsigned
        if cell.column.type.kind is Kind.BOOL:
            return Fixed("", "B", "({0} != 0)")
        if wire in _SIGNED:
            letter = _SIGNED[wire]
            return Fixed("<" if cell.size > 1 else "", letter.upper() if unsigned else letter, "{0}")
        if wire in _SIMPLE:
            return _SIMPLE[wire]
        match wire:
            case Wire.INT24:
                return Fixed("<", "HB" if unsigned else "Hb", "({0} | {1} << 16)")
            case Wire.NEWDECIMAL:
                return self._decimal(index, cell)
            case Wire.ENUM:
                return self._labeled(cell, ("", *cell.native.labels))
            case Wire.SET if cell.size in _LETTERS:
                return self._labeled(cell, Members(cell.native.labels))
            case Wire.DATETIME2:
                return _datetime(cell.mapped.scale)
            case Wire.TIMESTAMP2:
                return _timestamp(cell.mapped.scale)
        value = self.give(("value", index), cell.value)
        return Fixed("", f"{cell.size}s", f"{value}({{0}})")

    def _labeled(self, cell: Cell, labels: object) -> Fixed:
        name = self.give((cell.mapped.wire, cell.native.labels), labels)
        return Fixed("<" if cell.size > 1 else "", _LETTERS[cell.size], f"{name}[{{0}}]")

    def _decimal(self, index: int, cell: Cell) -> Fixed:
        groups = decimals.groups(cell.mapped.precision, cell.mapped.scale)
        if len(groups) > 4 or any(size == 3 for size, _ in groups):
            value = self.give(("value", index), cell.value)
            return Fixed("", f"{cell.size}s", f"{value}({{0}})")
        format_ = "".join(_LETTERS[size] for size, _ in groups)
        order = ">" if any(size > 1 for size, _ in groups) else ""
        return Fixed(order, format_, _decimal_sum(groups))


def _decimal_sum(groups: Sequence[tuple[int, int]]) -> str:
    """The unscaled value of a decimal: a sum of products of its groups, for positive and negative numbers
    but for a constant, since inverting all bits is subtracting from the largest number."""
    terms, positive, negative, weight = [], 0, 0, 1
    plus, minus = [], []
    for place in reversed(range(len(groups))):
        size, digits = groups[place]
        # In the first group the sign bit lies between: there zero is in the middle.
        zero = 0 if place else 1 << 8 * size - 1
        most = (1 << 8 * size) - 1 if place else zero - 1
        terms.append(f"{{{place}}} * {weight}" if weight > 1 else f"{{{place}}}")
        positive += zero * weight
        negative += most * weight
        # A group of more digits than it may have is for the plain reader to refuse.
        plus.append(f"{zero} <= {{{place}}} < {zero + 10**digits}" if zero else f"{{{place}}} < {10**digits}")
        minus.append(f"{most - 10**digits} < {{{place}}} <= {most}")
        weight *= 10**digits
    total = " + ".join(terms)
    return (
        f"({total} - {positive} if {' and '.join(plus)}"
        f" else {total} - {negative} if {' and '.join(minus)} else refuse())"
    )


_SIMPLE: Final = {
    Wire.FLOAT: Fixed("<", "f", "{0}"),
    Wire.DOUBLE: Fixed("<", "d", "{0}"),
    Wire.YEAR: Fixed("", "B", "({0} + 1900 if {0} else 0)"),
    Wire.DATE: Fixed("", "3s", "({v} if {v} is not None else odd_date(odd, {0}))", ["{v} = DAYS[{0}]"]),
}


def _parts(format_: str) -> int:
    return len(struct.unpack("<" + format_, bytes(struct.calcsize("<" + format_))))


def _datetime(digits: int) -> Fixed:
    width = (digits + 1) // 2
    if width == 3:
        date, clock, second = "{0} >> 41", "{0} >> 30 & 2047", "{0} >> 24 & 63"
        format_, packed, micros = "Q", "{0} >> 24", "({0} & 0xffffff)"
    elif width:
        format_ = "IHB" if width == 2 else "IH"
        date, clock, second = "{0} >> 9", "({0} << 2 | {1} >> 14) & 2047", "{1} >> 8 & 63"
        packed = "({0} << 8 | {1} >> 8)"
        micros = "(({1} & 255) << 8 | {2}) * 100" if width == 2 else "({1} & 255) * 10000"
    else:
        format_, packed, micros = "IB", "({0} << 8 | {1})", ""
        date, clock, second = "{0} >> 9", "({0} << 2 | {1} >> 6) & 2047", "{1} & 63"
    lines = [f"{{v}} = DATES[{date}]"]
    good = f"{{v}} + CLOCK[{clock}] + SECONDS[{second}]"
    if not micros:
        odd = f"odd_datetime(odd, 0, {packed}, 0)"
        return Fixed(">", format_, f"({good} if {{v}} is not None else {odd})", lines)
    lines.append(f"{{v}}f = {micros}")
    odd = f"odd_datetime(odd, {digits}, {packed}, {{v}}f)"
    usual = "{v} is not None and {v}f < 1000000"
    return Fixed(">", format_, f"({good} + {{v}}f if {usual} else {odd})", lines)


def _timestamp(digits: int) -> Fixed:
    width = (digits + 1) // 2
    if not width:
        return Fixed(">", "I", "({0} * 1000000 if {0} else odd_timestamp(odd, 0, 0))")
    format_, micros = {
        1: ("IB", "{1} * 10000"), 2: ("IH", "{1} * 100"), 3: ("IHB", "({1} << 8 | {2})"),
    }[width]  # fmt: skip
    value = (
        f"({{0}} * 1000000 + {{v}}f if {{0}} and {{v}}f < 1000000"
        f" else refuse() if {{0}} else odd_timestamp(odd, {digits}, {{v}}f))"
    )
    return Fixed(">", format_, value, [f"{{v}}f = {micros}"])


def indent(lines: Iterable[str], width: int) -> list[str]:
    """The lines, further in."""
    return [" " * width + line for line in lines]


def refuse() -> None:
    """What generated code calls for a value that is none."""
    raise ValueError("not a value")
