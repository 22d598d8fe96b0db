"""Bytes that nobody meant: every decoder of pgoutput and copy gives the right answer or a DecodeError."""

from __future__ import annotations

import datetime
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.postgres.types.copying import compile_block_decoder, compile_copy_decoder
from connectors.postgres.wal import pgoutput
from connectors.postgres.wal.rows import RelationDecoder
from connectors.postgres.wal.tuples import TupleReader
from liberator.errors import DecodeError
from liberator.event import ABSENT
from liberator.schema import Kind, LogicalType
from tests import wire
from tests.typetext import render, same

DECIMAL = LogicalType(Kind.DECIMAL, 12, 3)
ENUM = LogicalType(Kind.ENUM, values=("a", "b c", "ü"))
TYPES = [
    LogicalType(Kind.INT64),
    LogicalType(Kind.INT16),
    DECIMAL,
    LogicalType(Kind.DECIMAL, 30, 20),
    LogicalType(Kind.DECIMAL, 5, 0),
    LogicalType(Kind.DECIMAL),
    LogicalType(Kind.BOOL),
    ENUM,
    LogicalType(Kind.STRING),
    LogicalType(Kind.BYTES),
    LogicalType(Kind.FLOAT64),
    LogicalType(Kind.FLOAT32),
    LogicalType(Kind.DATE),
    LogicalType(Kind.TIME),
    LogicalType(Kind.TIMESTAMP),
    LogicalType(Kind.TIMESTAMPTZ),
    LogicalType(Kind.INTERVAL),
    LogicalType(Kind.UUID),
    LogicalType(Kind.JSON),
    LogicalType(Kind.BITS),
    LogicalType(Kind.NATIVE, name="inet"),
    LogicalType(Kind.ARRAY, item=LogicalType(Kind.STRING)),
    LogicalType(Kind.ARRAY, item=DECIMAL),
    LogicalType(Kind.ARRAY, item=ENUM),
]
TABLE = wire.schema(*TYPES)
IDENTITY = [i % 3 == 0 for i in range(len(TYPES))]
DECODER = RelationDecoder(TABLE, IDENTITY)
REFERENCE = TupleReader(TABLE, IDENTITY)
COPY = compile_copy_decoder(TABLE)
BLOCK = compile_block_decoder(TABLE)

MICROS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


def values(type_: LogicalType) -> st.SearchStrategy[Any]:  # noqa: PLR0912
    """Physical values of a type, escapes included."""
    match type_.kind:
        case Kind.INT64:
            return st.integers(-(2**63), 2**63 - 1)
        case Kind.INT16:
            return st.integers(-(2**15), 2**15 - 1)
        case Kind.DECIMAL if type_.precision is not None:
            limit = 10**type_.precision - 1
            return st.integers(-limit, limit) | st.sampled_from(["NaN", "Infinity", "-Infinity"])
        case Kind.DECIMAL:
            return st.tuples(st.integers(), st.integers(0, 40)) | st.just("NaN")
        case Kind.BOOL:
            return st.booleans()
        case Kind.ENUM:
            return st.sampled_from(type_.values)
        case Kind.BYTES:
            return st.binary(max_size=300)
        case Kind.FLOAT64:
            return st.floats(allow_nan=False)
        case Kind.FLOAT32:
            return st.floats(width=32, allow_nan=False)
        case Kind.DATE:
            days = st.dates().map(lambda day: day.toordinal() - datetime.date(1970, 1, 1).toordinal())
            return days | st.sampled_from(["infinity", "-infinity", "0044-03-15 BC", "10000-01-01"])
        case Kind.TIME:
            return st.integers(0, 86_400_000_000 - 1) | st.just("24:00:00")
        case Kind.TIMESTAMP:
            odd = ["infinity", "-infinity", "0044-03-15 00:00:00 BC", "294276-12-31 23:59:59.999999"]
            return MICROS | st.sampled_from(odd)
        case Kind.TIMESTAMPTZ:
            odd = ["infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "10000-01-01 00:00:00.5+00"]
            return MICROS | st.sampled_from(odd)
        case Kind.INTERVAL:
            small = st.integers(-(2**31), 2**31 - 1)
            return st.tuples(small, small, st.integers(-(2**63), 2**63 - 1)) | st.just("infinity")
        case Kind.UUID:
            return st.uuids().map(str)
        case Kind.BITS:
            return st.text("01")
        case Kind.ARRAY:
            assert type_.item is not None
            return st.lists(st.none() | values(type_.item), max_size=4).map(tuple) | st.sampled_from(
                ["{{1,2},{3,4}}", "[0:1]={1,2}"]
            )
        case _:
            return TEXT


def encode(type_: LogicalType, value: Any) -> Any:
    """As it stands on the wire."""
    if value is None or value is ABSENT:
        return value
    text = value if isinstance(value, str) else render(type_, value)
    return text.encode()


ROWS = st.tuples(*(st.none() | values(type_) for type_ in TYPES))
FULL_ROWS = st.tuples(*(values(type_) for type_ in TYPES))
SENT_ROWS = st.tuples(*(st.sampled_from([None, ABSENT]) | values(type_) for type_ in TYPES))


def on_wire(row: tuple[Any, ...]) -> list[Any]:
    return [encode(type_, value) for type_, value in zip(TYPES, row, strict=True)]


@given(FULL_ROWS | SENT_ROWS)
def test_inserts_round_trip(row: tuple[Any, ...]) -> None:
    assert same(DECODER.insert(wire.insert(on_wire(row)), 0), row)


@given(FULL_ROWS | SENT_ROWS, FULL_ROWS | ROWS)
def test_updates_and_deletes_round_trip(new: tuple[Any, ...], old: tuple[Any, ...]) -> None:
    filled = tuple(was if now is ABSENT else now for was, now in zip(old, new, strict=True))
    key = tuple(value if keyed else ABSENT for value, keyed in zip(old, IDENTITY, strict=True))
    key_wire = [None if value is ABSENT else value for value in on_wire(key)]
    by_key = tuple(was if now is ABSENT else now for was, now in zip(key, new, strict=True))
    assert same(DECODER.update(wire.update(on_wire(new)), 0), (None, new, None))
    assert same(DECODER.update(wire.update(on_wire(new), on_wire(old)), 0), (old, filled, ord("O")))
    assert same(DECODER.update(wire.update(on_wire(new), key_wire, b"K"), 0), (key, by_key, ord("K")))
    assert same(DECODER.delete(wire.delete(on_wire(old)), 0), (old, ord("O")))
    assert same(DECODER.delete(wire.delete(key_wire, b"K"), 0), (key, ord("K")))


@given(FULL_ROWS | ROWS, st.sampled_from([b"\n", b""]))
def test_copy_lines_round_trip(row: tuple[Any, ...], end: bytes) -> None:
    assert same(COPY(wire.copy_line(on_wire(row)).removesuffix(b"\n") + end), row)


@given(st.lists(FULL_ROWS | ROWS, max_size=5))
def test_blocks_of_copy_lines_round_trip(rows: list[tuple[Any, ...]]) -> None:
    read = BLOCK(b"".join(wire.copy_line(on_wire(row)) for row in rows))
    assert len(read) == len(rows)
    assert all(map(same, read, rows))


def outcome(function: Any, *args: Any) -> Any:
    """The function's answer, or DecodeError itself; any other exception is the test's failure."""
    try:
        return function(*args)
    except DecodeError as exc:
        assert exc.__suppress_context__ or exc.__context__ is None
        return DecodeError


def agree(compiled: Any, plain: Any, *args: Any) -> None:
    """Where the plain reader has an answer, the compiled decoder has it too."""
    expected, got = outcome(plain, *args), outcome(compiled, *args)
    assert expected is DecodeError or (got is not DecodeError and same(got, expected))


CHANGES = [
    ("insert", lambda row, old: wire.insert(row)),
    ("update", lambda row, old: wire.update(row)),
    ("update", wire.update),
    ("delete", lambda row, old: wire.delete(old)),
]


@pytest.mark.parametrize(("name", "message"), CHANGES)
@given(data=st.data())
def test_a_row_change_cut_short_is_always_refused(name: str, message: Any, data: st.DataObject) -> None:
    row, old = on_wire(data.draw(FULL_ROWS | SENT_ROWS)), on_wire(data.draw(FULL_ROWS | ROWS))
    whole = message(row, old)
    end = data.draw(st.integers(1, len(whole) - 1))
    assert outcome(getattr(DECODER, name), whole[:end], 0) is DecodeError


@pytest.mark.parametrize(("name", "message"), CHANGES)
@given(data=st.data())
def test_a_damaged_row_change_is_refused_or_read_as_the_plain_reader_does(
    name: str, message: Any, data: st.DataObject
) -> None:
    row, old = on_wire(data.draw(FULL_ROWS | SENT_ROWS)), on_wire(data.draw(FULL_ROWS | ROWS))
    damaged = bytearray(message(row, old))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(5, len(damaged) - 1))
        match data.draw(st.sampled_from(["change", "insert", "remove"])):
            case "change":
                damaged[at] = data.draw(st.integers(0, 255))
            case "insert":
                damaged[at:at] = data.draw(st.binary(min_size=1, max_size=5))
            case "remove":
                del damaged[at : at + data.draw(st.integers(1, 5))]
    agree(getattr(DECODER, name), getattr(REFERENCE, name), bytes(damaged), 0)


TAGS = st.sampled_from(
    [b"", b"t\0\0\0", b"n", b"u", b"\0\x18", b"N", b"K", b"O", b"t\0\0\0\x011", b"t\xff\xff\xff\xff"]
)
NOISE = st.lists(TAGS | st.binary(max_size=8), max_size=60).map(b"".join)


@given(st.sampled_from(["insert", "update", "delete"]), NOISE, st.integers(0, 12))
@example("insert", b"I\0\0\x40\0N" + b"\0\x18" + b"n" * 24, 0)
def test_noise_is_never_anything_but_refused_or_read_plainly(name: str, data: bytes, offset: int) -> None:
    agree(getattr(DECODER, name), getattr(REFERENCE, name), data, offset)


@given(st.sampled_from(sorted("BCORYTMIUDSEcAbPKrpX\0")), st.binary(max_size=60))
def test_any_message_is_parsed_or_refused(kind: str, rest: bytes) -> None:
    outcome(pgoutput.parse, kind.encode() + rest, 0)


@given(st.binary(max_size=60), st.integers(0, 70))
def test_any_bytes_are_parsed_or_refused(data: bytes, offset: int) -> None:
    outcome(pgoutput.parse, data, offset)


FIELDS = st.sampled_from([b"\\N", b"\t", b"\\", b"\n", b"1", b"t", b"{", b"}", b"2024-01-01", b"\\\\x"])


@given(st.lists(FIELDS | st.binary(max_size=6), max_size=60).map(b"".join))
def test_any_copy_line_is_decoded_or_refused(line: bytes) -> None:
    outcome(COPY, line)
    outcome(BLOCK, line)


@pytest.mark.parametrize("type_", TYPES, ids=str)
@given(data=st.data())
def test_any_text_that_the_plain_reader_takes_is_read_alike_by_all_decoders(
    type_: LogicalType, data: st.DataObject
) -> None:
    decoder, reader = DECODERS[type_]
    text = data.draw(st.text('0123456789-+:.,{}[]"\\ eENaInfityBCdmonsyears\u0663', max_size=30))
    message, line = wire.insert([text.encode()]), wire.copy_line([text.encode()])
    expected = outcome(reader.insert, message, 0)
    if expected is not DecodeError:
        assert same(outcome(decoder.insert, message, 0), expected)
        assert same(outcome(COPIES[type_], line), expected)
        other = values(type_).map(lambda value: encode(type_, value))
        lines = [wire.copy_line([data.draw(st.none() | other)]), line, wire.copy_line([data.draw(other)])]
        assert same(outcome(BLOCKS[type_], b"".join(lines))[1], expected)


ONE = {type_: wire.schema(type_) for type_ in TYPES}
DECODERS = {
    type_: (RelationDecoder(table, [True]), TupleReader(table, [True])) for type_, table in ONE.items()
}
BLOCKS = {type_: compile_block_decoder(table) for type_, table in ONE.items()}
COPIES = {type_: compile_copy_decoder(table) for type_, table in ONE.items()}
LSN = struct.Struct(">Q")


@given(st.integers(0, 2**64 - 1), st.integers(-(2**62), 2**62), st.integers(0, 2**32 - 1))
def test_begin_round_trips(lsn: int, timestamp: int, xid: int) -> None:
    data = b"B" + LSN.pack(lsn) + struct.pack(">qI", timestamp, xid)
    assert pgoutput.parse(data) == pgoutput.Begin(lsn, timestamp + 946_684_800_000_000, xid)
