"""What every log promises, as tests. A log's own test file begins with three lines of it:

    class TestMyLog(OrderedLogContract):
        def make(self):
            return MyLog(self.path)

``make`` gives a new instance each time; all instances of one test are the same log, as several processes
would open it, and it is empty when the test begins: prepare it in an autouse fixture. Some tests call
``make`` in a thread and use what it returns there. Instances are closed when the test ends.

``LogContract`` is what every log promises; ``OrderedLogContract`` and ``PartitionedLogContract`` add what
the one or the other kind does. ``patience`` is how long one process may take to see what another one has
done, in seconds. Needs pytest.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from liberator.errors import LogError
from liberator.log import Cursor, Log, Record, Records
from liberator.testing.log_records import NOTHING, LogBase, joined, numbers, read_all, record, records, state
from liberator.testing.log_state_contract import BesideContract, StateContract


class RecordsContract(LogBase):
    """Records come back as they were appended."""

    def test_what_was_appended_is_read_back_exactly(self, log: Log) -> None:
        odd = [
            Record("a.b.c", b"key", b"value", (("h", b"1"), ("h", b"2")), 1_700_000_000_000),
            Record("a.b.c", b"key", None, (), 1_700_000_000_001),
            Record("a.b.c", None, b"", (("only", b""),), 0),
            Record("a.b.c", b"", b"\x00" * 300, (), -1),
            Record('ünï."x y".😀', b"k" * 70_000, b"v" * 1_000_000, (("ä", b"\xff" * 70_000),), 2**62),
            Record("a.b.c", None, None),
        ]
        log.append("shop", Records.of(odd), state(1))
        found = joined(read_all(log))
        assert sorted(found, key=repr) == sorted(odd, key=repr)
        if log.ordered:
            assert list(found) == odd

    def test_records_of_one_key_come_in_the_order_in_which_they_were_appended(self, log: Log) -> None:
        for start in range(0, 300, 30):
            batch = Records.of(record(n, key=f"k{n % 7}") for n in range(start, start + 30))
            log.append("shop", batch, state(start))
        by_key = defaultdict(list)
        for found in joined(read_all(log, limit=17)):
            by_key[found.key].append(found.value)
        assert by_key == {b"k%d" % key: [b"v%d" % n for n in range(300) if n % 7 == key] for key in range(7)}

    def test_reading_on_from_any_cursor_gives_what_is_behind_it(self, log: Log) -> None:
        for start in range(0, 100, 10):
            log.append("shop", records(*range(start, start + 10)), state(start))
        slices = read_all(log, limit=10)
        assert len(slices) > 1
        behind = joined(slices)
        for found in slices:
            behind = behind[len(found.records) :]
            again = joined(read_all(log, Cursor.from_json(found.cursor.to_json())))
            assert sorted(numbers(again)) == sorted(numbers(behind))

    def test_every_record_has_its_own_place(self, log: Log) -> None:
        for start in range(0, 60, 20):
            log.append("shop", records(*range(start, start + 20)), state(start))
        places = [(r.partition, r.offset) for found in read_all(log) for r in found.records]
        assert len(set(places)) == 60
        for partition in {partition for partition, _ in places}:
            offsets = [offset for other, offset in places if other == partition]
            assert offsets == sorted(offsets)
            assert min(offsets) >= 0

    def test_a_large_append_is_read_in_bounded_slices(self, log: Log) -> None:
        log.append("shop", records(*range(30_000)), state(1))
        slices = read_all(log, limit=1000)
        assert sorted(numbers(joined(slices))) == list(range(30_000))
        assert max(len(found.records) for found in slices) <= 30_000

    def test_an_append_of_many_megabytes_is_one_step(self, log: Log) -> None:
        big = [Record("a.b.c", b"k%d" % n, bytes([n]) * 3_000_000, (), n) for n in range(8)]
        log.append("shop", Records.of(big), state(1))
        assert sorted(joined(read_all(log)), key=lambda r: r.timestamp) == big

    def test_the_caller_may_reuse_what_it_appended_and_what_it_read(self, log: Log) -> None:
        batch = records(1, 2)
        log.append("shop", batch, state(1))
        batch.values.clear()
        found = read_all(log)[0].records
        found.values[:] = [b"v8", b"v9"]
        assert sorted(numbers(joined(read_all(log)))) == [1, 2]

    def test_an_empty_log_has_nothing_and_says_so(self, log: Log) -> None:
        found = log.read(log.begin(), None, 10)
        assert len(found.records) == 0
        assert found.complete
        assert found.cursor == log.begin() == log.end()
        assert log.topics() == []
        assert log.sources() == []
        assert log.statuses() == {}

    def test_other_instances_see_what_was_appended(self, log: Log, opened: Callable[[], Log]) -> None:
        other = opened()
        end = other.end()
        log.append("shop", records(1, 2), state(1))
        assert sorted(numbers(joined(read_all(other, end)))) == [1, 2]
        assert other.identity == log.identity
        assert other.end() == log.end()


class TopicsContract(LogBase):
    """Readers choose topics, and are told about them."""

    def test_a_reader_gets_the_topics_that_it_wants(self, log: Log) -> None:
        for n in range(0, 40, 4):
            batch = Records.of(
                [record(n, "a.x"), record(n + 1, "b.x"), record(n + 2, "a.y"), record(n + 3, "a.x")]
            )
            log.append("shop", batch, state(n))
        wanted = joined(read_all(log, topics=lambda topic: topic.startswith("a."), limit=5))
        assert sorted(numbers(wanted)) == [n for n in range(40) if n % 4 != 1]
        assert set(wanted.topics) == {"a.x", "a.y"}

    def test_unwanted_topics_still_move_the_cursor(self, log: Log) -> None:
        for n in range(10):
            log.append("shop", records(n, topic="unwanted"), state(n))
        slices = read_all(log, topics=lambda topic: topic == "wanted")
        assert numbers(joined(slices)) == []
        assert slices[-1].cursor == log.end()

    def test_two_readers_of_one_instance_do_not_get_in_each_others_way(self, log: Log) -> None:
        log.append("shop", Records.of([record(1, "a"), record(2, "b")]), state(1))
        for wanted, number in (("a", 1), ("b", 2), ("a", 1)):
            assert numbers(joined(read_all(log, topics=lambda topic, w=wanted: topic == w))) == [number]

    def test_topics_are_listed_with_their_sizes(self, log: Log) -> None:
        log.append("shop", Records.of([record(1, "b"), record(2, "a", key="kk"), record(3, "b")]), state(1))
        log.append("shop", Records.of([Record("b", b"k1", None, (), 1_700_000_000_009)]), state(2))
        a, b = log.topics()
        assert (a.topic, a.records, a.bytes, a.timestamp) == ("a", 1, 4, 1_700_000_000_002)
        assert (b.topic, b.records, b.bytes, b.timestamp) == ("b", 3, 10, 1_700_000_000_009)
        if log.ordered:
            assert (a.first, a.last, b.first, b.last) == (1, 1, 0, 3)


class CursorContract(LogBase):
    """Places in the log, kept ones, and waiting for more."""

    def test_a_cursor_is_kept_for_a_sink_that_cannot(self, log: Log, opened: Callable[[], Log]) -> None:
        assert log.committed("replica") is None
        log.commit("replica", log.begin())
        log.append("shop", records(1, 2, 3), state(1))
        log.commit("replica", log.end())
        log.commit("other", log.begin())
        assert log.committed("replica") == opened().committed("replica") == log.end()

    def test_a_cursor_of_another_log_is_refused(self, log: Log) -> None:
        foreign = Cursor("of another log", log.begin().offsets)
        with pytest.raises(LogError) as refused:
            log.read(foreign, None, 10)
        assert refused.value.hint
        with pytest.raises(LogError):
            log.commit("replica", foreign)

    def test_a_cursor_behind_the_end_is_refused(self, log: Log) -> None:
        log.append("shop", records(1, 2, 3), state(1))
        end = log.end()
        beyond = Cursor(log.identity, {name: offset + 1 for name, offset in end.offsets.items()})
        with pytest.raises(LogError, match="end") as refused:
            log.read(beyond, None, 10)
        assert refused.value.hint

    def test_a_cursor_without_a_partition_reads_it_from_its_beginning(self, log: Log) -> None:
        log.append("shop", records(1, 2, 3), state(1))
        assert sorted(numbers(joined(read_all(log, Cursor(log.identity, {}))))) == [1, 2, 3]

    def test_waiting_ends_at_once_where_there_is_something(self, log: Log) -> None:
        log.append("shop", records(1), state(1))
        started = time.monotonic()
        assert log.wait(log.begin(), 30)
        assert time.monotonic() - started < self.patience

    def test_waiting_ends_when_the_time_is_up(self, log: Log) -> None:
        log.append("shop", records(1), state(1))
        started = time.monotonic()
        assert not log.wait(log.end(), 0.1)
        assert 0.09 <= time.monotonic() - started < 0.1 + self.patience

    def test_waiting_ends_when_another_instance_appends(self, log: Log) -> None:
        waiting = threading.Event()

        def append() -> None:
            with self.make() as other:
                waiting.wait()
                time.sleep(0.1)
                other.append("shop", records(1), state(1))

        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(append)
            waiting.set()
            assert log.wait(log.end(), self.patience)
            done.result()
        assert numbers(joined(read_all(log))) == [1]


class LogContract(RecordsContract, TopicsContract, StateContract, CursorContract, BesideContract):
    """What every log promises."""


class OrderedLogContract(LogContract):
    """What an ordered log promises besides: one order, and where source transactions are cut."""

    def test_it_is_ordered(self, log: Log) -> None:
        assert log.ordered

    def test_all_records_are_in_one_order(self, log: Log) -> None:
        ends = [
            log.append("ab"[n % 2], records(n, n + 1, topic=f"t{n % 3}"), state(n)) for n in range(0, 20, 2)
        ]
        assert ends == list(range(2, 22, 2))
        found = joined(read_all(log, limit=1))
        assert numbers(found) == list(range(20))
        assert log.end() == Cursor(log.identity, {"": 20})

    def test_a_transaction_that_goes_on_is_not_complete(self, log: Log) -> None:
        log.append("shop", records(1), state(1))
        log.append("shop", records(2), state(2), open=True)
        log.append("shop", records(3), state(3), open=True)
        assert [s.complete for s in read_all(log, limit=1)] == [True, False, False]
        log.append("shop", records(4), state(4))
        assert [s.complete for s in read_all(log, limit=1)] == [True, False, False, True]
        assert [s.complete for s in read_all(log)] == [True]

    def test_what_is_complete_does_not_depend_on_where_reading_began(self, log: Log) -> None:
        middle = log.append("shop", records(1, 2), state(1), open=True)
        cursor = Cursor(log.identity, {"": middle})
        assert not log.read(cursor, None, 10).complete
        log.append("other", records(3), state(1))
        assert not log.read(cursor, None, 10).complete
        log.append("shop", records(4), state(2))
        assert log.read(cursor, None, 10).complete

    def test_transactions_of_several_sources_may_overlap(self, log: Log) -> None:
        log.append("a", records(1, topic="a"), state(1), open=True)
        log.append("b", records(2, topic="b"), state(1), open=True)
        log.append("a", records(3, topic="a"), state(2))
        assert [s.complete for s in read_all(log, limit=1)] == [False, False, False]
        log.append("b", records(4, topic="b"), state(2))
        assert [s.complete for s in read_all(log, limit=1)] == [False, False, False, True]

    def test_a_transaction_that_the_reader_does_not_see_does_not_hold_it_up(self, log: Log) -> None:
        log.append("a", records(1, topic="a"), state(1), open=True)
        log.append("b", records(2, topic="b"), state(1))
        assert not read_all(log)[-1].complete
        assert read_all(log, topics=lambda topic: topic == "b")[-1].complete

    def test_a_transaction_may_end_without_a_further_record(
        self, log: Log, opened: Callable[[], Log]
    ) -> None:
        reader = opened()
        log.append("shop", records(1), state(1), open=True)
        cut = read_all(reader)[-1]
        assert not cut.complete
        log.append("shop", NOTHING, state(2))
        assert reader.wait(cut.cursor, 0.5)
        assert reader.read(cut.cursor, None, 10).complete
        log.append("shop", records(2), state(3), open=True)
        assert [s.complete for s in read_all(opened(), limit=1)] == [True, False]

    def test_a_forgotten_source_holds_nobody_up(self, log: Log, opened: Callable[[], Log]) -> None:
        reader = opened()
        log.append("other", records(1), state(1))
        log.append("shop", records(2), state(1), open=True)
        cut = read_all(reader)[-1]
        assert not cut.complete
        log.forget("shop")
        assert reader.wait(cut.cursor, self.patience)
        assert reader.read(cut.cursor, None, 10).complete
        assert [s.complete for s in read_all(opened(), limit=1)] == [True, True]

    def test_the_latest_place_is_never_inside_a_transaction_that_the_reader_sees(self, log: Log) -> None:
        def latest(*topics: str) -> int:
            return log.latest((lambda topic: topic in topics) if topics else None).offsets[""]

        assert latest() == 0
        log.append("a", records(1, topic="a"), state(1), open=True)
        assert (latest(), latest("a"), latest("b")) == (0, 0, 1)
        log.append("a", records(2, topic="a"), state(2))
        assert latest() == 2
        log.append("b", records(3, topic="b"), state(1), open=True)
        log.append("a", records(4, topic="a"), state(3), open=True)
        log.append("b", records(5, topic="b"), state(2), open=True)
        assert (latest(), latest("a"), latest("b"), latest("c")) == (2, 3, 2, 5)
        log.append("b", NOTHING, state(3))
        assert (latest(), latest("a"), latest("b")) == (2, 3, 5)
        log.append("a", records(6, topic="a"), state(4))
        assert latest() == 6

    def test_the_sources_that_stopped_in_mid_transaction_are_known(
        self, log: Log, opened: Callable[[], Log]
    ) -> None:
        assert log.unfinished() == []
        log.append("b", records(1), state(1), open=True)
        log.append("a", records(2), state(1), open=True)
        assert log.unfinished() == opened().unfinished() == ["a", "b"]
        log.append("b", NOTHING, state(2))
        log.forget("a")
        assert log.unfinished() == opened().unfinished() == []

    def test_a_large_append_is_complete_only_at_its_end(self, log: Log) -> None:
        log.append("shop", records(*range(30_000)), state(1))
        assert [s.cursor == log.end() for s in read_all(log, limit=1)] == [
            s.complete for s in read_all(log, limit=1)
        ]

    def test_a_cursor_may_stand_inside_of_what_was_appended_together(self, log: Log) -> None:
        log.append("shop", records(*range(10)), state(1))
        for offset in range(10):
            found = log.read(Cursor(log.identity, {"": offset}), None, 100).records
            assert numbers(found) == list(range(offset, 10))
            assert found.offsets == list(range(offset, 10))


class PartitionedLogContract(LogContract):
    """What a partitioned log promises instead."""

    def test_it_is_not_ordered(self, log: Log) -> None:
        assert not log.ordered

    def test_the_cursor_has_an_offset_for_every_partition(self, log: Log) -> None:
        log.append("shop", records(*range(100)), state(1))
        log.append("shop", records(*range(100), topic="other"), state(2))
        found = [r for part in read_all(log, limit=7) for r in part.records]
        partitions = {r.partition for r in found}
        assert partitions <= log.end().offsets.keys()
        assert len(partitions) > 2
        for partition in partitions:
            assert len({r.topic for r in found if r.partition == partition}) == 1

    def test_a_key_stays_in_its_partition(self, log: Log) -> None:
        for n in range(5):
            log.append("shop", records(*range(50)), state(n))
        homes = defaultdict(set)
        for part in read_all(log):
            for r in part.records:
                homes[r.key].add(r.partition)
        assert {len(home) for home in homes.values()} == {1}

    def test_nothing_is_ever_called_incomplete(self, log: Log) -> None:
        log.append("shop", records(*range(10)), state(1), open=True)
        assert all(part.complete for part in read_all(log, limit=1))
        assert log.latest(None) == log.end()
        assert log.unfinished() == []
