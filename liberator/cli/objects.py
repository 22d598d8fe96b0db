"""What ``setup`` and ``teardown`` have in common: going through the objects of every source and sink.

One that fails does not keep the others from their turn; its error is printed and the command ends with 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from liberator.cli import output
from liberator.errors import ConfigError, LiberatorError

if TYPE_CHECKING:
    from liberator.config import Settings
    from liberator.sink import Sink
    from liberator.source import Managed, Source


def keepers(settings: Settings, names: Sequence[str]) -> Iterator[tuple[str, Source | Sink]]:
    """Every source, then every sink, with its place in the file; only those called ``names`` if there
    are any. Raises ConfigError for a name that neither has."""
    from liberator.spelling import suggest

    known = [*settings.sources, *settings.sinks]
    for name in names:
        if name not in known:
            raise ConfigError(f"no source or sink called {name}{suggest(name, known)}")
    for name in settings.sources:
        if not names or name in names:
            yield f"sources.{name}", settings.source(name)
    for name in settings.sinks:
        if not names or name in names:
            yield f"sinks.{name}", settings.sink(name)


def for_each(settings: Settings, names: Sequence[str], action: Callable[[str, Source | Sink], int]) -> int:
    """Do ``action(place, keeper)`` for each, which returns a number of objects; return the exit code.

    Prints each error with its place, and says so where there was nothing to do.
    """
    done = 0
    failed = False
    for place, keeper in list(keepers(settings, names)):
        try:
            done += action(place, keeper)
        except LiberatorError as exc:
            failed = True
            output.error(f"{place}: {exc}", exc.hint)
    if not done and not failed:
        output.line("nothing to do")
    return 1 if failed else 0


def print_statements(place: str, objects: Sequence[Managed], statement: Callable[[Managed], str]) -> int:
    """What would be done, as a script for a DBA: each object in a comment, then its statement."""
    for managed in objects:
        output.line(f"-- {place}: {managed.kind} {managed.name} is {managed.state}")
        output.line(statement(managed).rstrip().rstrip(";") + ";")
    return len(objects)
