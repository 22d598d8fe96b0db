"""Who is measured: liberator itself, the raw limit, and mq-bridge, behind one face.

A contender prepares its slot, so that the load can be written before it comes; then it is started, and
knows how many rows it has durably taken (``taken``), as far as an outsider can see it without slowing it
down. What is measured begins with its first rows: no contender's start counts.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import psutil
import yaml

from bench.gauge import Gauge, Reading
from bench.server import BenchServer
from liberator import config
from liberator.errors import LiberatorError
from liberator.log import Log

PATIENCE = 600.0
#: Seconds without a row after which a contender that tells its progress counts as stuck.
STUCK = 30.0
#: Seconds between two looks at a contender's memory.
LOOK = 0.2


class Source(Protocol):
    """A server that liberator can read."""

    def source(self, database: str) -> dict[str, Any]:
        """The options of the source."""
        ...


class Contender(Protocol):
    """Something that can take the orders of a database."""

    name: str
    #: Seconds without progress after which it counts as stuck.
    patience: float

    def taken(self) -> int:
        """How many rows it has taken, at least."""
        ...

    def pids(self) -> list[int]:
        """Its processes."""
        ...

    def stop(self) -> None:
        """End, and leave nothing behind."""
        ...


def wait(what: Callable[[], Any], pause_seconds: float = 0.02) -> Any:
    """Until ``what`` gives something true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError("a contender does not get on")
        time.sleep(pause_seconds)
    return found


def measure(contender: Contender, rows: int, begin: Callable[[], None]) -> Reading:
    """From the first rows that a contender has taken to the last. One that does not get on at all for a
    while is stuck, and that is its result."""
    try:
        begin()
        before = wait(contender.taken, 0.002)
        gauge = Gauge(contender.pids())
        taken, since = before, time.monotonic()
        looked = since
        while taken < rows:
            time.sleep(0.005)
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                gauge.look(contender.pids())
            now = contender.taken()
            if now > taken:
                taken, since = now, time.monotonic()
            elif time.monotonic() - since > contender.patience:
                return gauge.read(0)
        return gauge.read(rows - before)
    finally:
        contender.stop()


class Liberator:
    """``liberator run``: Avro with the whole ``change`` envelope into the embedded log; with ``sinks`` on to
    them. ``source`` overrides options of the source, None leaves it out."""

    name, patience = "liberator", STUCK

    def __init__(
        self,
        server: Source,
        directory: Path,
        sinks: dict[str, Any] | None = None,
        source: dict[str, Any] | None = None,
        keep: bool = False,
    ):
        self._server, self._directory, self._sinks, self._keep = server, directory, sinks or {}, keep
        self._source = source or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Log | None = None
        self.path = directory / "bench.yaml"

    def prepare(self, database: str) -> None:
        """``liberator setup``: slot and publication."""
        self._configure(database)
        if self._run("setup").wait():
            raise RuntimeError((self._directory / "output.txt").read_text()[-2000:])

    def start(self, database: str | None, rows: int = 0) -> None:
        """``liberator run``; without a database it only applies what the log holds."""
        self._configure(database)
        self._process = self._run("run", "--no-check")

    def clear(self) -> None:
        """Forget an earlier log."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _configure(self, database: str | None) -> None:
        self._directory.mkdir(exist_ok=True)
        sources = {}
        if database:
            sources["bench"] = {**self._server.source(database), "snapshot": "none", **self._source}
        settings = {
            "log": {"type": "embedded", "path": "./bench.log"},
            "sources": sources,
            "sinks": self._sinks,
        }
        self.path.write_text(yaml.safe_dump(settings))

    def streams(self) -> bool:
        """As its source says of itself."""
        return self._status("source:bench").get("phase") == "streaming"

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "liberator", *arguments, "--config", str(self.path)]
        with (self._directory / "output.txt").open("ab") as out:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def taken(self) -> int:
        """The records in the log: one for each row that was inserted."""
        log = self.log()
        return log.end().offsets.get("", 0) if log is not None else 0

    def log(self) -> Log | None:
        """The log, once there is one."""
        if self._log is None:
            with contextlib.suppress(LiberatorError):
                self._log = config.load(self.path).open_log(create=False)
        self._alive()
        return self._log

    def _status(self, worker: str) -> dict[str, Any]:
        log = self.log()
        status = dict(log.statuses().get(worker, {})) if log is not None else {}
        if status.get("phase") == "failed":
            raise RuntimeError(f"{worker}: {status.get('error')}")
        return status

    def _alive(self) -> None:
        if self._process is not None and self._process.poll() not in (None, 0):
            raise RuntimeError((self._directory / "output.txt").read_text()[-2000:])

    def pids(self) -> list[int]:
        """The supervisor and its workers."""
        assert self._process is not None
        supervisor = psutil.Process(self._process.pid)
        return [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]

    def stop(self) -> None:
        """SIGTERM; then slot and publication go."""
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
            self._run("teardown").wait()
        if not self._keep:
            shutil.rmtree(self._directory, ignore_errors=True)


class Child:
    """A contender that is one process of ours and says on its standard output how far it is."""

    slot: str
    patience = PATIENCE

    def __init__(self, server: BenchServer) -> None:
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""

    def prepare(self, database: str) -> None:
        """Make its slot."""
        with self._server.connect(database) as conn:
            conn.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [self.slot])

    def streams(self) -> bool:
        """Whether its slot is read."""
        with self._server.connect("postgres") as conn:
            return bool(conn.execute("select 1 from pg_replication_slots where active").fetchone())

    def _start(self, *arguments: str) -> None:
        self._said = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def says(self, word: bytes) -> bool:
        """Whether it has said ``word``."""
        assert self._process is not None and self._process.stdout is not None
        while select.select([self._process.stdout], [], [], 0)[0]:
            data = os.read(self._process.stdout.fileno(), 4096)
            if not data:
                break
            self._said += data
        if self._process.poll() and word not in self._said:
            raise RuntimeError(f"it ended with exit code {self._process.returncode}")
        return word in self._said

    def pids(self) -> list[int]:
        """The one process."""
        assert self._process is not None
        return [self._process.pid]

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process = None


class Limit(Child):
    """The raw limit: everything received, nothing decoded. ``times`` is a file for the times of commits."""

    name, slot = "raw limit", "bench_limit"

    def __init__(self, server: BenchServer, times: Path | None = None):
        super().__init__(server)
        self._times, self._rows = times, 0

    def start(self, database: str, rows: int, what: str = "stream") -> None:
        """Start it, to ``stream`` at once or to stand ready to ``copy``."""
        self._rows = rows
        more = [str(self._times)] if self._times else []
        self._start("bench.limit", self._server.url(database), str(rows), what, *more)

    def copy(self) -> None:
        """Let it read the table."""
        wait(lambda: self.says(b"ready"))
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def taken(self) -> int:
        """Nothing, then one, then all."""
        return self._rows if self.says(b"done") else int(self.says(b"first"))


class Peer(Child):
    """mq-bridge: ``postgres_cdc`` into a file."""

    name, slot, patience = "mq-bridge", "bench_peer", STUCK

    def __init__(self, server: BenchServer, directory: Path):
        super().__init__(server)
        self._directory = directory
        self.file = directory / "peer.jsonl"

    def start(self, database: str, rows: int, snapshot: bool = False) -> None:
        """Start it."""
        self._directory.mkdir(exist_ok=True)
        self.file.unlink(missing_ok=True)
        url = self._server.url(database).replace("postgresql://", "postgres://")
        self._start("bench.peer", url, str(self.file), *(["snapshot"] if snapshot else []))

    def taken(self) -> int:
        """The highest id in the last lines of its file: orders come in the order of their ids."""
        if not self.file.exists():
            return 0
        with self.file.open("rb") as file:
            file.seek(max(0, self.file.stat().st_size - 8192))
            lines = file.read().split(b"\n")[1:-1]
        return max((id_in(line) for line in lines), default=0)

    def stop(self) -> None:
        """SIGTERM, and wait; its file goes."""
        super().stop()
        self.file.unlink(missing_ok=True)


def id_in(line: bytes) -> int:
    """The order's id in a line of mq-bridge's, whose payload is JSON inside of JSON."""
    digits = line.partition(b'\\"id\\":')[2]
    return int(digits[: len(digits) - len(digits.lstrip(b"0123456789"))] or 0)
