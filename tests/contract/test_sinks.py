"""The sinks that we bring keep the promises of the contract suites, each on a real target."""

from __future__ import annotations

import sqlite3

import psycopg
import pymysql
import pytest

from connectors.mysql.sink import writer as mysql_writer
from connectors.postgres.sink import writer
from connectors.stdout import Stdout
from liberator.testing.sink_contract import MirrorContract, SinkContract
from tests.targets import MySqlTarget, PostgresTarget, SqliteTarget


class OnTarget:
    """Sinks on ``self.database``, made with the class's options."""

    options = ()

    def make(self, name="sink"):
        return self.database.sink(name, **dict(self.options))

    def rows(self, table):
        names = ", ".join(f'"{name}"' for name in table.names)
        try:
            rows = self.database.query(f'select {names} from "{table.table}"')
        except (sqlite3.OperationalError, psycopg.errors.UndefinedTable, pymysql.err.ProgrammingError):
            assert self.database.query("select 1") == [(1,)]
            return []
        return [dict(zip(table.names, row, strict=True)) for row in rows]


class OnSqlite(OnTarget):
    @pytest.fixture(autouse=True)
    def _target(self, tmp_path):
        self.database = SqliteTarget(tmp_path / "target.db")


class OnPostgres(OnTarget):
    @pytest.fixture(autouse=True)
    def _target(self, database):
        self.database = PostgresTarget(database)


class OnMySql(OnTarget):
    @pytest.fixture(autouse=True)
    def _target(self, mysql_database):
        self.database = MySqlTarget(mysql_database)


class OnMariaDb(OnTarget):
    @pytest.fixture(autouse=True)
    def _target(self, mariadb_database):
        self.database = MySqlTarget(mariadb_database, "mariadb")


class TestSqliteMirror(OnSqlite, MirrorContract):
    pass


class TestPostgresMirror(OnPostgres, MirrorContract):
    pass


class TestPostgresMirrorStaged(OnPostgres, MirrorContract):
    """The same with everything staged, even a single row."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch):
        monkeypatch.setattr(writer, "FEW", 0)


class TestMySqlMirror(OnMySql, MirrorContract):
    pass


class TestMariaDbMirrorStaged(OnMariaDb, MirrorContract):
    """The same with everything staged that can be."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch):
        monkeypatch.setattr(mysql_writer, "FEW", 0)


class TestSqliteAppend(OnSqlite, SinkContract):
    options = (("mode", "append"),)


class TestPostgresAppend(OnPostgres, SinkContract):
    options = (("mode", "append"),)


class TestSqliteHistory(OnSqlite, SinkContract):
    options = (("mode", "history"),)


class TestPostgresHistory(OnPostgres, SinkContract):
    options = (("mode", "history"),)


class TestMariaDbHistory(OnMariaDb, SinkContract):
    options = (("mode", "history"),)


class TestStdout(SinkContract):
    def make(self, name="sink"):
        return Stdout(name, Stdout.Config(type="stdout"))

    def rows(self, table):
        return []
