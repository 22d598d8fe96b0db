"""Any records go through a packed batch unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liberator.errors import LogError
from liberator.log import Record, Records
from liberator.log import batch as format_
from liberator.log.batch import MOST_BYTES, MOST_RECORDS, pack, pack_all, unpack
from liberator.log.embedded_read import selected
from liberator.log.headers import pack_headers, unpack_headers

names = st.text(max_size=8)
data = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from([b"", b"x" * 127, b"x" * 128, b"x" * 255, b"x" * 256, b"x" * 32_768, b"x" * 65_536]),
)
headers = st.lists(st.tuples(names, st.binary(max_size=8)), max_size=3).map(tuple)
stamps = st.integers(-(2**63), 2**63 - 1)
record = st.tuples(names, data, data, headers, stamps).map(lambda fields: Record(*fields))
records = st.lists(record, min_size=1, max_size=40)


@given(records)
def test_records_come_back_as_they_went_in(given_records):
    packed = pack(Records.of(given_records))
    found, deltas = unpack(packed.data, packed.topics)
    assert list(found) == given_records
    assert list(deltas) == list(range(len(given_records)))


@given(records, st.data())
def test_what_is_left_of_a_batch_keeps_its_places(given_records, draw):
    kept = draw.draw(st.lists(st.booleans(), min_size=len(given_records), max_size=len(given_records)))
    if not any(kept):
        return
    survivors = selected(Records.of(given_records), kept)
    places = [place for place, stays in enumerate(kept) if stays]
    packed = pack(survivors, places)
    found, deltas = unpack(packed.data, packed.topics)
    assert list(found) == list(survivors)
    assert list(deltas) == places
    assert [t.last for t in packed.tallies] == [
        max(p for p in places if given_records[p].topic == topic) for topic in packed.topics
    ]


@given(records)
def test_a_batch_is_tallied_by_topic(given_records):
    packed = pack(Records.of(given_records))
    assert packed.topics == list(dict.fromkeys(r.topic for r in given_records))
    for topic, tally in zip(packed.topics, packed.tallies, strict=True):
        mine = [(place, r) for place, r in enumerate(given_records) if r.topic == topic]
        assert tally.records == len(mine)
        assert tally.bytes == sum(len(r.key or b"") + len(r.value or b"") for _, r in mine)
        assert (tally.last, tally.timestamp) == (mine[-1][0], mine[-1][1].timestamp)


@given(st.lists(headers, min_size=1, max_size=30))
def test_headers_come_back_as_they_went_in(given_headers):
    assert unpack_headers(pack_headers(given_headers), len(given_headers)) == given_headers


def test_headers_that_all_records_share_are_stored_once():
    shared = (("source", b"x" * 100), ("tx", b"y"))
    assert len(pack_headers([shared] * 1000)) < 250
    assert pack_headers([()] * 1000) == b""


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3 * MOST_BYTES), min_size=1, max_size=6), st.integers(1, 3))
def test_large_appends_are_split_and_nothing_is_lost(sizes, repeats):
    given_records = [Record("t", b"k%d" % n, b"v" * size) for n, size in enumerate(sizes * repeats)]
    packed = pack_all(Records.of(given_records))
    found = [record for batch in packed for record in unpack(batch.data, batch.topics)[0]]
    assert found == given_records
    assert all(len(batch.data) <= MOST_BYTES or batch.count == 1 for batch in packed)


def test_many_records_are_split_too():
    given_records = [Record("t", None, b"v%d" % n) for n in range(2 * MOST_RECORDS + 1)]
    packed = pack_all(Records.of(given_records))
    assert [batch.count for batch in packed] == [MOST_RECORDS, MOST_RECORDS, 1]


def test_a_tombstone_is_never_parted_from_the_delete_before_it():
    pairs = [Record("t", b"k%d" % n, value) for n in range(MOST_RECORDS) for value in (b"delete", None)]
    packed = pack_all(Records.of([Record("t", b"k", b"create"), *pairs]))
    assert len(packed) > 1
    for batch in packed:
        records, _ = unpack(batch.data, batch.topics)
        assert records.values[0] is not None
    large = Record("t", b"k", b"x" * (MOST_BYTES // 2))
    packed = pack_all(Records.of([large, Record("t", b"k", None)] * 4))
    assert [batch.count for batch in packed] == [2, 2, 2, 2]


def test_a_thousand_topics_fit_into_a_batch():
    given_records = [Record(f"t{n}", b"k", b"v") for n in range(1000)]
    packed = pack(Records.of(given_records))
    assert list(unpack(packed.data, packed.topics)[0]) == given_records


def test_a_record_that_is_too_large_is_refused_without_its_value(monkeypatch):
    monkeypatch.setattr(format_, "LARGEST", 1000)
    with pytest.raises(LogError, match=r"1,201 bytes in topic shop\.orders") as refused:
        pack_all(Records.of([Record("shop.orders", b"k", b"v" * 1200)]))
    assert "vvv" not in str(refused.value)
    pack_all(Records.of([Record("shop.orders", b"k", b"v" * 600)] * 2))


def test_a_batch_of_a_newer_version_is_refused():
    packed = pack(Records.of([Record("t", b"k", b"v")]))
    with pytest.raises(LogError, match="format version 9"):
        unpack(b"\x09" + packed.data[1:], packed.topics)
