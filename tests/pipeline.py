"""The real command on a real configuration, for tests: started, watched, killed, and its log read.

Nothing here knows what is right; that is said by the tests.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from liberator import config, plugins
from liberator.apply import Apply, Plan
from liberator.capture import Capture
from liberator.codec.decoder import RecordDecoder
from liberator.errors import LiberatorError
from liberator.event import ChangeEvent
from liberator.log import Log, Record
from liberator.patterns import Patterns

COMMAND = [sys.executable, "-m", "liberator"]


class Pipeline:
    """One configuration file in a directory of its own, and the runs of it."""

    def __init__(self, directory: Path, sources: Mapping[str, Any], sinks: Mapping[str, Any], **log: Any):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.path = directory / "pipeline.yaml"
        self.output = directory / "output.txt"
        self._process: subprocess.Popen[bytes] | None = None
        settings = {
            "log": {"type": "embedded", "path": "./events.log", **log},
            "sources": dict(sources),
            "sinks": dict(sinks),
        }
        self.path.write_text(yaml.safe_dump(settings), encoding="utf-8")

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Start ``liberator run``."""
        assert self._process is None, "it runs already"
        with self.output.open("ab") as out:
            self._process = subprocess.Popen(
                [*COMMAND, "run", "--config", str(self.path)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def stop(self, timeout: float = 60) -> None:
        """SIGTERM; it must end with exit code 0."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout)
        self._process = None
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.tail()}"

    def kill(self) -> None:
        """SIGKILL the supervisor; its workers notice and leave."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def kill_all(self) -> None:
        """SIGKILL the supervisor and every worker, as nearly at once as it goes."""
        assert self._process is not None
        pids = [self._process.pid, *self.workers().values()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def kill_worker(self, name: str, timeout: float = 30) -> int:
        """SIGKILL the worker ``source:shop``, waiting until there is one; its process id."""
        pid = wait_for(lambda: self.workers().get(name), timeout, lambda: f"no worker {name}:\n{self.tail()}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid

    def workers(self) -> dict[str, int]:
        """The worker processes that run now: name to process id."""
        found: dict[str, int] = {}
        for process in self.processes()[1:]:
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "liberator.worker" in words:
                    found[words[words.index("liberator.worker") + 1]] = process.pid
        return found

    def processes(self) -> list[psutil.Process]:
        """The supervisor, and all processes that it started."""
        if self._process is None:
            return []
        with contextlib.suppress(psutil.Error):
            supervisor = psutil.Process(self._process.pid)
            return [supervisor, *supervisor.children(recursive=True)]
        return []

    @property
    def running(self) -> bool:
        """Whether the supervisor has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def run(self, *arguments: str, code: int = 0, timeout: float = 300) -> str:
        """``liberator ARGUMENTS --config FILE`` to its end; what it wrote to stdout."""
        done = subprocess.run(
            [*COMMAND, *arguments, "--config", str(self.path)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def catch_up(self, timeout: float = 300) -> None:
        """``liberator run --until-current``: it must end by itself, with exit code 0."""
        self.run("run", "--until-current", timeout=timeout)

    def tail(self) -> str:
        """The last that the runs wrote."""
        return self.output.read_text(errors="replace")[-4000:] if self.output.exists() else ""

    @contextlib.contextmanager
    def log(self) -> Iterator[Log]:
        """The log, opened to look at."""
        with config.load(self.path).open_log(create=False) as log:
            yield log

    def status(self, worker: str) -> Mapping[str, Any]:
        """What a worker last said of itself; empty before it spoke."""
        try:
            with self.log() as log:
                return log.statuses().get(worker, {})
        except LiberatorError:
            return {}

    def wait_for_status(
        self, worker: str, satisfied: Callable[[Mapping[str, Any]], bool], timeout: float = 60
    ) -> Mapping[str, Any]:
        """Wait until what ``worker`` says of itself is ``satisfied``."""

        def look() -> Mapping[str, Any] | None:
            assert self.running, f"it ended:\n{self.tail()}"
            status = self.status(worker)
            return status if status and satisfied(status) else None

        return wait_for(look, timeout, lambda: f"{worker} says {self.status(worker)}:\n{self.tail()}")

    def records(self) -> list[Record]:
        """Everything in the log, in order."""
        with self.log() as log:
            return [record for records in slices(log) for record in records]

    def events(self) -> list[ChangeEvent]:
        """Everything in the log as change events, in order."""
        with self.log() as log:
            decode = RecordDecoder(log.registry).decode
            return [event for records in slices(log) for event in decode(records)]


class Inline(Pipeline):
    """The same pumps, connectors and files, run one after the other in this process: for tests of what comes
    out, where nothing has to be started, killed or measured."""

    def setup(self) -> None:
        """What ``liberator setup`` does."""
        settings = config.load(self.path)
        for name in settings.sources:
            settings.source(name).setup()

    def catch_up(self, timeout: float = 0) -> None:
        """What ``liberator run --until-current`` does."""
        settings = config.load(self.path)
        for name, options in settings.sources.items():
            source = settings.source(name)
            try:
                with settings.open_log() as log:
                    codec = plugins.codec_class(options.codec)(log.registry, options.envelope)
                    Capture(source, log, codec).run(lambda: False, source.current())
            finally:
                source.close()
        for name, options in settings.sinks.items():
            with settings.open_log() as log:
                end = log.end()
                decode = RecordDecoder(log.registry)
                plan = Plan(Patterns(options.topics), options.apply, options.batch, options.start)
                pump = Apply(lambda name=name: settings.sink(name), log, decode, plan)
                pump.run(lambda: False, lambda end=end: end)


def slices(log: Log) -> Iterator[Any]:
    """The records from the log's beginning to its end, a slice at a time."""
    cursor, end = log.begin(), log.end()
    while cursor.offsets.get("", 0) < end.offsets.get("", 0):
        part = log.read(cursor, None, 10_000)
        yield part.records
        cursor = part.cursor


def wait_for(look: Callable[[], Any], timeout: float, complaint: Callable[[], str]) -> Any:
    """Call ``look`` until it gives something true, and return that."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.05)
