"""The rows of a query as the server sends them, unbuffered and undecoded.

The driver sends the query and reads the columns' definitions; the packets behind them are taken straight
from its socket, some megabytes at a time. What is in them is :mod:`connectors.mysql.text_rows`' business.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html
"""

from __future__ import annotations

from typing import Any, Final

import pymysql
from pymysql.connections import MySQLResult
from pymysql.constants import COMMAND

from connectors.mysql.connection import Connection

_READ: Final = 1 << 18
_LONG: Final = 0xFFFFFF


class TextResult:
    """One query's rows. While it is being read the connection is of no other use; an error of the server's
    is raised as the driver's."""

    def __init__(self, conn: Connection[Any], sql: str):
        driver: Any = conn
        driver._execute_command(COMMAND.COM_QUERY, sql)
        result: Any = MySQLResult(driver)
        result.init_unbuffered_query()
        # The driver would otherwise read the rest by itself when the object goes.
        result.unbuffered_active = False
        result.connection = None
        self._driver = driver
        self._rest = b""
        self._ended = False

    def read(self, size: int, count: int = 1 << 62) -> tuple[bytes, list[int], bool]:
        """About ``size`` bytes of packets, at most about ``count`` rows: the bytes, where each row begins
        in them, and whether these were the last."""
        data = bytearray(self._rest)
        starts: list[int] = []
        at = walked = 0
        source = self._driver._rfile
        within = False
        while not self._ended:
            have = len(data)
            while at + 5 <= have:
                length = data[at] | data[at + 1] << 8 | data[at + 2] << 16
                end = at + 4 + length
                if end > have:
                    break
                if not within:
                    first = data[at + 4] if length else 0
                    if first == 0xFE and length < 9:
                        self._ended = True
                        break
                    if first == 0xFF:
                        self._fail(bytes(data[at + 4 : end]))
                    starts.append(at)
                within = length == _LONG
                at = end
                if not within:
                    walked = at
            if self._ended or (starts and not within and (walked >= size or len(starts) >= count)):
                break
            more = source.read1(_READ)
            if not more:
                raise pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
            data += more
        self._rest = b"" if self._ended else bytes(data[walked:])
        return bytes(data[:walked]), starts, self._ended

    def _fail(self, payload: bytes) -> None:
        """Raise what an ERR packet says."""
        self._ended = True
        pymysql.err.raise_mysql_exception(payload)
