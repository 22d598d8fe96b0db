"""``liberator setup``: create what the sources and sinks need at their databases."""

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
    """Create the objects that sources and sinks need at their databases.

    `liberator run` does this by itself where it may; this command is for accounts with more rights, and
    with --dry-run for people who want to see or execute the statements themselves. NAME restricts it
    to these sources and sinks. Repeating it changes nothing.

    \b
    Example:
        liberator setup --config shop.yaml --dry-run
        liberator setup --config shop.yaml
    """
    return for_each(settings(config), names, _print if dry_run else _create)


def _print(place: str, keeper: Source | Sink) -> int:
    wanting = [managed for managed in keeper.objects() if managed.state != "present"]
    return print_statements(place, wanting, lambda managed: managed.create)


def _create(place: str, keeper: Source | Sink) -> int:
    created = keeper.setup()
    for managed in created:
        output.line(f"{place}: created {managed.kind} {managed.name}")
    return len(created)
