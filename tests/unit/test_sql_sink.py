"""What the SQL sink itself sees to, beside its modes and dialects."""

from __future__ import annotations

import pytest

from connectors.sqlite.dialect import SqliteDialect
from connectors.sqlite.sink import SqliteSink
from liberator.errors import SinkError
from liberator.schema import Kind
from liberator.testing.events import create, table, transaction
from tests.targets import SqliteTarget, at

ORDERS = table("orders", {"id": Kind.INT64}, key=["id"])
ITEMS = table("items", {"id": Kind.INT64}, key=["id"])


class CommittingDialect(SqliteDialect):
    """DDL commits what was written before it, as it does in MySQL."""

    transactional_ddl = False

    def execute(self, sql, params=()):
        if not sql.startswith(("create ", "alter ", "drop ")):
            return super().execute(sql, params)
        super().execute("commit")
        result = super().execute(sql, params)
        super().execute("begin immediate")
        return result


class CommittingSink(SqliteSink):
    def dialect(self):
        return CommittingDialect(self.config.url)


def test_where_ddl_commits_it_never_commits_rows_without_their_cursor(tmp_path):
    target = SqliteTarget(tmp_path / "t.db")
    sink = CommittingSink("sink", CommittingSink.Config(type="sqlite", url=target.url))
    sink.open()
    sink.write(transaction(1, create(ORDERS, id=1)))
    assert target.rows("orders") == set()
    with pytest.raises(SinkError, match="the batch begins again") as caught:
        sink.write(transaction(2, create(ITEMS, id=1)))
    assert caught.value.retryable
    sink.close()
    assert target.rows("orders") == set() and target.rows("items") == set()
    assert sink.open() is None
    sink.write(transaction(1, create(ORDERS, id=1)))
    sink.write(transaction(2, create(ITEMS, id=1)))
    sink.commit(at(2))
    sink.close()
    assert target.rows("orders") == target.rows("items") == {(1,)}


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    target = SqliteTarget(tmp_path / "t.db")
    sink = target.sink()
    sink.open()
    with pytest.raises(SinkError):
        sink.write(transaction(1, create(ORDERS, id=1), create(ITEMS, id=2**70)))
    sink.close()
    assert sink.open() is None
    sink.close()
    assert target.query("select name from sqlite_master where name in ('orders', 'items')") == []
