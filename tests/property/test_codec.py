"""What a codec has written it reads back, whatever the table, the row and the event."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liberator.codec.avro import AvroCodec
from liberator.codec.decoder import RecordDecoder
from liberator.codec.envelope import key_only
from liberator.codec.json import JsonCodec, plain_key, to_plain
from liberator.errors import DecodeError
from liberator.event import ABSENT, Operation
from liberator.log import Record, Records
from liberator.registry.memory import MemoryRegistry
from tests.codec_cases import PRODUCER, exact, histories

CODECS = [AvroCodec, JsonCodec]
slow = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
    max_examples=max(1, settings().max_examples // 2),  # each compiles some tables
)


def written(codec, events, envelope="change", registry=None, producer=PRODUCER):
    registry = registry or MemoryRegistry()
    records = Records()
    codec(registry, envelope).encoder(producer)(events, records)
    return registry, records


def without_origin(events):
    """The events of a source that has no fields of its own."""
    made = {id(e.transaction): replace(e.transaction, origin=()) for e in events}
    return [replace(e, transaction=made[id(e.transaction)]) for e in events]


@pytest.mark.parametrize("codec", CODECS)
@slow
@given(events=histories())
def test_a_change_comes_back_as_it_was(codec, events):
    registry, records = written(codec, events)
    assert exact(RecordDecoder(registry).decode(records)) == exact(events)
    assert (
        len(
            {
                len(records.topics),
                len(records.keys),
                len(records.values),
                len(records.headers),
                len(records.timestamps),
            }
        )
        == 1
    )
    deletes = sum(e.operation is Operation.DELETE and e.key is not None for e in events)
    assert len(records) == len(events) + deletes


def of_an_entity(event):
    """What is left of an event in the envelope entity."""
    if event.operation is Operation.DELETE:
        return type(event)(
            event.operation, event.topic, event.schema, key_only(event.schema, event.key), None,
            event.transaction, event.ordinal, event.table_ordinal, event.phase, event.moved,
        )  # fmt: skip
    return type(event)(
        event.operation, event.topic, event.schema, None, event.after,
        event.transaction, event.ordinal, event.table_ordinal, event.phase, event.moved,
    )  # fmt: skip


def has_identity(event):
    return event.schema.key or event.operation not in (Operation.UPDATE, Operation.DELETE)


@pytest.mark.parametrize("envelope", ["change", "entity"])
@pytest.mark.parametrize("codec", CODECS)
@slow
@given(events=histories(most=4))
def test_a_source_needs_no_fields_of_its_own(codec, envelope, events):
    events = without_origin([e for e in events if has_identity(e)])
    registry, records = written(codec, events, envelope, producer=replace(PRODUCER, origin_fields=()))
    expected = events if envelope == "change" else [of_an_entity(e) for e in events]
    assert exact(RecordDecoder(registry).decode(records)) == exact(expected)


@pytest.mark.parametrize("codec", CODECS)
@slow
@given(events=histories())
def test_an_entity_comes_back_with_all_but_its_before(codec, events):
    events = [e for e in events if has_identity(e)]
    registry, records = written(codec, events, "entity")
    assert exact(RecordDecoder(registry).decode(records)) == exact([of_an_entity(e) for e in events])
    assert len(records) == len(events) == len(records.headers)


@slow
@given(histories(most=3), histories(most=3), histories(most=3), histories(most=3))
def test_one_decoder_reads_records_of_all_codecs_and_envelopes_mixed(first, second, third, fourth):
    third, fourth = ([e for e in events if has_identity(e)] for events in (third, fourth))
    registry, mixed = MemoryRegistry(), []
    for codec, envelope, events in (
        (AvroCodec, "change", first),
        (JsonCodec, "change", second),
        (AvroCodec, "entity", third),
        (JsonCodec, "entity", fourth),
    ):
        mixed += written(codec, events, envelope, registry)[1]
    expected = first + second + [of_an_entity(e) for e in third + fourth]
    assert exact(RecordDecoder(registry).decode(Records.of(mixed))) == exact(expected)


mutations = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "copy"]), st.floats(0, 1), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, how) -> bytes:
    """``data`` after some accidents; the frame stays, for it chooses the decoder."""
    body = bytearray(data[5:])
    for kind, place, byte in how:
        at = int(place * len(body))
        if kind == "flip" and at < len(body):
            body[at] = byte
        elif kind == "cut":
            del body[at:]
        elif kind == "insert":
            body.insert(at, byte)
        elif kind == "copy":
            body += body[at : at + byte]
    return data[:5] + bytes(body)


@pytest.mark.parametrize("envelope", ["change", "entity"])
@pytest.mark.parametrize("codec", CODECS)
@slow
@given(events=histories(most=3), how=mutations, where=st.sampled_from(["key", "value", "headers"]))
def test_damaged_records_are_refused_or_make_an_event(codec, envelope, events, how, where):
    events = [e for e in events if has_identity(e)]
    registry, records = written(codec, events, envelope)
    reader = RecordDecoder(registry)
    for record in records:
        change = {}
        match where:
            case "key" if record.key is not None:
                change["key"] = damaged(record.key, how)
            case "value" if record.value is not None:
                change["value"] = damaged(record.value, how)
            case "headers":
                headers = [(name, damaged(b"\0" * 5 + data, how)[5:]) for name, data in record.headers]
                change["headers"] = tuple(headers)
        try:
            decoded = reader.decode(Records.of([record._replace(**change)]))
        except DecodeError:
            continue
        for event in decoded:
            assert event.operation in Operation
            for row in (event.before, event.after):
                assert row is None or len(row) == len(event.schema.columns)
            to_plain(event)


@pytest.mark.parametrize("codec", CODECS)
@slow
@given(events=histories(most=3), data=st.binary(max_size=60))
def test_random_bytes_are_refused_or_make_an_event(codec, events, data):
    registry, records = written(codec, events)
    frames = [value[:5] for value in records.values if value is not None]
    reader = RecordDecoder(registry)
    for value in (frames[0] + data, data):
        try:
            assert len(reader.decode(Records.of([Record("t", None, value)]))) == 1
        except DecodeError:
            pass
        except Exception as exc:
            assert type(exc).__name__ == "SchemaError"  # an id that was never given out


@slow
@given(histories(most=4))
def test_every_event_can_be_shown_as_json(events):
    for event in events:
        shown = json.loads(json.dumps(to_plain(event), allow_nan=False))
        assert shown["op"] == event.operation.value
        for row, members, missing in (
            (event.before, shown["before"], shown["unavailable_before"]),
            (event.after, shown["after"], shown["unavailable"]),
        ):
            if row is None:
                assert members is None
                continue
            sent = [n for n, v in zip(event.schema.names, row, strict=True) if v is not ABSENT]
            assert list(members) == sent
            assert set(missing) == set(event.schema.names) - set(sent)
        key = plain_key(event)
        assert (key is None) == (event.key is None)


@pytest.mark.parametrize("codec", CODECS)
@slow
@given(events=histories(), sizes=st.lists(st.integers(1, 4), min_size=1))
def test_where_reads_begin_and_end_changes_nothing(codec, events, sizes):
    registry, records = written(codec, events)
    reader, everything, decoded = RecordDecoder(registry), list(records), []
    while everything:
        size = sizes[len(decoded) % len(sizes)]
        decoded += reader.decode(Records.of(everything[:size]))
        everything = everything[size:]
    assert exact(decoded) == exact(events)


@pytest.mark.parametrize("codec", CODECS)
@slow
@given(events=histories())
def test_a_tombstone_whose_delete_was_compacted_away_is_the_delete(codec, events):
    registry, records = written(codec, events)
    kept = [record for record in records if record.value is None]
    deletes = [e for e in events if e.operation is Operation.DELETE and e.key is not None]
    assert exact(RecordDecoder(registry).decode(Records.of(kept))) == exact(
        [of_an_entity(e) for e in deletes]
    )
