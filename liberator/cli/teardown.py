"""``liberator teardown``: remove exactly what liberator created at the databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, settings
from liberator.cli.objects import for_each, print_statements

if TYPE_CHECKING:
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

    \b
    Example:
        liberator teardown --config shop.yaml --dry-run
        liberator teardown --config shop.yaml
    """
    return for_each(settings(config), names, _print if dry_run else _remove)


def _print(place: str, keeper: Source | Sink) -> int:
    there = [managed for managed in keeper.objects() if managed.state != "missing"]
    return print_statements(place, there, lambda managed: managed.drop)


def _remove(place: str, keeper: Source | Sink) -> int:
    removed = keeper.teardown()
    for managed in removed:
        output.line(f"{place}: removed {managed.kind} {managed.name}")
    return len(removed)
