"""The page for owners of applications is true: its five minutes are run as they stand, and so is its code."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.documents import ROOT, blocks_of

PAGE = "docs/outbox.md"
PYTHON = blocks_of(PAGE, "python")


def run(arguments, directory):
    """A command of the page, in a directory of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable] if arguments[0] == "python" else [sys.executable, "-m", arguments[0]]
    return subprocess.run(
        [*program, *arguments[1:]],
        cwd=directory, env=environment, check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip


def test_the_five_minutes_end_with_a_published_event(tmp_path):
    (tmp_path / "shop.py").write_text(PYTHON[0].text)
    (tmp_path / "shop.yaml").write_text(blocks_of(PAGE, "yaml")[0].text)
    (shell,) = blocks_of(PAGE, "sh")
    commands = [line.split() for line in shell.text.splitlines()]
    assert [command[0] for command in commands] == ["python", *["liberator"] * 3]
    outputs = [run(command, tmp_path) for command in commands]
    record = json.loads(outputs[-1])
    assert (record["key"], record["value"]) == ("1", {"total": "12.30"})
    assert record["headers"]["type"] == "OrderPlaced"
    with closing(sqlite3.connect(tmp_path / "warehouse.db")) as db:
        rows = db.execute('select aggregate_id, type, payload from "shop.order"').fetchall()
    assert rows == [("1", "OrderPlaced", '{"total":"12.30"}')]
    assert [run(command, tmp_path) for command in commands][-1].count("\n") == 2, (
        "the next order is the next event"
    )


@pytest.mark.parametrize("block", PYTHON[1:], ids=str)
def test_other_code_of_the_page_runs(block, tmp_path):
    (tmp_path / "code.py").write_text(block.text)
    out = run(["python", "code.py"], tmp_path)
    if "process_once" in block.text:
        assert out.splitlines() == ["processing 0190-a", "processing 0190-b"]
    else:
        assert "create table" in out


def test_every_command_line_of_the_page_prints_sql():
    (block,) = blocks_of(PAGE, "console")
    for line in block.text.splitlines():
        words = re.split(r" [|>] ", line.removeprefix("$ "))[0].split()
        assert "create table" in run(words, ROOT)
