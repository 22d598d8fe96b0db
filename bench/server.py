"""The server that everybody reads from: one of our own, on a loopback port, for all contenders alike."""

from __future__ import annotations

import socket
from typing import Any

import psycopg

from connectors.postgres.server import PostgresServer
from connectors.sql.statements import load

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",  # a checkpoint in the middle would fall on one contender alone
    "wal_sender_timeout": "0",  # contenders stand still while the load is written
    "track_commit_timestamp": "on",
    "autovacuum": "off",
}


class BenchServer(PostgresServer):
    """A PostgresServer reached over TCP, because not every contender can use a Unix socket."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        super().__init__(settings={**SETTINGS, "port": str(self.port)})

    def url(self, database: str = "postgres") -> str:
        """A URL for ``database`` over TCP."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """A connection in autocommit mode."""
        return psycopg.connect(self.url(database), autocommit=True)

    def create(self, database: str, tables: bool = True) -> None:
        """A fresh database, with the workload's table and procedures, published as ``bench``."""
        with self.connect("postgres") as admin:
            admin.execute(f"drop database if exists {database} with (force)".encode())
            admin.execute(f"create database {database}".encode())
        if tables:
            with self.connect(database) as conn:
                conn.execute(load("bench", "workload.sql")["schema"].encode())
                conn.execute("create publication bench for table orders")

    def write(self, database: str, first: int, last: int, per_transaction: int) -> None:
        """Commit the orders ``first`` to ``last``."""
        with self.connect(database) as conn:
            conn.execute("call write_orders(%s, %s, %s)", [first, last, per_transaction])
            conn.execute("checkpoint")

    def version(self) -> str:
        """As ``show server_version`` says."""
        with self.connect("postgres") as conn:
            row = conn.execute("show server_version").fetchone()
        assert row is not None
        return str(row[0])
