"""No source of ours loses a row to the commit race; the obvious way to poll does."""

from __future__ import annotations

import sqlite3

import psycopg

from connectors.mysql.connection import connect
from connectors.sql.query.source import QuerySource
from tests.fix_mysql import connected
from tests.race import Feed, Race

ROWS = 20_000


def feed(url, directory, name, **options):
    given = {
        "type": "query", "url": url, "tables": ["*race"], "poll_interval": 0.02, "state_directory": directory,
        "batch": 500, "commit_column": "none", **options,
    }  # fmt: skip
    return Feed(lambda: QuerySource(name, QuerySource.Config(**given)))


def every_mode(url, directory):
    return [
        feed(url, directory, "ids", mode="incrementing", incrementing_column="id"),
        feed(url, directory, "times", mode="timestamp", timestamp_column="at"),
        feed(
            url, directory, "both", mode="timestamp+incrementing", timestamp_column="at",
            incrementing_column="id",
        ),
    ]  # fmt: skip


def test_on_postgres(database, tmp_path):
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(
            "create table race (id bigserial primary key, writer int,"
            " at timestamptz(3) not null default now())"
        )
        db.execute("create index on race (at)")
        source = feed(database, tmp_path, "setup", mode="bulk", commit_column="liberator_tx").make()
        source.extra("commit-column")
        source.setup()
    feeds = every_mode(database, tmp_path)
    by_commit = {"mode": "incrementing", "incrementing_column": "id", "commit_column": "liberator_tx"}
    feeds.append(feed(database, tmp_path, "commits", **by_commit))
    race = Race(lambda: psycopg.connect(database), ROWS)
    race.run(feeds, "select id, id from race where id > {last} order by id", lambda last: str(last or 0))
    race.verify(feeds)


def test_on_sqlite(tmp_path):
    """Ids are safe there as they are, times are not: they have seconds only."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as db:
        db.execute("pragma journal_mode = wal")
        db.execute(
            "create table race (id integer primary key autoincrement, writer int,"
            " at timestamp not null default current_timestamp)"
        )
        db.execute("create index race_at on race (at)")
    db.close()

    def connect():
        conn = sqlite3.connect(path, timeout=60, isolation_level=None)
        conn.execute("pragma synchronous = off")
        return conn

    feeds = every_mode(f"sqlite:///{path}", tmp_path)
    race = Race(connect, ROWS, "begin immediate")
    race.run(
        feeds,
        "select at, id from race where at > '{last}' order by at, id",
        lambda last: last or "",
    )
    race.verify(feeds)


def test_on_mysql(mysqls, mysqls_database, tmp_path):
    relaxed = {"sync_binlog": 0, "innodb_flush_log_at_trx_commit": 0}
    with connected(mysqls_database) as conn, conn.cursor() as cursor:
        before = {}
        for name, value in relaxed.items():
            cursor.execute(f"select @@global.{name}")
            before[name] = cursor.fetchone()[0]
            cursor.execute(f"set global {name} = {value}")
        cursor.execute(
            "create table race (id bigint primary key auto_increment, writer int,"
            " at timestamp(3) not null default current_timestamp(3), key (at))"
        )
        try:
            feeds = every_mode(mysqls_database, tmp_path)
            race = Race(lambda: Mysql(mysqls_database), ROWS, "begin")
            naive = "select id, id from race where id > {last} order by id"
            race.run(feeds, naive, lambda last: str(last or 0))
            race.verify(feeds)
        finally:
            for name, value in before.items():
                cursor.execute(f"set global {name} = {value}")


class Mysql:
    """What the race needs of a connection."""

    def __init__(self, url):
        self._conn = connect(url)
        self.commit, self.rollback, self.close = self._conn.commit, self._conn.rollback, self._conn.close

    def execute(self, statement):
        cursor = self._conn.cursor()
        cursor.execute(statement)
        return cursor
