"""What a table looks like: columns, logical types, the version's fingerprint.

Sources describe their tables in these words, codecs compile encoders from them, sinks create tables
from them. How one database spells a type lives with its connector.

**Physical values.** A row holds, per logical type:

=============  ==========================================================================
bool           bool
int16 32 64    int
uint64         int, 0 to 2^64 - 1
float32 64     float (a float32 is the exact double of its 32 bits)
decimal(p,s)   int, the unscaled value: 12.30 of decimal(10,2) is 1230
decimal        (unscaled int, scale int): the scale of an unbounded decimal varies by value
string         str
bytes          bytes
date           int, days since 1970-01-01
time           int, microseconds since midnight
timestamp      int, microseconds since 1970-01-01 00:00, no zone
timestamptz    int, microseconds since 1970-01-01 00:00 UTC
interval       (months, days, microseconds), three ints
uuid           str, lower case with hyphens
json           str, the document's text as the database spells it
enum           str, the label
array(T)       tuple of T or None: one dimension, lower bound 1
bits           str of 0 and 1
geometry       (WKB as bytes, SRID as int or None)
native         str, the database's own text
=============  ==========================================================================

**Escape.** Where a type can hold what its physical form cannot say (NaN in a decimal, an infinite or
BC date, year 294276, 24:00:00, an array of two dimensions), the value is the database's own text, a
``str``; :data:`ESCAPABLE` names these types. It is lossless, equal by ``==``, and readable.
"""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from liberator.errors import SchemaError


class Kind(enum.Enum):
    """The family of a logical type."""

    BOOL = "bool"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    STRING = "string"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    INTERVAL = "interval"
    UUID = "uuid"
    JSON = "json"
    ENUM = "enum"
    ARRAY = "array"
    BITS = "bits"
    GEOMETRY = "geometry"
    NATIVE = "native"


#: Types whose columns may hold a ``str`` in place of the physical value: the database's own text.
ESCAPABLE = frozenset(
    {
        Kind.DECIMAL,
        Kind.DATE,
        Kind.TIME,
        Kind.TIMESTAMP,
        Kind.TIMESTAMPTZ,
        Kind.INTERVAL,
        Kind.ARRAY,
    }
)


@dataclass(frozen=True, slots=True)
class LogicalType:
    """A logical type with its parameters.

    ``precision`` and ``scale`` belong to decimal (both None: unbounded); ``values`` to enum, in the
    database's order; ``item`` to array; ``name`` to native (the type's name at its database).
    """

    kind: Kind
    precision: int | None = None
    scale: int | None = None
    values: tuple[str, ...] = ()
    item: LogicalType | None = None
    name: str | None = None

    def __str__(self) -> str:
        match self.kind:
            case Kind.DECIMAL if self.precision is not None:
                return f"decimal({self.precision},{self.scale})"
            case Kind.ARRAY:
                return f"array({self.item})"
            case Kind.NATIVE:
                return f"native({self.name})"
            case _:
                return str(self.kind.value)

    def to_json(self) -> dict[str, Any]:
        """A plain dict that :meth:`from_json` reads back; parameters that are unset are left out."""
        out: dict[str, Any] = {"kind": self.kind.value}
        if self.precision is not None:
            out |= {"precision": self.precision, "scale": self.scale}
        if self.kind is Kind.ENUM:
            out["values"] = list(self.values)
        if self.item is not None:
            out["item"] = self.item.to_json()
        if self.name is not None:
            out["name"] = self.name
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LogicalType:
        """The inverse of :meth:`to_json`. Raises SchemaError for what it did not write."""
        try:
            return cls(
                Kind(data["kind"]),
                data.get("precision"),
                data.get("scale"),
                tuple(data.get("values", ())),
                cls.from_json(data["item"]) if "item" in data else None,
                data.get("name"),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as exc:
            raise SchemaError("not a logical type as liberator writes it") from exc


@dataclass(frozen=True, slots=True)
class Column:
    """One column: ``key`` is its place in the key, from 0, or None; ``native`` its type as the
    database spells it, ``default`` the default's SQL text; ``generated`` columns are computed by the
    database and never written by a sink."""

    name: str
    type: LogicalType
    nullable: bool = True
    key: int | None = None
    native: str = ""
    default: str | None = None
    generated: bool = False

    def to_json(self) -> dict[str, Any]:
        """A plain dict that :meth:`from_json` reads back."""
        out: dict[str, Any] = {
            "name": self.name,
            "type": self.type.to_json(),
            "native": self.native,
        }
        if not self.nullable:
            out["nullable"] = False
        if self.key is not None:
            out["key"] = self.key
        if self.default is not None:
            out["default"] = self.default
        if self.generated:
            out["generated"] = True
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Column:
        """The inverse of :meth:`to_json`."""
        try:
            return cls(
                data["name"],
                LogicalType.from_json(data["type"]),
                data.get("nullable", True),
                data.get("key"),
                data.get("native", ""),
                data.get("default"),
                data.get("generated", False),
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise SchemaError("not a column as liberator writes it") from exc


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One version of a table. ``dialect`` names the kind of database whose type names ``native``
    uses. Two versions are the same version iff their fingerprints are equal.

    ``key`` holds the indexes of the key columns in key order (empty: no key); ``names`` the column
    names in order; ``fingerprint`` 16 hex digits over everything above. All three are derived.
    """

    dialect: str
    database: str
    schema: str
    table: str
    columns: tuple[Column, ...]
    key: tuple[int, ...] = field(init=False, compare=False, repr=False)
    names: tuple[str, ...] = field(init=False, compare=False, repr=False)
    fingerprint: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        keyed = [(c.key, i) for i, c in enumerate(self.columns) if c.key is not None]
        names = tuple(c.name for c in self.columns)
        if len(set(names)) != len(names):
            raise SchemaError(f"table {self.schema}.{self.table} has two columns of one name")
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]
        object.__setattr__(self, "key", tuple(i for _, i in sorted(keyed)))
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "fingerprint", digest)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The key columns in key order."""
        return tuple(self.columns[i] for i in self.key)

    def to_json(self) -> dict[str, Any]:
        """A plain dict that :meth:`from_json` reads back."""
        return {
            "dialect": self.dialect,
            "database": self.database,
            "schema": self.schema,
            "table": self.table,
            "columns": [c.to_json() for c in self.columns],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TableSchema:
        """The inverse of :meth:`to_json`."""
        try:
            return cls(
                data["dialect"],
                data["database"],
                data["schema"],
                data["table"],
                tuple(Column.from_json(c) for c in data["columns"]),
            )
        except (KeyError, TypeError) as exc:
            raise SchemaError("not a table schema as liberator writes it") from exc
