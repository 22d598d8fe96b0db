"""Types of columns at a Postgres target: which type to create, and what an existing one can hold.

A column whose source is Postgres too gets its native type again, if the target knows it and it means the
same there; a type of the source's own (enum, extension) is looked for by name. Everything else gets the
best equivalent of its logical type. Nothing here talks to a database: what the target knows is passed in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from connectors.postgres.types.builtin import BUILTIN
from liberator.schema import Kind, LogicalType

#: What is created for a logical type where the source's own type cannot be.
EQUIVALENT = {
    Kind.BOOL: "boolean",
    Kind.INT16: "smallint",
    Kind.INT32: "integer",
    Kind.INT64: "bigint",
    Kind.UINT64: "numeric(20,0)",
    Kind.FLOAT32: "real",
    Kind.FLOAT64: "double precision",
    Kind.DECIMAL: "numeric",
    Kind.STRING: "text",
    Kind.BYTES: "bytea",
    Kind.DATE: "date",
    Kind.TIME: "time without time zone",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.TIMESTAMPTZ: "timestamp with time zone",
    Kind.INTERVAL: "interval",
    Kind.UUID: "uuid",
    Kind.JSON: "jsonb",
    Kind.ENUM: "text",
    Kind.BITS: "bit varying",
    Kind.GEOMETRY: "bytea",
    Kind.NATIVE: "text",
}
#: Built-in types whose text means something only at the server that wrote it: names of its tables and
#: roles, its locale's money, internals. Their values are kept as text.
LOCAL = frozenset(
    {
        "regproc", "regprocedure", "regoper", "regoperator", "regclass", "regtype", "regconfig",
        "regdictionary", "regnamespace", "regrole", "regcollation", "money", "aclitem", "pg_node_tree",
        "gtsvector", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
        "pg_brin_minmax_multi_summary", "refcursor",
    }
)  # fmt: skip
#: By spelling, the name in the catalog of each built-in type; ``bit`` is spelled without quotes when it
#: has a length.
NAMES = {spelling: name for _, _, name, spelling in BUILTIN} | {"bit": "bit", "character": "bpchar"}

#: For each type those that hold all of its values, besides itself and text.
WIDER = {
    "smallint": {"integer", "bigint", "real", "double precision"},
    "integer": {"bigint", "double precision"},
    "oid": {"bigint"},
    "real": {"double precision"},
    "character": {"character varying", "bpchar"},
    "bpchar": {"character varying"},
    "character varying": {"bpchar"},
    "name": {"character varying"},
    "date": {"timestamp without time zone"},
    "time without time zone": {"interval"},
    "json": {"jsonb"},
    "jsonb": {"json"},
    "bit": {"bit varying"},
    "cidr": {"inet"},
}
#: Digits before the point that an integer needs.
DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}

_NATIVE = re.compile(
    r'(?P<base>(?:"(?:[^"]|"")*"|[^"(\[])*?)(?:\((?P<args>[^()"]*)\))?(?P<tail> (?:with|without) time zone)?'
    r"(?P<dims>(?:\[\])*)"
)
_IDENTIFIER = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


@dataclass(frozen=True, slots=True)
class Spelled:
    """A type's spelling, taken apart: ``timestamp(3) without time zone[]`` is the base
    ``timestamp without time zone``, the arguments ``("3",)`` and an array."""

    base: str
    args: tuple[str, ...] = ()
    array: bool = False

    @classmethod
    def of(cls, text: str) -> Spelled:
        """Take a spelling apart; one that cannot be is all base."""
        match = _NATIVE.fullmatch(text)
        if match is None:
            return cls(text)
        args = tuple(a.strip() for a in match["args"].split(",")) if match["args"] else ()
        return cls(match["base"] + (match["tail"] or ""), args, bool(match["dims"]))

    @property
    def builtin(self) -> str | None:
        """The name in the catalog of a built-in type."""
        return "interval" if self.base.startswith("interval ") else NAMES.get(self.base)

    @property
    def number(self) -> int | None:
        """The single or first argument as a number."""
        return int(self.args[0]) if self.args and self.args[0].lstrip("-").isdigit() else None

    def names(self) -> tuple[str | None, str]:
        """Schema and name of a type that is not built in."""
        parts = [
            quoted.replace('""', '"') if quoted else bare for quoted, bare in _IDENTIFIER.findall(self.base)
        ]
        return (parts[-2] if len(parts) > 1 else None), parts[-1]

    def modified(self, base: str) -> str:
        """``base`` with our arguments and array brackets."""
        args = f"({','.join(self.args)})" if self.args else ""
        return base + args + ("[]" if self.array else "")


def equivalent(type_: LogicalType) -> str:
    """The best type for a logical type, as ``format_type`` spells it."""
    if type_.kind is Kind.ARRAY:
        assert type_.item is not None
        # An array's elements may be arrays of any number of dimensions: Postgres spells all alike.
        return equivalent(type_.item).removesuffix("[]") + "[]"
    precision, scale = type_.precision, type_.scale
    if type_.kind is Kind.DECIMAL and precision is not None and scale is not None:
        # Postgres 13 and 14 know no scale below zero or above the precision; plain numeric holds it.
        return f"numeric({precision},{scale})" if 0 <= scale <= precision <= 1000 else "numeric"
    return EQUIVALENT[type_.kind]


def holds(big: str, small: str) -> bool:
    """Whether a column of type ``big`` holds every value of type ``small``, unchanged."""
    if big == small:
        return True
    wide, narrow = Spelled.of(big), Spelled.of(small)
    if wide.base in ("text", "character varying") and not wide.args and not wide.array:
        return True
    if wide.array != narrow.array:
        return False
    if wide.base == narrow.base:
        return _longer(wide, narrow)
    if wide.base == "interval" and not wide.args and narrow.builtin == "interval":
        return True
    if wide.base == "numeric" and narrow.base in DIGITS:
        return _before_point(wide) >= DIGITS[narrow.base]
    if wide.base not in WIDER.get(narrow.base, ()):
        return False
    return not wide.args or (wide.number or 0) >= (narrow.number or 1 << 30)


def _longer(wide: Spelled, narrow: Spelled) -> bool:
    """Whether arguments of one and the same type allow as much."""
    if not wide.args or wide.args == narrow.args:
        return wide.base != "bit" or wide.args == narrow.args
    if not narrow.args or wide.base == "bit":
        return False
    if wide.base == "numeric":
        return _before_point(wide) >= _before_point(narrow) and _scale(wide) >= _scale(narrow)
    return (wide.number or 0) >= (narrow.number or 0)


def _scale(type_: Spelled) -> int:
    return int(type_.args[1]) if len(type_.args) > 1 else 0


def _before_point(type_: Spelled) -> int:
    return (type_.number or 0) - _scale(type_) if type_.args else 1 << 30
