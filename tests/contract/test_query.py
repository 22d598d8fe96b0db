"""The query source keeps the promises of a source, as far as one can that sees states and not changes."""

from __future__ import annotations

import shutil
import sqlite3
from typing import Any, ClassVar

import psycopg
import pytest

from connectors.mysql.connection import connect
from connectors.sql.query.source import QuerySource
from liberator.testing.source_contract import SourceContract, changed, gone, insert

STATEMENTS = {
    "insert": "insert into contract (id, note) values (%(id)s, %(note)s)",
    "update": "update contract set note = %(note)s where id = %(id)s",
    "delete": "delete from contract where id = %(id)s",
}


class Kept(QuerySource):
    """Keeps a copy of the file of keys beside every state that it gives. The suite opens states again that
    no log could hold any more, whose files are gone."""

    copies: ClassVar[dict[tuple[Any, ...], Any]] = {}

    def open(self, state):
        path = self.config.state_directory / f"{self.name}.keys"
        keys = tuple(state.snapshot.get("keys", ())) if state is not None else ()
        if keys in self.copies:
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            shutil.copy(self.copies[keys], path)
        super().open(state)

    def read(self):
        batch = super().read()
        keys = tuple(batch.state.snapshot.get("keys", ()))
        if keys and keys not in self.copies:
            copy = self.config.state_directory / f"copy-{len(self.copies)}"
            with sqlite3.connect(copy) as target:
                self._keys.conn.backup(target)
            target.close()
            self.copies[keys] = copy
        return batch


class QueryContract(SourceContract):
    """Between two passes only the outcome is seen."""

    url: str
    settings: ClassVar[dict[str, Any]] = {}
    #: The order in which rows arrive: by key, or as they were written last.
    by_key = True

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path):
        self.directory = tmp_path
        Kept.copies = {}

    def make(self):
        config = {
            "type": "query", "url": self.url, "tables": [self.table], "poll_interval": 0.02, "batch": 10,
            "state_directory": self.directory, **self.settings,
        }  # fmt: skip
        return Kept("contract", Kept.Config(**config))

    def some_changes(self):
        self.change(insert(1, "a"))
        self.change(insert(2, "b"), changed(1, "c"), insert(3, "d"))
        self.change(*(insert(n, "many") for n in range(100, 150)))
        many = [("create", n, "many") for n in range(100, 150)]
        first = [("create", 1, "c")]
        if self.deletes:
            self.change(gone(2), insert(2, "again"), insert(7, "never seen"))
            self.change(gone(7))
            self.change(changed(3, "last"))
            return [*first, ("create", 2, "again"), ("create", 3, "last"), *many]
        self.change(changed(3, "last"))
        last = ("create", 3, "last")
        if self.by_key:
            return [*first, ("create", 2, "b"), last, *many]
        return [*first, ("create", 2, "b"), *many, last]


class Postgres:
    def change(self, *changes):
        with psycopg.connect(self.url) as db:
            for operation, values in changes:
                db.execute(STATEMENTS[operation], values)

    @pytest.fixture(autouse=True)
    def _table(self, database):
        self.url = database
        with psycopg.connect(database) as db:
            db.execute("create table contract (id bigint primary key, note text)")


class Sqlite:
    table = "main.contract"

    def change(self, *changes):
        db = sqlite3.connect(self.url.removeprefix("sqlite:///"))
        with db:
            for operation, values in changes:
                statement = STATEMENTS[operation]
                for name in ("id", "note"):
                    statement = statement.replace(f"%({name})s", f":{name}")
                db.execute(statement, values)
        db.close()

    @pytest.fixture(autouse=True)
    def _table(self, tmp_path):
        self.url = f"sqlite:///{tmp_path}/shop.db"
        db = sqlite3.connect(tmp_path / "shop.db")
        with db:
            db.execute("create table contract (id integer primary key autoincrement, note text)")
        db.close()


class TestDiffOnPostgres(Postgres, QueryContract):
    settings: ClassVar[dict[str, Any]] = {"mode": "diff"}


class TestDiffOnSqlite(Sqlite, QueryContract):
    settings: ClassVar[dict[str, Any]] = {"mode": "diff"}


class TestCommitColumnOnPostgres(Postgres, QueryContract):
    """With the commit column every change is seen, in an order that is settled; and what is remembered for
    the search for deleted rows tells new ones from changed ones."""

    settings: ClassVar[dict[str, Any]] = {
        "mode": "incrementing", "incrementing_column": "id", "deletes": {"reconcile": "1h"},
    }  # fmt: skip
    deletes = False
    by_key = False

    @pytest.fixture(autouse=True)
    def _column(self, _table, _directory):
        source = self.make()
        assert source.extra("commit-column")
        assert [managed.kind for managed in source.setup()] == ["commit column", "index"]

    def test_set_up_twice_creates_once_and_teardown_leaves_nothing(self):
        self.make().teardown()
        assert {managed.state for managed in self.make().objects()} <= {"missing"}


class Mysql:
    def change(self, *changes):
        conn = connect(self.url)
        with conn.cursor() as cursor:
            cursor.execute("begin")
            for operation, values in changes:
                cursor.execute(STATEMENTS[operation], values)
            cursor.execute("commit")
        conn.close()

    @property
    def table(self):
        return f"{self.url.rpartition('/')[2].partition('?')[0]}.contract"

    @pytest.fixture(autouse=True)
    def _table(self, mysql_database):
        self.url = mysql_database
        conn = connect(self.url)
        with conn.cursor() as cursor:
            cursor.execute("create table contract (id bigint primary key auto_increment, note text)")
        conn.close()


class TestDiffOnMysql(Mysql, QueryContract):
    settings: ClassVar[dict[str, Any]] = {"mode": "diff"}
