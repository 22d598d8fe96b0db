"""The source ``trigger`` keeps every promise of a source, on each database."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import ClassVar

import psycopg
import pytest

from connectors.sql.trigger.source import TriggerSource
from liberator.testing.source_contract import SourceContract
from tests.fix_mysql import connected

TABLE = "create table contract (id bigint primary key, note text)"
STATEMENTS = {
    "insert": "insert into contract values (%(id)s, %(note)s)",
    "update": "update contract set note = %(note)s where id = %(id)s",
    "delete": "delete from contract where id = %(id)s",
}


class TriggerContract(SourceContract):
    url: str
    sizes: ClassVar[dict[str, int]] = {"batch": 10, "chunk": 10}

    def make(self):
        config = {"type": "trigger", "url": self.url, "tables": [self.table], "poll": 0.01}
        return TriggerSource("contract", TriggerSource.Config(**config, **self.sizes))


class TestPostgresTriggers(TriggerContract):
    @pytest.fixture(autouse=True)
    def _table(self, database):
        self.url = database
        with psycopg.connect(database) as db:
            db.execute(TABLE)

    def change(self, *changes):
        with psycopg.connect(self.url) as db:
            for operation, values in changes:
                db.execute(STATEMENTS[operation], values)


class TestSqliteTriggers(TriggerContract):
    table = "main.contract"

    @pytest.fixture(autouse=True)
    def _table(self, tmp_path):
        self.url = f"sqlite:///{tmp_path / 'shop.db'}"
        self.path = tmp_path / "shop.db"
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute(TABLE)

    def change(self, *changes):
        with closing(sqlite3.connect(self.path)) as db, db:
            for operation, values in changes:
                db.execute(re.sub(r"%\((\w+)\)s", r":\1", STATEMENTS[operation]), values)


class MysqlContract(TriggerContract):
    def change(self, *changes):
        with connected(self.url) as db:
            db.begin()
            for operation, values in changes:
                db.cursor().execute(STATEMENTS[operation], values)
            db.commit()

    def prepare(self, url):
        self.url = url
        self.table = f"{url.rpartition('/')[2]}.contract"
        with connected(url) as db:
            db.cursor().execute(TABLE)


class TestMysqlTriggers(MysqlContract):
    @pytest.fixture(autouse=True)
    def _table(self, mysql_database):
        self.prepare(mysql_database)


class TestMariadbTriggers(MysqlContract):
    @pytest.fixture(autouse=True)
    def _table(self, mariadb_database):
        self.prepare(mariadb_database)
