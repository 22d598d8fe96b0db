"""The SQLite sink beside others: a locked file, a damaged one, durability, what check says."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from connectors.sql.reader import open_reader
from connectors.sqlite import dialect
from liberator.config import load
from liberator.errors import ConfigError, SinkError
from liberator.log.embedded import EmbeddedLog
from liberator.schema import Kind
from liberator.testing.events import create, table, transaction
from tests.targets import SqliteTarget, at

ORDERS = table("orders", {"id": Kind.INT64, "note": Kind.STRING}, key=["id"])


@pytest.fixture
def target(tmp_path):
    return SqliteTarget(tmp_path / "target.db")


def test_a_file_that_somebody_else_writes_can_be_retried(target, monkeypatch):
    monkeypatch.setattr(dialect, "PATIENCE", 0.05)
    target.apply(transaction(1, create(ORDERS, id=1)))
    with closing(sqlite3.connect(target.path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(SinkError) as caught:
            target.sink().open()
        assert caught.value.retryable
        assert "locked" in str(caught.value)
        other.execute("rollback")
    assert target.sink().cursor() == at(1)


def test_others_read_while_the_sink_writes_and_the_cursor_can_be_seen(target):
    sink = target.sink()
    sink.open()
    sink.write(transaction(1, create(ORDERS, id=1)))
    sink.commit(at(1))
    sink.write(transaction(2, create(ORDERS, id=2)))
    assert target.rows("orders", "id") == {(1,)}
    assert target.sink().cursor() == at(1)
    sink.commit(at(2))
    sink.close()
    assert target.rows("orders", "id") == {(1,), (2,)}


def test_looking_at_a_file_that_is_not_there_does_not_make_it(target):
    assert target.sink().cursor() is None
    assert {managed.state for managed in target.sink().objects()} == {"missing"}
    assert [finding.level for finding in target.sink().check()] == ["ok"]
    assert not target.path.exists()


def test_commits_are_synchronous_and_readers_are_not_blocked(target):
    sink = target.sink()
    sink.open()
    conn = sink._dialect.conn
    assert conn.execute("pragma synchronous").fetchone() == (2,)
    assert conn.execute("pragma journal_mode").fetchone() == ("wal",)
    sink.close()


def test_a_file_that_is_no_database_is_an_error_and_a_finding(target):
    target.path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(SinkError) as caught:
        target.sink().open()
    assert not caught.value.retryable
    assert [finding.level for finding in target.sink().check()] == ["error"]


def test_check_finds_a_directory_that_is_missing(tmp_path):
    (finding,) = SqliteTarget(tmp_path / "no" / "such" / "t.db").sink().check()
    assert finding.level == "error" and "mkdir" in finding.remedy


@pytest.mark.parametrize("url", ["sqlite:replica.db", "postgresql:///x", "sqlite:///:memory:"])
def test_a_url_that_is_no_file_is_refused_in_its_line(tmp_path, url):
    file = tmp_path / "shop.yaml"
    file.write_text(f"log: {{type: embedded, path: shop.log}}\nsinks:\n  s: {{type: sqlite, url: '{url}'}}\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.problems == [
        "sinks.s.url: must be the URL of a SQLite file; write sqlite:///relative.db or "
        "sqlite:////absolute/path.db (shop.yaml:3)"
    ]


def test_the_log_itself_is_no_target(tmp_path):
    path = tmp_path / "shop.log"
    EmbeddedLog(path).close()
    target = SqliteTarget(path)
    with pytest.raises(SinkError, match=r"is a log of liberator's"):
        target.sink().open()
    (finding,) = target.sink().check()
    assert finding.level == "error" and "log of liberator's" in finding.message
    assert target.query("select count(*) from sqlite_master where name like 'liberator%'") == [(0,)]


def test_indexes_triggers_and_data_survive_a_widened_column(target):
    target.execute(
        "create table orders (id integer not null primary key, note integer, other text default 'x');"
        "create index by_other on orders (other);"
        "create table audit (id integer);"
        "create trigger watch after insert on orders begin insert into audit values (new.id); end;"
        "insert into orders (id, note) values (1, 7)"
    )
    target.apply(transaction(1, create(ORDERS, id=2, note="text")))
    assert target.rows("orders", "id, note, other") == {(1, "7", "x"), (2, "text", "x")}
    assert target.rows("audit") == {(1,), (2,)}
    assert target.query("select name from sqlite_master where type = 'index' and name = 'by_other'")


def test_a_column_that_cannot_be_altered_says_why(target):
    target.execute(
        "create table orders (id integer not null primary key, note integer);"
        "create index by_note on orders (note)"
    )
    with pytest.raises(SinkError, match="column note") as caught:
        target.apply(transaction(1, create(ORDERS, id=2, note="text")))
    assert "create it again" in caught.value.hint


def test_the_bookkeeping_is_read_as_a_table_only_where_it_is_named(tmp_path):
    target = SqliteTarget(tmp_path / "replica.db")
    target.execute("create table orders (id integer primary key)")
    target.apply([])
    with open_reader(f"sqlite:///{tmp_path / 'replica.db'}") as reader:
        assert [t.name for t in reader.chosen(["*"], "tables")] == ["orders"]
        assert [t.name for t in reader.chosen(["liberator_cursors"], "tables")] == ["liberator_cursors"]
