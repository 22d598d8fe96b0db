"""MySQL's binary JSON: to the text that the server prints for it, and to a tree that diffs can change.

The format: ``sql-common/json_binary.h``. Text is composed of the pieces as they come; a tree
(:mod:`.json_diff` needs one) is dicts and lists of such texts. All functions raise ValueError (or IndexError,
struct.error) for bytes that are not a document; the depth is limited as it is in the server.
"""

from __future__ import annotations

import math
import re
import struct
from base64 import b64encode
from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeVar

from connectors.mysql.values import decimals
from connectors.mysql.values.temporal import SECOND, spell_clock, spell_date

#: Of objects: key → tree; of arrays; of all else: its text.
Tree = dict[str, "Tree"] | list["Tree"] | str

_T = TypeVar("_T")
_DEPTH: Final = 100
#: Where the point stands in the digits of doubles that are printed without an exponent.
_LEAST_POINT: Final = -14
_MOST_POINT: Final = 15
_LITERALS: Final = {0: "null", 1: "true", 2: "false"}
_int16 = struct.Struct("<h").unpack_from
_uint16 = struct.Struct("<H").unpack_from
_int32 = struct.Struct("<i").unpack_from
_uint32 = struct.Struct("<I").unpack_from
_int64 = struct.Struct("<q").unpack_from
_uint64 = struct.Struct("<Q").unpack_from
_double = struct.Struct("<d").unpack_from
_small_head = struct.Struct("<HH").unpack_from
_large_head = struct.Struct("<II").unpack_from
_small_key = struct.Struct("<HH").unpack_from
_large_key = struct.Struct("<IH").unpack_from
_small_value = struct.Struct("<BH").unpack_from
_large_value = struct.Struct("<BI").unpack_from

_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SIMPLE: Final = {5: _int16, 6: _uint16, 7: _int32, 8: _uint32, 9: _int64, 10: _uint64}
_SIZES: Final = {5: 2, 6: 2, 7: 4, 8: 4, 9: 8, 10: 8}
#: Types of opaque values, numbered as columns are.
_DATE, _TIME, _DATETIME, _TIMESTAMP, _DECIMAL = 10, 11, 12, 7, 246


def json_text(data: bytes) -> str:
    """The document as the server prints it. No bytes at all stand for null, as they do there."""
    if not data:
        return "null"
    return _text(data[0], data, 1, _DEPTH)


def json_tree(data: bytes) -> Tree:
    """The document as a tree."""
    if not data:
        return "null"
    return _tree(data[0], data, 1, _DEPTH)


def render(tree: Tree) -> str:
    """The text of a tree, as the server prints it: keys in its order, the shorter first."""
    if isinstance(tree, str):
        return tree
    if isinstance(tree, list):
        return "[" + ", ".join(map(render, tree)) + "]"
    keys = sorted(((key.encode(), key) for key in tree), key=lambda pair: (len(pair[0]), pair[0]))
    return "{" + ", ".join(f"{quote(key)}: {render(tree[key])}" for _, key in keys) + "}"


def quote(text: str) -> str:
    """A string as JSON."""
    if _ESCAPED.search(text) is None:
        return f'"{text}"'
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"


def _text(kind: int, data: bytes, at: int, depth: int) -> str:
    if kind > 3:
        return _scalar(kind, data, at)
    items = _items(kind, data, at, depth, _text)
    if kind > 1:
        return "[" + ", ".join([value for _, value in items]) + "]"
    return "{" + ", ".join([f"{quote(key)}: {value}" for key, value in items]) + "}"


def _tree(kind: int, data: bytes, at: int, depth: int) -> Tree:
    if kind > 3:
        return _scalar(kind, data, at)
    items = _items(kind, data, at, depth, _tree)
    return [value for _, value in items] if kind > 1 else dict(items)


def _items(
    kind: int, data: bytes, at: int, depth: int, read: Callable[[int, bytes, int, int], _T]
) -> list[tuple[str, _T]]:
    """The members of an object, or of an array with empty keys."""
    if not depth:
        raise ValueError("a document nested too deeply")
    large = kind & 1
    if large:
        count, size = _large_head(data, at)
        entry, key_entry, width = _large_value, _large_key, 4
    else:
        count, size = _small_head(data, at)
        entry, key_entry, width = _small_value, _small_key, 2
    if at + size > len(data) or count > size:
        raise ValueError("a document that is truncated")
    keys, place = [""] * count, at + 2 * width
    if kind < 2:
        for i in range(count):
            begin, length = key_entry(data, place)
            place += width + 2
            if at + begin + length > len(data):
                raise ValueError("a document that is truncated")
            keys[i] = data[at + begin : at + begin + length].decode()
    out = []
    for key in keys:
        inner, where = entry(data, place)
        # Small values stand where others have their offset.
        if 4 <= inner <= 6 or (large and 7 <= inner <= 8):
            out.append((key, read(inner, data, place + 1, depth - 1)))
        elif not where:
            raise ValueError("a document within itself")
        else:
            out.append((key, read(inner, data, at + where, depth - 1)))
        place += width + 1
    return out


def _scalar(kind: int, data: bytes, at: int) -> str:
    if kind == 12:
        length, at = _length(data, at)
        return quote(_slice(data, at, length).decode())
    if kind in _SIMPLE:
        return str(_SIMPLE[kind](data, at)[0])
    if kind == 4:
        return _LITERALS[data[at]]
    if kind == 11:
        return spell_double(_double(data, at)[0])
    if kind == 15:
        length, begin = _length(data, at + 1)
        return _opaque(data[at], _slice(data, begin, length))
    raise ValueError("a value of an unknown type")


def _slice(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise ValueError("a document that is truncated")
    return data[at : at + length]


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A length in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for i in range(5):
        value |= (data[at + i] & 127) << 7 * i
        if data[at + i] < 128:
            return value, at + i + 1
    raise ValueError("a length that is none")


def spell_double(value: float) -> str:
    """A double as MySQL prints it in a document: shortest digits, and a point even in whole numbers."""
    if not math.isfinite(value):
        raise ValueError("not a number of a document")
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).rstrip("0")
    exponent += len(digits) - len(text)
    if not text:
        text, exponent = "0", 0
    point = len(text) + exponent
    minus = "-" if sign else ""
    if _LEAST_POINT <= point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    if 0 < point <= _MOST_POINT:
        return f"{minus}{text[:point].ljust(point, '0')}.{text[point:] or '0'}"
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{minus}{text[0]}{fraction}e{point - 1}"


def _opaque(kind: int, data: bytes) -> str:
    if kind == _DECIMAL:
        precision, scale = data[0], data[1]
        return decimals.spell(decimals.unscaled(data[2:], precision, scale), scale)
    if kind in (_DATE, _TIME, _DATETIME, _TIMESTAMP):
        if len(data) != 8:
            raise ValueError("a date or time of another length")
        return f'"{_temporal(kind, _int64(data, 0)[0])}"'
    return f'"base64:type{kind}:{b64encode(data).decode()}"'


def _temporal(kind: int, packed: int) -> str:
    size = abs(packed)
    micros, seconds = size & 0xFFFFFF, size >> 24
    clock = (
        (seconds >> 12 & (31 if kind != _TIME else 1023)) * 3600 + (seconds >> 6 & 63) * 60 + (seconds & 63)
    )
    if micros >= SECOND:
        raise ValueError("a fraction of more than six digits")
    if kind == _TIME:
        return ("-" if packed < 0 else "") + spell_clock(clock, micros, 6)
    month = seconds >> 22
    date = spell_date(month // 13, month % 13, seconds >> 17 & 31)
    return date if kind == _DATE else f"{date} {spell_clock(clock, micros, 6)}"
