"""What a person sees of a run: one line for each thing worth telling, on a terminal a live table below.

Everything goes to stderr, for a sink may write events to stdout. :func:`narrate` gives the function that
the supervisor calls with its events; :class:`Lines` words them, :class:`Live` draws the table.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from liberator.cli import output

if TYPE_CHECKING:
    from liberator.config import Settings
    from liberator.runner import Event

Tell = Callable[["Event"], None]

#: Seconds between two lines about the same going well, by phase; a change of phase is told at once.
_EVERY = {"snapshot": 10.0}
_SELDOM = 60.0
#: Seconds over which the speed of a snapshot is averaged for the time left.
_SPAN = 15.0


@contextmanager
def narrate(settings: Settings, quiet: bool) -> Iterator[Tell]:
    """A function for :func:`liberator.runner.run` to call."""
    if quiet or not output.terminal(sys.stderr) or _shares_terminal(settings):
        yield Lines(quiet).tell
        return
    from liberator.cli.live import Live

    with Live() as live:
        yield live.tell


def _shares_terminal(settings: Settings) -> bool:
    """Whether a sink may itself write to the terminal, where a live table would be in its way. Such a
    sink has no place to keep a cursor."""
    from liberator.plugins import sink_class

    return any(not sink_class(options.type).keeps_cursor for options in settings.sinks.values())


class Lines:
    """Events as lines. ``write`` receives each finished line; with ``periodic`` what goes well is told
    now and then too, and not only when it changes."""

    def __init__(
        self,
        quiet: bool = False,
        periodic: bool = True,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._quiet = quiet
        self._clock = clock
        self._periodic = periodic
        self._write = write or (lambda text: click.echo(text, err=True))
        self._told: dict[str, tuple[str, float, int]] = {}
        self._totals: dict[str, int] = {}
        self._speeds: dict[str, Speed] = {}

    def tell(self, event: Event) -> None:
        """Print what ``event`` deserves; nothing for most statuses."""
        match event.kind:
            case "started":
                self._calm(event.worker, f"started (process {event.pid})")
            case "status":
                self._progress(event.worker, event.status)
            case "retrying" | "restarting":
                wait = f" in {output.duration(event.delay)}" if event.delay is not None else ""
                self._trouble(event, f"{event.kind}{wait}", "yellow")
            case "failed":
                self._trouble(event, "stopped for good", "red")
                if event.details:
                    self._write(event.details.rstrip())
            case "reached":
                self._calm(event.worker, "caught up" + self._sum(event.worker))
            case "stopped":
                self._calm(event.worker, "stopped" + self._sum(event.worker))

    def _progress(self, worker: str, status: Mapping[str, Any]) -> None:
        phase = status.get("phase", "")
        total = status.get("events", 0)
        now = self._clock()
        before, said, count = self._told.get(worker, ("", now, 0))
        speed = self._speeds.setdefault(worker, Speed(self._clock))
        rows, estimate = snapshot_size(status)
        speed.note(rows)
        self._totals[worker] = total
        due = self._periodic and total != count and now - said >= _EVERY.get(phase, _SELDOM)
        if phase == before and not due:
            return
        self._told[worker] = (phase, now, total)
        if phase == "snapshot":
            self._calm(worker, f"snapshot: {snapshot_words(rows, estimate, speed)}")
        elif before == "snapshot":
            self._calm(worker, f"snapshot finished: {rows:,} rows; {phase} from {status.get('position')}")
        elif phase == "streaming" and not before:
            self._calm(worker, f"{phase} from {status.get('position')}")
        elif before and phase != "retrying":
            self._calm(worker, f"{phase}: {total:,} events, {status.get('rate', 0):,.0f} a second")

    def _sum(self, worker: str) -> str:
        total = self._totals.get(worker, 0)
        return f", {total:,} events" if total else ""

    def _calm(self, worker: str, text: str) -> None:
        if not self._quiet and worker != "upkeep":
            self._write(f"{_now()} {spell(worker)}: {text}")

    def _trouble(self, event: Event, what: str, color: str) -> None:
        who = spell(event.worker)
        text = f"{what}: {event.message.removeprefix(f'{who}: ')}"
        styled = click.style(text, fg=color) if "NO_COLOR" not in os.environ else text
        self._write(f"{_now()} {who}: {styled}")
        if event.hint:
            self._write(f"{_now()} {who}: hint: {event.hint}")


class Speed:
    """How fast a number grows, over the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, number: int) -> None:
        """The number is ``number`` now."""
        now = self._clock()
        self._seen.append((now, number))
        while len(self._seen) > 2 and now - self._seen[0][0] > _SPAN:
            self._seen.popleft()

    def rate(self) -> float:
        """How much it grew per second; 0 as long as that is unknown."""
        if len(self._seen) < 2:
            return 0.0
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        return max(0.0, (last - first) / (ended - began)) if ended > began else 0.0


def snapshot_size(status: Mapping[str, Any]) -> tuple[int, int]:
    """Rows read so far, and an estimate of all, over the tables of a source's snapshot."""
    tables = status.get("snapshot", {}).get("tables", {}).values()
    rows = sum(table.get("rows", 0) for table in tables)
    return rows, sum(max(table.get("rows", 0), table.get("estimate", 0)) for table in tables)


def snapshot_words(rows: int, estimate: int, speed: Speed) -> str:
    """``begins``, then ``1,200,000 of about 5,000,000 rows, 210,000 a second, 18.1 s left``."""
    rate = speed.rate()
    if not estimate:
        return "begins"
    words = f"{rows:,} of about {estimate:,} rows"
    if rate:
        words += f", {rate:,.0f} a second, {output.duration((estimate - rows) / rate)} left"
    return words


def spell(worker: str) -> str:
    """``source shop`` for ``source:shop``."""
    return worker.replace(":", " ")


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
