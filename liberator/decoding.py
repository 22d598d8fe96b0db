"""Decoding in a second process: blocks of undecoded rows go there, lists of rows come back in order.

Where a source reads much at once, a snapshot above all, decoding keeps one processor as busy as encoding
does; beside each other they take half as long. The other process knows nothing but a function from a block
to rows: no connection, no position. So it can fail without harm: whatever it does not answer is decoded by
the caller, who has kept the block, and who finds the same error there, if there is one.

Rows come back by ``marshal``, which knows all that physical values are made of and costs a tenth of decoding.
"""

from __future__ import annotations

import gc
import marshal
import os
import pickle
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from liberator.event import Row
from liberator.process import STOP_SIGNALS, isolated

#: Rows after which a second process is worth its start, and the memory that it takes.
WORTH: Final = 50_000
#: Seconds in which an answer must come, and a block be taken.
PATIENCE: Final = 10.0
#: Bytes that may be on their way, if the system allows it: a few blocks, so that who sends seldom waits.
_BUFFER: Final = 1 << 20
_ORDER, _BLOCK = b"o", b"b"

Decode = Callable[[bytes], list[Row]]
#: A function that makes one that decodes, and its arguments; all of them can be pickled.
Order = tuple[Callable[..., Decode], tuple[Any, ...]]


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Decoder:
    """The second process, as the first one sees it. It starts at once, and is used once it is ``ready``.

    No method raises for anything that happens to it: it is then not ``ready`` any more.
    """

    def __init__(self) -> None:
        self._line: Connection | None = None
        self._ready = False
        self._order: Order | None = None
        self._given = self._answered = 0
        with suppress(OSError):  # of processes, or of memory, there may be no more
            self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            seconds, rest = divmod(PATIENCE, 1)
            patience = struct.pack("@ll", int(seconds), int(rest * 1_000_000))
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            # It ends with its line, not by signals that mean the whole group.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            try:
                command = [sys.executable, *isolated(), "-m", "liberator.decoding"]
                self.process = subprocess.Popen(command, stdin=theirs.fileno())
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            self._line = Connection(ours.detach())

    @property
    def ready(self) -> bool:
        """Whether it takes blocks."""
        if not self._ready and self._line is not None:
            with suppress(OSError, EOFError):
                self._ready = self._line.poll() and self._line.recv_bytes() == b""
        return self._ready and self._line is not None

    def give(self, order: Order, block: bytes) -> int:
        """Hand a block over, to be decoded as ``order`` says; the number by which its rows are asked for."""
        if order != self._order:
            self._order = order
            self._send(_ORDER + pickle.dumps(order))
        self._send(_BLOCK + block)
        self._given += 1
        return self._given

    def take(self, number: int) -> list[Row] | None:
        """The rows of a block, waiting for them; None if they must be decoded here. Blocks are asked for in
        the order in which they were given, perhaps not all of them."""
        answer = b""
        try:
            while self._line is not None and self._answered < number:
                if not self._line.poll(PATIENCE):
                    raise EOFError
                answer = self._line.recv_bytes()
                self._answered += 1
        except (OSError, EOFError):
            self.close()
            return None
        return marshal.loads(answer) if answer else None

    def close(self) -> None:
        """End the process. Safe to call twice."""
        line, self._line = self._line, None
        if line is not None:
            line.close()
            self.process.kill()
            self.process.wait()

    def _send(self, message: bytes) -> None:
        if self._line is not None:
            try:
                self._line.send_bytes(message)
            except OSError:
                self.close()


def main() -> None:
    """The second process: answer each block with its rows, or with nothing where that fails."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    line = Connection(0)
    messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(line, messages), daemon=True).start()
    # What is made here is gone with its block, and refers to nothing in a circle.
    gc.disable()
    decode: Decode | None = None
    with suppress(OSError):
        line.send_bytes(b"")
        while (message := messages.get()) is not None:
            if message[:1] == _ORDER:
                make, args = pickle.loads(message[1:])
                decode = make(*args)
            else:
                line.send_bytes(_answer(decode, message[1:]))


def _answer(decode: Decode | None, block: bytes) -> bytes:
    try:
        assert decode is not None
        return marshal.dumps(decode(block))
    except Exception:
        return b""  # the first process decodes it again, and says what is wrong


def _receive(line: Connection, messages: queue.SimpleQueue[bytes | None]) -> None:
    """Take whatever comes, so that whoever sends it never waits."""
    with suppress(OSError, EOFError):
        while True:
            messages.put(line.recv_bytes())
    messages.put(None)


if __name__ == "__main__":
    main()
