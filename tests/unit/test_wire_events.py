"""Cutting bytes into binlog events, and reading what is in them."""

from __future__ import annotations

import io
import struct
import uuid
import zlib

import pytest
import zstandard

from connectors.mysql.wire import events, gtid_events, kinds
from connectors.mysql.wire.blocks import Splitter
from connectors.mysql.wire.compressed import uncompress_query, uncompress_rows
from connectors.mysql.wire.files import MAGIC, read_stream
from connectors.mysql.wire.payload import payload_blocks
from connectors.mysql.wire.query import is_begin, parse_query
from connectors.mysql.wire.refusals import refused
from liberator.errors import DecodeError, PositionLost
from tests import binlogs

UUID = uuid.UUID("3e11fa47-71ca-11e1-9e33-c80aa9429562")
TIME = 1_700_000_000_000_000


def cut(data, **state):
    found = []
    splitter = Splitter("binlog.7", **state)
    used = splitter.bare(data, 0, found)
    return splitter, found, used


# -- blocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [True, False])
def test_events_are_told_with_their_bodies_and_positions(checksum):
    chain = binlogs.chain((2, b"first"), (16, b"12345678"), (30, b""), at=100, checksum=checksum)
    data = b"".join(chain)
    splitter, found, used = cut(data, position=100, checksum=checksum)
    assert used == len(data)
    assert [data[e[1] : e[2]] for e in found] == [b"first", b"12345678", b""]
    assert [e[0] for e in found] == [2, 16, 30]
    assert [e[4] - e[3] for e in found] == [100, 100 + len(chain[0]), 100 + len(chain[0]) + len(chain[1])]
    assert found[0][5:] == (1_700_000_000, 7, 0)
    assert (splitter.file, splitter.position) == ("binlog.7", 100 + len(data))


def test_an_event_that_is_not_whole_waits_for_its_rest():
    first, second = binlogs.chain((2, b"first"), (2, b"second"))
    data = first + second
    for size in range(len(data)):
        splitter, found, used = cut(data[:size], checksum=True)
        assert used == (len(first) if size >= len(first) else 0)
        assert splitter.position == 4 + used
        assert len(found) == (used > 0)


def test_every_flipped_bit_is_noticed():
    data = binlogs.event(30, b"a row")
    for i in range(len(data) * 8):
        wrong = bytearray(data)
        wrong[i // 8] ^= 1 << i % 8
        try:
            found = cut(bytes(wrong), checksum=True)[1]
        except DecodeError as exc:
            assert "binlog.7:4" in str(exc)
            continue
        assert found == [], f"bit {i}"  # a size that grew: the rest is waited for


def test_a_description_says_whether_there_are_checksums():
    chain = binlogs.chain((15, binlogs.description()), (2, b"x"))
    _, found, used = cut(b"".join(chain))
    assert used == len(b"".join(chain))
    assert found[1][2] - found[1][1] == 1
    plain = binlogs.event(15, binlogs.description(algorithm=0) + b"\0\0\0\0", checksum=False)
    plain += binlogs.event(2, b"xyz", 4 + len(plain), checksum=False)
    splitter, found, _ = cut(plain, checksum=True)
    assert found[1][2] - found[1][1] == 3
    assert not splitter.checksum


def test_a_description_may_say_that_its_file_was_open():
    data = bytearray(binlogs.event(15, binlogs.description()))
    data[17] |= kinds.FLAG_IN_USE  # which the checksum does not count
    assert len(cut(bytes(data))[1]) == 1


def test_servers_before_checksums_are_read():
    body = struct.pack("<H50sIB", 4, b"5.5.27-log", 0, 19) + bytes(27)
    data = binlogs.event(15, body, checksum=False)
    data += binlogs.event(2, b"x", 4 + len(data), checksum=False)
    _, found, _ = cut(data, checksum=True)
    assert [e[0] for e in found] == [15, 2]
    description = events.parse_format_description(data, found[0][1], found[0][2])
    assert (description.checksum, len(description.header_sizes)) == (False, 27)


def test_rotations_lead_on_to_the_next_file():
    rotate = struct.pack("<Q", 4) + b"binlog.8"
    data = b"".join(binlogs.chain((2, b"x"), (4, rotate), at=500))
    data += binlogs.event(4, rotate, flags=kinds.FLAG_ARTIFICIAL, log_pos=0)
    data += binlogs.event(2, b"y", 4)
    splitter, found, _ = cut(data, position=500, checksum=True)
    assert splitter.file == "binlog.8"
    assert [e[4] for e in found] == [524 + 0, 524 + 39, 4, 28]


def test_positions_have_all_their_bits():
    at = (1 << 32) - 30
    data = b"".join(binlogs.chain((2, b"x"), (2, b"y"), (2, b"z"), at=at))
    _, found, _ = cut(data, position=at, checksum=True)
    assert [e[4] for e in found] == [at + 24, at + 48, at + 72]


def test_positions_that_the_header_leaves_out_are_counted():
    data = binlogs.event(162, bytes(19), 100)
    data += binlogs.event(19, b"map", log_pos=0) + binlogs.event(23, b"rows", log_pos=0)
    end = 100 + len(data) + 31
    data += binlogs.event(16, bytes(8), end - 31)
    _, found, _ = cut(data, position=100, checksum=True)
    assert [e[4] - e[3] for e in found] == [100, 142, 168, end - 31]


def test_what_the_server_skipped_is_not_counted():
    _, found, _ = cut(binlogs.event(33, bytes(50), 90_000), position=4, checksum=True)
    assert found[0][4] - found[0][3] == 90_000


def test_heartbeats_tell_where_the_server_is():
    old = binlogs.event(27, b"binlog.7", log_pos=12_345)
    assert cut(old, checksum=True)[0].position == 12_345
    far = (1 << 35) + 5
    body = b"\x01\x08binlog.7\x02\x09\xfe" + struct.pack("<Q", far) + b"\0"
    splitter, found, _ = cut(binlogs.event(41, body, log_pos=5), checksum=True)
    assert splitter.position == found[0][4] == far
    assert events.parse_heartbeat(41, body, 0, len(body), 5) == events.Rotate("binlog.7", far)


def test_sizes_that_cannot_be_are_refused():
    for size in (0, 18, 22, (1 << 30) + 1, 0xFFFFFFFF):
        data = struct.pack("<IBIIIH", 0, 2, 1, size, 4 + size & 0xFFFFFFFF, 0) + bytes(10)
        with pytest.raises(DecodeError, match=r"binlog\.7:4"):
            cut(data, checksum=True)


def test_a_file_is_read_in_blocks_of_any_size():
    chain = binlogs.chain((15, binlogs.description()), (2, b"x" * 3000), (16, bytes(8)))
    data = MAGIC + b"".join(chain)
    for size in (1, 20, 100, 5000):
        blocks = list(read_stream(io.BytesIO(data), "f", size))
        assert [e[0] for block in blocks for e in block.events] == [15, 2, 16]
    with pytest.raises(DecodeError, match="ends within"):
        list(read_stream(io.BytesIO(data[:-1]), "f"))
    with pytest.raises(DecodeError, match="no binlog file"):
        list(read_stream(io.BytesIO(b"\xfebim"), "f"))
    with pytest.raises(DecodeError, match="encrypted"):
        list(read_stream(io.BytesIO(b"\xfdbin"), "f"))


# -- what is in events -----------------------------------------------------------------------------


def gtid(number=5, committed=TIME, original=TIME, length=300, flags=1, tail=b""):
    body = struct.pack("<B16sqBqq", flags, UUID.bytes, number, 2, 3, 4)
    same = committed == original
    body += (committed | (not same) << 55).to_bytes(7, "little")
    body += b"" if same else original.to_bytes(7, "little")
    body += bytes([length]) if length < 251 else b"\xfc" + struct.pack("<H", length)
    return body + struct.pack("<I", 80_400) + tail


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (str(UUID), 5, 1, 3, 4, TIME, TIME, 300)),
        ({"length": 200}, (str(UUID), 5, 1, 3, 4, TIME, TIME, 200)),
        ({"original": TIME - 9}, (str(UUID), 5, 1, 3, 4, TIME, TIME - 9, 300)),
        ({"original": TIME - 9, "length": 99}, (str(UUID), 5, 1, 3, 4, TIME, TIME - 9, 99)),
        ({"number": 0, "flags": 0}, ("", 0, 0, 3, 4, TIME, TIME, 300)),
        ({"tail": bytes(8)}, (str(UUID), 5, 1, 3, 4, TIME, TIME, 300)),
    ],
)
def test_a_gtid_is_read(fields, expected):
    body = b"padding" + gtid(**fields) + b"behind"
    assert gtid_events.parse_gtid(body, 7, len(body) - 6) == expected


def test_a_gtid_of_an_old_server_has_no_times():
    found = gtid_events.parse_gtid(gtid()[:42], 0, 42)
    assert found == (str(UUID), 5, 1, 3, 4, 0, 0, 0)
    assert str(found) == f"{UUID}:5"


def test_a_tagged_gtid_is_read():
    body = bytes.fromhex(
        "0274000000021491023503109503810222c503f9029a04f103000000020404060a6162635f31"
        "08040a080c7f4feb6bcec7600610a5041283120b"
    )
    found = gtid_events.parse_tagged_gtid(body, 0, len(body))
    assert str(found) == "0aa4cd08-e5a0-11f1-be4d-02fc00000001:abc_1:1"
    assert found.sid == "0aa4cd08-e5a0-11f1-be4d-02fc00000001:abc_1"
    assert (found.flags, found.last_committed, found.sequence) == (0, 1, 2)
    assert (found.committed, found.original, found.length) == (1795261138201423, 1795261138201423, 297)
    for size in range(len(body)):
        with pytest.raises(DecodeError):
            gtid_events.parse_tagged_gtid(body, 0, size)


def test_a_field_of_a_tagged_gtid_that_is_needed_and_unknown_is_refused():
    body = bytearray.fromhex("02740000000214")
    body[2] = 12 << 1
    with pytest.raises(DecodeError):
        gtid_events.parse_tagged_gtid(bytes(body), 0, len(body))


@pytest.mark.parametrize(
    ("body", "flags", "xid", "extra"),
    [
        ("01000000000000000000000029000000000000", 41, "", 0),
        ("0400000000000000000000000c000000000000", 12, "", 0),
        ("0600000000000000000000004c07000000020178316201ff", 76, "X'7831',X'62',7", 1),
        ("0700000000000000000000008d070000000201783162", 141, "X'7831',X'62',7", 0),
        ("070000000000000000000000" + "2e" + "0900000000000000" + "02", 46, "", 2),
    ],
)
def test_a_gtid_of_mariadb_is_read(body, flags, xid, extra):
    data = bytes.fromhex(body)
    found = gtid_events.parse_maria_gtid(data, 0, len(data), 7)
    assert found == (0, 7, data[0], flags, xid, extra)
    assert str(found) == f"0-7-{data[0]}"


def test_a_list_of_gtids_has_each_domains_last():
    listed = ((0, 1, 5), (0, 2, 9), (3, 1, 4))
    data = struct.pack("<I", 3 | 1 << 28) + b"".join(struct.pack("<IIQ", *one) for one in listed)
    assert str(gtid_events.parse_maria_gtid_list(data, 0, len(data))) == "0-2-9,3-1-4"
    assert not gtid_events.parse_maria_gtid_list(bytes(10), 0, 10)
    with pytest.raises(DecodeError):
        gtid_events.parse_maria_gtid_list(data, 0, len(data) - 1)


STATUS = (
    b"\x00\0\0\0\0" + b"\x01\x04\0\0\0\0\0\0\0" + b"\x06\x03std" + b"\x04\x08\0\x08\0\xff\0" + b"\x0c\x01x\0"
)


def test_a_query_is_read_in_its_charset_and_mode():
    body = b"##" + binlogs.query("drop table ‘é’".encode("cp1252"), "días".encode(), STATUS)
    found = parse_query(body, 2, len(body))
    assert (found.database, found.statement, found.charset) == ("días", "drop table ‘é’", 8)
    assert (found.thread_id, found.ansi_quotes, found.no_backslash_escapes) == (8, True, False)


def test_a_query_without_status_is_utf8():
    body = binlogs.query("drop table é".encode())
    assert parse_query(body, 0, len(body)).statement == "drop table é"


def test_a_query_in_a_charset_that_is_unknown_is_refused():
    body = binlogs.query(b"drop table \xe9", status=b"\x04\xff\xff\x08\0\xff\0")
    with pytest.raises(DecodeError, match="statement"):
        parse_query(body, 0, len(body))


def test_begin_is_known_by_its_bytes():
    for statement, expected in [(b"BEGIN", True), (b"COMMIT", False), (b"x\0BEGIN", False), (b"BEGI", False)]:
        body = b"##" + binlogs.query(statement, status=STATUS) + b"##"
        assert is_begin(body, 2, len(body) - 2) is expected
    assert not is_begin(b"BEGIN", 0, 5)


def test_small_events_are_read():
    assert events.parse_xid(struct.pack("<Q", 77), 0, 8) == 77
    assert events.parse_incident(b"\x01\x00\x04lost", 0, 7) == events.Incident(1, "lost")
    assert events.parse_rows_query(b"\x03abcdef", 0, 7) == "abcdef"
    assert events.parse_annotate_rows(b"abc\xff", 0, 4) == "abc\ufffd"
    xa = struct.pack("<BIII", 1, 7, 2, 1) + b"x1b"
    assert events.parse_xa_prepare(xa, 0, len(xa)) == events.XaPrepare(True, "X'7831',X'62',7")


@pytest.mark.parametrize(
    "parse",
    [events.parse_xid, events.parse_xa_prepare, events.parse_incident, events.parse_rows_query,
     events.parse_rotate, events.parse_format_description, parse_query, gtid_events.parse_gtid,
     gtid_events.parse_tagged_gtid, gtid_events.parse_previous_gtids, uncompress_query],
)  # fmt: skip
def test_an_empty_body_is_refused(parse):
    with pytest.raises(DecodeError):
        parse(b"123", 1, 1)


def test_unknown_kinds_are_refused_unless_they_may_be_ignored():
    events.refuse(99, kinds.FLAG_IGNORABLE, "f", 1)
    events.refuse(kinds.VIEW_CHANGE, 0, "f", 1)
    with pytest.raises(DecodeError, match="number 99") as caught:
        events.refuse(99, 0, "f", 123)
    assert "f" in str(caught.value)
    assert "123" in str(caught.value)
    assert "upgrade" in caught.value.hint
    for kind, word in [(kinds.PARTIAL_ROW_DATA, "binlog_row_event_fragment_threshold"),
                       (kinds.USER_VAR, "binlog_format=ROW"), (kinds.START_ENCRYPTION, "decrypts"),
                       (kinds.INCIDENT, "snapshot")]:  # fmt: skip
        with pytest.raises(DecodeError) as caught:
            events.refuse(kind, 0, "f", 123)
        assert word in caught.value.hint


# -- what is compressed ----------------------------------------------------------------------------


def squeezed(data, claim=None):
    return b"\x84" + struct.pack(">I", len(data) if claim is None else claim) + zlib.compress(data)


def test_compressed_events_of_mariadb_become_plain_ones():
    plain = binlogs.query(b"insert into t values (1)", status=STATUS)
    head = plain[: -len(b"insert into t values (1)")]
    data = b"#" + head + squeezed(b"insert into t values (1)") + b"#"
    assert uncompress_query(data, 1, len(data) - 1) == plain
    for kind, bitmaps, more in [(166, 2, b""), (167, 4, b""), (168, 2, b""), (169, 2, b"\x02\0"),
                                (170, 4, b"\x04\0xy"), (171, 2, b"\x02\0")]:  # fmt: skip
        head = bytes(8) + more + b"\x0c" + b"\xff" * bitmaps
        data = head + squeezed(b"rows" * 100)
        assert uncompress_rows(kind, data, 0, len(data)) == head + b"rows" * 100


@pytest.mark.parametrize("tail", [b"", b"\x04", squeezed(b"x" * 99, 98), squeezed(b"x" * 99, 100),
                                  squeezed(b"x" * 99)[:-3], squeezed(b"x") + b"!", b"\x91\x01x",
                                  b"\x87" + bytes(9),
                                  b"\x84\xff\xff\xff\xffx"])  # fmt: skip
def test_damaged_compressed_events_are_refused(tail):
    data = binlogs.query(b"") + tail
    with pytest.raises(DecodeError):
        uncompress_query(data, 0, len(data))


def test_a_compressed_event_may_not_unpack_to_more_than_the_limit():
    data = binlogs.query(b"") + squeezed(bytes(100_000))
    with pytest.raises(DecodeError, match="100000"):
        uncompress_query(data, 0, len(data), limit=99_999)


def payload(inner, compression=0, size=None, cut=0):
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(inner) if compression == 0 else inner
    packed = packed[: len(packed) - cut]
    fields = b"\x02\x01\x00" if compression == 0 else b"\x02\x03\xfc" + struct.pack("<H", compression)
    for field, value in ((3, len(inner) if size is None else size), (1, len(packed))):
        fields += bytes([field, 9, 254]) + struct.pack("<Q", value)
    return fields + b"\0" + packed


def unpacked(body, **limits):
    event = (kinds.TRANSACTION_PAYLOAD, 0, len(body), len(body) + 23, 5000, 1, 7, 0)
    return [
        (e[0], block.data[e[1] : e[2]], e[4])
        for block in payload_blocks(body, event, **limits)
        for e in block.events
    ]


INNER = b"".join(
    binlogs.chain((2, b"BEGIN"), (30, b"r" * 300_000), (30, b"s" * 900_000), (16, bytes(8)), checksum=False)
)


@pytest.mark.parametrize("compression", [0, 255])
def test_the_events_of_a_compressed_transaction_come_out(compression):
    found = unpacked(payload(INNER, compression))
    assert [(kind, len(body)) for kind, body, _ in found] == [(2, 5), (30, 300_000), (30, 900_000), (16, 8)]
    assert {position for _, _, position in found} == {5000}
    assert found[2][1] == b"s" * 900_000


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", payload(INNER[:-1]), payload(INNER, size=len(INNER) + 1), payload(INNER, cut=5),
     payload(b"\xff" * 100), payload(bytes(100)), payload(INNER, 9), payload(INNER)[:40],
     b"\x01\x01\x05\0abc"],
)  # fmt: skip
def test_damaged_compressed_transactions_are_refused(body):
    with pytest.raises(DecodeError):
        unpacked(body)


def test_a_compressed_transaction_may_not_unpack_to_more_than_the_limit():
    with pytest.raises(DecodeError, match="holds more than"):
        unpacked(payload(INNER), limit=len(INNER) - 1)
    assert unpacked(payload(INNER), limit=len(INNER))


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text", "family", "retryable", "hint"),
    [
        (1236, "Could not find first log file name in binary log index file", PositionLost, False, "expire"),
        (1236, "Cannot replicate because the source purged binary logs", PositionLost, False, "expire"),
        (1236, "Slave has more GTIDs than the master has", PositionLost, False, "failover"),
        (1236, "A slave with the same server_uuid/server_id as this", None, False, "server_id"),
        (1053, "Server shutdown in progress", None, True, None),
        (1227, "Access denied; you need the REPLICATION SLAVE privilege", None, False, "grant"),
        (1236, "log event entry exceeded max_allowed_packet", None, False, "max_allowed_packet"),
        (1105, "Unknown error", None, False, None),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(number, text, family, retryable, hint):
    found = refused(b"\xff" + struct.pack("<H", number) + b"#HY000" + text.encode(), "binlog.7:4")
    assert isinstance(found, PositionLost) is (family is PositionLost)
    assert found.retryable is retryable
    assert "binlog.7:4" in str(found)
    assert str(number) in str(found)
    assert hint is None if found.hint is None else hint in found.hint
