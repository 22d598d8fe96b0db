"""What a worker does besides its work: upkeep gives way to others, and never while it holds the log."""

from __future__ import annotations

import os

import pytest

from liberator import worker
from liberator.log.memory import MemoryLog


class Busy(MemoryLog):
    """A log whose upkeep takes some steps of some seconds, by a clock that only this moves."""

    def __init__(self, *steps):
        super().__init__()
        self.steps, self.now, self.rests, self.priorities = list(steps), 0.0, [], set()
        self.stopping = False

    def upkeep(self):
        self.priorities.add(os.getpriority(os.PRIO_PROCESS, 0))
        if not self.steps:
            self.stopping = True
            return False
        self.now += self.steps.pop(0)
        return True

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.rests.append(seconds)
        self.now += seconds


@pytest.fixture
def keep(monkeypatch):
    def keep(log):
        monkeypatch.setattr(worker, "_open_log", lambda order: log)
        monkeypatch.setattr(worker, "time", log)
        assert worker.upkeep("", {}, log) is False
        return log

    return keep


def test_upkeep_rests_after_each_step_as_long_as_it_took_but_not_for_long(keep):
    log = keep(Busy(0.01, 0.05, 3.0))
    assert log.rests == pytest.approx([0.01, 0.05, 0.1])


def test_upkeep_runs_at_the_priority_of_those_who_wait_for_its_lock(keep):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    log = keep(Busy(0.01))
    assert log.priorities == {before}
