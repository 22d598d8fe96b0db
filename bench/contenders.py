"""Who is measured: liberator itself, the raw limit, and mq-bridge, behind one face.

A contender is started on a database and knows how many rows it has durably taken (``taken``), as far as
an outsider can see it without slowing it down. ``pause`` and ``go`` stop its processes and let them on: the
load is written while everybody stands still, so that no contender's start counts.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import psutil
import yaml

from bench.gauge import Gauge
from bench.server import BenchServer
from liberator import config
from liberator.errors import LiberatorError
from liberator.log import Log

PATIENCE = 600.0


class Contender(Protocol):
    """Something that can take the orders of a database."""

    name: str

    def start(self, database: str, rows: int) -> None:
        """Begin, and return when it streams; ``rows`` is how many it will have to take."""
        ...

    def taken(self) -> int:
        """How many rows it has taken, at least."""
        ...

    def pids(self) -> list[int]:
        """Its processes."""
        ...

    def stop(self) -> None:
        """End, and leave nothing behind."""
        ...


def pause(contender: Contender) -> None:
    """Let it stand still."""
    for pid in contender.pids():
        os.kill(pid, signal.SIGSTOP)


def go(contender: Contender) -> Gauge:
    """Let it on, and measure it from now."""
    gauge = Gauge(contender.pids())
    for pid in contender.pids():
        os.kill(pid, signal.SIGCONT)
    return gauge


def wait(what: Callable[[], Any], pause_seconds: float = 0.02) -> Any:
    """Until ``what`` gives something true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError("a contender does not get on")
        time.sleep(pause_seconds)
    return found


class Liberator:
    """``liberator run``: Avro with the whole ``change`` envelope into the embedded log; with ``sinks`` on to
    them. ``source`` overrides options of the source, None leaves it out."""

    name = "liberator"

    def __init__(
        self,
        server: BenchServer,
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

    def start(self, database: str, rows: int) -> None:
        """Start it and wait until it streams."""
        self.launch(database)
        wait(lambda: self._status("source:bench").get("phase") == "streaming")

    def launch(self, database: str | None, *arguments: str) -> None:
        """Start it and do not wait; without a database it only applies what the log holds."""
        if not self._keep:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(exist_ok=True)
        source = {"type": "postgres-wal", "tables": ["public.orders"], "snapshot": "none", **self._source}
        sources = {"bench": {**source, "url": self._server.url(database)}} if database else {}
        settings = {
            "log": {"type": "embedded", "path": "./bench.log"},
            "sources": sources,
            "sinks": self._sinks,
        }
        self.path.write_text(yaml.safe_dump(settings))
        self._process = self._run("run", *arguments)

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

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""

    def _start(self, *arguments: str) -> None:
        self._said = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        wait(lambda: self.says(b"ready"))

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

    name = "raw limit"

    def __init__(self, server: BenchServer, times: Path | None = None):
        super().__init__()
        self._server, self._times, self._rows = server, times, 0

    def start(self, database: str, rows: int, what: str = "stream") -> None:
        """Start it and wait until it streams, or stands ready to ``copy``."""
        self._rows = rows
        more = [str(self._times)] if self._times else []
        self._start("bench.limit", self._server.url(database), str(rows), what, *more)

    def copy(self) -> None:
        """Let it read the table."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def taken(self) -> int:
        """Nothing, then all."""
        return self._rows if self.says(b"done") else 0


class Peer(Child):
    """mq-bridge: ``postgres_cdc`` into a file."""

    name = "mq-bridge"

    def __init__(self, server: BenchServer, directory: Path):
        super().__init__()
        self._server, self._directory = server, directory
        self.file = directory / "peer.jsonl"

    def start(self, database: str, rows: int, snapshot: bool = False) -> None:
        """Start it and wait until its slot streams."""
        self._directory.mkdir(exist_ok=True)
        self.file.unlink(missing_ok=True)
        url = self._server.url(database).replace("postgresql://", "postgres://")
        self._start("bench.peer", url, str(self.file), *(["snapshot"] if snapshot else []))
        if not snapshot:
            with self._server.connect(database) as conn:
                wait(lambda: conn.execute("select 1 from pg_replication_slots where active").fetchone())

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
