"""Backoff: how long to wait, and when it is forgotten."""

from __future__ import annotations

import pytest

from liberator.errors import ConfigError, SinkError, SourceError
from liberator.retry import Backoff, retryable


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def highest(_low, high):
    return high


def test_waits_double_up_to_the_cap():
    backoff = Backoff(base=0.5, cap=4, jitter=highest)
    assert [backoff.failed() for _ in range(6)] == [0.5, 1, 2, 4, 4, 4]


def test_a_wait_is_any_part_of_the_limit():
    spans = []
    backoff = Backoff(base=1, cap=60, jitter=lambda low, high: spans.append((low, high)) or low)
    assert backoff.failed() == 0
    backoff.failed()
    assert spans == [(0, 1), (0, 2)]


def test_waits_differ_between_workers():
    assert len({Backoff(base=1).failed() for _ in range(20)}) > 1


def test_many_failures_in_a_row_stay_at_the_cap():
    backoff = Backoff(base=0.5, cap=30, jitter=highest)
    for _ in range(5000):
        last = backoff.failed()
    assert last == 30


def test_an_attempt_that_lasted_begins_the_waits_anew():
    clock = Clock()
    backoff = Backoff(base=1, calm=10, clock=clock, jitter=highest)
    backoff.began()
    assert [backoff.failed(), backoff.failed()] == [1, 2]
    backoff.began()
    clock.now += 9.9
    assert backoff.failed() == 4
    backoff.began()
    clock.now += 10
    assert backoff.failed() == 1
    assert backoff.failures == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SinkError("deadlock", retryable=True), True),
        (SinkError("no such column"), False),
        (SourceError("gone", retryable=False), False),
        (ConfigError("wrong"), False),
        (ValueError("a defect"), False),
        (ConnectionError("not translated"), False),
    ],
)
def test_only_errors_that_say_so_are_tried_again(error, expected):
    assert retryable(error) is expected
