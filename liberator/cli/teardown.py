"""``liberator teardown``: remove exactly what liberator created at the databases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, settings
from liberator.cli.objects import for_each, print_statements
from liberator.errors import LogError

if TYPE_CHECKING:
    from liberator.config import Settings
    from liberator.sink import Sink
    from liberator.source import Source


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@config_option
@click.option("--dry-run", is_flag=True, help="Print the statements instead of executing them.")
def command(names: tuple[str, ...], config: Path, dry_run: bool) -> int:
    """Remove the objects that liberator created at the databases.

    Slots, publications, triggers and bookkeeping go; no table that holds data is touched, and the log
    stays. Afterwards a source cannot go on where it was: it begins anew. NAME restricts it to these
    sources and sinks.

    A NAME that only the log knows is a source that was taken out of the configuration. It is given up: the
    log forgets its position, and a transaction that it left half-way counts as ended. Its records stay.

    \b
    Example:
        liberator teardown --config shop.yaml --dry-run
        liberator teardown --config shop.yaml
    """
    loaded = settings(config)
    given_up = _give_up(loaded, names, dry_run)
    names = tuple(name for name in names if name not in given_up)
    if given_up and not names:
        return 0
    return for_each(loaded, names, _print if dry_run else _remove)


def _give_up(loaded: Settings, names: Sequence[str], dry_run: bool) -> set[str]:
    """Have the log forget those of ``names`` that are its sources and no longer the configuration's."""
    unknown = set(names) - set(loaded.sources) - set(loaded.sinks)
    if not unknown:
        return unknown
    try:
        log = loaded.open_log(create=False)
    except LogError:
        return set()  # nobody knows these names: that is what the caller tells
    with log:
        gone = unknown & set(log.sources())
        for name in sorted(gone):
            if dry_run:
                output.line(f"-- log: source {name} would be given up")
            else:
                log.forget(name)
                output.line(f"log: source {name} is given up")
        return gone


def _print(place: str, keeper: Source | Sink) -> int:
    there = [managed for managed in keeper.objects() if managed.state != "missing"]
    return print_statements(place, there, lambda managed: managed.drop)


def _remove(place: str, keeper: Source | Sink) -> int:
    removed = keeper.teardown()
    for managed in removed:
        output.line(f"{place}: removed {managed.kind} {managed.name}")
    return len(removed)
