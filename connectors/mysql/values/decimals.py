"""Decimals: from the digits that the servers store to unscaled integers.

Digits stand in groups of nine, each a big-endian integer of four bytes, before and behind the point; the
outermost groups may have fewer digits and bytes. The first bit is set for positive numbers, and all bits of
negative ones are inverted. ``strings/decimal.c`` (``bin2decimal``) in both servers.
"""

from __future__ import annotations

from typing import Final

#: How many bytes so many digits take.
BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def groups(precision: int, scale: int) -> list[tuple[int, int]]:
    """``(bytes, digits)`` of each group, from left to right."""
    whole, short = divmod(precision - scale, 9)
    out = [(BYTES[short], short)] if short else []
    out += [(4, 9)] * whole
    whole, short = divmod(scale, 9)
    out += [(4, 9)] * whole
    return [*out, (BYTES[short], short)] if short else out


def size(precision: int, scale: int) -> int:
    """How many bytes a value takes."""
    return sum(count for count, _ in groups(precision, scale))


def unscaled(data: bytes, precision: int, scale: int) -> int:
    """The unscaled integer of a value: 1.50 of decimal(3,2) is 150. Raises ValueError."""
    parts = groups(precision, scale)
    if len(data) != sum(count for count, _ in parts) or not data:
        raise ValueError("not a decimal: of another length")
    negative = not data[0] & 0x80
    bits = bytearray(data)
    bits[0] ^= 0x80
    if negative:
        bits = bytearray(byte ^ 0xFF for byte in bits)
    value = at = 0
    for count, digits in parts:
        group = int.from_bytes(bits[at : at + count], "big")
        if group >= 10**digits:
            raise ValueError("not a decimal: a group of too many digits")
        value = value * 10**digits + group
        at += count
    return -value if negative else value


def spell(value: int, scale: int) -> str:
    """The decimal as the servers print it: 150 of scale 2 is ``1.50``."""
    digits = str(abs(value)).rjust(scale + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else sign + digits
