"""Transactions that MySQL compressed (``binlog_transaction_compression``): one event that holds all others.

The inner events come out block by block, so that memory holds one block and not the transaction. They
have no checksums, and their positions are all the outer event's.
"""

from __future__ import annotations

from collections.abc import Iterator

from connectors.mysql.wire.blocks import Block, Event

#: A transaction may be as large as the server allows; what unpacks to more than this many bytes is refused.
DEFAULT_LIMIT = 1 << 40


def payload_blocks(data: bytes, event: Event, limit: int = DEFAULT_LIMIT) -> Iterator[Block]:
    """The inner events of a TRANSACTION_PAYLOAD event, in blocks of about 256 kB (one event may be larger).

    Each inner event's ``position`` is that of ``event``. Raises DecodeError for damaged bytes, an unknown
    compression, and more than ``limit`` bytes.
    """
    raise NotImplementedError
