"""Values that nobody thought of, of every type, through a real Postgres and back: stream and copy."""

from __future__ import annotations

import datetime
import json
import math
import struct
from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fix_postgres import fresh_database
from tests.typelab import Lab, Read
from tests.typetext import EPOCH, agrees, same

#: One example is a batch of values, for what takes time is the way to the server and back.
batches = settings(
    max_examples=25,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
MANY = {"min_size": 1, "max_size": 40}
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
SPECIAL = st.text("\\\"'{}(),;NULnultT\n\t\r\b\v \u00a0ü", max_size=12)


@pytest.fixture(scope="module")
def lab(postgres: Any) -> Iterator[Lab]:
    for url in fresh_database(postgres):
        lab = Lab(url)
        yield lab
        lab.close()


def agree(read: Read) -> list[Any]:
    """Stream and copy are equal, and what the database prints; the values."""
    for text, streamed, copied in zip(read.texts, read.stream, read.copied, strict=True):
        assert same(streamed, copied)
        if text is not None:
            agrees(read.type, text, streamed)
    return read.stream


@pytest.mark.parametrize(("type_name", "bits"), [("smallint", 16), ("integer", 32), ("bigint", 64)])
@batches
@given(data=st.data())
def test_integers(lab: Lab, type_name: str, bits: int, data: st.DataObject) -> None:
    whole = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    values = data.draw(st.lists(st.none() | whole, **MANY))
    assert agree(lab.read(type_name, [None if v is None else str(v) for v in values])) == values


@batches
@given(st.lists(TEXT | SPECIAL | st.none(), **MANY))
def test_texts(lab: Lab, values: list[str | None]) -> None:
    for type_name in ("text", "varchar"):
        assert agree(lab.read(type_name, values)) == values


@batches
@given(st.lists(st.binary(max_size=400), **MANY))
def test_byteas(lab: Lab, values: list[bytes]) -> None:
    assert agree(lab.read("bytea", ["\\x" + v.hex() for v in values])) == values


@batches
@given(st.lists(st.floats(), **MANY))
def test_doubles_keep_every_bit(lab: Lab, values: list[float]) -> None:
    # All NaNs are one in text.
    assert same(
        tuple(agree(lab.read("double precision", list(map(repr, values))))), tuple(map(one_nan, values))
    )


@batches
@given(st.lists(st.integers(0, 2**32 - 1), min_size=200, max_size=200))
def test_singles_keep_every_bit(lab: Lab, patterns: list[int]) -> None:
    values = [struct.unpack(">f", struct.pack(">I", pattern))[0] for pattern in patterns]
    assert same(tuple(agree(lab.read("real", list(map(repr, values))))), tuple(map(one_nan, values)))


def one_nan(value: float) -> float:
    return math.nan if math.isnan(value) else value


@batches
@given(st.lists(st.decimals(), **MANY))
def test_numerics(lab: Lab, values: list[Decimal]) -> None:
    usable = [str(v) for v in values if not v.is_snan() and (not v.is_finite() or fits(v))]
    usable = [v.replace("-NaN", "NaN") for v in usable] or ["0"]
    for text, value in zip(usable, agree(lab.read("numeric", usable)), strict=True):
        if isinstance(value, tuple):
            assert Decimal(value[0]).scaleb(-value[1], Context(prec=300_000)) == Decimal(text)


def fits(value: Decimal) -> bool:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent >= -16_383 and value.adjusted() < 131_072


@batches
@given(st.data())
def test_numerics_of_precision_and_scale(lab: Lab, data: st.DataObject) -> None:
    precision = data.draw(st.integers(1, 60))
    scale = data.draw(st.integers(-10, 70) if lab.version >= 150000 else st.integers(0, precision))
    limit = 10**precision - 1
    unscaled = data.draw(st.lists(st.integers(-limit, limit) | st.integers(-9, 9), **MANY))
    unscaled = [max(-limit, min(limit, v)) for v in unscaled]
    type_name = f"numeric({precision},{scale})"
    assert agree(lab.read(type_name, [f"{v}e{-scale}" for v in unscaled])) == unscaled


FIRST, LAST = datetime.date(1, 1, 1).toordinal() - EPOCH, datetime.date(9999, 12, 31).toordinal() - EPOCH
DAY = 86_400_000_000
#: The whole range of Postgres's timestamps, in microseconds since 2000.
STAMPS = st.integers(-211_813_488_000_000_000, 9_223_371_331_199_999_999)
SHIFT = 946_684_800_000_000


@pytest.mark.parametrize(("type_name", "zone"), [("timestamp", ""), ("timestamptz", "+00")])
@batches
@given(
    values=st.lists(STAMPS | st.integers(0, 10**15) | st.integers(0, 10**9).map(lambda s: s * 10**6), **MANY)
)
def test_timestamps_over_their_whole_range(lab: Lab, type_name: str, zone: str, values: list[int]) -> None:
    lab.read(type_name, [f"2000-01-01{zone}"] * len(values))
    table = lab.table(type_name)
    # By integer arithmetic in the server: no text of ours is involved.
    lab.execute(
        f"update {table} set v = {type_name} '2000-01-01{zone}'"
        " + make_interval(days => (x / 86400000000)::int)"
        " + make_interval(secs => (x %% 86400000000)::numeric / 1000000)"
        " from unnest(%s::int8[]) with ordinality u (x, o) where o = id",
        [values],
    )
    texts = [text for (text,) in lab.execute(f"select v::text from {table} order by id")]
    for micros, value in zip(values, agree(lab.read(type_name, texts)), strict=True):
        if isinstance(value, int):
            assert value == micros + SHIFT
        else:
            assert not FIRST * DAY <= micros + SHIFT < (LAST + 1) * DAY


@batches
@given(st.lists(st.integers(-2_451_545, 2_145_031_948), **MANY))
def test_dates_over_their_whole_range(lab: Lab, days: list[int]) -> None:
    texts = [
        text
        for (text,) in lab.execute(
            "select (date '2000-01-01' + x)::text from unnest(%s::int[]) with ordinality u (x, o) order by o",
            [days],
        )
    ]
    for day, value in zip(days, agree(lab.read("date", texts)), strict=True):
        if isinstance(value, int):
            assert value == day + 10_957
        else:
            assert not FIRST <= day + 10_957 <= LAST


@batches
@given(st.lists(st.integers(0, DAY), **MANY))
def test_times(lab: Lab, micros: list[int]) -> None:
    seconds = [
        f"{v // 3_600_000_000}:{v // 60_000_000 % 60}:{v // 10**6 % 60}.{v % 10**6:06}" for v in micros
    ]
    expected = ["24:00:00" if v == DAY else v for v in micros]
    assert agree(lab.read("time", seconds)) == expected


INT32 = st.integers(-(2**31), 2**31 - 1) | st.integers(-40, 40)
INTERVALS = st.tuples(INT32, INT32, st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-(10**8), 10**8))


@batches
@given(st.lists(INTERVALS, **MANY))
def test_intervals_keep_months_days_and_microseconds_apart(
    lab: Lab, values: list[tuple[int, int, int]]
) -> None:
    # All three at their limits are infinity since Postgres 17.
    values = [v for v in values if abs(v[0]) < 2**31 - 1 or abs(v[1]) < 2**31 - 1] or [(0, 0, 0)]
    texts = [f"{m} mons {d} days {u} us" for m, d, u in values]
    assert agree(lab.read("interval", texts)) == values


@batches
@given(st.lists(st.uuids(), **MANY))
def test_uuids(lab: Lab, values: list[Any]) -> None:
    assert agree(lab.read("uuid", [v.hex.upper() for v in values])) == list(map(str, values))


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | SPECIAL,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@batches
@given(st.lists(DOCUMENTS, **MANY))
def test_json_documents(lab: Lab, values: list[Any]) -> None:
    texts = [json.dumps(v, ensure_ascii=i % 2 == 0) for i, v in enumerate(values)]
    texts = ["null" if "\\u0000" in t else t for t in texts]
    assert agree(lab.read("json", texts)) == texts
    assert [json.loads(v) for v in agree(lab.read("jsonb", texts))] == list(map(json.loads, texts))


@batches
@given(st.lists(st.text("01", min_size=1, max_size=70), **MANY))
def test_bits(lab: Lab, values: list[str]) -> None:
    assert agree(lab.read("varbit", values)) == values


def literal(values: list[Any]) -> str:
    """An array as Postgres reads it, everything quoted."""
    escaped = (None if v is None else v.replace("\\", "\\\\").replace('"', '\\"') for v in values)
    return "{" + ",".join("NULL" if v is None else f'"{v}"' for v in escaped) + "}"


WORDS = st.none() | TEXT | SPECIAL | st.sampled_from(["NULL", "null", "", " ", "{}", '"', "\\", "a,b", "a;b"])


@batches
@given(st.lists(st.lists(WORDS, max_size=6), **MANY))
def test_arrays_of_text(lab: Lab, values: list[list[str | None]]) -> None:
    assert agree(lab.read("text[]", list(map(literal, values)))) == list(map(tuple, values))


@batches
@given(st.lists(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=6), **MANY))
def test_arrays_of_numbers(lab: Lab, values: list[list[int | None]]) -> None:
    texts = [literal([None if v is None else str(v) for v in array]) for array in values]
    assert agree(lab.read("bigint[]", texts)) == list(map(tuple, values))


@batches
@given(st.lists(st.lists(st.none() | st.binary(max_size=20), max_size=4), **MANY))
def test_arrays_of_bytea(lab: Lab, values: list[list[bytes | None]]) -> None:
    texts = [literal([None if v is None else "\\x" + v.hex() for v in array]) for array in values]
    assert agree(lab.read("bytea[]", texts)) == list(map(tuple, values))


@batches
@given(st.data())
def test_arrays_of_several_dimensions_and_other_bounds_stay_text(lab: Lab, data: st.DataObject) -> None:
    texts = []
    for _ in range(data.draw(st.integers(1, 20))):
        sizes = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
        lowest = [data.draw(st.integers(-3, 3)) for _ in sizes]
        bounds = "".join(f"[{low}:{low + size - 1}]" for low, size in zip(lowest, sizes, strict=True))
        texts.append(bounds + "=" + block(sizes, data))
    agree(lab.read("text[]", texts))


def block(sizes: list[int], data: st.DataObject) -> str:
    if len(sizes) == 1:
        return literal([data.draw(WORDS) for _ in range(sizes[0])])
    return "{" + ",".join(block(sizes[1:], data) for _ in range(sizes[0])) + "}"
