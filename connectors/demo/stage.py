"""Where the demo plays: a directory, a Postgres server with two databases, and the processes at work.

Everything lives in one temporary directory and in child processes of sessions of their own, so that Ctrl-C
reaches the demo alone, which then takes its stage down in order. Nothing of it stays behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import IO, Any

import psycopg

from connectors.postgres.server import PostgresServer
from connectors.sql.statements import load
from liberator import config
from liberator.errors import LiberatorError
from liberator.log import Log

SHOP, WAREHOUSE = "shop", "warehouse"
#: How long a process may take to end when told to, in seconds.
ENDING = 30


class Broken(LiberatorError):
    """A process of the demo did not do what it should."""


class Stage:
    """The demo's server, files and processes; use :func:`stage`."""

    def __init__(self, directory: Path, server: PostgresServer):
        self.directory = directory
        self.server = server
        self.config = directory / "shop.yaml"
        self.replica = directory / "replica.db"
        # For the children, and for this process, which reads the same configuration.
        os.environ.update(SHOP_URL=server.url(SHOP), WAREHOUSE_URL=server.url(WAREHOUSE))
        self._children: list[subprocess.Popen[str]] = []

    def set_up(self) -> None:
        """Make both databases, fill the shop, write the configuration."""
        with psycopg.connect(self.server.url(), autocommit=True) as admin:
            admin.execute(f"create database {SHOP}".encode())
            admin.execute(f"create database {WAREHOUSE}".encode())
        here = resources.files("connectors.demo")
        with self.connect(SHOP) as conn:
            for file in ("shop.sql", "seed.sql"):
                conn.execute(here.joinpath(file).read_bytes())
        self.config.write_bytes(here.joinpath("shop.yaml").read_bytes())

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """A connection in autocommit mode."""
        return psycopg.connect(self.server.url(database), autocommit=True)

    def open_shop(self, rate: int) -> subprocess.Popen[str]:
        """Start the generator, at about ``rate`` transactions a second."""
        command = ["-m", "connectors.demo.generator", self.server.url(SHOP), f"--rate={rate}"]
        return self._start(command, subprocess.PIPE)

    def close_shop(self, generator: subprocess.Popen[str]) -> dict[str, int]:
        """Stop the generator; how many transactions of each kind it ran."""
        out = end(generator)
        if generator.returncode:
            raise Broken("the generator of changes failed", hint=self.tail("generator"))
        counts: dict[str, int] = json.loads(out)
        return counts

    def liberator(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``liberator ARGUMENTS --config shop.yaml``; what it says goes into a file."""
        return self._start(["-m", "liberator", *arguments, "--config", str(self.config)], None)

    def finish(self, process: subprocess.Popen[str], seconds: float) -> None:
        """Wait for a liberator command. Raises Broken with its last words if it fails or hangs."""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Broken(
                f"liberator did not end within {seconds:.0f} s", hint=self.tail("liberator")
            ) from None
        if process.returncode:
            raise Broken(f"liberator ended with exit code {process.returncode}", hint=self.tail("liberator"))

    def open_log(self) -> Log | None:
        """The log, to look at; None before there is one."""
        try:
            return config.load(self.config).open_log(create=False)
        except LiberatorError:
            return None

    def litter(self) -> int:
        """How many replication slots and publications the shop's server still has."""
        with self.connect(SHOP) as conn:
            row = conn.execute(load("connectors.demo", "catalog.sql")["litter"].encode()).fetchone()
        assert row is not None
        return int(row[0])

    def tail(self, program: str) -> str:
        """The last that ``program`` wrote."""
        path = self.directory / f"{program}.out"
        return path.read_text(errors="replace")[-1500:].strip() if path.exists() else ""

    def _start(self, command: list[str], stdout: int | None) -> subprocess.Popen[str]:
        program = command[1].rpartition(".")[2]
        with (self.directory / f"{program}.out").open("a") as out:
            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL, stdout=stdout or out, stderr=out,
                text=True, start_new_session=True,
            )  # fmt: skip
        self._children.append(process)
        return process

    def take_down(self) -> None:
        """End every process that still runs."""
        for child in self._children:
            with contextlib.suppress(Broken):
                end(child)
            for pipe in (child.stdout, child.stderr):
                _close(pipe)


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        pipe.close()


def end(process: subprocess.Popen[str]) -> str:
    """SIGTERM and wait; what it wrote to its pipe. Raises Broken for one that had to be killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        out, _ = process.communicate(timeout=ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Broken("a process did not end when told to") from None
    except ValueError:  # its pipe was read before
        return ""
    return out or ""


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Set the stage, and take it down whatever happens."""
    directory = Path(tempfile.mkdtemp(prefix="liberator-demo-"))
    try:
        with PostgresServer() as server:
            place = Stage(directory, server)
            try:
                place.set_up()
                yield place
            finally:
                place.take_down()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
