"""Rows events of generated tables, and damaged ones: the compiled decoder agrees with the plain reader, and
whatever the bytes, the answer is rows or a typed error."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mysql.images import ImageReader
from connectors.mysql.native import NativeType, TypeOptions
from connectors.mysql.rows import RowsDecoder
from connectors.mysql.table_map import MapColumn, TableMap, Wire
from connectors.mysql.text_rows import TextRows
from connectors.mysql.types import from_table_map
from connectors.mysql.values import decimals
from connectors.mysql.wire import kinds
from connectors.mysql.wire.files import read_stream
from connectors.mysql.wire.payload import payload_blocks
from liberator.errors import DecodeError, SchemaError
from liberator.schema import Column
from tests.corpora import corpus

ROWS = (kinds.WRITE_ROWS, kinds.DELETE_ROWS, kinds.WRITE_ROWS_V1, kinds.DELETE_ROWS_V1)
OPTIONS = TypeOptions(zero_dates="string")

#: How a column is mapped, its type, and the bytes of values that it can hold (without a length before them).
_text = st.text(max_size=8).map(lambda text: text.encode("utf-8", "ignore"))


def stored_decimal(precision: int, scale: int) -> st.SearchStrategy[bytes]:
    def store(value: int) -> bytes:
        out, rest = [], abs(value)
        for count, digits in reversed(decimals.groups(precision, scale)):
            rest, group = divmod(rest, 10**digits)
            out.append(group.to_bytes(count, "big"))
        data = bytearray(b"".join(reversed(out)))
        data[0] ^= 0x80
        return bytes(byte ^ 0xFF for byte in data) if value < 0 else bytes(data)

    return st.integers(1 - 10**precision, 10**precision - 1).map(store)


def column(native: str, wire: Wire, values: st.SearchStrategy[bytes], **more: Any) -> tuple[Any, ...]:
    return native, MapColumn(wire, True, **more), values


def sized(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


KINDS = [
    column("tinyint", Wire.TINY, sized(1)),
    column("smallint unsigned", Wire.SHORT, sized(2), unsigned=True),
    column("mediumint", Wire.INT24, sized(3)),
    column("int", Wire.LONG, sized(4)),
    column("bigint unsigned", Wire.LONGLONG, sized(8), unsigned=True),
    column("double", Wire.DOUBLE, st.floats(allow_nan=False).map(lambda v: struct.pack("<d", v))),
    column("decimal(12,2)", Wire.NEWDECIMAL, stored_decimal(12, 2), precision=12, scale=2),
    column("decimal(65,30)", Wire.NEWDECIMAL, stored_decimal(65, 30), precision=65, scale=30),
    column("decimal(5,0)", Wire.NEWDECIMAL, stored_decimal(5, 0), precision=5, scale=0),
    column("varchar(10)", Wire.VARCHAR, _text, length=40, collation=255),
    column("varchar(100)", Wire.VARCHAR, _text, length=400, collation=255),
    column("varchar(9) character set latin1", Wire.VARCHAR, st.binary(max_size=9), length=9, collation=8),
    column("longtext", Wire.BLOB, _text, length=4, collation=255),
    column("mediumblob", Wire.BLOB, st.binary(max_size=9), length=3, collation=63),
    column("binary(4)", Wire.STRING, st.binary(max_size=4), length=4, collation=63),
    column("year", Wire.YEAR, sized(1)),
    column("enum('a','b')", Wire.ENUM, st.sampled_from([b"\0", b"\1", b"\2"]), length=1, collation=255),
    column("set('a','b')", Wire.SET, st.sampled_from([b"\0", b"\1", b"\3"]), length=1, collation=255),
    column("bit(9)", Wire.BIT, st.integers(0, 511).map(lambda v: v.to_bytes(2, "big")), length=9),
    column("date", Wire.DATE, st.tuples(st.integers(0, 9999), st.integers(0, 12), st.integers(0, 31)).map(
            lambda v: (v[0] << 9 | v[1] << 5 | v[2]).to_bytes(3, "little")
        )),
    *(
        column(
            f"timestamp({n})" if n else "timestamp",
            Wire.TIMESTAMP2,
            st.tuples(st.integers(1, 2**32 - 1), st.integers(0, 99)).map(
                lambda v, n=n: v[0].to_bytes(4, "big") + v[1].to_bytes((n + 1) // 2, "big")
                if n
                else v[0].to_bytes(4, "big")
            ),
            scale=n,
        )
        for n in (0, 2, 3, 6)
    ),
    *(
        column(
            f"datetime({n})" if n else "datetime",
            Wire.DATETIME2,
            st.tuples(
                st.integers(0, 9999), st.integers(0, 12), st.integers(0, 31), st.integers(0, 23),
                st.integers(0, 59), st.integers(0, 59), st.integers(0, 99),
            ).map(
                lambda v, n=n: (
                    1 << 39 | (v[0] * 13 + v[1]) << 22 | v[2] << 17 | v[3] << 12 | v[4] << 6 | v[5]
                ).to_bytes(5, "big") + (v[6].to_bytes((n + 1) // 2, "big") if n else b"")
            ),
            scale=n,
        )
        for n in (0, 1, 4, 6)
    ),
    column("time(3)", Wire.TIME2, st.just(b"\x80\x10\x83\x00\x7b"), scale=3),
]  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> tuple[TableMap, list[Column], list[st.SearchStrategy[bytes]]]:
    chosen = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=12))
    mapped, columns, values = [], [], []
    for i, (native, made, strategy) in enumerate(chosen):
        mapped.append(made)
        columns.append(Column(f"c{i}", NativeType.parse(native).logical(), native=native))
        values.append(strategy)
    return TableMap(1, 0, "x", "t", tuple(mapped), None, None, b""), columns, values


def image(draw: st.DrawFn, table: TableMap, values: list[Any], present: list[int], fill: int) -> bytes:
    """One row image; ``fill`` is what the bits beyond the last column are."""
    out, nulls = b"", fill & -(1 << len(present))
    for place, index in enumerate(present):
        if draw(st.integers(0, 3)) == 0:
            nulls |= 1 << place
            continue
        data, mapped = draw(values[index]), table.columns[index]
        if mapped.wire is Wire.BLOB:
            out += len(data).to_bytes(mapped.length, "little")
        elif mapped.wire in (Wire.VARCHAR, Wire.STRING):
            out += len(data).to_bytes(1 if mapped.length < 256 else 2, "little")
        out += data
    size = (len(present) + 7) // 8
    return (nulls & ((1 << 8 * size) - 1)).to_bytes(size, "little") + out


@st.composite
def events(draw: st.DrawFn) -> tuple[RowsDecoder, int, bytes]:
    table, columns, values = draw(tables())
    kind = draw(st.sampled_from((*ROWS, kinds.UPDATE_ROWS, kinds.UPDATE_ROWS_V1)))
    count = len(columns)
    size = (count + 7) // 8
    extra = b"\x05\x00abc" if kind in (30, 31, 32) else b""
    body = b"\1\0\0\0\0\0\1\0" + extra + bytes([count])
    presents = []
    for _ in range(2 if kind in (kinds.UPDATE_ROWS, kinds.UPDATE_ROWS_V1) else 1):
        present = sorted(draw(st.sets(st.integers(0, count - 1), min_size=1)))
        presents.append(present)
        body += sum(1 << i for i in present).to_bytes(size, "little")
    fill = draw(st.sampled_from((0, -1)))
    for _ in range(draw(st.integers(1, 5))):
        for present in presents:
            body += image(draw, table, values, present, fill)
    return RowsDecoder(table, columns, OPTIONS), kind, body


def read(decoder: RowsDecoder, kind: int, data: bytes, start: int, end: int) -> list[Any]:
    if kind in (kinds.UPDATE_ROWS, kinds.UPDATE_ROWS_V1):
        return list(decoder.changes(kind, data, start, end))
    return decoder.rows(kind, data, start, end)


@given(events())
def test_the_compiled_decoder_agrees_with_the_plain_reader(made: tuple[RowsDecoder, int, bytes]) -> None:
    decoder, kind, body = made
    plain = decoder._reader.read(kind, body)
    padded = b"before" + body + b"\xff" * 30
    assert repr(read(decoder, kind, padded, 6, 6 + len(body))) == repr(plain)
    # And it was not the plain reader who gave that answer.
    decoder._reader = None  # type: ignore[assignment]
    assert repr(read(decoder, kind, body, 0, len(body))) == repr(plain)


@given(events(), st.data())
def test_a_damaged_event_is_a_typed_error_or_what_its_bytes_say(
    made: tuple[RowsDecoder, int, bytes], data: st.DataObject
) -> None:
    decoder, kind, body = made
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    reader: ImageReader = decoder._reader
    for bad in (bytes(damaged), bytes(damaged[:cut]), body[:cut]):
        try:
            expected = repr(reader.read(kind, bad))
        except DecodeError:
            expected = "error"
        # What lies behind an event must not matter.
        for tail in (b"", body):
            try:
                found = repr(read(decoder, kind, bad + tail, 0, len(bad)))
            except DecodeError:
                found = "error"
            assert found == expected


@given(st.binary(max_size=200), st.integers(0, len(KINDS) - 1))
def test_any_bytes_at_all_are_rows_or_a_typed_error(data: bytes, which: int) -> None:
    native, mapped, _ = KINDS[which]
    table = TableMap(1, 0, "x", "t", (mapped,), None, None, b"")
    columns = [Column("c", NativeType.parse(native).logical(), native=native)]
    for parse in (
        lambda: TableMap.parse(data),
        lambda: RowsDecoder(table, columns).rows(23, b"\0" * 8 + b"\1\1" + data, 0, 10 + len(data)),
        lambda: TextRows(columns).decode(data),
        lambda: TextRows(columns).row(data),
    ):
        with contextlib.suppress(DecodeError):
            parse()  # type: ignore[no-untyped-call]


def recorded(name: str, *parts: str) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each event of a recorded binlog file, of compressed transactions what is in them."""
    path = corpus(*parts, name)
    data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    for block in read_stream(io.BytesIO(data), name):
        for event in block.events:
            packed = event[0] == kinds.TRANSACTION_PAYLOAD
            for part in payload_blocks(block.data, event, 1 << 22) if packed else (block,):
                for kind, start, end, *_ in part.events if packed else (event,):
                    yield kind, part.data[start:end]


@pytest.mark.parametrize(
    ("name", "parts", "rows"),
    [
        ("mysql-bin.checksum-crc32", ("mysql-binlog-files",), 63),
        ("mysql-bin.compressed", ("mysql-binlog-files",), 1),
        ("mysql-bin.sakila.gz", ("sakila", "mysql-binlog"), 47_273),
    ],
)
def test_recorded_events_are_read_alike_whole_and_damaged(
    name: str, parts: tuple[str, ...], rows: int
) -> None:
    count = 0
    maps: dict[int, TableMap] = {}
    decoders: dict[bytes, RowsDecoder] = {}
    for number, (kind, body) in enumerate(recorded(name, *parts)):
        if kind == kinds.TABLE_MAP:
            maps[int.from_bytes(body[:6], "little")] = TableMap.parse(body)
        elif kind in (*ROWS, kinds.UPDATE_ROWS, kinds.UPDATE_ROWS_V1):
            table = maps[int.from_bytes(body[:6], "little")]
            decoder = decoders.get(table.layout)
            if decoder is None:
                decoder = decoders[table.layout] = RowsDecoder(table, described(table), OPTIONS)
            found = read(decoder, kind, body, 0, len(body))
            assert repr(found) == repr(decoder._reader.read(kind, body))
            count += len(found)
            if number % 8:
                continue
            for cut in (len(body) - 1, len(body) // 2, 11):
                try:
                    assert len(read(decoder, kind, body[:cut], 0, cut)) < len(found)
                except SchemaError:
                    continue
            bad = bytearray(body)
            bad[number * 7919 % len(bad)] ^= 1 << number % 8
            try:
                read(decoder, kind, bytes(bad), 0, len(bad))
            except DecodeError:
                continue
    assert count == rows


NATIVE = {
    Wire.TINY: "tinyint", Wire.SHORT: "smallint", Wire.INT24: "mediumint", Wire.LONG: "int",
    Wire.LONGLONG: "bigint", Wire.FLOAT: "float", Wire.DOUBLE: "double", Wire.YEAR: "year",
    Wire.DATE: "date", Wire.TIMESTAMP: "timestamp", Wire.DATETIME: "datetime", Wire.TIME: "time",
    Wire.TIMESTAMP2: "timestamp({0})", Wire.DATETIME2: "datetime({0})", Wire.TIME2: "time({0})",
    Wire.GEOMETRY: "geometry", Wire.JSON: "json",
}  # fmt: skip


def described(table: TableMap) -> tuple[Column, ...]:
    """Columns for a table map that does not tell its own: text as bytes, labels by number."""
    if table.full:
        return from_table_map(table, (), OPTIONS)
    columns = []
    for i, mapped in enumerate(table.columns):
        if mapped.wire in NATIVE:
            native = NATIVE[mapped.wire].format(mapped.scale)
        elif mapped.wire is Wire.NEWDECIMAL:
            native = f"decimal({mapped.precision},{mapped.scale})"
        elif mapped.wire is Wire.BIT:
            native = f"bit({mapped.length})"
        elif mapped.wire in (Wire.ENUM, Wire.SET):
            labels = ",".join(f"'{n}'" for n in range(8 if mapped.wire is Wire.SET else 99))
            native = f"{mapped.wire.name.lower()}({labels})"
        else:
            native = "varbinary(65535)" if mapped.length > 4 else "longblob"
        columns.append(Column(f"c{i}", NativeType.parse(native).logical(), native=native))
    return tuple(columns)
