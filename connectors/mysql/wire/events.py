"""What is in the events that are not row changes and not statements: bytes to small values.

All functions take ``data`` and where an event's body starts and ends in it (see :mod:`.blocks`), and raise
DecodeError for a body that is not such an event, whole. Objects are slotted and must not be changed.
GTID events are in :mod:`.gtid_events`, query events in :mod:`.query`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn


@dataclass(slots=True)
class FormatDescription:
    """What a file's events look like. ``checksum`` says whether they carry a CRC32; ``header_sizes`` has the length
    of each kind's fixed part, kind 1 first."""

    server_version: str
    created: int
    checksum: bool
    header_sizes: bytes


@dataclass(slots=True)
class Rotate:
    """Events go on at ``position`` in ``file``."""

    file: str
    position: int


@dataclass(slots=True)
class Incident:
    """The server lost events; ``message`` is its own explanation."""

    number: int
    message: str


@dataclass(slots=True)
class XaPrepare:
    """An XA transaction was prepared, or committed in ``one_phase``; ``xid`` as XA statements spell it."""

    one_phase: bool
    xid: str


def parse_format_description(data: bytes, start: int, end: int) -> FormatDescription:
    raise NotImplementedError


def parse_rotate(data: bytes, start: int, end: int) -> Rotate:
    raise NotImplementedError


def parse_xid(data: bytes, start: int, end: int) -> int:
    """The number of the storage engine's transaction that commits here."""
    raise NotImplementedError


def parse_xa_prepare(data: bytes, start: int, end: int) -> XaPrepare:
    raise NotImplementedError


def parse_incident(data: bytes, start: int, end: int) -> Incident:
    raise NotImplementedError


def parse_rows_query(data: bytes, start: int, end: int) -> str:
    """The statement behind the row changes that follow (MySQL, ROWS_QUERY)."""
    raise NotImplementedError


def parse_annotate_rows(data: bytes, start: int, end: int) -> str:
    """The statement behind the row changes that follow (MariaDB, ANNOTATE_ROWS)."""
    raise NotImplementedError


def parse_heartbeat(kind: int, data: bytes, start: int, end: int, position: int) -> Rotate:
    """How far the server has read: file and position."""
    raise NotImplementedError


def refuse(kind: int, flags: int, file: str, position: int) -> None:
    """An event that the caller does not know: pass if it may be ignored (FLAG_IGNORABLE, or kinds.SILENT), raise
    DecodeError with the remedy otherwise. ``position`` is where it ends."""
    raise NotImplementedError


def _damaged(what: str) -> NoReturn:
    raise NotImplementedError
