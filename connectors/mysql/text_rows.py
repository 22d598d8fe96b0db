"""Rows of a ``select`` (text protocol): what to select, and compiled decoders for the packets.

``TextRows`` takes a table's columns and says how each is selected so that nothing is lost; its ``decode`` takes
the bytes that the server sent, packet headers and all, and gives rows of the very values that
:mod:`connectors.mysql.rows` reads from the binlog. The session must have the variables of :data:`SESSION`. For
queries that others wrote, ``columns`` come from the result's own column definitions
(:mod:`connectors.mysql.result`).

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_row.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connectors.mysql.types import DEFAULTS, TypeOptions
from liberator.event import Row
from liberator.schema import Column

#: ``set session`` of these before reading (values are SQL); both databases have them all.
SESSION: Final = {
    "time_zone": "'+00:00'",
    "character_set_results": "utf8mb4",
    "sql_mode": "''",
}


class TextRows:
    """How the rows of some columns are selected and decoded.

    ``select`` has an SQL expression for each column, in order, with the name quoted and alone: it stands for
    a select list from the table or from a subquery. Compiled at the first use.
    """

    __slots__ = ("columns", "options", "select")

    def __init__(self, columns: Sequence[Column], options: TypeOptions = DEFAULTS):
        self.columns = tuple(columns)
        self.options = options
        self.select: tuple[str, ...] = ()

    def decode(self, data: bytes, start: int = 0) -> tuple[list[Row], int]:
        """The rows of the whole packets that lie in ``data`` from ``start`` on, and where reading
        stopped: before the first packet that is not whole or is not a row.

        Which of the two it is says :func:`packet_end`. Raises DecodeError for a damaged row.
        """
        raise NotImplementedError

    def row(self, payload: bytes) -> Row:
        """One row from the payload of its packet (or of its packets: those of 16 MB and more come in several,
        whose payloads are to be joined)."""
        raise NotImplementedError


def packet_end(data: bytes, start: int) -> int | None:
    """Where the packet that begins at ``start`` ends; None if it is not whole."""
    raise NotImplementedError


def is_row(data: bytes, start: int) -> bool:
    """Whether the whole packet at ``start`` is a row, or a part of one, rather than the end of the result (EOF or OK)
    or an error (ERR)."""
    raise NotImplementedError
