"""What the processes of test_log_kills.py do until they are killed."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from liberator.event import Position
from liberator.log import Records
from liberator.log.embedded import EmbeddedLog
from liberator.log.embedded_upkeep import Policy
from liberator.source import State


def append(parent: Connection, path: Path, source: str) -> None:
    """Append numbered records for ever; the state says how many there are."""
    with EmbeddedLog(path) as log:
        log.claim(f"source:{source}")
        state = log.state(source) or State(Position(1, 0), {"source": source}, {"count": 0}, {"t": [0]})
        parent.send("ready")
        while True:
            start = state.position.major
            count = random.choice([1, 1, 1, 1, 1, 50, 50, 50, 2000, 15_000])
            batch = Records(
                [f"{source}.t{n % 3}" for n in range(start, start + count)],
                [b"k%d" % (n % 1000) for n in range(start, start + count)],
                [b"%d:" % n + bytes(n % 100) for n in range(start, start + count)],
                [()] * count,
                list(range(start, start + count)),
            )
            state = replace(state, position=Position(1, start + count), snapshot={"count": start + count})
            if random.random() < 0.2:
                state = replace(state, schemas={"t": [start + count] * 500})
            log.append(source, batch, state, open=random.random() < 0.3)


def upkeep(parent: Connection, path: Path, later: float, size: int) -> None:
    """Do all kinds of upkeep for ever; the clock is ``later`` seconds ahead, ``size`` bytes are kept."""
    policy = Policy(None, size, lambda topic: topic.startswith("a."), 86_400.0)
    with EmbeddedLog(path, policy, clock=lambda: time.time() + later) as log:
        parent.send("ready")
        while log.upkeep():
            pass
        parent.send("idle")
        while True:
            if not log.upkeep():
                time.sleep(0.001)


def beat(parent: Connection, path: Path, count: int) -> None:
    """Append single records at odd moments; tell when each one was durable."""
    with EmbeddedLog(path) as log:
        for n in range(count):
            time.sleep(random.choice([0.002, 0.01, 0.03, 0.4 if n % 20 == 0 else 0.005]))
            one = Records(["beat"], [b"k"], [b"%d" % n], [()], [0])
            log.append("beat", one, State(Position(1, n)))
            parent.send(time.monotonic_ns())
