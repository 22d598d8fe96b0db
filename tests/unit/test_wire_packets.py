"""Packets from a socket: blocks, long events, errors, silence."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import tracemalloc

import pytest

from connectors.mysql.wire.blocks import Splitter
from connectors.mysql.wire.packets import Packets
from liberator.errors import DecodeError, PositionLost, SourceError
from tests import binlogs

ERROR = b"\xff" + struct.pack("<H", 1236) + b"#HY000" + b"Could not find first log file name"


@pytest.fixture
def link():
    """A server's end, and a reader of the other one."""
    near, far = socket.socketpair()
    with contextlib.closing(near), contextlib.closing(far):
        yield near, Packets(far, Splitter("binlog.7", 4, checksum=True))


def read_all(reader, count):
    found = []
    while len(found) < count:
        block = reader.read(10)
        assert block is not None
        found += binlogs.seen(block)
    return found


def test_events_come_in_blocks_and_whole(link):
    near, reader = link
    chain = binlogs.chain(*((30, b"%d" % i * 10) for i in range(600)))  # sequence ids begin anew twice
    near.sendall(binlogs.packets(chain))
    found = read_all(reader, 600)
    assert [e.body for e in found] == [b"%d" % i * 10 for i in range(600)]
    assert found[-1].position == 4 + sum(map(len, chain))
    assert reader.read(0) is None


def test_packets_that_come_byte_by_byte_are_put_together(link):
    near, reader = link
    data = binlogs.packets(binlogs.chain((2, b"first"), (2, b"second")))
    found = []
    for i in range(len(data)):
        near.sendall(data[i : i + 1])
        if block := reader.read(0):
            found += binlogs.seen(block)
    assert [e.body for e in found] == [b"first", b"second"]


@pytest.mark.parametrize("size", [300_000, 5_000_000, 0xFFFFFF - 24, 0xFFFFFF - 25, 40_000_000])
def test_long_events_come_whole(link, size):
    near, reader = link
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    chain = binlogs.chain((2, b"before"), (30, body), (2, b"behind"))
    sender = threading.Thread(target=near.sendall, args=(binlogs.packets(chain),))
    sender.start()
    before, found, behind = read_all(reader, 3)
    sender.join()
    assert (before.body, behind.body) == (b"before", b"behind")
    assert found.body == body
    assert behind.position == 4 + sum(map(len, chain))


def test_a_long_event_is_held_once(link):
    near, reader = link
    size = 40_000_000
    data = binlogs.packets(binlogs.chain((30, bytes(size))))
    sender = threading.Thread(target=near.sendall, args=(data,))
    tracemalloc.start()
    try:
        sender.start()
        block = reader.read(60)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        sender.join()
    assert block.events[0][3] > size
    assert peak < 1.5 * size


def test_a_long_event_waits_no_longer_than_asked(link):
    near, reader = link
    (data,) = binlogs.chain((30, bytes(2_000_000)))
    whole = binlogs.packets([data])
    # In pieces that a socket's buffer takes: nobody reads on the other side meanwhile.
    for i in range(0, len(whole), 50_000):
        assert reader.read(0) is None
        near.sendall(whole[i : i + 50_000])
    assert read_all(reader, 1)[0].size == len(data)


def test_packets_of_one_long_event_that_do_not_belong_together_are_refused(link):
    near, reader = link
    data = bytearray(binlogs.packets(binlogs.chain((30, bytes(17_000_000)))))
    data[4 + 0xFFFFFF + 3] ^= 1
    sender = threading.Thread(target=near.sendall, args=(bytes(data),))
    sender.start()
    with pytest.raises(DecodeError, match="do not belong together"):
        read_all(reader, 1)
    sender.join()


def test_an_event_larger_than_any_is_refused_before_it_is_read(link):
    near, reader = link
    near.sendall(b"\xff\xff\xff\x01\0" + struct.pack("<IBIIIH", 0, 30, 1, 0xFFFFFFF0, 0, 0))
    with pytest.raises(DecodeError, match="claims"):
        reader.read(1)


def test_events_before_an_error_are_given_first(link):
    near, reader = link
    data = binlogs.packets(binlogs.chain((2, b"x")))
    near.sendall(data + struct.pack("<I", len(ERROR) | 2 << 24) + ERROR)
    assert [e.body for e in binlogs.seen(reader.read(1))] == [b"x"]
    with pytest.raises(PositionLost, match=r"1236"):
        reader.read(1)


def test_an_error_may_come_out_of_turn(link):
    near, reader = link
    shutdown = b"\xff" + struct.pack("<H", 1053) + b"#08S01Server shutdown in progress"
    near.sendall(struct.pack("<I", len(shutdown)) + shutdown)
    with pytest.raises(SourceError) as caught:
        reader.read(1)
    assert caught.value.retryable


def test_the_end_of_the_stream_is_no_event(link):
    near, reader = link
    near.sendall(binlogs.packets(binlogs.chain((2, b"x"))) + b"\x05\0\0\x02\xfe\0\0\0\0")
    assert len(reader.read(1).events) == 1
    assert reader.read(1) is None
    assert reader.ended


def test_a_packet_out_of_turn_is_noticed(link):
    near, reader = link
    near.sendall(binlogs.packets(binlogs.chain((2, b"x")), sequence=2))
    with pytest.raises(SourceError, match="packet 2 came") as caught:
        reader.read(1)
    assert caught.value.retryable


def test_a_lost_connection_is_an_error_that_can_be_retried(link):
    near, reader = link
    near.close()
    with pytest.raises(SourceError, match=r"closed the binlog stream at binlog\.7:4") as caught:
        reader.read(1)
    assert caught.value.retryable


def test_a_packet_that_is_no_event_is_refused(link):
    near, reader = link
    near.sendall(b"\x03\0\0\x01abc")
    with pytest.raises(DecodeError, match="no event"):
        reader.read(1)
