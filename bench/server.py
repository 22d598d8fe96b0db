"""The server that everybody reads from: one of our own, on a loopback port, for all contenders alike."""

from __future__ import annotations

import contextlib
import socket
import time
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

    name = "postgres"

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        super().__init__(settings={**SETTINGS, "port": str(self.port)})

    def url(self, database: str = "postgres") -> str:
        """A URL for ``database`` over TCP."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def source(self, database: str) -> dict[str, Any]:
        """The source that reads the orders of ``database``."""
        return {"type": "postgres-wal", "url": self.url(database), "tables": ["public.orders"]}

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """A connection in autocommit mode."""
        return psycopg.connect(self.url(database), autocommit=True)

    def create(self, database: str, tables: bool = True) -> None:
        """A fresh database, with the workload's table and procedures, published as ``bench``."""
        with self.connect("postgres") as admin:
            self._drop_slots(admin, database)
            admin.execute(f"drop database if exists {database} with (force)".encode())
            admin.execute(f"create database {database}".encode())
        if tables:
            with self.connect(database) as conn:
                conn.execute(load("bench", "workload.sql")["schema"].encode())
                conn.execute("create publication bench for table orders")

    def _drop_slots(self, admin: psycopg.Connection[Any], database: str) -> None:
        """What a contender left behind, or what the server has not noticed yet that it is gone."""
        for _ in range(1000):
            slots = admin.execute(
                "select slot_name, active_pid from pg_replication_slots where database = %s", [database]
            ).fetchall()
            if not slots:
                return
            for name, pid in slots:
                with contextlib.suppress(psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
                    if pid is not None:
                        admin.execute("select pg_terminate_backend(%s)", [pid])
                    else:
                        admin.execute("select pg_drop_replication_slot(%s)", [name])
            time.sleep(0.01)
        raise TimeoutError(f"slots of {database} are still in use")

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
