"""Transactions that MySQL compressed (``binlog_transaction_compression``): one event that holds all others.

The inner events come out block by block, so that memory holds one block and not the transaction. They
have no checksums, and their positions are all the outer event's.

``Transaction_payload`` in libs/mysql/binlog/event/codecs/binary.cpp
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, Final

import zstandard

from connectors.mysql.wire.blocks import HEADER_SIZE, MAX_EVENT, Block, Event, missing
from connectors.mysql.wire.events import damaged, packed_int
from liberator.errors import DecodeError

#: A transaction may be as large as the server allows; what unpacks to more bytes than this is refused.
DEFAULT_LIMIT: Final = 1 << 40
_BLOCK: Final = 1 << 18
_ZSTD: Final = 0
_NONE: Final = 255
#: The most memory that unpacking may need, whatever the bytes claim: as much as the highest level does.
_WINDOW: Final = 1 << 27

_header = struct.Struct("<IBIIIH").unpack_from

# What the fields before the payload say.
_END_OF_FIELDS: Final = 0
_PAYLOAD_SIZE: Final = 1
_COMPRESSION: Final = 2
_UNCOMPRESSED_SIZE: Final = 3


def payload_blocks(data: bytes, event: Event, limit: int = DEFAULT_LIMIT) -> Iterator[Block]:
    """The inner events of a TRANSACTION_PAYLOAD event, in blocks of about 256 kB (one event may be larger).

    Each inner event's ``position`` is that of ``event``. Raises DecodeError for damaged bytes, an unknown
    compression, and more than ``limit`` bytes.
    """
    _, start, end, _, position, _, _, _ = event
    source, expected = _open(data, start, end)
    rest = b""
    count = 0
    try:
        while chunk := source.read(missing(rest, _BLOCK)):
            count += len(chunk)
            if count > limit:
                raise DecodeError(
                    f"the compressed transaction that ends at {position} holds more than {limit} bytes",
                    hint="raise the limit, or make transactions smaller",
                )
            chunk = rest + chunk if rest else chunk
            events: list[Event] = []
            used = _cut(chunk, events, position)
            rest = chunk[used:]
            if events:
                yield Block(chunk, events)
    except (zstandard.ZstdError, MemoryError):
        raise damaged("transaction_payload") from None
    if rest or expected not in (None, count):
        raise damaged("transaction_payload")


def _open(data: bytes, start: int, end: int) -> tuple[Any, int | None]:
    """The uncompressed events, and how many bytes they should be."""
    fields: dict[int, int] = {}
    while True:
        field, at = packed_int(data, start, end)
        if field == _END_OF_FIELDS:
            break
        length, at = packed_int(data, at, end)
        start = at + length
        if start > end:
            raise damaged("transaction_payload")
        fields[field] = packed_int(data, at, start)[0] if length else 0
    size, compression = fields.get(_PAYLOAD_SIZE), fields.get(_COMPRESSION)
    if size is None or compression is None or size > end - at:
        raise damaged("transaction_payload")
    payload = memoryview(data)[at : at + size]
    if compression == _NONE:
        return io.BytesIO(payload), len(payload)
    if compression != _ZSTD:
        raise DecodeError(f"a transaction in the binlog is compressed in an unknown way ({compression})")
    unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    return unpacker.stream_reader(payload, read_across_frames=True), fields.get(_UNCOMPRESSED_SIZE)


def _cut(data: bytes, events: list[Event], position: int) -> int:
    """Append the whole events that ``data`` begins with; how many bytes they are."""
    at, limit = 0, len(data) - HEADER_SIZE
    while at <= limit:
        timestamp, kind, server_id, size, _, flags = _header(data, at)
        stop = at + size
        if not HEADER_SIZE <= size <= MAX_EVENT:
            raise damaged("transaction_payload")
        if stop > len(data):
            break
        events.append((kind, at + HEADER_SIZE, stop, size, position, timestamp, server_id, flags))
        at = stop
    return at
