"""Row images in MySQL's and MariaDB's triggers: the SQL that writes a column's value, and the way back.

What is written for a column is the text that a ``select`` of it gives, or the hexadecimal digits of its
bytes, so that nothing depends on the writer's session; :func:`payload` makes of it the row of a result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from connectors.mysql.connection import quote
from connectors.mysql.native import NativeType
from connectors.mysql.text_rows import TextRows
from connectors.sql import spelling
from liberator.errors import DecodeError
from liberator.schema import Column, Kind

#: Kinds that a JSON number holds exactly: a double is printed there with all the digits that it takes.
_INTEGERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64, Kind.BOOL})
_FLOATS = frozenset({Kind.FLOAT32, Kind.FLOAT64})
_TEXT = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "json", "enum", "set")


def _base(column: Column) -> str:
    return column.native.partition("(")[0].partition(" ")[0].lower()


def _is_timestamp(column: Column) -> bool:
    return _base(column) == "timestamp"


def _is_binary(column: Column) -> bool:
    return column.type.kind in (Kind.BYTES, Kind.GEOMETRY, Kind.BITS) or _base(column) == "vector"


def expression(column: Column, side: str) -> str:
    """What a trigger keeps of a column of the ``old`` or ``new`` row."""
    name = quote(column.name)
    (selected,) = TextRows([column]).select
    value = selected.replace(name, f"{side}.{name}")
    if _is_timestamp(column):
        value = f"{side}.{name}"  # of a zero date MariaDB says null
        return f"if({value} is null, null, cast(coalesce(unix_timestamp({value}), 0) as char))"
    if column.type.kind is Kind.BITS:
        return f"hex({value} + 0)"
    if _is_binary(column):
        return f"hex({value})"
    if column.type.kind in _INTEGERS:
        return f"{value} + 0"  # MariaDB pads the numbers of a zerofill column in JSON, too
    if column.type.kind in _FLOATS:
        return value
    if _base(column) in _TEXT:
        # concat, because MariaDB takes the text of a json column for a document, and its spaces away
        return f"concat(convert({value} using utf8mb4))"
    return f"cast({value} as char character set utf8mb4)"


def parse(image: str) -> list[Any]:
    """The values of an image. MariaDB 11 writes a float's -0 as an integer, which would lose its sign."""
    values: list[Any] = json.loads(image, parse_int=_integer) if "-0" in image else json.loads(image)
    return values


def _integer(digits: str) -> int | float:
    return -0.0 if digits == "-0" else int(digits)


def payload(image: Sequence[Any], columns: Sequence[Column]) -> bytes:
    """An image as the row of a result: each value behind its length. Raises DecodeError."""
    if len(image) != len(columns):
        raise DecodeError("an image of a row of another table")
    out = bytearray()
    for value, column in zip(image, columns, strict=True):
        if value is None:
            out.append(251)
            continue
        data = _data(value, column)
        size = len(data)
        if size < 251:
            out.append(size)
        elif size < 1 << 16:
            out += b"\xfc" + size.to_bytes(2, "little")
        elif size < 1 << 24:
            out += b"\xfd" + size.to_bytes(3, "little")
        else:
            out += b"\xfe" + size.to_bytes(8, "little")
        out += data
    return bytes(out)


def _data(value: Any, column: Column) -> bytes:
    if type(value) is int or type(value) is bool:
        return b"%d" % value
    if type(value) is float:
        return repr(value).encode()
    if _is_timestamp(column):
        return _timestamp(value, column)
    if column.type.kind is Kind.BITS:
        size = ((NativeType.parse(column.native).length or 1) + 7) // 8
        return int(value, 16).to_bytes(size, "big")
    if _is_binary(column):
        return bytes.fromhex(value)
    text: str = value
    return text.encode()


def _timestamp(seconds: str, column: Column) -> bytes:
    """Seconds since 1970 as the text of the column; 0 is the zero date, before which no timestamp is."""
    digits = int(column.native.partition("(")[2].partition(")")[0] or 0)
    whole, _, part = seconds.partition(".")
    micros = int(whole) * 1_000_000 + int(part.ljust(6, "0")[:6] or 0)
    text = spelling.timestamp(micros).partition(".")[0] if micros else "0000-00-00 00:00:00"
    fraction = f".{micros % 1_000_000:06}"[: digits + 1] if digits else ""
    return (text + fraction).encode()
