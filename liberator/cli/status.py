"""``liberator status``: how every source and sink stands, whether or not anything runs.

Three witnesses are heard: the log (states, cursors), the workers' own last words in it, and the databases.
One that cannot be asked leaves its part empty, with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liberator.cli import output
from liberator.cli.arguments import config_option, json_option, settings
from liberator.errors import LiberatorError

if TYPE_CHECKING:
    from liberator.config import Settings
    from liberator.log import Cursor, Log

#: A worker says something every second; one that was silent for so many seconds is not at work. While
#: it waits to try again it is silent for longer.
_SILENT = 10.0
_WAITING = {"restarting": 60.0, "retrying": 60.0}


@dataclass(slots=True)
class SourceView:
    """A source: ``position`` is what the log holds, ``current`` where the database is. ``lag_seconds``:
    age of the newest moment up to which it was read; ``lag_bytes``: change data not yet read;
    ``retained_bytes``: what the server keeps for us (for a WAL: the slot's). None: unknown. ``refused``:
    requests to read tables again that came to nothing, by number, with the reason."""

    name: str
    type: str
    phase: str = "new"
    running: bool = False
    position: str | None = None
    current: str | None = None
    snapshot: dict[str, Any] = field(default_factory=dict)
    lag_seconds: float | None = None
    lag_bytes: int | None = None
    retained_bytes: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    hint: str | None = None


@dataclass(slots=True)
class SinkView:
    """A sink: ``lag_events`` records in the log behind its cursor, of all topics; ``lag_seconds``: age
    of the oldest of them that it takes."""

    name: str
    type: str
    phase: str = "new"
    running: bool = False
    cursor: dict[str, int] | None = None
    lag_events: int | None = None
    lag_seconds: float | None = None
    error: str | None = None
    hint: str | None = None


@click.command()
@config_option
@json_option
def command(config: Path, as_json: bool) -> None:
    """Show how every source and sink stands.

    Reads the log and asks every database; works beside a run and without one.

    \b
    Example:
        liberator status --config shop.yaml
        liberator status --config shop.yaml --json
    """
    loaded = settings(config)
    with loaded.open_log(create=False) as log:
        said = log.statuses()
        sources = [_source(loaded, log, name, said.get(f"source:{name}", {})) for name in loaded.sources]
        sinks = [_sink(loaded, log, name, said.get(f"sink:{name}", {})) for name in loaded.sinks]
        end = dict(log.end().offsets)
        upkeep = said.get("upkeep", {}).get("error")
        waits = [name for name in log.unfinished() if not at_work(said.get(f"source:{name}", {}))]
        identity = log.identity
    if as_json:
        output.as_json(
            {
                "log": {
                    "type": loaded.log.type,
                    "identity": identity,
                    "end": end,
                    "error": upkeep,
                    "unfinished": waits,
                },
                "sources": [asdict(view) for view in sources],
                "sinks": [asdict(view) for view in sinks],
            }
        )
    else:
        _print(sources, sinks)
        for name in waits:
            output.warning(unfinished(name, name in loaded.sources))
        if upkeep:
            output.error(f"log: upkeep: {upkeep}")


def _source(loaded: Settings, log: Log, name: str, said: Mapping[str, Any]) -> SourceView:
    view = SourceView(name, loaded.sources[name].type, running=at_work(said))
    _last_words(view, said)
    state = log.state(name)
    source = loaded.source(name)
    if state is not None:
        view.position = source.describe(state.position)
        view.snapshot = _tables(state.snapshot)
        if said.get("timestamp"):
            view.lag_seconds = round(max(0.0, time.time() - said["timestamp"] / 1_000_000), 3)
    try:
        at_database = source.status(state)
    except LiberatorError as exc:
        view.error = view.error or str(exc)
        view.hint = view.hint or exc.hint
    else:
        view.position = at_database.position or view.position
        view.current = at_database.current
        view.lag_bytes = at_database.lag_bytes
        view.retained_bytes = at_database.retained_bytes
        view.details = dict(at_database.details)
    return view


def _sink(loaded: Settings, log: Log, name: str, said: Mapping[str, Any]) -> SinkView:
    from liberator.patterns import Patterns

    options = loaded.sinks[name]
    view = SinkView(name, options.type, running=at_work(said))
    _last_words(view, said)
    sink = loaded.sink(name)
    try:
        cursor = sink.cursor() if sink.keeps_cursor else log.committed(name)
    except LiberatorError as exc:
        view.error = view.error or str(exc)
        view.hint = view.hint or exc.hint
        return view
    if cursor is not None and cursor.log == log.identity:
        view.cursor = dict(cursor.offsets)
        view.lag_events, view.lag_seconds = _lag(log, cursor, Patterns(options.topics))
    elif cursor is not None:
        view.error = "was filled from another log than this one, so its place means nothing here"
    return view


def _lag(log: Log, cursor: Cursor, topics: Any) -> tuple[int, float | None]:
    """Records behind ``cursor``, and the age in seconds of the first that ``topics`` takes; None where
    that one is too far away to be found quickly."""
    end = log.end()
    count = sum(max(0, last - cursor.offsets.get(part, 0)) for part, last in end.offsets.items())
    deadline = time.monotonic() + 1.0
    while count:
        if time.monotonic() > deadline:
            return count, None
        part = log.read(cursor, topics, 1)
        if part.records:
            return count, round(max(0.0, time.time() - part.records.timestamps[0] / 1000), 3)
        if part.cursor == cursor:
            break
        cursor = part.cursor
    return count, 0.0


def _last_words(view: SourceView | SinkView, said: Mapping[str, Any]) -> None:
    """What the worker said of itself the last time; a phase is only true while it runs."""
    phase = said.get("phase")
    if phase:
        view.phase = phase if view.running or phase == "failed" else "stopped"
    if isinstance(view, SourceView):
        view.refused = dict(said.get("refused", {}))
    view.error = said.get("error")
    view.hint = said.get("hint")


def at_work(said: Mapping[str, Any]) -> bool:
    """Whether the worker that said this is most likely alive."""
    phase = said.get("phase", "")
    silence = time.time() - said.get("at", 0.0)
    return phase not in ("failed", "stopped") and silence < _WAITING.get(phase, _SILENT)


def unfinished(source: str, configured: bool) -> str:
    """What to tell of a source that is not at work and has left a transaction half-way in the log."""
    mend = (
        "until it runs again"
        if configured
        else f"for ever, unless `liberator teardown --config FILE {source}` gives it up"
    )
    return (
        f"log: source {source} stopped in the middle of a transaction: sinks with `apply: transaction` wait "
        f"for the rest {mend}"
    )


def _tables(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The tables' progress without the sources' private notes."""
    return {
        name: {
            "state": table.get("state"),
            "rows": table.get("rows", 0),
            "estimate": table.get("estimate", 0),
        }
        for name, table in snapshot.get("tables", {}).items()
    }


def _print(sources: list[SourceView], sinks: list[SinkView]) -> None:
    if sources:
        rows = [
            (
                view.name,
                view.phase,
                _progress(view.snapshot),
                view.position,
                output.duration(view.lag_seconds),
                output.size(view.lag_bytes),
                output.size(view.retained_bytes),
            )
            for view in sources
        ]
        output.table(("source", "phase", "snapshot", "position", "lag", "unread", "kept by server"), rows)
    if sources and sinks:
        output.line()
    if sinks:
        output.table(
            ("sink", "phase", "cursor", "records behind", "lag"),
            [
                (
                    view.name,
                    view.phase,
                    _offsets(view.cursor),
                    view.lag_events,
                    output.duration(view.lag_seconds),
                )
                for view in sinks
            ],
        )
    troubled = [(f"sources.{v.name}", v.error, v.hint) for v in sources if v.error]
    troubled += [(f"sinks.{v.name}", v.error, v.hint) for v in sinks if v.error]
    for view in sources:
        for warning in view.details.get("warnings", ()):
            output.warning(f"sources.{view.name}: {warning}")
        for number, reason in view.refused.items():
            output.warning(f"sources.{view.name}: request {number} to read tables again: {reason}")
    for place, error, hint in troubled:
        output.error(f"{place}: {error}", hint)


def _progress(tables: Mapping[str, Any]) -> str | None:
    """``3 of 5 tables, 1,200,000 rows``; done ones are only counted."""
    if not tables:
        return None
    done = sum(table["state"] == "done" for table in tables.values())
    rows = sum(table["rows"] for table in tables.values())
    return f"{'done' if done == len(tables) else f'{done} of {len(tables)} tables'}, {rows:,} rows"


def _offsets(cursor: Mapping[str, int] | None) -> str | None:
    """``17``, or ``a:3, b:9`` where the log has partitions."""
    if cursor is None:
        return None
    return ", ".join(f"{part}:{offset}" if part else str(offset) for part, offset in sorted(cursor.items()))
