"""The live table of ``liberator run`` on a terminal: one row per worker, a bar while a snapshot runs.

It is redrawn when a worker reports, about once a second; lines about what happened stay above it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.live import Live as Display
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from liberator.cli import output
from liberator.cli.narration import Lines, Speed, snapshot_size, spell

if TYPE_CHECKING:
    from liberator.runner import Event

#: What a worker's state is called when it is not the phase that it reports itself.
_WORDS = {"started": "starting", "restarting": "waiting", "failed": "failed", "reached": "caught up"}
_ENDED = ("failed", "caught up", "stopped")
_COLORS = {"failed": "red", "waiting": "yellow", "retrying": "yellow", "snapshot": "cyan"}


class Live:
    """A context manager; :meth:`tell` takes the supervisor's events."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._console = console or Console(stderr=True, highlight=False)
        self._display = Display(console=self._console, auto_refresh=False, transient=False)
        self._lines = Lines(periodic=False, write=lambda text: self._console.print(Text.from_ansi(text)))
        self._phases: dict[str, str] = {}
        self._statuses: dict[str, Mapping[str, Any]] = {}
        self._speeds: dict[str, Speed] = {}

    def __enter__(self) -> Live:
        self._display.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._display.stop()

    def tell(self, event: Event) -> None:
        """Draw what ``event`` changed."""
        self._lines.tell(event)
        if event.worker != "upkeep":
            if event.kind == "status":
                self._statuses[event.worker] = event.status
                self._speeds.setdefault(event.worker, Speed(self._clock)).note(snapshot_size(event.status)[0])
            phase = event.status.get("phase", "") if event.kind == "status" else event.kind
            self._phases[event.worker] = _WORDS.get(phase, phase)
        self._display.update(self._table(), refresh=True)

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for _ in range(3):
            table.add_column()
        table.add_column(justify="right")
        for worker, phase in self._phases.items():
            color = _COLORS.get(phase, "green")
            cells = self._cells(worker, phase)
            table.add_row(Text(spell(worker)), Text(phase, style=color), *cells)
        return table

    def _cells(self, worker: str, phase: str) -> tuple[RenderableType, RenderableType]:
        """How far the worker is, and how fast it goes."""
        status = self._statuses.get(worker)
        if status is None:
            return "", ""
        if phase == "snapshot":
            rows, estimate = snapshot_size(status)
            rate = self._speeds[worker].rate()
            left = f"  {output.duration((estimate - rows) / rate)} left" if rate else ""
            bar = ProgressBar(total=max(estimate, 1), completed=rows, width=30)
            return bar, Text(f"{rows:,} of about {estimate:,} rows  {rate:,.0f}/s{left}")
        return Text(_behind(status)), Text(
            f"{status.get('events', 0):,} events  {status.get('rate', 0):,.0f}/s"
        )


def _behind(status: Mapping[str, Any]) -> str:
    """Where a source is and how old what it read last; how many records a sink has before it."""
    if "lag" in status:
        return "" if status["lag"] is None else f"{status['lag']:,} behind" if status["lag"] else "up to date"
    position = str(status.get("position") or "")
    if status.get("timestamp"):
        age = max(0.0, time.time() - status["timestamp"] / 1_000_000)
        position += f"  {output.duration(age)} behind" if age >= 2 else "  up to date"
    return position
