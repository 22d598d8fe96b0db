"""Look-up tables and small functions that generated encoders and decoders take their shortcuts through.

Writing. A number below 2^13 is one look-up; below 2^27 two, with no arithmetic on the bytes: the lower 13
bits are the first two bytes of its zigzag varint, the next 14 bits the two after them. Larger numbers of
one column tend to lie close together (times, LSNs, generated keys): what is above their lower 27 bits is
looked up once for a *window* of 2^27 numbers.

Reading. Two bytes are taken at a time, as one 16-bit index (its low byte comes first); an entry that makes
no sense at its place is None, or FAR, which no sum with it can hide.
"""

from __future__ import annotations

from typing import Any

from liberator.codec.avro_value import read_text, write_long

SMALL = 1 << 13
WINDOW = 1 << 27
#: The base of a column's window before its first number: far from every 64-bit number.
NOWHERE = 1 << 70


def _unsigned(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


#: Whole numbers below 2^13.
Z = tuple(_unsigned(2 * i) for i in range(SMALL))
#: The lower 13 bits of a larger number, never the last bytes.
L = tuple(bytes((2 * i & 127 | 128, 2 * i >> 7 | 128)) for i in range(SMALL))
#: 14 bits as the last bytes of a number, and as bytes that others follow.
F = tuple(_unsigned(i) for i in range(1 << 14))
M = tuple(bytes((i & 127 | 128, i >> 7 | 128)) for i in range(1 << 14))
#: The same as Z and L behind the branch "value" of a nullable union.
ZN = tuple(b"\2" + made for made in Z)
LN = tuple(b"\2" + made for made in L)


class Lengths(dict[int, bytes]):
    """Length prefixes, behind ``prefix``."""

    def __init__(self, prefix: bytes):
        super().__init__()
        self._prefix = prefix

    def __missing__(self, size: int) -> bytes:
        made = self._prefix + write_long(size)
        if size < 4096:
            self[size] = made
        return made


class Texts(dict[Any, bytes]):
    """The texts of a column that repeats itself, encoded once; null too where the column has it.

    ``full`` turns true when the column turns out not to repeat itself: it is then better served directly.
    """

    MOST = 500
    LONGEST = 64

    def __init__(self, prefix: bytes):
        super().__init__()
        self._prefix = prefix
        self._seen = 0
        self.full = False
        if prefix:
            self[None] = b"\0"

    def __missing__(self, text: str) -> bytes:
        data = text.encode()
        made = self._prefix + write_long(len(data)) + data
        self._seen += 1
        if self._seen > self.MOST:
            self.full = True
        elif len(data) <= self.LONGEST:
            self[text] = made
        return made


class Ordinals(dict[int, bytes]):
    """What stands between the transaction and the row of a plain create, update or read whose ordinal and
    table ordinal are equal, by that ordinal; ``rest`` is all that follows the ordinals."""

    MOST = 4096

    def __init__(self, rest: bytes):
        super().__init__()
        self.rest = rest

    def __missing__(self, ordinal: int) -> bytes:
        made = write_long(ordinal) * 2 + self.rest
        if 0 <= ordinal < self.MOST:
            self[ordinal] = made
        return made


_highs: dict[int, bytes] = {}


def window(value: int, first: tuple[bytes, ...]) -> tuple[int, bytes, bytes, bytes, bytes]:
    """The window that ``value`` lies in, and its parts: (base, end, first part, second part, third part).

    Any number v of the window is ``first[v - base & 8191] + M[v - base >> 13] + end``; ``first`` is L or
    LN. Numbers below 2^27 have no window; their base is NOWHERE.
    """
    if not WINDOW <= value < 1 << 63:
        prefix = first[0][:-2]
        return NOWHERE, b"", prefix + write_long(value), b"", b""
    high, low = value >> 27, value & WINDOW - 1
    end = _highs.get(high)
    if end is None:
        if len(_highs) > 10_000:
            _highs.clear()
        end = _highs[high] = _unsigned(high)
    return high << 27, end, first[low & 8191], M[low >> 13], end


def number(value: int) -> bytes:
    """Any 64-bit number, with few steps for the common."""
    if 0 <= value < SMALL:
        return Z[value]
    if 0 < value < WINDOW:
        return L[value & 8191] + F[value >> 13]
    if WINDOW <= value < 1 << 62:
        _, _, first, second, third = window(value, L)
        return first + second + third
    return write_long(value)


#: Added to anything, this is more than any number of 64 bits.
FAR = 1 << 80


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


#: A number of one byte.
ONE = tuple(_zigzag(i) for i in range(128))
_ends = [[None if high > 127 else low & 127 | high << 7 for low in range(256)] for high in range(256)]
_goes_on = [[low > 127 and high > 127 for low in range(256)] for high in range(256)]
#: A number of two bytes; None where it goes on.
TWO = tuple(None if v is None else _zigzag(v) for row in _ends for v in row)
#: The first two bytes of a longer number: its share, and with that the sign of all that follows.
BEGIN = tuple(
    _zigzag(low & 127 | (high & 127) << 7) if _goes_on[high][low] else None
    for high in range(256)
    for low in range(256)
)
#: Two bytes that end a number of three or four, as 13 bits up; None where it goes on.
END = tuple(
    (low if low < 128 else low & 127 | high << 7) << 13 if low < 128 or high < 128 else None
    for high in range(256)
    for low in range(256)
)
#: How many bytes they are with the two before them.
LENGTH = tuple(3 if low < 128 else 4 for _ in range(256) for low in range(256))
#: The same as BEGIN, for numbers that are not negative; and the two bytes after them; else FAR.
POSITIVE = tuple(FAR if v is None or v < 0 else v for v in BEGIN)
MIDDLE = tuple(
    (low & 127 | (high & 127) << 7) << 13 if _goes_on[high][low] else FAR
    for high in range(256)
    for low in range(256)
)
#: The offset behind a text or bytes of up to 63 bytes, from its branch byte on, by its length byte; else 0.
BEHIND = tuple(i // 2 + 2 if i < 128 and not i & 1 else 0 for i in range(256))
del _ends, _goes_on


class Highs(dict[int, int]):
    """The last four bytes of a number of eight: its share. What is no such end is FAR."""

    def __missing__(self, end: int) -> int:
        a, b, c, d = end.to_bytes(4, "little")
        if a < 128 or b < 128 or c < 128 or d > 127:
            return FAR
        if len(self) > 10_000:
            self.clear()
        made = self[end] = (a & 127 | (b & 127) << 7 | (c & 127) << 14 | d << 21) << 27
        return made


def text(data: bytes, at: int) -> tuple[str, int]:
    """A text whose length byte is at ``at``; raises anything for what it does not know."""
    low, high = data[at], data[at + 1]
    if low < 128 or high > 127 or low & 1:
        return read_text(data, at)
    end = at + 2 + ((low & 127 | high << 7) >> 1)
    return data[at + 2 : end].decode(), end
