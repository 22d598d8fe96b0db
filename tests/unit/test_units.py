"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from liberator.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7d", 604_800),
        ("90s", 90),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("2 w", 1_209_600),
        ("15", 15),
        (" 15m ", 900),
    ],
)
def test_a_duration_is_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10GB", 10**10),
        ("1GiB", 2**30),
        ("512 mb", 512 * 10**6),
        ("0.5TB", 5 * 10**11),
        ("123", 123),
        ("1b", 1),
    ],
)
def test_a_size_is_bytes(text, size):
    parsed = parse_size(text)
    assert parsed == size
    assert isinstance(parsed, int)


def test_what_is_not_text_is_left_to_the_model():
    assert parse_duration(5) == 5
    assert parse_size(None) is None


@pytest.mark.parametrize("text", ["", "d", "seven days", "-1d", "1y", "1d2h", "1e3", "٣d"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)
    with pytest.raises(ValueError, match="must be a size"):
        parse_size(text)
