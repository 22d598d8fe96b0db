"""Partitions that join a table with rows in them.

``alter table … attach partition`` writes no row changes, and from then on the rows are the table's. So the
partitions of each table are remembered, and where one is new that has rows from before it joined, the
table is read again. One that was made as a partition is empty then, and costs nothing. Of rows that leave
with a partition (detached, dropped, truncated by itself) the server tells nothing at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import psycopg

from connectors.postgres import catalog
from connectors.postgres.catalog import Table
from connectors.postgres.connection import Connection, translate
from connectors.postgres.wal.options import WalOptions
from connectors.postgres.wal.snapshots import Snapshots


class Partitions:
    """The partitions of all captured tables as of the last look: at first, those noted in ``identity``."""

    def __init__(
        self, conn: Connection, snapshots: Snapshots, identity: Mapping[str, Any], options: WalOptions
    ):
        #: The oid of a table, as text, to those of its partitions; replaced, never changed.
        self._known: Mapping[str, list[int]] = identity.get("partitions", {})
        self._conn = conn
        self._snapshots = snapshots
        self._reread = options.reread_after_ddl and options.snapshot != "none"

    def look(self, tables: Collection[Table]) -> bool:
        """Have tables read again that partitions with rows have joined since the last look; whether any
        table's partitions are others than they were."""
        now = {str(t.oid): sorted(t.leaves) for t in tables if t.kind == "p"}
        changed = {oid: leaves for oid, leaves in now.items() if self._known.get(oid) != leaves}
        for table in tables if changed else ():
            new = set(changed.get(str(table.oid), ())) - set(self._known.get(str(table.oid), table.leaves))
            if self._reread and any(map(self._brought_rows, new)):
                self._read_again(table)
        self._known = {**self._known, **changed}
        return bool(changed)

    def noted(self, identity: Mapping[str, Any]) -> Mapping[str, Any]:
        """``identity`` with what is known now: the same object, if it says so."""
        if self._known == identity.get("partitions", {}):
            return identity
        return {**identity, "partitions": self._known}

    def _read_again(self, table: Table) -> None:
        progress, name = self._snapshots.progress, table.full_name
        if name in progress:
            known = progress[name]
            progress.request(name, table.estimate, empty=not table.keyed)
            # Sinks lack rows now, as before the first reading: an update of one of them may come first.
            progress.update(name, id=known.id, complete=False)

    def _brought_rows(self, oid: int) -> bool:
        """Whether a partition has rows that may be older than its membership: any, if it was a table before;
        those of that very transaction, if it was made in the one that attached it, or as a partition."""
        with translate("look at a new partition"):
            found = catalog.rows(self._conn, "partition", {"oid": oid})
            if not found:
                return False
            (leaf,) = found
            those = "" if leaf["older"] else f" where age(r.xmin) >= {leaf['age']}"
            query = f"select exists (select from only {leaf['name']} as r{those})"
            try:
                row = self._conn.execute(query.encode()).fetchone()
            except psycopg.errors.InsufficientPrivilege:
                return True  # may be read through its table only
        return row is None or bool(row[0])
