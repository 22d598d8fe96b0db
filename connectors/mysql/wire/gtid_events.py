"""Events that begin a transaction with its global id, and those that list ids.

MySQL: ``Gtid_event`` in libs/mysql/binlog/event/control_events.h; tagged ones (since 8.4) use the format
of libs/mysql/serialization. MariaDB: GTID_EVENT and GTID_LIST_EVENT of its replication protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from connectors.mysql.wire.events import damaged, packed_int, spell_xid
from connectors.mysql.wire.gtid import GtidSet, spell_uuid
from connectors.mysql.wire.maria_gtid import MariaPosition

#: Flags, uuid, number, kind of logical clock, its two values; with the commit's time and one byte more.
_gtid = struct.Struct("<B16sqBqq").unpack_from
_timed_gtid = struct.Struct("<B16sqBqqQ").unpack_from
_GTID_SIZE: Final = 42
_TIMED_GTID_SIZE: Final = 50
_TIME_BITS: Final = (1 << 55) - 1
_TIME_FOLLOWS: Final = 1 << 55
#: A length of at most this stands in its first byte.
_PLAIN_LENGTH: Final = 250
#: The usual transaction's has this first byte, and two behind it.
_TWO_BYTES: Final = 252
#: The one kind of logical clock there is.
_CLOCK: Final = 2
_maria_gtid = struct.Struct("<QIB").unpack_from
_MARIA_GTID_SIZE: Final = 19
_maria_listed = struct.Struct("<IIQ")

#: Of uuids that went by: the same few come with every transaction.
_spelled: dict[bytes, str] = {}
_SPELLED_MOST: Final = 1000


class Gtid(NamedTuple):
    """A transaction of MySQL begins.

    ``sid`` is its uuid, with ``:tag`` if it has one, and ``number`` its number there; ``""`` and 0 for an
    anonymous one (gtid_mode=OFF). ``committed`` is when it was committed here, ``original`` where it
    came from: microseconds since 1970, 0 where the server is too old to tell. ``length`` is that of the whole
    transaction in the binlog, in bytes, 0 if not told.
    """

    sid: str
    number: int
    flags: int
    last_committed: int
    sequence: int
    committed: int
    original: int
    length: int

    def __str__(self) -> str:
        return f"{self.sid}:{self.number}" if self.sid else "anonymous"


#: Flags of MariaDB's GTIDs.
STANDALONE: Final = 1  #: no terminating event: one statement, usually DDL
GROUP_COMMIT: Final = 2
TRANSACTIONAL: Final = 4
ALLOW_PARALLEL: Final = 8
WAITED: Final = 16
DDL: Final = 32
PREPARED_XA: Final = 64
COMPLETED_XA: Final = 128

#: Extra flags: with ``binlog_alter_two_phase`` one ALTER is logged twice. It takes effect where it is
#: committed; the event group that starts it, and the one that takes it back, change nothing.
START_ALTER: Final = 2
COMMIT_ALTER: Final = 4
ROLLBACK_ALTER: Final = 8


class MariaGtid(NamedTuple):
    """A transaction ("event group") of MariaDB begins; ``xid`` (of XA transactions) as XA statements spell
    it. ``extra`` are the flags behind those of all events, 0 if there are none."""

    domain: int
    server_id: int
    sequence: int
    flags: int
    xid: str = ""
    extra: int = 0

    def __str__(self) -> str:
        return f"{self.domain}-{self.server_id}-{self.sequence}"


def parse_gtid(data: bytes, start: int, end: int) -> Gtid:
    """GTID or ANONYMOUS_GTID."""
    if end - start < _TIMED_GTID_SIZE:
        return _parse_old_gtid(data, start, end)
    flags, uuid, number, clock, last_committed, sequence, time = _timed_gtid(data, start)
    if clock != _CLOCK or number < 0:
        raise damaged("gtid")
    sid = (_spelled.get(uuid) or _spell(uuid)) if number else ""
    # The time has 55 bits; one more says that the original one follows; then the length begins.
    length = time >> 56
    committed = original = time & _TIME_BITS
    if length == _TWO_BYTES and not time & _TIME_FOLLOWS and end > start + _TIMED_GTID_SIZE + 1:
        length = data[start + _TIMED_GTID_SIZE] | data[start + _TIMED_GTID_SIZE + 1] << 8
    elif time & _TIME_FOLLOWS or length > _PLAIN_LENGTH:
        original, length = _parse_rest(data, start + _GTID_SIZE + 7, end, time)
    # A tuple of the class, past the function that checks its arguments: that alone took as long as the rest.
    return _new(Gtid, (sid, number, flags, last_committed, sequence, committed, original, length))


_new: Final[Callable[[type[Gtid], tuple[object, ...]], Gtid]] = tuple.__new__


def _parse_rest(data: bytes, at: int, end: int, time: int) -> tuple[int, int]:
    """The time of commit where the transaction came from, and its length."""
    original = time & _TIME_BITS
    if time & _TIME_FOLLOWS:
        if at + 7 > end:
            raise damaged("gtid")
        original = int.from_bytes(data[at : at + 7], "little")
        at += 7
    return original, packed_int(data, at, end)[0] if at < end else 0


def _parse_old_gtid(data: bytes, start: int, end: int) -> Gtid:
    """As servers before 8.0 write it: without times."""
    if end - start < _GTID_SIZE:
        raise damaged("gtid")
    flags, uuid, number, clock, last_committed, sequence = _gtid(data, start)
    if clock != _CLOCK or number < 0:
        raise damaged("gtid")
    return Gtid(_spell(uuid) if number else "", number, flags, last_committed, sequence, 0, 0, 0)


def _spell(uuid: bytes) -> str:
    if len(_spelled) >= _SPELLED_MOST:
        _spelled.clear()
    text = _spelled[uuid] = spell_uuid(uuid)
    return text


def parse_tagged_gtid(data: bytes, start: int, end: int) -> Gtid:
    """TAGGED_GTID: a version, its size, the last field that must be understood, then fields by number."""
    version, at = _varying(data, start, end)
    size, at = _varying(data, at, end)
    needed, at = _varying(data, at, end)
    if version != 1 or start + size != end or needed > _LAST_FIELD:
        raise damaged("tagged_gtid")
    fields: dict[int, int] = {}
    uuid = tag = b""
    before = -1
    while at < end:
        field, at = _varying(data, at, end)
        if field <= before:
            raise damaged("tagged_gtid")
        if field > _LAST_FIELD:
            break  # newer, and may be ignored
        before = field
        if field == _UUID_FIELD:
            octets = bytearray()
            for _ in range(16):
                octet, at = _varying(data, at, end)
                octets.append(octet & 0xFF)
            uuid = bytes(octets)
        elif field == _TAG_FIELD:
            length, at = _varying(data, at, end)
            tag, at = data[at : at + length], at + length
        else:
            fields[field], at = _varying(data, at, end)
    if at > end or len(uuid) != 16 or not _is_tag(tag):
        raise damaged("tagged_gtid")
    number, last_committed, sequence = (_signed(fields.get(field, 0)) for field in (2, 4, 5))
    if number <= 0:
        raise damaged("tagged_gtid")
    sid = _spelled.get(uuid) or _spell(uuid)
    committed = fields.get(6, 0)
    return Gtid(
        f"{sid}:{tag.decode()}" if tag else sid,
        number, fields.get(0, 0), last_committed, sequence,
        committed, fields.get(7, committed), fields.get(8, 0),
    )  # fmt: skip


#: Fields: 0 flags, 1 uuid, 2 number, 3 tag, 4 and 5 logical clock, 6 and 7 times, 8 length, 9 and 10
#: versions of servers, 11 the commit group's ticket.
_UUID_FIELD: Final = 1
_TAG_FIELD: Final = 3
_LAST_FIELD: Final = 11


def _is_tag(tag: bytes) -> bool:
    return len(tag) <= 32 and all(c in b"abcdefghijklmnopqrstuvwxyz0123456789_" for c in tag)


def _varying(data: bytes, at: int, end: int) -> tuple[int, int]:
    """An integer of 1 to 9 bytes: as many ones at the low end of the first as there are bytes behind it."""
    if at >= end:
        raise damaged("tagged_gtid")
    first = data[at]
    more = (~first & first + 1).bit_length() - 1
    stop = at + more + 1
    if stop > end:
        raise damaged("tagged_gtid")
    if more == 8:
        return int.from_bytes(data[at + 1 : stop], "little"), stop
    return int.from_bytes(data[at:stop], "little") >> more + 1, stop


def _signed(number: int) -> int:
    """Of a signed integer the lowest bit is the sign."""
    return -(number >> 1) - 1 if number & 1 else number >> 1


def parse_previous_gtids(data: bytes, start: int, end: int) -> GtidSet:
    """PREVIOUS_GTIDS: all transactions before this file."""
    return GtidSet.decode(data, start, end)


def parse_maria_gtid(data: bytes, start: int, end: int, server_id: int) -> MariaGtid:
    """MARIA_GTID; its server id stands in the event's header."""
    if end - start < _MARIA_GTID_SIZE:
        raise damaged("maria_gtid")
    sequence, domain, flags = _maria_gtid(data, start)
    if not flags & (PREPARED_XA | COMPLETED_XA | DDL):
        return MariaGtid(domain, server_id, sequence, flags)
    at = start + 13 + (8 if flags & GROUP_COMMIT else 0)
    xid = ""
    if flags & (PREPARED_XA | COMPLETED_XA):
        if at + 6 > end:
            raise damaged("maria_gtid")
        form = int.from_bytes(data[at : at + 4], "little")
        middle = at + 6 + data[at + 4]
        at, begin = middle + data[at + 5], at + 6
        if at > end:
            raise damaged("maria_gtid")
        xid = spell_xid(form, data[begin:middle], data[middle:at])
    # What is shorter than the least size is filled up with zeros: no extra flags.
    return MariaGtid(domain, server_id, sequence, flags, xid, data[at] if at < end else 0)


def parse_maria_gtid_list(data: bytes, start: int, end: int) -> MariaPosition:
    """MARIA_GTID_LIST: the last of each domain before this file. A domain's GTIDs of several servers
    stand in their order, so that the last one is the domain's last indeed."""
    if end - start < 4:
        raise damaged("maria_gtid_list")
    count = int.from_bytes(data[start : start + 4], "little") & 0x0FFFFFFF  # the rest are flags
    start += 4
    # With none listed there may be filling to the least size.
    if start + count * _maria_listed.size > end:
        raise damaged("maria_gtid_list")
    position = MariaPosition()
    for domain, server_id, sequence in _maria_listed.iter_unpack(
        data[start : start + count * _maria_listed.size]
    ):
        position.add(domain, server_id, sequence)
    return position
