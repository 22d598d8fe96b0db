"""The codecs from outside: subjects, ids, keys, tombstones, errors, what people see."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from decimal import Decimal

import fastavro
import pytest

from liberator.codec import Producer
from liberator.codec.avro import AvroCodec
from liberator.codec.avro_schema import names, namespace
from liberator.codec.decoder import RecordDecoder
from liberator.codec.json import JsonCodec, plain_key, to_plain
from liberator.codec.json_value import decimal_parts, decimal_text
from liberator.codec.plain import date_text, interval_text, timestamp_text
from liberator.errors import DecodeError, SchemaError
from liberator.event import ABSENT, ChangeEvent, Events, Operation, Phase, Position, Run, Transaction
from liberator.log import Record, Records
from liberator.registry.memory import MemoryRegistry
from liberator.schema import Column, Kind, LogicalType, TableSchema
from liberator.testing.events import create, delete, read, rekey, table, transaction, truncate, update

PRODUCER = Producer("test", "testing", "1.0")
DECIMAL = LogicalType(Kind.DECIMAL, 10, 2)
ORDERS = table("orders", {"id": Kind.INT64, "note": Kind.STRING, "amount": DECIMAL}, key=["id"])
CODECS = [AvroCodec, JsonCodec]


def encoded(events, codec=AvroCodec, envelope="change", registry=None, producer=PRODUCER):
    registry = registry or MemoryRegistry()
    records = Records()
    codec(registry, envelope).encoder(producer)(events, records)
    return registry, records


def schema_of(registry, data):
    return json.loads(registry.get(int.from_bytes(data[1:5], "big")).text)


# Names


def columns(*given):
    return tuple(Column(name, LogicalType(Kind.STRING)) for name in given)


def test_a_valid_column_name_is_the_field_name():
    assert names(columns("id", "_x", "Ab9")) == ("id", "_x", "Ab9")


def test_other_characters_become_underscores():
    assert names(columns("order id", "Größe", "1st", "", 'a"b')) == ("order_id", "Gr__e", "_1st", "_", "a_b")


def test_a_taken_name_gets_the_hash_of_the_column():
    first, second, third = names(columns("order id", "order-id", "order_id"))
    assert first == "order_id"
    assert second.startswith("order_id_") and third.startswith("order_id_") and second != third


def test_a_new_last_column_never_takes_the_field_of_an_older_one():
    older = columns("order id", "x")
    assert names((*older, *columns("order_id")))[:2] == names(older)


def test_even_a_column_named_like_the_hash_of_another_has_a_field_of_its_own():
    stolen = names(columns("a b", "a-b"))[1]
    made = names(columns(stolen, "a b", "a-b"))
    assert len(set(made)) == 3


def test_a_topic_gives_the_namespace():
    assert namespace("shop.public.Order Lines") == "shop.public.Order_Lines"
    assert namespace("1.2") == "_1._2"


# Subjects, ids, keys


@pytest.mark.parametrize("codec", CODECS)
def test_key_and_value_have_a_subject_each(codec):
    registry, records = encoded(transaction(1, create(ORDERS, id=1)), codec)
    assert registry.subjects() == ["test.public.orders-key", "test.public.orders-value"]
    (key,), (value,) = map(registry.versions, registry.subjects())
    assert records.keys[0][:5] == b"\0" + key.id.to_bytes(4, "big")
    assert records.values[0][:5] == b"\0" + value.id.to_bytes(4, "big")
    assert {key.type, value.type} == {"AVRO" if codec is AvroCodec else "JSON"}


@pytest.mark.parametrize("envelope", ["change", "entity"])
@pytest.mark.parametrize("codec", CODECS)
def test_registering_again_gives_the_same_ids(codec, envelope):
    events = transaction(1, create(ORDERS, id=1))
    registry, first = encoded(events, codec, envelope)
    again = [replace(event, schema=replace(event.schema)) for event in events]
    _, second = encoded(again, codec, envelope, registry)
    assert (first.keys[0], first.values[0][:5]) == (second.keys[0], second.values[0][:5])
    assert [len(registry.versions(subject)) for subject in registry.subjects()] == [1, 1]


@pytest.mark.parametrize("codec", CODECS)
def test_a_key_stays_the_same_when_another_column_changes(codec):
    wider = table("orders", {"id": Kind.INT64, "note": Kind.JSON, "new": Kind.BOOL}, key=["id"])
    events = [*transaction(1, create(ORDERS, id=7)), *transaction(2, create(wider, id=7, new=True))]
    registry, records = encoded(events, codec)
    assert records.keys[0] == records.keys[1]
    assert records.values[0][:5] != records.values[1][:5]
    assert len(registry.versions("test.public.orders-value")) == 2
    assert RecordDecoder(registry).decode(records) == events


@pytest.mark.parametrize("codec", CODECS)
def test_key_columns_stand_in_key_order(codec):
    lines = table("lines", {"line": Kind.INT32, "order": Kind.INT64, "x": Kind.BOOL}, key=["order", "line"])
    registry, records = encoded(transaction(1, create(lines, line=2, order=1)), codec)
    text = registry.versions("test.public.lines-key")[0].text
    assert text.index('"order"') < text.index('"line"')
    (event,) = RecordDecoder(registry).decode(records)
    assert event.key == (1, 2)


@pytest.mark.parametrize("codec", CODECS)
def test_a_table_without_a_key_has_records_without_a_key_and_no_tombstones(codec):
    heap = table("heap", {"a": Kind.INT32})
    events = transaction(1, create(heap, a=1), delete(heap, a=1))
    registry, records = encoded(events, codec)
    assert records.keys == [None, None]
    assert RecordDecoder(registry).decode(records) == events
    assert registry.subjects() == ["test.public.heap-value"]


# Envelopes


@pytest.mark.parametrize("codec", CODECS)
def test_a_delete_is_followed_by_its_tombstone(codec):
    events = transaction(1, create(ORDERS, id=1), delete(ORDERS, id=1), create(ORDERS, id=1))
    registry, records = encoded(events, codec)
    assert [value is None for value in records.values] == [False, False, True, False]
    assert records.keys[1] == records.keys[2]
    assert [bool(headers) for headers in records.headers] == [False, False, True, False]
    assert RecordDecoder(registry).decode(records) == events


@pytest.mark.parametrize("codec", CODECS)
def test_a_delete_of_an_entity_is_a_tombstone(codec):
    events = transaction(1, create(ORDERS, id=1), delete(ORDERS, id=1, note="old", amount=1))
    registry, records = encoded(events, codec, "entity")
    assert [value is None for value in records.values] == [False, True]
    gone = RecordDecoder(registry).decode(records)[1]
    assert gone == replace(events[1], before=(1, ABSENT, ABSENT))


@pytest.mark.parametrize("envelope", ["change", "entity"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_truncate_has_no_key(codec, envelope):
    events = transaction(1, truncate(ORDERS))
    registry, records = encoded(events, codec, envelope)
    assert records.keys == [None]
    assert RecordDecoder(registry).decode(records) == events


@pytest.mark.parametrize("envelope", ["change", "entity"])
@pytest.mark.parametrize("codec", CODECS)
def test_the_halves_of_a_key_change_name_each_other(codec, envelope):
    events = transaction(1, rekey(ORDERS, {"id": 1}, id=2, note="moved"))
    registry, records = encoded(events, codec, envelope)
    gone, come = RecordDecoder(registry).decode(records)
    assert (gone.moved, come.moved) == ((2,), (1,))
    assert [gone, come] == events


@pytest.mark.parametrize("codec", CODECS)
def test_the_entity_of_a_row_that_no_key_names_is_refused(codec):
    heap = table("heap", {"a": Kind.INT32})
    for event in (update(heap, a=1), delete(heap, a=1)):
        with pytest.raises(SchemaError, match=r"table public\.heap has no key") as caught:
            encoded(transaction(1, event), codec, "entity")
        assert caught.value.hint


@pytest.mark.parametrize("codec", CODECS)
def test_what_encoding_refuses_comes_after_the_records_before_it(codec):
    events = transaction(1, create(ORDERS, id=1), create(ORDERS, id="x"), create(ORDERS, id=3))
    registry, records = MemoryRegistry(), Records()
    with pytest.raises(SchemaError):
        codec(registry).encoder(PRODUCER)(events, records)
    columns = records.topics, records.keys, records.values, records.headers, records.timestamps
    assert {len(column) for column in columns} == {1}
    assert RecordDecoder(registry).decode(records) == events[:1]


# Errors name the place, never the value

WRONG = {
    "int64": (Kind.INT64, [2**63 + 77, -(2**63) - 77, "secret", b"secret", 1.5]),
    "int32": (Kind.INT32, [2**31 + 77, -(2**31) - 77, "secret"]),
    "int16": (Kind.INT16, [2**15 + 77, -(2**15) - 77, "secret"]),
    "uint64": (Kind.UINT64, [-77, 2**64 + 77, "secret"]),
    "bool": (Kind.BOOL, ["secret", 77]),
    "float32": (Kind.FLOAT32, [0.1, 1e300, "secret"]),
    "float64": (Kind.FLOAT64, ["secret"]),
    "decimal": (DECIMAL, [10**10, -(10**10), (1, 2), 1.5]),
    "any decimal": (Kind.DECIMAL, [77, (1, 2**31 + 77), (1, 2, 3), 1.5]),
    "string": (Kind.STRING, [77, b"secret", "secret\ud800"]),
    "bytes": (Kind.BYTES, ["secret", 7]),
    "date": (Kind.DATE, [2**31 + 77, 1.5]),
    "time": (Kind.TIME, [-77, 86_400_000_077, 1.5]),
    "timestamp": (Kind.TIMESTAMP, [2**63 + 77, -(2**63) - 77, 1.5]),
    "interval": (Kind.INTERVAL, [(1, 2), (2**31, 0, 0), 7]),
    "uuid": (Kind.UUID, [7]),
    "enum": (Kind.ENUM, [7]),
    "array": (LogicalType(Kind.ARRAY, item=LogicalType(Kind.INT32)), [[1], (2**31,), ("secret",), 7]),
    "geometry": (Kind.GEOMETRY, [b"secret", ("secret", 1), (b"", 2**31)]),
    "native": (LogicalType(Kind.NATIVE, name="box"), [7]),
}


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("case", WRONG)
def test_a_value_that_does_not_fit_is_refused_without_being_told(codec, case, keyed):
    kind, values = WRONG[case]
    schema = table("t", {"id": Kind.INT32, "wrong one": kind}, key=["id", *(["wrong one"] if keyed else [])])
    for value in values:
        with pytest.raises(SchemaError, match=r"table public\.t: (column wrong one|a text)") as caught:
            encoded(transaction(1, create(schema, **{"id": 1, "wrong one": value})), codec)
        assert "secret" not in str(caught.value)
        assert str(value) not in str(caught.value)
        assert caught.value.__suppress_context__


@pytest.mark.parametrize("codec", CODECS)
def test_a_key_column_must_be_there(codec):
    for value in (None, ABSENT):
        with pytest.raises(SchemaError, match=r"table public\.orders: column id"):
            encoded(transaction(1, create(ORDERS, id=value)), codec)


@pytest.mark.parametrize("codec", CODECS)
def test_a_row_of_another_width_is_refused(codec):
    (event,) = transaction(1, create(ORDERS, id=1))
    with pytest.raises(SchemaError, match="has 3 columns, a row of it 2"):
        encoded([replace(event, after=(1, "x"))], codec)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("envelope", ["change", "entity"])
def test_a_transaction_that_the_envelope_would_not_give_back_is_refused(codec, envelope):
    (event,) = transaction(1, create(ORDERS, id=1))
    good = event.transaction
    for bad in (replace(good, position=Position(0, 1, 7)), replace(good, origin=(1,))):
        with pytest.raises(SchemaError, match="source test gave a transaction"):
            encoded([replace(event, transaction=bad)], codec, envelope)


def test_a_number_of_the_source_that_is_too_large_is_refused():
    (event,) = transaction(1, create(ORDERS, id=1))
    huge = replace(event.transaction, position=Position(0, 2**63))
    with pytest.raises(SchemaError, match="source test gave a transaction whose major"):
        encoded([replace(event, transaction=huge)])


@pytest.mark.parametrize(
    "origin",
    [(("lsn", "long"), ("lsn", "string")), (("ts_ms", "long"),), (("a b", "long"),), (("x", "int"),)],
)
def test_source_fields_that_cannot_stand_beside_the_others_are_refused(origin):
    with pytest.raises(SchemaError, match="origin field"):
        encoded(transaction(1, create(ORDERS, id=1)), producer=Producer("s", "c", "1", origin))


@pytest.mark.parametrize("codec", CODECS)
def test_a_row_of_another_width_is_refused_where_columns_are_absent_too(codec):
    (event,) = transaction(1, update(ORDERS, id=1))
    with pytest.raises(SchemaError, match="has 3 columns, a row of it 2"):
        encoded([replace(event, after=(1, ABSENT))], codec)


def test_an_ordinal_that_no_record_can_hold_is_refused():
    (event,) = transaction(1, create(ORDERS, id=1))
    with pytest.raises(SchemaError, match="place of an event in its transaction"):
        encoded([replace(event, ordinal=2**63)])


@pytest.mark.parametrize("envelope", ["change", "entity"])
@pytest.mark.parametrize("codec", CODECS)
def test_names_and_ids_that_are_not_unicode_are_refused(codec, envelope):
    (event,) = transaction(1, create(ORDERS, id=1))
    lone = "\ud800"
    with pytest.raises(SchemaError, match="Unicode"):
        encoded([replace(event, transaction=replace(event.transaction, id=lone))], codec, envelope)
    if envelope == "change":
        with pytest.raises(SchemaError, match="Unicode"):
            encoded([replace(event, schema=replace(ORDERS, table=lone))], codec, envelope)


# Damage


@pytest.mark.parametrize("envelope", ["change", "entity"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_layout_of_another_version_is_told(codec, envelope, monkeypatch):
    from liberator.codec import avro_schema, json_schema

    for module in (avro_schema, json_schema):
        monkeypatch.setattr(module, "LAYOUT", 2)
    registry, records = encoded(transaction(1, create(ORDERS, id=1)), codec, envelope)
    with pytest.raises(SchemaError, match="laid out by number 2") as caught:
        RecordDecoder(registry).decode(records)
    assert caught.value.hint


def test_an_id_that_was_never_given_out_is_told():
    registry, _ = encoded(transaction(1, create(ORDERS, id=1)))
    with pytest.raises(SchemaError, match="schema 99 is not in the registry"):
        RecordDecoder(registry).decode(Records.of([Record("t", None, b"\0\0\0\0\x63x")]))


def test_a_schema_of_somebody_else_is_told():
    registry = MemoryRegistry()
    for type_, text in (("AVRO", '"string"'), ("JSON", "{}"), ("AVRO", "not json")):
        made = registry.register("t-value", text, type_)
        with pytest.raises(SchemaError, match="not one that liberator writes"):
            RecordDecoder(registry).decode(
                Records.of([Record("t", None, b"\0" + made.id.to_bytes(4, "big"))])
            )


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\0", b"\1\0\0\0\1abc"])
def test_what_has_no_frame_is_refused(value):
    registry, _ = encoded(transaction(1, create(ORDERS, id=1)))
    with pytest.raises(DecodeError):
        RecordDecoder(registry).decode(Records.of([Record("t", None, value)]))


def test_a_record_without_a_value_must_tell_of_an_event():
    for key in (None, b"k"):
        with pytest.raises(DecodeError, match="no value, and no headers"):
            RecordDecoder(MemoryRegistry()).decode(Records.of([Record("t", key, None)]))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("envelope", ["change", "entity"])
def test_every_truncation_of_a_record_is_refused(codec, envelope):
    wide = table("w", {f"c{kind.value}": kind for kind in Kind if kind is not Kind.ARRAY}, key=["cint64"])
    row = dict.fromkeys(wide.names, "text") | {
        "cbool": True, "cint16": 1, "cint32": 2**20, "cint64": 2**50, "cuint64": 2**63, "cfloat32": 1.5,
        "cfloat64": 1.5, "cdecimal": (10**30, 3), "cbytes": b"x" * 70, "cdate": 20000, "ctime": 10**10,
        "ctimestamp": 10**15, "ctimestamptz": 10**15, "cinterval": (1, 2, 3), "cgeometry": (b"xyz", 4326),
        "cjson": "x" * 9000,
    }  # fmt: skip
    events = transaction(1, create(wide, **row), delete(wide, **row))
    registry, records = encoded(events, codec, envelope)
    reader = RecordDecoder(registry)
    for record in records:
        assert record.value is None or reader.decode(Records.of([record]))
        for size in range(len(record.value or b"")):
            with pytest.raises((DecodeError, SchemaError)):
                reader.decode(Records.of([record._replace(value=record.value[:size])]))


def test_a_length_of_gigabytes_takes_no_memory():
    registry, records = encoded(transaction(1, create(ORDERS, id=1, note="abc")))
    huge = b"\x02\xfe\xff\xff\xff\xff\x0f"
    value = records.values[0].replace(b"\x02\x06abc", huge)
    assert value != records.values[0]
    with pytest.raises(DecodeError):
        RecordDecoder(registry).decode(Records.of([records[0:1].__iter__().__next__()._replace(value=value)]))


# Schema versions: what readers other than ours make of them


def resolved(registry, data, reader):
    return fastavro.schemaless_reader(
        io.BytesIO(data[5:]), fastavro.parse_schema(schema_of(registry, data)), fastavro.parse_schema(reader)
    )


@pytest.mark.parametrize("envelope", ["change", "entity"])
def test_old_and_new_schema_read_each_others_records(envelope):
    old = table("t", {"id": Kind.INT64, "gone": Kind.STRING, "stays": DECIMAL, "when": Kind.DATE}, key=["id"])
    new = table(
        "t", {"id": Kind.INT64, "new": Kind.INTERVAL, "stays": DECIMAL, "list": Kind.NATIVE}, key=["id"]
    )
    events = [
        *transaction(1, create(old, id=1, gone="x", stays=1230, when="infinity")),
        *transaction(2, create(new, id=2, new=(1, 2, 3), stays="NaN", list="{}")),
    ]
    registry, records = encoded(events, envelope=envelope)
    first, second = (schema_of(registry, value) for value in records.values)
    row = (lambda found: found["after"]) if envelope == "change" else (lambda found: found)
    forward = row(resolved(registry, records.values[1], first))
    assert forward == {"id": 2, "gone": None, "stays": {"text": "NaN"}, "when": None}
    backward = row(resolved(registry, records.values[0], second))
    assert backward == {"id": 1, "new": None, "stays": Decimal("12.30"), "list": None}


def test_an_integer_column_that_grows_is_still_read():
    small, large = (
        table("t", {"id": Kind.INT32, "n": kind}, key=["id"]) for kind in (Kind.INT32, Kind.INT64)
    )
    events = [*transaction(1, create(small, id=1, n=5)), *transaction(2, create(large, id=1, n=2**40))]
    registry, records = encoded(events)
    assert resolved(registry, records.values[0], schema_of(registry, records.values[1]))["after"]["n"] == 5


# What is compiled


def test_a_column_of_ever_new_texts_is_encoded_like_one_that_repeats_itself():
    events = [e for n in range(3000) for e in transaction(n, create(ORDERS, id=n, note=f"note {n}"))]
    registry, records = MemoryRegistry(), Records()
    encode = AvroCodec(registry).encoder(PRODUCER)
    for start in range(0, 3000, 100):
        encode(events[start : start + 100], records)
    assert RecordDecoder(registry).decode(records) == events


def test_what_all_columns_remember_of_their_texts_is_bounded(monkeypatch):
    import gc

    from liberator.codec.avro_tables import Texts

    gc.collect()
    monkeypatch.setattr(Texts, "MOST_OF_ALL", Texts.of_all + 5)
    notes = [f"note {n % 10}" for n in range(100)]
    events = [e for n, note in enumerate(notes) for e in transaction(n, create(ORDERS, id=n, note=note))]
    registry, records = MemoryRegistry(), Records()
    encode = AvroCodec(registry).encoder(PRODUCER)
    before = Texts.of_all
    for event in events:
        encode([event], records)
    assert Texts.of_all <= before + 5
    assert RecordDecoder(registry).decode(records) == events
    del encode
    gc.collect()
    assert Texts.of_all <= before


def test_equal_schemas_that_are_different_objects_share_what_was_compiled(monkeypatch):
    from liberator.codec import avro_write

    made = []
    compile_encoders = avro_write.compile_encoders
    monkeypatch.setattr(
        avro_write, "compile_encoders", lambda *args: made.append(1) or compile_encoders(*args)
    )
    events = [
        replace(event, schema=replace(ORDERS), topic="".join(["t", "est"]))
        for n in range(50)
        for event in transaction(n, create(ORDERS, id=n))
    ]
    registry, records = encoded(events)
    assert len(made) == 1
    assert RecordDecoder(registry).decode(records) == events


def test_no_name_of_a_database_enters_the_generated_source():
    evil = "x\"; import os; os.abort() #'\\"
    column = Column(evil, LogicalType(Kind.NATIVE, name=evil), native=evil, default=evil)
    schema = TableSchema(
        evil, evil, evil, evil, (column, Column(evil + "2", LogicalType(Kind.INT64), False, 0))
    )
    at = Transaction(evil, Position(0, 1), 5, ())
    events = [ChangeEvent(Operation.CREATE, evil, schema, None, (evil, 5), at, 1, 1)]
    for codec in CODECS:
        for envelope in ("change", "entity"):
            producer = Producer(evil, evil, evil)
            registry, records = encoded(events, codec, envelope, producer=producer)
            assert RecordDecoder(registry).decode(records) == events


# For people


def test_dates_and_times_are_shown_as_iso():
    assert date_text(0) == "1970-01-01"
    assert date_text(19_782) == "2024-02-29"
    assert date_text(-719_529) == "-000001-12-31"
    assert date_text(2_932_897) == "+010000-01-01"
    assert timestamp_text(-1) == "1969-12-31T23:59:59.999999"
    assert timestamp_text(1_700_000_000_000_000) == "2023-11-14T22:13:20"
    assert interval_text((14, -3, 3_600_000_001)) == "P14M-3DT3600.000001S"
    assert interval_text((0, 0, -1)) == "P0M0DT-0.000001S"


@pytest.mark.parametrize(
    ("unscaled", "scale", "text"),
    [
        (1230, 2, "12.30"), (-5, 2, "-0.05"), (0, 3, "0.000"), (7, 0, "7"), (12, -3, "12E3"),
        (5, 50_000, "5E-50000"), (-(10**5000), 0, "-1" + "0" * 5000), (10**5000, 2, "1" + "0" * 4998 + ".00"),
    ],
    ids=range(8),
)  # fmt: skip
def test_decimals_keep_their_very_digits(unscaled, scale, text):
    assert decimal_text(unscaled, scale) == text
    assert decimal_parts(text) == (unscaled, scale)


@pytest.mark.parametrize("text", ["", "-", ".", "1.2.3", "１", "1e5", "+1", "1_0", " 1", "E5", "5E"])
def test_other_texts_are_no_decimals(text):
    if text not in ("1.2.3",):
        with pytest.raises((ValueError, ArithmeticError)):
            decimal_parts(text)
    else:
        with pytest.raises(ValueError, match="not a number"):
            decimal_parts(text)


def test_an_event_is_shown_as_the_envelope_with_readable_values():
    schema = table(
        "orders",
        {
            "id": Kind.INT64, "amount": DECIMAL, "at": Kind.TIMESTAMPTZ, "day": Kind.DATE, "raw": Kind.BYTES,
            "tags": LogicalType(Kind.ARRAY, item=LogicalType(Kind.DATE)), "toast": Kind.STRING,
            "share": Kind.FLOAT64, "any": Kind.DECIMAL, "for": Kind.INTERVAL, "geo": Kind.GEOMETRY,
        },
        key=["id"],
    )  # fmt: skip
    (event,) = transaction(
        3,
        update(
            schema, id=1, amount=1230, at=1_700_000_000_000_001, day="infinity", raw=b"\0\xff",
            tags=(0, None, "BC"), share=float("nan"), any=(5, 3), **{"for": (1, 2, 3), "geo": (b"\1", 4326)},
        ),
    )  # fmt: skip
    shown = to_plain(event)
    assert shown["op"] == "u"
    assert shown["before"] is None
    assert shown["after"] == {
        "id": 1, "amount": "12.30", "at": "2023-11-14T22:13:20.000001Z", "day": "infinity", "raw": "AP8=",
        "tags": ["1970-01-01", None, "BC"], "share": "NaN", "any": "0.005", "for": "P1M2DT0.000003S",
        "geo": {"wkb": "AQ==", "srid": 4326},
    }  # fmt: skip
    assert (shown["unavailable"], shown["unavailable_before"]) == (["toast"], [])
    assert shown["source"]["table"] == "orders"
    assert shown["transaction"] == {"id": "3", "total_order": 1, "data_collection_order": 1}
    assert "moved" not in shown
    assert plain_key(event) == {"id": 1}
    json.dumps(shown, allow_nan=False)


def test_a_key_change_is_shown_with_the_other_key():
    gone, come = transaction(1, rekey(ORDERS, {"id": 1}, id=2))
    assert (to_plain(gone)["moved"], to_plain(come)["moved"]) == ({"id": 2}, {"id": 1})


@pytest.mark.parametrize("codec", CODECS)
def test_phases_come_back(codec):
    for phase in Phase:
        (event,) = transaction(1, read(ORDERS, id=1))
        events = [replace(event, phase=phase)]
        for envelope in ("change", "entity"):
            registry, records = encoded(events, codec, envelope)
            assert RecordDecoder(registry).decode(records) == events


# Tombstones where reading begins


@pytest.mark.parametrize("codec", CODECS)
def test_a_tombstone_where_reading_begins_follows_a_delete_that_was_read(codec):
    events = transaction(1, create(ORDERS, id=1), delete(ORDERS, id=1))
    registry, records = encoded(events, codec)
    records.offsets = [7, 8, 9]
    rest = records[2:3]
    assert RecordDecoder(registry).decode(rest, {"": 9}) == []
    (gone,) = RecordDecoder(registry).decode(rest, {"": 8})  # the delete at 8 was compacted away
    assert gone == events[1]
    assert RecordDecoder(registry).decode(records, {"": 7}) == events


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_holds_for_each_partition(codec):
    events = transaction(1, delete(ORDERS, id=1), delete(ORDERS, id=2))
    registry, records = encoded(events, codec)
    rest = Records.of([list(records)[1], list(records)[3]])
    rest.offsets, rest.partitions = [4, 9], ["a", "b"]
    assert RecordDecoder(registry).decode(rest, {"a": 4, "b": 9, "c": 0}) == []
    assert RecordDecoder(registry).decode(rest, {"a": 4, "b": 8}) == events[1:]


@pytest.mark.parametrize("codec", CODECS)
def test_a_delete_of_an_entity_where_reading_begins_is_an_event(codec):
    events = transaction(1, delete(ORDERS, id=1))
    registry, records = encoded(events, codec, "entity")
    records.offsets = [5]
    assert RecordDecoder(registry).decode(records, {"": 5}) == events


@pytest.mark.parametrize("codec", CODECS)
def test_a_later_delete_of_the_same_key_is_not_taken_for_the_former(codec):
    first = transaction(1, delete(ORDERS, id=1))
    second = transaction(2, create(ORDERS, id=1), delete(ORDERS, id=1))
    registry, records = encoded([*first, *second], codec)
    everything = list(records)
    # of the first pair the tombstone was compacted away, of the second the delete
    left = Records.of([everything[0], everything[2], everything[4]])
    assert RecordDecoder(registry).decode(left) == [*first, *second]


@pytest.mark.parametrize("envelope", ["change", "entity"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_run_of_rows_is_encoded_as_its_events_are(codec, envelope):
    base = transaction(7, create(ORDERS, id=1))[0]
    rows = [(n, f"note {n % 150}", n % 500) for n in (*range(300), 1 << 40, -5)]
    odd = [(1, None, None), (2, ABSENT, 5)]
    runs = [
        Run(Operation.CREATE, "shop.orders", ORDERS, rows, base.transaction, 1, 1),
        Run(Operation.CREATE, "shop.orders", ORDERS, odd, base.transaction, 900, 3, Phase.AHEAD),
        Run(Operation.READ, "shop.orders", ORDERS, rows, base.transaction, phase=Phase.SNAPSHOT),
    ]
    events = Events(runs[0])
    events.tail.append(replace(base, topic="shop.orders", ordinal=400, table_ordinal=400))
    for run in runs[1:]:
        events.extend(run)
    assert len(events) == len(list(events)) == 2 * len(rows) + 3
    registry, records = encoded(events, codec, envelope)
    plain, expected = encoded(list(events), codec, envelope)
    assert records.topics == expected.topics
    assert records.keys == expected.keys
    assert records.headers == expected.headers
    assert RecordDecoder(registry).decode(records) == list(events) == RecordDecoder(plain).decode(expected)
