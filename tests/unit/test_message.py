"""Messages keep their bytes on the way into the log, and come back as the messages they were."""

from __future__ import annotations

import io
import json

import fastavro
import pytest

from liberator.codec import Producer
from liberator.codec.avro import AvroCodec
from liberator.codec.decoder import RecordDecoder
from liberator.codec.json import JsonCodec
from liberator.errors import DecodeError, SchemaError
from liberator.event import ChangeEvent, Operation, Phase, Position, Transaction
from liberator.log import Records
from liberator.message import Message, message_schema
from liberator.registry.memory import MemoryRegistry
from liberator.schema import Column, Kind, LogicalType, TableSchema

PRODUCER = Producer("events", "postgresql", "1", (("txId", "long"),))
AVRO = json.dumps(
    {
        "type": "record",
        "name": "OrderPlaced",
        "namespace": "shop",
        "fields": [
            {
                "name": "total",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2},
            },
            {"name": "note", "type": ["null", "string"], "default": None},
        ],
    }
)


TABLE = TableSchema(
    "postgresql", "shop", "public", "orders", (Column("id", LogicalType(Kind.INT64), nullable=False, key=0),)
)


def change(number):
    transaction = Transaction("7", Position(1, 100), 5)
    return ChangeEvent(Operation.CREATE, "t", TABLE, None, (number,), transaction, number, number)


def message(payload, kind="json", avro="", topic="order", operation=Operation.CREATE, **values):
    row = Message("e-1", "order", "42", "OrderPlaced", 3, payload, '{"trace":"abc","source":"x"}', 1_000_000)
    return ChangeEvent(
        operation,
        topic,
        message_schema(topic, kind, avro),
        None,
        tuple(row._replace(**values)),
        Transaction("7", Position(1, 100), 5, (7,)),
        1,
        1,
        Phase.STREAM,
    )


@pytest.fixture(params=[AvroCodec, JsonCodec], ids=["avro", "json"])
def codec(request):
    registry = MemoryRegistry()
    return request.param(registry), registry


def written(codec, *events, producer=PRODUCER):
    records = Records()
    codec[0].encoder(producer)(events, records)
    return records


PAYLOADS = ['{"b": 1,\n "a": 1.50}', "null", '"é"']


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_json_payload_is_the_value_exactly_as_it_was_written(codec, payload):
    records = written(codec, event := message(payload))
    assert records.values == [payload.encode()]
    assert records.keys == [b"42"]
    assert records.topics == ["order"]
    (decoded,) = RecordDecoder(codec[1]).decode(records)
    assert decoded == event
    assert type(decoded.after) is tuple, "sinks know rows by that"


@pytest.mark.parametrize(
    "values",
    [
        {"headers": None},
        {"version": None, "created_at": None, "type": None, "aggregate_type": None},
        {"aggregate_id": None},
        {"created_at": -5},
        {"headers": '{"created_at":"x","message":"y","op":"z","order":"1"}'},
    ],
)
def test_a_message_comes_back_whatever_it_leaves_out_or_calls_its_headers(codec, values):
    event = message("{}", **values)
    assert RecordDecoder(codec[1]).decode(written(codec, event)) == [event]


def test_a_message_read_by_a_snapshot_says_so(codec):
    event = message("{}", operation=Operation.READ)
    assert RecordDecoder(codec[1]).decode(written(codec, event)) == [event]


def test_no_payload_is_no_value(codec):
    event = message(None)
    records = written(codec, event)
    assert records.values == [None]
    assert RecordDecoder(codec[1]).decode(records) == [event]


def test_an_avro_payload_is_framed_with_the_id_of_its_schema_and_read_as_json(codec):
    import decimal

    out = io.BytesIO()
    fastavro.schemaless_writer(
        out, fastavro.parse_schema(json.loads(AVRO)), {"total": decimal.Decimal("12.30"), "note": "é"}
    )
    records = written(codec, message(out.getvalue(), "avro", AVRO))
    (version,) = codec[1].versions("order-shop.OrderPlaced")
    assert (version.type, version.text) == ("AVRO", AVRO)
    assert records.values == [b"\0" + version.id.to_bytes(4, "big") + out.getvalue()]
    assert RecordDecoder(codec[1]).decode(records) == [message('{"total":"12.30","note":"é"}')]


def test_an_avro_payload_that_is_damaged_is_refused(codec):
    records = written(codec, message(b"\x02", "avro", AVRO))
    with pytest.raises(DecodeError):
        RecordDecoder(codec[1]).decode(records)


def test_a_payload_that_looks_like_a_frame_is_not_taken_for_one(codec):
    """A message between changes, whose bytes begin as the changes' values do."""
    first = change(1)
    producer = Producer("s", "postgresql", "1", ())
    records = written(codec, first, producer=producer)
    before = message(records.values[0][:5] + b"rest", "bytes")
    before.transaction.origin = ()
    events = [first, before, change(2)]
    records = written(codec, *events, producer=producer)
    assert RecordDecoder(codec[1]).decode(records) == events


def test_what_is_no_message_is_refused(codec):
    with pytest.raises(SchemaError, match="no message"):
        written(codec, message("{}", operation=Operation.DELETE))
    with pytest.raises(SchemaError, match="not Unicode"):
        written(codec, message("\ud800"))
    with pytest.raises(SchemaError, match="no Avro schema"):
        written(codec, message(b"", "avro", '{"type": "nonsense"}'))


def test_a_record_whose_headers_are_damaged_is_refused(codec):
    records = written(codec, message("{}"))
    for at in range(len(records.headers[0])):
        name = records.headers[0][at][0]
        if name in ("message", "op", "order", "id", "created_at", "source", "position"):
            damaged = records[:]
            damaged.headers[0] = tuple(h for h in records.headers[0] if h[0] != name)
            if name == "message":
                continue
            with pytest.raises(DecodeError):
                RecordDecoder(codec[1]).decode(damaged)
