"""Character sets: from the bytes that a server stores to text, as the server itself converts them.

Sets of one byte have tables of their own, for none of Python's codecs but a few is the same to the last
byte (MySQL's latin1 is Windows-1252 with its holes filled). Those of several bytes take Python's codec and
what is special about them from :mod:`.charset_tables`. A code that is well formed but has no character is a
question mark, as for any client of the server. Bytes that are not well formed, which no server stores,
raise UnicodeDecodeError.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from functools import cache
from typing import Final

from connectors.mysql.values.charset_tables import COLLATIONS, ODD, SWE7, UPPER
from liberator.errors import SchemaError

Decode = Callable[[bytes], str]

BINARY: Final = "binary"
#: Sets whose bytes are UTF-8.
UTF8: Final = frozenset({"utf8mb4", "utf8mb3", "utf8"})
_LOWER: Final = "".join(map(chr, range(128)))
_WIDE: Final = {"utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be"}
#: Python's codec for sets of several bytes, and what one character looks like.
_CODECS: Final = {
    "big5": "big5",
    "cp932": "cp932",
    "eucjpms": "euc_jp",
    "euckr": "cp949",
    "gb18030": "gb18030",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "sjis": "shift_jis",
    "ujis": "euc_jp",
}
_EUC: Final = rb"[\x00-\x8d\x90-\xa0]|\x8e[\xa0-\xff]|\x8f[\xa1-\xfe][\xa1-\xfe]|[\xa1-\xfe][\xa1-\xfe]"
_KANJI: Final = rb"[\x00-\x7f\xa1-\xdf]|[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]"
_CHARACTER: Final = {
    "big5": rb"[\x00-\x7f]|[\xa1-\xf9][\x40-\x7e\xa1-\xfe]",
    "cp932": _KANJI,
    "eucjpms": _EUC,
    "euckr": rb"[\x00-\x7f]|[\x81-\xfe][\x41-\x5a\x61-\x7a\x81-\xfe]",
    "gb18030": rb"[\x00-\x7f]|[\x81-\xfe][\x40-\x7e\x80-\xfe]|(?:[\x81-\xfe][\x30-\x39]){2}",
    "gb2312": rb"[\x00-\x7f]|[\xa1-\xf7][\xa1-\xfe]",
    "gbk": rb"[\x00-\x7f]|[\x81-\xfe][\x40-\x7e\x80-\xfe]",
    "sjis": _KANJI,
    "ujis": _EUC,
}
#: MariaDB's collations of Unicode 14 are numbered by a formula: 256 for each of these sets.
_UCA_1400: Final = ("utf8mb3", "utf8mb4", "ucs2", "utf16", "utf32")
_UCA_1400_BEGIN: Final = 2048


@cache
def charset_of(collation: int) -> str:
    """The character set of a collation, by the collation's id. Raises SchemaError for an unknown one."""
    if collation >= _UCA_1400_BEGIN and (collation - _UCA_1400_BEGIN) >> 8 < len(_UCA_1400):
        return _UCA_1400[(collation - _UCA_1400_BEGIN) >> 8]
    for charset, ranges in COLLATIONS.items():
        if any(first <= collation <= last for first, last in ranges):
            return charset
    raise SchemaError(
        f"the collation with the id {collation} is unknown",
        hint="set binlog_row_metadata=MINIMAL on the server if its catalog can be read, or upgrade liberator",
    )


@cache
def bytes_per_character(charset: str) -> int:
    """The most bytes that a character of the set takes (``maxlen`` in ``show character set``)."""
    if charset in UPPER or charset == BINARY:
        return 1
    return {"utf8mb3": 3, "utf8": 3, "eucjpms": 3, "ujis": 3, "gb18030": 4}.get(
        charset, 4 if charset in _WIDE or charset == "utf8mb4" else 2
    )


def table(charset: str) -> str | None:
    """For a set of one byte, its 256 characters: what ``codecs.charmap_decode`` takes."""
    upper = UPPER.get(charset)
    if upper is None:
        return None
    lower = _LOWER if charset != "swe7" else "".join(SWE7.get(i, chr(i)) for i in range(128))
    return lower + upper


@cache
def decoder(charset: str) -> Decode:
    """The function from the bytes of a text in ``charset`` to the text. Raises SchemaError for a set that is
    unknown; the function raises UnicodeDecodeError."""
    if charset in UTF8:
        return bytes.decode
    if charset == "ucs2":
        return _ucs2
    if charset in _WIDE:
        codec = codecs.getdecoder(_WIDE[charset])
        return lambda data: codec(data)[0]
    single = table(charset)
    if single is not None:
        return lambda data: codecs.charmap_decode(data, "strict", single)[0]
    if charset in _CODECS:
        return _multibyte(charset)
    raise SchemaError(
        f"the character set {charset} is unknown", hint="upgrade liberator, or convert the column to utf8mb4"
    )


def _ucs2(data: bytes) -> str:
    # It knows no pairs of surrogates: each half is a character that Unicode does not have.
    text = data.decode("utf-16-be", "surrogatepass")
    if len(text) * 2 == len(data) and not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    units = (int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    return "".join("?" if 0xD800 <= unit <= 0xDFFF else chr(unit) for unit in units)


def _multibyte(charset: str) -> Decode:
    odd = {
        (code + i).to_bytes(2 if code < 1 << 16 else 3 if code < 1 << 24 else 4, "big"): character
        for code, run in ODD.get(charset, {}).items()
        for i, character in enumerate(run)
    }
    codec = _CODECS[charset]
    character = re.compile(_CHARACTER[charset], re.DOTALL)
    # Where such bytes occur, which may also be halves of two characters, the text is read one by one.
    special = re.compile(b"|".join(map(re.escape, odd)) or b"(?!)", re.DOTALL)

    def one(code: bytes) -> str:
        found = odd.get(code)
        if found is not None:
            return found
        try:
            return code.decode(codec)
        except UnicodeDecodeError:
            return _private(charset, code)

    def decode(data: bytes) -> str:
        if data.isascii():
            return data.decode("ascii")
        if special.search(data) is None:
            try:
                return data.decode(codec)
            except UnicodeDecodeError:
                pass
        codes = character.findall(data)
        if sum(map(len, codes)) != len(data):
            raise UnicodeDecodeError(codec, b"", 0, 0, "not well formed")
        return "".join(map(one, codes))

    return decode


def _private(charset: str, code: bytes) -> str:
    """A code without a character: the Japanese EUCs number the private use area."""
    if charset in ("ujis", "eucjpms") and len(code) > 1 and code[-2] >= 0xF5:
        begin = 0xE3AC if len(code) == 3 else 0xE000
        return chr(begin + (code[-2] - 0xF5) * 94 + code[-1] - 0xA1)
    return "?"
