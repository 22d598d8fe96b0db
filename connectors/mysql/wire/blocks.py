"""Cutting blocks of bytes into binlog events: framing, checksums, positions.

A block is what one read of the socket brought: many events, none of them copied. Each is told as a plain
tuple, because there are five of them for a transaction of one row:

    for kind, start, end, size, position, timestamp, server_id, flags in block.events:
        ...  # parse or decode block.data[start:end]

``kind`` is one of :mod:`.kinds`. ``start`` and ``end`` enclose the event's body: what lies behind the
header of 19 bytes and before the checksum. ``size`` is that of the whole event, in bytes. ``position`` is where it
ends in its file, with all 64 bits (the header has 32, and events within a transaction of MariaDB may have
none): the event begins at ``position - size``. Events that a server makes up for the stream (FLAG_ARTIFICIAL,
heartbeats) leave the position where it was. ``timestamp`` counts seconds since 1970.

The header: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html
"""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

from connectors.mysql.wire import kinds
from liberator.errors import DecodeError

#: kind, start, end, size, position, timestamp, server id, flags.
Event = tuple[int, int, int, int, int, int, int, int]

HEADER_SIZE: Final = 19
#: No server sends more (``max_log_event_size``).
MAX_EVENT: Final = (1 << 30) + 4096
MAGIC: Final = b"\xfebin"

_header = struct.Struct("<IBIIIH").unpack_from
#: A packet's head (length, sequence id), its first byte, the event's header.
_framed = struct.Struct("<IBIBIIIH").unpack_from
_FRAMED_SIZE: Final = 24
#: What CRC32 gives for any bytes with their own CRC32 behind them.
_RESIDUE: Final = 0x2144DF1C
_LONG: Final = 0xFFFFFF


class Block:
    """Some bytes, and the events that lie in them, in their order."""

    __slots__ = ("data", "events")

    def __init__(self, data: bytes, events: list[Event]):
        self.data = data
        self.events = events


class Splitter:
    """Cuts what comes from one stream or file into events, and knows where in which file it is.

    ``file`` and ``position`` say where the next event begins. ``checksum`` says whether events carry a
    CRC32 until a format description tells. Raises DecodeError, naming file and position, for bytes that are
    not events and for those that do not match their checksum.
    """

    __slots__ = ("_sequence", "checksum", "file", "position")

    def __init__(self, file: str = "", position: int = 4, *, checksum: bool = False):
        self.file = file
        self.position = position
        self.checksum = checksum
        self._sequence = 0

    def packets(self, data: bytes, events: list[Event]) -> int:
        """Append the events of the whole packets that ``data`` begins with; how many bytes they are.

        Stops before a packet that is not one whole event: incomplete, an error, the end of the stream, or
        longer than 16 MB.
        """
        raise NotImplementedError

    def bare(self, data: bytes, at: int, events: list[Event]) -> int:
        """Append the whole events that begin at ``at`` in ``data``, one behind the other as in a file;
        where the first begins that is not whole."""
        raise NotImplementedError
