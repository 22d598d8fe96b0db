"""``liberator snapshot``: have a source read tables again while it streams on."""

from __future__ import annotations

from pathlib import Path

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, settings
from liberator.errors import ConfigError


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
        number = log.post(source, {"tables": list(tables)})
    output.line(f"request {number}: source {source} will read {', '.join(tables)} again")
    output.line(f"`liberator status --config {config}` shows how far it is")


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
