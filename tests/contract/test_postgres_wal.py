"""The WAL source keeps every promise of a source, on the newest Postgres and on Debian's 15."""

from __future__ import annotations

from typing import ClassVar

import psycopg
import pytest

from connectors.postgres.wal.source import PostgresWal
from liberator.testing.source_contract import SourceContract

TABLE = "create table contract (id bigint primary key, note text)"
STATEMENTS = {
    "insert": "insert into contract values (%(id)s, %(note)s)",
    "update": "update contract set note = %(note)s where id = %(id)s",
    "delete": "delete from contract where id = %(id)s",
}


class WalContract(SourceContract):
    url: str
    sizes: ClassVar[dict[str, int]] = {}

    def make(self):
        config = {"type": "postgres-wal", "url": self.url, "tables": ["public.contract"], "heartbeat": 1}
        return PostgresWal("contract", PostgresWal.Config(**config, **self.sizes))

    def change(self, *changes):
        with psycopg.connect(self.url) as db:
            for operation, values in changes:
                db.execute(STATEMENTS[operation], values)


class TestWal(WalContract):
    @pytest.fixture(autouse=True)
    def _table(self, database):
        self.url = database
        with psycopg.connect(database) as db:
            db.execute(TABLE)


class TestWalInSmallPieces(TestWal):
    """Transactions and tables are cut into many batches and chunks."""

    sizes: ClassVar[dict[str, int]] = {"batch": 10, "chunk": 10}


class TestWalOnPostgres15(WalContract):
    @pytest.fixture(autouse=True)
    def _table(self, database15):
        self.url = database15
        with psycopg.connect(database15) as db:
            db.execute(TABLE)
