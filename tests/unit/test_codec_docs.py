"""docs/events.md tells what the codecs do: its tables and examples are compared with them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from liberator.codec import Producer
from liberator.codec.avro import AvroCodec
from liberator.codec.avro_schema import SOURCE_FIELDS, avro_type, change_schema
from liberator.codec.headers import HEADERS
from liberator.codec.json import JsonCodec
from liberator.codec.json_value import nullable
from liberator.event import ABSENT, ChangeEvent, Operation, Position, Transaction
from liberator.log import Records
from liberator.log.memory import MemoryLog
from liberator.registry.memory import MemoryRegistry
from liberator.schema import ESCAPABLE, Column, Kind, LogicalType, TableSchema
from tests.documents import ROOT, blocks_of

PAGE = "docs/events.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
PRODUCER = Producer("shop", "postgresql", "0.1.0", (("txId", "long"), ("lsn", "long")))
ORDERS = TableSchema(
    "postgres",
    "shop",
    "public",
    "orders",
    (
        Column("id", LogicalType(Kind.INT64), nullable=False, key=0, native="bigint"),
        Column("status", LogicalType(Kind.STRING), native="text"),
        Column("amount", LogicalType(Kind.DECIMAL, 10, 2), native="numeric(10,2)"),
        Column("placed_at", LogicalType(Kind.TIMESTAMPTZ), native="timestamp with time zone"),
        Column("note", LogicalType(Kind.STRING), native="text"),
    ),
)
COMMIT = Transaction("571", Position(0, 24023128), 1_700_000_001_500_250, (571, 24023128))
PAID = (7, "paid", 1230, 1_700_000_000_000_000, ABSENT)
UPDATE = ChangeEvent(Operation.UPDATE, "shop.public.orders", ORDERS, None, PAID, COMMIT, 1, 1)


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[1:]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def encoded(codec, event):
    registry, records = MemoryRegistry(), Records()
    codec(registry).encoder(PRODUCER)([event], records)
    return registry, records


def test_the_example_is_what_the_json_codec_writes():
    example = json.loads(blocks_of(PAGE, "json")[0].text)
    _, records = encoded(JsonCodec, UPDATE)
    written = json.loads(records.values[0][5:])
    assert list(written) == list(example)
    assert written | {"ts_ms": 0} == example | {"ts_ms": 0}


def test_every_field_of_change_is_told():
    told = {name for row in table("The envelope `change`") for name in code(row[0])}
    schema = change_schema(ORDERS, "shop.public.orders", PRODUCER)
    fields = {field["name"] for field in schema["fields"]} - {"source", "transaction"}
    fields |= {f"source.{name}" for name, _ in SOURCE_FIELDS} | {"source.…"}
    fields |= {f"transaction.{name}" for name in ("id", "total_order", "data_collection_order")}
    assert told == fields


def test_every_header_is_told_in_its_order():
    assert [code(row[0])[0] for row in table("The envelope `entity`")] == list(HEADERS)


EXAMPLES = {
    "bool": (LogicalType(Kind.BOOL), True),
    "int16": (LogicalType(Kind.INT16), -5),
    "int32": (LogicalType(Kind.INT32), 70000),
    "int64": (LogicalType(Kind.INT64), 2**53 + 1),
    "uint64": (LogicalType(Kind.UINT64), 2**64 - 1),
    "float32": (LogicalType(Kind.FLOAT32), 1.5),
    "float64": (LogicalType(Kind.FLOAT64), float("nan")),
    "decimal(10,2)": (LogicalType(Kind.DECIMAL, 10, 2), 1230),
    "decimal": (LogicalType(Kind.DECIMAL), (1250, 4)),
    "string": (LogicalType(Kind.STRING), "paid"),
    "bytes": (LogicalType(Kind.BYTES), b"\0\xff"),
    "date": (LogicalType(Kind.DATE), 19675),
    "time": (LogicalType(Kind.TIME), 3_600_000_000),
    "timestamp": (LogicalType(Kind.TIMESTAMP), 1_700_000_000_000_000),
    "timestamptz": (LogicalType(Kind.TIMESTAMPTZ), 1_700_000_000_000_000),
    "interval": (LogicalType(Kind.INTERVAL), (14, 3, 1_000_000)),
    "uuid": (LogicalType(Kind.UUID), "6f8ad5c0-1c5e-4f1c-9d5a-0a4a2d7c8e11"),
    "json": (LogicalType(Kind.JSON), '{"a": 1}'),
    "enum": (LogicalType(Kind.ENUM, values=("red", "green")), "red"),
    "array(int32)": (LogicalType(Kind.ARRAY, item=LogicalType(Kind.INT32)), (1, None)),
    "bits": (LogicalType(Kind.BITS), "0101"),
    "geometry": (LogicalType(Kind.GEOMETRY), (b"\1", 4326)),
    "native(ltree)": (LogicalType(Kind.NATIVE, name="ltree"), "a.b.c"),
}


def test_every_logical_type_is_told():
    assert [code(row[0])[0] for row in table("Types")] == list(EXAMPLES)
    assert {type_.kind for type_, _ in EXAMPLES.values()} == set(Kind)
    assert all(str(type_) == name for name, (type_, _) in EXAMPLES.items())


@pytest.mark.parametrize("row", table("Types"), ids=lambda row: row[0].strip("`"))
def test_a_type_is_written_as_told(row):
    type_, value = EXAMPLES[code(row[0])[0]]
    written = avro_type(type_, set())
    if row[1].startswith("record"):
        name, *fields = code(row[1])
        assert written["type"] == "record"
        assert written["name"] == name
        assert [field["name"] for field in written["fields"]] == fields
    else:
        assert json.loads(code(row[1])[0]) == written
    write, _ = nullable(type_)
    assert json.loads(code(row[3])[0]) == write(value)


def test_the_types_that_may_have_escapes_are_named():
    sentence = re.search(r"Columns of the types ([^.]*?)\s+may have escapes", TEXT)[1]
    assert set(re.findall(r"[a-z]+", sentence)) - {"and"} == {kind.value for kind in ESCAPABLE}
    write, _ = nullable(LogicalType(Kind.DATE))
    assert f"`{json.dumps(write('infinity'))}`" in TEXT


def test_the_programs_run(capsys):
    fastavro_way, short_way = (block.text for block in blocks_of(PAGE, "python"))
    registry, records = encoded(AvroCodec, UPDATE)
    exec(fastavro_way, {"value": records.values[0], "schema": lambda number: registry.get(number).text})
    assert capsys.readouterr().out == "u 12.30 ['note']\n"

    from liberator.source import State

    with MemoryLog() as log:
        written = Records()
        AvroCodec(log.registry).encoder(PRODUCER)([UPDATE, replace(UPDATE, ordinal=2)], written)
        log.append("shop", written, State(Position(0, 24023128, 2)))
        exec(short_way, {"log": log})
    assert capsys.readouterr().out.count("shop.public.orders {'op': 'u'") == 2


def test_what_people_see_is_told():
    from liberator.codec.plain import interval_text, timestamp_text

    assert f"`{timestamp_text(1_700_000_000_000_000)}Z`" in TEXT
    assert f"`{interval_text((14, 3, 1_000_000))}`" in TEXT
