"""What is in the events that are not row changes and not statements: bytes to small values.

All functions take ``data`` and where an event's body starts and ends in it (see :mod:`.blocks`), and raise
DecodeError for a body that is not such an event, whole. What they return must not be changed.
GTID events are in :mod:`.gtid_events`, query events in :mod:`.query`.

MySQL: libs/mysql/binlog/event/control_events.h. MariaDB:
https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from connectors.mysql.wire import kinds
from liberator.errors import DecodeError

_uint64 = struct.Struct("<Q").unpack_from
_xa_prepare = struct.Struct("<BIII").unpack_from
_XA_PREPARE_SIZE: Final = 13
#: Version of the format, the server's version, when it was written, the size of headers.
_description = struct.Struct("<H50sIB").unpack_from
_DESCRIPTION_SIZE: Final = 57
_VERSION: Final = re.compile(rb"(\d+)\.(\d+)\.(\d+)")
_LONGEST_FILE: Final = 512


@dataclass(slots=True)
class FormatDescription:
    """What a file's events look like. ``checksum``: they carry a CRC32. ``header_sizes``: the length of
    each kind's fixed part, kind 1 first."""

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
    """FORMAT_DESCRIPTION; ``end`` is behind its checksum, for only this event says if there is one."""
    if end - start < _DESCRIPTION_SIZE:
        raise damaged("format description")
    binlog_version, name, created, header = _description(data, start)
    if binlog_version != 4 or header != 19:
        raise DecodeError(
            f"cannot read a binlog of version {binlog_version} with headers of {header} bytes",
            hint="only version 4 is known, which servers have written since 2005",
        )
    version = name.partition(b"\0")[0]
    checksum, size = False, end - start
    if _knows_checksums(version):
        size -= 4  # there whatever the algorithm is, and the algorithm's number before it
        if size < _DESCRIPTION_SIZE + 1:
            raise damaged("format description")
        algorithm = data[start + size - 1]
        if algorithm > 1:
            raise DecodeError(f"cannot read a binlog with checksums of an unknown kind ({algorithm})")
        checksum = algorithm == 1
    sizes = data[start + _DESCRIPTION_SIZE : start + size - (size < end - start)]
    return FormatDescription(version.decode("ascii", "replace"), created, checksum, sizes)


def _knows_checksums(version: bytes) -> bool:
    """Whether a server of this version says in its format description how checksums are made."""
    found = _VERSION.match(version)
    if found is None:
        raise damaged("format description")
    number = tuple(map(int, found.groups()))
    return number >= ((5, 3, 0) if b"maria" in version.lower() else (5, 6, 1))


def parse_rotate(data: bytes, start: int, end: int) -> Rotate:
    """ROTATE: the last event of a file, or made up by the server at the begin of one."""
    if not 8 < end - start <= 8 + _LONGEST_FILE:
        raise damaged("rotate")
    return Rotate(_text(data[start + 8 : end], "rotate"), _uint64(data, start)[0])


def parse_xid(data: bytes, start: int, end: int) -> int:
    """XID: the number of the storage engine's transaction that commits here."""
    if end - start != 8:
        raise damaged("xid")
    number: int = _uint64(data, start)[0]
    return number


def parse_xa_prepare(data: bytes, start: int, end: int) -> XaPrepare:
    """XA_PREPARE: the end of the first phase, at which the rows of the transaction stand before it."""
    if end - start < _XA_PREPARE_SIZE:
        raise damaged("xa_prepare")
    one_phase, form, global_size, branch_size = _xa_prepare(data, start)
    start += _XA_PREPARE_SIZE
    if global_size > 64 or branch_size > 64 or start + global_size + branch_size != end:
        raise damaged("xa_prepare")
    return XaPrepare(
        bool(one_phase), spell_xid(form, data[start : start + global_size], data[end - branch_size : end])
    )


def spell_xid(form: int, global_part: bytes, branch: bytes) -> str:
    """An XA transaction's id as the servers' own statements in the binlog spell it: ``X'61',X'',1``."""
    return f"X'{global_part.hex()}',X'{branch.hex()}',{form}"


def parse_incident(data: bytes, start: int, end: int) -> Incident:
    """INCIDENT: what has been written to the server may be missing here."""
    if end - start < 3 or start + 3 + data[start + 2] != end:
        raise damaged("incident")
    number = data[start] | data[start + 1] << 8
    return Incident(number, data[start + 3 : end].decode(errors="replace"))


def parse_rows_query(data: bytes, start: int, end: int) -> str:
    """ROWS_QUERY (MySQL): the statement behind the row changes that follow. Bytes that are no UTF-8 are
    replaced: the event does not say which charset it is in."""
    # One byte holds the length modulo 256, for the readers of old; the text goes to the end.
    if end <= start:
        raise damaged("rows_query")
    return data[start + 1 : end].decode(errors="replace")


def parse_annotate_rows(data: bytes, start: int, end: int) -> str:
    """ANNOTATE_ROWS (MariaDB): the same, without a length."""
    return data[start:end].decode(errors="replace")


def parse_heartbeat(kind: int, data: bytes, start: int, end: int, position: int) -> Rotate:
    """HEARTBEAT and HEARTBEAT_V2: how far the server has read. ``position`` is what the header says, which
    the second kind says again with all bits."""
    if kind == kinds.HEARTBEAT:
        return Rotate(_text(data[start:end], "heartbeat"), position)
    file = ""
    while (field := packed_int(data, start, end))[0]:
        length, value = packed_int(data, field[1], end)
        start = value + length
        if start > end:
            raise damaged("heartbeat")
        if field[0] == 1:
            file = _text(data[value:start], "heartbeat")
        elif field[0] == 2:
            position = packed_int(data, value, start)[0]
    return Rotate(file, position)


def packed_int(data: bytes, start: int, end: int) -> tuple[int, int]:
    """A length-encoded integer, and where the next thing begins
    (https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html)."""
    if start >= end:
        raise damaged("length")
    first = data[start]
    start += 1
    if first < 251:
        return first, start
    size = _PACKED.get(first, 99)
    if start + size > end:
        raise damaged("length")
    return int.from_bytes(data[start : start + size], "little"), start + size


_PACKED: Final = {252: 2, 253: 3, 254: 8}


def refuse(kind: int, flags: int, file: str, position: int) -> None:
    """An event that the caller does not know, which ends at ``position``: pass if it says nothing about data
    or may be ignored (kinds.SILENT, FLAG_IGNORABLE); raise DecodeError with the remedy otherwise."""
    if kind in kinds.SILENT or flags & kinds.FLAG_IGNORABLE:
        return
    raise DecodeError(
        f"cannot go on at {file}: the event that ends at {position} is of kind {kinds.name(kind)}",
        hint=_REMEDIES.get(
            kind, "the server is newer than this reader, which must not guess what the event says: upgrade it"
        ),
    )


_STATEMENT: Final = (
    "a session changed rows in statement format, and the binlog does not have these rows: forbid it "
    "(binlog_format=ROW for all sessions), then begin anew with a snapshot of the tables"
)
_REMEDIES: Final = {
    **dict.fromkeys(kinds.STATEMENT_PARTS, _STATEMENT),
    kinds.START_ENCRYPTION: "the server encrypted the file; read it through the server, which decrypts",
    kinds.PARTIAL_ROW_DATA: (
        "the server cut a large rows event into pieces, which are not put together here; set its "
        "binlog_row_event_fragment_threshold to 1G, then begin anew with a snapshot"
    ),
    kinds.INCIDENT: "the server says that changes are missing in its binlog; begin anew with a snapshot",
}


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise damaged(what) from None  # the driver's message shows the bytes


def damaged(what: str) -> DecodeError:
    """The error for a body that is not such an event, whole."""
    return DecodeError(f"a binlog event of kind {what} is truncated or damaged")
