"""Appends on a thread of their own: in order, durable before they are told, errors not lost."""

from __future__ import annotations

import threading
import time

import pytest

from liberator.appender import Append, Behind, Straight
from liberator.capture import Capture
from liberator.errors import LogError
from liberator.event import Position
from liberator.log import Record, Records
from liberator.log.memory import MemoryLog
from liberator.source import Batch, State
from tests.unit.test_capture import Clock, OneByOne, Told, after, batch


def step(number):
    records = Records.of([Record("t", b"k", str(number).encode())])
    return Append(records, State(Position(0, number)), False)


class Gate(MemoryLog):
    """A log whose appends wait at a gate, or fail."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.fail = []
        self.threads = set()

    def append(self, source, records, state, *, open=False):  # noqa: A002
        self.threads.add(threading.current_thread())
        assert self.gate.wait(30)
        if self.fail:
            raise self.fail.pop(0)
        return super().append(source, records, state, open=open)


@pytest.fixture
def log():
    return Gate()


@pytest.fixture
def behind(log):
    appender = Behind(lambda: log, "told")
    yield appender
    log.gate.set()
    appender.close()


def values(log):
    return [int(value) for value in log.read(log.begin(), None, 10_000).records.values]


def test_appends_are_made_in_order_on_one_other_thread(log, behind):
    durable = [behind.append(step(number)) for number in range(1, 101)]
    durable.append(behind.poll(wait=True))
    told = [state.position.major for state in durable if state]
    assert told == sorted(set(told))
    assert told[-1] == 100
    assert values(log) == list(range(1, 101))
    assert len(log.threads) == 1
    assert threading.current_thread() not in log.threads


def test_a_state_is_told_only_once_it_is_durable_and_only_once(log, behind):
    log.gate.clear()
    assert behind.append(step(1)) is None
    assert behind.poll() is None
    assert log.state("told") is None
    log.gate.set()
    assert behind.poll(wait=True).position.major == 1
    assert behind.poll(wait=True) is None
    assert behind.poll() is None


def test_there_is_never_more_than_one_append_under_way_and_one_that_waits(log, behind):
    log.gate.clear()
    behind.append(step(1))
    behind.append(step(2))
    third = threading.Thread(target=behind.append, args=(step(3),))
    third.start()
    third.join(0.05)
    assert third.is_alive()
    log.gate.set()
    third.join(30)
    assert not third.is_alive()
    behind.poll(wait=True)
    assert values(log) == [1, 2, 3]


def test_of_several_appends_that_have_ended_the_last_is_told(log, behind):
    behind.append(step(1))
    behind.append(step(2))
    assert behind.poll(wait=True).position.major == 2
    assert behind.poll(wait=True) is None


def test_an_append_that_failed_is_raised_and_nothing_follows_it(log, behind):
    log.fail = [LogError("the disk is full", retryable=True)]
    log.gate.clear()
    behind.append(step(1))
    behind.append(step(2))
    log.gate.set()
    with pytest.raises(LogError, match="the disk is full"):
        behind.append(step(3))
    with pytest.raises(LogError, match="the disk is full"):
        behind.poll()
    assert values(log) == []


def test_a_source_that_is_claimed_elsewhere_is_told_before_anything_is_read(log):
    log.handle().claim("source:told")
    with pytest.raises(LogError, match="at work") as caught:
        Behind(log.handle, "told")
    assert caught.value.retryable


def test_a_log_that_cannot_be_opened_is_told():
    def fail():
        raise LogError("there is no log here")

    with pytest.raises(LogError, match="there is no log here"):
        Behind(fail, "told")


def test_closing_brings_the_append_under_way_to_its_end(log):
    appender = Behind(lambda: log, "told")
    log.gate.clear()
    appender.append(step(1))
    appender.append(step(2))
    threading.Timer(0.05, log.gate.set).start()
    appender.close()
    appender.close()
    assert values(log) == [1, 2]


def test_straight_appends_are_durable_on_return(log):
    appender = Straight(log, "told")
    assert appender.append(step(1)) == log.state("told")
    assert appender.poll(wait=True) is None
    appender.close()


def confirmed(source):
    return [position.major for name, position in source.calls if name == "confirm"]


def test_capture_reads_on_while_an_append_is_under_way(log, behind):
    source = Told()
    seen = []

    def second():
        seen.append((confirmed(source), log.state("told")))
        log.gate.set()
        return batch(20, 2)

    source.batches = [batch(10, 1), second]
    log.gate.clear()
    assert Capture(source, log, OneByOne(), appender=behind).run(after(1)) is False
    assert seen == [([], None)]
    assert confirmed(source) in ([11, 21], [21])


def test_capture_confirms_an_append_that_ends_while_nothing_happens(log, behind):
    source = Told()
    seen = []

    def settle():
        deadline = time.monotonic() + 30
        while behind._ends.empty():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return Batch([], source.last.state)

    def look():
        seen.append(confirmed(source))
        return Batch([], source.last.state)

    source.batches = [batch(10, 1), settle, look]
    Capture(source, log, OneByOne(), clock=Clock(), appender=behind).run(after(2))
    assert seen == [[11]]


def test_capture_waits_for_the_last_append_and_confirms_it(log, behind):
    source = Told(batch(10, 1))
    log.gate.clear()
    threading.Timer(0.1, log.gate.set).start()
    assert Capture(source, log, OneByOne(), appender=behind).run(lambda: False, Position(0, 11)) is True
    assert confirmed(source) == [11]


def test_an_append_that_fails_behind_the_pump_stops_it(log, behind):
    log.fail = [LogError("the disk is full")]
    source = Told(batch(10, 1), batch(20, 2), batch(30, 3))
    with pytest.raises(LogError, match="the disk is full"):
        Capture(source, log, OneByOne(), appender=behind).run(after(9))
    assert [call for call in source.calls if call[0] == "confirm"] == []
    assert values(log) == []
