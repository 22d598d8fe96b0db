"""Events that MariaDB compressed singly (``log_bin_compress``): the body of the event they stand for.

QUERY_COMPRESSED becomes the body of a QUERY, …_ROWS_COMPRESSED that of the rows event that
``kinds.COMPRESSED_ROWS`` names.

https://mariadb.com/docs/server/server-management/server-monitoring-logs/binary-log/compressing-events-to-reduce-size-of-the-binary-log
"""

from __future__ import annotations

from typing import Final

LIMIT: Final = 1 << 30


def uncompress_query(data: bytes, start: int, end: int, limit: int = LIMIT) -> bytes:
    """The whole body of a QUERY event. Raises DecodeError for damaged bytes or more than ``limit``."""
    raise NotImplementedError


def uncompress_rows(data: bytes, start: int, end: int, *, v2: bool, limit: int = LIMIT) -> bytes:
    """The whole body of a rows event; ``v2`` for kinds of version 2 (WRITE_ROWS_COMPRESSED and on)."""
    raise NotImplementedError
