"""Decoders for row changes of one shape: which columns are null, unchanged, long.

In pgoutput's tuples the bytes ``t 0 0 0`` stand before each column that is sent and shorter than 256
bytes, and nowhere else, for a text holds no zero byte. A ``split`` at them does the walking over the
columns, if it is known what else stands between the pieces: that is the shape. A table's rows come in a
few shapes, which are learned from the rows. For each, code is generated that takes the pieces and goes
on to whatever comes next if they are not exactly of its shape. The lengths that stand before the values
are the proof: every piece must be as long as it says.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connectors.postgres.types.inline import Writer, row
from connectors.postgres.wal.tuples import KEY
from liberator.schema import TableSchema

SEPARATOR: Final = b"t\0\0\0"
#: A shape is worth compiling when it was seen this often; no more than so many of a relation are, and
#: fewer if it is wide.
_OFTEN: Final = 8
_MOST: Final = 24
_MOST_COLUMNS: Final = 1_000
#: Rows of other shapes after which nothing more is learned.
_ENOUGH: Final = 5_000

_length = struct.Struct(">i").unpack_from


@dataclass(frozen=True, slots=True)
class Shape:
    """``before`` and ``after`` have a letter per column: t sent, T sent and of 256 bytes or more, n null,
    u unchanged; they are None where the message has no such row. ``kind`` is the old row's."""

    kind: int | None
    before: str | None
    after: str | None

    @property
    def pieces(self) -> int:
        """How many pieces a split gives."""
        return 1 + (self.before or "").count("t") + (self.after or "").count("t")


def shape_of(data: bytes, offset: int) -> Shape:
    """The shape of a row change, which must be whole."""
    kind, at = data[offset + 5], offset + 6
    if kind == ord("N"):
        return Shape(None, None, _letters(data, at)[0])
    before, at = _letters(data, at)
    return Shape(kind, before, _letters(data, at + 1)[0] if at < len(data) else None)


def _letters(data: bytes, at: int) -> tuple[str, int]:
    letters = []
    count = int.from_bytes(data[at : at + 2], "big")
    at += 2
    for _ in range(count):
        letter = chr(data[at])
        at += 1
        if letter == "t":
            (length,) = _length(data, at)
            at += 4 + length
            letter = "t" if length < 256 else "T"
        letters.append(letter)
    return "".join(letters), at


class Learner:
    """Counts the shapes of rows for which there is no code yet. ``known`` are those that had enough."""

    __slots__ = ("_most", "_rows", "_seen", "known", "learning")

    def __init__(self, columns: int) -> None:
        self.known: list[Shape] = []
        self.learning = True
        self._most = min(_MOST, 1 + _MOST_COLUMNS // max(1, columns))
        self._seen: dict[Shape, int] = {}
        self._rows = 0

    def saw(self, data: bytes, offset: int) -> Shape | None:
        """Take note of a row change; gives its shape if it is to be compiled now."""
        shape = shape_of(data, offset)
        seen = self._seen[shape] = self._seen.get(shape, 0) + 1
        if seen == _OFTEN:
            self.known.append(shape)
        self._rows += 1
        if self._rows == _ENOUGH or len(self.known) == self._most:
            self.learning = False
            self._seen.clear()
        return shape if seen == _OFTEN else None


#: Something between two pieces: bytes that must stand there, or the variable of a long value.
_Item = bytes | str


class ShapeWriter:
    """Writes the code for one shape. It finds the message's pieces in the variable ``s``, its size in
    ``size`` and its offset in ``off``; it returns what the decoder's function is to return, or does
    ``otherwise``. An insert's shape is also an update's that has no old row: then it returns the row."""

    def __init__(self, writer: Writer, schema: TableSchema, identity: Sequence[bool]):
        self._writer = writer
        self._count = len(schema.columns)
        self._identity = identity

    def lines(self, shape: Shape, otherwise: str, give: str = "return {}") -> list[str]:
        """The statements, for a function whose first line is ``GLOBAL``; ``give`` returns the result."""
        gaps = self._gaps(shape)
        names = [name for name, _ in gaps]
        checks, cuts, loose, rest = [], [], [], ["len(h)"]
        for name, items in gaps:
            if not items and name != "h":
                loose.append(name)
                continue
            lines = _check(name, items)
            checks += [line.replace("OTHERWISE", otherwise) for line in lines]
            if name != "h":
                rest.append(f"len({name})")
                cuts.append(f"{name} = {name}[:{name}[0] + 1]")
        if loose:
            # What is left of the size for the pieces with nothing behind them is what they need.
            fixed = 4 * (len(names) - 1) + len(loose)
            needed = _sum([f"{name}[0]" for name in loose])
            checks.append(f"if size - {_sum(rest)} - {fixed} != {needed}: {otherwise}")
        return [f"{', '.join(names)}, = s", *checks, *cuts, *self._result(shape, give)]

    def _gaps(self, shape: Shape) -> list[tuple[str, list[_Item]]]:
        """The pieces' variables, each with what stands behind it; first ``h``, the header."""
        gaps: list[tuple[str, list[_Item]]] = [("h", [])]

        def literal(what: bytes) -> None:
            items = gaps[-1][1]
            if items and isinstance(items[-1], bytes):
                items[-1] += what
            else:
                items.append(what)

        for letter, kinds in (("o", shape.before), ("c", shape.after)):
            if kinds is None:
                continue
            if letter == "c" and shape.before is not None:
                literal(b"N" + self._count.to_bytes(2, "big"))
            for i, kind in enumerate(kinds):
                if kind == "t":
                    gaps.append((f"{letter}{i}", []))
                elif kind == "T":
                    gaps[-1][1].append(f"{letter}{i}")
                else:
                    literal(kind.encode())
        return gaps

    def _result(self, shape: Shape, give: str) -> list[str]:
        lines: list[str] = []
        before, after = [], []
        for i, kind in enumerate(shape.before or ""):
            if shape.kind == KEY and not self._identity[i]:
                before.append("ABSENT")
            else:
                before.append(self._value(lines, i, kind, f"o{i}", "ABSENT"))
        for i, kind in enumerate(shape.after or ""):
            # Unchanged is equal to what was, if we were told what was.
            after.append(self._value(lines, i, kind, f"c{i}", before[i] if before else "ABSENT"))
        if shape.before is None:
            result = row(after)
        elif shape.after is None:
            result = f"({row(before)}, {shape.kind})"
        else:
            result = f"({row(before)}, {row(after)}, {shape.kind})"
        return [*lines, give.format(result)]

    def _value(self, lines: list[str], index: int, kind: str, name: str, unchanged: str) -> str:
        if kind == "t":
            lines += self._writer.parse(index, name, f"v{name}")
            return f"v{name}"
        if kind == "T":
            lines.append(f"v{name} = {self._writer.value(index, name)}")
            return f"v{name}"
        return "None" if kind == "n" else unchanged


def _check(name: str, items: list[_Item]) -> list[str]:
    """Statements that do OTHERWISE unless ``items``, and nothing else, follow the text in ``name``."""
    end = "off + 8" if name == "h" else f"{name}[0] + 1"
    if not items:
        return [f"if len({name}) != {end}: OTHERWISE"]
    if len(items) == 1 and isinstance(items[0], bytes):
        return [f"if {name}[{end}:] != {items[0]!r}: OTHERWISE"]
    lines = [f"p = {end}"]
    for item in items:
        if isinstance(item, bytes):
            lines += [f"if {name}[p:p + {len(item)}] != {item!r}: OTHERWISE", f"p += {len(item)}"]
        else:
            lines += [
                f"if {name}[p:p + 1] != b't': OTHERWISE",
                f"(n,) = length({name}, p + 1)",
                f"{item} = {name}[p + 5:p + 5 + n]",
                "p += 5 + n",
            ]
    return [*lines, f"if p != len({name}): OTHERWISE"]


def _sum(terms: Sequence[str]) -> str:
    # In groups: a thousand additions in a row nest too deeply for the compiler.
    groups = [" + ".join(terms[i : i + 40]) for i in range(0, len(terms), 40)]
    return "(" + " + ".join(f"({group})" for group in groups) + ")"
