"""Throw-away MySQL and MariaDB servers of our own, for the demo, the tests and the benchmark.

``find`` says where the program comes from: an environment variable, PATH, /usr/sbin, or the cache into
which ``tests/servers.sh`` unpacks one. A server listens on a port of 127.0.0.1 and on a
socket in its own directory; root has no password. Option files of the machine are never read.

A first start writes a data directory; it is kept in the cache, and later servers begin with a copy. What is
the same for every kind of server is in ``connectors/sql/own_server.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from connectors.sql.own_server import OwnServer
from liberator.errors import SourceError

#: Options that make a small server which logs changes as a source needs them. Durability is real: fsync
#: stays on. An option whose value is None is switched off: ``--skip-name``.
DEFAULTS: Mapping[str, str | None] = {
    "bind_address": "127.0.0.1",
    "server_id": "1",
    "log_bin": "binlog",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "max_connections": "60",
    "innodb_buffer_pool_size": "64M",
    "innodb_use_native_aio": None,  # the machine's quota of asynchronous I/O is small and for all servers
    "character_set_server": "utf8mb4",
    "default_time_zone": "+00:00",
    "innodb_log_buffer_size": "8M",
    "table_open_cache": "200",
    "table_definition_cache": "400",
}

#: Ports to choose from: below those that the system gives to outgoing connections, so that nobody takes
#: ours while the server is down.
PORTS = range(20_000, 32_000)


def cache_directories() -> Iterator[Path]:
    """Where unpacked servers and data directories are kept, the preferred place first."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        yield Path(given) / "liberator"
    elif os.geteuid() != 0:  # root's home is closed to the user who runs root's servers
        yield Path("~/.cache/liberator").expanduser()
    yield Path("/var/cache/liberator")


def version(binary: Path) -> str:
    """What the program says of itself; empty if it cannot be run."""
    try:
        done = subprocess.run(
            [binary, "--no-defaults", "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout


class MySqlFamilyServer(OwnServer):
    """One server; ``options`` replace those of ``DEFAULTS``, named as the server's variables are.

    ``options`` may be changed before ``restart``. The port stays the same as long as the object lives.
    """

    #: For people.
    TITLE: ClassVar[str]
    #: Names of the server program.
    PROGRAMS: ClassVar[tuple[str, ...]]
    #: The environment variable that names the program.
    VARIABLE: ClassVar[str]
    #: Options that only this kind knows.
    OWN_DEFAULTS: ClassVar[Mapping[str, str | None]]

    def __init__(
        self,
        binary: Path | None = None,
        options: Mapping[str, str | None] | None = None,
        directory: Path | None = None,
        keep: bool = False,
    ):
        self.binary = binary or self.find()
        super().__init__(directory, keep)
        self.options = {**DEFAULTS, **self.OWN_DEFAULTS, **(options or {})}
        self.port = free_port()

    @classmethod
    def find(cls) -> Path:
        """The server's program on this machine. Raises SourceError if there is none."""
        if (given := os.environ.get(cls.VARIABLE)) is not None:
            if given and cls._is(Path(given)):
                return Path(given)
            raise SourceError(f"no {cls.TITLE} server: none is what {cls.VARIABLE}={given!r} names")
        places = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin"]
        places += [str(directory / cls.NAME / "bin") for directory in cache_directories()]
        for place, program in itertools.product(places, cls.PROGRAMS):
            if (found := shutil.which(program, path=place)) and cls._is(Path(found)):
                return Path(found)
        raise SourceError(
            f"no {cls.TITLE} server on this machine: {cls.PROGRAMS[0]} is neither in PATH nor in /usr/sbin",
            hint=f"install one, or name it: {cls.VARIABLE}=/path/to/{cls.PROGRAMS[0]}",
        )

    @classmethod
    def _is(cls, binary: Path) -> bool:
        """Whether a program is of this kind: MariaDB's can be called mysqld too."""
        said = version(binary)
        return bool(said) and ("mariadb" in said.lower()) == (cls.NAME == "mariadb")

    def url(self, database: str = "") -> str:
        """A URL for ``database``, or for none, over TCP as root."""
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    @property
    def socket(self) -> Path:
        """The path of the Unix socket."""
        return self.directory / "socket"

    def stop(self) -> None:
        """Stop; delete the directory unless ``keep``, and then there is nothing to end in good order."""
        if not self.keep:
            self.kill()
        super().stop()

    def _command(self) -> list[str]:
        options = {**self.options, "port": str(self.port), "socket": str(self.socket)}
        return [str(self.binary), *self._where(), *arguments(options)]

    def _where(self) -> list[str]:
        # A server that starts deletes what others of its kind have left where temporary tables go.
        own = {"datadir": self.data, "tmpdir": self.directory, "pid-file": self.directory / "pid"}
        return ["--no-defaults", *(f"--{name}={path}" for name, path in own.items())]

    def _ready(self) -> bool:
        """Whether the server greets. Asked on its socket: on the port somebody else could answer."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(str(self.socket))
            return len(probe.recv(5)) == 5
        return False

    def _spawn(self) -> None:
        self.socket.unlink(missing_ok=True)
        super()._spawn()

    def _become_ordinary(self) -> None:
        super()._become_ordinary()
        if not self._may_run(self.binary):
            raise SourceError(
                f"{self.binary} cannot be reached by {self._user}, as whom it would run",
                hint="unpack the server where every user may read, or do not start it as root",
            )

    def _initialize(self) -> None:
        if (self.data / "mysql").exists():
            return
        if (template := self._template()) is None:
            self._make_data()
            return
        if not template.exists():
            self._make_data()
            _publish(self.data, template)
            shutil.rmtree(self.data)
        shutil.copytree(template, self.data)
        if self._user:
            subprocess.run(["chown", "-R", self._user, str(self.data)], check=True)

    def _make_data(self) -> None:
        """Write a new data directory."""
        raise NotImplementedError

    def _template(self) -> Path | None:
        """Where a data directory that this very program made is kept; None if there is no such place."""
        name = hashlib.sha256(f"{self.binary.resolve()} {version(self.binary)}".encode()).hexdigest()[:16]
        for directory in cache_directories():
            with contextlib.suppress(OSError):
                directory.mkdir(parents=True, exist_ok=True)
            if os.access(directory, os.W_OK):
                return directory / f"{self.NAME}-data-{name}"
        return None


class MySqlServer(MySqlFamilyServer):
    """One MySQL, with GTIDs."""

    NAME = "mysql"
    TITLE = "MySQL"
    PROGRAMS = ("mysqld",)
    VARIABLE = "LIBERATOR_MYSQLD"
    OWN_DEFAULTS: ClassVar[Mapping[str, str | None]] = {
        "gtid_mode": "ON",
        "enforce_gtid_consistency": "ON",
        "innodb_redo_log_capacity": "64M",
        "mysqlx": "OFF",
        "secure_file_priv": "NULL",  # else a directory that a package makes must be there
    }

    def _make_data(self) -> None:
        options = arguments({"innodb_use_native_aio": None, "log_bin": None, "secure_file_priv": "NULL"})
        self._run(self.binary, *self._where(), "--initialize-insecure", *options)
        (self.data / "auto.cnf").unlink(missing_ok=True)  # the server's identity, which each makes anew
        for redo in (self.data / "#innodb_redo").glob("*_tmp"):
            redo.unlink()  # empty files in reserve, most of the space


class MariaDbServer(MySqlFamilyServer):
    """One MariaDB; it has GTIDs always."""

    NAME = "mariadb"
    TITLE = "MariaDB"
    PROGRAMS = ("mariadbd", "mysqld")
    VARIABLE = "LIBERATOR_MARIADBD"
    OWN_DEFAULTS: ClassVar[Mapping[str, str | None]] = {
        "gtid_strict_mode": "ON",
        "log_slave_updates": "ON",
        "innodb_log_file_size": "64M",
    }

    def _make_data(self) -> None:
        # Beside the server in the archive that its makers offer, in the path with a distribution's package.
        places = [
            self.binary.parent,
            self.binary.parent.parent / "scripts",
            self.binary.parent.parent / "bin",
        ]
        path = os.pathsep.join([*map(str, places), os.environ.get("PATH", "")])
        program = shutil.which("mariadb-install-db", path=path) or shutil.which("mysql_install_db", path=path)
        if program is None:
            raise SourceError(f"no mariadb-install-db beside {self.binary} and none in PATH")
        self._run(
            Path(program), "--no-defaults", f"--datadir={self.data}", "--skip-test-db",
            "--auth-root-authentication-method=normal", *arguments({"innodb_use_native_aio": None}),
        )  # fmt: skip


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    for port in random.sample(PORTS, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise SourceError(f"no free port between {PORTS.start} and {PORTS.stop}")


def arguments(options: Mapping[str, str | None]) -> list[str]:
    """The options as a command line has them."""
    named = [(name.replace("_", "-"), value) for name, value in options.items()]
    return [f"--skip-{name}" if value is None else f"--{name}={value}" for name, value in named]


def _publish(data: Path, template: Path) -> None:
    """Keep a copy of ``data`` as ``template``, whole or not at all."""
    # Another process may be doing the same: the first to rename wins, and both are right.
    with tempfile.TemporaryDirectory(dir=template.parent) as scratch, contextlib.suppress(OSError):
        shutil.copytree(data, Path(scratch) / "data").rename(template)
