"""The outbox source keeps every promise of a source, however the table is drained, on every database.

The drains that are left out at MySQL take part in the commit race there.

The contract speaks of rows that are inserted, changed and deleted; an outbox has events. So each change of
the contract is published as an event that says it, and each event is read as the change it says.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import ClassVar

import psycopg
import pytest

from connectors.sql.outbox.source import OutboxSource
from liberator.event import ChangeEvent, Operation
from liberator.message import Message
from liberator.outbox import Outbox
from liberator.schema import Column, Kind, LogicalType, TableSchema
from liberator.testing.source_contract import IdleContract, LifeContract, StreamContract
from tests.fix_mysql import connected

CONTRACT = TableSchema(
    "contract",
    "",
    "public",
    "contract",
    (Column("id", LogicalType(Kind.INT64), nullable=False, key=0), Column("note", LogicalType(Kind.STRING))),
)
SAID = {"insert": Operation.CREATE, "update": Operation.UPDATE, "delete": Operation.DELETE}


class Understood(OutboxSource):
    """Gives the changes that the events speak of."""

    def read(self):
        batch = super().read()
        batch.events = [self.understood(event) for event in batch.events]
        return batch

    def understood(self, event):
        message = Message._make(event.after)
        values = json.loads(message.payload)
        row = (values["id"], values.get("note"))
        operation = SAID[message.type]
        deleted = operation is Operation.DELETE
        return ChangeEvent(
            operation if event.operation is Operation.CREATE else event.operation,
            event.topic,
            CONTRACT,
            row if deleted else None,
            None if deleted else row,
            event.transaction,
            event.ordinal,
            event.table_ordinal,
            event.phase,
        )


class OutboxContract(StreamContract, IdleContract, LifeContract):
    url: str
    outbox = Outbox()
    options: ClassVar[dict] = {}

    def make(self):
        options = {"poll_interval": "20ms", "batch": 10, **self.options}
        return Understood("contract", OutboxSource.Config(type="outbox", url=self.url, **options))

    def publish(self, connection, changes):
        for operation, values in changes:
            self.outbox.publish(
                connection,
                aggregate_type="row",
                aggregate_id=str(values["id"]),
                event_type=operation,
                payload=values,
            )


class OnPostgres(OutboxContract):
    @pytest.fixture(autouse=True)
    def _table(self, database):
        self.url = database
        with psycopg.connect(database) as db:
            db.execute(self.outbox.ddl("postgresql", drain=self.options.get("drain", "log")))

    def change(self, *changes):
        with psycopg.connect(self.url) as db:
            self.publish(db, changes)


class TestMarkedOnPostgres(OnPostgres):
    options: ClassVar[dict] = {"drain": "mark"}


class TestDeletedOnPostgres(OnPostgres):
    options: ClassVar[dict] = {"drain": "delete"}


class TestCursorOnPostgres(OnPostgres):
    options: ClassVar[dict] = {"drain": "cursor"}


class TestLogOfPostgres(OnPostgres):
    options: ClassVar[dict] = {"capture": "log"}


class OnMySql(OutboxContract):
    @pytest.fixture(autouse=True)
    def _table(self, mysql_database):
        self.make_table(mysql_database)

    def make_table(self, url):
        self.url = url
        with connected(self.url) as db:
            statements = self.outbox.ddl("mysql", drain=self.options.get("drain", "log"))
            for statement in filter(str.strip, statements.split(";\n")):
                db.cursor().execute(statement)

    def change(self, *changes):
        with connected(self.url) as db:
            db.begin()
            self.publish(db, changes)
            db.commit()


class TestMarkedOnMySql(OnMySql):
    options: ClassVar[dict] = {"drain": "mark"}


class TestLogOfMySql(OnMySql):
    options: ClassVar[dict] = {"capture": "log"}


class TestLogOfMariaDb(OnMySql):
    options: ClassVar[dict] = {"capture": "log"}

    @pytest.fixture(autouse=True)
    def _table(self, mariadb_database):
        self.make_table(mariadb_database)


class OnSqlite(OutboxContract):
    @pytest.fixture(autouse=True)
    def _table(self, tmp_path):
        self.url = f"sqlite:///{tmp_path / 'shop.db'}"
        with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
            db.execute("pragma journal_mode = wal")
            db.executescript(self.outbox.ddl("sqlite", drain=self.options["drain"]))

    def change(self, *changes):
        with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as db, db:
            self.publish(db, changes)


class TestMarkedInSqlite(OnSqlite):
    options: ClassVar[dict] = {"drain": "mark"}


class TestDeletedInSqlite(OnSqlite):
    options: ClassVar[dict] = {"drain": "delete"}


class TestCursorInSqlite(OnSqlite):
    options: ClassVar[dict] = {"drain": "cursor"}
