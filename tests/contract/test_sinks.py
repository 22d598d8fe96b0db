"""The sinks that we bring keep the promises of the contract suites, each on a real target."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import psycopg
import pytest
from psycopg.rows import dict_row

from connectors.postgres.sink import PostgresSink
from connectors.sqlite.sink import SqliteSink
from connectors.stdout import Stdout
from liberator.testing.sink_contract import MirrorContract, SinkContract


class Sqlite:
    """A SQLite file of each test's own."""

    options: dict = {}

    @pytest.fixture(autouse=True)
    def target(self, tmp_path):
        self.path = tmp_path / "target.db"

    def make(self, name="sink"):
        return SqliteSink(
            name, SqliteSink.Config(type="sqlite", url=f"sqlite:///{self.path}", **self.options)
        )

    def rows(self, table):
        with closing(sqlite3.connect(self.path)) as conn:
            conn.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in conn.execute(f'select * from "{table.table}"')]
            except sqlite3.OperationalError as exc:
                if "no such table" in str(exc):
                    return []
                raise


class Postgres:
    """A Postgres database of each test's own."""

    options: dict = {}

    @pytest.fixture(autouse=True)
    def target(self, database):
        self.url = database

    def make(self, name="sink"):
        return PostgresSink(name, PostgresSink.Config(type="postgres", url=self.url, **self.options))

    def rows(self, table):
        with psycopg.connect(self.url, row_factory=dict_row) as conn:
            try:
                return conn.execute(f'select * from "{table.table}"').fetchall()
            except psycopg.errors.UndefinedTable:
                return []


class TestSqliteMirror(Sqlite, MirrorContract):
    pass


class TestPostgresMirror(Postgres, MirrorContract):
    pass


class TestStdout(SinkContract):
    def make(self, name="sink"):
        return Stdout(name, Stdout.Config(type="stdout"))

    def rows(self, table):
        return []
