"""The workers that write MySQL and MariaDB get SIGKILL at random moments, and so do their servers: afterwards
every row is as at the source, and the cursor stands at the log's end. ``LIBERATOR_SEED`` repeats a run."""

from __future__ import annotations

import datetime
import json
import os
import random
import time

import psycopg
import pytest

from connectors.mysql.server import MariaDbServer, MySqlServer
from tests.fix_mysql import connected
from tests.load import FILL, SCHEMA, Load
from tests.pipeline import Pipeline
from tests.targets import MySqlTarget

ACCOUNTS = 4000
KILLS = 6
TABLES = {
    "accounts": "id, version, owner, balance, tags, details, note, touched",
    "transfers": "id, version, source, target, amount, at",
    "scratch": "id, version, word",
}


@pytest.fixture
def seed():
    seed = int(os.environ.get("LIBERATOR_SEED", time.time_ns() % 1_000_000))
    print(f"LIBERATOR_SEED={seed}")
    return seed


@pytest.fixture
def targets(mysql_binary, mariadb_binary):
    """A server of our own of each kind, which may be killed, with a database."""
    with MySqlServer(mysql_binary) as one, MariaDbServer(mariadb_binary) as other:
        for server in (one, other):
            with connected(server.url()) as admin:
                admin.cursor().execute("create database bank")
        yield {server.NAME: (server, server.url("bank")) for server in (one, other)}


def plain(value):
    """A value of either database, comparable."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return repr(json.loads(value))
    return repr(value) if isinstance(value, (list, dict)) else value


def rows(query, table):
    found = [tuple(map(plain, row)) for row in query(f"select {TABLES[table]} from {table}")]
    assert len(found) == len(set(found))
    return set(found)


def test_killed_workers_and_servers_leave_equal_tables_and_an_exact_cursor(database, targets, tmp_path, seed):
    rng = random.Random(seed)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(SCHEMA.encode())
        conn.execute(FILL.replace("%s", str(ACCOUNTS)).encode())
    sinks = {
        name: {"type": "mysql", "url": url, "topics": ["bank.*"], "batch": 300}
        for name, (_, url) in targets.items()
    }
    source = {"type": "postgres-wal", "url": database, "tables": ["public.*"], "chunk": 500, "batch": 300}
    with Pipeline(tmp_path, {"bank": source}, sinks) as flow, Load(database, ACCOUNTS, seed) as load:
        flow.start()
        for number in range(KILLS):
            victim = rng.choice(list(targets)) if number > 1 else list(targets)[number]
            if number % 3 == 2:
                server, _ = targets[victim]
                server.kill()
                server.restart()
            else:
                flow.kill_worker(f"sink:{victim}")
            # While it works again, or is about to.
            if rng.random() < 0.7:
                flow.wait_for_status(f"sink:{victim}", lambda status: status["phase"] == "applying")
            time.sleep(rng.uniform(0.0, 0.5))
            assert flow.running, flow.tail()
        load.stop()
        flow.stop()
        flow.catch_up()
        assert load.committed > 20
        with psycopg.connect(database) as conn, flow.log() as log:
            for name, (_, url) in targets.items():
                target = MySqlTarget(url, name)
                for table in TABLES:
                    here = rows(lambda sql: conn.execute(sql.encode()).fetchall(), table)
                    assert rows(target.query, table) == here, f"{table} in {name}"
                assert target.sink(name).cursor() == log.end()
