"""The demo as a spectator sees it: it ends by itself, verified, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.pipeline import COMMAND


@pytest.fixture
def environment(tmp_path):
    """Temporary files in a directory of our own, so that whatever is left can be seen."""
    return {**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "100"}


def start(environment):
    return subprocess.Popen(
        [*COMMAND, "demo"], env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def family(process):
    """The demo, and everything that it has started."""
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


def watch(process, until):
    """What it says up to a line with ``until``; and everybody that is at work then."""
    seen = ""
    for line in process.stdout:
        seen += line
        if until in line:
            break
    return seen, family(process)


def command_line(process):
    """What it was started as; empty if it has ended since."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def data_directories(processes):
    """Where the database servers among them keep their data."""
    words = [line for process in processes if (line := command_line(process))]
    return [Path(line[line.index("-D") + 1]) for line in words if "postgres" in line[0] and "-D" in line]


def assert_gone(processes, directories, tmp_path):
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert [process.name() for process in alive] == []
    assert list(tmp_path.glob("liberator-demo-*")) == []
    assert [path for path in directories if path.exists()] == []


def test_it_ends_by_itself_with_every_row_verified(environment, tmp_path):
    began = time.monotonic()
    process = start(environment)
    seen, processes = watch(process, "another worker")
    directories = data_directories(processes)
    rest, _ = process.communicate(timeout=300)
    out = seen + rest
    assert process.returncode == 0, out
    assert "verified" in out.splitlines()[-1]
    assert "kill -9" in out
    for table in ("customers", "products", "orders", "order_items"):
        assert sum(table in line and "equal" in line for line in out.splitlines()) == 2, out
    assert directories
    assert_gone(processes, directories, tmp_path)
    print(f"{time.monotonic() - began:.0f} s")


@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGINT, "another worker"), (signal.SIGTERM, "run --config")]
)
def test_interrupted_it_puts_everything_away(environment, tmp_path, number, moment):
    process = start(environment)
    seen, processes = watch(process, moment)
    directories = data_directories(processes)
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, seen + rest
    assert directories
    assert_gone(processes, directories, tmp_path)
