"""Postgres's types: which logical type a column has, and how its type is spelled.

The built-in types are known beforehand (:mod:`.builtin`); enums, domains, composites,
ranges and extensions' types are read from the catalog, and again when an unknown oid or enum label turns
up in the stream. A type that we have no logical type for is ``native``: its text is carried as it is.
How text becomes a physical value follows from the logical type alone (:mod:`.values`).

Types are spelled as ``format_type`` does, with two rules instead of the session's search path: those in
``pg_catalog`` and ``public`` stand without their schema, all others with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import psycopg
from psycopg.rows import tuple_row

from connectors.postgres.types.arrays import delimiter
from connectors.postgres.types.builtin import BUILTIN, EXTENSION_KINDS, KINDS, numeric_parameters, spell
from connectors.postgres.types.values import UnknownLabel
from connectors.sql.statements import load
from liberator.errors import SchemaError
from liberator.schema import Kind, LogicalType, TableSchema

_SQL: Final = load("connectors.postgres.types", "types.sql")


class UnknownType(SchemaError):
    """A type that the catalog did not hold when it was last read."""


@dataclass(frozen=True, slots=True)
class PgType:
    """A row of ``pg_type``, as far as it matters here.

    ``kind`` is base, enum, domain, composite, range, multirange or pseudo, by its letter. ``element`` is
    the type that this one is the array of, ``delimiter`` what stands between the elements. ``base`` and
    ``typmod`` belong to domains, ``labels`` (in order) to enums; ``spelling`` is without a modifier.
    """

    oid: int
    name: str
    schema: str
    kind: Literal["b", "e", "d", "c", "r", "m", "p"]
    element: int | None = None
    delimiter: str = ","
    base: int | None = None
    typmod: int = -1
    labels: Sequence[str] = ()
    spelling: str = ""


def _builtin() -> Iterator[PgType]:
    for oid, array, name, spelling in BUILTIN:
        comma = ";" if name == "box" else ","
        yield PgType(oid, name, "pg_catalog", "b", delimiter=comma, spelling=spelling)
        if array:
            yield PgType(array, f"_{name}", "pg_catalog", "b", oid, comma, spelling=spelling + "[]")


_BUILTIN: Final = {t.oid: t for t in _builtin()}


class TypeCatalog:
    """The types of one database. A new one knows the built-in types only.

    ``column_type`` needs no connection; it raises UnknownType for what was not read yet, and remembers
    that it was asked for. ``refresh`` reads all types again, those asked for in vain too; what even then
    is not in the catalog (it was dropped since) is carried as a native type. ``resolve`` does both.
    """

    def __init__(self) -> None:
        self._types: dict[int, PgType] = dict(_BUILTIN)
        self._suffixes: dict[tuple[int, int], str] = {}
        self._wanted: set[int] = set()
        self._wanted_suffixes: set[tuple[int, int]] = set()

    @classmethod
    def load(cls, connection: psycopg.Connection[Any]) -> TypeCatalog:
        """All types that ``connection``'s database has now."""
        catalog = cls()
        catalog.refresh(connection)
        return catalog

    def refresh(self, connection: psycopg.Connection[Any]) -> None:
        """Read the database's types again. What is gone from the catalog stays known."""
        oids, pairs = sorted(self._wanted), sorted(self._wanted_suffixes)
        with connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(_SQL["types"].encode(), {"oids": oids})
            for row in cursor:
                if row[0] not in _BUILTIN:
                    self._types[row[0]] = PgType(*row)
            cursor.execute(
                _SQL["modifiers"].encode(),
                {"oids": [oid for oid, _ in pairs], "typmods": [typmod for _, typmod in pairs]},
            )
            self._suffixes |= {(oid, typmod): suffix for oid, typmod, suffix in cursor}
        for oid in oids:
            self._types.setdefault(oid, PgType(oid, f"oid {oid}", "", "p", spelling=f"oid {oid}"))
        for pair in pairs:
            self._suffixes.setdefault(pair, "")
        self._wanted.clear()
        self._wanted_suffixes.clear()

    def knows(self, oid: int, typmod: int = -1) -> bool:
        """Whether ``column_type`` has an answer without another ``refresh``."""
        try:
            self.column_type(oid, typmod)
        except UnknownType:
            return False
        return True

    def resolve(
        self, connection: psycopg.Connection[Any], oid: int, typmod: int = -1
    ) -> tuple[LogicalType, str]:
        """``column_type``, reading the catalog as often as it takes: a domain's base may be unknown too."""
        while True:
            try:
                return self.column_type(oid, typmod)
            except UnknownType:
                self.refresh(connection)

    def column_type(self, oid: int, typmod: int = -1) -> tuple[LogicalType, str]:
        """The logical type of a column, and its type as the database spells it.

        A domain is spelled by its own name and has its base's logical type. Raises UnknownType.
        """
        type_ = self._type(oid)
        if type_.element is not None:
            item, spelling = self.column_type(type_.element, typmod)
            if type_.delimiter != delimiter(item):
                return LogicalType(Kind.NATIVE, name=type_.spelling), spelling + "[]"
            return LogicalType(Kind.ARRAY, item=item), spelling + "[]"
        if type_.base is not None:
            return self.column_type(type_.base, type_.typmod)[0], type_.spelling
        return _logical(type_, typmod), self._spelling(type_, typmod)

    def _type(self, oid: int) -> PgType:
        try:
            return self._types[oid]
        except KeyError:
            self._wanted.add(oid)
            raise UnknownType(f"no type has the oid {oid}, as far as the catalog was read") from None

    def _spelling(self, type_: PgType, typmod: int) -> str:
        if type_.oid in _BUILTIN:
            return spell(type_.name, type_.spelling, typmod)
        if typmod < 0:
            return type_.spelling
        try:
            return type_.spelling + self._suffixes[type_.oid, typmod]
        except KeyError:
            self._wanted_suffixes.add((type_.oid, typmod))
            raise UnknownType(f"the modifier of a column of type {type_.spelling} was not read") from None


def _logical(type_: PgType, typmod: int) -> LogicalType:
    if type_.kind == "e":
        return LogicalType(Kind.ENUM, values=tuple(type_.labels))
    kinds = KINDS if type_.schema == "pg_catalog" else EXTENSION_KINDS
    kind = kinds.get(type_.name, Kind.NATIVE) if type_.kind == "b" else Kind.NATIVE
    if kind is Kind.NATIVE:
        return LogicalType(kind, name=type_.spelling)
    if kind is Kind.DECIMAL and typmod >= 0:
        precision, scale = numeric_parameters(typmod)
        return LogicalType(kind, precision, scale)
    return LogicalType(kind)


def with_label(schema: TableSchema, unknown: UnknownLabel) -> TableSchema:
    """The schema with one more label in the enum that lacked it, at its end.

    For a label that is not in the catalog either: the stream spells labels as they were when the row was
    written, and one may have been renamed since.
    """

    def extended(type_: LogicalType) -> LogicalType:
        if type_.item is not None:
            return replace(type_, item=extended(type_.item))
        return replace(type_, values=(*type_.values, unknown.label))

    columns = (replace(c, type=extended(c.type)) if c.name == unknown.column else c for c in schema.columns)
    return TableSchema(schema.dialect, schema.database, schema.schema, schema.table, tuple(columns))
