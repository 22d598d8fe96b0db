"""Postgres for tests: a server of our own for the whole session, a fresh database for each test.

``LIBERATOR_TEST_POSTGRES`` (the URL of a superuser at a server with ``wal_level=logical``) replaces the
server; tests that kill or restart a server always start their own.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from connectors.postgres.server import PostgresServer

GIVEN = "LIBERATOR_TEST_POSTGRES"
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
#: The machine does not crash during the tests, and what a killed server wrote is there all the same.
UNSYNCED = {"fsync": "off", "full_page_writes": "off"}
#: For tests: as above, and transactions can be prepared.
SETTINGS = {**UNSYNCED, "max_prepared_transactions": "4"}

#: By server, databases of tests that are over. Dropped at once, each would have the server wait a tenth of a
#: second for connections that are just ending.
LEFT: dict[str, list[str]] = {}


class GivenServer:
    """A server that somebody else runs; the part of PostgresServer that most tests need."""

    def __init__(self, url: str, default: str = "postgres"):
        self._url, self._default = url, default

    def url(self, database: str | None = None) -> str:
        """The given URL, pointing at ``database``."""
        path = self._default if database is None else database
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{path}"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer | GivenServer]:
    """The session's server: the newest Postgres, from the wheel, unless one is given by environment."""
    if given := os.environ.get(GIVEN):
        server = GivenServer(given)
        yield server
        with psycopg.connect(server.url(), autocommit=True) as admin:
            drop_left(server, admin)
        return
    with PostgresServer(settings=SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def postgres15() -> Iterator[PostgresServer]:
    """A Postgres 15 from Debian's package, where it is installed."""
    if not (DEBIAN_15 / "initdb").exists():
        pytest.skip(f"Debian's Postgres 15 is not installed ({DEBIAN_15})")
    with PostgresServer(binaries=DEBIAN_15, settings=SETTINGS) as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer | GivenServer) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped afterwards with its slots."""
    yield from fresh_database(postgres)


@pytest.fixture
def database2(postgres: PostgresServer | GivenServer) -> Iterator[str]:
    """The URL of a second fresh database at the same server, for a target."""
    yield from fresh_database(postgres)


@pytest.fixture
def database15(postgres15: PostgresServer) -> Iterator[str]:
    """The URL of a fresh, empty database at Postgres 15."""
    yield from fresh_database(postgres15)


def fresh_database(server: PostgresServer | GivenServer) -> Iterator[str]:
    """Create a database, yield its URL, drop its slots and leave it to be dropped by the next one."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url(), autocommit=True) as admin:
        drop_left(server, admin)
        admin.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    try:
        yield server.url(name)
    finally:
        with psycopg.connect(server.url(), autocommit=True) as admin:
            drop_slots(admin, name)
        LEFT.setdefault(server.url(), []).append(name)


def drop_left(server: PostgresServer | GivenServer, admin: psycopg.Connection) -> None:
    """Drop the databases of tests that are over, with whatever still holds them."""
    for name in LEFT.pop(server.url(), ()):
        admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def drop_slots(admin: psycopg.Connection, database: str, timeout: float = 10) -> None:
    """Drop every replication slot of ``database``, ending whoever reads it."""
    deadline = time.monotonic() + timeout
    while True:
        rows = admin.execute(
            "select slot_name, active_pid from pg_replication_slots where database = %s", [database]
        ).fetchall()
        if not rows:
            return
        for name, pid in rows:
            if pid is not None:
                admin.execute("select pg_terminate_backend(%s)", [pid])
                continue
            # In use again or gone already: somebody was quicker, look again.
            with contextlib.suppress(psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
                admin.execute("select pg_drop_replication_slot(%s)", [name])
        if time.monotonic() > deadline:
            raise TimeoutError(f"slots of {database} are still in use")
        time.sleep(0.02)
