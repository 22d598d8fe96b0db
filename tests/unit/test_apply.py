"""The second pump: when it commits, what it refuses, how it tries again."""

from __future__ import annotations

import json
import threading
import time

import pytest

from liberator.apply import Apply, Plan, covers
from liberator.capture import Capture
from liberator.codec.avro import AvroCodec
from liberator.codec.decoder import RecordDecoder
from liberator.errors import ConfigError, SchemaError, SinkError
from liberator.log import Cursor, Record, Records
from liberator.log.memory import MemoryLog
from liberator.retry import Backoff
from liberator.schema import Kind
from liberator.testing.events import create, table, transaction
from liberator.testing.faults import Faults
from liberator.testing.memory import ListSink, ListSource, Store

ORDERS = table("orders", {"id": Kind.INT64}, key=["id"])
NEVER = lambda: False  # noqa: E731


def script(first, last, size=1):
    return [
        transaction(10 * n, *(create(ORDERS, id=1000 * n + i) for i in range(size)))
        for n in range(first, last + 1)
    ]


def fill(log, items, batch=1, source="test"):
    """Capture transactions into the log, ``batch`` events an append."""
    made = ListSource(source, items, batch=batch)
    Capture(made, log, AvroCodec(log.registry)).run(NEVER, made.current())


class Bench:
    """A log, a store, and pumps between them."""

    def __init__(self, partitions=1):
        self.log = MemoryLog(partitions)
        self.store = Store()
        self.faults = Faults()
        self.said = []

    def pump(self, plan=None, sink=ListSink, log=None):
        return Apply(
            lambda: self.faults.wrap(sink("sink", self.store)),
            log or self.log,
            RecordDecoder(self.log.registry),
            plan or Plan(),
            self.said.append,
            Backoff(base=0.001),
        )

    def run(self, plan=None, **kwargs):
        return self.pump(plan, **kwargs).run(NEVER, self.log.end)

    def ids(self):
        return [event.key[0] for event in self.store.applied]


@pytest.fixture
def bench():
    return Bench()


def test_a_sink_that_is_behind_commits_many_transactions_at_once(bench):
    fill(bench.log, script(1, 100))
    assert bench.run(Plan(batch=50))
    assert bench.ids() == [1000 * n for n in range(1, 101)]
    assert bench.store.commits <= 4  # the first fixes its place


def test_a_sink_that_has_caught_up_commits_each_change_as_it_comes(bench):
    stop = threading.Event()
    worker = threading.Thread(target=lambda: bench.pump(log=bench.log.handle()).run(stop.is_set))
    worker.start()
    try:
        late = []
        for number in range(1, 21):
            began = time.monotonic()
            fill(bench.log, script(number, number))
            while len(bench.store.applied) < number:
                assert time.monotonic() - began < 10
                time.sleep(0.0005)
            late.append(time.monotonic() - began)
        assert sorted(late)[10] < 0.5  # it does not wait until a commit for the place alone is due
        assert bench.store.commits >= 20
    finally:
        stop.set()
        worker.join(10)
    assert not worker.is_alive()


def test_a_transaction_larger_than_a_batch_is_committed_whole(bench):
    fill(bench.log, script(1, 1) + script(2, 2, size=50), batch=5)
    assert bench.run(Plan(batch=5))
    assert bench.faults.calls.count("write") >= 5
    assert bench.store.commits <= 3
    assert len(bench.ids()) == 51


def test_with_apply_batch_it_becomes_visible_in_parts(bench):
    fill(bench.log, script(1, 1, size=50), batch=5)
    assert bench.run(Plan(apply="batch", batch=5))
    assert bench.store.commits >= 10
    assert len(bench.ids()) == 50


def test_whole_transactions_need_an_ordered_log(bench):
    with pytest.raises(ConfigError) as caught:
        Bench(partitions=2).pump(Plan(apply="transaction"))
    assert "apply: batch" in caught.value.hint


def test_a_partitioned_log_is_applied_with_order_per_key():
    bench = Bench(partitions=3)
    items = script(1, 60, size=3)
    fill(bench.log, items, batch=4)
    for _ in range(2):
        assert bench.run(Plan(apply="batch", batch=7))
    assert sorted(bench.ids()) == sorted(event.key[0] for item in items for event in item)
    assert len(bench.store.cursors["sink"].offsets) == 3


def test_a_cursor_of_another_log_is_refused(bench):
    fill(bench.log, script(1, 3))
    bench.store.cursors["sink"] = Cursor("another", {"": 1})
    with pytest.raises(SinkError) as caught:
        bench.run()
    assert not caught.value.retryable
    assert "another" in str(caught.value) and bench.log.identity in str(caught.value)
    assert "teardown" in caught.value.hint
    assert bench.ids() == []


def test_a_sink_that_is_ahead_of_the_log_is_refused(bench):
    fill(bench.log, script(1, 3))
    bench.store.cursors["sink"] = Cursor(bench.log.identity, {"": 99})
    with pytest.raises(SinkError, match=r"its place is 99, the log ends at 3"):
        bench.run()


def test_an_empty_log_is_applied_at_once(bench):
    assert bench.run()
    assert bench.run(Plan(start="latest"))
    assert bench.store.cursors["sink"] == bench.log.end()


def test_a_new_sink_may_begin_at_the_end(bench):
    fill(bench.log, script(1, 3))
    assert bench.run(Plan(start="latest"))
    fill(bench.log, script(1, 5))
    assert bench.run(Plan(start="latest"))
    assert bench.ids() == [4000, 5000]


@pytest.mark.parametrize("apply", ["transaction", "batch"])
def test_a_new_sink_that_begins_at_the_end_never_sees_the_tail_of_a_transaction(bench, apply):
    items = [*script(1, 2), *script(3, 3, size=10), *script(4, 4)]
    source = ListSource("test", items, batch=4)
    looks = iter(range(2))
    Capture(source, bench.log, AvroCodec(bench.log.registry)).run(lambda: next(looks, None) is None)
    assert bench.log.unfinished() == ["test"]
    plan = Plan(start="latest", apply=apply)
    looks = iter(range(2))
    bench.pump(plan).run(lambda: next(looks, None) is None)
    fill(bench.log, items, batch=4)
    assert bench.run(plan)
    # The batch in which it began holds the one before it, too: it may come, a tail may not.
    assert [n for n in bench.ids() if n >= 3000] == [*range(3000, 3010), 4000]
    assert 1000 not in bench.ids()


def test_where_a_new_sink_begins_is_fixed_when_it_first_opens(bench):
    plan = Plan(start="latest")
    fill(bench.log, script(1, 3))
    looks = iter(range(1))
    bench.pump(plan).run(lambda: next(looks, None) is None)
    fill(bench.log, script(1, 4))
    bench.faults.before("write", SinkError("no such column"))
    with pytest.raises(SinkError):
        bench.run(plan)
    assert bench.run(plan)
    assert bench.ids() == [4000]


def nothing(_topic):
    return False


def test_topics_that_are_left_out_move_the_cursor_but_cost_no_commit_each(bench):
    looks = iter(range(1, 21))

    def stop():
        """One more transaction before each round."""
        number = next(looks, None)
        if number is not None:
            fill(bench.log, script(1, number))
        return number is None

    began = time.monotonic()
    assert bench.pump(Plan(topics=nothing)).run(stop) is False
    assert bench.ids() == []
    assert bench.store.cursors["sink"] == bench.log.end()
    assert bench.store.commits <= 4 + (time.monotonic() - began)


def test_the_cursor_of_what_was_left_out_is_written_when_the_pump_stops(bench):
    looks = iter(range(1, 4))

    def stop():
        number = next(looks, None)
        if number is not None:
            fill(bench.log, script(1, number))
        return number is None

    assert bench.pump(Plan(topics=nothing)).run(stop) is False
    assert bench.store.cursors["sink"] == bench.log.end()


def test_only_the_topics_that_are_wanted_are_written(bench):
    fill(bench.log, script(1, 3))
    fill(bench.log, [transaction(10, create(ORDERS, id=7), source="shop")], source="shop")
    assert bench.run(Plan(topics=lambda topic: topic.startswith("shop.")))
    assert bench.ids() == [7]
    assert bench.store.cursors["sink"] == bench.log.end()


def test_the_log_keeps_the_cursor_of_a_sink_that_does_not(bench):
    class Paper(ListSink):
        keeps_cursor = False

        def open(self):
            super().open()

    fill(bench.log, script(1, 3))
    assert bench.run(sink=Paper)
    assert bench.log.committed("sink") == bench.log.end()
    fill(bench.log, script(1, 5))
    assert bench.run(sink=Paper)
    assert bench.ids() == [1000, 2000, 3000, 4000, 5000]


def test_a_retryable_error_is_tried_again_with_a_new_sink_and_told_once(bench):
    fill(bench.log, script(1, 10))
    for _ in range(3):
        bench.faults.before("write", SinkError("deadlock", hint="wait", retryable=True))
    assert bench.run(Plan(batch=3))
    assert bench.ids() == [1000 * n for n in range(1, 11)]
    assert bench.faults.calls.count("open") == 4
    trouble = [status for status in bench.said if status["error"]]
    assert {status["phase"] for status in trouble} == {"retrying"}
    assert {(status["error"], status["hint"]) for status in trouble} == {("deadlock", "wait")}
    assert bench.said[-1]["error"] is None and bench.said[-1]["phase"] == "applying"


def test_a_target_that_is_away_at_the_start_is_waited_for(bench):
    fill(bench.log, script(1, 3))
    for _ in range(5):
        bench.faults.before("open", SinkError("connection refused", retryable=True))
    assert bench.run()
    assert bench.ids() == [1000, 2000, 3000]


def test_a_stop_is_heard_while_waiting_to_try_again(bench):
    fill(bench.log, script(1, 3))
    bench.faults.before("open", SinkError("connection refused", retryable=True))
    pump = Apply(
        lambda: bench.faults.wrap(ListSink("sink", bench.store)),
        bench.log,
        RecordDecoder(bench.log.registry),
        Plan(),
        backoff=Backoff(base=1000, cap=1000, jitter=lambda low, high: high),
    )
    looks = iter(range(3))
    began = time.monotonic()
    assert pump.run(lambda: next(looks, None) is None) is False
    assert time.monotonic() - began < 10


def test_an_error_that_no_retry_mends_is_raised_and_the_sink_closed(bench):
    fill(bench.log, script(1, 3))
    bench.faults.before("commit", SinkError("no such column"), skip=1)
    with pytest.raises(SinkError, match="no such column"):
        bench.run()
    assert bench.faults.calls[-1] == "close"
    assert bench.ids() == []


def test_a_sink_that_also_fails_to_close_is_still_tried_again(bench):
    fill(bench.log, script(1, 3))
    bench.faults.before("write", SinkError("lost the connection", retryable=True))
    bench.faults.before("close", SinkError("lost the connection"))
    assert bench.run()
    assert bench.ids() == [1000, 2000, 3000]


def test_bytes_that_are_no_event_stop_the_pump(bench):
    records = Records.of([Record("test.public.orders", b"k", b"\x00\x00\x00\x00\x63nonsense")])
    bench.log.append("test", records, ListSource("test", [])._beginning())
    with pytest.raises(SchemaError) as caught:
        bench.run()
    assert not caught.value.retryable
    assert bench.ids() == []


def test_a_transaction_that_nobody_completes_is_reported_and_not_applied(bench):
    source = ListSource("test", script(1, 1) + script(2, 2, size=10), batch=4)
    looks = iter(range(1))
    Capture(source, bench.log, AvroCodec(bench.log.registry)).run(lambda: next(looks, None) is None)
    with pytest.raises(SinkError, match="ends in the middle of a transaction of source test") as caught:
        bench.run()
    assert "teardown --config FILE test" in caught.value.hint
    assert bench.ids() == [1000]
    fill(bench.log, script(1, 1) + script(2, 2, size=10), batch=4)
    assert bench.run()
    assert len(bench.ids()) == 11


def test_a_transaction_of_a_source_that_was_given_up_is_applied_as_far_as_it_came(bench):
    source = ListSource("test", script(1, 1, size=10), batch=4)
    Capture(source, bench.log, AvroCodec(bench.log.registry)).run(lambda: True)
    fill(bench.log, script(7, 8), source="other")
    with pytest.raises(SinkError, match="of source test"):
        bench.run()
    assert bench.ids() == []
    gone = bench.log.handle()
    bench.log.close()
    gone.forget("test")
    assert bench.run()
    assert bench.ids() == [1000, 1001, 1002, 1003, 7000, 8000]


def test_what_comes_before_a_long_transaction_does_not_wait_for_it(bench):
    before = [*script(1, 37), *script(50, 52, size=3)]
    fill(bench.log, before)
    looks = iter(range(1))
    long = ListSource("test", [*before, *script(60, 60, size=200)], batch=10)
    Capture(long, bench.log, AvroCodec(bench.log.registry)).run(lambda: next(looks, None) is None)
    assert bench.log.read(bench.log.begin(), None, 10_000).complete is False
    looks = iter(range(5))
    bench.pump(Plan(batch=1000)).run(lambda: next(looks, None) is None)
    assert bench.ids() == [event.key[0] for item in before for event in item]


def test_what_was_written_of_an_open_transaction_is_rolled_back_by_a_stop(bench):
    source = ListSource("test", script(1, 1, size=10), batch=4)
    Capture(source, bench.log, AvroCodec(bench.log.registry)).run(lambda: True)
    looks = iter(range(3))
    assert bench.pump().run(lambda: next(looks, None) is None) is False
    assert "write" in bench.faults.calls
    assert bench.ids() == []


def test_the_status_is_plain_json_and_says_how_far_behind_the_sink_is(bench):
    fill(bench.log, script(1, 10))
    bench.run()
    last = bench.said[-1]
    assert json.loads(json.dumps(last)) == last
    assert last["cursor"] == bench.log.end().to_json()
    assert (last["lag"], last["events"], last["transaction_open"]) == (0, 10, False)
    assert last["timestamp"] == script(10, 10)[0][0].transaction.timestamp


@pytest.mark.parametrize(
    ("cursor", "target", "expected"),
    [
        ({"": 5}, {"": 5}, True),
        ({"": 4}, {"": 5}, False),
        ({"a": 9}, {"a": 3, "b": 1}, False),
        ({"a": 9, "b": 1}, {"a": 3, "b": 1}, True),
        ({"a": 9}, {"a": 3, "b": 0}, True),
        ({}, {}, True),
    ],
)
def test_a_cursor_covers_another_if_it_does_so_in_every_partition(cursor, target, expected):
    assert covers(Cursor("log", cursor), Cursor("log", target)) is expected
