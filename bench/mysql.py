"""What is measured at MySQL: the binlog, a snapshot and the sink, each contender in turn, in the same run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql

from bench.contenders import Child, Liberator, measure, wait
from bench.gauge import Gauge, Reading
from bench.scenario import Scenario, Stage
from connectors.mysql.connection import connect, query
from connectors.mysql.server import MySqlServer
from connectors.sql.statements import load

#: Rows that a hand-written loader inserts at once; the sink's default batch.
BATCH = 5000
#: Commits are not waited for while the load is written, to keep that short.
SETTINGS = {
    "sync_binlog": "0",
    "innodb_flush_log_at_trx_commit": "0",
    "innodb_buffer_pool_size": "512M",
    "innodb_redo_log_capacity": "1G",
    "max_binlog_size": "1G",
}


class MySqlBenchServer(MySqlServer):
    """The server that everybody reads from."""

    name = "mysql"

    def __init__(self) -> None:
        super().__init__(options=SETTINGS)
        #: The binlog file that begins with the load.
        self.file = ""

    def source(self, database: str) -> dict[str, Any]:
        """The source that reads the orders of ``database``."""
        return {"type": "mysql-binlog", "url": self.url(), "tables": [f"{database}.orders"]}

    def connect(self, database: str = "") -> pymysql.Connection[Any]:
        """A connection in autocommit mode."""
        return connect(self.url(database))

    def create(self, database: str) -> None:
        """A fresh database with the workload's table and procedure; then the binlog begins a new file."""
        statements = load("bench", "mysql.sql")
        with self.connect() as conn:
            query(conn, f"drop database if exists {database}")
            query(conn, f"create database {database}")
            query(conn, f"use {database}")
            for name in ("schema", "numbers", "procedure"):
                whole = [statements[name]] if name == "procedure" else statements[name].split(";\n")
                for statement in whole:
                    if statement.strip():
                        query(conn, statement)
        self.flush()

    def flush(self) -> None:
        """Begin a new binlog file."""
        with self.connect() as conn:
            query(conn, "flush binary logs")
            self.file = query(conn, "show binary logs")[-1][0]

    def write(self, database: str, first: int, last: int, per_transaction: int) -> None:
        """Commit the orders ``first`` to ``last``."""
        with self.connect(database) as conn:
            query(conn, "call write_orders(%s, %s, %s)", [first, last, per_transaction])

    def reader(self) -> str:
        """The program that fetches binlogs."""
        places = os.pathsep.join((str(self.binary.parent), os.environ.get("PATH", "")))
        if found := shutil.which("mysqlbinlog", path=places):
            return found
        raise RuntimeError("there is no mysqlbinlog: remove MySQL from the cache and run tests/servers.sh")

    def version(self) -> str:
        """As the server says."""
        with self.connect() as conn:
            return str(query(conn, "select version()")[0][0])


class Reader(Child):
    """One of ``bench.mysql_peers``."""

    def __init__(self, server: MySqlBenchServer, name: str, kind: str, directory: Path):
        self.name = name
        self._kind, self._server, self._directory = kind, server, directory
        self._process: subprocess.Popen[bytes] | None = None
        self._rows = 0

    def prepare(self, database: str) -> None:
        """Nothing: the binlog is there."""

    def start(self, database: str, rows: int) -> None:
        """Start it."""
        self._rows = rows
        self._start(
            "bench.mysql_peers", self._kind, self._server.url(database), self._server.file, str(rows),
            str(self._directory), self._server.reader(),
        )  # fmt: skip

    def copy(self) -> None:
        """Let it read the table."""
        wait(lambda: self.says(b"ready"))
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def taken(self) -> int:
        """Nothing, then one, then all."""
        return self._rows if self.says(b"done") else int(self.says(b"first"))


class MySqlBench:
    """The scenarios on one MySQL."""

    def __init__(self, stage: Stage):
        self.server = stage.server(MySqlBenchServer)
        self.directory, self.scale, self.rounds = stage.directory, stage.scale, stage.rounds

    def binlog(self, rows: int, per_transaction: int) -> Iterator[tuple[str, Reading]]:
        """A backlog of ``rows`` in transactions of some size, from a contender's first rows to its last."""
        rows = int(rows * self.scale)
        for _ in range(self.rounds):
            for contender in (
                Reader(self.server, "mysqlbinlog --raw", "raw", self.directory),
                Reader(self.server, "python-mysql-replication", "replication", self.directory),
                Reader(self.server, "mysql-event-stream", "stream", self.directory),
                Liberator(self.server, self.directory / "log", keep=True),
            ):
                yield contender.name, self._drain(contender, rows, per_transaction)

    def _drain(self, contender: Reader | Liberator, rows: int, per_transaction: int) -> Reading:
        self.server.create("source")
        if isinstance(contender, Liberator):
            # It notes where the binlog stands now, and goes on from there.
            contender.clear()
            contender.start("source")
            wait(contender.streams)
            contender.stop()
        before = contender.taken() if isinstance(contender, Liberator) else 0
        assert before == 0, "nothing was written yet"
        self.server.write("source", 1, rows, per_transaction)
        return measure(contender, rows, lambda: contender.start("source", rows))

    def snapshot(self, rows: int) -> Iterator[tuple[str, Reading]]:
        """A table of ``rows``, from a contender's first rows to its last."""
        rows = int(rows * self.scale)
        self.server.create("source")
        self.server.write("source", 1, rows, 10_000)
        self.server.flush()
        for _ in range(self.rounds):
            limit = Reader(self.server, "unbuffered cursor", "copy", self.directory)
            limit.start("source", rows)
            yield limit.name, measure(limit, rows, limit.copy)
            ours = Liberator(self.server, self.directory / "log", source={"snapshot": "initial"})
            yield ours.name, measure(ours, rows, lambda c=ours: c.start("source"))

    def sink(self, rows: int) -> Iterator[tuple[str, Reading]]:
        """``rows`` in the log, from the first that a MySQL sink shows to the last."""
        rows = int(rows * self.scale)
        self._drain(Liberator(self.server, self.directory / "filled", keep=True), rows, 100)
        with self.server.connect("source") as conn:
            found = query(conn, "select * from orders order by id")
            literals = [f"({','.join(conn.escape(value) for value in row)})" for row in found]
        for _ in range(self.rounds):
            yield "raw limit", self._insert(literals)
            yield "liberator", self._apply(rows)

    def _insert(self, literals: list[str]) -> Reading:
        """Rows as literals, inserted by hand into a table that exists."""
        self.server.create("target")
        with self.server.connect("target") as conn:
            conn.autocommit(False)
            gauge = Gauge([os.getpid()])
            for first in range(0, len(literals), BATCH):
                query(conn, "insert into orders values " + ",".join(literals[first : first + BATCH]))
                conn.commit()
            reading = gauge.read(len(literals))
        return Reading(reading.rows, reading.seconds, reading.cpu, 0)

    def _apply(self, rows: int) -> Reading:
        with self.server.connect() as conn:
            query(conn, "drop database if exists target")
            query(conn, "create database target")
        sinks = {"target": {"type": "mysql", "url": self.server.url("target"), "topics": ["*"]}}
        ours = Liberator(self.server, self.directory / "filled", sinks=sinks, keep=True)
        ours.start(None)
        try:
            with self.server.connect("target") as conn:
                before = wait(lambda: highest(conn), 0.005)
                gauge = Gauge(ours.pids())
                wait(lambda: highest(conn) >= rows)
                return gauge.read(rows - before)
        finally:
            ours.stop()


def highest(conn: pymysql.Connection[Any]) -> int:
    """The newest order that the target shows; orders come in the order of their ids."""
    try:
        return int(query(conn, "select coalesce(max(id), 0) from orders")[0][0])
    except pymysql.err.ProgrammingError:  # there is no such table yet
        return 0


SCENARIOS = [
    Scenario(
        "binlog", "MySQL: binlog, transactions of 100 rows",
        lambda stage: MySqlBench(stage).binlog(500_000, 100),
        {"rate": 120_000, "lead": 1.0, "memory": 120},
    ),
    Scenario(
        "binlog-single", "MySQL: binlog, transactions of one row",
        lambda stage: MySqlBench(stage).binlog(100_000, 1),
        {"rate": 30_000, "memory": 120},
    ),
    Scenario(
        "mysql-snapshot", "MySQL: snapshot",
        lambda stage: MySqlBench(stage).snapshot(1_000_000),
        {"rate": 120_000, "memory": 120},
    ),
    Scenario(
        "mysql-sink", "log to MySQL",
        lambda stage: MySqlBench(stage).sink(500_000),
        {"rate": 40_000, "memory": 120},
    ),
]  # fmt: skip
