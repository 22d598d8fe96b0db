"""Every character set of a real MySQL and MariaDB: each character is decoded as the server converts it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.mysql.values.charsets import bytes_per_character, charset_of, decoder
from tests.fix_mysql import fresh_database
from tests.mysqllab import Lab

WIDE = ("utf16", "utf16le", "utf32", "ucs2", "utf8mb4", "utf8mb3", "gb18030")
#: Of a byte, of two, of three (the Japanese EUCs).
CODES = [
    *(bytes([i]) for i in range(256)),
    *(bytes([i, j]) for i in range(0x81, 0xFF) for j in range(0x30, 0xFF)),
]
EUC = [bytes([0x8F, i, j]) for i in range(0xA1, 0xFF) for j in range(0xA1, 0xFF)]


@pytest.fixture(scope="module", params=("mysql", "mariadb"))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    for url in fresh_database(request.getfixturevalue(request.param)):
        lab = Lab(url)
        lab.execute("set sql_log_bin = 0")
        for name, codes in (("codes", CODES), ("euc", EUC)):
            lab.execute(f"create table {name} (b varbinary(4) primary key)")
            lab.execute(f"insert into {name} values " + ",".join(f"(x'{code.hex()}')" for code in codes))
        lab.execute("create table points (b varbinary(4) primary key)")
        points = [*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 97)]
        lab.execute("insert into points values " + ",".join(f"(x'{point:08x}')" for point in points))
        yield lab
        lab.close()


def test_every_collation_belongs_to_the_character_set_that_the_server_says(lab: Lab) -> None:
    rows = lab.execute(
        "select id, character_set_name from information_schema.collations where id is not null"
    )
    assert len(rows) > 250
    assert {(number, "utf8mb3" if name == "utf8" else name) for number, name in rows} == {
        (number, charset_of(number)) for number, _ in rows
    }


def test_every_character_set_has_characters_of_the_width_that_the_server_says(lab: Lab) -> None:
    for charset, _, _, width in lab.execute("show character set"):
        assert bytes_per_character(charset) == width, charset


def test_every_code_of_every_character_set_is_the_character_that_the_server_converts_it_to(lab: Lab) -> None:
    for charset, _, _, width in lab.execute("show character set"):
        if charset == "binary" or charset in WIDE:
            continue
        for table in ("codes", "euc") if width == 3 else ("codes",):
            rows = lab.execute(
                f"select b, convert(convert(b using {charset}) using utf8mb4) from {table}"
                f" where length(convert(b using {charset})) = length(b)"
                f" and char_length(convert(b using {charset})) = 1"
                + (" and length(b) = 1" if width == 1 else " and (length(b) > 1 or b < x'80')")
            )
            decode = decoder(charset)
            # MySQL calls what is not ASCII nothing, MariaDB a question mark: so do we.
            wrong = [code.hex() for code, text in rows if (text or "?") != decode(code)]
            assert not wrong, charset
            assert len(rows) >= 128


@pytest.mark.parametrize("charset", WIDE)
def test_characters_come_back_from_the_unicode_sets(lab: Lab, charset: str) -> None:
    if charset == "gb18030" and lab.mariadb:
        pytest.skip("a set of MySQL's")
    narrow = " where b < x'00010000'" if charset in ("ucs2", "utf8mb3") else ""
    rows = lab.execute(
        f"select b, convert(convert(convert(b using utf32) using {charset}) using binary) from points{narrow}"
    )
    decode = decoder(charset)
    wrong = [code.hex() for code, stored in rows if decode(stored) != code.decode("utf-32-be")]
    assert not wrong
    assert len(rows) > 60_000


def test_text_of_every_character_set_is_the_same_in_stream_and_select(lab: Lab) -> None:
    lab.execute("set sql_log_bin = 1")
    sets = [row[0] for row in lab.execute("show character set") if row[0] != "binary"]
    cases = {}
    for charset in sets:
        values = ["'plain'", "''", "'äöü€ß'", "'Жук'", "'漢字カナ한국어'", "'αβγ'", "'naïve\\\\'"]
        cases[f"varchar(40) character set {charset}"] = values
        cases[f"text character set {charset}"] = values
        cases[f"enum('a','b','ab') character set {charset}"] = ["'a'", "'ab'", "0", "null"]
        cases[f"set('x','y') character set {charset}"] = ["'x,y'", "''"]
    for type_name, read in lab.read_all(cases).items():
        assert read.stream == read.selected, type_name
        assert read.stream == [text if text is None else text.decode() for text in read.texts], type_name
        assert read.mapped == read.column, type_name
        assert read.mapped.native == type_name.replace(" character set utf8mb4", ""), type_name
