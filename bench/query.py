"""What is measured of asking: a Postgres table followed by its ids.

The limit is what takes a copy of the table in lines and throws them away.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from bench.contenders import Liberator, Limit, measure
from bench.gauge import Reading
from bench.scenario import Scenario, Stage
from bench.server import BenchServer


class Asker(Liberator):
    """``liberator run`` with a source ``query``."""

    def _configure(self, database: str | None) -> None:
        self._directory.mkdir(exist_ok=True)
        source = {
            "type": "query",
            "url": self._server.url(database),
            "tables": ["public.orders"],
            "mode": "incrementing",
            "incrementing_column": "id",
        }
        log = {"type": "embedded", "path": "./bench.log"}
        self.path.write_text(yaml.safe_dump({"log": log, "sources": {"bench": source}, "sinks": {}}))


def followed(stage: Stage, rows: int) -> Iterator[tuple[str, Reading]]:
    """A table of ``rows``, from the first that are in the log to the last."""
    rows = int(rows * stage.scale)
    server = stage.server(BenchServer)
    server.create("source")
    server.write("source", 1, rows, 10_000)
    for _ in range(stage.rounds):
        limit = Limit(server)
        limit.start("source", rows, "copy")
        yield limit.name, measure(limit, rows, limit.copy)
        ours = Asker(server, stage.directory / "query")
        ours.clear()
        yield ours.name, measure(ours, rows, lambda asker=ours: asker.start("source"))


SCENARIOS = [
    Scenario(
        "query", "Postgres: a table asked for by its ids",
        lambda stage: followed(stage, 1_000_000),
        {"rate": 80_000, "memory": 150},
    ),
]  # fmt: skip
