"""``liberator snapshot``: have a source read tables again while it streams on, or after a gap."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, settings
from liberator.cli.status import at_work
from liberator.errors import ConfigError

if TYPE_CHECKING:
    from liberator.log import Log
    from liberator.options import SourceOptions
    from liberator.source import Source, State


@click.command()
@click.argument("source")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@config_option
@click.option("--recover", is_flag=True, help="Accept that changes were lost: read all tables anew.")
def command(source: str, tables: tuple[str, ...], config: Path, recover: bool) -> None:
    """Read tables of SOURCE again while streaming goes on.

    TABLE is schema.table or a pattern such as 'public.*'. The request is kept in the log: a running
    `liberator run` takes it up within a second or two, else the next one does. Every row arrives as an
    event with operation read.

    A source that stopped because changes are lost at its server goes on only after --recover: its next
    start begins a new history and reads all tables anew, and sinks empty theirs before.

    \b
    Example:
        liberator snapshot --config shop.yaml shop public.orders
        liberator snapshot --config shop.yaml --recover shop
    """
    loaded = settings(config)
    if source not in loaded.sources:
        from liberator.spelling import suggest

        known = f"{suggest(source, loaded.sources)}; there are: {', '.join(loaded.sources) or 'none'}"
        raise ConfigError(f"no source {source} in {config.name}{known}")
    if recover == bool(tables):
        raise click.UsageError("give either TABLE... or --recover")
    with loaded.open_log(create=False) as log:
        if recover:
            _recover(log, loaded.source(source))
            output.line(f"the next `liberator run --config {config}` reads all tables of {source} anew")
        else:
            _request(log, source, tables, loaded.sources[source], config)


def _request(log: Log, source: str, tables: tuple[str, ...], options: SourceOptions, config: Path) -> None:
    """Leave word for the source, and tell what becomes of it."""
    _validate(source, tables, getattr(options, "tables", None))
    _warn(source, tables, log.state(source))
    number = log.post(source, {"tables": list(tables)})
    output.line(f"request {number}: source {source} will read {', '.join(tables)} again")
    if at_work(log.statuses().get(f"source:{source}", {})):
        output.line(f"it begins in a moment; `liberator status --config {config}` shows how far it is")
    else:
        output.line(f"nothing runs now; the next `liberator run --config {config}` begins with it")


def _recover(log: Log, source: Source) -> None:
    """Put the state after the gap into the log, as the one process that works for this source."""
    from liberator.log import Records

    state = log.state(source.name)
    if state is None:
        raise ConfigError(f"source {source.name} has no state in this log: there is nothing to recover")
    log.claim(f"source:{source.name}")
    try:
        after = source.recover(state)
    except NotImplementedError as exc:
        raise ConfigError(str(exc)) from exc
    log.append(source.name, Records(), after)


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
        from liberator.spelling import suggest

        output.warning(f"source {source} has read no table {table} so far{suggest(table, known)}")
