"""Binlog events and packets, written by hand as a server would; and real ones, read to their end."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from connectors.mysql.connection import connect
from connectors.mysql.wire.blocks import Block
from connectors.mysql.wire.dump import BinlogStream

CRC32_ALGORITHM = 1


def event(
    kind: int, body: bytes, at: int = 4, *, checksum: bool = True, flags: int = 0, log_pos: int | None = None
) -> bytes:
    """An event that begins at ``at`` in its file; ``log_pos`` where its header says something else."""
    size = 19 + len(body) + 4 * checksum
    end = at + size if log_pos is None else log_pos
    data = struct.pack("<IBIIIH", 1_700_000_000, kind, 7, size, end & 0xFFFFFFFF, flags) + body
    return data + struct.pack("<I", zlib.crc32(data)) if checksum else data


def description(version: str = "8.4.0", algorithm: int = CRC32_ALGORITHM) -> bytes:
    """The body of a format description, up to the checksum, which the event has whatever the algorithm is."""
    return struct.pack("<H50sIB", 4, version.encode(), 0, 19) + bytes(42) + bytes([algorithm])


def query(statement: bytes, database: bytes = b"shop", status: bytes = b"") -> bytes:
    """The body of a query event."""
    head = struct.pack("<IIBHH", 8, 0, len(database), 0, len(status))
    return head + status + database + b"\0" + statement


def chain(*events: tuple[int, bytes], at: int = 4, checksum: bool = True) -> list[bytes]:
    """Events of these kinds and bodies, one behind the other in a file."""
    out = []
    for kind, body in events:
        out.append(event(kind, body, at, checksum=checksum))
        at += len(out[-1])
    return out


def packets(events: list[bytes], sequence: int = 1, longest: int = 0xFFFFFF) -> bytes:
    """The events as packets. ``longest`` is the length at which a packet goes on in the next one."""
    out = []
    for data in events:
        payload = b"\0" + data
        while True:
            part, payload = payload[:longest], payload[longest:]
            out.append(struct.pack("<I", len(part) | (sequence & 0xFF) << 24) + part)
            sequence += 1
            if len(part) < longest:
                break
    return b"".join(out)


class Seen(NamedTuple):
    """An event of a stream, with its body."""

    kind: int
    body: bytes
    size: int
    position: int
    flags: int
    server_id: int


def seen(block: Block) -> Iterator[Seen]:
    """The events of a block."""
    for kind, start, end, size, position, _, server_id, flags in block.events:
        yield Seen(kind, block.data[start:end], size, position, flags, server_id)


def until_the_end(url: str, start: Callable[[BinlogStream], None], **options: bool) -> list[Seen]:
    """Every event from where ``start`` begins to the end of the server's binlog."""
    stream = BinlogStream(connect(url), 4711, wait=False, **options)
    try:
        start(stream)
        found: list[Seen] = []
        while not stream.ended:
            if block := stream.read(10):
                found += seen(block)
        return found
    finally:
        stream.close()
