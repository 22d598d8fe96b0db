"""The three sources that ask, on every database: when they have ended, and statements that take too long."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing

import psycopg
import pytest

from connectors.sql.query.source import QuerySource
from liberator.errors import SourceError
from liberator.outbox import Outbox
from tests.fix_mysql import connected
from tests.pipeline import Pipeline

NAMES = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
SERIAL = {
    "postgresql": "bigint generated always as identity primary key",
    "mysql": "bigint auto_increment primary key",
    "sqlite": "integer primary key autoincrement",
}
#: Takes seconds, unless it is ended.
SLOW = {
    "postgresql": "select 1 as id, pg_sleep(20)::text as slept",
    "mysql": "select 1 as id, benchmark(400000000, sha2('x', 256)) as worked",
    "sqlite": "with recursive c(n) as (select 1 union all select n + 1 from c where n < 100000000)"
    " select 1 as id, count(*) as counted from c",
}


@pytest.fixture(params=NAMES)
def shop(request, tmp_path):
    """The kind of a database, its URL, a connection to it; the application's transactions are its own."""
    kind = NAMES[request.param]
    if kind == "sqlite":
        path = tmp_path / "shop.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("pragma journal_mode = wal")
            yield kind, f"sqlite:///{path}", db
        return
    fixture = {"postgresql": "database"}.get(request.param, f"{request.param}_database")
    url = request.getfixturevalue(fixture)
    with closing(
        psycopg.connect(url, autocommit=True) if kind == "postgresql" else connected(url).thing
    ) as db:
        yield kind, url, db


def test_each_source_ends_when_what_was_committed_is_read(shop, tmp_path):
    kind, url, db = shop
    cursor = db.cursor()
    cursor.execute(f"create table orders (id {SERIAL[kind]}, note varchar(20))")
    cursor.execute(f"create table asked (id {SERIAL[kind]}, note varchar(20))")
    for statement in filter(str.strip, Outbox().ddl(kind).split(";\n")):
        cursor.execute(statement)
    sources = {
        "asked": {
            "type": "query", "url": url, "tables": ["*.asked"], "mode": "incrementing",
            "incrementing_column": "id", "poll_interval": "20ms",
        },
        "triggered": {"type": "trigger", "url": url, "tables": ["*.orders"], "poll": 0.02},
        "events": {"type": "outbox", "url": url, "poll_interval": "20ms", "topic": "events"},
    }  # fmt: skip
    expected: Counter[str] = Counter()
    with Pipeline(tmp_path / "run", sources, {}) as pipeline:
        for rows in (3, 2):
            cursor.execute("begin")
            for table in ("orders", "asked"):
                cursor.execute(f"insert into {table} (note) values " + ", ".join(["('n')"] * rows))
            for number in range(rows):
                Outbox().publish(db, aggregate_type="order", aggregate_id=number, event_type="E", payload={})
            cursor.execute("commit")
            expected.update(dict.fromkeys(("asked", "triggered", "events"), rows))
            pipeline.catch_up()
            with pipeline.log() as log:
                records = log.read(log.begin(), None, 1 << 30).records
                assert Counter(record.topic.partition(".")[0] for record in records) == expected
        if kind != "sqlite":
            pipeline.run("teardown")


def test_a_statement_that_takes_too_long_is_ended_and_tried_again(shop, tmp_path):
    kind, url, _ = shop
    config = QuerySource.Config(
        type="query", url=url, queries={"slow": SLOW[kind]}, key=["id"], mode="bulk",
        statement_timeout="100ms", state_directory=tmp_path,
    )  # fmt: skip
    source = QuerySource("shop", config)
    try:
        with pytest.raises(SourceError) as ended:
            source.open(None)
            while True:
                source.read()
        assert ended.value.retryable
    finally:
        source.close()
