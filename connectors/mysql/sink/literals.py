"""Physical values as literals of SQL, as MySQL and MariaDB read them; compiled per table.

``params`` gives tuples of literals for statements that are run row by row, ``lines`` one row of a
``values (…), (…)`` for each row. Both are generated functions over full rows; what a value looks like
depends on its logical type and on the column that takes it, for a decimal is a number in ``decimal`` and a
string in ``longtext``. A session of ours knows no backslash escapes, so a quote is all that has to be
doubled (see :mod:`connectors.mysql.connection`). Only integers enter the generated source.

A value that its column has no place for (infinity, a date of another calendar, a number that JSON here would
round) is refused, or null where losses are allowed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

from connectors.mysql.native import GEOMETRIES
from connectors.mysql.sink.column_types import CHARS, MYSQL, Flavour, Spelled
from connectors.sql import spelling
from connectors.sql.dialect import Encode
from connectors.sql.sink.table import TargetColumn
from liberator.errors import SinkError
from liberator.event import Row
from liberator.schema import ESCAPABLE, Kind, LogicalType

#: From a physical value, never None, to a literal; None where the column has no place for it.
Convert = Callable[[Any], str | None]
#: From full rows to ``(…)`` for each.
Lines = Callable[[Sequence[Row]], list[str]]

NULL = "null"
INTEGERS = {Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64}
#: Kinds whose value is text already.
TEXTS = {Kind.STRING, Kind.ENUM, Kind.NATIVE, Kind.UUID, Kind.BITS, Kind.JSON}
#: Moments of a ``datetime``: the years 1 to 9999, in microseconds since 1970; of a ``timestamp``: as long as
#: seconds since 1970 are a 32-bit number, and 0 is none.
DATETIMES = (-62_135_596_800_000_000, 253_402_300_799_999_999)
TIMESTAMPS = (1_000_000, 2_147_483_647_999_999)
_DAY = 86_400_000_000
_DATE = r"\d{4}-\d\d-\d\d"
#: Escapes that a column reads. What another database has beyond these, there is no place for.
READABLE = {
    "date": re.compile(_DATE),
    "datetime": re.compile(rf"{_DATE} \d\d:\d\d:\d\d(?:\.\d+)?"),
    "timestamp": re.compile(rf"{_DATE} \d\d:\d\d:\d\d(?:\.\d+)?"),
    "time": re.compile(r"-?(?:[0-7]?\d\d|8[0-2]\d|83[0-8]):\d\d:\d\d(?:\.\d+)?"),
}
#: What might be a number that JSON here cannot keep: sixteen digits or more, or a large exponent.
_SUSPECT = re.compile(r"[\d.]{16}|\d[eE][+-]?\d\d")


def quote(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("'", "''") + "'"


def params(columns: Sequence[TargetColumn], origin: str, lossy: bool, flavour: Flavour) -> Encode:
    """A generated function from full rows to tuples of literals."""
    names: dict[str, Any] = {"N": NULL, "Q": "'", "QQ": "''"}
    cells = ", ".join(f'f"{_inline(c, "r[{}]", names, (origin, lossy, flavour))}"' for c in columns)
    made: Encode = eval(f"lambda rows: [({cells},) for r in rows]", names)
    return made


def lines(
    columns: Sequence[TargetColumn], width: int | None, origin: str, lossy: bool, flavour: Flavour
) -> Lines:
    """A generated function from full rows to what stands behind ``values``, a text for each row.

    ``width``: all rows have exactly this many values; None: they may differ.
    """
    names: dict[str, Any] = {"N": NULL, "Q": "'", "QQ": "''"}
    place = "v{}" if width else "r[{}]"
    cells = ",".join(_inline(c, place, names, (origin, lossy, flavour)) for c in columns)
    loop = ", ".join(f"v{i}" for i in range(width)) + "," if width else "r"
    made: Lines = eval(f'lambda rows: [f"({cells})" for {loop} in rows]', names)
    return made


def _inline(column: TargetColumn, place: str, names: dict[str, Any], how: tuple[str, bool, Flavour]) -> str:
    """The part of an f-string that writes one column; the functions it calls are put into ``names``."""
    index, value, kind = column.index, place.format(column.index), column.column.type.kind
    target = Spelled.of(column.type)
    if kind in INTEGERS:
        return f"{{N if {value} is None else {value}}}"
    if kind is Kind.BOOL and not target.textual:
        return f"{{N if {value} is None else +{value}}}"
    if kind in TEXTS and target.textual and target.base not in CHARS:
        return f"{{N if {value} is None else Q + {value}.replace(Q, QQ) + Q}}"
    names[f"f{index}"] = checked(column, *how)
    # The common case without a call more: a number, and a moment that the column has.
    if kind is Kind.DECIMAL and target.base == "decimal" and column.column.type.scale is not None:
        names[f"d{index}"] = _decimal(column.column.type.scale)
        usual = f"d{index}({value}) if type({value}) is int"
    elif kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ) and target.base == "datetime":
        names["moment"] = spelling.timestamp
        low, high = DATETIMES
        usual = f"Q + moment({value}) + Q if type({value}) is int and {low} <= {value} <= {high}"
    else:
        return f"{{N if {value} is None else f{index}({value})}}"
    return f"{{N if {value} is None else {usual} else f{index}({value})}}"


def checked(column: TargetColumn, origin: str, lossy: bool, flavour: Flavour) -> Callable[[Any], str]:
    """From a physical value to its literal, where a value that has no place is refused, or null."""
    convert = converter(column, flavour)

    def cell(value: Any) -> str:
        text = convert(value)
        if text is not None:
            return text
        if lossy:
            return NULL
        raise SinkError(
            f"column {column.name}: {Spelled.of(column.type).base} has no place for a value that {origin} "
            f"allows in a {column.column.type}",
            hint="allow_lossy: true writes null instead; or make the column text here, or longer",
        )

    return cell


def converter(column: TargetColumn, flavour: Flavour) -> Convert:
    """From a physical value, never None, to its literal; None where the column has no place for it."""
    type_, target = column.column.type, Spelled.of(column.type)
    if target.textual:
        return _within(_textual(type_), target)
    spell = _speller(type_, target, flavour)
    if type_.kind not in ESCAPABLE:
        return spell
    readable = READABLE.get(target.base)

    def convert(value: Any) -> str | None:
        if type(value) is not str:
            return spell(value)
        return quote(value) if readable is not None and readable.fullmatch(value) else None

    return convert


def _within(spell: Callable[[Any], str], target: Spelled) -> Convert:
    """A string literal of what fits."""
    most = target.characters
    if target.base not in CHARS or most is None:
        return lambda v: quote(spell(v))
    longest = most

    def convert(value: Any) -> str | None:
        text = spell(value)
        return quote(text) if len(text) <= longest else None

    return convert


def _textual(type_: LogicalType) -> Callable[[Any], str]:
    """A value as text; escapes are text already."""
    plain = spelling.text(type_)
    return (lambda v: v if type(v) is str else plain(v)) if type_.kind in ESCAPABLE else plain


def _speller(type_: LogicalType, target: Spelled, flavour: Flavour) -> Convert:
    """For values that are no escapes, in columns that are no text."""
    special = _special(type_, target, flavour)
    if special is not None:
        return special
    match type_.kind:
        case Kind.FLOAT32 | Kind.FLOAT64:
            return _float
        case Kind.BYTES:
            return lambda v: f"x'{v.hex()}'"
        case Kind.BOOL:
            return lambda v: "1" if v else "0"
        case Kind.DECIMAL if type_.scale is not None:
            return _decimal(type_.scale)
        case Kind.DECIMAL | Kind.INT16 | Kind.INT32 | Kind.INT64 | Kind.UINT64:
            return spelling.text(type_)
        case Kind.DATE if target.base == "date":
            low, high = (moment // _DAY for moment in DATETIMES)
            return lambda v: f"'{spelling.date(v)}'" if low <= v <= high else None
        case Kind.DATE:
            return _moment(lambda v: spelling.timestamp(v * _DAY), target, _DAY)
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return _moment(spelling.timestamp, target, 1)
        case _:
            plain = spelling.text(type_)
            return lambda v: quote(plain(v))


def _special(type_: LogicalType, target: Spelled, flavour: Flavour) -> Convert | None:
    """For types of a column that read more than a number or a string."""
    kind = type_.kind
    match target.base:
        case "bit" if kind is Kind.BITS:
            return lambda v: f"b'{v}'"
        case "json" if kind is Kind.JSON and flavour.name == MYSQL:
            return _json
        case "vector":
            function = "string_to_vector" if flavour.name == MYSQL else "vec_fromtext"
            spell = spelling.text(type_)
            return lambda v: f"{function}({quote(spell(v))})"
        case "enum" if "" not in target.native.labels:
            # The text of index 0, which is what lax servers make of a wrong label, and ours take for none.
            return lambda v: quote(v) if v else None
        case base if base in GEOMETRIES and kind is Kind.GEOMETRY:
            return _geometry(flavour)
        case _:
            return None


def _moment(spell: Callable[[int], str], target: Spelled, unit: int) -> Convert:
    low, high = TIMESTAMPS if target.base == "timestamp" else DATETIMES
    low, high = low // unit, high // unit
    return lambda v: f"'{spell(v)}'" if low <= v <= high else None


def _decimal(scale: int) -> Callable[[int], str]:
    """From an unscaled value, which has no more digits than a decimal here, to plain digits."""
    if scale <= 0:
        return lambda v: spelling.decimal(v, scale)
    unit, form = 10**scale, f"%d.%0{scale}d"

    def spell(value: int) -> str:
        text: str = form % divmod(abs(value), unit)
        return text if value >= 0 else "-" + text

    return spell


def _float(value: float) -> str | None:
    if not isfinite(value):
        return None
    text = repr(value)
    # A literal with an exponent is a double, one without a decimal; only a string keeps the sign of zero.
    if value == 0:
        return f"'{text}'"
    return text if "e" in text else text + "e0"


def _geometry(flavour: Flavour) -> Convert:
    """The servers' own form, the SRID before the WKB, which knows little endian only."""
    order = ", 'axis-order=long-lat'" if flavour.name == MYSQL else ""

    def convert(value: tuple[bytes, int | None]) -> str | None:
        wkb, srid = value[0], value[1] or 0
        little = wkb[:1] == b"\x01"
        if not 1 <= int.from_bytes(wkb[1:5], "little" if little else "big") <= 7:
            return None  # with a third coordinate, or curved
        if little:
            return f"x'{srid.to_bytes(4, 'little').hex()}{wkb.hex()}'"
        return f"st_geomfromwkb(x'{wkb.hex()}', {srid}{order})"

    return convert


def _json(text: str) -> str | None:
    """A document whose numbers MySQL keeps: it has 64-bit integers and doubles, no others."""
    if _SUSPECT.search(text) is not None:
        try:
            json.loads(text, parse_int=_whole, parse_float=_fraction)
        except (ArithmeticError, RecursionError):
            return None
    return quote(text)


def _whole(digits: str) -> None:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise OverflowError


def _fraction(digits: str) -> None:
    try:
        exact = Decimal(repr(float(digits))) == Decimal(digits)
    except InvalidOperation:
        exact = False
    if not exact:
        raise OverflowError
