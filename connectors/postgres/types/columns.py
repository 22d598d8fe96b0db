"""Parsing in generated code, a column at a time: what takes many texts at once costs less for each.

It stands beside the statements for single values (:mod:`.inline`), which stay the measure: what is not the
usual case is read by them, and a text that they do not take raises one of TROUBLE.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import itemgetter, sub
from typing import Any, Final

from connectors.postgres.types.escapes import NULL, unescape
from connectors.postgres.types.inline import Writer
from connectors.postgres.types.values import parser
from liberator.schema import Kind, LogicalType, TableSchema

_DAY: Final = timedelta(days=1)
_MICROSECOND: Final = timedelta(microseconds=1)
#: Types of which no text has a backslash.
_BARE: Final = {
    Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64, Kind.FLOAT64, Kind.BOOL, Kind.DATE, Kind.TIMESTAMP,
    Kind.TIMESTAMPTZ, Kind.DECIMAL,
}  # fmt: skip


class ColumnWriter(Writer):
    """A :class:`Writer` for ``copy`` in text format, which writes statements for whole columns, too."""

    def __init__(self, schema: TableSchema, plain: Collection[int], overflow: Callable[[], None]):
        super().__init__(schema, False, plain, overflow)
        self.globals |= {"NULL": NULL, "unescape": unescape}

    def column(self, index: int, x: str, result: str) -> list[str]:
        """Statements that set the variable ``result`` to the values of a column in many lines of ``copy``.
        The variable ``x`` holds their fields as they came; ``escaped`` whether there is a backslash in any
        column's."""
        type_ = self._types[index]
        if index in self._repeating:
            return [f"{result} = list(map({self._fields(index)}.__getitem__, {x}))"]
        each = self.value(index, "x")
        if type_.kind in _BARE:
            # A null, or what is not the usual case, has no place among the others.
            return [
                "try:",
                f"  {result} = {self._every(index, x)}",
                "except TROUBLE:",
                f"  {result} = [None if x == NULL else {each} for x in {x}]",
            ]
        lines = [
            "if escaped:",
            f"  {x} = [None if x == NULL else unescape(x) if '\\\\' in x else x for x in {x}]",
        ]
        if each == "x":
            return [*lines, f"{result} = {x}"]
        return [
            *lines,
            f"  {result} = [None if x is None else {each} for x in {x}]",
            "else:",
            f"  {result} = {self._every(index, x)}",
        ]

    def _fields(self, index: int) -> str:
        """The name of a dict from fields to values."""
        parse = parser(self._types[index])

        def value(field: str) -> Any:
            return None if field == NULL else parse(unescape(field) if "\\" in field else field)

        self._remember(index, f"f{index}", value)
        return f"f{index}"

    def _every(self, index: int, x: str) -> str:
        """An expression for the values of many texts, none of them null or escaped."""
        type_, each = self._types[index], self.value(index, "x")
        match type_.kind:
            case Kind.INT16 | Kind.INT32 | Kind.INT64 | Kind.UINT64:
                return f"list(map(int, {x}))"
            case Kind.FLOAT64:
                return f"list(map(float, {x}))"
            case Kind.BOOL | Kind.ENUM | Kind.DATE:
                return f"list(map({each.removesuffix('[x]')}.__getitem__, {x}))"
            case Kind.DECIMAL if type_.scale is not None and type_.scale > 0:
                return f"{self._give((type_, 'all'), _decimals(type_.scale))}({x})"
            case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
                return f"{self._give((type_, 'all'), _stamps(type_))}({x})"
        return f"[{each} for x in {x}]"


def _decimals(scale: int) -> Callable[[Sequence[str]], list[int]]:
    """A function from texts with so many digits behind their points to the digits. Raises one of TROUBLE for
    any other text."""
    point = itemgetter(-scale - 1)

    def decimals(texts: Sequence[str]) -> list[int]:
        joined = " ".join(texts)
        if joined.count(".") != len(texts) or set(map(point, texts)) != {"."}:
            raise ValueError
        return list(map(int, joined.replace(".", "").split(" ")))

    return decimals


def _stamps(type_: LogicalType) -> Callable[[Sequence[str]], list[int]]:
    """A function from texts of timestamps to microseconds since 1970. Raises one of TROUBLE for texts that
    :class:`datetime.datetime` does not know."""
    zone = "+00" if type_.kind is Kind.TIMESTAMPTZ else ""
    epoch = datetime(1970, 1, 1, tzinfo=UTC if zone else None)
    parse = parser(type_)
    # With no digit behind the seconds, or one to six.
    lengths = {len(f"0000-00-00 00:00:00{zone}") + digits for digits in (0, 2, 3, 4, 5, 6, 7)}

    def stamps(texts: Sequence[str]) -> list[int]:
        # A session with other settings prints all of them otherwise: the first one tells.
        parse(texts[0])
        if not set(map(len, texts)) <= lengths:
            raise ValueError
        times = list(map(datetime.fromisoformat, texts))
        first = min(times)
        between = map(sub, times, repeat(first))
        at = (first - epoch) // _MICROSECOND
        if max(times) - first < _DAY:  # not to ask each for its days saves a third
            return [at + t.seconds * 1_000_000 + t.microseconds for t in between]
        return [at + t.days * 86_400_000_000 + t.seconds * 1_000_000 + t.microseconds for t in between]

    return stamps
