"""Rows of prepared statements on generated tables, and damaged ones: the compiled decoder agrees with the
plain reader, and whatever the bytes, the answer is rows or a typed error."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connectors.mysql.binary_rows import BinaryRows, select_order
from connectors.mysql.native import NativeType, TypeOptions
from connectors.mysql.result import NOT_NULL, UNSIGNED, ResultColumn
from connectors.mysql.table_map import Wire
from liberator.errors import DecodeError
from liberator.schema import Column

OPTIONS = TypeOptions(zero_dates="string", tinyint1="bool")


def number(letter: str) -> st.SearchStrategy[bytes]:
    size = struct.calcsize(letter)
    return st.binary(min_size=size, max_size=size)


def sized(data: bytes) -> bytes:
    """A value behind its length."""
    if len(data) < 251:
        return bytes([len(data)]) + data
    return b"\xfc" + len(data).to_bytes(2, "little") + data


def text(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return values.map(lambda value: sized(value if isinstance(value, bytes) else str(value).encode()))


def trimmed(parts: tuple[int, ...], form: str, sizes: tuple[int, ...]) -> bytes:
    """A date or time without the zeros at its end."""
    whole = struct.pack(form, *parts)
    size = next(size for size in sizes if not any(whole[size:]))
    return bytes([size]) + whole[:size]


DATES = st.tuples(st.integers(0, 9999), st.integers(0, 12), st.integers(0, 31))
CLOCK = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
_moments = st.tuples(DATES, st.one_of(st.just((0, 0, 0)), CLOCK), st.sampled_from((0, 1, 123456, 999999)))
_words = st.text(st.characters(codec="utf-8"), max_size=9)
_long = st.one_of(_words, st.just("é" * 130), st.just("x" * 250))

#: The type, how it is sent, and what is sent.
KINDS: list[tuple[str, Wire, bool, st.SearchStrategy[bytes]]] = [
    ("tinyint", Wire.TINY, False, number("b")),
    ("tinyint(1)", Wire.TINY, False, number("b")),
    ("smallint unsigned", Wire.SHORT, True, number("h")),
    ("mediumint", Wire.INT24, False, number("i")),
    ("int unsigned", Wire.LONG, True, number("i")),
    ("bigint", Wire.LONGLONG, False, number("q")),
    ("year", Wire.YEAR, True, number("h")),
    ("float", Wire.FLOAT, False, st.floats(width=32, allow_nan=False).map(lambda v: struct.pack("<f", v))),
    ("double", Wire.DOUBLE, False, st.floats(allow_nan=False).map(lambda v: struct.pack("<d", v))),
    ("decimal(12,2)", Wire.LONGLONG, False, number("q")),
    ("decimal(30,2)", Wire.NEWDECIMAL, False, text(st.decimals(-(10**27), 10**27, places=2))),
    ("decimal(30)", Wire.NEWDECIMAL, False, text(st.integers(-(10**30), 10**30))),
    ("varchar(20)", Wire.VAR_STRING, False, text(_words)),
    ("varchar(300)", Wire.VAR_STRING, False, text(_long)),
    ("longtext", Wire.BLOB, False, text(_long)),
    ("blob", Wire.BLOB, False, text(st.one_of(st.binary(max_size=9), st.binary(min_size=300, max_size=300)))),
    ("enum('a','b')", Wire.STRING, False, text(st.sampled_from(("", "a", "b")))),
    ("bit(9)", Wire.BIT, True, text(st.integers(0, 511).map(lambda v: v.to_bytes(2, "big")))),
    ("date", Wire.DATE, False, DATES.map(lambda v: trimmed(v, "<HBB", (0, 4)))),
    *(
        (
            f"{name}({digits})" if digits else name,
            wire,
            False,
            _moments.map(
                lambda v, n=digits: trimmed((*v[0], *v[1], v[2] if n else 0), "<HBBBBBI", (0, 4, 7, 11))
            ),
        )
        for name, wire in (("datetime", Wire.DATETIME), ("timestamp", Wire.TIMESTAMP))
        for digits in (0, 6)
    ),
    (
        "time(3)",
        Wire.TIME,
        False,
        st.tuples(st.integers(0, 1), st.integers(0, 34), CLOCK, st.sampled_from((0, 123000))).map(
            lambda v: trimmed((v[0], v[1], *v[2], v[3]), "<BIBBBI", (0, 8, 12))
        ),
    ),
]
LENGTHS = {"varchar(20)": 80, "enum('a','b')": 4}


@dataclass
class Made:
    rows: BinaryRows
    payloads: list[bytes]

    @property
    def block(self) -> bytes:
        return b"".join(len(p).to_bytes(3, "little") + b"\7" + p for p in self.payloads)


@st.composite
def results(draw: st.DrawFn) -> Made:
    chosen = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=12))
    # Now and then so many columns that the map of nulls has several parts.
    chosen *= draw(st.sampled_from((1, 1, 1, 9)))
    never_null = [draw(st.booleans()) for _ in chosen]
    columns = [
        Column(f"c{i}", NativeType.parse(native).logical(OPTIONS), nullable=not never, native=native)
        for i, ((native, *_), never) in enumerate(zip(chosen, never_null, strict=True))
    ]
    order = select_order(columns)
    definitions = [
        ResultColumn(
            columns[i].name, chosen[i][1], 255, LENGTHS.get(chosen[i][0], 4000),
            NOT_NULL * never_null[i] | UNSIGNED * chosen[i][2], 0,
        )
        for i in order
    ]  # fmt: skip
    payloads = []
    for _ in range(draw(st.integers(1, 4))):
        nulls, data = 0, b""
        for place, i in enumerate(order):
            if not never_null[i] and draw(st.integers(0, 2)) == 0:
                nulls |= 4 << place
            else:
                data += draw(chosen[i][3])
        payloads.append(b"\0" + nulls.to_bytes((len(order) + 9) // 8, "little") + data)
    return Made(BinaryRows(columns, definitions, OPTIONS), payloads)


@given(results())
def test_the_compiled_decoder_agrees_with_the_plain_reader(made: Made) -> None:
    plain = [made.rows.row(payload) for payload in made.payloads]
    block = made.block
    assert repr(made.rows.decode(block)) == repr((plain, len(block)))
    # And it was not the plain reader who gave that answer, but for a row at the very end.
    assert made.rows._decode is not None
    found: list[Any] = []
    padded = block + bytes(20)
    made.rows._decode(padded, 0, len(block), found)
    assert repr(found) == repr(plain)


@given(results(), st.data())
def test_damaged_rows_are_rows_or_a_typed_error(made: Made, data: st.DataObject) -> None:
    damaged = bytearray(made.block)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for bad in (bytes(damaged), bytes(damaged[:cut]), made.block[:cut]):
        with contextlib.suppress(DecodeError):
            made.rows.decode(bad)
    for payload in (bytes(damaged[4:]), made.payloads[0][:cut], b""):
        with contextlib.suppress(DecodeError):
            made.rows.row(payload)
