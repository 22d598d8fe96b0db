"""Reading for a sink: pieces end outside of transactions, one is read ahead, nothing is given twice."""

from __future__ import annotations

import threading

import pytest

from liberator.apply import Apply, Plan
from liberator.capture import Capture
from liberator.codec.avro import AvroCodec
from liberator.codec.decoder import RecordDecoder
from liberator.errors import LogError
from liberator.log.memory import MemoryLog
from liberator.reading import Ahead, Place, Reader
from liberator.schema import Kind
from liberator.testing.events import create, table, transaction
from liberator.testing.faults import Faults
from liberator.testing.memory import ListSink, ListSource, Store

ORDERS = table("orders", {"id": Kind.INT64}, key=["id"])


def script(first, last, size=1):
    return [
        transaction(10 * n, *(create(ORDERS, id=1000 * n + i) for i in range(size)))
        for n in range(first, last + 1)
    ]


def fill(log, items, batch=1, stop=lambda: False):
    made = ListSource("test", items, batch=batch)
    Capture(made, log, AvroCodec(log.registry)).run(stop, made.current())


def reader(log, whole=True, topics=None):
    return Reader(log, RecordDecoder(log.registry), topics, whole)


def ids(piece):
    return [event.key[0] for event in piece.events]


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def begin(log):
    return Place(log.begin())


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def ahead(log, faults):
    made = Ahead(lambda: (reader(faults.wrap(log.handle())), faults.wrap(log.handle()).close))
    yield made
    made.close()


def test_a_piece_has_about_as_many_records_as_asked_for(log, begin):
    fill(log, script(1, 20))
    piece = reader(log).read(begin, 7)
    assert ids(piece) == [1000 * n for n in range(1, 8)]
    assert (piece.records, piece.place.open) == (7, False)
    assert piece.size > 7
    assert ids(reader(log).read(piece.place, 100)) == [1000 * n for n in range(8, 21)]


def test_a_piece_ends_before_a_transaction_that_goes_on(log, begin):
    looks = iter(range(3))
    fill(log, script(1, 9) + script(10, 10, size=30), 5, stop=lambda: next(looks, None) is None)
    piece = reader(log).read(begin, 1000)
    assert not piece.place.open
    while not piece.place.open:
        read = ids(piece)
        piece = reader(log).read(piece.place, 1000)
    assert max(read) < 10_000 <= min(ids(piece))


def test_who_does_not_mind_parts_gets_them(log, begin):
    fill(log, script(1, 1) + script(2, 2, size=30), 5, stop=lambda: True)
    fill(log, script(1, 1) + script(2, 2, size=30), 5, stop=iter([False, True]).__next__)
    piece = reader(log, whole=False).read(begin, 1000)
    assert piece.place.open
    assert len(piece.events) > 1


def test_what_was_begun_is_what_is_taken(log, begin, ahead):
    fill(log, script(1, 10))
    assert ahead.take(begin) is None
    ahead.begin(begin, 4)
    piece = ahead.take(begin)
    assert ids(piece) == [1000, 2000, 3000, 4000]
    ahead.begin(piece.place, 100)
    assert ids(ahead.take(piece.place)) == [1000 * n for n in range(5, 11)]
    assert ahead.take(piece.place) is None


def test_what_was_begun_elsewhere_is_thrown_away(log, begin, ahead):
    fill(log, script(1, 10))
    ahead.begin(begin, 4)
    later = ahead.take(begin).place
    ahead.begin(later, 4)
    assert ahead.take(begin) is None
    ahead.begin(begin, 2)
    assert ids(ahead.take(begin)) == [1000, 2000]


def test_an_error_is_raised_by_the_one_who_takes(log, begin, ahead, faults):
    fill(log, script(1, 10))
    faults.before("read", LogError("the disk is broken"))
    ahead.begin(begin, 4)
    with pytest.raises(LogError, match="the disk is broken"):
        ahead.take(begin)
    ahead.begin(begin, 4)
    assert len(ahead.take(begin).events) == 4


def test_an_error_of_a_piece_that_nobody_wants_any_more_is_not_raised(log, begin, ahead, faults):
    fill(log, script(1, 10))
    later = reader(log).read(begin, 4).place
    faults.before("read", LogError("the disk is broken"))
    ahead.begin(later, 4)
    assert ahead.take(begin) is None


def test_closing_ends_the_thread_and_its_log_also_in_mid_piece(log, begin, ahead, faults):
    before = threading.active_count()
    ahead.close()
    ahead.begin(begin, 4)
    assert threading.active_count() == before + 1
    ahead.close()
    ahead.close()
    assert threading.active_count() == before
    assert faults.calls[-1] == "close"


def test_a_pump_that_is_behind_reads_ahead_and_one_that_has_caught_up_does_not(log, ahead, faults):
    fill(log, script(1, 100))
    own = Faults()
    store = Store()

    def pump():
        return Apply(
            lambda: ListSink("sink", store),
            own.wrap(log),
            RecordDecoder(log.registry),
            Plan(batch=10),
            ahead=ahead,
        )

    assert pump().run(lambda: False, log.end)
    assert [event.key[0] for event in store.applied] == [1000 * n for n in range(1, 101)]
    for number in range(101, 106):
        fill(log, script(1, number))
        assert pump().run(lambda: False, log.end)
    assert faults.calls.count("read") == 10  # nine full pieces after the first, and one look behind the last
    assert len(store.applied) == 105
