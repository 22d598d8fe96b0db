"""The columns of a result set, from its column definition packets.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_column_definition.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from connectors.mysql.native import BINARY_NAMES, BLOBS, DEFAULTS, TEXTS, NativeType, TypeOptions
from connectors.mysql.table_map import Wire
from connectors.mysql.values.charsets import BINARY, bytes_per_character, charset_of
from liberator.errors import DecodeError
from liberator.schema import Column, Kind

NOT_NULL: Final = 1
UNSIGNED: Final = 32
#: The type of MySQL's JSON, and of values that are nothing but null.
_NULL: Final = 6
#: What stands for "as many digits as there are".
_NOT_FIXED: Final = 31

_INTEGERS: Final = {1: "tinyint", 2: "smallint", 3: "int", 8: "bigint", 9: "mediumint"}
_TEMPORAL: Final = {7: "timestamp", 10: "date", 11: "time", 12: "datetime", 14: "date"}
_PLAIN: Final = {4: "float", 5: "double", 13: "year", 245: "json", 255: "geometry"}
_DECIMALS: Final = frozenset({Wire.DECIMAL, Wire.NEWDECIMAL})
_BLOBS: Final = frozenset({Wire.TINY_BLOB, Wire.MEDIUM_BLOB, Wire.LONG_BLOB, Wire.BLOB})
_DATES: Final = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_EXTENDED: Final = frozenset({"json", "uuid", "inet4", "inet6"})
_fixed = struct.Struct("<HIBHB")
#: The length that stands before the fixed part, which ends the packet (with two bytes of filling).
_FIXED_SIZE: Final = 12


@dataclass(slots=True)
class ResultColumn:
    """A column definition. ``wire`` is the type's number (:class:`connectors.mysql.table_map.Wire`),
    ``length`` in bytes, ``collation`` its id, ``flags`` those of ``mysql_com.h``, ``extended`` the name of a
    type of MariaDB's (``uuid``, ``json``) where the server sent one."""

    name: str
    wire: int
    collation: int
    length: int
    flags: int
    decimals: int
    extended: str = ""


def described(field: Any) -> ResultColumn:
    """A column as the driver has read its definition."""
    return ResultColumn(
        field.name, field.type_code, field.charsetnr, field.length, field.flags, field.scale,
        getattr(field, "extended", ""),
    )  # fmt: skip


def parse_column_definition(payload: bytes) -> ResultColumn:
    """A column from the payload of its packet. Raises DecodeError."""
    try:
        at, texts = 0, []
        for _ in range(6):
            text, at = _text(payload, at)
            texts.append(text)
        extended = ""
        if len(payload) - at > _FIXED_SIZE + 1:
            said, at = _text(payload, at)
            extended = _extended(said)
        if payload[at] != _FIXED_SIZE or len(payload) - at != _FIXED_SIZE + 1:
            raise ValueError("of another length")
        collation, length, wire, flags, decimals = _fixed.unpack_from(payload, at + 1)
        return ResultColumn(texts[4].decode(), wire, collation, length, flags, decimals, extended)
    except (LookupError, ValueError, struct.error) as exc:
        raise DecodeError("cannot decode a column definition: it is damaged or of another layout") from exc


def _text(payload: bytes, at: int) -> tuple[bytes, int]:
    length = payload[at]
    at += 1
    if length > 250:
        size = {252: 2, 253: 3, 254: 8}[length]
        length, at = int.from_bytes(payload[at : at + size], "little"), at + size
    if at + length > len(payload):
        raise ValueError("truncated")
    return payload[at : at + length], at + length


def _extended(said: bytes) -> str:
    """The name or format of a type in MariaDB's extended metadata: pairs of a kind and a text."""
    at, names = 0, []
    while at < len(said):
        name, at = _text(said, at + 1)
        names.append(name.decode())
    return next((name for name in names if name in _EXTENDED), "")


def from_result(column: ResultColumn, options: TypeOptions = DEFAULTS) -> Column:
    """The column of a query's result. What a result does not tell (labels of an enum, defaults) is left
    out: an enum or set is a string. A float's text has but six digits: see
    :mod:`connectors.mysql.text_rows`."""
    native = _native(column)
    type_ = native.logical(options)
    nullable = not column.flags & NOT_NULL or (options.zero_dates == "null" and type_.kind in _DATES)
    return Column(column.name, type_, nullable, native=str(native))


def _native(column: ResultColumn) -> NativeType:
    wire, unsigned = column.wire, bool(column.flags & UNSIGNED)
    if column.extended:
        return NativeType(column.extended)
    if wire in _INTEGERS:
        return NativeType(_INTEGERS[wire], unsigned=unsigned)
    if wire in _PLAIN:
        return NativeType(_PLAIN[wire], unsigned=unsigned and wire in (Wire.FLOAT, Wire.DOUBLE))
    if wire in _DECIMALS:
        scale = column.decimals
        precision = max(column.length - (scale > 0) - (not unsigned), scale, 1)
        return NativeType("decimal", min(precision, 65), scale, unsigned)
    if wire in _TEMPORAL:
        digits = 6 if column.decimals == _NOT_FIXED else column.decimals
        return NativeType(_TEMPORAL[wire], scale=digits or None)
    if wire == Wire.BIT:
        return NativeType("bit", column.length)
    if wire == Wire.VECTOR:
        return NativeType("vector", column.length // 4)
    return _character(column)


def _character(column: ResultColumn) -> NativeType:
    charset = charset_of(column.collation)
    length = column.length // bytes_per_character(charset)
    binary = charset == BINARY and column.wire != _NULL
    if column.wire in _BLOBS:
        sizes = BLOBS if binary else TEXTS
        name = next((n for n, size in sizes.items() if column.length < 1 << 8 * size), "longtext")
        return NativeType(name, charset=None if binary else "utf8mb4")
    name = "char" if column.wire == Wire.STRING else "varchar"
    if binary:
        return NativeType(BINARY_NAMES[name], length)
    return NativeType(name, length, charset="utf8mb4")
