"""What commands print, and how: for people on a terminal, as plain lines or JSON everywhere else.

Results go to stdout; errors, hints and warnings to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import IO, Any

import click


def terminal(stream: IO[str] | None = None) -> bool:
    """Whether a person watches ``stream`` (stdout)."""
    stream = sys.stdout if stream is None else stream
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def line(text: str = "") -> None:
    """One line on stdout, at once."""
    click.echo(text)


def error(problems: str | Sequence[str], hint: str | None = None) -> None:
    """``error: …``, one line for each problem, then ``hint: …``."""
    for problem in [problems] if isinstance(problems, str) else problems:
        _note("error", "red", problem)
    if hint:
        _note("hint", "cyan", hint)


def warning(text: str) -> None:
    """``warning: …``."""
    _note("warning", "yellow", text)


def as_json(value: Any) -> None:
    """``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; None is an empty cell, numbers stand right."""
    cells: list[Sequence[object]] = [["" if value is None else value for value in row] for row in rows]
    if terminal():
        _rich_table(columns, cells)
        return
    texts = [list(columns), *([_text(value) for value in row] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [_numeric(cells, index) for index in range(len(columns))]
    for row in texts:
        padded = (
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, right, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def size(count: int | None) -> str | None:
    """Bytes for a person: ``1.5 MB``."""
    if count is None:
        return None
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(amount) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(seconds: float | None) -> str | None:
    """Seconds for a person: ``0.4 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def moment(milliseconds: int) -> str | None:
    """Milliseconds since 1970 as ISO 8601 in UTC, None for 0."""
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _numeric(rows: Sequence[Sequence[object]], index: int) -> bool:
    return any(isinstance(row[index], int | float) for row in rows)


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        shown.add_column(name, justify="right" if _numeric(rows, index) else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_text(value)) for value in row))
    Console().print(shown)


def _note(word: str, color: str, text: str) -> None:
    styled = click.style(f"{word}:", fg=color, bold=True) if "NO_COLOR" not in os.environ else f"{word}:"
    click.echo(f"{styled} {text}", err=True)
