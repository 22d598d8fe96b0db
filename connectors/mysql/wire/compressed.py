"""Events that MariaDB compressed singly (``log_bin_compress``): the body of the event they stand for.

QUERY_COMPRESSED becomes the body of a QUERY, …_ROWS_COMPRESSED that of the rows event that
``kinds.COMPRESSED_ROWS`` names: only what stands last, the statement or the rows, is compressed.

https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol/rows_event_v1v2-rows_compressed_event_v1
"""

from __future__ import annotations

import zlib
from typing import Final

from connectors.mysql.wire import kinds
from connectors.mysql.wire.events import damaged, packed_int
from liberator.errors import DecodeError

#: What unpacks to more bytes than this is refused: no event is larger.
LIMIT: Final = 1 << 30

_QUERY_HEAD: Final = 13
_ROWS_HEAD: Final = 8
_UPDATES: Final = frozenset((kinds.UPDATE_ROWS_COMPRESSED_V1, kinds.UPDATE_ROWS_COMPRESSED))


def uncompress_query(data: bytes, start: int, end: int, limit: int = LIMIT) -> bytes:
    """The whole body of a QUERY event. Raises DecodeError for damaged bytes or more than ``limit``."""
    if end - start < _QUERY_HEAD:
        raise damaged("query_compressed")
    status = data[start + 11] | data[start + 12] << 8
    statement = start + _QUERY_HEAD + status + data[start + 8] + 1
    return data[start:statement] + _uncompress(data, statement, end, limit)


def uncompress_rows(kind: int, data: bytes, start: int, end: int, limit: int = LIMIT) -> bytes:
    """The whole body of the rows event that one of ``kind`` stands for. Raises DecodeError."""
    at = start + _ROWS_HEAD
    if kind >= kinds.WRITE_ROWS_COMPRESSED:
        if at + 2 > end:
            raise damaged(kinds.name(kind))
        at += max(2, data[at] | data[at + 1] << 8)  # more about the event; its length counts itself
    columns, at = packed_int(data, at, end)
    at += (columns + 7) // 8 * (2 if kind in _UPDATES else 1)
    return data[start:at] + _uncompress(data, at, end, limit)


def _uncompress(data: bytes, at: int, end: int, limit: int) -> bytes:
    """A byte with the algorithm and the size of the length, the length (big-endian), the rest."""
    if at >= end:
        raise damaged("compressed")
    algorithm, size = data[at] >> 4, data[at] & 7
    begin = at + 1 + size
    if algorithm != 8 or not 0 < size <= 4 or begin > end:
        raise damaged("compressed")
    length = int.from_bytes(data[at + 1 : begin], "big")
    if length > limit:
        raise DecodeError(f"a compressed binlog event claims to hold {length} bytes, more than any event may")
    inflate = zlib.decompressobj()
    try:
        # One byte more than it should have shows that it has more.
        out = inflate.decompress(data[begin:end], length + 1)
    except zlib.error:
        raise damaged("compressed") from None
    if len(out) != length or not inflate.eof or inflate.unused_data:
        raise damaged("compressed")
    return out
