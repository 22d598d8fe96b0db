"""``liberator setup`` and ``teardown`` for a WAL source: its publications and its slot, and nothing else."""

from __future__ import annotations

from connectors.postgres import catalog
from connectors.postgres.connection import Connection, connect, translate
from connectors.postgres.wal import publication
from connectors.postgres.wal.options import WalOptions
from connectors.postgres.wal.publication import Publication
from liberator.errors import ConfigError
from liberator.source import Managed


class Objects:
    """What the source ``name`` keeps at its server. Each method connects by itself."""

    def __init__(self, name: str, options: WalOptions, slot: str):
        self._name = name
        self._options = options
        self._slot = slot

    def listed(self) -> list[Managed]:
        """The publications and the slot, with their present state."""
        with self._connect() as conn, translate("look for slot and publication"):
            return publication.managed(conn, self._planned(conn), self._slot)

    def create(self) -> list[Managed]:
        """Create the publications, then the slot; returns what was missing or different."""
        with self._connect() as conn, translate("set up slot and publication"):
            planned = self._planned(conn)
            before = publication.managed(conn, planned, self._slot)
            publication.ensure(conn, planned)
            if publication.read_slot(conn, self._slot) is None:
                timeout = self._options.slot_timeout
                publication.create_slot(conn, self._slot, failover=self._options.failover, timeout=timeout)
            return [m for m in before if m.state != "present"]

    def remove(self) -> list[Managed]:
        """Drop the slot, then the publications, also those that no table is left for."""
        with self._connect() as conn, translate("remove slot and publication"):
            try:
                planned = self._planned(conn)
            except ConfigError:
                planned = []
            listed = publication.managed(conn, planned, self._slot)
            return publication.drop(conn, publication.with_strays(conn, self._options, self._name, listed))

    def _connect(self) -> Connection:
        return connect(self._options.url, f"liberator {self._name}")

    def _planned(self, conn: Connection) -> list[Publication]:
        where = f"sources.{self._name}.tables"
        tables = catalog.captured(catalog.all_tables(conn), self._options.tables, where)
        return publication.plan(self._options, self._name, tables, catalog.server(conn)["version"])
