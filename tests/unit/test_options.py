"""What options are made of: a URL is shown without its password, however it is written."""

from __future__ import annotations

import pytest

from liberator.options import redact


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:secret@db:5432/shop",
        "postgresql://:secret@db/shop",
        "postgresql://app:sec:secret@db/shop",
        "mysql://app:p@secret@db/shop",
        "mysql://app:p/secret@db/shop?charset=utf8mb4",
        "postgresql://app@db/shop?sslmode=require&password=secret",
        "postgresql://app@db/shop?PassWord=secret&sslmode=require",
        "host=db user=app password=secret dbname=shop",
        "host=db password='a \\' secret' dbname=shop",
        "mysql://app@db/shop?token = secret",
    ],
)
def test_no_part_of_a_password_is_shown(url):
    shown = redact(url)
    assert "secret" not in shown
    assert "db" in shown


@pytest.mark.parametrize(
    "url", ["postgresql://app@db/shop", "sqlite:///replica.db", "host=db dbname=shop", "mysql://db/a:b"]
)
def test_a_url_without_a_password_is_shown_as_it_is(url):
    assert redact(url) == url
