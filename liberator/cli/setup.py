"""``liberator setup``: create what the sources and sinks need at their databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, settings
from liberator.cli.objects import for_each, print_statements
from liberator.errors import ConfigError

if TYPE_CHECKING:
    from liberator.sink import Sink
    from liberator.source import Source


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@config_option
@click.option("--dry-run", is_flag=True, help="Print the statements instead of executing them.")
@click.option(
    "--add-commit-column",
    is_flag=True,
    help="Also give tables a column with the transaction of a row's last change, by which they can be read.",
)
def command(names: tuple[str, ...], config: Path, dry_run: bool, add_commit_column: bool) -> int:
    """Create the objects that sources and sinks need at their databases.

    `liberator run` does this by itself where it may; this command is for accounts with more rights, and
    with --dry-run for people who want to see or execute the statements themselves. NAME restricts it
    to these sources and sinks. Repeating it changes nothing.

    \b
    Example:
        liberator setup --config shop.yaml --dry-run
        liberator setup --config shop.yaml
        liberator setup --config shop.yaml --add-commit-column crm
    """
    extras = ["commit-column"] if add_commit_column else []
    taken: list[str] = []

    def act(place: str, keeper: Source | Sink) -> int:
        taken.extend(extra for extra in extras if _has(keeper, extra))
        return _print(place, keeper) if dry_run else _create(place, keeper)

    code = for_each(settings(config), names, act)
    for extra in extras:
        if extra not in taken:
            raise ConfigError(
                f"no source here can be given a {extra.replace('-', ' ')}",
                hint="a source that reads tables by asking can, where its database numbers transactions",
            )
    return code


def _has(keeper: Source | Sink, extra: str) -> bool:
    """Whether the keeper is a source that makes this extra object; it then does so."""
    from liberator.source import Source

    return isinstance(keeper, Source) and keeper.extra(extra)


def _print(place: str, keeper: Source | Sink) -> int:
    wanting = [managed for managed in keeper.objects() if managed.state != "present"]
    return print_statements(place, wanting, lambda managed: managed.create)


def _create(place: str, keeper: Source | Sink) -> int:
    created = keeper.setup()
    for managed in created:
        output.line(f"{place}: created {managed.kind} {managed.name}")
    return len(created)
