"""Cutting blocks of bytes into binlog events: framing, checksums, positions.

A block is what one read of the socket brought: many events, none of them copied. Each is told as a plain
tuple, because there are five of them for a transaction of one row:

    for kind, start, end, size, position, timestamp, server_id, flags in block.events:
        ...  # parse or decode block.data[start:end]

``kind`` is one of :mod:`.kinds`. ``start`` and ``end`` enclose the event's body: what lies behind the
header of 19 bytes and before the checksum (a format description's has it still). ``size`` is that of the
whole event, in bytes. ``position`` is where it ends in its file, with all 64 bits (the header has 32, and for
events within a transaction MariaDB may leave them out): the event begins at ``position - size``. Events that
a server makes up for the stream (FLAG_ARTIFICIAL, heartbeats) lie in no file; they tell where the stream
is. ``timestamp`` counts seconds since 1970.

The header: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NoReturn
from zlib import crc32

from connectors.mysql.wire import kinds
from connectors.mysql.wire.events import (
    FormatDescription,
    parse_format_description,
    parse_heartbeat,
    parse_rotate,
)
from liberator.errors import DecodeError

#: kind, start, end, size, position, timestamp, server id, flags.
Event = tuple[int, int, int, int, int, int, int, int]

HEADER_SIZE: Final = 19
CHECKSUM_SIZE: Final = 4
#: No server sends more (``max_log_event_size``).
MAX_EVENT: Final = 1 << 30

_header = struct.Struct("<IBIIIH").unpack_from
#: A packet's head (length, sequence id), its first byte, the event's header.
_framed = struct.Struct("<IBIBIIIH").unpack_from
_FRAMED_SIZE: Final = 24
#: Of which this stands before the event.
_FRAME: Final = 5
#: Kinds that say where the stream is, or how to read on.
_STEERING: Final = frozenset((kinds.ROTATE, kinds.FORMAT_DESCRIPTION, kinds.HEARTBEAT, kinds.HEARTBEAT_V2))
#: What CRC32 gives for any bytes with their own CRC32 behind them.
_RESIDUE: Final = 0x2144DF1C


def missing(rest: bytes, block: int) -> int:
    """How much to read behind ``rest``, the begin of an event: a block, or what a larger event lacks."""
    return max(block, int.from_bytes(rest[9:13], "little") - len(rest)) if len(rest) >= 13 else block


class Block:
    """Some bytes, and the events that lie in them, in their order."""

    __slots__ = ("data", "events")

    def __init__(self, data: bytes, events: list[Event]):
        self.data = data
        self.events = events


class Splitter:
    """Cuts what comes from one stream or file into events, and knows where in which file it is.

    ``file`` and ``position`` say where the next event begins; both follow the rotations that go by.
    ``checksum`` says whether events carry a CRC32, until the next format description does. Raises
    DecodeError, naming file and position, for bytes that are not events and for events that do not match
    their checksum.
    """

    __slots__ = ("checksum", "file", "position", "sequence")

    def __init__(self, file: str = "", position: int = 4, *, checksum: bool = False):
        self.file = file
        self.position = position
        self.checksum = checksum
        #: The sequence id that the next packet must have.
        self.sequence = 1

    def packets(self, data: bytes, events: list[Event]) -> int:
        """Append the events of the whole packets that ``data`` begins with; how many bytes they are.

        Stops before a packet that is not one whole event: incomplete, an error, the end of the stream, or
        longer than 16 MB.
        """
        at, length, limit = 0, len(data), len(data) - _FRAMED_SIZE
        append, where, tail, least = self._start(events)
        # Sequence id and length are compared at once, as the number that they are together.
        sequence = self.sequence << 24
        while at <= limit:
            head, status, timestamp, kind, server_id, size, log_pos, flags = _framed(data, at)
            if head != size + 1 + sequence or status:
                break
            event = at + _FRAME
            stop = event + size
            if stop > length:
                break
            where += size
            if (
                log_pos != where
                or size < least
                or (tail and crc32(data[event:stop]) != _RESIDUE)
                or kind in _STEERING
            ):
                self.position = where - size
                append(self._steer(data, event, stop))
                where, tail, least = self._start(events)[1:]
            else:
                append((kind, at + _FRAMED_SIZE, stop - tail, size, where, timestamp, server_id, flags))
            at = stop
            sequence = (sequence + 0x1000000) & 0xFF000000
        self.sequence, self.position = sequence >> 24, where
        return at

    def bare(self, data: bytes, at: int, events: list[Event]) -> int:
        """Append the whole events that lie in ``data`` from ``at`` on, one behind the other as in a file;
        where the first one begins that is not whole."""
        length, limit = len(data), len(data) - HEADER_SIZE
        view = memoryview(data)  # an event may be large: it is not to be copied for its checksum
        append, where, tail, least = self._start(events)
        while at <= limit:
            timestamp, kind, server_id, size, log_pos, flags = _header(data, at)
            stop = at + size
            if stop > length:
                if size > MAX_EVENT:
                    self.position = where
                    self.fail(f"it claims to be {size} bytes long")
                break
            where += size
            if (
                log_pos != where
                or size < least
                or (tail and crc32(view[at:stop]) != _RESIDUE)
                or kind in _STEERING
            ):
                self.position = where - size
                append(self._steer(data, at, stop))
                where, tail, least = self._start(events)[1:]
            else:
                append((kind, at + HEADER_SIZE, stop - tail, size, where, timestamp, server_id, flags))
            at = stop
        self.position = where
        return at

    def _start(self, events: list[Event]) -> tuple[Callable[[Event], None], int, int, int]:
        """What a loop keeps at hand: append, where we are, bytes behind a body, the least size."""
        tail = CHECKSUM_SIZE if self.checksum else 0
        return events.append, self.position, tail, HEADER_SIZE + tail

    def _steer(self, data: bytes, event: int, stop: int) -> Event:
        """An event that is not like most: wrong, or it says where or how to go on. ``event`` is where its
        header begins, ``self.position`` where in the file it does."""
        timestamp, kind, server_id, size, log_pos, flags = _header(data, event)
        if size < HEADER_SIZE:
            self.fail(f"its size is {size}, less than its header's")
        start = event + HEADER_SIZE
        if kind == kinds.FORMAT_DESCRIPTION:
            end = self._describe(data, event, stop)
        else:
            end = stop - CHECKSUM_SIZE if self.checksum else stop
            if end < start:
                self.fail("it is too short")
            if self.checksum and crc32(memoryview(data)[event:stop]) != _RESIDUE:
                self._mismatch()
        if kind in (kinds.HEARTBEAT, kinds.HEARTBEAT_V2):
            self._beat(kind, data, start, end, log_pos)
            where = self.position
        elif not log_pos and (flags & kinds.FLAG_ARTIFICIAL or kind in _STEERING):
            where = self.position
        else:
            where = self.position = (
                self._wide(log_pos, self.position + size) if log_pos else self.position + size
            )
        if kind == kinds.ROTATE:
            rotate = self._parsed(parse_rotate, data, start, end)
            self.file, self.position = rotate.file, rotate.position
        return kind, start, end, size, where, timestamp, server_id, flags

    def _describe(self, data: bytes, event: int, stop: int) -> int:
        """A format description says whether events have a checksum; its own body goes to the very end."""
        start = event + HEADER_SIZE
        told: FormatDescription = self._parsed(parse_format_description, data, start, stop)
        self.checksum = told.checksum
        if told.checksum:
            whole = bytearray(data[event:stop])
            # Set while the file was open, and not counted in the checksum.
            whole[17] &= ~kinds.FLAG_IN_USE
            if crc32(whole) != _RESIDUE:
                self._mismatch()
        return stop

    def _beat(self, kind: int, data: bytes, start: int, end: int, log_pos: int) -> None:
        """A heartbeat tells how far the server has read, also over what it did not send."""
        near = self._wide(log_pos, self.position) if log_pos else self.position
        self.position = self._parsed(parse_heartbeat, kind, data, start, end, near).position

    def _parsed(self, parse: Callable[..., Any], *args: Any) -> Any:
        """What ``parse`` makes of it; its complaint told with the position."""
        try:
            return parse(*args)
        except DecodeError as exc:
            self.fail(str(exc), exc.hint)

    def _wide(self, log_pos: int, expected: int) -> int:
        """A position of which the header has 32 bits, with the others: near what is expected."""
        wide = expected & ~0xFFFFFFFF | log_pos
        return wide + (1 << 32) if expected - wide > 1 << 31 else wide

    def _mismatch(self) -> NoReturn:
        self.fail(
            "its checksum does not match",
            hint="the file is damaged, or the way to it is; see mysqlbinlog --verify-binlog-checksum",
        )

    def fail(self, why: str, hint: str | None = None) -> NoReturn:
        """Raise DecodeError about the event that begins at ``position`` in ``file``."""
        raise DecodeError(f"cannot read the binlog event at {self.file}:{self.position}: {why}", hint=hint)
