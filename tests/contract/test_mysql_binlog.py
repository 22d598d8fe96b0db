"""The binlog source keeps every promise of a source, on MySQL and on MariaDB."""

from __future__ import annotations

from typing import ClassVar

import pytest

from connectors.mysql.binlog.source import MysqlBinlog
from liberator.testing.source_contract import SnapshotContract, SourceContract
from tests.fix_mysql import connected

TABLE = "create table contract (id bigint primary key, note text)"
STATEMENTS = {
    "insert": "insert into contract values (%(id)s, %(note)s)",
    "update": "update contract set note = %(note)s where id = %(id)s",
    "delete": "delete from contract where id = %(id)s",
}


class BinlogSource:
    sizes: ClassVar[dict[str, object]] = {}

    @pytest.fixture(autouse=True)
    def _table(self, mysqls_database):
        self.url = mysqls_database
        self.table = f"{self.url.rpartition('/')[2]}.contract"
        with connected(self.url) as db:
            db.cursor().execute(TABLE)

    def make(self):
        url = f"{self.url}?ssl-mode=disabled"
        config = {"type": "mysql-binlog", "url": url, "tables": [self.table], "heartbeat": 1}
        return MysqlBinlog("contract", MysqlBinlog.Config(**config, **self.sizes))

    def change(self, *changes):
        with connected(self.url) as db:
            db.begin()
            for operation, values in changes:
                db.cursor().execute(STATEMENTS[operation], values)
            db.commit()


class TestBinlogInSmallPieces(BinlogSource, SourceContract):
    """Transactions and tables are cut into many batches and chunks."""

    sizes: ClassVar[dict[str, object]] = {"batch": 10, "chunk": 10}


class TestBinlogByFile(BinlogSource, SnapshotContract):
    """Positions are file and offset alone."""

    sizes: ClassVar[dict[str, object]] = {"gtid": "off"}
