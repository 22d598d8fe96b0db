"""``${…}`` inside the texts of a configuration file: environment variables and files.

* ``${NAME}``: the environment variable; an error where it is not set.
* ``${NAME:-default}``: the default where the variable is not set or empty; it may hold references too.
* ``${file:/run/secrets/name}``: the file's text without its last line break; a relative path is seen
  from the configuration file's directory.
* ``$${`` stands for a plain ``${``; a ``$`` anywhere else is a ``$``.

What comes in is never looked at again, so a password may hold any character.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(text: str, base: Path, environ: Mapping[str, str]) -> str:
    """``text`` with its references replaced.

    Raises ValueError in plain words: a variable that is not set, a file that cannot be read, a
    reference that is none. The message names variables and files, never a value.
    """
    out: list[str] = []
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at and text[start - 1] == "$":
            out.append(text[at : start - 1] + "${")
            at = start + 2
            continue
        out.append(text[at:start])
        end = _closing(text, start + 2)
        out.append(_value(text[start + 2 : end], base, environ))
        at = end + 1
    return "".join(out) + text[at:]


def _closing(text: str, at: int) -> int:
    """The place of the brace that closes the reference whose inside begins at ``at``."""
    depth = 1
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    raise ValueError("has a ${ without its }")


def _value(reference: str, base: Path, environ: Mapping[str, str]) -> str:
    if reference.startswith("file:"):
        return _read(base / Path(expand(reference[5:], base, environ)).expanduser())
    name, separator, default = reference.partition(":-")
    if not _NAME.fullmatch(name):
        raise ValueError("has a reference that is not ${NAME}, ${NAME:-default} or ${file:/path}")
    value = environ.get(name)
    if separator and not value:
        return expand(default, base, environ)
    if value is None:
        raise ValueError(f"environment variable {name} is not set")
    return value


def _read(path: Path) -> str:
    try:
        return re.sub(r"\r?\n\Z", "", path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ValueError(f"cannot read file {path}: {(exc.strerror or 'unknown reason').lower()}") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"file {path} is not text in utf-8") from exc
