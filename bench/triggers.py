"""What is measured of triggers: how much slower the application's own statements become.

The same statements (insert, update, delete of each row) without and with triggers, in turn; one row
per transaction, and in bulk. ``share`` is what is left of the speed. Nothing drains meanwhile.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql

from bench.gauge import Reading
from bench.mysql import MySqlBenchServer
from bench.scenario import Scenario, Stage
from bench.server import BenchServer
from connectors.sql.trigger.source import TriggerSource

_TABLE = (
    "create table {name} (id bigint primary key, customer int not null, status varchar(20) not null,"
    " amount numeric(12, 2) not null, note varchar(200), paid boolean not null, created_at timestamp null)"
)
_ROW = "({id}, {id} % 1000, 'new', 12.50, 'please ring twice', true, current_timestamp)"
_WORK = (
    "insert into {name} values {rows}",
    "update {name} set status = 'paid', amount = amount + 1 where id between {first} and {last}",
    "delete from {name} where id between {first} and {last}",
)
Execute = Callable[[str], Any]


def written(execute: Execute, name: str, rows: int, size: int) -> Reading:
    """``rows`` are inserted, updated and deleted, ``size`` in each transaction."""
    began = time.monotonic()
    for statement in _WORK:
        for first in range(1, rows + 1, size):
            last = min(rows, first + size - 1)
            values = ", ".join(_ROW.format(id=i) for i in range(first, last + 1))
            execute(statement.format(name=name, rows=values, first=first, last=last))
    return Reading(3 * rows, time.monotonic() - began, 0.0, 0)


def compared(stage: Stage, execute: Execute, url: str, rows: int, size: int) -> Iterator[tuple[str, Reading]]:
    """Two tables of one database, of which one has triggers."""
    rows = max(size, int(rows * stage.scale))
    for name in ("plain", "watched"):
        execute(f"drop table if exists {name}")
        execute(_TABLE.format(name=name))
    source = TriggerSource("bench", TriggerSource.Config(type="trigger", url=url, tables=["*watched"]))
    source.setup()
    try:
        for _ in range(stage.rounds):
            yield "without triggers", written(execute, "plain", rows, size)
            yield "liberator", written(execute, "watched", rows, size)
    finally:
        source.teardown()


def on_postgres(stage: Stage, rows: int, size: int) -> Iterator[tuple[str, Reading]]:
    """Commits are not waited for: the disk would hide the cost."""
    server = stage.server(BenchServer)
    server.create("source")
    with server.connect("source") as conn:
        conn.execute("set synchronous_commit = off")
        yield from compared(stage, lambda sql: conn.execute(sql.encode()), server.url("source"), rows, size)


def on_mysql(stage: Stage, rows: int, size: int) -> Iterator[tuple[str, Reading]]:
    """With the server's own durability, and its binlog."""
    server = stage.server(MySqlBenchServer)
    arguments = {"host": "127.0.0.1", "port": server.port, "user": "root", "autocommit": True}
    with contextlib.closing(pymysql.connect(**arguments)) as conn, conn.cursor() as cursor:
        cursor.execute("drop database if exists bench_triggers")
        cursor.execute("create database bench_triggers")
        cursor.execute("use bench_triggers")
        url = server.url("bench_triggers")
        yield from compared(stage, cursor.execute, url, rows, size)


def on_sqlite(stage: Stage, rows: int, size: int) -> Iterator[tuple[str, Reading]]:
    """In WAL mode, without waiting for the disk."""
    path = stage.directory / "triggers.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("pragma journal_mode = wal")
        conn.execute("pragma synchronous = normal")
        yield from compared(stage, conn.execute, f"sqlite:///{path}", rows, size)


def _scenarios() -> Iterator[Scenario]:
    for name, title, run in (
        ("postgres", "Postgres", on_postgres), ("mysql", "MySQL", on_mysql), ("sqlite", "SQLite", on_sqlite),
    ):  # fmt: skip
        for kind, rows, size in (("row", 2_000, 1), ("bulk", 50_000, 1000)):
            how = "one row per transaction" if size == 1 else f"{size:,} rows per statement"
            yield Scenario(
                f"trigger-{name}-{kind}", f"{title}: an application's writes with triggers, {how}",
                lambda stage, run=run, rows=rows, size=size: run(stage, rows, size),  # type: ignore[misc]
            )  # fmt: skip


SCENARIOS = list(_scenarios())
