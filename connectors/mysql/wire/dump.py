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

import contextlib
import struct
import time
from typing import Any, Final

import pymysql
from pymysql.constants import COMMAND

from connectors.mysql.connection import Server, code, literal, query, translate
from connectors.mysql.wire.blocks import Block, Splitter
from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.maria_gtid import MariaPosition
from connectors.mysql.wire.packets import Packets
from connectors.mysql.wire.refusals import DENIED, GRANT
from liberator.errors import SourceError

_NANO: Final = 1_000_000_000
_DUMP_GTID: Final = 30
_NON_BLOCK: Final = 1
#: Heartbeats with a position of 64 bits (MySQL 8.0.26); a server that does not know it ignores it.
_HEARTBEAT_V2: Final = 2
#: The same bit at MariaDB: also ANNOTATE_ROWS.
_ANNOTATE: Final = 2
#: Heartbeats that may be missed before the connection counts as lost.
_PERIODS: Final = 3


class BinlogStream:
    """One request for binlog events. Takes over ``connection``, which is of no other use afterwards.

    ``server_id`` must be unique among all replicas and servers of the topology: of two readers with the same
    one the server ends the older. ``heartbeat``, in seconds, is how often the server speaks when it has
    nothing to say; if nothing at all comes for three such periods, the connection counts as lost.
    ``wait`` False: the server ends the stream (``ended``) where its binlog ends. ``annotate``: MariaDB sends
    ANNOTATE_ROWS as well. Not thread-safe.
    """

    def __init__(
        self,
        connection: pymysql.Connection[Any],
        server_id: int,
        *,
        heartbeat: float = 10.0,
        wait: bool = True,
        annotate: bool = False,
    ):
        self.server = Server.of(connection)
        self._connection = connection
        self._server_id = server_id
        self._heartbeat = heartbeat
        self._wait = wait
        self._annotate = annotate
        self._packets: Packets | None = None
        self._splitter = Splitter()

    @property
    def file(self) -> str:
        """The file in which the next event begins, as far as is known."""
        return self._splitter.file

    @property
    def position(self) -> int:
        """Where in ``file`` the next event begins."""
        return self._splitter.position

    @property
    def ended(self) -> bool:
        """Whether the server has said that there is no more (only if it was not to wait)."""
        return self._packets is not None and self._packets.ended

    def start_file(self, file: str, position: int = 4) -> None:
        """Stream from ``position`` in ``file``; the empty name means the oldest file there is."""
        if position >> 32:
            raise SourceError(
                f"cannot read the binlog from {file}:{position}: a position has 32 bits in this request",
                hint="read by GTID (gtid_mode=ON)",
            )
        body = struct.pack("<IHI", position, self._flags(), self._server_id) + file.encode()
        self._start(COMMAND.COM_BINLOG_DUMP, body, file, position)

    def start_gtids(self, have: GtidSet) -> None:
        """Stream every transaction that is not in ``have`` (MySQL, gtid_mode=ON)."""
        encoded = have.encode()
        # Through GTIDs: flag 4; no file, its begin, the set.
        head = struct.pack("<HIIQI", self._flags() | 4, self._server_id, 0, 4, len(encoded))
        self._start(_DUMP_GTID, head + encoded, "", 4)

    def start_maria(self, have: MariaPosition, *, strict: bool = True) -> None:
        """Stream every transaction behind ``have`` (MariaDB). ``strict``: a position that the server's binlog
        does not hold is refused even if it holds later ones."""
        body = struct.pack("<IHI", 4, self._flags(), self._server_id)
        self._start(COMMAND.COM_BINLOG_DUMP, body, "", 4, {
            "slave_connect_state": literal(str(have)),
            "slave_gtid_strict_mode": str(int(strict)),
            "slave_gtid_ignore_duplicates": "0",
        })  # fmt: skip

    def _flags(self) -> int:
        own = _ANNOTATE * self._annotate if self.server.mariadb else _HEARTBEAT_V2
        return own if self._wait else own | _NON_BLOCK

    def _start(
        self, command: int, body: bytes, file: str, position: int, settings: dict[str, str] | None = None
    ) -> None:
        splitter = self._splitter
        driver: Any = self._connection  # what follows it does not offer to others
        splitter.file, splitter.position = file, position
        try:
            with translate("prepare the binlog stream"):
                splitter.checksum = self._set_up(settings or {})
                driver._execute_command(COMMAND.COM_REGISTER_SLAVE, self._registration())
                driver._read_packet()
                driver._execute_command(command, body)
        except SourceError as exc:
            if exc.__cause__ is not None and code(exc.__cause__) in DENIED:
                exc.hint = GRANT
            raise
        self._packets = Packets(driver._sock, splitter)

    def _set_up(self, settings: dict[str, str]) -> bool:
        """Set the session's variables; whether the server's events carry a CRC32."""
        checksum = str(query(self._connection, "select @@global.binlog_checksum")[0][0]).upper()
        period = str(int(self._heartbeat * _NANO))
        wanted = {"master_heartbeat_period": period, "master_binlog_checksum": literal(checksum), **settings}
        if self.server.mariadb:
            wanted["mariadb_slave_capability"] = "4"
        else:
            wanted["source_heartbeat_period"] = period
            wanted["source_binlog_checksum"] = literal(checksum)
        query(self._connection, "set " + ", ".join(f"@{name} = {value}" for name, value in wanted.items()))
        return checksum == "CRC32"

    def _registration(self) -> bytes:
        """Who we are, for ``show replicas``: no host, user, password or port that anybody could use."""
        host = b"liberator"
        return (
            struct.pack("<IB", self._server_id, len(host))
            + host
            + bytes((0, 0))
            + struct.pack("<HII", 0, 0, 0)
        )

    def read(self, timeout: float = 0.1) -> Block | None:
        """The next events, at least one; None when none came for ``timeout`` seconds.

        Raises PositionLost if the server no longer has what comes next, a retryable SourceError when the
        connection is lost or silent, SourceError or DecodeError otherwise; with a hint where there is one.
        """
        if self._packets is None:
            raise SourceError("cannot read a binlog stream that was not started")
        block = self._packets.read(timeout)
        if block is None:
            self._watch(self._packets)
        return block

    def _watch(self, packets: Packets) -> None:
        """Nothing came: is the server still there?"""
        if packets.ended:
            if self._wait:
                raise SourceError(
                    f"the server ended the binlog stream at {self.file}:{self.position}", retryable=True
                )
            return
        silence = time.monotonic() - packets.heard
        if silence > _PERIODS * self._heartbeat:
            raise SourceError(
                f"lost the binlog stream at {self.file}:{self.position}: the server has not been heard for "
                f"{silence:.0f} s, and was to speak every {self._heartbeat:g} s",
                retryable=True,
            )

    def close(self) -> None:
        """End the stream and its connection."""
        # Not by COM_QUIT: the server's thread does not listen while it sends.
        driver: Any = self._connection
        with contextlib.suppress(Exception):
            driver._force_close()
