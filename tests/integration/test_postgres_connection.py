"""What breaks with a server is told in words, and known to be worth another try."""

from __future__ import annotations

import contextlib
import threading

import psycopg
import pytest

from connectors.postgres.connection import connect, dsn, translate
from connectors.postgres.server import PostgresServer
from liberator.errors import SourceError


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout",
        "select pg_sleep(30)",
    ],
)
def test_a_server_that_dies_in_the_middle_is_worth_another_try(statement):
    with PostgresServer() as server, contextlib.closing(connect(server.url())) as conn:
        with pytest.raises(SourceError) as caught, translate("read"):
            read(conn, statement, server)
        assert caught.value.retryable
        assert "server closed the connection unexpectedly" in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(SourceError) as caught:
            connect(server.url())
        assert caught.value.retryable


def test_a_server_that_is_gone_without_a_word_is_noticed_in_a_minute_unless_the_url_says_otherwise():
    """A lost network cannot be had here; what the kernel is asked to do about one can."""
    options = psycopg.conninfo.conninfo_to_dict(dsn("postgresql://shop@db/shop?keepalives_count=7", "test"))
    dead = int(options["keepalives_idle"]) + int(options["keepalives_interval"]) * 4
    assert dead <= 60 and int(options["tcp_user_timeout"]) <= 60_000
    assert options["keepalives_count"] == "7"


def read(conn: psycopg.Connection, statement: str, server: PostgresServer) -> None:
    with conn.cursor() as cursor:
        if statement.startswith("copy"):
            with cursor.copy(statement.encode()) as copy:
                for number, _ in enumerate(copy):
                    if number == 10:
                        server.kill()
        else:
            killer = threading.Timer(0.5, server.kill)
            killer.start()
            try:
                cursor.execute(statement.encode())
            finally:
                killer.join()
