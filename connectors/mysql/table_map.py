"""TABLE_MAP events: how a table looked to the server when the rows behind it were written.

``TableMap.parse`` is a pure function over an event's body (without header and checksum). A map tells each
column's storage type and the parameters that reading it needs; with ``binlog_row_metadata=FULL`` also
names, signedness, character sets, labels and the primary key, so that no look at the catalog is needed.
What the columns mean is :mod:`connectors.mysql.types`' business, how rows are read
:mod:`connectors.mysql.rows`'.

Layout: ``Table_map_log_event`` in MySQL's ``libs/mysql/binlog/event/rows_event.h``; MariaDB's is the same.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from liberator.errors import DecodeError


class Wire(enum.IntEnum):
    """A column's storage type, as the binlog and result sets number them (``enum_field_types``)."""

    DECIMAL = 0
    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    NULL = 6
    TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    TIME = 11
    DATETIME = 12
    YEAR = 13
    NEWDATE = 14
    VARCHAR = 15
    BIT = 16
    TIMESTAMP2 = 17
    DATETIME2 = 18
    TIME2 = 19
    BLOB_COMPRESSED = 140  #: MariaDB
    VARCHAR_COMPRESSED = 141  #: MariaDB
    VECTOR = 242
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    TINY_BLOB = 249
    MEDIUM_BLOB = 250
    LONG_BLOB = 251
    BLOB = 252
    VAR_STRING = 253
    STRING = 254
    GEOMETRY = 255


NUMERIC: Final = frozenset(
    {
        Wire.TINY, Wire.SHORT, Wire.INT24, Wire.LONG, Wire.LONGLONG, Wire.FLOAT, Wire.DOUBLE,
        Wire.NEWDECIMAL, Wire.YEAR,
    }
)  # fmt: skip
#: Types whose columns have a character set of their own (enum and set are counted apart).
CHARACTER: Final = frozenset(
    {
        Wire.STRING, Wire.VAR_STRING, Wire.VARCHAR, Wire.BLOB, Wire.TINY_BLOB, Wire.MEDIUM_BLOB,
        Wire.LONG_BLOB, Wire.BLOB_COMPRESSED, Wire.VARCHAR_COMPRESSED,
    }
)  # fmt: skip
_ONE_BYTE: Final = frozenset(
    {
        Wire.FLOAT, Wire.DOUBLE, Wire.BLOB, Wire.TINY_BLOB, Wire.MEDIUM_BLOB, Wire.LONG_BLOB, Wire.GEOMETRY,
        Wire.JSON, Wire.TIME2, Wire.DATETIME2, Wire.TIMESTAMP2, Wire.BLOB_COMPRESSED, Wire.VECTOR,
    }
)  # fmt: skip
_TWO_BYTES: Final = frozenset(
    {Wire.VARCHAR, Wire.VARCHAR_COMPRESSED, Wire.BIT, Wire.NEWDECIMAL, Wire.STRING, Wire.VAR_STRING}
)
#: Types whose columns have labels.
LABELED: Final = frozenset({Wire.ENUM, Wire.SET})
_NOT_STORED: Final = LABELED | {Wire.DECIMAL, Wire.NULL, Wire.NEWDATE}
#: The name of each geometry type, by its number in the optional metadata.
GEOMETRIES: Final = (
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection",
)  # fmt: skip


@dataclass(slots=True)
class MapColumn:
    """One column of a table map. Never mutated.

    ``wire`` is the real type: enum, set and char, which share a type byte, are told apart. ``length`` is
    in bytes: of a char or varchar the longest value, of blob, json, geometry and vector the size of the
    length before the value, of enum and set the size of the value, of a bit column its number of bits.
    ``precision`` and ``scale`` belong to decimal; ``scale`` is also the fraction digits of a temporal.

    The rest is None where the event did not say it: ``unsigned`` (numbers), ``collation`` (its id; chars,
    blobs, enum, set), ``name``, ``labels`` (enum and set, as bytes in the column's character set),
    ``geometry`` (the type's name), ``visible``, ``dimensions`` (vector).
    """

    wire: Wire
    nullable: bool
    length: int = 0
    precision: int = 0
    scale: int = 0
    unsigned: bool | None = None
    collation: int | None = None
    name: str | None = None
    labels: tuple[bytes, ...] | None = None
    geometry: str | None = None
    visible: bool | None = None
    dimensions: int | None = None


@dataclass(slots=True)
class TableMap:
    """One version of a table, as a TABLE_MAP event describes it. Never mutated; two maps are equal when
    they describe the same.

    ``id`` is what rows events refer to, valid until the next map of the same id; ``layout`` are the
    body's bytes behind id and flags: the same bytes, the same table in the same version, whatever the
    id. ``key`` holds the indexes of the primary key's columns in key order, None where the event did not
    say; ``key_prefixes`` the characters of each that the key takes, 0 for all.
    """

    id: int
    flags: int
    database: str
    table: str
    columns: tuple[MapColumn, ...]
    key: tuple[int, ...] | None
    key_prefixes: tuple[int, ...] | None
    layout: bytes

    @property
    def full(self) -> bool:
        """Whether the event told the columns' names (``binlog_row_metadata=FULL``), and so all there is."""
        return all(column.name is not None for column in self.columns)

    @classmethod
    def parse(cls, data: bytes, start: int = 0, end: int | None = None, *, mariadb: bool = False) -> TableMap:
        """The table map whose body is ``data[start:end]``, written by a ``mariadb``. Raises DecodeError."""
        body = data[start:end]
        try:
            return _parse(body, mariadb)
        except (LookupError, ValueError, struct.error) as exc:
            raise DecodeError(
                "cannot decode a table map event: it is damaged or of an unknown layout",
                hint="if the server is newer than this version of liberator, upgrade liberator",
            ) from exc


class _Reader:
    """Takes pieces off a body; never beyond its end."""

    def __init__(self, data: bytes, at: int = 0):
        self.data = data
        self.at = at

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        if count < 0 or count > self.left:
            raise ValueError("truncated")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def packed(self) -> int:
        """A length-encoded integer."""
        first = self.number(1)
        if first < 251:
            return first
        return self.number({252: 2, 253: 3, 254: 8}[first])

    def packed_bytes(self) -> bytes:
        return self.take(self.packed())

    def all_packed(self) -> list[int]:
        out = []
        while self.left:
            out.append(self.packed())
        return out


def _parse(body: bytes, mariadb: bool) -> TableMap:
    reader = _Reader(body)
    number, flags = reader.number(6), reader.number(2)
    database = reader.take(reader.packed()).decode()
    reader.take(1)
    table = reader.take(reader.packed()).decode()
    reader.take(1)
    count = reader.packed()
    types = reader.take(count)
    metadata = _Reader(reader.packed_bytes())
    nulls = reader.take((count + 7) // 8)
    columns = []
    for i, type_ in enumerate(types):
        column = _column(type_, metadata)
        column.nullable = bool(nulls[i >> 3] >> (i & 7) & 1)
        columns.append(column)
    if metadata.left:
        raise ValueError("metadata of another number of columns")
    # To MariaDB a geometry is a blob, and so has a character set.
    optional = _Optional(columns, CHARACTER | {Wire.GEOMETRY} if mariadb else CHARACTER)
    while reader.left:
        field = reader.number(1)
        optional.take(field, reader.packed_bytes())
    return TableMap(
        number, flags, database, table, tuple(columns), optional.key, optional.key_prefixes, body[8:]
    )


def _column(type_: int, metadata: _Reader) -> MapColumn:
    """A column with what its type and its metadata say."""
    wire = Wire(type_)
    if wire in _ONE_BYTE:
        size = metadata.number(1)
        if wire in (Wire.TIME2, Wire.DATETIME2, Wire.TIMESTAMP2):
            _check(size <= 6, "a fraction of more than six digits")
            return MapColumn(wire, False, scale=size)
        _check(1 <= size <= 8, "an impossible length of a length")
        return MapColumn(wire, False, length=size)
    if wire not in _TWO_BYTES:
        _check(wire not in _NOT_STORED, "a type that no table stores")
        return MapColumn(wire, False)
    first, second = metadata.take(2)
    if wire is Wire.NEWDECIMAL:
        _check(1 <= first <= 65 and second <= min(first, 38), "an impossible decimal")
        return MapColumn(wire, False, precision=first, scale=second)
    if wire is Wire.BIT:
        return MapColumn(wire, False, length=first + 8 * second)
    if wire in (Wire.STRING, Wire.VAR_STRING):
        return _string(first, second)
    return MapColumn(wire, False, length=first | second << 8)


def _string(first: int, second: int) -> MapColumn:
    """A char, or an enum or set, by the type that stands in the metadata."""
    # Of lengths above 255, two bits stand inverted in the byte that holds the real type.
    if first & 0x30 != 0x30:
        return MapColumn(Wire(first | 0x30), False, length=second | ((first & 0x30) ^ 0x30) << 4)
    real = Wire(first)
    _check(real in (Wire.STRING, Wire.VAR_STRING, Wire.ENUM, Wire.SET), "a string of another type")
    return MapColumn(real, False, length=second)


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


class _Optional:
    """The optional metadata fields; unknown ones are passed over, as a server does."""

    def __init__(self, columns: Sequence[MapColumn], character: Collection[Wire]):
        self._columns = columns
        self._character = character
        self.key: tuple[int, ...] | None = None
        self.key_prefixes: tuple[int, ...] | None = None

    def take(self, field: int, value: bytes) -> None:
        reader = _Reader(value)
        match field:
            case 1:
                self._flags("unsigned", NUMERIC, value)
            case 2 | 10:
                self._default_charset(self._of(self._character if field == 2 else LABELED), reader)
            case 3 | 11:
                for column in self._of(self._character if field == 3 else LABELED):
                    column.collation = reader.packed()
            case 4 | 5 | 6:
                self._texts(field, reader)
            case 8 | 9:
                self._key(reader.all_packed(), prefixes=field == 9)
            case 12:
                self._flags("visible", frozenset(Wire), value)
            case 7 | 13:
                self._shapes(field, reader)

    def _of(self, wires: Collection[Wire]) -> list[MapColumn]:
        return [column for column in self._columns if column.wire in wires]

    def _texts(self, field: int, reader: _Reader) -> None:
        """Names, labels of sets, labels of enums."""
        if field == 4:
            for column in self._columns:
                column.name = reader.packed_bytes().decode()
            return
        for column in self._of({Wire.SET if field == 5 else Wire.ENUM}):
            column.labels = tuple(reader.packed_bytes() for _ in range(reader.packed()))

    def _shapes(self, field: int, reader: _Reader) -> None:
        """The types of geometries, the dimensions of vectors."""
        if field == 7:
            for column in self._of({Wire.GEOMETRY}):
                column.geometry = GEOMETRIES[reader.packed()]
        else:
            for column in self._of({Wire.VECTOR}):
                column.dimensions = reader.packed()

    def _flags(self, name: str, wires: frozenset[Wire], value: bytes) -> None:
        """A bit per column of some types, the first column's bit the highest."""
        columns = self._of(wires)
        for i, column in enumerate(columns):
            setattr(column, name, bool(value[i >> 3] >> (7 - (i & 7)) & 1))

    def _default_charset(self, columns: Sequence[MapColumn], reader: _Reader) -> None:
        default = reader.packed()
        for column in columns:
            column.collation = default
        while reader.left:
            column = columns[reader.packed()]
            column.collation = reader.packed()

    def _key(self, numbers: Sequence[int], prefixes: bool) -> None:
        step = 2 if prefixes else 1
        key = tuple(numbers[::step])
        if any(i >= len(self._columns) for i in key):
            raise ValueError("a key of columns that are not there")
        self.key = key
        self.key_prefixes = tuple(numbers[1::2]) if prefixes else (0,) * len(key)
