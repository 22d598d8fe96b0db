"""Events that begin a transaction with its global id, and those that list ids.

MySQL: ``Gtid_event`` in libs/mysql/binlog/event/control_events.h; tagged ones (since 8.4) use the format
of libs/mysql/serialization. MariaDB: GTID_EVENT and GTID_LIST_EVENT of its replication protocol.
"""

from __future__ import annotations

from typing import Final

from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.maria_gtid import MariaPosition


class Gtid:
    """A transaction of MySQL begins.

    ``sid`` is its uuid, with ``:tag`` if it has one, and ``number`` its number there; ``""`` and 0 for an anonymous
    one (gtid_mode=OFF). ``committed`` is when it was committed here, ``original`` where it came from: microseconds
    since 1970, 0 where the server is too old to tell. ``length`` is that of the whole transaction in
    the binlog, in bytes, 0 if not told.
    """

    __slots__ = ("committed", "flags", "last_committed", "length", "number", "original", "sequence", "sid")

    sid: str
    number: int
    flags: int
    last_committed: int
    sequence: int
    committed: int
    original: int
    length: int


#: Flags of MariaDB's GTIDs.
STANDALONE: Final = 1  #: no terminating event: one statement, usually DDL
GROUP_COMMIT: Final = 2
TRANSACTIONAL: Final = 4
ALLOW_PARALLEL: Final = 8
WAITED: Final = 16
DDL: Final = 32
PREPARED_XA: Final = 64
COMPLETED_XA: Final = 128


class MariaGtid:
    """A transaction ("event group") of MariaDB begins; ``xid`` (of XA transactions) as XA statements spell it."""

    __slots__ = ("domain", "flags", "sequence", "server_id", "xid")

    domain: int
    server_id: int
    sequence: int
    flags: int
    xid: str


def parse_gtid(data: bytes, start: int, end: int) -> Gtid:
    """GTID or ANONYMOUS_GTID."""
    raise NotImplementedError


def parse_tagged_gtid(data: bytes, start: int, end: int) -> Gtid:
    """TAGGED_GTID."""
    raise NotImplementedError


def parse_previous_gtids(data: bytes, start: int, end: int) -> GtidSet:
    """All transactions before this file."""
    raise NotImplementedError


def parse_maria_gtid(data: bytes, start: int, end: int, server_id: int) -> MariaGtid:
    """MARIA_GTID; its server id stands in the event's header."""
    raise NotImplementedError


def parse_maria_gtid_list(data: bytes, start: int, end: int) -> MariaPosition:
    """MARIA_GTID_LIST: the last of each domain before this file (of several servers in one domain, the one that
    is listed last, which is the last indeed)."""
    raise NotImplementedError
