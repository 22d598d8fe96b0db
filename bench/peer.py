"""mq-bridge as a process of its own: ``python -m bench.peer URL FILE [snapshot]``.

Its ``postgres_cdc`` source writes JSON to a file, at least once, without a schema; batches as large as
suits it. It stops on SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import mq_bridge


def main() -> None:
    """The process."""
    url, file, *rest = sys.argv[1:]
    source: dict[str, Any] = {"url": url, "publication": "bench", "slot_name": "bench_peer"}
    if rest:
        source["consume"] = "snapshot"
    route = mq_bridge.Route.from_config(
        {
            "input": {"postgres_cdc": source},
            "output": {"file": {"path": file}},
            "batch_size": 4096,
            "exit_on_empty": bool(rest),
        },
        "bench",
    )
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    route.start()
    while not told.wait(0.1):
        pass
    route.stop()
    route.join()


if __name__ == "__main__":
    main()
