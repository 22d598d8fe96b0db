"""What is measured of outboxes: a full table polled from Postgres and MySQL, and the way of a single event.

The limit is a loop by hand over the driver: read 2,000 rows, mark them, commit; what it read is thrown away.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from bench.contenders import Liberator, measure, wait
from bench.gauge import Gauge, Reading
from bench.mysql import MySqlBenchServer
from bench.scenario import Latencies, Scenario, Stage
from bench.server import BenchServer
from connectors.sql.statements import load
from liberator.outbox import Outbox

BATCH = 2000
#: Transactions per second in the latency scenario.
PACE = 50
OUTBOX = Outbox()


class Relay(Liberator):
    """``liberator run`` with a source ``outbox``."""

    def __init__(self, url: str, stage: Stage):
        super().__init__(stage.server(BenchServer), stage.directory / "outbox")
        self._url = url

    def _configure(self, database: str | None) -> None:
        self._directory.mkdir(exist_ok=True)
        source = {"type": "outbox", "url": self._url, "topic": "events", "batch": BATCH}
        settings = {
            "log": {"type": "embedded", "path": "./bench.log"},
            "sources": {"bench": source},
            "sinks": {},
        }
        self.path.write_text(yaml.safe_dump(settings))


class Postgres:
    """An outbox at Postgres; ``mark`` is the driver's."""

    dialect, notify = "postgresql", True

    def __init__(self, stage: Stage):
        self.server = stage.server(BenchServer)
        self.url = self.server.url("outbox")

    def create(self, rows: int) -> Any:
        """A fresh table with ``rows`` events; a connection to it."""
        self.server.create("outbox", tables=False)
        conn = self.server.connect("outbox")
        conn.execute(OUTBOX.ddl(self.dialect, notify=self.notify).encode())
        if rows:
            conn.execute(load("bench", "outbox.sql")["postgres"].encode(), [rows])
            conn.execute("vacuum analyze outbox")
        return conn


class MySql:
    """An outbox at MySQL."""

    def __init__(self, stage: Stage):
        self.server = stage.server(MySqlBenchServer)
        self.url = self.server.url("outbox")

    def create(self, rows: int) -> Any:
        """A fresh table with ``rows`` events; a connection to it."""
        with self.server.connect() as admin:
            admin.cursor().execute("drop database if exists outbox")
            admin.cursor().execute("create database outbox")
        conn = self.server.connect("outbox")
        cursor = conn.cursor()
        for statement in filter(str.strip, OUTBOX.ddl("mysql").split(";\n")):
            cursor.execute(statement)
        cursor.execute("set session cte_max_recursion_depth = 10000000")
        cursor.execute(load("bench", "outbox.sql")["mysql"], [rows])
        return conn


def polled(stage: Stage, place: Callable[[Stage], Any], rows: int) -> Iterator[tuple[str, Reading]]:
    """A table full of events, from the first that are in the log to the last."""
    rows = int(rows * stage.scale)
    outbox = place(stage)
    for _ in range(stage.rounds):
        conn = outbox.create(rows)
        yield "raw limit", by_hand(conn, rows)
        conn.close()
        outbox.create(rows).close()
        ours = Relay(outbox.url, stage)
        ours.clear()
        yield ours.name, measure(ours, rows, lambda relay=ours: relay.start("outbox"))


def by_hand(conn: Any, rows: int) -> Reading:
    """Read and mark in a loop."""
    gauge = Gauge([os.getpid()])
    taken = 0
    cursor = conn.cursor()
    while taken < rows:
        cursor.execute(
            "select id, event_id, aggregate_type, aggregate_id, event_type, payload, headers, created_at"
            f" from outbox where published_at is null order by id limit {BATCH}"
        )
        found = [row[0] for row in cursor.fetchall()]
        marks = ",".join(map(str, found))
        cursor.execute(f"update outbox set published_at = current_timestamp where id in ({marks})")
        taken += len(found)
    reading = gauge.read(taken)
    return Reading(reading.rows, reading.seconds, reading.cpu, 0)


def latency(stage: Stage, seconds: float) -> Iterator[tuple[str, Latencies]]:
    """From commit to the log, at a steady pace, woken by NOTIFY."""
    rows = max(int(PACE * seconds * stage.scale), 100)
    outbox = Postgres(stage)
    for _ in range(stage.rounds):
        conn = outbox.create(0)
        ours = Relay(outbox.url, stage)
        ours.clear()
        ours.start("outbox")
        wait(ours.streams)
        try:
            yield ours.name, one_by_one(conn, ours, rows)
        finally:
            ours.stop()
            conn.close()


def one_by_one(conn: Any, ours: Relay, rows: int) -> Latencies:
    """Publish events, each in a transaction of its own; how long each took to be read from the log."""
    committed: dict[str, float] = {}
    seen: dict[str, float] = {}
    log = ours.log()

    def follow() -> None:
        cursor = log.begin()
        deadline = time.monotonic() + 120
        while len(seen) < rows and time.monotonic() < deadline:
            part = log.read(cursor, None, 1000)
            now = time.monotonic()
            for record in part.records:
                seen[dict(record.headers)["id"].decode()] = now
            if part.cursor == cursor:
                log.wait(cursor, 0.5)
            cursor = part.cursor

    conn.autocommit = False
    writer = threading.Thread(target=publish, args=(conn, rows, committed))
    writer.start()
    follow()
    writer.join()
    return [(seen[identity] - at) * 1000 for identity, at in committed.items() if identity in seen]


def publish(conn: Any, rows: int, committed: dict[str, float]) -> None:
    """Publish ``rows`` events at the steady pace."""
    began = time.monotonic()
    for number in range(rows):
        time.sleep(max(0.0, began + number / PACE - time.monotonic()))
        identity = OUTBOX.publish(
            conn,
            aggregate_type="order",
            aggregate_id=number % 100,
            event_type="Placed",
            payload={"n": number},
        )
        conn.commit()
        committed[identity] = time.monotonic()


SCENARIOS = [
    Scenario(
        "outbox", "Postgres: an outbox, polled",
        lambda stage: polled(stage, Postgres, 200_000),
        {"rate": 20_000, "memory": 150},
    ),
    Scenario(
        "outbox-mysql", "MySQL: an outbox, polled",
        lambda stage: polled(stage, MySql, 100_000),
        {"rate": 10_000, "memory": 150},
    ),
    Scenario(
        "outbox-latency", f"Postgres: an outbox with NOTIFY, commit to log at {PACE} transactions a second",
        lambda stage: latency(stage, 20),
        {"p50": 20},
    ),
]  # fmt: skip
