"""pgoutput messages and ``copy`` lines, written by hand: what a server would send.

A column's value is bytes, None for null, or ABSENT for unchanged TOAST.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from liberator.event import ABSENT
from liberator.schema import Column, Kind, LogicalType, TableSchema

Wire = Sequence[Any]
OID = 16384


def tuple_(values: Wire) -> bytes:
    """TupleData."""
    out = [struct.pack(">h", len(values))]
    for value in values:
        if value is None:
            out.append(b"n")
        elif value is ABSENT:
            out.append(b"u")
        else:
            out.append(b"t" + struct.pack(">i", len(value)) + value)
    return b"".join(out)


def insert(values: Wire) -> bytes:
    return b"I" + struct.pack(">I", OID) + b"N" + tuple_(values)


def update(values: Wire, old: Wire | None = None, kind: bytes = b"O") -> bytes:
    before = b"" if old is None else kind + tuple_(old)
    return b"U" + struct.pack(">I", OID) + before + b"N" + tuple_(values)


def delete(old: Wire, kind: bytes = b"O") -> bytes:
    return b"D" + struct.pack(">I", OID) + kind + tuple_(old)


def relation(
    namespace: str, name: str, columns: Sequence[tuple[str, int, int, bool]], identity: bytes = b"d"
) -> bytes:
    """``columns``: name, type oid, typmod, whether of the replica identity."""
    out = [
        b"R",
        struct.pack(">I", OID),
        text(namespace),
        text(name),
        identity,
        struct.pack(">h", len(columns)),
    ]
    for column, oid, typmod, key in columns:
        out += [bytes([key]), text(column), struct.pack(">Ii", oid, typmod)]
    return b"".join(out)


def text(string: str) -> bytes:
    """A string as the protocol has it."""
    return string.encode() + b"\0"


_ESCAPES = {
    b"\\": b"\\\\",
    b"\n": b"\\n",
    b"\t": b"\\t",
    b"\r": b"\\r",
    b"\b": b"\\b",
    b"\f": b"\\f",
    b"\v": b"\\v",
}


def copy_line(values: Wire) -> bytes:
    """A line of ``copy … to stdout``, with its newline."""
    return b"\t".join(map(_field, values)) + b"\n"


def _field(value: Any) -> bytes:
    if value is None:
        return b"\\N"
    for plain, escaped in _ESCAPES.items():
        value = value.replace(plain, escaped)
    return value


def schema(*types: LogicalType | Kind, name: str = "orders", key: Sequence[int] = (0,)) -> TableSchema:
    """A table with columns c0, c1, … of the types."""
    columns = []
    for i, type_ in enumerate(types):
        logical = type_ if isinstance(type_, LogicalType) else LogicalType(type_)
        place = list(key).index(i) if i in key else None
        columns.append(Column(f"c{i}", logical, key=place, native=str(logical)))
    return TableSchema("postgresql", "shop", "public", name, tuple(columns))
