"""The supervisor: one process for each source and each sink, and one for the log's upkeep.

A worker that fails retryably, or is killed, is started again after a backoff; one that fails for good
stays down with its reason while the others go on. SIGTERM or SIGINT lets every worker finish the batch
in hand; a second one kills them, which loses time but no data. Workers are told what to do, and report,
over a socket pair each (see :mod:`liberator.worker`).

What a person sees of all this is up to the caller, who receives an :class:`Event` for each thing worth
telling. Nothing here prints, and nothing here touches a database but the log.
"""

from __future__ import annotations

import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from liberator.config import Settings
from liberator.errors import LiberatorError
from liberator.log import Log
from liberator.process import STOP_SIGNALS, Process, silent_end

#: How long workers may take over their last batch before they are killed.
GRACE = 60.0

Kind = Literal["started", "status", "retrying", "restarting", "failed", "reached", "stopped"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something about one worker (``source:shop``, ``sink:replica``, ``upkeep``) worth telling.

    ``started`` with its ``pid``; ``status`` about once a second (see Capture.status, Apply.status);
    ``retrying`` a sink tries again by itself, ``restarting`` the worker is started again: both with the
    reason, and ``delay`` in seconds; ``failed`` it stays down: ``message``, ``hint``, for a defect
    ``details``; ``reached`` and ``stopped`` it ended well.
    """

    worker: str
    kind: Kind
    message: str = ""
    hint: str | None = None
    delay: float | None = None
    pid: int | None = None
    details: str | None = None
    status: Mapping[str, Any] = field(default_factory=dict)


def run(
    settings: Settings, until_current: bool = False, on_event: Callable[[Event], None] | None = None
) -> int:
    """Run everything that ``settings`` names until a signal comes; returns the exit code.

    ``until_current``: end by itself as soon as all that was committed at the sources is in the log and in
    all sinks. The code is 0 if every worker ended well, 1 if one failed (2 if only for wrong options).
    """
    return Supervisor(settings, until_current, on_event).run()


class Supervisor:
    """Runs the workers of one configuration. ``run`` once; ``stop`` from any thread or signal handler."""

    def __init__(
        self,
        settings: Settings,
        until_current: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ):
        self._settings = settings
        self._until_current = until_current
        self._on_event = on_event or (lambda event: None)
        self._workers = [Process(name, order) for name, order in _orders(settings, until_current)]
        self._selector = selectors.DefaultSelector()
        self._stops = 0
        self._kill_at: float | None = None
        self._told_sinks = False
        self._codes: set[int] = set()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

    def stop(self) -> None:
        """Let all workers finish the batch in hand and end; called a second time, kill them."""
        self._stops += 1
        with suppress(OSError):  # it is full, so it will wake; or closed, so there is nothing to stop
            self._wake_in.send(b"!")

    def run(self) -> int:
        """Start all workers, and look after them until all have ended; returns the exit code."""
        # opening it first makes it: workers that make one log at the same time would be in each other's way
        with self._settings.open_log() as log, self._signals(), self._wake_in, self._wake_out, self._selector:
            self._selector.register(self._wake_out, selectors.EVENT_READ)
            try:
                for worker in self._workers:
                    self._start(worker)
                while self._pending():
                    self._step(log)
            finally:
                self._kill()
        return 0 if not self._codes else 2 if self._codes == {2} else 1

    def _step(self, log: Log) -> None:
        for key, _ in self._selector.select(self._patience()):
            if key.data is None:
                self._wake_out.recv(4096)
            else:
                self._hear(key.data, log)
        if self._stops:
            self._let_end()
        elif self._until_current:
            self._advance(log)
        now = time.monotonic()
        for worker in self._workers:
            if worker.restart_at is not None and worker.restart_at <= now:
                self._start(worker)

    def _pending(self) -> bool:
        """Whether there is anything to wait for. Upkeep alone is nothing: without sources and sinks it is
        told to end."""
        working = [w for w in self._workers if w.ended is None]
        if working and all(w.kind == "upkeep" for w in working):
            for worker in working:
                self._end(worker)
        return any(w.ended is None for w in self._workers)

    def _patience(self) -> float | None:
        """How long nothing needs to be done unless somebody reports."""
        moments = [w.restart_at for w in self._workers if w.restart_at is not None]
        if self._kill_at is not None:
            moments.append(self._kill_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _start(self, worker: Process) -> None:
        worker.start()
        assert worker.process is not None and worker.line is not None
        self._selector.register(worker.line, selectors.EVENT_READ, worker)
        self._tell(worker, "started", pid=worker.process.pid)

    def _hear(self, worker: Process, log: Log) -> None:
        assert worker.line is not None
        reports = worker.hear()
        if reports is None:
            self._selector.unregister(worker.line)
            self._ended(worker, worker.reap(), log)
            return
        for report in reports:
            match report["report"]:
                case "status":
                    worker.status = report["status"]
                    self._tell(worker, "status", status=worker.status)
                case "target":
                    worker.order["until"] = report["until"]  # a restart must not move it
                case "retrying":
                    self._tell(
                        worker, "retrying", report["error"], hint=report["hint"], delay=report["retry_in"]
                    )
                case _:
                    worker.report = report

    def _ended(self, worker: Process, code: int, log: Log) -> None:
        """A process ended: for good or ill, or to be started again."""
        report = worker.report or {"report": "failed", **silent_end(code)}
        if report["report"] != "failed":
            worker.ended = report["report"]
            self._note(worker, log, "stopped", {"error": None, "hint": None})
            self._tell(worker, report["report"])
        elif not report["retryable"]:
            worker.ended = "failed"
            self._codes.add(report["code"])
            self._note(worker, log, "failed", report)
            self._tell(worker, "failed", report["error"], hint=report["hint"], details=report.get("details"))
        elif self._stops:
            worker.ended = "stopped"  # what it had not committed, it will do in the next run
            self._tell(worker, "stopped", report["error"])
        else:
            delay = worker.backoff.failed()
            worker.restart_at = time.monotonic() + delay
            self._note(worker, log, "restarting", report)
            self._tell(worker, "restarting", report["error"], hint=report["hint"], delay=delay)

    def _advance(self, log: Log) -> None:
        """Once no source will add anything, the sinks learn how far they have to go."""
        if not self._told_sinks and all(w.ended for w in self._workers if w.kind == "source"):
            self._told_sinks = True
            until = log.end().to_json()
            for worker in self._workers:
                if worker.kind == "sink":
                    worker.order["until"] = until
                    worker.tell({"until": until})

    def _let_end(self) -> None:
        """After the first stop end all workers, after the second, or too long a wait, kill them."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + GRACE
            for worker in self._workers:
                self._end(worker)
        elif self._stops > 1 or time.monotonic() >= self._kill_at:
            self._codes.add(1)
            self._kill_at = time.monotonic() + GRACE
            for worker in self._workers:
                worker.signal(signal.SIGKILL)

    def _end(self, worker: Process) -> None:
        worker.signal(signal.SIGTERM)
        if worker.restart_at is not None:
            worker.restart_at = None
            worker.ended = "stopped"
            self._tell(worker, "stopped")

    def _kill(self) -> None:
        """Leave no process behind, whatever made us leave."""
        for worker in self._workers:
            if worker.process is not None:
                worker.signal(signal.SIGKILL)
                worker.reap()

    def _note(self, worker: Process, log: Log, phase: str, report: Mapping[str, Any]) -> None:
        """Leave word in the log of a worker that can no longer do so itself."""
        words = {"phase": phase, "error": report["error"], "hint": report["hint"], "at": time.time()}
        with suppress(LiberatorError):  # the caller is told as well; the log's own trouble is the workers'
            log.put_status(worker.name, {**worker.status, **words})

    def _tell(self, worker: Process, kind: Kind, message: str = "", **fields: Any) -> None:
        self._on_event(Event(worker.name, kind, message, **fields))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals stop us, if we are in a place that can take them: the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, lambda *_: self.stop())
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _orders(settings: Settings, until_current: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every worker's name and order. Options travel as JSON, paths in them already resolved."""
    log = settings.log.model_dump(mode="json", by_alias=True)
    for name, source in settings.sources.items():
        until = "current" if until_current else None
        yield (
            f"source:{name}",
            {"log": log, "options": source.model_dump(mode="json", by_alias=True), "until": until},
        )
    for name, sink in settings.sinks.items():
        yield (
            f"sink:{name}",
            {"log": log, "options": sink.model_dump(mode="json", by_alias=True), "until": None},
        )
    yield "upkeep", {"log": log, "options": None, "until": None}
