"""Physical values as Postgres reads them: text parameters, and lines for ``copy``; compiled per table.

``params`` gives tuples of texts for statements, ``lines`` one text for ``copy … from stdin``. Both are
generated functions over full rows; the functions for single values are chosen by the logical type and by
the type of the column that takes the value, for a decimal looks otherwise in ``text`` than in ``numeric``.
Escapes (see :mod:`liberator.schema`) are text of their database already: those of another kind of database
are looked at before they are sent. Only integers enter the generated source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from connectors.postgres.sink.column_types import Spelled
from connectors.postgres.types.arrays import delimiter
from connectors.sql import spelling
from connectors.sql.dialect import Encode
from connectors.sql.sink.table import TargetColumn
from liberator.codec.json_value import digits
from liberator.errors import SinkError
from liberator.event import Row
from liberator.schema import ESCAPABLE, Kind, LogicalType

Convert = Callable[[Any], str | None]
Lines = Callable[[Sequence[Row]], str]

#: What ``TableSchema.dialect`` calls Postgres.
NAME = "postgresql"
NULL = "\\N"
#: Types that store any text as it is.
TEXTUAL = {"text", "character varying", "bpchar", "character"}
#: Kinds whose text never needs an escape in ``copy``.
CLEAN = {Kind.BOOL, Kind.FLOAT32, Kind.FLOAT64}
#: The same for Postgres's own escapes.
TEMPORAL = {Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.INTERVAL}
INTEGERS = {Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64}
#: Kinds whose value is the text that Postgres reads.
TEXTS = {Kind.STRING, Kind.JSON, Kind.ENUM, Kind.NATIVE, Kind.UUID, Kind.BITS}
_DATE = r"\d{4,7}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_TIME = r"\d\d:\d\d:\d\d(?:\.\d+)?"
#: Escapes that Postgres reads. What another database has beyond these, Postgres has no place for.
READABLE = {
    Kind.DECIMAL: re.compile(r"NaN|-?Infinity"),
    Kind.DATE: re.compile(rf"-?infinity|{_DATE}(?: BC)?"),
    Kind.TIME: re.compile(r"24:00:00"),
    Kind.TIMESTAMP: re.compile(rf"-?infinity|{_DATE} {_TIME}(?: BC)?"),
    Kind.TIMESTAMPTZ: re.compile(rf"-?infinity|{_DATE} {_TIME}\+00(?::00)?(?: BC)?"),
    Kind.INTERVAL: re.compile(r"-?infinity"),
    Kind.ARRAY: re.compile(r"[\[{].*", re.DOTALL),
}
#: A time of another database that goes beyond a day; an interval is what reads one.
_SPAN = re.compile(r"-?\d+:\d\d:\d\d(?:\.\d+)?")
#: Elements that need no quotes in an array; ``null`` is not one.
_BARE = re.compile(r"(?!null$)[A-Za-z0-9_.:+\-]+", re.IGNORECASE)


def params(columns: Sequence[TargetColumn], origin: str, lossy: bool) -> Encode:
    """A generated function from full rows to tuples of texts, None for null."""
    names = {f"f{c.index}": converter(c, origin, lossy) for c in columns}
    cells = [f"(None if r[{c.index}] is None else f{c.index}(r[{c.index}]))" for c in columns]
    made: Encode = eval(f"lambda rows: [({', '.join(cells)},) for r in rows]", dict(names))
    return made


def lines(columns: Sequence[TargetColumn], width: int | None, origin: str, lossy: bool) -> Lines:
    """A generated function from full rows to what ``copy`` reads in its text format.

    ``width``: all rows have exactly this many values; None: they may differ.
    """
    names: dict[str, Any] = {"N": NULL, "escape": escape, "NOTHING": ""}
    cells = "\\t".join(_inline(c, "v{}" if width else "r[{}]", names, origin, lossy) for c in columns)
    loop = ", ".join(f"v{i}" for i in range(width)) + "," if width else "r"
    made: Lines = eval(f"lambda rows: ''.join([f\"{cells}\\n\" for {loop} in rows])", names)
    return made


def _inline(column: TargetColumn, place: str, names: dict[str, Any], origin: str, lossy: bool) -> str:
    """The part of an f-string that writes one column; the functions it calls are put into ``names``."""
    index, type_ = column.index, column.column.type
    value, function = place.format(index), f"f{index}"
    if type_.kind in INTEGERS:
        return f"{{N if {value} is None else {value}}}"
    if type_.kind in TEXTS:
        return f"{{N if {value} is None else escape({value})}}"
    if type_.kind is Kind.DECIMAL and type_.scale is not None and origin == NAME and _is_number(column):
        # The unscaled value with an exponent; an escape, which is a str, stands alone.
        names[f"e{index}"] = f"e{-type_.scale}" if type_.scale else ""
        return f"{{N if {value} is None else {value}}}{{e{index} if type({value}) is int else NOTHING}}"
    convert = converter(column, origin, lossy)
    clean = type_.kind in CLEAN or (type_.kind in TEMPORAL and origin == NAME)
    names[function] = convert if clean else _cell(convert)
    return f"{{N if {value} is None else {function}({value})}}"


def _cell(convert: Convert) -> Convert:
    """A value's text, escaped for ``copy``."""

    def cell(value: Any) -> str:
        text = convert(value)
        return NULL if text is None else escape(text)

    return cell


def escape(text: str) -> str:
    """``text`` as a field of ``copy``'s text format."""
    if text.isprintable() and "\\" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def converter(column: TargetColumn, origin: str, lossy: bool) -> Convert:
    """From a physical value, never None, to its text; None from it means null."""
    type_, number = column.column.type, _is_number(column)
    spell = _speller(type_, Spelled.of(column.type), number)
    if type_.kind not in ESCAPABLE:
        return spell
    if origin == NAME:
        return _unless_escaped(spell, type_)
    span = type_.kind is Kind.TIME and Spelled.of(column.type).builtin == "interval"
    readable = _SPAN if span else READABLE[type_.kind]

    def convert(value: Any) -> str | None:
        if type(value) is not str:
            return spell(value)
        if not number or readable.fullmatch(value):
            return value
        if lossy:
            return None
        raise SinkError(
            f"column {column.name}: {column.type} has no place for a value that {origin} allows in a {type_}",
            hint="allow_lossy: true writes null instead; or make the column text here",
        )

    return convert


def _is_number(column: TargetColumn) -> bool:
    """Whether the column's type reads the value, rather than storing any text."""
    return Spelled.of(column.type).base not in TEXTUAL


def _speller(type_: LogicalType, target: Spelled, read: bool) -> Convert:
    """The function for values that are no escapes."""
    match type_.kind:
        case Kind.BOOL:
            yes, no = ("t", "f") if read else ("true", "false")
            return lambda v: yes if v else no
        case Kind.INT16 | Kind.INT32 | Kind.INT64 | Kind.UINT64:
            return str
        case Kind.FLOAT32 | Kind.FLOAT64:
            return repr
        case Kind.DECIMAL:
            scale = type_.scale
            if scale is None:
                return _scientific if read else lambda v: spelling.decimal(*v)
            fixed = scale
            return (lambda v: f"{v}e{-fixed}") if read else (lambda v: spelling.decimal(v, fixed))
        case Kind.ARRAY:
            assert type_.item is not None
            comma = delimiter(type_.item)
            item = _unless_escaped(_speller(type_.item, Spelled(target.base), read), type_.item)
            return lambda v: array(v, item, comma)
        case Kind.GEOMETRY:
            prefix = "\\x" if target.base == "bytea" else ""
            return lambda v: prefix + spelling.ewkb(v).hex()
        case _:
            return _SPELL.get(type_.kind, str)


def _unless_escaped(spell: Convert, type_: LogicalType) -> Convert:
    return (lambda v: v if type(v) is str else spell(v)) if type_.kind in ESCAPABLE else spell


def _scientific(value: tuple[int, int]) -> str:
    unscaled, scale = value
    return f"{digits(unscaled)}e{-scale}"


def array(items: Sequence[Any], item: Convert, comma: str = ",") -> str:
    """One dimension of elements as an array literal; ``comma`` is what the type has between them."""
    return "{" + comma.join(["NULL" if v is None else _element(item(v) or "") for v in items]) + "}"


def _element(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_SPELL: dict[Kind, Convert] = {
    Kind.BYTES: lambda v: "\\x" + v.hex(),
    Kind.DATE: spelling.date,
    Kind.TIME: spelling.time,
    Kind.TIMESTAMP: spelling.timestamp,
    Kind.TIMESTAMPTZ: lambda v: spelling.timestamp(v, "+00"),
    Kind.INTERVAL: spelling.interval,
}
