"""Parsing expressions for generated decoders: the usual case of the usual types, in line.

Only integers and ``repr`` of our own literals enter the source; enum labels and parse functions reach
it as objects in the generated function's globals. What the usual case is not, an expression either
hands to the type's parse function (NaN, infinity, BC) or answers with one of :data:`TROUBLE`, upon
which the caller decodes the row again with the parsers of :mod:`connectors.postgres.values`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

from connectors.postgres.temporal import BYTE_DAYS, BYTE_MINUTES, DAYS, MINUTES
from connectors.postgres.values import UnknownLabel, parser
from liberator.event import ABSENT
from liberator.schema import Kind, LogicalType

#: What in-line code raises on text that it cannot take.
TROUBLE: Final = (ValueError, LookupError, TypeError, ArithmeticError, struct.error, UnknownLabel)


class Writer:
    """Writes expressions over ``str`` or, with ``binary``, over ``bytes``; runs the source they end in."""

    def __init__(self, binary: bool):
        self.binary = binary
        self.globals: dict[str, Any] = {
            "ABSENT": ABSENT,
            "TROUBLE": TROUBLE,
            "DAYS": BYTE_DAYS if binary else DAYS,
            "MINUTES": BYTE_MINUTES if binary else MINUTES,
        }
        self._given: dict[object, str] = {}

    def run(self, source: Iterable[str], what: str) -> dict[str, Any]:
        """Execute the lines; returns their globals. ``what`` stands for a file name in tracebacks."""
        exec(compile("\n".join(source), f"<{what}>", "exec"), self.globals)
        return self.globals

    def value(self, type_: LogicalType, x: str, start: int = 0) -> str:
        """An expression for the value whose text is ``x[start:]``; ``x`` is a variable's name.

        With ``start`` 1, the byte before the text is the text's length.
        """
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
        return f"{text}.decode()" if self.binary else text

    def _give(self, key: object, thing: object) -> str:
        name = self._given.setdefault(key, f"t{len(self._given)}")
        self.globals[name] = thing
        return name

    def _lookup(self, type_: LogicalType, table: dict[str, Any], x: str, start: int) -> str:
        # The length before a text is made part of the key, which saves the slice.
        keys: dict[Any, Any] = dict(table)
        if self.binary:
            keys = {text.encode(): value for text, value in table.items()}
        if start:
            keys = {bytes([len(key)]) + key: value for key, value in keys.items()}
        return f"{self._give((type_, start), keys)}[{x}]"

    def _is(self, x: str, index: int, character: str) -> str:
        return f"{x}[{index}] == {ord(character) if self.binary else repr(character)}"

    def _decimal(self, type_: LogicalType, scale: int, x: str, start: int) -> str:
        text = f"{x}[{start}:]" if start else x
        dot, nothing = (b".", b"") if self.binary else (".", "")
        # NaN is shorter than some scales.
        long = f"len({x}) > {scale + start} and " if scale > 2 else ""
        return (
            f"(int({text}.replace({dot!r}, {nothing!r}, 1)) if {long}{self._is(x, -scale - 1, '.')}"
            f" else {self._parsed(type_, text)})"
        )

    def _stamp(self, type_: LogicalType, x: str, start: int) -> str:
        text = f"{x}[{start}:]" if start else x
        # Infinity, BC and five-digit years each fail one of these.
        if type_.kind is Kind.TIMESTAMPTZ:
            usual, seconds = self._is(x, -3, "+"), f"{x}[{start + 17}:-3]"
        else:
            usual, seconds = f"len({x}) > {start + 18} and {x}[-1] != ", f"{x}[{start + 17}:]"
            usual += f"{ord('C') if self.binary else repr('C')}"
        usual += " and " + self._is(x, start + 10, " ")
        # A double holds 60 seconds to 2**-47: rounding to microseconds is exact, whatever the digits.
        minute = f"MINUTES[{x}[{start}:{start + 16}]]"
        return f"({minute} + round(float({seconds}) * 1e6) if {usual} else {self._parsed(type_, text)})"


def row(values: Iterable[str]) -> str:
    """The source of a tuple of expressions."""
    return "(" + "".join(f"{value}, " for value in values) + ")"
