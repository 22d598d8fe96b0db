"""Physical values are spelled so that every database reads back the same value."""

from __future__ import annotations

import datetime
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.types import temporal
from connectors.sql import spelling

EPOCH = datetime.datetime(1970, 1, 1)


@given(st.dates())
def test_dates_are_iso(date):
    assert spelling.date((date - EPOCH.date()).days) == date.isoformat()


@given(st.datetimes())
def test_timestamps_are_iso_and_read_back(moment):
    micros = (moment - EPOCH) // datetime.timedelta(microseconds=1)
    text = spelling.timestamp(micros)
    assert datetime.datetime.fromisoformat(text) == moment
    assert temporal.parse_timestamp(text) == micros
    assert temporal.parse_timestamptz(spelling.timestamp(micros, "+00")) == micros


@given(st.times())
def test_times_are_iso_and_sort_as_text(time):
    micros = ((time.hour * 60 + time.minute) * 60 + time.second) * 1_000_000 + time.microsecond
    assert datetime.time.fromisoformat(spelling.time(micros)) == time
    assert temporal.parse_time(spelling.time(micros)) == micros
    assert (spelling.time(micros) < spelling.time(43_200_000_001)) == (micros < 43_200_000_001)


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (-719_162, "0001-01-01"),
        (-719_163, "0001-12-31 BC"),
        (-719_528, "0001-01-01 BC"),
        (-719_529, "0002-12-31 BC"),
        (-735_160, "0044-03-15 BC"),
        (2_932_896, "9999-12-31"),
        (2_932_897, "10000-01-01"),
        (106_751_991, "294247-01-10"),
    ],
)
def test_dates_beyond_the_years_that_python_has(days, text):
    assert spelling.date(days) == text


def test_a_timestamp_bc_has_its_zone_before_the_era():
    assert spelling.timestamp(-719_163 * 86_400_000_000 + 1, "+00") == "0001-12-31 00:00:00.000001+00 BC"


def test_the_end_of_the_day_is_a_time():
    assert spelling.time(86_400_000_000) == "24:00:00"


@pytest.mark.parametrize(
    ("unscaled", "scale", "text"),
    [(1230, 2, "12.30"), (-5, 3, "-0.005"), (0, 2, "0.00"), (7, 0, "7"), (12, -2, "1200"), (-10, 1, "-1.0")],
)
def test_decimals_are_plain_digits(unscaled, scale, text):
    assert spelling.decimal(unscaled, scale) == text


def test_a_decimal_of_any_length_is_spelled():
    assert len(spelling.decimal(10**20_000, 5_000)) == 20_002


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1))
def test_intervals_read_back_with_all_their_signs(months, days, micros):
    assert temporal.parse_interval(spelling.interval((months, days, micros))) == (months, days, micros)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_geometry_carries_its_srid_inside(order):
    flag = b"\x01" if order == "<" else b"\x00"
    point = struct.pack(f"{order}Idd", 1, 2.0, 3.0)
    assert spelling.ewkb((flag + point, None)) == flag + point
    made = spelling.ewkb((flag + point, 4326))
    assert struct.unpack(f"{order}IIdd", made[1:]) == (0x20000001, 4326, 2.0, 3.0)
