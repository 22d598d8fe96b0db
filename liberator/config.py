"""The configuration: a YAML file becomes checked option models, or a list of everything wrong in it.

A file names one log, sources and sinks; what each of them can be told is said by its connector's own
``Config`` model, found through :mod:`liberator.plugins`. The result is data; instances are made by
:meth:`Settings.open_log`, :meth:`Settings.source` and :meth:`Settings.sink`. Keys at the top that begin
with ``x-`` are left alone: a place for YAML anchors.

Reading YAML is the business of :mod:`liberator.document`, wording that of :mod:`liberator.validation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from liberator import plugins
from liberator.document import Document, Place
from liberator.errors import ConfigError
from liberator.options import LogOptions, SinkOptions, SourceOptions
from liberator.patterns import Patterns
from liberator.spelling import suggest
from liberator.validation import in_words

if TYPE_CHECKING:
    from liberator.log import Log
    from liberator.sink import Sink
    from liberator.source import Source

_SECTIONS = ("log", "sources", "sinks")
_NAME = re.compile(r"[a-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Settings:
    """One configuration file, checked. ``sources`` and ``sinks`` hold instances of the connectors'
    own ``Config`` by name; ``warnings`` are finished lines for a person."""

    path: Path
    log: LogOptions
    sources: dict[str, SourceOptions] = field(default_factory=dict)
    sinks: dict[str, SinkOptions] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def open_log(self, *, create: bool = True) -> Log:
        """The log; with ``create`` False one that does not exist yet is a LogError."""
        return plugins.log_class(self.log.type).from_config(self.log, create=create)

    def source(self, name: str) -> Source:
        """A new instance of source ``name``, not opened. Raises ConfigError for an unknown name."""
        options = _named(self.sources, name, "source")
        return plugins.source_class(options.type)(name, options)

    def sink(self, name: str) -> Sink:
        """A new instance of sink ``name``, not opened. Raises ConfigError for an unknown name."""
        options = _named(self.sinks, name, "sink")
        return plugins.sink_class(options.type)(name, options)


@dataclass(slots=True)
class Draft:
    """What could be read of a file: the parts that are right, and what is wrong with the others."""

    path: Path
    log: LogOptions | None = None
    sources: dict[str, SourceOptions] = field(default_factory=dict)
    sinks: dict[str, SinkOptions] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def settings(self) -> Settings:
        """The settings, if nothing is wrong; else a ConfigError with every problem."""
        if self.problems or self.log is None:
            raise ConfigError(self.problems)
        return Settings(self.path, self.log, self.sources, self.sinks, tuple(self.warnings))


def load(path: str | Path) -> Settings:
    """Read a configuration file. Raises ConfigError with every problem in it, each on one line with
    its place: ``sources.shop.tabels: unknown option; did you mean 'tables'? (shop.yaml:6)``."""
    return examine(path).settings()


def examine(path: str | Path) -> Draft:
    """Read as much of a configuration file as is right. Raises ConfigError only for a file that cannot
    be read at all."""
    path = Path(path)
    document = Document(path)
    draft = Draft(path, problems=document.problems, warnings=document.warnings)
    data = document.data
    if not isinstance(data, dict):
        document.problem((), "must be a mapping with log, sources and sinks")
        return draft
    for key in data:
        if key not in _SECTIONS and not key.startswith("x-"):
            document.problem((key,), "unknown option" + suggest(key, _SECTIONS))
    if data.get("log") is None:
        document.problem(("log",), "required option is missing")
    else:
        draft.log = _options(document, ("log",), data["log"], "logs")
    draft.sources = _section(document, data, "sources")
    draft.sinks = _section(document, data, "sinks")
    if not data.get("sources") and not data.get("sinks"):
        document.problem((), "names neither a source nor a sink")
    _warn_of_idle_patterns(document, draft, list(data.get("sources") or ()))
    return draft


def _section(document: Document, data: dict[str, Any], section: str) -> dict[str, Any]:
    """The options of all sources or all sinks that are right, by name."""
    entries = data.get(section)
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        document.problem((section,), "must be a mapping of names to options")
        return {}
    right = {}
    for name, entry in entries.items():
        if not _NAME.fullmatch(name):
            document.problem((section, name), "a name is made of a-z, 0-9, _ and -")
        options = _options(document, (section, name), entry, section)
        if options is not None:
            right[name] = options
    return right


def _options(document: Document, place: Place, data: Any, group: str) -> Any:
    """``data`` as an instance of the ``Config`` of the class that its ``type`` names, or None."""
    if not isinstance(data, dict):
        document.problem(place, "must be a mapping of options")
        return None
    if (*place, "type") in document.unknown:
        return None
    kind = data.get("type")
    if not isinstance(kind, str):
        names = ", ".join(plugins.installed(group)) or "none"
        wrong = "required option is missing" if kind is None else "must be text"
        document.problem((*place, "type"), f"{wrong}; installed: {names}")
        return None
    try:
        model: type[BaseModel] = plugins.load(group, kind).Config
    except ConfigError as exc:
        document.problem((*place, "type"), f"{exc}; {exc.hint}" if exc.hint else str(exc))
        return None
    return _validate(document, place, data, model)


def _validate(document: Document, place: Place, data: dict[str, Any], model: type[BaseModel]) -> Any:
    try:
        options = model.model_validate(data, context={"base": document.base})
    except ValidationError as exc:
        for inner, text in in_words(exc, model, data).items():
            wrong = (*place, *inner)
            if not any(wrong[: len(unknown)] == unknown for unknown in document.unknown):
                document.problem(wrong, text)
        return None
    # A text whose reference failed may pass for a value; it is none.
    return None if any(unknown[: len(place)] == place for unknown in document.unknown) else options


def _warn_of_idle_patterns(document: Document, draft: Draft, sources: list[str]) -> None:
    """Topics begin with their source's name, so a pattern that fits none of the names is idle."""
    if not sources:
        return  # this file only reads what others write to the log
    for name, options in draft.sinks.items():
        for index, pattern in enumerate(options.topics):
            if not pattern.startswith("!") and not any(
                Patterns([pattern]).may_take(f"{source}.") for source in sources
            ):
                place: Place = ("sinks", name, "topics", index)
                document.warning(place, "fits no topic of any source in this file")


def _named(options: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in options:
        known = f"{suggest(name, options)}; there are: {', '.join(options) or 'none'}"
        raise ConfigError(f"no {what} of this name{known}")
    return options[name]
