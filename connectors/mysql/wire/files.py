"""Binlog files: the magic bytes, then one event behind the other.

For tools and tests; the source reads streams (:mod:`.dump`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from connectors.mysql.wire.blocks import Block


def read_file(path: Path, block: int = 1 << 18) -> Iterator[Block]:
    """Every event of a file, in blocks of about ``block`` bytes. Raises DecodeError, naming file and position."""
    raise NotImplementedError
