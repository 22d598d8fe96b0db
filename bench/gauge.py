"""What processes cost: CPU seconds and peak memory, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement: ``rows`` in ``seconds``, with ``cpu`` seconds of the contender's own processes and
    the peak memory in bytes of the largest of them. No rows: the contender got stuck."""

    rows: int
    seconds: float
    cpu: float
    memory: int

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds for a million rows."""
        return self.cpu / self.rows * 1e6 if self.rows else 0.0


class Gauge:
    """Measures some processes from its creation on, and their children that end meanwhile."""

    def __init__(self, pids: Iterable[int]):
        self._pids = set(pids)
        self._peak = 0
        self._cpu = self._spent()
        self._began = time.monotonic()

    def read(self, rows: int) -> Reading:
        """What has been spent on ``rows`` so far."""
        seconds = time.monotonic() - self._began
        self.look(())
        return Reading(rows, seconds, self._spent() - self._cpu, self._peak)

    def look(self, pids: Iterable[int]) -> None:
        """Take note of the memory, and of processes that have begun."""
        self._pids.update(pids)
        self._peak = max(self._peak, *map(_peak, self._pids))

    def _spent(self) -> float:
        return sum(_cpu(pid) for pid in self._pids)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0  # its parent has it
    # its own, and that of children which have ended
    return sum(map(int, fields[11:15])) / TICK


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
