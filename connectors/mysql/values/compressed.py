"""MariaDB's compressed columns: one byte that says how, the length in big-endian, a deflate stream.

``sql/field_comp.cc``. A byte of zero says that what follows is the value itself.
"""

from __future__ import annotations

import zlib
from typing import Final

_ZLIB: Final = 8
_RAW: Final = 8
#: No value is longer (``max_allowed_packet``).
_LIMIT: Final = 1 << 30


def uncompress(data: bytes) -> bytes:
    """The value. Raises ValueError for what is no compressed value, or longer than it says."""
    if not data:
        return b""
    head = data[0]
    if not head:
        return data[1:]
    width = head & 7
    size = int.from_bytes(data[1 : 1 + width], "big")
    if head >> 4 != _ZLIB or not 1 <= width <= 4 or size > _LIMIT:
        raise ValueError("not a compressed value")
    inflate = zlib.decompressobj(-15 if head & _RAW else 15)
    try:
        value = inflate.decompress(data[1 + width :], size + 1)
    except zlib.error:
        raise ValueError("not a compressed value") from None
    if len(value) != size:
        raise ValueError("a compressed value of another length")
    return value
