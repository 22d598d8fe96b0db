"""The demo as a spectator sees it: it ends by itself, verified, and leaves nothing behind, even interrupted."""

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


def servers():
    return {path.name for path in Path("/tmp").glob("lib-pg-*")}


def assert_gone(processes, tmp_path):
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert [process.name() for process in alive] == []
    assert list(tmp_path.glob("liberator-demo-*")) == []


def test_it_ends_by_itself_with_every_row_verified(environment, tmp_path):
    before, began = servers(), time.monotonic()
    process = start(environment)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert "verified" in out.splitlines()[-1]
    assert "kill -9" in out
    for table in ("customers", "products", "orders", "order_items"):
        assert sum(table in line and "equal" in line for line in out.splitlines()) == 2, out
    assert list(tmp_path.glob("liberator-demo-*")) == []
    assert servers() - before == set()
    print(f"{time.monotonic() - began:.0f} s")


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_puts_everything_away(environment, tmp_path, interrupt):
    process = start(environment)
    seen = ""
    for line in process.stdout:
        seen += line
        if "another worker" in line:
            break
    processes = family(process)
    assert len(processes) > 5, seen
    process.send_signal(interrupt)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, seen + out
    assert_gone(processes, tmp_path)
