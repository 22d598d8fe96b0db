"""A worker process as its supervisor sees it: start it, tell it, hear it, find out how it ended.

The other end of the line is :class:`liberator.worker.Desk`; who is started when, and what is made of an
end, is decided in :mod:`liberator.runner`.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from liberator.retry import Backoff

#: How long a process may take to end after it has closed its line, in seconds.
ENDING = 5.0
#: What tells a supervisor, and a worker, to finish the batch in hand and end.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Process:
    """One worker: its order, its process and line while it runs, its next start or its end.

    ``report`` holds its last words, ``status`` what it last said of itself.
    """

    def __init__(self, name: str, order: dict[str, Any]):
        self.name = name
        self.order = order
        self.process: subprocess.Popen[bytes] | None = None
        self.line: socket.socket | None = None
        self.backoff = Backoff()
        self.restart_at: float | None = None
        self.ended: Literal["reached", "stopped", "failed"] | None = None
        self.report: dict[str, Any] = {}
        self.status: Mapping[str, Any] = {}
        self._buffer = b""

    @property
    def kind(self) -> str:
        """``source``, ``sink`` or ``upkeep``."""
        return self.name.partition(":")[0]

    def start(self) -> None:
        """Start the process and give it its order."""
        self.restart_at, self.report, self._buffer = None, {}, b""
        self.backoff.began()
        ours, theirs = socket.socketpair()
        command = [sys.executable, *isolated(), "-m", "liberator.worker", self.name]
        with theirs:
            # blocked signals are inherited: the worker unblocks them once it can take them
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            try:
                self.process = subprocess.Popen(command, stdin=theirs.fileno())
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self.line = ours
        self.tell(self.order)

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send an order; a worker that is gone has no use for it."""
        if self.line is not None:
            with suppress(OSError):  # its end is noticed where the line is read
                self.line.sendall(json.dumps(order).encode() + b"\n")

    def hear(self) -> list[dict[str, Any]] | None:
        """The reports that have arrived; None at the end of the line."""
        assert self.line is not None
        try:
            data = self.line.recv(65536)
        except OSError:
            data = b""
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def reap(self) -> int:
        """Wait for the end of a process whose line is closed; its exit code, or minus a signal's number."""
        assert self.process is not None and self.line is not None
        self.line.close()
        process, self.process, self.line = self.process, None, None
        try:
            return process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the process, if there is one."""
        if self.process is not None:
            self.process.send_signal(number)


def silent_end(code: int) -> dict[str, Any]:
    """What to say of a process that could not say it itself."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return {"error": f"the worker was killed by {name}", "hint": None, "retryable": True, "code": 1}
    return {
        "error": f"the worker ended without a word, with exit code {code}",
        "hint": "what it wrote to standard error may say why",
        "retryable": False,
        "code": 1,
    }


def isolated() -> list[str]:
    """Keep the current directory out of the worker's imports, unless it is in ours: a file there may be
    named like a module."""
    return [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
