"""The packets of one stream: blocks of events from the socket of a PyMySQL connection.

One system call brings a quarter of a megabyte, in which hundreds of packets lie; they are cut by
:class:`.blocks.Splitter`, which copies none. Only an event of 16 MB or more, which comes in several packets,
is put together first: in one buffer that grows, so that a gigabyte is not copied over and over.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from typing import Final

from connectors.mysql.wire.blocks import MAX_EVENT, Block, Event, Splitter
from connectors.mysql.wire.refusals import refused
from liberator.errors import SourceError

_BLOCK: Final = 256 * 1024
_RECORD: Final = 16 * 1024
#: Head of the packet, its first byte, and the event's header up to its size.
_HEAD: Final = 18
#: A packet of this length goes on in the next one.
_LONGEST: Final = 0xFFFFFF


class Packets:
    """Reads ``link`` until its end; ``splitter`` knows where the stream is.

    ``ended`` is set when the server has said that there is no more. ``heard`` is when bytes last came, by
    ``time.monotonic``.
    """

    def __init__(self, link: socket.socket, splitter: Splitter):
        self.ended = False
        self.heard = time.monotonic()
        self._link = link
        self._splitter = splitter
        self._tls = isinstance(link, ssl.SSLSocket)
        self._rest = b""
        link.setblocking(False)
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)
        #: A packet of which this much is missing, if it is too long for one block.
        self._long: io.BytesIO | None = None
        self._missing = 0

    def read(self, timeout: float) -> Block | None:
        """The next events, at least one; None if no whole one came for ``timeout`` seconds, or none will.

        Raises a retryable SourceError when the connection is lost, what the server's error says, DecodeError.
        """
        until = time.monotonic() + timeout
        while not self.ended:
            if self._long is not None:
                if not self._fill(until):
                    return None
                block = self._join()
            else:
                block = self._cut(until)
                if block is None and self._long is None and not self.ended:
                    return None
            if block is not None:
                return block
        return None

    def _cut(self, until: float) -> Block | None:
        """The events in one block, or None if time is up, or a long packet or the end has come."""
        while True:
            # Only now: the events before an error were to be given first.
            if len(self._rest) >= 4:
                self._look()
            if self._long is not None or self.ended or not (data := self._receive(_BLOCK, until)):
                return None
            if self._rest:
                data = self._rest + data
            events: list[Event] = []
            used = self._splitter.packets(data, events)
            self._rest = data[used:]
            if events:
                return Block(data, events)

    def _look(self) -> None:
        """What the packet is at which the splitter stopped."""
        rest = self._rest
        length, sequence = int.from_bytes(rest[:3], "little"), rest[3]
        # An error as the server goes down comes out of turn.
        if sequence != self._splitter.sequence and rest[4:5] != b"\xff":
            raise SourceError(
                f"lost the binlog stream at {self._where()}: packet {sequence} came where "
                f"{self._splitter.sequence} was due",
                retryable=True,
            )
        if len(rest) >= 4 + length:
            self._special(rest[4 : 4 + length])
        elif length == _LONGEST:
            if len(rest) >= _HEAD:
                self._begin_long(_packets_size(int.from_bytes(rest[14:18], "little") + 1))
        elif length > _BLOCK:
            self._begin_long(4 + length)

    def _special(self, payload: bytes) -> None:
        """A whole packet that is no event: an error, or the end of the stream."""
        kind = payload[:1]
        if kind == b"\xff":
            raise refused(payload, self._where())
        if kind == b"\xfe" and len(payload) < 9:
            self.ended = True
            return
        self._splitter.fail("the server sent a packet that is no event")

    def _begin_long(self, size: int) -> None:
        if size > MAX_EVENT + (1 << 20):
            self._splitter.fail(f"it claims to be {size} bytes long")
        self._long = io.BytesIO()
        self._long.write(self._rest)
        self._missing = size - len(self._rest)
        self._rest = b""

    def _fill(self, until: float) -> bool:
        """Read on until a long packet is whole; False if time is up before."""
        assert self._long is not None
        while self._missing > 0:
            data = self._receive(min(1 << 22, self._missing), until)
            if not data:
                return False
            self._long.write(data)
            self._missing -= len(data)
        return True

    def _join(self) -> Block | None:
        """The event in a long packet, or in several without their heads."""
        assert self._long is not None
        buffer, self._long = self._long, None
        with buffer.getbuffer() as whole:
            size = _unframe(whole, self._splitter.sequence)
        if size < 0:
            self._rest = buffer.getvalue()
            self._splitter.fail("the server sent packets that do not belong together")
        packets = (buffer.tell() - size) // 4
        self._splitter.sequence = self._splitter.sequence + packets & 0xFF
        buffer.truncate(size)
        data = buffer.getvalue()
        events: list[Event] = []
        if data[0] or self._splitter.bare(data, 1, events) != len(data):
            self._special(data)
        return Block(data, events)

    def _receive(self, size: int, until: float) -> bytes:
        """What has come, at most ``size`` bytes; empty if nothing comes ``until`` then."""
        while True:
            try:
                data = self._link.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                left = until - time.monotonic()
                if left <= 0 or not self._poll.poll(left * 1000):
                    return b""
                continue
            except OSError as exc:
                raise SourceError(
                    f"lost the binlog stream at {self._where()}: {exc}", retryable=True
                ) from exc
            if not data:
                raise SourceError(f"the server closed the binlog stream at {self._where()}", retryable=True)
            self.heard = time.monotonic()
            return self._more(data, size) if self._tls else data

    def _more(self, data: bytes, size: int) -> bytes:
        """A record of TLS has at most 16 kB: take what has come beyond the first."""
        parts, have = [data], len(data)
        while have + _RECORD <= size:
            try:
                data = self._link.recv(_RECORD)
            except OSError:  # nothing more; a real error comes again at the next read
                break
            if not data:
                break
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def _where(self) -> str:
        return f"{self._splitter.file}:{self._splitter.position}"


def _packets_size(payload: int) -> int:
    """How many bytes a payload of at least 16 MB takes: heads, and a last packet that may be empty."""
    return payload + 4 * (payload // _LONGEST + 1)


def _unframe(whole: memoryview, sequence: int) -> int:
    """Move the payloads of consecutive packets together, to the begin of ``whole``; how many bytes they are,
    or -1 if the packets are not what they should be. ``sequence`` is the id of the first."""
    at = size = 0
    last = False
    while at < len(whole):
        length = whole[at] | whole[at + 1] << 8 | whole[at + 2] << 16
        if last or whole[at + 3] != sequence or at + 4 + length > len(whole):
            return -1
        whole[size : size + length] = whole[at + 4 : at + 4 + length]
        size += length
        at += 4 + length
        sequence = sequence + 1 & 0xFF
        last = length < _LONGEST
    return size if last else -1
