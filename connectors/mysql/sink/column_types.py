"""Types of columns at a MySQL or MariaDB target: which type to create, what an existing one can hold.

A column whose source is of the same family gets its native type again, where this server knows it;
everything else gets the best equivalent of its logical type. Text that we create is utf8mb4 and compares byte
by byte, without padding: what the source tells apart is never one key here. What no type holds exactly
(decimals without bounds, intervals, arrays) is text. Nothing here talks to a server.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from connectors.mysql import native
from connectors.mysql.native import GEOMETRIES, INTEGERS, NativeType
from connectors.sql.dialect import Fit
from liberator.schema import Column, Kind, LogicalType

#: What ``TableSchema.dialect`` calls the two.
MYSQL, MARIADB = "mysql", "mariadb"
FAMILY = frozenset({MYSQL, MARIADB})

#: What is created for a logical type where the source's own type cannot be; kinds that are missing are text.
EQUIVALENT = {
    Kind.BOOL: "tinyint(1)",
    Kind.INT16: "smallint",
    Kind.INT32: "int",
    Kind.INT64: "bigint",
    Kind.UINT64: "bigint unsigned",
    Kind.FLOAT32: "float",
    Kind.FLOAT64: "double",
    Kind.BYTES: "longblob",
    Kind.DATE: "date",
    Kind.TIME: "time(6)",
    Kind.TIMESTAMP: "datetime(6)",
    Kind.TIMESTAMPTZ: "datetime(6)",
    Kind.JSON: "json",
    Kind.GEOMETRY: "geometry",
}
UUID_TEXT = "char(36) character set ascii collate ascii_bin"
#: An index holds this many bytes of a row (DYNAMIC row format, pages of 16 kB), and a character up to four.
KEY_BYTES, CHARACTER = 3072, 4
#: A varchar of up to this many characters is created again, a longer one as a text: all the varchars of a row
#: share 65,535 bytes.
LONGEST_VARCHAR = 1024

#: How many bytes each holds.
TEXTS = {name: 256**size - 1 for name, size in native.TEXTS.items()}
BLOBS = {name: 256**size - 1 for name, size in native.BLOBS.items()}
CHARS, BINARIES = ("char", "varchar"), ("binary", "varbinary")
#: Types that only one of the two has, with the version that brought them.
SINCE = {
    MYSQL: {"vector": (9, 0)},
    MARIADB: {
        "uuid": (10, 7),
        "inet6": (10, 5),
        "inet4": (10, 10),
        "vector": (11, 7),
        "xmltype": (12, 3),
    },
}
#: Digits after the point, at most, and in all.
LARGEST_SCALE, LARGEST_PRECISION = 30, 65
#: Characters that any number, date or time needs as text.
ANY_NUMBER = 100

#: Which types' values a type holds, besides integers; of those that are not listed only its own.
WIDER = {
    "double": ("float", "double"),
    "datetime": ("date", "datetime", "timestamp"),
    "geometry": tuple(GEOMETRIES),
    **dict.fromkeys(("smallint", "mediumint", "int", "bigint"), ("year",)),
}

_COLLATION = re.compile(r" collate (\w+)$")


@dataclass(frozen=True, slots=True)
class Flavour:
    """Which of the two a server is, and its version: ``Flavour("mariadb", (10, 11))``."""

    name: str
    version: tuple[int, ...]

    @property
    def collation(self) -> str:
        """The collation that tells all texts apart: by bytes, blanks at the end included."""
        return "utf8mb4_0900_bin" if self.name == MYSQL else "utf8mb4_nopad_bin"

    @property
    def text(self) -> str:
        """The type that holds any text."""
        return self.textual("longtext")

    def textual(self, base: str) -> str:
        """A character type as we create it."""
        return f"{base} character set utf8mb4 collate {self.collation}"

    def has(self, base: str) -> bool:
        """Whether this server has a type, of those that not every one has."""
        if not any(base in types for types in SINCE.values()):
            return True
        since = SINCE[self.name].get(base)
        return since is not None and self.version >= since


@dataclass(frozen=True, slots=True)
class Spelled:
    """A type of a column at the target, taken apart: its parameters, and how its text compares."""

    native: NativeType
    collation: str | None = None

    @classmethod
    def of(cls, text: str) -> Spelled:
        """Take apart what the catalog says, or what we say in DDL."""
        found = _COLLATION.search(text)
        return cls(NativeType.parse(text[: found.start()] if found else text), found[1] if found else None)

    @property
    def base(self) -> str:
        """The type's name."""
        return self.native.name

    @property
    def number(self) -> int:
        """Its length, 1 where it says none."""
        return 1 if self.native.length is None else self.native.length

    @property
    def charset(self) -> str | None:
        """The character set of text."""
        return self.native.charset

    @property
    def exact(self) -> bool:
        """Whether equality here is equality of all bytes; types that are not text have but one spelling."""
        return self.collation is None or self.collation.endswith(("_nopad_bin", "0900_bin"))

    @property
    def textual(self) -> bool:
        """Whether it stores any text as it is."""
        return self.base in TEXTS or self.base in CHARS

    @property
    def characters(self) -> int | None:
        """How many characters fit, where that is not a matter of gigabytes; None for what is not text."""
        if self.base in CHARS:
            return self.number
        size = TEXTS.get(self.base)
        return None if size is None else size // (CHARACTER if self.charset == "utf8mb4" else 1)


def type_of(column: Column, origin: str, flavour: Flavour) -> str:
    """The type to create for a column of ``origin``: native again where it means the same here."""
    if origin in FAMILY and column.native and (again := _again(column, flavour)) is not None:
        return again
    return equivalent(column.type, flavour)


def equivalent(type_: LogicalType, flavour: Flavour) -> str:
    """The best type for a logical type."""
    if type_.kind is Kind.DECIMAL:
        return _decimal(type_) or flavour.text
    if type_.kind is Kind.UUID:
        return "uuid" if flavour.has("uuid") else UUID_TEXT
    return EQUIVALENT.get(type_.kind) or flavour.text


def _decimal(type_: LogicalType) -> str | None:
    """``decimal(p,s)``; None where it has no bounds, or bounds that there are not here."""
    precision, scale = type_.precision, type_.scale
    if precision is None or scale is None:
        return None
    # A scale below zero means zeros before the point, one above the precision zeros behind it.
    precision, scale = max(precision - min(scale, 0), scale), max(scale, 0)
    return (
        f"decimal({precision},{scale})" if precision <= LARGEST_PRECISION and scale <= LARGEST_SCALE else None
    )


def _again(column: Column, flavour: Flavour) -> str | None:
    """A native type of the family as this server spells it; None where it does not have it."""
    own = replace(NativeType.parse(column.native), compressed=False)
    base, length = own.name, own.length or 1
    if not flavour.has(base):
        return None
    if base == "decimal" and (own.scale or 0) > LARGEST_SCALE and flavour.name == MYSQL:
        return None  # MariaDB has scales up to 38
    if base in CHARS:
        if length > LONGEST_VARCHAR:
            base = "text" if length * CHARACTER <= TEXTS["text"] else "mediumtext"
        else:
            base = f"{base}({own.length or 0})"
    elif base in TEXTS and own.charset != "utf8mb4":
        # Its bytes were of a narrower character set: as many characters may need the next type.
        names = list(TEXTS)
        base = names[min(names.index(base) + 1, len(names) - 1)]
    elif base in ("enum", "set"):
        base = labelled(own)
    elif own.charset is None:
        return str(own)
    return flavour.textual(base)


def labelled(type_: NativeType) -> str:
    """An enum or set in DDL of our sessions, in which a backslash is nothing special."""
    labels = ",".join("'" + label.replace("'", "''") + "'" for label in type_.labels)
    return f"{type_.name}({labels})"


def key_types(types: Sequence[str], flavour: Flavour) -> list[str]:
    """The types of a key's columns: what has no length, or a great one, gets one such that the whole key
    can be indexed. A longer value is then refused, never cut."""
    spelled = [Spelled.of(t) for t in types]
    needs = {i: need for i, s in enumerate(spelled) if (need := _bytes(s)) is not None}
    left = KEY_BYTES - 16 * (len(types) - len(needs))
    out = list(types)
    for place, (i, need) in enumerate(sorted(needs.items(), key=lambda item: item[1])):
        share = min(need, left // (len(needs) - place))
        left -= share
        base = spelled[i].base
        if base in BLOBS or base in BINARIES:
            out[i] = types[i] if base == "binary" and share == need else f"varbinary({share})"
        elif share < need or base not in CHARS:
            out[i] = flavour.textual(f"varchar({share // CHARACTER})")
    return out


def _bytes(spelled: Spelled) -> int | None:
    """The bytes that a column of variable length takes of a key; None for those of a small, fixed one."""
    if spelled.base in BLOBS or spelled.base in TEXTS or spelled.base == "json" or spelled.base in GEOMETRIES:
        return KEY_BYTES
    if spelled.base in CHARS:
        return spelled.number * (1 if spelled.charset == "ascii" else CHARACTER)
    return spelled.number if spelled.base in BINARIES else None


def fit(existing: str, wanted: str, column: Column, flavour: Flavour) -> Fit:
    """How a column of type ``existing`` suits ``column``, for which ``wanted`` would be created."""
    if holds(existing, wanted, flavour) or _suffices(Spelled.of(existing), wanted, column, flavour):
        return "fits"
    return "widen" if holds(wanted, existing, flavour) else "differs"


def _suffices(existing: Spelled, wanted: str, column: Column, flavour: Flavour) -> bool:
    """Whether somebody's column may stay though it does not hold everything: what it does not hold is refused
    when it comes. Text that has no length at its source needs none of four gigabytes here, and a number that
    JSON would round is a rare one."""
    if existing.base == "json":
        return column.type.kind is Kind.JSON
    bounds = column.native.partition(" ")[0]
    bounded = (bounds and wanted.startswith(bounds)) or " character set " in column.native
    boundless = Spelled.of(wanted).textual and not bounded
    return boundless and existing.textual and existing.base != "char" and existing.charset == "utf8mb4"


def holds(big: str, small: str, flavour: Flavour) -> bool:
    """Whether a column of type ``big`` takes every value of type ``small`` unchanged."""
    wide, narrow = Spelled.of(big), Spelled.of(small)
    if flavour.name == MARIADB:
        # Its json is a longtext that is checked.
        wide, narrow = _unaliased(wide), _unaliased(narrow)
    if wide.textual:
        return _text_holds(wide, narrow)
    if wide.base in BLOBS or wide.base in BINARIES:
        return _bytes_hold(wide, narrow)
    if narrow.base in INTEGERS:
        return _integer_fits(wide, narrow)
    return narrow.base in WIDER.get(wide.base, (wide.base,)) and _longer(wide, narrow)


def _longer(wide: Spelled, narrow: Spelled) -> bool:
    """Whether the arguments of types, one of which can hold the other, allow as much."""
    match wide.base:
        case "decimal":
            return _decimal_holds(wide, narrow)
        case "datetime" | "time" | "timestamp":
            return wide.native.digits >= narrow.native.digits
        case "enum" | "set":
            return set(narrow.native.labels) <= set(wide.native.labels)
        case "bit":
            return wide.number >= narrow.number
        case "vector":
            return wide.number == narrow.number
        case _:
            return True


def _unaliased(spelled: Spelled) -> Spelled:
    return Spelled(NativeType("longtext", charset="utf8mb4")) if spelled.base == "json" else spelled


def _text_holds(wide: Spelled, narrow: Spelled) -> bool:
    size = wide.characters or 0
    if narrow.base in BLOBS or narrow.base in BINARIES or narrow.base in GEOMETRIES or narrow.base == "bit":
        return False
    if narrow.base in ("enum", "set"):
        labels = narrow.native.labels
        need = max(map(len, labels), default=0) if narrow.base == "enum" else len(",".join(labels))
        return size >= need and wide.charset == "utf8mb4"
    if narrow.base == "json":
        return wide.base == "longtext"
    if not narrow.textual:
        return size >= ANY_NUMBER
    if wide.charset not in (narrow.charset, "utf8mb4") and narrow.charset != "ascii":
        return False
    return size >= (narrow.characters or 0) and not (wide.base == "char" and narrow.base != "char")


def _bytes_hold(wide: Spelled, narrow: Spelled) -> bool:
    if wide.base == "binary":
        return wide == narrow
    if narrow.base not in BLOBS and narrow.base not in BINARIES:
        return False
    if wide.base == "varbinary" and narrow.base == "longblob":
        return True

    def size(s: Spelled) -> int:
        return BLOBS.get(s.base) or s.number

    return size(wide) >= size(narrow)


def _integer_fits(wide: Spelled, narrow: Spelled) -> bool:
    low, high = _range(narrow)
    match wide.base:
        case "decimal":
            before = 10 ** (wide.number - (wide.native.scale or 0))
            return high < before and (low >= 0 or not wide.native.unsigned)
        case "double" | "float":
            return high < 2 ** (53 if wide.base == "double" else 24)
        case "bit":
            return narrow.base == "tinyint" and narrow.native.length == 1
        case base if base in INTEGERS:
            least, most = _range(wide)
            return least <= low and high <= most
        case _:
            return False


def _range(spelled: Spelled) -> tuple[int, int]:
    bits = 8 * INTEGERS[spelled.base]
    return (0, 2**bits - 1) if spelled.native.unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _decimal_holds(wide: Spelled, narrow: Spelled) -> bool:
    scale, other = wide.native.scale or 0, narrow.native.scale or 0
    before = wide.number - scale >= narrow.number - other
    return before and scale >= other and (narrow.native.unsigned or not wide.native.unsigned)
