"""Targets for tests of SQL sinks: the same few verbs over a SQLite file and databases at servers."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from pymysql.constants import CLIENT

from connectors.mysql.connection import connect
from connectors.mysql.sink.sink import MysqlSink
from connectors.postgres.sink.sink import PostgresSink
from connectors.sql.sink.sink import SqlSink
from connectors.sqlite.sink import SqliteSink
from liberator.event import ChangeEvent
from liberator.log import Cursor

LOG = "test-log"


def at(offset: int) -> Cursor:
    """A cursor of an ordered log."""
    return Cursor(LOG, {"": offset})


class Target:
    """One database that sinks write to."""

    kind: str
    url: str

    def sink(self, name: str = "sink", **options: Any) -> SqlSink:
        """A new sink on this target, not opened."""
        raise NotImplementedError

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query, over a connection of its own."""
        raise NotImplementedError

    def execute(self, script: str) -> None:
        """Run statements, and commit them."""
        raise NotImplementedError

    def apply(self, *batches: Sequence[ChangeEvent], name: str = "sink", **options: Any) -> None:
        """Open a sink, write and commit each batch, close."""
        sink = self.sink(name, **options)
        try:
            sink.open()
            for number, events in enumerate(batches, 1):
                sink.write(list(events))
                sink.commit(at(number))
        finally:
            sink.close()

    def rows(self, table: str, columns: str = "*") -> set[tuple[Any, ...]]:
        """The rows of a table; fails if two are equal."""
        rows = self.query(f'select {columns} from "{table}"')
        assert len(set(rows)) == len(rows)
        return set(rows)


class SqliteTarget(Target):
    """A SQLite file."""

    kind = "sqlite"

    def __init__(self, path: Path):
        self.path = path
        self.url = f"sqlite:///{path}"

    def sink(self, name: str = "sink", **options: Any) -> SqliteSink:
        return SqliteSink(name, SqliteSink.Config(type="sqlite", url=self.url, **options))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as conn:
            return conn.execute(sql).fetchall()

    def execute(self, script: str) -> None:
        with closing(sqlite3.connect(self.path)) as conn:
            conn.executescript(script)


class PostgresTarget(Target):
    """A Postgres database."""

    kind = "postgres"

    def __init__(self, url: str):
        self.url = url

    def sink(self, name: str = "sink", **options: Any) -> PostgresSink:
        return PostgresSink(name, PostgresSink.Config(type="postgres", url=self.url, **options))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as conn:
            return conn.execute(sql.encode()).fetchall()

    def execute(self, script: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(script.encode())


class MySqlTarget(Target):
    """A MySQL or MariaDB database, written to in standard SQL: names in double quotes."""

    def __init__(self, url: str, kind: str = "mysql"):
        self.url, self.kind = url, kind

    def sink(self, name: str = "sink", **options: Any) -> MysqlSink:
        return MysqlSink(name, MysqlSink.Config(type="mysql", url=self.url, **options))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        # "text" as a cast's type is char here.
        with self._connected() as conn, conn.cursor() as cursor:
            cursor.execute(sql.replace(" as text)", " as char)").encode())
            return list(cursor.fetchall())

    def execute(self, script: str) -> None:
        self.run(script, "ANSI,STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES")

    def run(self, script: str, mode: str = "STRICT_ALL_TABLES") -> None:
        """Run a script as its author meant it: by default as the servers read one."""
        with self._connected(mode) as conn, conn.cursor() as cursor:
            for part in requests(script):
                cursor.execute(part.encode())
                while cursor.nextset():
                    pass

    def _connected(
        self, mode: str = "ANSI,STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES"
    ) -> closing[pymysql.Connection]:
        conn = connect(self.url, client_flag=CLIENT.MULTI_STATEMENTS)
        conn.query(f"set session sql_mode = '{mode}'".encode())
        return closing(conn)


def requests(script: str) -> Iterator[str]:
    """What the servers' client sends of a script; many statements at once, where none sets a delimiter."""
    script = re.sub(r"^--( .*)?$", "", script, flags=re.MULTILINE)
    delimiter = ";"
    for number, part in enumerate(re.split(r"^DELIMITER (\S+)\s*$", script, flags=re.MULTILINE)):
        if number % 2:
            delimiter = part
        else:
            yield from filter(str.strip, [part] if delimiter == ";" else part.split(delimiter))


def mysql_target(request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch) -> MySqlTarget:
    """The fresh database of ``mysql`` or ``mariadb``; ``mysql staged``: with a stage for every row."""
    if kind.endswith(" staged"):
        monkeypatch.setattr("connectors.mysql.sink.writer.FEW", 0)
    kind = kind.removesuffix(" staged")
    target = MySqlTarget(request.getfixturevalue(f"{kind}_database"), kind)
    target.execute("alter database default character set utf8mb4")
    return target
