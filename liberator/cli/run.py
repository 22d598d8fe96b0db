"""``liberator run``: everything that the configuration names, until a signal comes.

Before the first start of a source, when there is no state that says it ever worked, every database is
looked at as by ``liberator check``: a wrong URL or table then ends the command with all errors at once. Later
starts do without: a database that is away for a while is waited for.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, settings
from liberator.errors import LogError

if TYPE_CHECKING:
    from liberator.config import Settings


@click.command()
@config_option
@click.option(
    "--until-current",
    is_flag=True,
    help="End once all that is committed at the sources now is in the log and in all sinks.",
)
@click.option("--no-check", is_flag=True, help="Do not look at the databases before the first start.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what went wrong.")
def command(config: Path, until_current: bool, no_check: bool, quiet: bool) -> int:
    """Capture all sources and fill all sinks.

    Runs until SIGTERM or Ctrl-C, then finishes the batch in hand, commits and ends with 0; a second signal
    does not wait. Progress and errors go to stderr. Ends with 1 if a source or sink failed for good, with
    2 if the configuration was the reason.

    \b
    Example:
        liberator run --config shop.yaml
        liberator run --config shop.yaml --until-current --quiet
    """
    from liberator import runner
    from liberator.cli.narration import narrate

    loaded = settings(config)
    if not no_check and _first_start(loaded):
        code = _check(loaded)
        if code:
            return code
    _warn_of_unfinished(loaded)
    with narrate(loaded, quiet) as tell:
        return runner.run(loaded, until_current, tell)


def _first_start(loaded: Settings) -> bool:
    """Whether some source has not yet stored a state in the log."""
    try:
        with loaded.open_log(create=False) as log:
            return not set(loaded.sources) <= set(log.sources())
    except LogError:
        return True  # most likely it does not exist yet; any other trouble is met again, and told, soon


def _warn_of_unfinished(loaded: Settings) -> None:
    """Tell of transactions that nobody here will complete. Another configuration may run their source."""
    from liberator.cli.status import at_work, unfinished

    with suppress(LogError), loaded.open_log(create=False) as log:
        said = log.statuses()
        for name in log.unfinished() if loaded.sinks else ():
            if name not in loaded.sources and not at_work(said.get(f"source:{name}", {})):
                output.warning(unfinished(name, configured=False))


def _check(loaded: Settings) -> int:
    """Print what would make the run fail; return the exit code that it deserves."""
    from liberator.cli.check import look

    errors = [
        result for result in look(loaded.log, loaded.sources, loaded.sinks) if result.finding.level == "error"
    ]
    for place, finding in ((result.place, result.finding) for result in errors):
        output.error(f"{place}: {finding.message}", finding.remedy)
    return 0 if not errors else 2 if any(result.finding.option for result in errors) else 1
