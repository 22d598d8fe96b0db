"""``liberator snapshot``: have a source read tables again while it streams on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, settings
from liberator.cli.status import at_work
from liberator.errors import ConfigError

if TYPE_CHECKING:
    from liberator.source import State


@click.command()
@click.argument("source")
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@config_option
def command(source: str, tables: tuple[str, ...], config: Path) -> None:
    """Read tables of SOURCE again while streaming goes on.

    TABLE is schema.table or a pattern such as 'public.*'. The request is kept in the log: a running
    `liberator run` takes it up within a second or two, else the next one does. Every row arrives as an
    event with operation read.

    \b
    Example:
        liberator snapshot --config shop.yaml shop public.orders
    """
    loaded = settings(config)
    if source not in loaded.sources:
        from liberator.plugins import suggest

        known = f"{suggest(source, loaded.sources)}; there are: {', '.join(loaded.sources) or 'none'}"
        raise ConfigError(f"no source {source} in {config.name}{known}")
    _validate(source, tables, getattr(loaded.sources[source], "tables", None))
    with loaded.open_log(create=False) as log:
        _warn(source, tables, log.state(source))
        number = log.post(source, {"tables": list(tables)})
        running = at_work(log.statuses().get(f"source:{source}", {}))
    output.line(f"request {number}: source {source} will read {', '.join(tables)} again")
    if running:
        output.line(f"it begins in a moment; `liberator status --config {config}` shows how far it is")
    else:
        output.line(f"nothing runs now; the next `liberator run --config {config}` begins with it")


def _validate(source: str, tables: tuple[str, ...], captured: list[str] | None) -> None:
    """Refuse patterns that cannot be read and tables that the source does not capture at all."""
    from liberator.patterns import Patterns

    problems = []
    for table in tables:
        try:
            Patterns([table])
        except ValueError as exc:
            problems.append(f"table {table}: {exc}")
            continue
        if captured and "*" not in table and not Patterns(captured)(table):
            problems.append(f"table {table} is not among the tables of source {source}")
    if problems:
        raise ConfigError(problems, hint="a table is named schema.table, as in the source's `tables`")


def _warn(source: str, tables: tuple[str, ...], state: State | None) -> None:
    """Tell of patterns that match no table that a snapshot has ever seen; new tables are possible."""
    from liberator.patterns import Patterns

    known = list(state.snapshot.get("tables", {})) if state is not None else []
    for table in Patterns(tables).unmatched(known) if known else []:
        from liberator.plugins import suggest

        output.warning(f"source {source} has read no table {table} so far{suggest(table, known)}")
