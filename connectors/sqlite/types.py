"""Types in SQLite: how a logical type is declared, whether a column fits one, how values are written.

=================  ===================  ==================================================
logical            declared             stored
=================  ===================  ==================================================
bool               BOOLEAN              0 or 1
int16 32 64        INTEGER              integer
uint64             UNSIGNED_TEXT        digits
float32 64         REAL                 real; NaN as the text NaN
decimal            DECIMAL_TEXT(p,s)    all digits, with the column's scale: 12.30
string, native     TEXT                 text
bytes              BLOB                 blob
date, time         DATE_TEXT …          2024-02-29, 12:34:56.000001
timestamp          TIMESTAMP_TEXT       2024-02-29 12:34:56.000001
timestamptz        TIMESTAMPTZ_TEXT     the same in UTC, with +00:00 behind it
interval           DURATION_TEXT        1 mons 2 days 03:04:05.000006
uuid, json, enum   UUID_TEXT …          text
array              ARRAY_TEXT           a JSON array of what the elements would be
bits               BITS_TEXT            0 and 1
geometry           GEOMETRY_BLOB        extended WKB: the SRID is inside
=================  ===================  ==================================================

Escapes are stored as they are: all columns that can hold one are TEXT.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isnan
from typing import Any

from connectors.sql import spelling
from connectors.sql.dialect import Encode, Fit
from connectors.sql.sink.table import TargetColumn
from liberator.schema import Column, Kind, LogicalType

#: Logical types by what they are declared as. No name may contain INT, or SQLite takes it for one.
DECLARED = {
    Kind.BOOL: "BOOLEAN",
    Kind.INT16: "INTEGER",
    Kind.INT32: "INTEGER",
    Kind.INT64: "INTEGER",
    Kind.UINT64: "UNSIGNED_TEXT",
    Kind.FLOAT32: "REAL",
    Kind.FLOAT64: "REAL",
    Kind.DECIMAL: "DECIMAL_TEXT",
    Kind.STRING: "TEXT",
    Kind.BYTES: "BLOB",
    Kind.DATE: "DATE_TEXT",
    Kind.TIME: "TIME_TEXT",
    Kind.TIMESTAMP: "TIMESTAMP_TEXT",
    Kind.TIMESTAMPTZ: "TIMESTAMPTZ_TEXT",
    Kind.INTERVAL: "DURATION_TEXT",
    Kind.UUID: "UUID_TEXT",
    Kind.JSON: "JSON_TEXT",
    Kind.ENUM: "ENUM_TEXT",
    Kind.ARRAY: "ARRAY_TEXT",
    Kind.BITS: "BITS_TEXT",
    Kind.GEOMETRY: "GEOMETRY_BLOB",
    Kind.NATIVE: "TEXT",
}
#: Kinds that a column of NUMERIC affinity leaves alone: integers, and text that is no number.
NUMERIC_KEEPS = {
    Kind.BOOL, Kind.INT16, Kind.INT32, Kind.INT64, Kind.DATE, Kind.TIME, Kind.TIMESTAMP,
    Kind.TIMESTAMPTZ, Kind.INTERVAL, Kind.BYTES, Kind.GEOMETRY,
}  # fmt: skip
INTEGERS = {Kind.BOOL, Kind.INT16, Kind.INT32, Kind.INT64}
FLOATS = {Kind.FLOAT32, Kind.FLOAT64}


def declared(column: Column, native: str = "") -> str:
    """The declared type of a column. ``native`` is the type at a source that is SQLite too: it is kept
    where its affinity is that of ours."""
    type_ = column.type
    ours = DECLARED[type_.kind]
    if type_.kind is Kind.DECIMAL and type_.precision is not None:
        ours = f"{ours}({type_.precision},{type_.scale})"
    return native if native and affinity(native) == affinity(ours) else ours


def affinity(type_: str) -> str:
    """The affinity of a declared type (https://www.sqlite.org/datatype3.html#determination_of_column_affinity)."""
    upper = type_.upper()
    if "INT" in upper:
        return "INTEGER"
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if not upper or "BLOB" in upper:
        return "BLOB"
    return "REAL" if any(word in upper for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def fit(existing: str, wanted: str, type_: LogicalType) -> Fit:
    """How a column declared ``existing`` suits a column that we would declare ``wanted``."""
    if existing.upper() == wanted.upper():
        return "fits"
    match affinity(existing):
        case "BLOB":
            return "fits"
        case "TEXT":
            return _fit_text(existing.upper(), wanted, type_)
        case "INTEGER":
            if type_.kind in INTEGERS:
                return "fits"
            return "widen" if type_.kind in (Kind.UINT64, Kind.DECIMAL, Kind.STRING) else "differs"
        case "REAL":
            return "fits" if type_.kind in FLOATS else "differs"
        case _:
            return "fits" if type_.kind in NUMERIC_KEEPS else "differs"


def _fit_text(existing: str, wanted: str, type_: LogicalType) -> Fit:
    """How an existing TEXT column suits. A column of the user's own, such as VARCHAR(20), takes any text."""
    if affinity(wanted) != "TEXT":
        return "differs"
    if "_TEXT" not in existing or wanted == "TEXT":
        return "fits"
    old = _scale(existing)
    if existing.startswith("DECIMAL_TEXT") and type_.kind is Kind.DECIMAL:
        if type_.scale is None or old == type_.scale:
            return "fits"
        return "widen" if old is not None and type_.scale > old else "differs"
    if existing == "DATE_TEXT" and type_.kind is Kind.TIMESTAMP:
        return "widen"
    return "widen" if existing == "UNSIGNED_TEXT" and type_.kind is Kind.DECIMAL else "differs"


def converted(column: str, existing: str, type_: LogicalType) -> str:
    """The SQL expression that turns a ``column`` declared ``existing`` into ``type_`` where ``fit`` said
    "widen": as the source's own cast would have done it."""
    value = f"cast({column} as text)"
    if type_.kind is Kind.TIMESTAMP:
        return f"case when {column} glob '*[0-9]' then {column} || ' 00:00:00' else {column} end"
    if type_.kind is Kind.DECIMAL and type_.scale:
        old = _scale(existing) or 0
        zeros = ("" if old else ".") + "0" * (type_.scale - old)
        return f"case when {column} glob '*[0-9]' then {value} || '{zeros}' else {value} end"
    return value


def _scale(type_: str) -> int | None:
    match = re.fullmatch(r"DECIMAL_TEXT\(\d+,(-?\d+)\)", type_)
    return int(match[1]) if match else None


# Values.


def encoder(columns: Sequence[TargetColumn]) -> Encode:
    """A generated function from full rows to tuples of parameters."""
    convert = {f"f{c.index}": f for c in columns if (f := converter(c.column.type)) is not None}
    if not convert and [c.index for c in columns] == list(range(len(columns))):
        width = len(columns)
        return lambda rows: rows if not rows or len(rows[0]) == width else [r[:width] for r in rows]
    parts = [
        f"(None if r[{c.index}] is None else f{c.index}(r[{c.index}]))"
        if f"f{c.index}" in convert
        else f"r[{c.index}]"
        for c in columns
    ]
    source = f"lambda rows: [({', '.join(parts)},) for r in rows]"
    return eval(source, convert)  # type: ignore[no-any-return]


def converter(type_: LogicalType) -> Callable[[Any], Any] | None:
    """From a physical value, never None, to what SQLite stores; None where that is the same."""
    if type_.kind is Kind.DECIMAL:
        return _decimal(type_.scale)
    if type_.kind is Kind.ARRAY:
        assert type_.item is not None
        return _array(type_.item)
    return _CONVERT.get(type_.kind)


def _decimal(scale: int | None) -> Callable[[Any], str]:
    if scale is None:
        return lambda v: v if type(v) is str else spelling.decimal(*v)
    fixed = scale
    return lambda v: v if type(v) is str else spelling.decimal(v, fixed)


def _array(item: LogicalType) -> Callable[[Any], str]:
    plain = spelling.element(item)
    return lambda v: v if type(v) is str else spelling.array(v, plain)


def _unless_text(spell: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda v: v if type(v) is str else spell(v)


_CONVERT: dict[Kind, Callable[[Any], Any]] = {
    Kind.UINT64: str,
    Kind.FLOAT32: lambda v: "NaN" if isnan(v) else v,
    Kind.FLOAT64: lambda v: "NaN" if isnan(v) else v,
    Kind.DATE: _unless_text(spelling.date),
    Kind.TIME: _unless_text(spelling.time),
    Kind.TIMESTAMP: _unless_text(spelling.timestamp),
    Kind.TIMESTAMPTZ: _unless_text(lambda v: spelling.timestamp(v, "+00:00")),
    Kind.INTERVAL: _unless_text(spelling.interval),
    Kind.GEOMETRY: spelling.ewkb,
}
