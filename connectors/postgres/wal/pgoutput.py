"""The messages of pgoutput, protocol version 1: bytes to small frozen objects.

What is rare is parsed here, message by message; row changes are not, for they are nearly all of the
stream: :class:`.rows.RelationDecoder` takes those as bytes. A source looks at a
message's first byte, hands ``I``, ``U`` and ``D`` to the decoder of the relation that
:func:`relation_oid` names, and the rest to :func:`parse`.

All functions take ``data``, one message up to its end, and the offset at which it begins; they raise
DecodeError for bytes that are not such a message, whole. Times are microseconds since 1970 UTC.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from liberator.errors import DecodeError

#: First bytes of the row changes.
INSERT: Final = ord("I")
UPDATE: Final = ord("U")
DELETE: Final = ord("D")

#: From Postgres's epoch, 2000-01-01, to Unix's.
_EPOCH: Final = 946_684_800_000_000

_begin = struct.Struct(">QqI")
_commit = struct.Struct(">BQQq")
_relation_head = struct.Struct(">I")
_column_tail = struct.Struct(">Ii")
_truncate = struct.Struct(">IB")
_message = struct.Struct(">BQ")

#: ``relation_oid(data, offset)[0]`` of a row change that begins at ``offset - 1``.
relation_oid = _relation_head.unpack_from


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction begins; ``final_lsn`` is its commit record's, ``timestamp`` the commit's."""

    final_lsn: int
    timestamp: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The transaction is complete; ``end_lsn`` is the position behind it."""

    flags: int
    commit_lsn: int
    end_lsn: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The transaction came here by replication; ``lsn`` is its commit's at the server of origin."""

    lsn: int
    name: str


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column as announced; ``key`` is set for those of the replica identity."""

    name: str
    type_oid: int
    typmod: int
    key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it is for the changes that follow. ``identity`` is the replica identity's letter: d
    (primary key), i (an index), f (all columns) or n (nothing)."""

    oid: int
    namespace: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class Type:
    """A type that is not built in, by name."""

    oid: int
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Truncate:
    """These relations, by oid, were emptied, in this order."""

    relations: tuple[int, ...]
    cascade: bool
    restart_identity: bool


@dataclass(frozen=True, slots=True)
class Message:
    """What ``pg_logical_emit_message`` wrote; one that is not transactional stands outside of any."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


AnyMessage = Begin | Commit | Origin | Relation | Type | Truncate | Message


def parse(data: bytes, offset: int = 0) -> AnyMessage:
    """The message that begins at ``offset``; not a row change (see :class:`RelationDecoder`)."""
    kind = data[offset : offset + 1]
    parser = _PARSERS.get(kind)
    if parser is None:
        raise _unknown(kind)
    try:
        message, end = parser(data, offset + 1)
    except (struct.error, ValueError, IndexError):
        # Not chained: the message of a failed decode() shows the bytes.
        raise _damaged(kind) from None
    if end != len(data):
        raise _damaged(kind)
    return message


def parse_begin(data: bytes, at: int) -> tuple[Begin, int]:
    lsn, timestamp, xid = _begin.unpack_from(data, at)
    return Begin(lsn, timestamp + _EPOCH, xid), at + _begin.size


def parse_commit(data: bytes, at: int) -> tuple[Commit, int]:
    flags, commit_lsn, end_lsn, timestamp = _commit.unpack_from(data, at)
    return Commit(flags, commit_lsn, end_lsn, timestamp + _EPOCH), at + _commit.size


def _parse_origin(data: bytes, at: int) -> tuple[Origin, int]:
    (lsn,) = struct.unpack_from(">Q", data, at)
    name, at = _string(data, at + 8)
    return Origin(lsn, name), at


def _parse_relation(data: bytes, at: int) -> tuple[Relation, int]:
    (oid,) = _relation_head.unpack_from(data, at)
    namespace, at = _string(data, at + 4)
    relation, at = _string(data, at)
    identity, count = struct.unpack_from(">BH", data, at)
    if identity not in b"dnfi":
        raise ValueError("an unknown replica identity")
    at += 3
    columns = []
    for _ in range(count):
        flags = data[at]
        name, at = _string(data, at + 1)
        type_oid, typmod = _column_tail.unpack_from(data, at)
        at += _column_tail.size
        columns.append(RelationColumn(name, type_oid, typmod, bool(flags & 1)))
    return Relation(oid, namespace or "pg_catalog", relation, chr(identity), tuple(columns)), at


def _parse_type(data: bytes, at: int) -> tuple[Type, int]:
    (oid,) = _relation_head.unpack_from(data, at)
    namespace, at = _string(data, at + 4)
    name, at = _string(data, at)
    return Type(oid, namespace or "pg_catalog", name), at


def _parse_truncate(data: bytes, at: int) -> tuple[Truncate, int]:
    count, options = _truncate.unpack_from(data, at)
    at += _truncate.size
    end = at + 4 * count
    if end > len(data):
        raise ValueError("truncated")
    relations = struct.unpack_from(f">{count}I", data, at)
    return Truncate(relations, bool(options & 1), bool(options & 2)), end


def _parse_message(data: bytes, at: int) -> tuple[Message, int]:
    flags, lsn = _message.unpack_from(data, at)
    prefix, at = _string(data, at + _message.size)
    (length,) = _relation_head.unpack_from(data, at)
    at += 4
    return Message(bool(flags & 1), lsn, prefix, data[at : at + length]), at + length


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


_PARSERS: Final[dict[bytes, Callable[[bytes, int], tuple[AnyMessage, int]]]] = {
    b"B": parse_begin,
    b"C": parse_commit,
    b"O": _parse_origin,
    b"R": _parse_relation,
    b"Y": _parse_type,
    b"T": _parse_truncate,
    b"M": _parse_message,
}

#: What later protocol versions say, and the option that we do not set.
_NEVER_ASKED: Final = {
    **dict.fromkeys((b"S", b"E", b"c", b"A"), "streaming of transactions in progress"),
    **dict.fromkeys((b"b", b"P", b"K", b"r", b"p"), "two-phase commit"),
}


def _unknown(kind: bytes) -> DecodeError:
    if not kind:
        return DecodeError("cannot decode a pgoutput message: it is empty")
    if kind in b"IUD":
        return DecodeError("cannot decode a row change without its relation")
    if kind in _NEVER_ASKED:
        return DecodeError(
            f"cannot decode a pgoutput message of kind {kind!r}: it belongs to {_NEVER_ASKED[kind]}",
            hint="the stream was not started with proto_version 1",
        )
    return DecodeError(f"cannot decode a pgoutput message of unknown kind {kind!r}")


def _damaged(kind: bytes) -> DecodeError:
    return DecodeError(f"cannot decode a pgoutput message of kind {kind!r}: truncated or damaged")
