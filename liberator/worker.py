"""One worker process: a source's capture, a sink's apply, or the log's upkeep.

A supervisor starts ``python -m liberator.worker source:shop`` with one end of a socket pair as standard
input. Both sides write JSON lines: first comes the order (the options of the log and of the connector, and
how far to go), later perhaps how far to go; back go reports (see :class:`Desk`). Options come that way and
not from the configuration file, so that a worker imports its own connector and nothing else, and never sees
a file that was edited since. The end of the line means that the supervisor is gone: the worker finishes the
batch in hand, as after SIGTERM, and leaves.

Restarts, backoff and what a person is told are the supervisor's matter: :mod:`liberator.runner`.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from liberator import plugins
from liberator.errors import LiberatorError
from liberator.event import Position
from liberator.log import Cursor, Log
from liberator.metrics import Publish
from liberator.process import STOP_SIGNALS

#: How long a worker whose supervisor is gone may take over its last batch.
GRACE = 60.0
#: How often the log is looked over when there was nothing to do, and a claim tried again.
UPKEEP = 5.0
#: Upkeep rests after each step as long as the step took, at most so many seconds, and leaves the processor to
#: others for that time. It must not run at a lower priority instead: a step holds the log's write lock, and
#: on a busy machine every append would wait for a process that gets no processor.
REST = 0.1


def main() -> int:
    """The process: take the order, work, report how it ended. Returns the exit code."""
    desk = Desk(socket.socket(fileno=0))
    order = desk.first_order()
    if order is None:
        return 0
    worker = sys.argv[1]
    kind, _, name = worker.partition(":")
    # Rows make no cycles, so looking for cycles among them every few hundred rows finds nothing: it costs
    # a tenth of the hot path. Where something does make cycles, they are still found, only later.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    # Beside the hot path a thread writes to the log. Each time it comes back from the disk it wants a turn,
    # and at Python's 5 ms for each it takes half as long again, until the hot path has to wait for it.
    sys.setswitchinterval(0.0002)
    work = {"source": capture, "sink": apply, "upkeep": upkeep}[kind]
    try:
        reached = work(name, order, desk)
    except LiberatorError as exc:
        failure = {"error": str(exc), "hint": exc.hint, "retryable": exc.retryable, "code": exc.exit_code}
        if "LIBERATOR_DEBUG" in os.environ:
            failure["details"] = traceback.format_exc()
        desk.report("failed", **failure)
        return exc.exit_code
    except Exception as exc:
        desk.report("failed", **_defect(exc))
        return 1
    desk.report("reached" if reached else "stopped")
    return 0


class Desk:
    """The worker's side of the line to its supervisor, and its stop flag.

    Reports are dicts with the key ``report``: ``status`` (about once a second), ``target`` (the position
    that a source goes to), ``retrying`` (a sink, once per outage), and at the end ``reached``,
    ``stopped`` or ``failed``.
    """

    def __init__(self, line: socket.socket):
        self.stopping = False
        self.until: Any = None
        self._line = line
        self._lines = line.makefile("rb")
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        # the supervisor starts us with them blocked, lest one comes before we can take it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def first_order(self) -> dict[str, Any] | None:
        """Wait for the order; None if the supervisor went away without giving one."""
        line = self._lines.readline()
        if not line:
            return None
        order: dict[str, Any] = json.loads(line)
        self.until = order["until"]
        threading.Thread(target=self._listen, daemon=True).start()
        return order

    def stopped(self) -> bool:
        """Whether to finish the batch in hand and leave."""
        return self.stopping

    def cursor(self) -> Cursor | None:
        """How far a sink goes, once that is known."""
        return None if self.until is None else Cursor.from_json(self.until)

    def report(self, report: str, **fields: Any) -> None:
        """Tell the supervisor; without one there is nobody to tell."""
        try:
            self._line.sendall(json.dumps({"report": report, **fields}, default=str).encode() + b"\n")
        except OSError:
            self.stopping = True

    def publisher(self, worker: str, log: Log) -> Publish:
        """Takes a pump's status: into the log for everybody, and to the supervisor."""
        trouble: str | None = None

        def publish(status: Mapping[str, Any]) -> None:
            nonlocal trouble
            log.put_status(worker, {**status, "pid": os.getpid(), "at": time.time()})
            self.report("status", status=status)
            if status.get("error") and not trouble:
                self.report("retrying", **{k: status.get(k) for k in ("error", "hint", "retry_in")})
            trouble = status.get("error")

        return publish

    def _listen(self) -> None:
        for line in self._lines:
            self.until = json.loads(line)["until"]
        self.stopping = True
        time.sleep(GRACE)
        os._exit(1)

    def _stop(self, _signal: int, _frame: object) -> None:
        self.stopping = True


def capture(name: str, order: Mapping[str, Any], desk: Desk) -> bool:
    """Run source ``name`` until stopped, or until the log covers the order's ``until``: a position, or
    ``current`` for what is committed at the database now."""
    from liberator.appender import Behind
    from liberator.capture import Capture

    kind = plugins.source_class(order["options"]["type"])
    options: Any = kind.Config.model_validate(order["options"])
    with ExitStack() as stack:
        source = kind(name, options)
        stack.callback(source.close)
        until = None
        if desk.until is not None:
            until = source.current() if desk.until == "current" else Position(*desk.until)
            desk.report("target", until=until)
        appender = Behind(lambda: _open_log(order), name)
        stack.callback(appender.close)
        log = stack.enter_context(_open_log(order))
        codec = plugins.codec_class(options.codec)(log.registry, options.envelope)
        publish = desk.publisher(f"source:{name}", log)
        return Capture(source, log, codec, publish, appender=appender).run(desk.stopped, until)


def apply(name: str, order: Mapping[str, Any], desk: Desk) -> bool:
    """Run sink ``name`` until stopped, or until it has committed the cursor that the supervisor names,
    perhaps later."""
    from liberator.apply import Apply, Plan
    from liberator.codec.decoder import RecordDecoder
    from liberator.patterns import Patterns
    from liberator.reading import Ahead, Reader

    kind = plugins.sink_class(order["options"]["type"])
    options: Any = kind.Config.model_validate(order["options"])
    topics = None if options.topics == ["*"] else functools.cache(Patterns(options.topics))
    plan = Plan(topics, options.apply, options.batch, options.start)

    def open_reader() -> tuple[Reader, Callable[[], None]]:
        log = _open_log(order)
        return plan.reader(log, RecordDecoder(log.registry)), log.close

    with ExitStack() as stack:
        ahead = Ahead(open_reader)
        stack.callback(ahead.close)
        log = stack.enter_context(_open_log(order))
        log.claim(f"sink:{name}")
        publish = desk.publisher(f"sink:{name}", log)
        decoder = RecordDecoder(log.registry)
        pump = Apply(lambda: kind(name, options), log, decoder, plan, publish, ahead=ahead)
        return pump.run(desk.stopped, desk.cursor)


def upkeep(_name: str, order: Mapping[str, Any], desk: Desk) -> bool:
    """Look after the log's retention and compaction until stopped. Where another run on this log does
    so already, wait in silence until that one ends."""
    with _open_log(order) as log:
        claimed = False
        while not desk.stopping:
            try:
                if not claimed:
                    log.claim("upkeep")
                    claimed = True
                began = time.monotonic()
                if log.upkeep():
                    time.sleep(min(time.monotonic() - began, REST))
                    continue
            except LiberatorError as exc:
                if claimed or not exc.retryable:
                    raise
            due = time.monotonic() + UPKEEP
            while not desk.stopping and time.monotonic() < due:
                time.sleep(0.1)
    return False


def _open_log(order: Mapping[str, Any]) -> Log:
    kind = plugins.log_class(order["log"]["type"])
    # The supervisor has made it. A log that has gone since, or that is in the supervisor's memory, must
    # not be replaced by an empty one.
    return kind.from_config(kind.Config.model_validate(order["log"]), create=False)


def _defect(exc: Exception) -> dict[str, Any]:
    """An error that is not ours is a defect; its message may hold a value, so it is not repeated (unless
    somebody who is debugging asks for it)."""
    frames = traceback.extract_tb(exc.__traceback__)
    listed = traceback.format_list(frames)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    return {
        "error": f"unexpected {type(exc).__name__} at {place}",
        "hint": "this is a defect; please report it together with the lines below",
        "details": traceback.format_exc() if "LIBERATOR_DEBUG" in os.environ else "".join(listed),
        "retryable": False,
        "code": 1,
    }


if __name__ == "__main__":
    sys.exit(main())
