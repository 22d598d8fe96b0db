"""What a Postgres database holds: its tables, their columns and keys, as the catalog says *now*.

The stream itself says too little (no nullability, no defaults, no key order), so a table's schema comes
from here; where the catalog has moved on since the WAL was written, :func:`from_relation` makes do with
what the stream says. Types are :mod:`connectors.postgres.types.native`' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from connectors.postgres.connection import Connection, quote
from connectors.postgres.types.native import TypeCatalog
from connectors.postgres.wal.pgoutput import Relation
from connectors.sql.sink.bookkeeping import is_bookkeeping
from connectors.sql.statements import load
from liberator.errors import ConfigError, SourceError
from liberator.patterns import Patterns
from liberator.schema import Column, TableSchema

SQL = load("connectors.postgres", "catalog.sql")


@dataclass(frozen=True, slots=True)
class Table:
    """A table that can be captured. ``identity`` is the replica identity's letter (d, i, f, n);
    ``leaves`` are the oids that hold the rows; ``estimate`` the planner's idea of their number."""

    oid: int
    schema: str
    name: str
    kind: str
    identity: str
    ancestors: tuple[int, ...]
    leaves: tuple[int, ...]
    estimate: int
    has_primary: bool
    has_identity_index: bool

    @property
    def full_name(self) -> str:
        """``schema.table``, unquoted: what patterns match and people read."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The quoted name."""
        return quote(self.schema, self.name)

    @property
    def keyed(self) -> bool:
        """Whether its rows can be told apart: by the replica identity's index, or the primary key."""
        return self.has_identity_index if self.identity == "i" else self.has_primary

    @property
    def identified(self) -> bool:
        """Whether updates and deletes of this table can be published without failing at their writer."""
        match self.identity:
            case "f":
                return True
            case "i":
                return self.has_identity_index
            case "d":
                return self.has_primary
            case _:
                return False


def rows(conn: Connection, statement: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """All rows of a named statement of ``catalog.sql``, as dicts."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SQL[statement].encode(), params).fetchall()


def all_tables(conn: Connection) -> list[Table]:
    """Every table that could be captured, by name."""
    return [
        Table(
            r["oid"], r["nspname"], r["relname"], r["relkind"], r["relreplident"],
            tuple(r["ancestors"]), tuple(r["leaves"]), r["estimate"],
            r["has_primary"], r["has_identity_index"],
        )
        for r in rows(conn, "tables")
    ]  # fmt: skip


def captured(tables: Sequence[Table], patterns: Sequence[str], where: str) -> list[Table]:
    """The tables that ``patterns`` name. A partition whose root is named as well is left out: its
    changes arrive under the root. So is the bookkeeping of our sinks, unless it is named in full: each commit
    of a sink would be a change. Raises ConfigError if nothing is left; ``where`` is the option."""
    wanted = Patterns(patterns)
    chosen = {
        t.oid: t for t in tables if wanted(t.full_name) and not is_bookkeeping(t.name, t.full_name, patterns)
    }
    out = [t for t in chosen.values() if not any(a in chosen for a in t.ancestors)]
    if not out:
        raise ConfigError(
            f"{where}: no table matches {', '.join(patterns)}",
            hint="`select schemaname, tablename from pg_tables` lists what there is",
        )
    return out


class Catalog:
    """Reads table schemas over one connection. ``columns`` limits a table's columns by its full name;
    ``generated`` says whether stored generated columns are published (Postgres 18)."""

    def __init__(
        self,
        conn: Connection,
        database: str,
        columns: Mapping[str, Sequence[str]] | None = None,
        generated: bool = False,
    ):
        self._conn = conn
        self._database = database
        self._columns = columns or {}
        self._generated = generated
        self.types = TypeCatalog.load(conn)

    def schemas(self, tables: Sequence[Table]) -> dict[int, TableSchema]:
        """The schemas of ``tables`` by oid; a table without a published column is left out."""
        found: dict[int, list[dict[str, Any]]] = {t.oid: [] for t in tables}
        for row in rows(self._conn, "columns", {"oids": list(found)}):
            found[row["attrelid"]].append(row)
        out = {}
        for table in tables:
            published = [r for r in found[table.oid] if self._is_published(table, r)]
            if published:
                out[table.oid] = TableSchema(
                    "postgresql", self._database, table.schema, table.name,
                    tuple(self._column(r) for r in published),
                )  # fmt: skip
        return out

    def described(self, schema: str, table: str, columns: Sequence[dict[str, Any]]) -> TableSchema:
        """The schema that these rows of the statement ``columns`` describe."""
        return TableSchema("postgresql", self._database, schema, table, tuple(map(self._column, columns)))

    def _is_published(self, table: Table, row: dict[str, Any]) -> bool:
        if row["attgenerated"] and not (self._generated and row["attgenerated"] == "s"):
            return False
        names = self._columns.get(table.full_name)
        return names is None or row["attname"] in names

    def _column(self, row: dict[str, Any]) -> Column:
        logical, native = self._typed(row["atttypid"], row["atttypmod"])
        return Column(
            row["attname"],
            logical,
            nullable=not row["attnotnull"],
            key=row["key"],
            native=native,
            default=row["default"],
            generated=row["attgenerated"] != "",
        )

    def _typed(self, oid: int, typmod: int) -> tuple[Any, str]:
        return self.types.resolve(self._conn, oid, typmod)

    def table(self, oid: int) -> Table | None:
        """One table as it is now, or None if it is gone."""
        return next((t for t in all_tables(self._conn) if t.oid == oid), None)

    def of_relation(self, relation: Relation, known: TableSchema | None) -> TableSchema:
        """The schema for a relation message: from the catalog where it still agrees, else as it is
        ``known`` from before, else from the message alone (the table was changed again, or dropped,
        after this WAL was written)."""
        table = self.table(relation.oid)
        if table is not None:
            schema = self.schemas([table]).get(relation.oid)
            if schema is not None and self.agrees(schema, relation):
                return schema
        if known is not None and self.agrees(known, relation):
            return known
        return self.from_relation(relation)

    def from_relation(self, relation: Relation) -> TableSchema:
        """What a relation message alone says: names, types, which columns identify a row."""
        identified = [c.name for c in relation.columns if c.key] if relation.identity != "f" else []
        columns = []
        for column in relation.columns:
            logical, native = self._typed(column.type_oid, column.typmod)
            key = identified.index(column.name) if column.name in identified else None
            columns.append(Column(column.name, logical, nullable=key is None, key=key, native=native))
        return TableSchema("postgresql", self._database, relation.namespace, relation.name, tuple(columns))

    def agrees(self, schema: TableSchema, relation: Relation) -> bool:
        """Whether ``schema`` says what ``relation`` says: same name, columns, types, key."""
        if (schema.schema, schema.table) != (relation.namespace, relation.name):
            return False
        said = [(c.name, *self._typed(c.type_oid, c.typmod)) for c in relation.columns]
        if said != [(c.name, c.type, c.native) for c in schema.columns]:
            return False
        # With replica identity full every column is flagged; the key is then the primary key's matter.
        flagged = {c.name for c in relation.columns if c.key}
        keyed = {schema.columns[i].name for i in schema.key}
        return relation.identity in ("f", "n") or flagged == keyed


def server(conn: Connection) -> dict[str, Any]:
    """Facts about the server and our role; see ``catalog.sql``."""
    found = rows(conn, "server")
    if not found:
        raise SourceError("the server told nothing about itself")
    return found[0]
