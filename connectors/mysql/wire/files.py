"""Binlog files: the magic bytes, then one event behind the other.

For tools and tests; the source reads streams (:mod:`.dump`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from connectors.mysql.wire.blocks import Block, Event, Splitter, missing

MAGIC: Final = b"\xfebin"
_ENCRYPTED: Final = b"\xfdbin"


def read_file(path: Path, block: int = 1 << 18) -> Iterator[Block]:
    """Every event of a file, in blocks of about ``block`` bytes (one event may be larger).

    Raises DecodeError, naming file and position, for what is not a binlog file, whole.
    """
    with path.open("rb") as file:
        yield from read_stream(file, path.name, block)


def read_stream(file: BinaryIO, name: str, block: int = 1 << 18) -> Iterator[Block]:
    """The same, of what ``file`` reads from its begin; ``name`` is for messages."""
    splitter = Splitter(name, 0)
    magic = file.read(4)
    if magic == _ENCRYPTED:
        splitter.fail("the file is encrypted", "read it through the server, which decrypts")
    if magic != MAGIC:
        splitter.fail("this is no binlog file")
    splitter.position = 4
    rest = b""
    while data := file.read(missing(rest, block)):
        data = rest + data
        events: list[Event] = []
        rest = data[splitter.bare(data, 0, events) :]
        if events:
            yield Block(data, events)
    if rest:
        splitter.fail("the file ends within it")
