"""The tables that the stream speaks of: which schema version each has, here and now.

A schema comes up in three places, in a relation message of the stream, in a chunk of a snapshot, and in the
state of an earlier run; :meth:`Relations.seen` makes one shared object of equal ones and notices when a
table has changed between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connectors.postgres.catalog import Catalog, Table
from connectors.postgres.connection import Connection, translate
from connectors.postgres.types.native import with_label
from connectors.postgres.types.values import UnknownLabel
from connectors.postgres.wal.changes import Captured, message_schema
from connectors.postgres.wal.partitions import Partitions
from connectors.postgres.wal.pgoutput import Relation, RelationColumn
from connectors.postgres.wal.snapshots import Snapshots
from liberator.event import Row
from liberator.schema import TableSchema


class Relations:
    """What the decoder asks for when the stream describes a table, and what it tells.

    ``schemas`` is the part of a state that holds them, by oid; it is replaced, never changed. ``tables``
    are those captured now. ``renamed`` is called when a captured table has another name than it had.
    """

    def __init__(
        self,
        source: str,
        conn: Connection,
        catalog: Catalog,
        schemas: Mapping[str, Any],
        renamed: Callable[[], None],
    ):
        self.schemas = dict(schemas)
        self.tables: Mapping[int, Table] = {}
        self.snapshots: Snapshots | None = None
        self.partitions: Partitions | None = None
        self._source = source
        self._conn = conn
        self._catalog = catalog
        self._renamed = renamed
        self._known = {int(oid): TableSchema.from_json(schema) for oid, schema in schemas.items()}

    def described(self, relation: Relation) -> Captured:
        """A relation message: the table is new to this session, or was changed at this very place."""
        with translate(f"read the catalog for {relation.namespace}.{relation.name}"):
            schema = self._catalog.of_relation(relation, self._known.get(relation.oid))
            table = self.tables.get(relation.oid)
            if table is not None and table.kind == "p" and self.partitions is not None:
                # The server describes a table anew before the first row of a new partition.
                self.partitions.look([t for t in [self._catalog.table(table.oid)] if t is not None])
        if table is not None and (table.schema, table.name) != (relation.namespace, relation.name):
            self._renamed()
        schema = self.seen(relation.oid, schema)
        return self._attended(Captured(relation, schema, f"{self._source}.{schema.schema}.{schema.table}"))

    def seen(self, oid: int, schema: TableSchema) -> TableSchema:
        """Note a table's schema where it comes up; returns the one object that stands for this version."""
        known = self._known.get(oid)
        if known == schema:
            return known
        if known is not None and oid in self.tables and self.snapshots is not None:
            self.snapshots.changed(self.tables[oid], known, schema)
        self._known[oid] = schema
        self.schemas = {**self.schemas, str(oid): schema.to_json()}
        return schema

    def relabelled(self, captured: Captured, unknown: UnknownLabel) -> Captured:
        """An enum has a label that our catalog does not know: read the catalog again. A label that was
        renamed since the row was written is in no catalog; it is taken over from the stream."""
        with translate("read the types"):
            self._catalog.types.refresh(self._conn)
            schema = self._catalog.of_relation(captured.relation, None)
        if schema == captured.schema:
            schema = with_label(schema, unknown)
        return self._attended(captured.recompiled(self.seen(captured.relation.oid, schema)))

    def moved(self, captured: Captured, row: Row) -> None:
        """A row came to another key without its unchanged columns, while its table is being read."""
        if self.snapshots is not None:
            self.snapshots.moved(captured, row)

    def messages(self, database: str, prefixes: Sequence[str]) -> dict[str, Captured]:
        """What stands for a table where a logical message with one of ``prefixes`` is captured."""
        schema = message_schema(database)
        columns = tuple(RelationColumn(c.name, 0, -1, False) for c in schema.columns)
        relation = Relation(0, schema.schema, schema.table, "n", columns)
        return {p: Captured(relation, schema, f"{self._source}.message.{p}") for p in prefixes}

    def _attended(self, captured: Captured) -> Captured:
        if self.snapshots is not None:
            self.snapshots.attend(captured)
        return captured
