"""The demo's story, in order: a shop under load is captured, copied twice, interrupted, and compared.

The job is the real one: ``liberator run`` as a process of its own, on a real Postgres server, with the
configuration that lies beside this file. Where it plays is :mod:`connectors.demo.stage`, what a spectator
sees :mod:`connectors.demo.board`, what counts as equal :mod:`connectors.demo.compare`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from connectors.demo.board import Board, Statuses, snapshot_rows
from connectors.demo.compare import Result, compare, postgres_rows, sqlite_rows, tables
from connectors.demo.stage import SHOP, WAREHOUSE, Broken, Stage, stage
from liberator.log import Log

SOURCE = "source:shop"
#: Transactions a second while the shop is open.
RATE = 150
#: How long the shop stays open after the snapshot, in seconds.
OPEN = 6.0
#: How long any one thing may take before the demo gives up, in seconds.
PATIENCE = 180.0


def run() -> int:
    """Play the demo; 0 if every row is right, 1 if not. Ctrl-C ends it and leaves nothing behind."""
    with interruptible(), Board() as board:
        board.step("starting a Postgres server of our own and filling a shop with rows")
        with stage() as place:
            results = play(place, board)
        board.clear()
        board.results(results)
        rows = sum(result.rows for result in results)
        if any(result.different for result in results):
            board.step(f"{rows:,} rows compared: [bold red]not equal[/]")
            return 1
        board.step(f"{rows:,} rows compared: [bold green]verified[/]")
    return 0


def play(place: Stage, board: Board) -> list[Result]:
    """From the first row to the comparison, on a stage that is set."""
    board.step(f"the shop opens: about {RATE} transactions a second from now on")
    generator = place.open_shop(RATE)
    board.step("liberator run --config shop.yaml")
    running = place.liberator("run")
    with contextlib.closing(wait_for_log(place, running)) as log:
        kill_once(log, running, place, board)
        await_status(
            log, running, place, board, lambda statuses: statuses.get(SOURCE, {}).get("phase") == "streaming"
        )
        board.step(f"the snapshot is complete; the shop stays open for {OPEN:.0f} s more")
        closing_time = time.monotonic() + OPEN
        await_status(log, running, place, board, lambda _: time.monotonic() > closing_time)
        counts = place.close_shop(generator)
        back = counts.pop("rolled_back", 0)
        board.step(f"the shop closes: {sum(counts.values()):,} transactions committed, {back:,} rolled back")
        running.send_signal(signal.SIGTERM)
        place.finish(running, PATIENCE)
        board.step("liberator run --until-current: what is still missing, then it ends by itself")
        catching_up = place.liberator("run", "--until-current")
        while catching_up.poll() is None:
            board.show(current(log))
            time.sleep(0.1)
        place.finish(catching_up, PATIENCE)
    board.clear()
    board.step("comparing every row, with the databases' own drivers")
    results = list(compare_all(place))
    place.finish(place.liberator("teardown"), PATIENCE)
    if place.litter():
        raise Broken("liberator teardown left a slot or a publication behind")
    return results


def wait_for_log(place: Stage, running: subprocess.Popen[str]) -> Log:
    """The log, as soon as the run has made it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        log = place.open_log()
        if log is not None:
            return log
        still_running(running, place, deadline)
        time.sleep(0.1)


def kill_once(log: Log, running: subprocess.Popen[str], place: Stage, board: Board) -> None:
    """SIGKILL the source's worker in the middle of its snapshot, and see another one go on."""
    statuses = await_status(log, running, place, board, under_way)
    killed = statuses[SOURCE]
    os.kill(killed["pid"], signal.SIGKILL)
    done, total = snapshot_rows(killed)
    board.step(
        f"[bold]kill -9 {killed['pid']}[/]: the worker of {SOURCE}, about {done:,} of {total:,} rows into"
        " its snapshot"
    )
    again = await_status(
        log, running, place, board, lambda s: s[SOURCE].get("pid") not in (None, killed["pid"])
    )
    board.step(f"another worker (pid {again[SOURCE]['pid']}) goes on where the log ends")


def under_way(statuses: Statuses) -> bool:
    """Whether the source's worker is in the middle of something."""
    status = statuses.get(SOURCE, {})
    return "pid" in status and (status["phase"] == "streaming" or snapshot_rows(status)[0] > 0)


def await_status(
    log: Log,
    running: subprocess.Popen[str],
    place: Stage,
    board: Board,
    satisfied: Callable[[Statuses], bool],
) -> Statuses:
    """Show how far everybody is until ``satisfied``; what satisfied it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        statuses = current(log)
        board.show(statuses)
        if satisfied(statuses):
            return statuses
        for worker, status in statuses.items():
            if status.get("phase") == "failed":
                raise Broken(f"{worker} failed: {status.get('error')}", hint=place.tail("liberator"))
        still_running(running, place, deadline)
        time.sleep(0.1)


def current(log: Log) -> dict[str, Any]:
    """What sources and sinks last said."""
    return {name: status for name, status in log.statuses().items() if name.startswith(("source:", "sink:"))}


def still_running(running: subprocess.Popen[str], place: Stage, deadline: float) -> None:
    """Raise Broken if the run has ended or takes too long."""
    if running.poll() is not None:
        raise Broken(f"liberator run ended with exit code {running.returncode}", hint=place.tail("liberator"))
    if time.monotonic() > deadline:
        raise Broken("liberator run does not get on", hint=place.tail("liberator"))


def compare_all(place: Stage) -> Iterator[Result]:
    """Every table of the shop with both of its copies."""
    with (
        place.connect(SHOP) as source,
        place.connect(WAREHOUSE) as warehouse,
        contextlib.closing(sqlite3.connect(f"file:{place.replica}?mode=ro", uri=True)) as replica,
    ):
        for table in tables(source):
            yield compare(table, "sqlite", postgres_rows(source, table), sqlite_rows(replica, table))
            yield compare(table, "postgres", postgres_rows(source, table), postgres_rows(warehouse, table))


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: with everything put away."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
