"""Values as MySQL and MariaDB store them: what no server of the tests writes, and what is damaged."""

from __future__ import annotations

import struct

import pytest

from connectors.mysql.row_packets import is_part, is_row, packet_end
from connectors.mysql.table_map import TableMap, Wire
from connectors.mysql.text_rows import TextRows
from connectors.mysql.values import charsets, decimals, temporal
from connectors.mysql.values.compressed import uncompress
from connectors.mysql.values.json import json_text
from connectors.mysql.values.json_diff import apply
from liberator.errors import DecodeError, SchemaError
from liberator.schema import Column, Kind, LogicalType

INT = LogicalType(Kind.INT32)
#: Of a table x.t with the columns a int unsigned, e enum('p','q') character set latin1, b bit(9).
MAP = bytes.fromhex(
    "6a00000000000100017800017400 03 03fe10 04 f701 0101 07".replace(" ", "")
) + bytes.fromhex("0101800406016101650162 06050201700171 0a0108 ff020000".replace(" ", ""))


def test_a_table_map_tells_all_that_is_in_it_and_passes_over_what_is_unknown() -> None:
    table = TableMap.parse(MAP)
    assert (table.id, table.database, table.table, table.full) == (106, "x", "t", True)
    a, e, b = table.columns
    assert (a.wire, a.unsigned, a.nullable, a.name) == (Wire.LONG, True, True, "a")
    assert (e.wire, e.length, e.labels, e.collation) == (Wire.ENUM, 1, (b"p", b"q"), 8)
    assert (b.wire, b.length) == (Wire.BIT, 9)


def test_another_table_id_leaves_the_layout_as_it_is() -> None:
    first, other = TableMap.parse(MAP), TableMap.parse(b"\x6b" + MAP[1:])
    assert (first.id, other.id) == (106, 107)
    assert first.layout == other.layout


def test_a_table_map_cut_anywhere_is_a_typed_error_or_lacks_whole_fields() -> None:
    for cut in range(len(MAP)):
        try:
            table = TableMap.parse(MAP[:cut])
        except DecodeError:
            continue
        assert len(table.columns) == 3


def test_a_char_of_more_than_255_bytes_has_bits_of_its_length_beside_its_type() -> None:
    body = bytes.fromhex("6a00000000000100017800017400 01 fe 02 ceff 00".replace(" ", ""))
    (column,) = TableMap.parse(body).columns
    assert (column.wire, column.length) == (Wire.STRING, 1023)


@pytest.mark.parametrize(
    ("mariadb", "collations"),
    [(False, [33, None, 63, 46]), (True, [33, 63, 63, 46])],
)
def test_columns_of_another_character_set_than_most_are_told_by_their_number(
    mariadb: bool, collations: list[int | None]
) -> None:
    """Among those that have one: to MariaDB that is also a geometry."""
    columns = "04 fcfffcfc 04 02040202 00"
    field = "02 05 3f 0021 032e" if mariadb else "02 05 3f 0021 022e"
    body = bytes.fromhex(f"6a00000000000100017800017400 {columns} {field}".replace(" ", ""))
    table = TableMap.parse(body, mariadb=mariadb)
    assert [column.wire for column in table.columns] == [Wire.BLOB, Wire.GEOMETRY, Wire.BLOB, Wire.BLOB]
    assert [column.collation for column in table.columns] == collations
    each = bytes.fromhex("0304213f3f2e" if mariadb else "0303213f2e")
    assert TableMap.parse(body[:-7] + each, mariadb=mariadb).columns == table.columns


@pytest.mark.parametrize("digits", range(1, 66))
def test_decimals_of_every_precision_hold_their_least_and_greatest(digits: int) -> None:
    for scale in {0, digits // 2, min(digits, 30)}:
        size = decimals.size(digits, scale)
        for value in (0, 10**digits - 1, -(10**digits - 1), 1, -1):
            groups, rest = [], abs(value)
            for count, width in reversed(decimals.groups(digits, scale)):
                rest, group = divmod(rest, 10**width)
                groups.append(group.to_bytes(count, "big"))
            stored = bytearray(b"".join(reversed(groups)))
            stored[0] ^= 0x80
            if value < 0:
                stored = bytearray(byte ^ 0xFF for byte in stored)
            assert len(stored) == size
            assert decimals.unscaled(bytes(stored), digits, scale) == value


def test_a_decimal_with_too_many_digits_in_a_group_is_none() -> None:
    with pytest.raises(ValueError, match="too many digits"):
        decimals.unscaled(b"\x80\xff\xff\xff\xff", 10, 0)


def test_days_that_no_month_has_and_the_year_0_are_text_whatever_the_policy() -> None:
    for policy in ("null", "string", "error"):
        odd = temporal.odd_policy(policy)
        for year, month, day in ((2024, 2, 31), (0, 5, 5), (2023, 2, 29)):
            stored = (year << 9 | month << 5 | day).to_bytes(3, "little")
            assert temporal.DAYS[stored] is None
            assert temporal.odd_date(odd, stored) == f"{year:04}-{month:02}-{day:02}"


@pytest.mark.parametrize(
    "call",
    [
        lambda: temporal.DAYS[(10000 << 9).to_bytes(3, "little")],
        lambda: temporal.DATES[0],
        lambda: temporal.time_value(0, 839 << 36),
        lambda: temporal.time_value(0, 60 << 30),
        lambda: temporal.old_time(8390000),
        lambda: temporal.old_datetime(str, 20240101250000),
        lambda: temporal.text_time(b"12:60:00"),
        lambda: temporal.text_datetime(str, b"2024-01-01T00:00:00"),
        lambda: temporal.TEXT_DAYS[b"2024-1-1"],
        lambda: uncompress(b"\x8a\x00\x05abc"),
        lambda: json_text(b"\x00\x01\x00"),
        lambda: json_text(b"\x63"),
        lambda: json_text(b"\x02\x01\x00\x07\x00\x02\x00\x00"),
        lambda: apply({}, b"\x00\x03$.a\x02\x04\x00"),
        lambda: apply([], b"\x02\x04$[0]"),
    ],
)  # fmt: skip
def test_what_is_no_value_raises_and_gives_none(call: object) -> None:
    with pytest.raises((ValueError, LookupError, struct.error)):
        call()  # type: ignore[operator]


def test_a_charset_or_collation_that_is_unknown_is_a_schema_error() -> None:
    with pytest.raises(SchemaError, match="character set klingon is unknown"):
        charsets.decoder("klingon")
    with pytest.raises(SchemaError, match="id 9999 is unknown"):
        charsets.charset_of(9999)


def test_text_that_is_not_well_formed_is_an_error_in_every_charset_of_several_bytes() -> None:
    for charset in (
        "utf8mb4",
        "gbk",
        "gb18030",
        "big5",
        "sjis",
        "cp932",
        "euckr",
        "gb2312",
        "utf32",
    ):
        with pytest.raises(UnicodeDecodeError):
            charsets.decoder(charset)(b"a\x81")


def packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + b"\x01" + payload


def test_rows_are_taken_from_a_block_up_to_what_is_not_whole_or_no_row() -> None:
    rows = TextRows([Column("id", INT, nullable=False, native="int"), Column("n", INT, native="int")])
    block = packet(b"\x011\x0212") + packet(b"\x012\xfb")
    assert rows.decode(block) == ([(1, 12), (2, None)], len(block))
    for cut in range(1, len(block)):
        found, at = rows.decode(block[:cut])
        assert found == [(1, 12)] * (cut >= 9)
        assert packet_end(block[:cut], at) is None
    end = packet(b"\xfe\x00\x00\x02\x00")
    found, at = rows.decode(b"junk" + block + end, 4)
    assert (len(found), at) == (2, 4 + len(block))
    assert not is_row(b"junk" + block + end, at)
    assert rows.select == ("`id`", "`n`")


def test_a_row_of_other_columns_is_an_error_that_names_no_value() -> None:
    rows = TextRows([Column("id", INT, native="int"), Column("n", INT, native="int")])
    for payload in (
        b"\x0212",
        b"\x0212\x0213\x0214",
        b"\x0212\x0612",
        b"\x0212\x03abc",
        b"\x0212\xfc\xff\xff1",
    ):
        with pytest.raises(DecodeError) as caught:
            rows.decode(packet(payload))
        assert "12" not in str(caught.value)


def test_a_row_of_16_megabytes_is_left_to_whoever_joins_its_packets() -> None:
    rows = TextRows([Column("t", LogicalType(Kind.STRING), native="longtext")])
    payload = b"\xfd\x00\x00\xff" + b"x" * 0xFF0000 + b""
    text = b"\xfe" + (0xFFFFFF + 10).to_bytes(8, "little") + b"y" * (0xFFFFFF + 10)
    assert rows.row(payload) == ("x" * 0xFF0000,)
    assert rows.row(text) == ("y" * (0xFFFFFF + 10),)
    first = packet(text[:0xFFFFFF])
    assert rows.decode(first) == ([], 0)
    assert is_part(first, 0) and is_row(first, 0)
