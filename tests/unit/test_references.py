"""References inside the texts of a configuration file."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liberator.references import expand

ENVIRON = {"HOST": "db", "EMPTY": "", "ODD": "p$a${HOST}s}s", "_x1": "ok"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("${HOST}", "db"),
        ("postgresql://${HOST}:${PORT:-5432}/shop", "postgresql://db:5432/shop"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${HOST:-default}", "db"),
        ("${NONE:-}", ""),
        ("${NONE:-a:-b}", "a:-b"),
        ("${NONE:-${HOST}}", "db"),
        ("${NONE:-${OTHER:-${HOST}}}!", "db!"),
        ("${_x1}", "ok"),
        ("${ODD}", "p$a${HOST}s}s"),
        ("$HOST $ $$ 100$", "$HOST $ $$ 100$"),
        ("$${HOST}", "${HOST}"),
        ("$${HOST} ${HOST}", "${HOST} db"),
        ("}{", "}{"),
    ],
)
def test_references_are_replaced_and_nothing_else_is(text, expanded):
    assert expand(text, Path(), ENVIRON) == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NONE}", "environment variable NONE is not set"),
        ("${HOST", "has a ${ without its }"),
        ("a ${NONE:-${HOST} b", "has a ${ without its }"),
        ("${}", "has a reference that is not ${NAME}, ${NAME:-default} or ${file:/path}"),
        ("${HO ST}", "has a reference that is not ${NAME}, ${NAME:-default} or ${file:/path}"),
        ("${1HOST}", "has a reference that is not ${NAME}, ${NAME:-default} or ${file:/path}"),
        ("${HOST:?}", "has a reference that is not ${NAME}, ${NAME:-default} or ${file:/path}"),
    ],
)
def test_a_reference_that_leads_nowhere_is_told(text, message):
    with pytest.raises(ValueError) as caught:
        expand(text, Path(), ENVIRON)
    assert str(caught.value) == message


def test_a_file_gives_its_text_without_the_last_line_break(tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "two").write_bytes(b"line one\nline two\r\n")
    assert expand("x-${file:secret}-y", tmp_path, {}) == "x-hunter2-y"
    assert expand(f"${{file:{tmp_path}/secret}}", Path("/"), {}) == "hunter2"
    assert expand("${file:two}", tmp_path, {}) == "line one\nline two"
    assert expand("${file:${WHICH}}", tmp_path, {"WHICH": "secret"}) == "hunter2"


def test_a_files_text_is_not_looked_at_again(tmp_path):
    (tmp_path / "secret").write_text("${HOST}")
    assert expand("${file:secret}", tmp_path, ENVIRON) == "${HOST}"


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, reason in (
        ("none", f"cannot read file {tmp_path}/none: no such file or directory"),
        ("", f"cannot read file {tmp_path}: is a directory"),
        ("binary", f"file {tmp_path}/binary is not text in utf-8"),
    ):
        with pytest.raises(ValueError) as caught:
            expand(f"${{file:{name}}}", tmp_path, {})
        assert str(caught.value) == reason


@given(st.text(), st.text())
def test_no_value_is_ever_expanded_twice(value, around):
    around = around.replace("$", "")
    assert expand(f"{around}${{X}}{around}", Path(), {"X": value}) == around + value + around


@given(st.text(alphabet="${}:-aA/f"))
def test_any_text_is_expanded_or_refused(text):
    with contextlib.suppress(ValueError):
        assert isinstance(expand(text, Path("/nonexistent"), {"A": "b"}), str)
