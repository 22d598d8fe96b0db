"""The first pump: when states are stored, when positions are confirmed, what becomes of requests."""

from __future__ import annotations

import json

import pytest

from liberator.capture import Capture
from liberator.errors import LogError, SchemaError, SourceError
from liberator.event import Position
from liberator.log import Log
from liberator.log.memory import MemoryLog
from liberator.schema import Kind
from liberator.source import Batch, Source, State
from liberator.testing.events import create, table, transaction
from liberator.testing.faults import Faults
from liberator.testing.memory import ListSource

ORDERS = table("orders", {"id": Kind.INT64}, key=["id"])
NEVER = lambda: False  # noqa: E731


class OneByOne:
    """Encodes nothing: a record per event, as the pump needs no more."""

    def __init__(self, fail=None):
        self.fail = fail

    def encoder(self, _producer):
        def encode(events, records):
            for event in events:
                if self.fail:
                    raise self.fail
                for column in (records.topics, records.keys, records.values):
                    column.append(event.topic if column is records.topics else b"x")
                records.headers.append(())
                records.timestamps.append(0)

        return encode


class Clock:
    """Time passes only when told."""

    now = 1000.0

    def __call__(self):
        return self.now


class Told(Source):
    """Reads what it is told to: a list of batches, or callables that make one; then nothing new."""

    connector = "told"

    def __init__(self, *batches):
        super().__init__("told", None)
        self.batches = list(batches)
        self.calls = []
        self.last = None

    def open(self, state):
        self.calls.append(("open", state and state.position))
        self.last = Batch([], state or State(Position(0, 0)))

    def read(self):
        if self.batches:
            batch = self.batches.pop(0)
            self.last = batch() if callable(batch) else batch
            return self.last
        return Batch([], self.last.state)

    def confirm(self, position):
        self.calls.append(("confirm", position))

    def current(self):
        return Position(0, 10**9)

    def reached(self, state, target):
        return state.position >= target


def rows(number, *ids):
    return transaction(number, *(create(ORDERS, id=n) for n in ids), source="told")


def batch(number, *ids, open=False):  # noqa: A002
    position = Position(0, number, len(ids)) if open else Position(0, number + 1)
    return Batch(rows(number, *ids), State(position), open=open)


def idle(number):
    return Batch([], State(Position(0, number)))


def after(count):
    """A stop flag that is raised after ``count`` looks."""
    looks = iter(range(count))
    return lambda: next(looks, None) is None


@pytest.fixture
def log():
    return MemoryLog()


def pump(source, log, clock=None, **kwargs):
    return Capture(source, log, OneByOne(), clock=clock or Clock(), **kwargs)


def test_a_position_is_confirmed_only_after_its_append(log):
    faults = Faults()
    source = Told(batch(10, 1), batch(20, 2))
    pump(faults.wrap(source), faults.wrap(log)).run(after(1))
    steps = [call for call in faults.calls if call in ("append", "confirm")]
    assert steps == ["append", "confirm"] * 2
    assert source.calls[1:] == [("confirm", Position(0, 11)), ("confirm", Position(0, 21))]


def test_nothing_is_confirmed_when_the_append_fails(log):
    faults = Faults()
    faults.before("append", LogError("the disk is full"))
    source = Told(batch(10, 1))
    with pytest.raises(LogError):
        pump(source, faults.wrap(log)).run(after(1))
    assert source.calls == [("open", None)]


def test_nothing_of_a_batch_is_stored_when_one_event_cannot_be_encoded(log):
    source = Told(batch(10, 1))
    with pytest.raises(SchemaError):
        Capture(source, log, OneByOne(SchemaError("no such type"))).run(after(1))
    assert log.state("told") is None
    assert not log.read(log.begin(), None, 10).records
    assert source.calls == [("open", None)]


def test_a_durable_position_is_confirmed_again_at_the_start(log):
    pump(Told(batch(10, 1)), log).run(after(0))
    source = Told()
    pump(source, log).run(after(0))
    assert source.calls == [("open", Position(0, 11)), ("confirm", Position(0, 11))]


def test_an_idle_source_is_stored_once_a_second_and_confirmed_only_then(log):
    clock = Clock()
    faults = Faults()

    def later(number, seconds):
        def make():
            clock.now += seconds
            return idle(number)

        return make

    source = Told(*(later(number, 0.1) for number in range(1, 101)))
    pump(source, faults.wrap(log), clock).run(after(99))
    appends = faults.calls.count("append")
    assert 9 <= appends <= 12
    assert [call for call in source.calls if call[0] == "confirm"][-1] == ("confirm", Position(0, 100))
    assert log.state("told").position == Position(0, 100)
    assert len([call for call in source.calls if call[0] == "confirm"]) == appends


def test_a_source_that_does_not_move_is_not_stored_again(log):
    clock = Clock()
    faults = Faults()

    def nothing():
        clock.now += 5
        return idle(7)

    pump(Told(*[nothing] * 20), faults.wrap(log), clock).run(after(19))
    assert faults.calls.count("append") == 1


def test_a_state_that_changed_beside_its_position_is_stored(log):
    clock = Clock()

    def noted():
        clock.now += 5
        return Batch([], State(Position(0, 1), snapshot={"signal": 3}))

    pump(Told(idle(1), noted), log, clock).run(after(5))
    assert log.state("told").snapshot == {"signal": 3}


def test_the_last_idle_position_is_stored_when_the_pump_stops(log):
    source = Told(*(idle(number) for number in range(1, 50)))
    pump(source, log).run(after(20))
    assert log.state("told").position == source.calls[-1][1]
    assert log.state("told").position > Position(0, 15)


def test_a_stop_finishes_the_batch_in_hand(log):
    source = Told(batch(10, 1, 2, 3), batch(20, 4))
    assert pump(source, log).run(after(0)) is False
    assert log.state("told").position == Position(0, 11)
    assert len(log.read(log.begin(), None, 10).records) == 3


def test_a_transaction_that_goes_on_is_open_in_the_log(log):
    source = Told(batch(10, 1, 2, open=True))
    pump(source, log).run(after(0))
    assert log.read(log.begin(), None, 10).complete is False
    again = Told(batch(10, 1, 2, 3))
    pump(again, log).run(after(0))
    assert log.read(log.begin(), None, 10).complete is True


def test_until_is_not_reached_inside_a_transaction(log):
    source = Told(batch(10, 1, open=True), batch(10, 1, 2, open=True), batch(10, 1, 2, 3))
    assert pump(source, log).run(lambda: False, until=Position(0, 10)) is True
    assert source.batches == []


def test_until_is_reached_by_an_idle_position_at_once(log):
    source = Told(idle(5), idle(9), idle(12))
    assert pump(source, log).run(lambda: False, until=Position(0, 9)) is True
    assert log.state("told").position == Position(0, 9)
    assert source.calls[-1] == ("confirm", Position(0, 9))


def test_a_source_that_has_come_to_its_end_ends_the_pump(log):
    source = Told(batch(10, 1), Batch(rows(20, 2), State(Position(0, 21)), end=True), batch(30, 3))
    assert pump(source, log).run(NEVER) is True
    assert len(source.batches) == 1
    assert source.calls[-1] == ("confirm", Position(0, 21))
    again = Told(Batch([], State(Position(0, 21)), end=True))
    assert pump(again, log).run(NEVER) is True


def listed(count=5):
    return [transaction(10 * n, create(ORDERS, id=n)) for n in range(1, count + 1)]


def briefs(log):
    return [record.topic for record in log.read(log.begin(), None, 1000).records]


def play(log, publish=None, **kwargs):
    source = ListSource("test", listed(), **kwargs)
    assert Capture(source, log, OneByOne(), publish or (lambda status: None)).run(NEVER, source.current())


def test_a_request_to_read_a_table_again_is_served_before_the_end(log):
    play(log)
    log.post("test", {"tables": ["public.orders"]})
    play(log)
    assert len(briefs(log)) == 10
    assert log.state("test").snapshot == {"signal": 1, "pending": []}


def test_a_request_that_was_served_is_not_served_again(log):
    play(log)
    log.post("test", {"tables": ["public.orders"]})
    for _ in range(3):
        play(log)
    assert len(briefs(log)) == 10


def test_a_request_that_the_source_refuses_is_shown_and_the_stream_goes_on(log):
    log.post("test", {"tables": ["public.nothing"]})
    said = []
    play(log, said.append)
    assert len(briefs(log)) == 5
    assert said[-1]["refused"] == {"1": "there is no table public.nothing"}


def test_a_request_after_a_refused_one_is_served(log):
    play(log)
    log.post("test", {"tables": ["public.nothing"]})
    log.post("test", {"tables": ["public.orders"]})
    play(log)
    assert len(briefs(log)) == 10
    assert log.state("test").snapshot["signal"] == 2


def test_a_source_that_cannot_read_tables_again_refuses(log):
    log.post("told", {"tables": ["public.orders"]})
    said = []
    assert pump(Told(idle(5)), log, publish=said.append).run(lambda: False, Position(0, 5))
    assert said[-1]["refused"] == {"1": "source told cannot re-read tables"}


def test_a_request_that_comes_while_the_source_is_at_work_is_found(log):
    clock = Clock()

    class Busy(Told):
        asked = ()

        def snapshot(self, signal, tables):
            self.asked += ((signal, tuple(tables)),)

    def post():
        clock.now += 2
        log.post("told", {"tables": ["a.b"]})
        return idle(1)

    source = Busy(post, idle(2), idle(3))
    pump(source, log, clock).run(after(3))
    assert source.asked == ((1, ("a.b",)),)


def test_until_is_not_reached_before_a_request_is_part_of_the_state(log):
    class Slow(Told):
        def snapshot(self, signal, tables):
            pass

    noted = Batch([], State(Position(0, 9), snapshot={"signal": 1}))
    source = Slow(idle(9), idle(9), noted, idle(10))
    log.post("told", {"tables": ["a.b"]})
    assert pump(source, log).run(NEVER, Position(0, 9)) is True
    assert log.state("told").snapshot == {"signal": 1}
    assert len(source.batches) == 1


def test_a_request_that_the_state_has_noted_is_not_passed_on_again(log):
    class Asked(Told):
        asked = ()

        def snapshot(self, signal, tables):
            self.asked += (signal,)

    for _ in range(3):
        log.post("told", {"tables": ["a.b"]})
    pump(Told(Batch([], State(Position(0, 1), snapshot={"signal": 2}))), log).run(after(0))
    source = Asked()
    pump(source, log).run(after(0))
    assert source.asked == (3,)


def test_an_error_of_the_source_is_raised_as_it_is(log):
    faults = Faults()
    faults.before("read", SourceError("gone", retryable=True))
    with pytest.raises(SourceError) as caught:
        pump(faults.wrap(Told()), log).run(after(9))
    assert caught.value.retryable


def test_the_status_is_plain_json_and_says_where_the_source_is(log):
    said = []
    log.post("test", {"tables": ["public.orders"]})
    play(log, said.append, snapshot=True, batch=2)
    assert json.loads(json.dumps(said[0])) == said[0]
    assert said[0]["phase"] == "snapshot"
    assert said[-1]["phase"] == "streaming"
    assert said[-1]["position"] == "0/51/0"
    assert said[-1]["events"] == 10


def test_the_pump_needs_no_more_than_the_contract(log):
    """A log that has only the contract's methods will do."""
    names = {name for name in dir(Log) if not name.startswith("_")}

    class Narrow:
        def __getattr__(self, name):
            assert name in names
            return getattr(log, name)

    source = Told(batch(10, 1))
    assert pump(source, Narrow()).run(after(0)) is False
