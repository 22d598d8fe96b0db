"""What a scenario is, and the stage that it plays on: a directory, the servers, the size of it all.

The scenarios themselves stand in one module per database; ``bench/__main__.py`` runs and prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.gauge import Reading

#: Milliseconds, one for each event.
Latencies = list[float]
Server = TypeVar("Server", bound=AbstractContextManager[Any])


class Stage(ExitStack):
    """``scale`` is 1.0 at full size; ``rounds`` how often everybody takes a turn. Each kind of server is
    started when the first scenario asks for it, and stopped with the stage."""

    def __init__(self, directory: Path, scale: float, rounds: int):
        super().__init__()
        self.directory, self.scale, self.rounds = directory, scale, rounds
        self._servers: dict[type, Any] = {}

    def server(self, kind: type[Server]) -> Server:
        """The one server of this kind."""
        if kind not in self._servers:
            self._servers[kind] = self.enter_context(kind())
        found: Server = self._servers[kind]
        return found

    def versions(self) -> dict[str, str]:
        """What the servers that were needed say of themselves."""
        return {server.name: server.version() for server in self._servers.values()}


@dataclass(frozen=True, slots=True)
class Scenario:
    """``run`` gives, contender by contender and round by round, a reading or latencies.

    ``aims`` are what is to be reached on two cores: at least ``rate`` (rows/s), ``share`` (of the first
    contender's rate, the limit) and ``lead`` (of the fastest contender that is neither the limit nor
    ours); at most ``memory`` (MB), ``p50`` and ``p99`` (milliseconds), ``cost`` (percent).
    """

    name: str
    title: str
    run: Callable[[Stage], Iterator[tuple[str, Reading | Latencies]]]
    aims: Mapping[str, float] = field(default_factory=dict)
