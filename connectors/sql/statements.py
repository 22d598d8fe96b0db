"""SQL that lives in ``.sql`` files: sections named ``-- name: something``, read once.

The reader sees SQL as SQL and can run it in the database's own shell; Python only names it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def load(package: str, file: str) -> dict[str, str]:
    """The statements of ``file`` in ``package``, by name. Lines before the first name are a comment."""
    out: dict[str, str] = {}
    name = ""
    lines: list[str] = []
    text = resources.files(package).joinpath(file).read_text("utf-8")
    for line in [*text.splitlines(), "-- name: "]:
        if line.startswith("-- name:"):
            if name:
                out[name] = "\n".join(lines).strip().rstrip(";")
            name, lines = line[8:].strip(), []
        elif name:
            lines.append(line)
    return out
