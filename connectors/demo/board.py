"""What a spectator of the demo sees: steps as lines, and how far everybody is in between.

On a terminal the state of the workers is redrawn in place; elsewhere it is one line every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from connectors.demo.compare import Result

#: Seconds between two lines of progress where nothing can be redrawn.
PAUSE = 2.0
Statuses = Mapping[str, Mapping[str, Any]]


class Board:
    """Prints steps; between them shows the workers' statuses. Use as a context manager."""

    def __init__(self, console: Console | None = None):
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._live: Live | None = None
        self._shown = 0.0

    def __enter__(self) -> Board:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()
        if self._live is not None:
            self._live.stop()

    def step(self, text: str) -> None:
        """One line that stays, with the seconds since the beginning."""
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/]  {text}")

    def clear(self) -> None:
        """Nobody is at work any more."""
        if self._live is not None:
            self._live.update("")

    def show(self, statuses: Statuses) -> None:
        """How far the workers are."""
        rows = [(worker, *describe(status)) for worker, status in sorted(statuses.items(), reverse=True)]
        if self._live is not None:
            grid = Table.grid(padding=(0, 2))
            for row in rows:
                grid.add_row("", *row)
            self._live.update(grid)
        elif rows and time.monotonic() - self._shown > PAUSE:
            self._shown = time.monotonic()
            self.step("; ".join(f"{worker}: {phase}, {text}" for worker, phase, text in rows))

    def results(self, results: Sequence[Result]) -> None:
        """The comparison, a line for each table and copy; then the rows that differ."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, side in (("table", "left"), ("copy", "left"), ("rows compared", "right"), ("", "left")):
            table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
        for result in results:
            verdict = f"[red]{result.different:,} different[/]" if result.different else "[green]equal[/]"
            table.add_row(result.table, result.copy, f"{result.rows:,}", verdict)
        self._console.print(table)
        for result in results:
            for difference in result.differences:
                key = ", ".join(map(str, difference.key))
                self._console.print(f"{result.table} ({key}): {difference.what}", markup=False)


def describe(status: Mapping[str, Any]) -> tuple[str, str]:
    """A worker's phase, and its progress in words."""
    phase, events = str(status.get("phase", "")), status.get("events", 0)
    if phase == "snapshot":
        done, total = snapshot_rows(status)
        return phase, f"{done:,} of {total:,} rows, {status.get('rate', 0):,.0f} events/s"
    lag = status.get("lag")
    behind = f", {lag:,} behind" if lag else ""
    return phase, f"{events:,} events, {status.get('rate', 0):,.0f}/s{behind}"


def snapshot_rows(status: Mapping[str, Any]) -> tuple[int, int]:
    """Rows that the snapshot has read, and about how many there are."""
    tables = status.get("snapshot", {}).get("tables", {}).values()
    return sum(t["rows"] for t in tables), sum(max(t["rows"], t["estimate"]) for t in tables)
