"""A database server of our own, for the demo, the tests and the benchmark: what is the same for each kind.

It lives in a directory that is deleted when it ends, writes its log there, and runs as an ordinary user
when root starts it, because database servers refuse root. Nothing of this is used in production.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from liberator.errors import SourceError

#: Who runs the server if we are root.
ORDINARY = "nobody"


class OwnServer(ABC):
    """One server with its own data directory, deleted on exit unless ``keep``.

    Use as a context manager, or ``start``, ``stop``, ``kill`` (SIGKILL, as a crash would) and ``restart``
    by hand. ``url(database)`` gives the URL that sources and sinks take.
    """

    #: The signal by which the server ends in good order, without waiting for its clients.
    STOP: ClassVar[signal.Signals] = signal.SIGTERM
    #: What it is called in directories and messages.
    NAME: ClassVar[str]

    def __init__(self, directory: Path | None = None, keep: bool = False):
        self.keep = keep
        # A short path: a socket's path may not be longer than about 100 bytes.
        self.directory = directory or Path(tempfile.mkdtemp(prefix=f"lib-{self.NAME}-", dir="/tmp"))
        self.data = self.directory / "data"
        self._user: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def url(self, database: str = "") -> str:
        """A URL for ``database``, or for the one that every server has."""

    @abstractmethod
    def _initialize(self) -> None:
        """Make the data directory, unless it is there."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The server's command line."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether the process that was started takes connections."""

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._process is None:
            raise SourceError("the server is not running")
        return self._process.pid

    def start(self) -> Self:
        """Initialize if new, start, and wait until connections are taken."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._become_ordinary()
        self._initialize()
        self._spawn()
        return self

    def stop(self) -> None:
        """Stop in good order; delete the directory unless ``keep``."""
        self._end(self.STOP)
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL: nothing is written any more, as in a crash."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop if running, start again on the same data."""
        self._end(self.STOP)
        self._spawn()

    def log_tail(self) -> str:
        """The last of the server's log, for error messages."""
        return (self.directory / "log").read_text(errors="replace")[-800:]

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _become_ordinary(self) -> None:
        self._user = ORDINARY
        shutil.chown(self.directory, self._user)
        self.directory.chmod(0o755)

    def _may_run(self, program: Path) -> bool:
        """Whether the user who runs the server can reach ``program``: a home can be closed to others."""
        probe = ["test", "-x", str(program)]
        return subprocess.run(probe, user=self._user, cwd="/", check=False).returncode == 0

    def _run(self, program: Path, *args: str) -> None:
        done = subprocess.run(
            [str(program), *args],
            user=self._user, cwd=self.directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SourceError(f"{program.name} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def _spawn(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                user=self._user, cwd=self.directory, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if self._ready():
                return
            time.sleep(0.02)
        self._end(signal.SIGKILL)
        raise SourceError(f"{self.NAME} did not start: {self.log_tail()}")

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        self._process.wait(timeout=60)
        self._process = None
