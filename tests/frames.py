"""Replication frames by hand: what a walsender would send, for tests that need no server."""

from __future__ import annotations

import struct

from connectors.postgres.wal.changes import Captured, ChangeDecoder
from liberator.event import Position
from liberator.schema import Column, Kind, LogicalType, TableSchema

OID = 77
SCHEMA = TableSchema(
    "postgresql",
    "db",
    "public",
    "t",
    (
        Column("id", LogicalType(Kind.INT64), nullable=False, key=0, native="bigint"),
        Column("note", LogicalType(Kind.STRING), native="text"),
    ),
)


def frame(payload):
    return b"d" + struct.pack(">I", len(payload) + 4) + payload


def data(message, lsn=0):
    return frame(b"w" + struct.pack(">QQq", lsn, lsn, 0) + message)


def keepalive(end, reply=0):
    return frame(b"k" + struct.pack(">QqB", end, 1_000_000, reply))


def begin(lsn, xid=5):
    return data(b"B" + struct.pack(">QqI", lsn, 0, xid))


def commit(lsn, end):
    return data(b"C" + struct.pack(">BQQq", 0, lsn, end, 0))


def relation():
    columns = ((1, b"id", 20), (0, b"note", 25))
    body = b"R" + struct.pack(">I", OID) + b"public\0t\0d" + struct.pack(">H", len(columns))
    return data(body + b"".join(bytes([k]) + n + b"\0" + struct.pack(">Ii", t, -1) for k, n, t in columns))


def values(*texts):
    out = struct.pack(">H", len(texts))
    for text in texts:
        out += b"n" if text is None else b"u" if text == "absent" else b"t" + sized(text.encode())
    return out


def sized(text):
    return struct.pack(">I", len(text)) + text


def insert(*texts):
    return data(b"I" + struct.pack(">I", OID) + b"N" + values(*texts))


def update(*texts, old=None):
    before = b"" if old is None else b"K" + values(*old)
    return data(b"U" + struct.pack(">I", OID) + before + b"N" + values(*texts))


def delete(*texts):
    return data(b"D" + struct.pack(">I", OID) + b"K" + values(*texts))


def message(lsn, content, transactional=False, prefix=b"outbox"):
    head = b"M" + struct.pack(">BQ", transactional, lsn)
    return data(head + prefix + b"\0" + sized(content))


def truncate():
    return data(b"T" + struct.pack(">IBI", 1, 0, OID))


def transaction(lsn, *messages, size=48):
    return begin(lsn) + b"".join(messages) + commit(lsn, lsn + size)


def decoder(resume=None):
    """A decoder for the one table; ``decoder.moved`` collects what moved without its columns."""
    moved = []
    made = ChangeDecoder(
        resume or Position(1, 0),
        lambda relation: Captured(relation, SCHEMA, "shop.public.t"),
        lambda captured: captured,
        lambda captured, row: moved.append(row),
    )
    made.moved = moved
    return made
