"""No source of ours loses a row to the commit race; the obvious way to poll does."""

from __future__ import annotations

import sqlite3

import psycopg

from connectors.sql.query import QuerySource
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
            "create table race (id bigserial primary key, writer int, at timestamptz(3) not null default now())"
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
