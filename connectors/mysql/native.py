"""How MySQL and MariaDB spell types, and which logical type each is.

A column's ``native`` is written by ``str(NativeType)`` and read again by ``NativeType.parse``: it is all that
reading the column's values needs. It is SQL, in the canonical spelling of MySQL 8: integers without display
width (but ``tinyint(1)``, which means boolean), and the character set wherever it is not utf8mb4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from connectors.mysql.values.charsets import BINARY
from liberator.errors import SchemaError
from liberator.schema import Kind, LogicalType


@dataclass(frozen=True, slots=True)
class TypeOptions:
    """What the user decides about types.

    ``zero_dates``: what becomes of dates that are none, ``0000-00-00`` and ``2024-00-00`` (and of times on
    them): ``null`` (columns of these types are then nullable), ``string`` (the database's own text: an
    escape, see :mod:`liberator.schema`), or ``error``. ``tinyint1``: whether ``tinyint(1)``, which is how
    both databases spell ``boolean``, is an int16 or a bool, of which every number but 0 is true; only the
    catalog knows the 1.
    """

    zero_dates: Literal["null", "string", "error"] = "null"
    tinyint1: Literal["int", "bool"] = "int"


DEFAULTS: Final = TypeOptions()

#: Bytes of each integer type.
INTEGERS: Final = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
#: Bytes of the length before each value.
TEXTS: Final = {"tinytext": 1, "text": 2, "mediumtext": 3, "longtext": 4}
BLOBS: Final = {"tinyblob": 1, "blob": 2, "mediumblob": 3, "longblob": 4}
TEMPORAL: Final = frozenset({"date", "datetime", "timestamp", "time"})
GEOMETRIES: Final = frozenset(
    {
        "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
        "geometrycollection",
    }
)  # fmt: skip
#: MariaDB's types that are bytes of this number in the binlog.
FIXED: Final = {"uuid": 16, "inet6": 16, "inet4": 4}
#: Types whose values are text in a character set.
CHARACTER: Final = frozenset({"char", "varchar", "enum", "set", *TEXTS})

_ALIASES: Final = {
    "integer": "int", "dec": "decimal", "numeric": "decimal", "fixed": "decimal", "real": "double",
    "bool": "tinyint", "boolean": "tinyint", "geomcollection": "geometrycollection",
}  # fmt: skip
_OLD: Final = "mariadb-5.3"
_DEFAULT_CHARSET: Final = "utf8mb4"
_SPELLED = re.compile(r"(\w+)\s*(?:\(((?:'(?:[^'\\]|''|\\.)*'|[^'()])*)\))?(.*)", re.DOTALL)
_LABEL = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_CHARSET = re.compile(r"character set (\w+)")
_ESCAPED: Final = {"\0": "\\0", "\n": "\\n", "\r": "\\r", "\\": "\\\\", "'": "''"}
_PLAIN: Final = {escape: character for character, escape in _ESCAPED.items()}
_PART = re.compile(r"''|\\.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NativeType:
    """A type with its parameters.

    ``name`` in lower case. ``length``: characters, bytes, bits, a decimal's precision, a vector's
    dimensions, a ``tinyint(1)``'s 1; ``scale``: of a decimal or float, and a temporal's digits. ``charset``
    only of text.
    """

    name: str
    length: int | None = None
    scale: int | None = None
    unsigned: bool = False
    charset: str | None = None
    labels: tuple[str, ...] = ()
    compressed: bool = False
    #: A temporal with a fraction as MariaDB stored it before 10.1 (mysql56_temporal_format=OFF).
    old: bool = False

    @classmethod
    def parse(cls, text: str, charset: str | None = None) -> NativeType:
        """From ``column_type`` in the catalog, whose character set stands beside it, or from ``str`` of one.
        Raises SchemaError."""
        match = _SPELLED.fullmatch(text.strip())
        if match is None:
            raise SchemaError("a column's type is spelled in a way that is not understood")
        name, inside, rest = match[1].lower(), match[2], match[3].lower()
        name = _ALIASES.get(name, name)
        if name == "double" and "precision" in rest:
            rest = rest.replace("precision", "")
        said = _CHARSET.search(rest)
        charset = said[1] if said else charset
        if name in CHARACTER:
            charset = {None: _DEFAULT_CHARSET, "utf8": "utf8mb3"}.get(charset, charset)
        else:
            charset = None
        compressed = "compressed" in rest
        if name in ("enum", "set"):
            labels = tuple(
                _PART.sub(lambda m: _PLAIN.get(m[0], m[0][1:]), label)
                for label in _LABEL.findall(inside or "")
            )
            return cls(name, charset=charset, labels=labels)
        numbers = [int(number) for number in inside.split(",")] if inside else []
        length, scale = _parameters(name, numbers)
        old = name in TEMPORAL and bool(scale) and _OLD in rest
        return cls(name, length, scale, "unsigned" in rest, charset, (), compressed, old)

    def __str__(self) -> str:
        text = self.name
        if self.name in ("enum", "set"):
            labels = (re.sub(r"[\0\n\r\\']", lambda m: _ESCAPED[m[0]], label) for label in self.labels)
            text += "(" + ",".join(f"'{label}'" for label in labels) + ")"
        elif self.length is not None:
            text += f"({self.length})" if self.scale is None else f"({self.length},{self.scale})"
        elif self.scale:
            text += f"({self.scale})"
        if self.unsigned:
            text += " unsigned"
        if self.compressed:
            text += " compressed"
        if self.old:
            text += f" /* {_OLD} */"
        if self.charset not in (None, _DEFAULT_CHARSET):
            text += f" character set {self.charset}"
        return text

    @property
    def digits(self) -> int:
        """The fraction digits of a temporal type."""
        return self.scale or 0

    def logical(self, options: TypeOptions = DEFAULTS) -> LogicalType:
        """The logical type. Raises SchemaError for a type that is unknown."""
        simple = _SIMPLE.get(self.name)
        if simple is not None:
            return LogicalType(simple)
        match self.name:
            case "tinyint" if self.length == 1 and options.tinyint1 == "bool":
                return LogicalType(Kind.BOOL)
            case "tinyint" | "smallint" | "mediumint" | "int" | "bigint":
                return LogicalType((_UNSIGNED if self.unsigned else _SIGNED)[self.name])
            case "decimal":
                return LogicalType(Kind.DECIMAL, self.length, self.scale)
            case "enum":
                return LogicalType(Kind.ENUM, values=self.labels)
            case "vector":
                return LogicalType(Kind.ARRAY, item=LogicalType(Kind.FLOAT32))
            case "inet4" | "inet6":
                return LogicalType(Kind.NATIVE, name=self.name)
        raise SchemaError(
            f"the type {self.name} is unknown", hint="leave the table out, or upgrade liberator"
        )


def _parameters(name: str, numbers: list[int]) -> tuple[int | None, int | None]:
    """Length and scale: those that a type means something by."""
    first = numbers[0] if numbers else None
    if name in INTEGERS:
        return (1 if name == "tinyint" and first == 1 else None), None
    if name in TEMPORAL:
        return None, first
    match name:
        case "decimal":
            return (10 if first is None else first), (numbers[1] if len(numbers) > 1 else 0)
        case "float" | "double":
            return (first, numbers[1]) if len(numbers) > 1 else (None, None)
        case "char" | "binary" | "bit":
            return (1 if first is None else first), None
        case "varchar" | "varbinary" | "vector":
            return first, None
    return None, None


_SIGNED: Final = {
    "tinyint": Kind.INT16, "smallint": Kind.INT16, "mediumint": Kind.INT32, "int": Kind.INT32,
    "bigint": Kind.INT64,
}  # fmt: skip
_UNSIGNED: Final = {
    "tinyint": Kind.INT16, "smallint": Kind.INT32, "mediumint": Kind.INT32, "int": Kind.INT64,
    "bigint": Kind.UINT64,
}  # fmt: skip
_SIMPLE: Final = {
    "float": Kind.FLOAT32,
    "double": Kind.FLOAT64,
    "year": Kind.INT16,
    "bit": Kind.BITS,
    "date": Kind.DATE,
    "datetime": Kind.TIMESTAMP,
    "timestamp": Kind.TIMESTAMPTZ,
    "time": Kind.TIME,
    "char": Kind.STRING,
    "varchar": Kind.STRING,
    "set": Kind.STRING,
    "binary": Kind.BYTES,
    "varbinary": Kind.BYTES,
    "json": Kind.JSON,
    "uuid": Kind.UUID,
    **dict.fromkeys(TEXTS, Kind.STRING),
    **dict.fromkeys(BLOBS, Kind.BYTES),
    **dict.fromkeys(GEOMETRIES, Kind.GEOMETRY),
}
#: What text is called where its bytes are not text.
BINARY_NAMES: Final = {
    "char": "binary", "varchar": "varbinary", "tinytext": "tinyblob", "text": "blob",
    "mediumtext": "mediumblob", "longtext": "longblob",
}  # fmt: skip


def is_binary(charset: str | None) -> bool:
    """Whether a column of this character set holds bytes."""
    return charset == BINARY
