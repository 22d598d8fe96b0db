"""The replication connection: blocks of CopyData in, our own feedback out.

Postgres's streaming replication protocol
(https://www.postgresql.org/docs/current/protocol-replication.html) over two ways to the bytes:

* a plain socket (TCP without TLS, Unix): libpq connects and authenticates, then we send
  ``START_REPLICATION`` and read the socket ourselves, a quarter of a megabyte at a time. One system call
  brings thousands of messages, and none of them is copied or handed over singly. Per message this
  costs a tenth of ``get_copy_data``.
* TLS or GSS, whose state only libpq has: ``get_copy_data``, re-framed so that the reader sees the same.

Either way :meth:`ReplicationStream.receive` returns a block of frames (``d``, int32 length, payload), the
last of them perhaps not whole: the caller walks over the frames anyway, and gives the rest back.
Nothing here knows what the payloads mean, but for feedback, which is the caller's to decide: no
position is ever confirmed that it did not give. While the caller is at something else for long (a chunk
that takes minutes), a thread says the last one again, or the server would take us for dead
(``wal_sender_timeout``) and the caller would be at the same thing again, for ever.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from typing import Final

from psycopg import pq

from connectors.postgres.connection import dsn, format_lsn, parse_lsn
from liberator.errors import SourceError

_BLOCK: Final = 256 * 1024
#: Postgres counts microseconds from 2000-01-01, Unix from 1970-01-01.
POSTGRES_EPOCH: Final = 946_684_800_000_000
#: Seconds without feedback after which the last one is said again.
_SILENCE: Final = 1.5
_RETRYABLE_START: Final = ("55006", "57P", "53", "08")


class ReplicationStream:
    """One ``START_REPLICATION``, from ``lsn`` on, until ``close`` or an error. ``direct`` False reads through
    libpq even where the socket could be read.

    ``receive(timeout)`` gives the next block of frames, ``feedback(…)`` reports progress. For one thread.
    """

    def __init__(self, url: str, application: str, *, direct: bool = True):
        params = dsn(url, application, replication="database")
        conn = pq.PGconn.connect(params.encode())
        if conn.status != pq.ConnStatus.OK:
            text = _last_line(conn.error_message)
            conn.finish()
            raise SourceError(f"cannot open a replication connection: {text}", retryable=True)
        self._conn = conn
        # GSS encryption cannot be asked about, so it counts as possible wherever it is asked for.
        self._direct = direct and not conn.ssl_in_use and "gssencmode=" not in params
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._told: tuple[int, int] | None = None
        self._told_at = 0.0
        #: Held to send, and where libpq reads: its connection is not for two threads.
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="replication feedback", daemon=True)

    def identify(self) -> tuple[str, int, int]:
        """The server's system identifier, its timeline, and the end of its WAL."""
        row = self._command("IDENTIFY_SYSTEM")
        return row[0], int(row[1]), parse_lsn(row[2])

    def timeline_history(self, timeline: int) -> str:
        """The history file of ``timeline``: where it left its parents."""
        return self._command(f"TIMELINE_HISTORY {timeline}")[1]

    def _command(self, command: str) -> list[str]:
        result = self._conn.exec_(command.encode())
        if result.status != pq.ExecStatus.TUPLES_OK or not result.ntuples:
            raise SourceError(
                f"the server refused {command}: {_last_line(result.error_message)}", retryable=True
            )
        return [(result.get_value(0, i) or b"").decode(errors="replace") for i in range(result.nfields)]

    def start(self, slot: str, lsn: int, options: dict[str, str]) -> bytes:
        """Begin streaming; returns what has come already. Raises SourceError: retryable if the slot
        is in use."""
        args = ", ".join(f'"{k}" \'' + v.replace("'", "''") + "'" for k, v in options.items())
        command = f'START_REPLICATION SLOT "{slot}" LOGICAL {format_lsn(lsn)} ({args})'
        self._poll.register(self._conn.socket, select.POLLIN)
        block = self._start_socket(command) if self._direct else self._start_libpq(command)
        self._keeper.start()
        return block

    def _start_libpq(self, command: str) -> bytes:
        result = self._conn.exec_(command.encode())
        if result.status != pq.ExecStatus.COPY_BOTH:
            state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
            raise _refused(_last_line(result.error_message), state.decode())
        self._conn.nonblocking = 1
        return b""

    def _start_socket(self, command: str) -> bytes:
        link = socket.socket(fileno=os.dup(self._conn.socket))
        self._socket = link
        link.settimeout(30)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        query = command.encode() + b"\0"
        link.sendall(b"Q" + struct.pack(">I", len(query) + 4) + query)
        data = b""
        while True:
            try:
                more = link.recv(_BLOCK)
            except TimeoutError as exc:
                raise SourceError("the server did not answer START_REPLICATION", retryable=True) from exc
            if not more:
                raise SourceError("the server closed the replication connection", retryable=True)
            data += more
            while len(data) >= 5 and len(data) > (end := int.from_bytes(data[1:5], "big")):
                kind, body, data = data[:1], data[5 : end + 1], data[end + 1 :]
                if kind == b"W":
                    link.setblocking(False)
                    return data
                self.control(kind, body)

    def receive(self, rest: bytes, timeout: float) -> bytes:
        """``rest`` (what the caller could not use yet: part of a frame) and what has come after it.

        Gives ``rest`` back alone if nothing came for ``timeout`` seconds (0: do not wait). Raises a
        retryable SourceError when the connection is lost.
        """
        if self._socket is None:
            with self._lock:
                return rest + self._receive_libpq(timeout)
        try:
            data = self._socket.recv(_BLOCK)
        except BlockingIOError:
            if not timeout or not self._poll.poll(timeout * 1000):
                return rest
            return self.receive(rest, 0)
        except OSError as exc:
            raise SourceError(f"lost the replication connection: {exc}", retryable=True) from exc
        if not data:
            raise SourceError("the server closed the replication connection", retryable=True)
        if not rest:
            return data
        block = rest + data
        size = 1 + int.from_bytes(block[1:5], "big")
        return self._fill(block, size) if size > len(block) + _BLOCK else block

    def _fill(self, block: bytes, size: int) -> bytes:
        """Read on until ``block`` has ``size`` bytes: one message may be a gigabyte, and gluing it
        together block by block would copy it thousands of times."""
        assert self._socket is not None
        parts, have = [block], len(block)
        while have < size:
            self._poll.poll(1000)
            try:
                data = self._socket.recv(min(1 << 22, size - have))
            except BlockingIOError:
                continue
            except OSError as exc:
                raise SourceError(f"lost the replication connection: {exc}", retryable=True) from exc
            if not data:
                raise SourceError("the server closed the replication connection", retryable=True)
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def control(self, kind: bytes, body: bytes) -> None:
        """Deal with a frame that is not CopyData: a notice is passed over, all else ends the stream."""
        if kind in (b"N", b"S"):
            return
        if kind == b"E":
            fields = _error_fields(body)
            raise _refused(fields.get("M", ""), fields.get("C", ""))
        if kind in (b"c", b"C", b"Z"):
            raise SourceError("the server ended the replication stream", retryable=True)
        raise SourceError(f"unexpected message {kind!r} in the replication stream")

    def _receive_libpq(self, timeout: float) -> bytes:
        frames: list[bytes] = []
        size = 0
        while size < _BLOCK:
            count, data = self._conn.get_copy_data(1)
            if count > 0:
                frames.append(b"d" + struct.pack(">I", count + 4) + data.tobytes())
                size += count
            elif count < 0:
                result = self._conn.get_result()
                text = _last_line(result.error_message) if result else ""
                state = result.error_field(pq.DiagnosticField.SQLSTATE) if result else None
                raise _refused(text or "the server ended the replication stream", (state or b"").decode())
            elif frames or not self._poll.poll(timeout * 1000):
                break
            else:
                self._consume()
                timeout = 0
        return b"".join(frames)

    def _consume(self) -> None:
        try:
            self._conn.consume_input()
        except Exception as exc:
            raise SourceError("lost the replication connection", retryable=True) from exc

    def feedback(self, written: int, flushed: int, *, reply: bool = False) -> None:
        """Tell the server how far we are: ``flushed`` is what it may forget. ``reply`` asks for an
        immediate keepalive, which says how far the server has read its WAL."""
        with self._lock:
            self._tell(written, flushed, reply)

    def _keep(self) -> None:
        while not self._over.wait(_SILENCE / 3):
            with self._lock, contextlib.suppress(SourceError):  # whoever reads next finds out
                if self._told is not None and time.monotonic() - self._told_at >= _SILENCE:
                    self._tell(*self._told, False)

    def _tell(self, written: int, flushed: int, reply: bool) -> None:
        self._told, self._told_at = (written, flushed), time.monotonic()
        now = time.time_ns() // 1000 - POSTGRES_EPOCH
        body = struct.pack(">cQQQqB", b"r", written, flushed, flushed, now, reply)
        if self._socket is None:
            self._conn.put_copy_data(body)
            while self._conn.flush():
                self._poll.poll(10)
            return
        data = b"d" + struct.pack(">I", len(body) + 4) + body
        try:
            while data:
                try:
                    data = data[self._socket.send(data) :]
                except BlockingIOError:
                    select.select([], [self._socket], [], 1)
        except OSError as exc:
            raise SourceError(f"lost the replication connection: {exc}", retryable=True) from exc

    def close(self) -> None:
        """Close the connection; the server frees the slot for the next reader."""
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._conn.finish()


def _last_line(message: bytes) -> str:
    lines = message.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"


def _error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse: code ``C``, message ``M``, …"""
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}


def _refused(message: str, state: str) -> SourceError:
    retryable = state.startswith(_RETRYABLE_START)
    hint = None
    if state == "55006":
        hint = "another process reads this slot; stop it, or give this source a slot of its own"
    return SourceError(f"the server refused replication: {message} (sqlstate {state})",
                       hint=hint, retryable=retryable)  # fmt: skip
