"""The messages of pgoutput but for rows: handmade bytes in, small objects out."""

from __future__ import annotations

import struct

import pytest

from connectors.postgres.wal import pgoutput
from liberator.errors import DecodeError
from tests import wire

MICROS_2000 = 946_684_800_000_000

BEGIN = b"B" + struct.pack(">QqI", 0x16B3748, 1, 742)
COMMIT = b"C" + struct.pack(">BQQq", 0, 0x16B3748, 0x16B3790, -1)
ORIGIN = b"O" + struct.pack(">Q", 77) + b"node_b\0"
RELATION = wire.relation("", "pg_thing", [("id", 20, -1, True), ("näme", 1043, 24, False)], b"i")
TYPE = b"Y" + struct.pack(">I", 16500) + b"other\0mood\0"
TRUNCATE = b"T" + struct.pack(">IBIII", 3, 3, 16384, 16400, 16390)
MESSAGE = b"M" + struct.pack(">BQ", 1, 99) + b"outbox\0" + struct.pack(">I", 4) + b"\0\xff\0t"

ALL = {
    BEGIN: pgoutput.Begin(0x16B3748, MICROS_2000 + 1, 742),
    COMMIT: pgoutput.Commit(0, 0x16B3748, 0x16B3790, MICROS_2000 - 1),
    ORIGIN: pgoutput.Origin(77, "node_b"),
    RELATION: pgoutput.Relation(
        wire.OID,
        "pg_catalog",
        "pg_thing",
        "i",
        (
            pgoutput.RelationColumn("id", 20, -1, True),
            pgoutput.RelationColumn("näme", 1043, 24, False),
        ),
    ),
    TYPE: pgoutput.Type(16500, "other", "mood"),
    TRUNCATE: pgoutput.Truncate((16384, 16400, 16390), cascade=True, restart_identity=True),
    MESSAGE: pgoutput.Message(True, 99, "outbox", b"\0\xff\0t"),
}
NAMES = [type(message).__name__ for message in ALL.values()]


@pytest.mark.parametrize("data", ALL, ids=NAMES)
def test_every_message_is_understood(data: bytes) -> None:
    assert pgoutput.parse(data) == ALL[data]
    assert pgoutput.parse(b"what stands before it" + data, 21) == ALL[data]


@pytest.mark.parametrize("data", ALL, ids=NAMES)
def test_a_message_cut_short_anywhere_is_refused(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            pgoutput.parse(data[:end])


@pytest.mark.parametrize("data", ALL, ids=NAMES)
def test_a_message_with_something_behind_it_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="truncated or damaged"):
        pgoutput.parse(data + b"\0")


@pytest.mark.parametrize("kind", [b"S", b"E", b"c", b"A"])
def test_messages_of_streamed_transactions_are_refused_by_name(kind: bytes) -> None:
    with pytest.raises(DecodeError, match="streaming of transactions in progress") as raised:
        pgoutput.parse(kind + b"\0" * 20)
    assert raised.value.hint is not None and "proto_version" in raised.value.hint


@pytest.mark.parametrize("kind", [b"b", b"P", b"K", b"r", b"p"])
def test_messages_of_two_phase_commit_are_refused_by_name(kind: bytes) -> None:
    with pytest.raises(DecodeError, match="two-phase commit"):
        pgoutput.parse(kind + b"\0" * 20)


@pytest.mark.parametrize("kind", [b"I", b"U", b"D"])
def test_row_changes_are_left_to_their_relations_decoder(kind: bytes) -> None:
    with pytest.raises(DecodeError, match="without its relation"):
        pgoutput.parse(kind + b"\0" * 20)


@pytest.mark.parametrize("data", [b"", b"x", b"\0\0\0\0"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        pgoutput.parse(data)


def test_a_name_that_is_not_utf8_is_refused_without_showing_it() -> None:
    with pytest.raises(DecodeError) as raised:
        pgoutput.parse(b"O" + b"\0" * 8 + b"secret\xff\0")
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None and raised.value.__suppress_context__


def test_a_truncate_that_claims_more_relations_than_it_has_is_refused() -> None:
    with pytest.raises(DecodeError):
        pgoutput.parse(b"T" + struct.pack(">IB", 0xFFFFFFFF, 0) + b"\0" * 8)


def test_an_unknown_replica_identity_is_refused() -> None:
    with pytest.raises(DecodeError):
        pgoutput.parse(wire.relation("public", "t", [("id", 20, -1, True)], b"x"))


def test_the_relation_of_a_row_change_is_read_without_parsing_it() -> None:
    data = b"header" + wire.insert([b"1"])
    assert pgoutput.relation_oid(data, 7) == (wire.OID,)
