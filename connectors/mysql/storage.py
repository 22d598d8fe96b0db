"""What types look like in a table map: which type a mapped column has, whether it can be of a given one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from connectors.mysql.native import BINARY_NAMES, BLOBS, FIXED, GEOMETRIES, TEXTS, NativeType, is_binary
from connectors.mysql.table_map import MapColumn, Wire
from connectors.mysql.values.charsets import bytes_per_character, charset_of, decoder
from liberator.errors import SchemaError

_INTEGERS: Final = {
    Wire.TINY: "tinyint", Wire.SHORT: "smallint", Wire.INT24: "mediumint", Wire.LONG: "int",
    Wire.LONGLONG: "bigint",
}  # fmt: skip
_PLAIN: Final = {Wire.YEAR: "year", Wire.DATE: "date", Wire.JSON: "json"}
_FLOATS: Final = {Wire.FLOAT: "float", Wire.DOUBLE: "double"}
_TEMPORAL: Final = {
    Wire.TIME: "time", Wire.DATETIME: "datetime", Wire.TIMESTAMP: "timestamp", Wire.TIME2: "time",
    Wire.DATETIME2: "datetime", Wire.TIMESTAMP2: "timestamp",
}  # fmt: skip
#: Of these a map does not tell the digits.
_OLD: Final = frozenset({Wire.TIME, Wire.DATETIME, Wire.TIMESTAMP})
_CHARACTER: Final = {
    Wire.STRING: "char", Wire.VAR_STRING: "varchar", Wire.VARCHAR: "varchar",
    Wire.VARCHAR_COMPRESSED: "varchar",
}  # fmt: skip
_BLOBS: Final = frozenset({Wire.BLOB, Wire.TINY_BLOB, Wire.MEDIUM_BLOB, Wire.LONG_BLOB, Wire.BLOB_COMPRESSED})
_COMPRESSED: Final = frozenset({Wire.BLOB_COMPRESSED, Wire.VARCHAR_COMPRESSED})
_TEXT_NAMES: Final = {size: name for name, size in TEXTS.items()}
_LABELED: Final = {Wire.ENUM: "enum", Wire.SET: "set"}


def stored_type(column: MapColumn) -> NativeType:
    """The type of a column whose map has full metadata. Raises SchemaError where it has not."""
    wire = column.wire
    if wire in _INTEGERS:
        return NativeType(_INTEGERS[wire], unsigned=_said(column.unsigned))
    if wire in _FLOATS:
        return NativeType(_FLOATS[wire], unsigned=_said(column.unsigned))
    if wire is Wire.NEWDECIMAL:
        return NativeType("decimal", column.precision, column.scale, _said(column.unsigned))
    if wire in _PLAIN:
        return NativeType(_PLAIN[wire])
    if wire in _TEMPORAL:
        return NativeType(_TEMPORAL[wire], scale=column.scale or None)
    if wire is Wire.BIT:
        return NativeType("bit", column.length)
    if wire is Wire.GEOMETRY:
        return NativeType(column.geometry or "geometry")
    if wire is Wire.VECTOR:
        return NativeType("vector", column.dimensions)
    return _character(column)


def _said(flag: bool | None) -> bool:
    if flag is None:
        raise SchemaError("the binlog does not say whether it is unsigned")
    return flag


def _character(column: MapColumn) -> NativeType:
    if column.collation is None:
        raise SchemaError("the binlog does not say its character set")
    charset = charset_of(column.collation)
    if column.wire in _LABELED:
        if column.labels is None:
            raise SchemaError("the binlog does not say its labels")
        decode = bytes.decode if is_binary(charset) else decoder(charset)
        labels = tuple(map(decode, column.labels))
        return NativeType(_LABELED[column.wire], charset=charset, labels=labels)
    length = None
    if column.wire in _BLOBS:
        name = _TEXT_NAMES[column.length]
    else:
        name = _CHARACTER[column.wire]
        length = _bytes(column) // bytes_per_character(charset)
    compressed = column.wire in _COMPRESSED
    if is_binary(charset):
        return NativeType(BINARY_NAMES[name], length, compressed=compressed)
    return NativeType(name, length, charset=charset, compressed=compressed)


def _bytes(column: MapColumn) -> int:
    """The longest value of a char or varchar; a compressed one has a byte before it."""
    return column.length - (column.wire in _COMPRESSED)


def fits(column: MapColumn, native: NativeType) -> bool:
    """Whether a mapped column, as far as its map tells, is of a type."""
    wire = column.wire
    if column.unsigned is not None and native.name != "year" and column.unsigned != native.unsigned:
        return False
    for wires, check in _CHECKS.items():
        if wire in wires:
            return check(column, native)
    return False


def _fits_labels(column: MapColumn, native: NativeType) -> bool:
    if native.name != _LABELED[column.wire]:
        return False
    if column.labels is not None and column.collation is not None:
        return stored_type(column) == native
    count = len(native.labels)
    if column.wire is Wire.ENUM:
        return column.length == (1 if count < 256 else 2)
    size = (count + 7) // 8
    return column.length == (size if size < 5 else 8)


def _fits_character(column: MapColumn, native: NativeType) -> bool:
    if native.name in FIXED:
        return column.length == FIXED[native.name]
    if native.name == "vector":
        return column.length == 4 * (native.length or 0)
    text = _CHARACTER[column.wire]
    return (
        native.name in (text, BINARY_NAMES[text])
        and _fits_charset(column, native)
        and _bytes(column) == (native.length or 0) * bytes_per_character(native.charset or "binary")
        and native.compressed == (column.wire in _COMPRESSED)
    )


def _fits_blob(column: MapColumn, native: NativeType) -> bool:
    if native.name == "json":  # of MariaDB
        return column.length == 4
    size = TEXTS.get(native.name) or BLOBS.get(native.name)
    return (
        size == column.length
        and _fits_charset(column, native)
        and native.compressed == (column.wire in _COMPRESSED)
    )


def _fits_charset(column: MapColumn, native: NativeType) -> bool:
    return column.collation is None or charset_of(column.collation) == (native.charset or "binary")


def _fits_geometry(column: MapColumn, native: NativeType) -> bool:
    return native.name == column.geometry or (column.geometry is None and native.name in GEOMETRIES)


_Check = Callable[[MapColumn, NativeType], bool]
_CHECKS: Final[Mapping[frozenset[Wire], _Check]] = {
    frozenset(_INTEGERS): lambda c, t: _INTEGERS[c.wire] == t.name,
    frozenset(_FLOATS): lambda c, t: _FLOATS[c.wire] == t.name,
    frozenset({Wire.NEWDECIMAL}): lambda c, t: (
        t.name == "decimal" and (c.precision, c.scale) == (t.length, t.scale)
    ),
    frozenset(_PLAIN): lambda c, t: _PLAIN[c.wire] == t.name,
    frozenset(_TEMPORAL): lambda c, t: (
        _TEMPORAL[c.wire] == t.name and (c.scale == t.digits or (t.old and c.wire in _OLD))
    ),
    frozenset({Wire.BIT}): lambda c, t: t.name == "bit" and c.length == t.length,
    frozenset({Wire.GEOMETRY}): _fits_geometry,
    frozenset({Wire.VECTOR}): lambda c, t: t.name == "vector" and c.dimensions in (None, t.length),
    frozenset(_LABELED): _fits_labels,
    frozenset(_CHARACTER): _fits_character,
    _BLOBS: _fits_blob,
}
