"""Parsing in generated code: the usual case of the usual types, in line.

Only integers and ``repr`` of our own literals enter the source; enum labels and parse functions reach
it as objects in the generated functions' globals. What the usual case is not, the code either hands to
the type's parse function (NaN, infinity, BC) or answers with one of :data:`TROUBLE`, upon which the
caller reads the row again with the parsers of :mod:`.values`.

To look up costs less than to parse, so what repeats is remembered: columns of few values have a dict
from text to value (:class:`Remembered`), and a timestamp is first compared with the row's before it, for
all rows of a transaction that took ``now()`` have the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from connectors.postgres.types.temporal import BYTE_DAYS, BYTE_MINUTES, DAYS, MINUTES
from connectors.postgres.types.values import Parse, UnknownLabel, parser
from liberator.event import ABSENT
from liberator.schema import Kind, LogicalType, TableSchema

#: What in-line code raises on text that it cannot take.
TROUBLE: Final = (ValueError, LookupError, TypeError, ArithmeticError, struct.error, UnknownLabel)

#: A column with more distinct values than this, or with longer texts, is not worth a dict.
_FEW: Final = 128
_SHORT: Final = 64
#: Types of which columns with few values are common.
_REPEATING: Final = {
    Kind.INT16, Kind.INT32, Kind.INT64, Kind.DECIMAL, Kind.STRING, Kind.TIME, Kind.INTERVAL, Kind.ARRAY,
    Kind.NATIVE,
}  # fmt: skip


class Remembered(dict[Any, Any]):
    """``text → value`` of a column, as long as its values are few and short; when they prove not to be,
    nothing more is taken in and ``overflow`` is called. A key is a ``str``, or ``bytes`` that begin with
    the text's length."""

    def __init__(self, parse: Parse, overflow: Callable[[], None]):
        super().__init__()
        self._parse = parse
        self._overflow = overflow
        self._full = False

    @property
    def promising(self) -> bool:
        """Whether the column is not on its way to too many values."""
        return not self._full and len(self) < _FEW // 2

    def __missing__(self, key: Any) -> Any:
        if isinstance(key, str):
            value = self._parse(key)
        else:
            if key[0] != len(key) - 1:
                raise ValueError("a length that is not the text's")
            value = self._parse(key[1:].decode())
        if not self._full:
            if len(self) < _FEW and len(key) <= _SHORT:
                self[key] = value
            else:
                self._full = True
                self._overflow()
        return value


class Writer:
    """Writes the statements that parse a table's columns, and runs the source that they end in.

    ``binary``: texts are ``bytes``, else ``str``. ``plain`` holds the columns that have proved to have
    many values; ``overflow`` is called when there are more of them, which :meth:`many` then names.
    """

    def __init__(
        self,
        schema: TableSchema,
        binary: bool,
        plain: Collection[int],
        overflow: Callable[[], None],
    ):
        self.globals: dict[str, Any] = {
            "ABSENT": ABSENT,
            "TROUBLE": TROUBLE,
            "DAYS": BYTE_DAYS if binary else DAYS,
            "MINUTES": BYTE_MINUTES if binary else MINUTES,
        }
        self._types = tuple(column.type for column in schema.columns)
        self._binary = binary
        self._given: dict[object, str] = {}
        self._before: set[str] = set()
        self._overflow = overflow
        self._remembered: list[tuple[int, Remembered]] = []
        for i, type_ in enumerate(self._types):
            if type_.kind in _REPEATING and i not in plain and i not in schema.key:
                self._remember(i, f"r{i}", parser(type_))
        self._repeating = frozenset(i for i, _ in self._remembered)

    def _remember(self, index: int, name: str, parse: Parse) -> None:
        """Make a dict of this name, for the values of a column."""
        self.globals[name] = Remembered(parse, self._overflow)
        self._remembered.append((index, self.globals[name]))

    def many(self) -> set[int]:
        """The columns whose values are too many to be remembered, or will soon be."""
        return {i for i, values in self._remembered if not values.promising}

    def run(self, source: Iterable[str], what: str) -> dict[str, Any]:
        """Execute the lines; returns their globals. ``what`` stands for a file name in tracebacks."""
        # The functions of this source keep what they saw last in globals, which they must declare.
        names = ", ".join(sorted(self._before))
        lines = [line.replace("GLOBAL", f"global {names}" if names else "pass") for line in source]
        exec(compile("\n".join(lines), f"<{what}>", "exec"), self.globals)
        return self.globals

    def parse(self, index: int, x: str, result: str) -> list[str]:
        """Statements that set the variable ``result`` to the value of a column. The variable ``x`` holds
        its text; if that is bytes, behind one that is the text's length.

        They belong into a function whose first line is ``GLOBAL``.
        """
        type_, start = self._types[index], 1 if self._binary else 0
        if index in self._repeating:
            return [f"{result} = r{index}[{x}]"]
        expression = self.value(index, x, start)
        if type_.kind not in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
            return [f"{result} = {expression}"]
        text, value = f"text_{x}", f"value_{x}"
        self.globals |= {text: None, value: None}
        self._before |= {text, value}
        return [
            f"if {x} != {text}:",
            f"  {value} = {expression}",
            f"  {text} = {x}",
            f"{result} = {value}",
        ]

    def value(self, index: int, x: str, start: int = 0) -> str:
        """An expression for a column's value, whose text is ``x[start:]``; ``x`` is a variable."""
        type_ = self._types[index]
        text = f"{x}[{start}:]" if start else x
        match type_.kind:
            case Kind.INT16 | Kind.INT32 | Kind.INT64 | Kind.UINT64:
                return f"int({text})"
            case Kind.FLOAT64:
                return f"float({text})"
            case Kind.BOOL:
                return self._lookup(type_, {"t": True, "f": False}, x, start)
            case Kind.ENUM:
                return self._lookup(type_, {label: label for label in type_.values}, x, start)
            case Kind.DATE:
                return f"DAYS[{text}]"
            case Kind.STRING | Kind.JSON | Kind.NATIVE:
                return self._decoded(text)
            case Kind.DECIMAL if type_.scale is not None and type_.scale > 0:
                return self._decimal(type_, type_.scale, x, start)
            case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
                return self._stamp(type_, x, start)
            case _:
                return self._parsed(type_, text)

    def _parsed(self, type_: LogicalType, text: str) -> str:
        return f"{self._give(type_, parser(type_))}({self._decoded(text)})"

    def _decoded(self, text: str) -> str:
        return f"{text}.decode()" if self._binary else text

    def _give(self, key: object, thing: object) -> str:
        name = self._given.setdefault(key, f"t{len(self._given)}")
        self.globals[name] = thing
        return name

    def _lookup(self, type_: LogicalType, table: dict[str, Any], x: str, start: int) -> str:
        # The length before a text is made part of the key, which saves the slice.
        keys: dict[Any, Any] = dict(table)
        if self._binary:
            keys = {text.encode(): value for text, value in table.items()}
        if start:
            keys = {bytes([len(key)]) + key: value for key, value in keys.items()}
        return f"{self._give((type_, start), keys)}[{x}]"

    def _is(self, x: str, index: int, character: str) -> str:
        return f"{x}[{index}] == {ord(character) if self._binary else repr(character)}"

    def _decimal(self, type_: LogicalType, scale: int, x: str, start: int) -> str:
        text = f"{x}[{start}:]" if start else x
        dot, nothing = (b".", b"") if self._binary else (".", "")
        # NaN is shorter than some scales.
        long = f"len({x}) > {scale + start} and " if scale > 2 else ""
        return (
            f"(int({text}.replace({dot!r}, {nothing!r}, 1)) if {long}{self._is(x, -scale - 1, '.')}"
            f" else {self._parsed(type_, text)})"
        )

    def _stamp(self, type_: LogicalType, x: str, start: int) -> str:
        text = f"{x}[{start}:]" if start else x
        # Infinity fails here, as does another zone than UTC; BC and five-digit years, rarer, fail in the
        # expression itself.
        if type_.kind is Kind.TIMESTAMPTZ:
            usual, seconds = f"{x}[-3:] == {b'+00' if self._binary else '+00'!r}", f"{x}[{start + 17}:-3]"
        else:
            usual, seconds = f"len({x}) > {start + 18}", f"{x}[{start + 17}:]"
        # A double holds 60 seconds to 2**-47: rounding to microseconds is exact, whatever the digits.
        minute = f"MINUTES[{x}[{start}:{start + 16}]]"
        return f"({minute} + round(float({seconds}) * 1e6) if {usual} else {self._parsed(type_, text)})"


def row(values: Iterable[str]) -> str:
    """The source of a tuple of expressions."""
    return "(" + "".join(f"{value}, " for value in values) + ")"
