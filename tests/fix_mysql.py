"""MySQL and MariaDB for tests: one server of each for the whole session, a fresh database for each test.

A server comes from the first of these that there is: ``LIBERATOR_TEST_MYSQL`` or ``LIBERATOR_TEST_MARIADB``
(the URL of a superuser at a server that logs rows with full metadata), a program on this machine
(``connectors/mysql/server.py`` says where it is looked for; ``tests/servers.sh`` installs them), Docker.
Where there is none its tests are skipped, and the report says so; in continuous integration they fail.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pymysql
import pytest

from connectors.mysql.server import (
    DEFAULTS,
    MariaDbServer,
    MySqlFamilyServer,
    MySqlServer,
    arguments,
    version,
)
from liberator.errors import SourceError
from tests.fix_postgres import GivenServer

GIVEN = {MySqlServer: "LIBERATOR_TEST_MYSQL", MariaDbServer: "LIBERATOR_TEST_MARIADB"}
IMAGES = {MySqlServer: "mysql:8.4", MariaDbServer: "mariadb:11.4"}
#: What their images call it that root has none.
EMPTY_PASSWORD = {
    MySqlServer: "MYSQL_ALLOW_EMPTY_PASSWORD",
    MariaDbServer: "MARIADB_ALLOW_EMPTY_ROOT_PASSWORD",
}

#: The machine does not crash during the tests, and what a killed server wrote is there all the same.
UNSYNCED = {"sync_binlog": "0", "innodb_flush_log_at_trx_commit": "2"}

ABSENT = "absent, its tests are skipped"

Server = MySqlFamilyServer | GivenServer


def pytest_report_header(config: pytest.Config) -> list[str]:
    """One line for each kind: which server the tests run against, or that they are skipped."""
    return [f"{kind.TITLE}: {_described(kind)}" for kind in GIVEN]


@pytest.fixture(scope="session")
def mysql() -> Iterator[Server]:
    """The session's MySQL."""
    yield from _server(MySqlServer)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """The session's MariaDB."""
    yield from _server(MariaDbServer)


@pytest.fixture(scope="session")
def mysql_binary() -> Path:
    """MySQL's program, for tests that start, kill and restart servers of their own."""
    return _binary(MySqlServer)


@pytest.fixture(scope="session")
def mariadb_binary() -> Path:
    """MariaDB's program, for tests that start, kill and restart servers of their own."""
    return _binary(MariaDbServer)


@pytest.fixture(params=["mysql", "mariadb"])
def mysqls(request: pytest.FixtureRequest) -> Server:
    """Each of the session's two servers in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def mysql_database(mysql: Server) -> Iterator[str]:
    """The URL of a fresh, empty database at MySQL, dropped afterwards."""
    yield from fresh_database(mysql)


@pytest.fixture
def mariadb_database(mariadb: Server) -> Iterator[str]:
    """The URL of a fresh, empty database at MariaDB, dropped afterwards."""
    yield from fresh_database(mariadb)


@pytest.fixture
def mysqls_database(mysqls: Server) -> Iterator[str]:
    """The URL of a fresh, empty database at each of the two in turn."""
    yield from fresh_database(mysqls)


def fresh_database(server: Server) -> Iterator[str]:
    """Create a database, yield its URL, drop it with whatever still holds it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with connected(server.url()) as admin:
        admin.cursor().execute(f"create database {name}")
    try:
        yield server.url(name)
    finally:
        with connected(server.url()) as admin:
            drop_database(admin, name)


def drop_database(admin: pymysql.Connection, name: str) -> None:
    """Drop a database, and end those first who are connected to it: their locks would be waited for."""
    cursor = admin.cursor()
    cursor.execute("set session lock_wait_timeout = 20")
    cursor.execute("select id from information_schema.processlist where db = %s", [name])
    for (connection,) in cursor.fetchall():
        with contextlib.suppress(pymysql.err.OperationalError):  # it has ended by itself
            cursor.execute("kill connection %s", [connection])
    cursor.execute(f"drop database if exists {name}")


def connected(url: str) -> contextlib.closing[pymysql.Connection]:
    """A connection in autocommit mode, closed at the end of the block."""
    parts = urlsplit(url)
    return contextlib.closing(
        pymysql.connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
            database=parts.path.strip("/") or None,
            autocommit=True,
        )
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Every test that lacks the same server is told of in one line, and not each in its own."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and ABSENT in report.longrepr[2]:
        report.longrepr = (__file__, None, report.longrepr[2])
    return report


def _server(kind: type[MySqlFamilyServer]) -> Iterator[Server]:
    if given := os.environ.get(GIVEN[kind]):
        yield GivenServer(given, default="")
    elif _found(kind) is None and _docker():
        yield from _container(kind)
    else:
        with kind(_binary(kind), options=UNSYNCED) as server:
            yield server


def _binary(kind: type[MySqlFamilyServer]) -> Path:
    if (found := _found(kind)) is not None:
        return found
    missing = f"{kind.TITLE}: {_described(kind)}"
    # A skip that nobody reads must not look like a pass.
    pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


def _found(kind: type[MySqlFamilyServer]) -> Path | None:
    try:
        return kind.find()
    except SourceError:
        return None


def _described(kind: type[MySqlFamilyServer]) -> str:
    if os.environ.get(GIVEN[kind]):
        return f"the server that {GIVEN[kind]} names"
    if (found := _found(kind)) is not None:
        return f"{found}, {version(found).partition('Ver ')[2].partition(' ')[0]}"
    if _docker():
        return f"Docker image {IMAGES[kind]}"
    return f"{ABSENT}; tests/servers.sh installs it, {GIVEN[kind]} names one"


def _docker() -> bool:
    """Whether a Docker engine answers."""
    if not shutil.which("docker"):
        return False
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def _container(kind: type[MySqlFamilyServer]) -> Iterator[GivenServer]:
    from testcontainers.core.container import DockerContainer  # the rest of the tests need no Docker

    inside = {"bind_address": "0.0.0.0", "innodb_use_native_aio": None}
    options = arguments({**DEFAULTS, **kind.OWN_DEFAULTS, **UNSYNCED, **inside})
    name = kind.NAME.upper()
    container = DockerContainer(IMAGES[kind]).with_exposed_ports(3306).with_command(" ".join(options))
    container = container.with_env(f"{name}_ROOT_HOST", "%")
    container = container.with_env(EMPTY_PASSWORD[kind], "yes")
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(3306)
        server = GivenServer(f"mysql://root@{host}:{port}/", default="")
        _wait_for(server.url())
        yield server


def _wait_for(url: str, timeout: float = 120) -> None:
    """Until a server that was just started takes connections. While its image prepares it, it has no port."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            with connected(url):
                return
        except pymysql.err.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
