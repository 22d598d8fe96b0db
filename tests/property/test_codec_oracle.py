"""Every byte of the Avro codec is read by fastavro, from the registered schema, as the same value."""

from __future__ import annotations

import datetime
import io
import json
from decimal import Decimal

import fastavro
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liberator.codec.avro import AvroCodec
from liberator.codec.avro_schema import names
from liberator.event import ABSENT
from liberator.log import Records
from liberator.registry.memory import MemoryRegistry
from liberator.schema import ESCAPABLE, Kind, LogicalType
from tests.codec_cases import PRODUCER, float32, histories

slow = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
    max_examples=max(1, settings().max_examples // 2),  # each compiles some tables
)


def without_logical_types(schema):
    """The schema as bytes see it: fastavro then gives ints and bytes, whatever their range."""
    if isinstance(schema, dict):
        return {
            k: without_logical_types(v) for k, v in schema.items() if k not in ("logicalType", "liberator")
        }
    return [without_logical_types(v) for v in schema] if isinstance(schema, list) else schema


def read(registry, data: bytes, logical: bool):
    assert data[0] == 0
    schema = json.loads(registry.get(int.from_bytes(data[1:5], "big")).text)
    file = io.BytesIO(data[5:])
    parsed = fastavro.parse_schema(schema if logical else without_logical_types(schema))
    value = fastavro.schemaless_reader(file, parsed, None)
    assert file.tell() == len(data) - 5
    return value


def number(data: bytes) -> int:
    assert len(data) == 1 or data[:2] not in (b"\0", b"\xff") or (data[0] ^ data[1]) & 128, (
        "longer than needed"
    )
    return int.from_bytes(data, "big", signed=True)


def physical(type_: LogicalType, raw):
    """The physical value that fastavro's raw value means."""
    kind = type_.kind
    if raw is None:
        return None
    if kind in ESCAPABLE and isinstance(raw, dict) and raw.keys() == {"text"}:
        return raw["text"]
    if kind is Kind.UINT64:
        return number(raw)
    if kind is Kind.DECIMAL and isinstance(raw, bytes):
        assert type_.scale is not None and type_.scale >= 0
        return number(raw)
    if kind is Kind.DECIMAL and type_.scale is None:
        return number(raw["unscaled"]), raw["scale"]
    if kind is Kind.DECIMAL:
        assert raw["scale"] == type_.scale
        return number(raw["unscaled"])
    if kind is Kind.INTERVAL:
        return raw["months"], raw["days"], raw["micros"]
    if kind is Kind.GEOMETRY:
        return raw["wkb"], raw["srid"]
    if kind is Kind.ARRAY:
        return tuple(physical(type_.item, item) for item in raw)
    return raw


def row(schema, raw, missing=()):
    if raw is None:
        return None
    fields = names(schema.columns)
    assert list(raw) == list(fields)
    for field in missing:
        assert raw[field] is None
    return tuple(
        ABSENT if field in missing else physical(column.type, raw[field])
        for field, column in zip(fields, schema.columns, strict=True)
    )


def key(schema, raw):
    fields = names(schema.columns)
    assert list(raw) == [fields[i] for i in schema.key]
    return tuple(physical(schema.columns[i].type, raw[fields[i]]) for i in schema.key)


@slow
@given(histories())
def test_fastavro_reads_every_change(events):
    registry, records = MemoryRegistry(), Records()
    AvroCodec(registry).encoder(PRODUCER)(events, records)
    live = [(k, v) for k, v in zip(records.keys, records.values, strict=True) if v is not None]
    for event, (key_data, data) in zip(events, live, strict=True):
        found, schema, transaction = read(registry, data, logical=False), event.schema, event.transaction
        assert repr(row(schema, found["before"], found["unavailable_before"])) == repr(event.before)
        assert repr(row(schema, found["after"], found["unavailable"])) == repr(event.after)
        assert found["op"] == event.operation.value
        assert found["transaction"] == {
            "id": transaction.id,
            "total_order": event.ordinal,
            "data_collection_order": event.table_ordinal,
        }
        assert found["source"] == {
            "version": PRODUCER.version,
            "connector": PRODUCER.connector,
            "name": PRODUCER.name,
            "db": schema.database,
            "schema": schema.schema,
            "table": schema.table,
            "snapshot": event.phase.value,
            "ts_ms": transaction.timestamp // 1000,
            "ts_us": transaction.timestamp,
            "epoch": transaction.position.epoch,
            "major": transaction.position.major,
            **dict(zip(("txId", "lsn", "note"), transaction.origin, strict=True)),
        }
        moved = found.get("moved")
        assert repr(None if moved is None else key(schema, moved)) == repr(event.moved)
        assert (key_data is None) == (event.key is None)
        if key_data is not None:
            assert repr(key(schema, read(registry, key_data, logical=False))) == repr(event.key)


@slow
@given(histories())
def test_fastavro_reads_every_entity(events):
    events = [e for e in events if e.schema.key]
    registry, records = MemoryRegistry(), Records()
    AvroCodec(registry, "entity").encoder(PRODUCER)(events, records)
    for event, record in zip(events, records, strict=True):
        assert (record.value is None) == (event.after is None)
        if record.value is not None:
            found = row(event.schema, read(registry, record.value, logical=False))
            expected = tuple(None if value is ABSENT else value for value in event.after)
            assert repr(found) == repr(expected)
        if record.key is not None:
            assert repr(key(event.schema, read(registry, record.key, logical=False))) == repr(event.key)


EPOCH = datetime.datetime(1970, 1, 1)
MICROS = st.integers(-(10**15), 10**16)


def logical(type_: LogicalType, value):
    """What fastavro makes of a physical value by its logical type."""
    match type_.kind:
        case Kind.UINT64:
            return Decimal(value)
        case Kind.DECIMAL:
            return Decimal(value).scaleb(-type_.scale)
        case Kind.DATE:
            return datetime.date(1970, 1, 1) + datetime.timedelta(value)
        case Kind.TIME:
            return (EPOCH + datetime.timedelta(microseconds=value)).time()
        case Kind.TIMESTAMP:
            return EPOCH + datetime.timedelta(microseconds=value)
        case Kind.TIMESTAMPTZ:
            return EPOCH.replace(tzinfo=datetime.UTC) + datetime.timedelta(microseconds=value)
        case Kind.UUID:
            return __import__("uuid").UUID(value)
        case Kind.FLOAT32:
            return float32(value)
        case _:
            return value


LOGICAL = {
    LogicalType(Kind.UINT64): st.integers(0, 2**64 - 1),
    LogicalType(Kind.DECIMAL, 10, 2): st.integers(-(10**10) + 1, 10**10 - 1),
    LogicalType(Kind.DECIMAL, 3, 5): st.integers(-999, 999),
    LogicalType(Kind.DATE): st.integers(-700_000, 2_000_000),
    LogicalType(Kind.TIME): st.integers(0, 86_400_000_000 - 1),
    LogicalType(Kind.TIMESTAMP): MICROS,
    LogicalType(Kind.TIMESTAMPTZ): MICROS,
    LogicalType(Kind.UUID): st.uuids().map(str),
    LogicalType(Kind.FLOAT32): st.floats(width=32, allow_nan=False),
    LogicalType(Kind.FLOAT64): st.floats(allow_nan=False),
    LogicalType(Kind.BOOL): st.booleans(),
    LogicalType(Kind.BYTES): st.binary(),
    LogicalType(Kind.JSON): st.just("{}"),
}


@slow
@given(st.data())
def test_fastavro_knows_our_logical_types(data):
    from liberator.testing.events import create, table, transaction

    types = list(LOGICAL)
    schema = table("t", {f"c{i}": type_ for i, type_ in enumerate(types)})
    values = {f"c{i}": data.draw(LOGICAL[type_]) for i, type_ in enumerate(types)}
    events = transaction(1, create(schema, **values))
    producer = type(PRODUCER)("test", "test", "1", ())
    registry, records = MemoryRegistry(), Records()
    AvroCodec(registry).encoder(producer)(events, records)
    found = read(registry, records.values[0], logical=True)["after"]
    assert found == {f"c{i}": logical(type_, values[f"c{i}"]) for i, type_ in enumerate(types)}
