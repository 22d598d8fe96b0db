"""What ``liberator check`` and ``liberator status`` say of a query source; each connects by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.sql.clock import spell
from connectors.sql.horizon import Subject
from connectors.sql.query.options import QueryOptions
from connectors.sql.query.target import Target, targets
from connectors.sql.reader import Reader, open_reader
from liberator.errors import ConfigError, LiberatorError
from liberator.preflight import Finding
from liberator.source import SourceStatus, State

#: So many holders are named.
_NAMED = 5


def commit_column(options: QueryOptions, target: Target) -> bool:
    """Whether the target has a commit column."""
    name = options.commit_column
    return name in target.schema.names and target.column(name).native == "xid8"


def loss_possible(options: QueryOptions, found: list[Target]) -> str | None:
    """How rows may be lost by what was chosen; None where they cannot be."""
    followed = "incrementing" in options.mode or "timestamp" in options.mode
    if options.delay is None or not followed or all(commit_column(options, t) for t in found):
        return None
    return f"rows of transactions that stay open longer than {options.delay:g} s"


def findings(source: str, options: QueryOptions) -> list[Finding]:
    """Whether the database answers, tables and columns are there, and what is settled can be known."""
    reader = open_reader(options.url, f"liberator {source} check")
    try:
        try:
            reader.connect()
        except LiberatorError as exc:
            return [Finding("error", "connection", str(exc), exc.hint or "", "url")]
        out = [Finding("ok", "connection", f"{reader.name}, database {reader.database}")]
        try:
            found = targets(reader, options, source)
        except ConfigError as exc:
            return [*out, *(Finding("error", "tables", p, exc.hint or "", "tables") for p in exc.problems)]
        except LiberatorError as exc:
            return [*out, Finding("error", "tables", str(exc), exc.hint or "")]
        out.append(Finding("ok", "tables", f"{len(found)} to read"))
        return out + _horizons(reader, options, found)
    finally:
        reader.close()


def _horizons(reader: Reader, options: QueryOptions, found: list[Target]) -> list[Finding]:
    if options.mode in ("bulk", "diff"):
        return []
    loss = loss_possible(options, found)
    if loss:
        return [Finding("warning", "horizon", f"loss possible: {loss}", "horizon: auto loses none")]
    if all(commit_column(options, t) for t in found):
        return [Finding("ok", "horizon", "rows are read in the order of their commit column")]
    try:
        return [*reader.horizons().check(), *_ids(reader, options, found)]
    except LiberatorError as exc:
        return [Finding("error", "horizon", str(exc), exc.hint or "")]


def _ids(reader: Reader, options: QueryOptions, found: list[Target]) -> Iterator[Finding]:
    """Whether ids are the database's."""
    column = options.incrementing_column
    if column is None or "incrementing" not in options.mode:
        return
    for target in found:
        if not target.relations or commit_column(options, target):
            continue
        subject = Subject(target.source, target.column(column), target.relations)
        if reader.horizons().given(subject) is None:
            yield Finding(
                "warning", "ids",
                f"{target.name}: that the database gives out {column}, each number once and in growing order,"
                " is not to be seen",
                "a row whose id was passed is not read: SQLite wants `autoincrement`, Postgres a grant of"
                " select on the sequence, or a commit column; or use mode: diff",
                "incrementing_column",
            )  # fmt: skip


def standing(source: str, options: QueryOptions, state: State | None) -> SourceStatus:
    """How old the horizon is, who holds it back, and whether rows may be lost."""
    reader = open_reader(options.url, f"liberator {source} status")
    try:
        reader.connect()
        now = reader.now()
        details: dict[str, Any] = {}
        warnings = []
        covered = state.position.major if state is not None else 0
        if covered:
            details["horizon_age"] = round(max(0, now - covered) / 1_000_000, 3)
        if options.mode not in ("bulk", "diff"):
            try:
                loss = loss_possible(options, targets(reader, options, source))
                holders = reader.horizons().holders()[:_NAMED]
            except LiberatorError as exc:
                loss, holders = None, []
                warnings.append(str(exc))
            details["horizon_held_by"] = [
                {"pid": h.pid, "user": h.user, "application": h.application, "age": round(h.age, 3)}
                for h in holders
            ]
            details["loss_possible"] = loss
            warnings += [f"loss possible: {loss}"] if loss else []
            # Somebody who has just begun is nothing to speak of.
            warnings += [
                f"the horizon is held back by {h}" for h in holders if h.age > options.poll_interval + 1
            ]
        if warnings:
            details["warnings"] = warnings
        return SourceStatus(spell(covered) if covered else None, spell(now), details=details)
    finally:
        reader.close()
