"""What a source did to rows that it had, when it changed a column: nothing of that arrives as an event.

``alter table … type`` rewrites values, ``add column … default`` fills them in. A target can follow where
the outcome is certain; :func:`preserves` and :func:`constant` say where it is.
"""

from __future__ import annotations

import re
from typing import Any

from liberator.schema import Column, Kind, LogicalType

INTEGERS = {Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64}
#: Kinds whose text at the source is the text of their values wherever they are cast.
SPELLED = INTEGERS | {
    Kind.BOOL, Kind.DECIMAL, Kind.UUID, Kind.JSON, Kind.ENUM, Kind.BITS, Kind.NATIVE, Kind.DATE,
}  # fmt: skip
#: Further changes that keep every value.
PRESERVING = {
    (Kind.FLOAT32, Kind.FLOAT64),
    (Kind.INT16, Kind.FLOAT64),
    (Kind.INT32, Kind.FLOAT64),
    (Kind.DATE, Kind.TIMESTAMP),
    (Kind.STRING, Kind.ENUM),
}
_NUMBER = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?")
#: A literal as catalogs show it: '…', perhaps cast, perhaps in parentheses.
_LITERAL = re.compile(r"\(?'((?:[^']|'')*)'(?:::[\w\s\"().\[\],]+)?\)?")
_CAST = re.compile(r"::[\w\s\"().\[\],]+$")


def preserves(old: LogicalType, new: LogicalType) -> bool:
    """Whether every value that survived a change of type at the source is still the same value."""
    a, b = old.kind, new.kind
    if old == new:
        return True
    if a is b:
        return _same_kind(old, new)
    if b is Kind.STRING:
        return a in SPELLED
    if a in INTEGERS and (b in INTEGERS or b is Kind.DECIMAL):
        return True
    return (a, b) in PRESERVING


def _same_kind(old: LogicalType, new: LogicalType) -> bool:
    match old.kind:
        case Kind.DECIMAL:
            return _keeps_digits(old, new)
        case Kind.ENUM:
            # A label that is gone was renamed: its rows have the new one.
            return set(old.values) <= set(new.values)
        case Kind.ARRAY:
            assert old.item is not None and new.item is not None
            return preserves(old.item, new.item)
        case Kind.NATIVE:
            return False
        case _:
            return True


def _keeps_digits(old: LogicalType, new: LogicalType) -> bool:
    """A narrower precision fails at the source rather than change a value; a smaller scale rounds."""
    if new.scale is None:
        return True
    return old.scale is not None and new.scale >= old.scale


def constant(column: Column) -> Any:
    """The physical value that a column's default gives to every row; None where it is null, or not the
    same for every row, or not known."""
    if column.default is None or column.generated:
        return None
    text = column.default.strip()
    if literal := _LITERAL.fullmatch(text):
        text = literal[1].replace("''", "'")
    else:
        text = _CAST.sub("", text).strip("()")
    type_ = column.type
    if type_.kind in INTEGERS:
        return int(text) if _NUMBER.fullmatch(text) else None
    if type_.kind in (Kind.FLOAT32, Kind.FLOAT64):
        return float(text) if _DECIMAL.fullmatch(text) else None
    if type_.kind is Kind.DECIMAL:
        return _decimal(text, type_.scale)
    if type_.kind is Kind.BOOL:
        return {"true": True, "false": False}.get(text.lower())
    # Blanks that pad a text, and what a backslash means, are the database's secret.
    plain = literal is not None and "\\" not in text and not column.native.startswith("character(")
    return text if plain and type_.kind in (Kind.STRING, Kind.ENUM) else None


def _decimal(text: str, scale: int | None) -> Any:
    """The digits of a default as a decimal's physical value."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction = match[1], match[2], match[3] or ""
    if scale is None:
        return int(sign + whole + fraction), len(fraction)
    if len(fraction) > max(scale, 0) or scale < 0:
        return None
    return int(sign + whole + fraction.ljust(scale, "0"))
