"""Text to physical values, types to logical types: what needs no server to be known."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest

from connectors.postgres.types.builtin import BUILTIN
from connectors.postgres.types.native import PgType, TypeCatalog, UnknownType
from connectors.postgres.types.temporal import (
    BYTE_MINUTES,
    DAYS,
    MINUTES,
    parse_date,
    parse_interval,
    parse_time,
    parse_timestamp,
    parse_timestamptz,
)
from connectors.postgres.types.values import UnknownLabel, parser
from liberator.schema import ESCAPABLE, Kind, LogicalType

DECIMAL = LogicalType(Kind.DECIMAL, 10, 2)
TEXTS = LogicalType(Kind.ARRAY, item=LogicalType(Kind.STRING))
BOXES = LogicalType(Kind.ARRAY, item=LogicalType(Kind.NATIVE, name="box"))
GEOMETRIES = LogicalType(Kind.ARRAY, item=LogicalType(Kind.GEOMETRY))
POINT = struct.pack("<BIdd", 1, 1, 1.5, -2.0)
BIG_POINT = struct.pack(">BIddd", 0, 0x80000001, 1.5, -2.0, 3.0)
NESTED = struct.pack("<BII", 1, 4, 2) + POINT + POINT

VALUES: list[tuple[LogicalType, str, Any]] = [
    (LogicalType(Kind.BOOL), "t", True),
    (LogicalType(Kind.BOOL), "f", False),
    (LogicalType(Kind.INT64), "-9223372036854775808", -(2**63)),
    (LogicalType(Kind.UINT64), "18446744073709551615", 2**64 - 1),
    (LogicalType(Kind.FLOAT64), "-1.5e-300", -1.5e-300),
    (LogicalType(Kind.FLOAT32), "0.1", 0.10000000149011612),
    (LogicalType(Kind.FLOAT32), "3.4028235e+38", 3.4028234663852886e38),
    (LogicalType(Kind.FLOAT32), "1e-45", 1.401298464324817e-45),
    (DECIMAL, "12.30", 1230),
    (DECIMAL, "-0.05", -5),
    (DECIMAL, "NaN", "NaN"),
    (DECIMAL, "-Infinity", "-Infinity"),
    (LogicalType(Kind.DECIMAL, 3, -2), "-12300", -123),
    (LogicalType(Kind.DECIMAL, 3, 5), "0.00123", 123),
    (LogicalType(Kind.DECIMAL, 5, 0), "99999", 99999),
    (LogicalType(Kind.DECIMAL), "1.20", (120, 2)),
    (LogicalType(Kind.DECIMAL), "0", (0, 0)),
    (LogicalType(Kind.DECIMAL), "-0.00", (0, 2)),
    (LogicalType(Kind.DECIMAL), "9" * 5000, (10**5000 - 1, 0)),
    (LogicalType(Kind.DECIMAL), "Infinity", "Infinity"),
    (LogicalType(Kind.STRING), " a\\N ", " a\\N "),
    (LogicalType(Kind.BYTES), "\\x", b""),
    (LogicalType(Kind.BYTES), "\\x00Ff", b"\x00\xff"),
    (LogicalType(Kind.UUID), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    (LogicalType(Kind.BITS), "0101", "0101"),
    (LogicalType(Kind.GEOMETRY), POINT.hex().upper(), (POINT, None)),
    (LogicalType(Kind.GEOMETRY), "0101000020E6100000" + POINT[5:].hex(), (POINT, 4326)),
    (LogicalType(Kind.GEOMETRY), "00A0000001000010E6" + BIG_POINT[5:].hex(), (BIG_POINT, 4326)),
    # The flag is on the outermost only; a collection's members have none.
    (LogicalType(Kind.GEOMETRY), "0104000020110F0000" + NESTED[5:].hex(), (NESTED, 3857)),
    (LogicalType(Kind.ARRAY, item=DECIMAL), "{1.20,NULL,NaN}", (120, None, "NaN")),
    (TEXTS, '{"NULL",NULL,"a\\"\\\\,b",c d}', ("NULL", None, 'a"\\,b', "c d")),
    (TEXTS, "{}", ()),
    (TEXTS, "{{a},{b}}", "{{a},{b}}"),
    (TEXTS, "[0:1]={a,b}", "[0:1]={a,b}"),
    (BOXES, "{(1,1),(0,0);NULL}", ("(1,1),(0,0)", None)),
    (GEOMETRIES, "{" + POINT.hex() + ":NULL}", ((POINT, None), None)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "text", "value"), VALUES, ids=[f"{t}-{i}" for i, (t, _, _) in enumerate(VALUES)]
)
def test_text_becomes_the_physical_value(type_: LogicalType, text: str, value: Any) -> None:
    parsed = parser(type_)(text)
    assert parsed == value and type(parsed) is type(value)


REFUSED: list[tuple[LogicalType, list[str]]] = [
    (LogicalType(Kind.BOOL), ["", "true", "T", "1"]),
    (LogicalType(Kind.INT32), ["", "1.0", "1_0", " 1", "+1", "0x1", "\u0663", "1e3"]),
    (LogicalType(Kind.FLOAT64), ["", "nan", "inf", "1_0", " 1", "0x1p3", "1,5"]),
    (DECIMAL, ["", "1", "1.2", "1.234", "1.2.3", "nan", "1e2", "+1.00", "-", ".50"]),
    (LogicalType(Kind.DECIMAL), ["", "1.", ".5", "1e5", "--1", "\u0663", "inf"]),
    (LogicalType(Kind.DECIMAL, 3, -2), ["12345", "1.0"]),
    (LogicalType(Kind.BYTES), ["", "abc", "\\x0", "\\xzz", "\\x 00", "x00"]),
    (LogicalType(Kind.UUID), ["", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc999c0b4ef8bb6d6bb9bd380a1"]),
    (LogicalType(Kind.BITS), ["2", "0 1", "B'01'"]),
    (LogicalType(Kind.GEOMETRY), ["", "01", "0201000000", "0101000020E610", "POINT(1 2)", "zz"]),
    (TEXTS,
     ["", "{", "}", "{a", "a}", "{a,}", "{,a}", "{a,,b}", '{"a}', '{"a"b}', "{a{b}", "[1:2]", "[1:2]=a",
      "{a}b", "{a}}", "{a\\}", "{{a}", "{{a}}{{b}}", '{{"a}}', "[1:2]={{a}", "[x]={a}"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "text"), [(t, text) for t, texts in REFUSED for text in texts], ids=lambda v: repr(str(v))
)
def test_text_of_another_kind_is_refused(type_: LogicalType, text: str) -> None:
    with pytest.raises(ValueError):
        parser(type_)(text)


def test_singles_are_rounded_once() -> None:
    parse = parser(LogicalType(Kind.FLOAT32))
    above = 1 + 2.0**-23
    # Between 1 and the next single, and beside it by less than a double can tell.
    assert parse("1.000000059604644775390625") == 1.0
    assert parse("1.0000000596046447753906250000000000001") == above
    assert parse("1.0000000596046447753906249999999999999") == 1.0
    assert parse("-1.0000000596046447753906250000000000001") == -above
    # Between the smallest single and the next: even is the next.
    smallest = 2.0**-149
    middle = "2.10194769648722579846e-45"  # a hair above 1.5 times the smallest
    assert parse(middle) == 2 * smallest
    with pytest.raises(OverflowError):
        parse("3.5e+38")


DAY = 86_400_000_000
STAMPS = {
    "1970-01-01 00:00:00": 0,
    "1969-12-31 23:59:59.999999": -1,
    "2000-02-29 12:34:56.7": 951_827_696_700_000,
    "0001-01-01 00:00:00": -719_162 * DAY,
    "9999-12-31 23:59:59.999999": 2_932_897 * DAY - 1,
    "10000-01-01 00:00:00": None,
    "0001-12-31 00:00:00 BC": None,
    "294276-12-31 23:59:59.999999": None,
    "infinity": None,
    "-infinity": None,
}


@pytest.mark.parametrize(("text", "micros"), STAMPS.items())
def test_timestamps_are_microseconds_or_stay_text(text: str, micros: int | None) -> None:
    assert parse_timestamp(text) == (text if micros is None else micros)
    zoned = text if "infinity" in text else text.removesuffix(" BC") + "+00" + " BC" * text.endswith(" BC")
    assert parse_timestamptz(zoned) == (zoned if micros is None else micros)
    if "infinity" not in text:
        for parse, wrong in ((parse_timestamp, zoned), (parse_timestamptz, text)):
            with pytest.raises(ValueError):
                parse(wrong)


@pytest.mark.parametrize(
    "text",
    ["", "2024-02-30 00:00:00", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01 24:00:00", "Infinity",
     "2024-01-01 00:60:00", "2024-01-01 00:00:61", "2024-01-01 00:00:00.1234567", "0000-01-01 00:00:00",
     "2024-01-01 00:00:00+01", "24-01-01 00:00:00", "2024-1-1 00:00:00", "2024-01-01 00:00:00 AD"],
)  # fmt: skip
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    for parse in (parse_timestamp, parse_timestamptz):
        with pytest.raises(ValueError):
            parse(text)


def test_dates() -> None:
    assert [parse_date(t) for t in ("1970-01-02", "0001-01-01", "9999-12-31")] == [1, -719_162, 2_932_896]
    for text in ("infinity", "-infinity", "0044-03-15 BC", "5874897-12-31"):
        assert parse_date(text) == text
    for text in ("", "2024-13-01", "2023-02-29", "20240101", "2024-01-01 ", "44-03-15 BC"):
        with pytest.raises(ValueError):
            parse_date(text)


def test_times_of_day() -> None:
    assert [parse_time(t) for t in ("00:00:00", "23:59:59.999999", "12:00:00.5")] == [
        0,
        DAY - 1,
        DAY // 2 + 500_000,
    ]
    assert parse_time("24:00:00") == "24:00:00"
    for text in ("", "24:00:01", "25:00:00", "12:60:00", "12:00:60", "12:00", "1:00:00", "12:00:00+00"):
        with pytest.raises(ValueError):
            parse_time(text)


INTERVALS = {
    "00:00:00": (0, 0, 0),
    "1 year": (12, 0, 0),
    "-1 years -2 mons": (-14, 0, 0),
    "1 year -1 mons": (11, 0, 0),
    "1 mon": (1, 0, 0),
    "-1 days": (0, -1, 0),
    "-1 mons +3 days": (-1, 3, 0),
    "1 day -00:00:00.5": (0, 1, -500_000),
    "-1 days +02:03:04.000005": (0, -1, 7_384_000_005),
    "178000000 years 11 mons 2147483647 days 2562047788:00:54.775807": (
        2_136_000_011,
        2_147_483_647,
        2**63 - 1,
    ),
    "-2562047788:00:54.775808": (0, 0, -(2**63)),
}


@pytest.mark.parametrize(("text", "value"), INTERVALS.items())
def test_intervals_are_months_days_and_microseconds(text: str, value: tuple[int, int, int]) -> None:
    assert parse_interval(text) == value


def test_infinite_intervals_stay_text_and_others_are_refused() -> None:
    for text in ("infinity", "-infinity"):
        assert parse_interval(text) == text
    for text in (
        "",
        "P1Y",
        "1 day 1 year",
        "1",
        "1 week",
        "00:00",
        "1 day 1 day",
        " 1 day",
        "@ 1 day",
        "1 year1 mon",
    ):
        with pytest.raises(ValueError):
            parse_interval(text)


def test_remembered_days_and_minutes_are_emptied_before_they_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("connectors.postgres.types.temporal._LIMIT", 100)
    for cache in (DAYS, MINUTES, BYTE_MINUTES):
        cache.clear()
    for day in range(250):
        text = f"{2000 + day}-01-01"
        assert DAYS[text] == parse_date(text)
        assert (
            MINUTES[text + " 12:34"]
            == BYTE_MINUTES[f"{text} 12:34".encode()]
            == parse_timestamp(text + " 12:34:00")
        )
        assert max(map(len, (DAYS, MINUTES, BYTE_MINUTES))) <= 100
    for text in (
        "infinity",
        "2024-01-01",
        "2024-01-01 24:00",
        "2024-01-01 1:00",
        "10000-01-01 00:0",
        "x" * 16,
        "",
    ):
        with pytest.raises((ValueError, LookupError)):
            MINUTES[text]


def test_an_enum_knows_its_labels() -> None:
    parse = parser(LogicalType(Kind.ENUM, values=("a", "NULL", "")))
    assert [parse(t) for t in ("a", "NULL", "")] == ["a", "NULL", ""]
    with pytest.raises(UnknownLabel) as raised:
        parse("secret")
    assert raised.value.label == "secret" and "secret" not in f"{raised.value} {raised.value.hint}"


# -- the mapping ----------------------------------------------------------------------------------

NUMERIC, INT4_ARRAY, VARCHAR = 1700, 1007, 1043


def typmod(precision: int, scale: int) -> int:
    return (precision << 16 | scale & 0x7FF) + 4


@pytest.mark.parametrize(
    ("precision", "scale"), [(10, 2), (1, 0), (1000, 1000), (3, -2), (1000, -1000), (2, 5), (1, 1000)]
)
def test_numerics_have_the_precision_and_scale_of_their_modifier(precision: int, scale: int) -> None:
    type_, native = TypeCatalog().column_type(NUMERIC, typmod(precision, scale))
    assert (type_, native) == (LogicalType(Kind.DECIMAL, precision, scale), f"numeric({precision},{scale})")
    item, native = TypeCatalog().column_type(1231, typmod(precision, scale))
    assert (item.item, native) == (type_, f"numeric({precision},{scale})[]")


def test_an_unknown_oid_is_told_so_that_the_catalog_is_read_again() -> None:
    catalog = TypeCatalog()
    assert catalog.knows(NUMERIC, typmod(10, 2)) and not catalog.knows(99_999)
    with pytest.raises(UnknownType, match="99999"):
        catalog.column_type(99_999)


def test_only_extensions_base_types_are_known_by_name() -> None:
    catalog = TypeCatalog()
    added = (
        PgType(20_001, "geometry", "gis", "b", delimiter=":", spelling="gis.geometry"),
        PgType(20_002, "_geometry", "gis", "b", 20_001, ":", spelling="gis.geometry[]"),
        PgType(20_003, "citext", "public", "b", spelling="citext"),
        PgType(20_004, "geometry", "public", "c", spelling="geometry"),
        PgType(20_005, "int4", "public", "b", spelling="int4"),
        PgType(20_006, "odd", "public", "b", delimiter="|", spelling="odd"),
        PgType(20_007, "_odd", "public", "b", 20_006, "|", spelling="odd[]"),
    )
    catalog._types |= {type_.oid: type_ for type_ in added}
    spelled = {type_.oid: str(catalog.column_type(type_.oid)[0]) for type_ in added}
    assert list(spelled.values()) == [
        "geometry", "array(geometry)", "string", "native(geometry)", "native(int4)", "native(odd)",
        "native(odd[])",
    ]  # fmt: skip


PAGE = Path(__file__).parents[2] / "docs" / "types-postgres.md"


def documented() -> dict[str, tuple[str, str]]:
    """The page's table of built-in types: name → logical type, escape."""
    rows = {}
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            for name in re.findall("`([^`]+)`", cells[0]):
                rows[name] = (cells[1].strip("`"), cells[3])
    return rows


def test_the_documentation_says_what_every_built_in_type_becomes() -> None:
    page = documented()
    catalog = TypeCatalog()
    for oid, array, name, spelling in BUILTIN:
        type_, _ = catalog.column_type(oid)
        said, escape = page.pop(name)
        assert said == ("native" if type_.kind is Kind.NATIVE else str(type_)), name
        assert bool(escape) == (type_.kind in ESCAPABLE), name
        if array:
            assert catalog.column_type(array)[0] == LogicalType(Kind.ARRAY, item=type_), spelling
    # What is not built in, or has parameters, is documented in the same table and tested elsewhere.
    assert set(page) == {
        "numeric(p,s)", "citext", "geometry", "geography", "any enum", "any domain", "any array",
        "any composite", "hstore", "ltree", "vector", "any other type",
    }  # fmt: skip
