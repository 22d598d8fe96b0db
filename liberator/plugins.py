"""Names to classes: every connector, log, codec and demo is found through entry points, our own too.

A package offers its classes in the groups ``liberator.sources``, ``liberator.sinks``,
``liberator.logs``, ``liberator.codecs`` and ``liberator.demos``; a source that can describe a database for
``liberator init`` also in ``liberator.schemes``, by the scheme of its URLs. A class is imported when it is
first named, so a driver that is not installed bothers nobody who does not use it. What a class must look
like says its contract (:mod:`liberator.source`, :mod:`liberator.sink`, :mod:`liberator.log`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from liberator.errors import ConfigError
from liberator.spelling import suggest

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

    from liberator.codec import Codec
    from liberator.log import Log
    from liberator.sink import Sink
    from liberator.source import Source

#: Group to what one of its members is called.
GROUPS = {
    "sources": "source type",
    "sinks": "sink type",
    "logs": "log type",
    "codecs": "codec",
    "demos": "demo",
    "schemes": "URL scheme",
}


class UnknownPlugin(ConfigError):
    """No installed package offers this name."""


class MissingDriver(ConfigError):
    """The plugin is installed, a library that it needs is not."""


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """Everything on offer in ``group`` (``sources``, ``sinks``, ``logs``, ``codecs``, ``demos``,
    ``schemes``) by name; nothing is imported."""
    from importlib.metadata import entry_points  # takes longer than --help may

    found = sorted(entry_points(group=f"liberator.{group}"), key=lambda entry: entry.name)
    return {entry.name: entry for entry in found}


def source_class(name: str) -> type[Source]:
    """The source connector called ``name``. Raises UnknownPlugin, MissingDriver."""
    return load("sources", name)  # type: ignore[no-any-return]


def sink_class(name: str) -> type[Sink]:
    """The sink connector called ``name``. Raises UnknownPlugin, MissingDriver."""
    return load("sinks", name)  # type: ignore[no-any-return]


def log_class(name: str) -> type[Log]:
    """The log called ``name``. Raises UnknownPlugin, MissingDriver."""
    return load("logs", name)  # type: ignore[no-any-return]


def codec_class(name: str) -> type[Codec]:
    """The codec called ``name``. Raises UnknownPlugin, MissingDriver."""
    return load("codecs", name)  # type: ignore[no-any-return]


def demo(name: str) -> Callable[..., Any]:
    """The demo called ``name``. Raises UnknownPlugin, MissingDriver."""
    return load("demos", name)  # type: ignore[no-any-return]


def load(group: str, name: str) -> Any:
    """Import what ``name`` stands for in ``group``.

    The message does not repeat ``name``: it comes from a file where a secret may stand in the wrong line.
    """
    offered = installed(group)
    entry = offered.get(name)
    if entry is None:
        choice = f"{suggest(name, offered)}; installed: {', '.join(offered) or 'none'}"
        raise UnknownPlugin(f"unknown {GROUPS[group]}{choice}")
    try:
        return entry.load()
    except ImportError as exc:
        raise _missing(group, entry, exc) from exc


def _missing(group: str, entry: EntryPoint, exc: ImportError) -> MissingDriver:
    """Which command installs what was missing, as the entry point's own distribution tells."""
    what = f"{GROUPS[group]} '{entry.name}'"
    if entry.dist is None:
        return MissingDriver(f"{what} cannot be imported: {exc}")
    ours = entry.module.partition(".")[0]
    modules = [m for m in _modules(exc) if m != ours]
    if not modules:
        hint = f"pip install --force-reinstall {entry.dist.name}"
        return MissingDriver(f"{what} cannot be imported, its package is incomplete: {exc}", hint=hint)
    extra = next(iter(entry.extras), None) or _extra(entry.dist, modules)
    wanted = f"'{entry.dist.name}[{extra}]'" if extra else modules[0]
    state = "is not installed" if isinstance(exc, ModuleNotFoundError) else "cannot be loaded"
    return MissingDriver(f"{what} needs {modules[0]}, which {state}", hint=f"pip install {wanted}")


def _modules(exc: ImportError) -> list[str]:
    """Top-level modules that ``exc`` may be about: the one it names, then those that raised it."""
    names = [exc.name] if exc.name else []
    trace = exc.__traceback__
    raised_in = []
    while trace:
        raised_in.append(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    if not names:
        names = raised_in[::-1]
    tops = dict.fromkeys(name.partition(".")[0] for name in names)
    return [top for top in tops if top and top not in ("importlib", "liberator")]


def _extra(dist: Distribution, modules: list[str]) -> str | None:
    """The extra of ``dist`` that brings one of ``modules``: ``psycopg[binary]>=3.2; extra == "postgres"``.

    A distribution is rarely called quite like its module (kafka-python, PyMySQL), so an equal name
    without case and punctuation wins, and a name that begins with the module's comes second.
    """
    brings = []
    for requirement in dist.requires or []:
        wanted = re.match(r"([A-Za-z0-9._-]+).*;.*\bextra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if wanted:
            brings.append((_plain(wanted[1]), wanted[2]))
    for module in map(_plain, modules):
        for fits in (str.__eq__, str.startswith):
            for name, extra in brings:
                if fits(name, module):
                    return extra
    return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]", "", name).lower()
