"""The binlog stream: a connection that asks for events and keeps watch over them.

:class:`BinlogStream` takes an open PyMySQL connection of its own, sets the session up (heartbeats,
checksums, what MariaDB wants to know), registers as a replica and sends one of three requests:

* ``start_file``: from a position in a file, MySQL and MariaDB (COM_BINLOG_DUMP),
* ``start_gtids``: all that is not in a GTID set, MySQL (COM_BINLOG_DUMP_GTID),
* ``start_maria``: all behind a position of MariaDB's, per domain.

Then ``read`` gives blocks of events until ``close`` or an error. What the events mean, and which position is
durable, is the caller's.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication.html
"""

from __future__ import annotations

from typing import Any

from connectors.mysql.wire.blocks import Block
from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.maria_gtid import MariaPosition


class BinlogStream:
    """One request for binlog events. Takes over ``connection``, which is of no other use afterwards.

    ``server_id`` must be unique among all replicas and servers of the topology: of two readers with the same one the
    server ends the older. ``heartbeat``, in seconds, is how often the server speaks when it has nothing to
    say; if nothing at all comes for three such periods, the connection counts as lost. Not thread-safe.
    """

    def __init__(self, connection: Any, server_id: int, *, heartbeat: float = 10.0, wait: bool = True):
        """``wait`` False: the server ends the stream (``ended``) where its binlog ends."""
        self.ended = False
        raise NotImplementedError

    @property
    def file(self) -> str:
        """The file in which the last event of the last block lies."""
        raise NotImplementedError

    @property
    def position(self) -> int:
        """Where in ``file`` the last event of the last block ends."""
        raise NotImplementedError

    def start_file(self, file: str, position: int = 4) -> None:
        """Stream from ``position`` in ``file``; the empty name means the oldest file there is."""
        raise NotImplementedError

    def start_gtids(self, have: GtidSet) -> None:
        """Stream every transaction that is not in ``have`` (MySQL, gtid_mode=ON)."""
        raise NotImplementedError

    def start_maria(self, have: MariaPosition, *, strict: bool = True) -> None:
        """Stream every transaction behind ``have`` (MariaDB). ``strict``: refuse a position whose
        GTIDs are missing in the server's binlog."""
        raise NotImplementedError

    def read(self, timeout: float = 0.1) -> Block | None:
        """The next events, at least one; None when none came for ``timeout`` seconds.

        Raises PositionLost if the server no longer has what comes next, a retryable SourceError when the
        connection is lost or silent, SourceError or DecodeError otherwise; each with a hint where there is one.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the stream and its connection."""
        raise NotImplementedError
