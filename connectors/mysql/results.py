"""The rows of a query as the server sends them, unbuffered and undecoded.

The driver sends the query and reads the columns' definitions; the packets behind them are taken straight
from its socket, some megabytes at a time. What is in them is :mod:`connectors.mysql.text_rows`' business, or
of a prepared statement :mod:`connectors.mysql.binary_rows`'.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase_ps.html
"""

from __future__ import annotations

import contextlib
import select
import struct
from typing import Any, Final

import pymysql
from pymysql.connections import MySQLResult
from pymysql.constants import COMMAND

from connectors.mysql.connection import Connection, code
from connectors.mysql.result import ResultColumn, described
from connectors.mysql.row_packets import FULL, HEADER

_READ: Final = 1 << 18
#: Of a packet the length's lower two bytes and its third, and the first byte of the payload.
_head = struct.Struct("<HBxB").unpack_from
#: With which byte the last packet of a result, or an error, begins; rows begin with less, but for one whose
#: first value takes 16 MB and more.
_LAST: Final = 0xFE
_prepared = struct.Struct("<xIHH")
#: Errors by which a server says that there is no prepared statement to be had: no such command (a proxy),
#: none of this kind, no more of them, none that lasts until it is executed.
_UNPREPARED: Final = frozenset((1047, 1295, 1461, 1615))


class TextResult:
    """One query's rows. While it is being read the connection is of no other use; an error of the server's
    is raised as the driver's."""

    def __init__(self, conn: Connection[Any], sql: str):
        self._driver: Any = conn
        #: What has come and was not given out.
        self._block = bytearray()
        self._ended = False
        self._begin(sql)

    def _begin(self, sql: str) -> None:
        self._driver._execute_command(COMMAND.COM_QUERY, sql)
        self._described()

    def _described(self) -> list[ResultColumn]:
        """What the server says of the columns, in front of the rows."""
        result: Any = MySQLResult(self._driver)
        result.init_unbuffered_query()
        # The driver would otherwise read the rest by itself when the object goes.
        result.unbuffered_active = False
        result.connection = None
        return [described(field) for field in result.fields]

    def read(self, size: int, count: int = 1 << 62) -> tuple[bytes, list[int], bool]:
        """About ``size`` bytes of packets, at most about ``count`` rows: the bytes, where each row begins in
        them, and whether these were the last."""
        block = self._block
        starts: list[int] = []
        at, within = 0, False
        while True:
            at, within = self._walk(block, at, starts, within)
            if self._ended or (starts and not within and (at >= size or len(starts) >= count)):
                break
            if not self._receive():
                raise pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
        self._block = block[at:]
        del block[at:]
        return bytes(block), starts, self._ended

    def gather(self, size: int) -> None:
        """Take what has come already, up to about ``size`` bytes, so that the server can go on sending
        before :meth:`read` is called."""
        poll = select.poll()
        poll.register(self._driver._sock, select.POLLIN)
        # Whatever is wrong with the connection, read will meet it too.
        with contextlib.suppress(OSError):
            while len(self._block) < size and poll.poll(0) and self._receive():
                pass

    def _receive(self) -> int:
        """The number of bytes that have come; 0 if none will."""
        data = self._driver._rfile.read1(_READ)
        self._block += data
        return len(data)

    def _walk(self, block: bytearray, at: int, starts: list[int], within: bool) -> tuple[int, bool]:
        """Note where rows begin in the whole packets of ``block`` from ``at`` on; where the last of them
        ends, and whether the row in it goes on."""
        have = len(block)
        append = starts.append
        while at + HEADER < have:
            low, high, first = _head(block, at)
            end = at + HEADER + low
            # Nearly all packets are rows of less than 64 KB.
            if high or within or first >= _LAST or end > have:
                size = high << 16 | low
                end = at + HEADER + size
                if end > have:
                    break
                if not within:
                    if first >= _LAST and self._is_end(bytes(block[at + HEADER : end])):
                        break
                    append(at)
                within = size == FULL
            else:
                append(at)
            at = end
        return at, within

    def _is_end(self, payload: bytes) -> bool:
        """Whether a packet ends the result rather than being a row; raises what an ERR packet says."""
        if payload[0] > _LAST:
            self._ended = True
            pymysql.err.raise_mysql_exception(payload)
        self._ended = len(payload) < 9
        return self._ended


class BinaryResult(TextResult):
    """The rows of a prepared statement without parameters, which is executed once; ``definitions`` say in
    which form each column is sent."""

    definitions: list[ResultColumn]

    def _begin(self, sql: str) -> None:
        driver = self._driver
        driver._execute_command(COMMAND.COM_STMT_PREPARE, sql)
        self._statement, columns, parameters = _prepared.unpack_from(driver._read_packet().get_all_data())
        for count in (parameters, columns):
            while count and not driver._read_packet().is_eof_packet():
                pass
        # No cursor, once.
        driver._execute_command(COMMAND.COM_STMT_EXECUTE, struct.pack("<IBI", self._statement, 0, 1))
        try:
            self.definitions = self._described()
        except pymysql.MySQLError as exc:
            if is_unprepared(exc):
                self._forget()
            raise

    def read(self, size: int, count: int = 1 << 62) -> tuple[bytes, list[int], bool]:
        """As for any result; the server forgets the statement behind the last row."""
        found = super().read(size, count)
        if self._ended:
            self._forget()
        return found

    def _forget(self) -> None:
        """Have the server forget the statement, to which it gives no answer."""
        self._driver._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", self._statement))


def is_unprepared(exc: BaseException) -> bool:
    """Whether an error says that the server prepares no statement, at least now."""
    return code(exc) in _UNPREPARED
