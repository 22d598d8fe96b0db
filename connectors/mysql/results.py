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
        """About ``size`` bytes of packets, at most about ``count`` rows: the bytes, where each row begins in
        them, and whether these were the last."""
        parts: list[bytes] = []
        starts: list[int] = []
        before, within = 0, False
        data = self._rest
        while not self._ended:
            at, within = self._walk(data, before, starts, within)
            parts.append(data[:at])
            before += at
            rest = data[at:]
            if self._ended or (starts and not within and (before >= size or len(starts) >= count)):
                self._rest = b"" if self._ended else rest
                break
            more = self._driver._rfile.read1(_READ)
            if not more:
                raise pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
            data = rest + more
        return b"".join(parts), starts, self._ended

    def _walk(self, data: bytes, before: int, starts: list[int], within: bool) -> tuple[int, bool]:
        """Note where rows begin in the whole packets of ``data``; where the last of them ends, and whether
        the row in it goes on."""
        at, have = 0, len(data)
        number, append = int.from_bytes, starts.append
        while at + 5 <= have:
            end = at + 4 + number(data[at : at + 3], "little")
            if end > have:
                break
            if within:
                within = end - at - 4 == _LONG
            else:
                if data[at + 4] >= 0xFE:
                    if data[at + 4] == 0xFF:
                        self._fail(data[at + 4 : end])
                    if end - at < 13:
                        self._ended = True
                        break
                append(before + at)
                within = end - at - 4 == _LONG
            at = end
        return at, within

    def _fail(self, payload: bytes) -> None:
        """Raise what an ERR packet says."""
        self._ended = True
        pymysql.err.raise_mysql_exception(payload)
