"""Packets that are rows of a result, whichever of the two protocols their values are written in.

:class:`RowPackets` takes blocks of packets as the server sent them; how the values of one row lie in its
payload is known to :class:`connectors.mysql.text_rows.TextRows` and
:class:`connectors.mysql.binary_rows.BinaryRows`.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from connectors.mysql.types import DEFAULTS, TypeOptions
from liberator.errors import DecodeError, SourceError
from liberator.event import Row
from liberator.schema import Column

#: The payload of a packet that is not the last of its message.
FULL: Final = 0xFFFFFF
HEADER: Final = 4
#: What stands for a null in the text protocol, and before lengths of two, three and eight bytes.
NULL, _TWO, _THREE, _EIGHT = 251, 252, 253, 254

#: ``decode(data, start, size, rows)``: appends the rows of whole packets that it can take, and returns where
#: it stopped.
Decode = Callable[[bytes, int, int, "list[Row]"], int]


class ZeroDate(DecodeError):
    """A date that is none, where the user wants to be told of such."""


class RowPackets(ABC):
    """How the rows of some columns are decoded."""

    def __init__(self, columns: Sequence[Column], options: TypeOptions = DEFAULTS):
        self.columns = tuple(columns)
        self.options = options
        self._decode: Decode | None = None

    @abstractmethod
    def row(self, payload: bytes) -> Row:
        """One row from the payload of its packet (or of its packets: those of 16 MB and more come in
        several, whose payloads are to be joined). Raises DecodeError."""

    @abstractmethod
    def _compiled(self) -> Decode:
        """Generated code for what is usual; what it stops before is read by :meth:`row`."""

    def decode(self, data: bytes, start: int = 0) -> tuple[list[Row], int]:
        """The rows of the whole packets that lie in ``data`` from ``start`` on, and where reading stopped:
        before the first packet that is not whole or is not a row, or that is part of a row of 16 MB and more.

        Which of these it is say :func:`packet_end`, :func:`is_row` and :func:`is_part`. Raises DecodeError
        for a damaged row.
        """
        if self._decode is None:
            self._decode = self._compiled()
        rows: list[Row] = []
        at, size = start, len(data)
        while True:
            at = self._decode(data, at, size, rows)
            # What generated code did not take is read plainly: one row, or none if there is none here.
            end = packet_end(data, at)
            if end is None or not is_row(data, at) or is_part(data, at):
                return rows, at
            rows.append(self.row(data[at + HEADER : end]))
            at = end

    def decode_all(self, data: bytes) -> list[Row]:
        """The rows of packets that are all whole rows; a row of 16 MB and more comes in several."""
        rows: list[Row] = []
        at = 0
        while at < len(data):
            if is_part(data, at):
                payload, at = _joined(data, at)
                rows.append(self.row(payload))
                continue
            more, stopped = self.decode(data, at)
            if stopped == at:
                raise SourceError("cannot read a row that the server sent")
            rows = rows + more if rows else more
            at = stopped
        return rows


def _joined(data: bytes, at: int) -> tuple[bytes, int]:
    """The payload of a row in several packets, and where it ends."""
    parts = []
    while True:
        length = int.from_bytes(data[at : at + 3], "little")
        parts.append(data[at + HEADER : at + HEADER + length])
        at += HEADER + length
        if length < FULL:
            return b"".join(parts), at


def packet_end(data: bytes, start: int) -> int | None:
    """Where the packet that begins at ``start`` ends; None if it is not whole."""
    if start + HEADER > len(data):
        return None
    end = start + HEADER + int.from_bytes(data[start : start + 3], "little")
    return end if end <= len(data) else None


def is_row(data: bytes, start: int) -> bool:
    """Whether the whole packet at ``start`` is a row, or the first part of one, rather than the end of the
    result (EOF or OK) or an error (ERR)."""
    if is_part(data, start):
        return True
    size = int.from_bytes(data[start : start + 3], "little")
    # An empty payload ends a row whose last part was full; no row is empty.
    return size > 0 and data[start + HEADER] < _EIGHT


def is_part(data: bytes, start: int) -> bool:
    """Whether the packet at ``start`` is full, so that its message goes on in the next one."""
    return data[start : start + 3] == b"\xff\xff\xff"


def sized(payload: bytes, at: int) -> tuple[bytes | None, int]:
    """A value behind its length, and where it ends; None if it is not whole."""
    if at >= len(payload):
        return None, at
    length = payload[at]
    at += 1
    if length > NULL:
        size = {_TWO: 2, _THREE: 3, _EIGHT: 8}.get(length, 0)
        length, at = int.from_bytes(payload[at : at + size], "little"), at + size
        if not size:
            return None, at
    end = at + length
    return (payload[at:end], end) if end <= len(payload) else (None, at)


def refuse(what: str) -> NoReturn:
    """Raise what is wrong with a row as a whole."""
    raise DecodeError(
        f"cannot decode a result: {what}",
        hint="the columns were not read from this result, or from the table as it is",
    )


def refuse_zero_date(column: Column) -> NoReturn:
    """Raise that a column has a zero date."""
    raise ZeroDate(
        f"a zero date in column {column.name!r} ({column.native})",
        hint="zero_dates: null or string lets them pass; or update the rows that have them",
    ) from None


def refuse_value(column: Column) -> NoReturn:
    """Raise that a column's value cannot be read. Not chained: messages of int() and decode() repeat it."""
    raise DecodeError(
        f"cannot decode a value of column {column.name!r} ({column.native}) from a result",
        hint="the column may have been altered since its type was read: read it again",
    ) from None
