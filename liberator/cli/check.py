"""``liberator check``: everything that would hinder a run, found before it does.

The configuration first; then every source and sink that is configured rightly looks at its database, all
at the same time, for one that cannot be reached takes long to say so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from liberator.cli import output
from liberator.cli.arguments import config_option
from liberator.errors import ConfigError, LiberatorError

if TYPE_CHECKING:
    from liberator.config import Draft
    from liberator.options import LogOptions, SinkOptions, SourceOptions
    from liberator.preflight import Finding
    from liberator.sink import Sink
    from liberator.source import Source

_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


class Result(NamedTuple):
    """One finding and whose it is: ``sources.shop``."""

    owner: str
    finding: Finding

    @property
    def place(self) -> str:
        """Where in the configuration file: ``sources.shop.tables``."""
        return f"{self.owner}.{self.finding.option}" if self.finding.option else self.owner


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def command(config: Path, as_json: bool) -> int:
    """Check the configuration, then every database in it.

    Looks at versions, settings, privileges, tables, objects left over and free space; changes nothing.
    Ends with 2 if the configuration is wrong, with 1 if a run would fail for another reason.

    \b
    Example:
        liberator check --config shop.yaml
    """
    from liberator.config import examine

    draft = examine(config)
    results = look(draft.log, draft.sources, draft.sinks)
    errors = [result for result in results if result.finding.level == "error"]
    misconfigured = bool(draft.problems) or any(result.finding.option for result in errors)
    if as_json:
        output.as_json(
            {
                "ok": not draft.problems and not errors,
                "problems": draft.problems,
                "warnings": draft.warnings,
                "findings": [{"place": result.place, **asdict(result.finding)} for result in results],
            }
        )
    else:
        _print(draft, results)
    return 2 if misconfigured else 1 if errors else 0


def look(
    log: LogOptions | None, sources: Mapping[str, SourceOptions], sinks: Mapping[str, SinkOptions]
) -> list[Result]:
    """What the log's place and all these sources and sinks find, in this order."""
    from liberator.plugins import sink_class, source_class

    checks: list[tuple[str, Callable[[], Source | Sink]]] = []
    for name, options in sources.items():
        checks.append((f"sources.{name}", partial(source_class(options.type), name, options)))
    for name, wanted in sinks.items():
        checks.append((f"sinks.{name}", partial(sink_class(wanted.type), name, wanted)))
    with ThreadPoolExecutor(max_workers=max(1, len(checks))) as pool:
        found = pool.map(lambda check: _look(*check), checks)
        return [Result("log", finding) for finding in _look_at_log(log)] + [
            Result(owner, finding)
            for (owner, _), findings in zip(checks, found, strict=True)
            for finding in findings
        ]


def _look_at_log(options: LogOptions | None) -> list[Finding]:
    """Whether a log that is a file can be made or written where it is meant to be."""
    from liberator.preflight import Finding

    path = getattr(options, "path", None)
    if not isinstance(path, Path):
        return []
    there = next(place for place in (path, *path.parents) if place.exists())
    usable = os.access(there, os.W_OK) and (there.is_dir() != (there == path))
    if usable:
        return [Finding("ok", "file", f"{path} {'can be written' if there == path else 'will be created'}")]
    if there != path and not there.is_dir():
        return [Finding("error", "file", f"{there} is no directory", "choose another place", "path")]
    remedy = "choose another place" if there == path else f"mkdir -p {path.parent}, for this user"
    return [Finding("error", "file", f"{there} cannot be written", remedy, "path")]


def _look(owner: str, make: Callable[[], Source | Sink]) -> list[Finding]:
    """One connector's findings; that it could not look is one too."""
    from liberator.preflight import Finding

    try:
        found = make().check()
    except ConfigError as exc:
        found = [Finding("error", "configuration", problem, exc.hint or "") for problem in exc.problems]
    except LiberatorError as exc:
        found = [Finding("error", "check", str(exc), exc.hint or "")]
    return [_placed(owner, finding) for finding in found]


def _placed(owner: str, finding: Finding) -> Finding:
    """A finding whose message begins with its place in the file (``sources.shop.tables: …``), as those
    made of a ConfigError do, with the place taken out of it."""
    place, colon, message = finding.message.partition(": ")
    if not colon or not place.startswith(f"{owner}."):
        return finding
    return replace(finding, message=message, option=place.removeprefix(f"{owner}."))


def _print(draft: Draft, results: list[Result]) -> None:
    output.error(draft.problems)
    for warning in draft.warnings:
        output.warning(warning)
    for result in results:
        finding = result.finding
        level = click.style(f"{finding.level:7}", fg=_COLORS[finding.level])
        about = "" if finding.check == finding.option else f" {finding.check}:"
        output.line(f"{level}  {result.place}:{about} {finding.message}")
        if finding.remedy:
            output.line(f"         remedy: {finding.remedy}")
    levels = [result.finding.level for result in results]
    errors = levels.count("error") + len(draft.problems)
    warnings = levels.count("warning") + len(draft.warnings)
    output.line(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
