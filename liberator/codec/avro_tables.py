"""Look-up tables and small functions that generated encoders and decoders take their shortcuts through.

Writing. A number below 2^13 is one look-up; below 2^27 two, with no arithmetic on the bytes: the lower 13
bits are the first two bytes of its zigzag varint, the next 14 bits the two after them. Larger numbers of
one column tend to lie close together (times, LSNs, generated keys): what is above their lower 27 bits is
looked up once for a *window* of 2^27 numbers.

Reading. A number that is not negative is the sum of what its bytes say, each looked up in a small table of
its place: small, because tables that the processor cannot keep near cost more than they save.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
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
#: The same for negative numbers, by their distance below -1: the lower 13 bits of what is further below.
LB = tuple(bytes((2 * i + 1 & 127 | 128, 2 * i + 1 >> 7 | 128)) for i in range(SMALL))
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

    ``full`` is called when the column turns out not to repeat itself, or all columns together have been
    remembering enough: it is then better served directly.
    """

    MOST = 500
    LONGEST = 64
    #: How many texts all columns may remember together, and how many they do.
    MOST_OF_ALL = 20_000
    of_all = 0

    def __init__(self, prefix: bytes):
        super().__init__()
        self._prefix = prefix
        self._seen = 0
        self._over = False
        self.full: Callable[[], None] | None = None
        if prefix:
            self[None] = b"\0"

    def __missing__(self, text: str) -> bytes:
        data = text.encode()
        made = self._prefix + write_long(len(data)) + data
        if self._seen >= self.MOST or Texts.of_all >= self.MOST_OF_ALL:
            self._give_up()
        elif not self._over:
            self._seen += 1
            Texts.of_all += 1
            if len(data) <= self.LONGEST:
                self[text] = made
        return made

    def _give_up(self) -> None:
        self._forget()
        self._over = True
        self.clear()
        if self._prefix:
            self[None] = b"\0"
        if self.full is not None:
            self.full()

    def _forget(self) -> None:
        Texts.of_all -= self._seen
        self._seen = 0

    __del__ = _forget


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


@lru_cache(maxsize=100)
def ordinals(rest: bytes) -> Ordinals:
    """The ordinals before ``rest``, which all tables have in common."""
    return Ordinals(rest)


_highs: dict[int, bytes] = {}


def window(value: int, first: tuple[bytes, ...]) -> tuple[int, bytes, bytes, bytes, bytes]:
    """The window that ``value`` lies in, and its parts: (base, end, first part, second part, third part).

    Any number v of the window is ``first[v - base & 8191] + M[v - base >> 13] + end``; ``first`` is L or
    LN. Numbers below 2^27 have no window; their base is NOWHERE.
    """
    if not WINDOW <= value < 1 << 63:
        prefix = first[0][:-2]
        return NOWHERE, b"", prefix + (below(value) if value < 0 else write_long(value)), b"", b""
    high, low = value >> 27, value & WINDOW - 1
    end = _highs.get(high)
    if end is None:
        if len(_highs) > 10_000:
            _highs.clear()
        end = _highs[high] = _unsigned(high)
    return high << 27, end, first[low & 8191], M[low >> 13], end


def near(value: int) -> tuple[int, bytes, tuple[bytes, ...], bytes, bytes]:
    """A window of only 2^13 numbers around ``value``, for what grows in small steps, and the parts of
    ``value``: (base, end, table, first part, second part).

    Any number v of the window is ``table[v - base] + end``.
    """
    if 0 <= value < SMALL:
        return 0, b"", Z, Z[value], b""
    if SMALL <= value < 1 << 63:
        end = _unsigned(value >> 13)
        return value & -SMALL, end, L, L[value & SMALL - 1], end
    return NOWHERE, b"", Z, write_long(value), b""


def near_n(value: int) -> tuple[int, bytes, tuple[bytes, ...], bytes, bytes]:
    """The same behind the branch "value" of a nullable union."""
    base, end, table, first, second = near(value)
    return base, end, ZN if table is Z else LN, b"\2" + first, second


def below(value: int) -> bytes:
    """Any negative 64-bit number."""
    rest = ~value
    if rest < 64:
        return bytes((2 * rest + 1,))
    if rest < WINDOW:
        return (LB[rest & SMALL - 1] + F[rest >> 13]) if rest >= SMALL else _unsigned(2 * rest + 1)
    if rest < 1 << 62:
        return LB[rest & SMALL - 1] + M[rest >> 13 & 16383] + _unsigned(rest >> 27)
    return write_long(value)


def below_n(value: int) -> bytes:
    """The same behind the branch "value" of a nullable union."""
    return b"\2" + below(value)


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


#: A number of one byte.
ONE = tuple((i >> 1) ^ -(i & 1) for i in range(128))
#: By place: the share of a byte in a number that is even before it is halved (not negative).
SHARE = tuple(tuple((i & 127) << 7 * place >> 1 for i in range(256)) for place in range(8))
#: Taken from anything, this leaves less than any number of 64 bits, whatever is added.
NONSENSE = -1 << 80
#: The same for numbers of eight bytes: NONSENSE for a byte that cannot stand there.
FIRST = tuple(share if i > 127 and not i & 1 else NONSENSE for i, share in enumerate(SHARE[0]))
NEXT = tuple(tuple(s if i > 127 else NONSENSE for i, s in enumerate(table)) for table in SHARE[:4])
#: The share of the highest byte of a decimal of two or three bytes, and of the one below it.
SIGNED = tuple(tuple((i - 256 if i > 127 else i) << 8 * place for i in range(256)) for place in range(3))
UPPER = tuple(i << 8 for i in range(256))
#: The offset behind a text or bytes of up to 63 bytes, from its branch byte on, by its length byte; else 0.
BEHIND = tuple(i // 2 + 2 if i < 128 and not i & 1 else 0 for i in range(256))


class Highs(dict[int, int]):
    """The last four bytes of a number of eight, as one int: its share; NONSENSE for what is no such end."""

    def __missing__(self, end: int) -> int:
        a, b, c, d = end.to_bytes(4, "little")
        if a < 128 or b < 128 or c < 128 or d > 127:
            return NONSENSE
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
