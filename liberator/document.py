"""A YAML file as plain data that remembers its lines, and the problems found in it.

YAML is read by PyYAML's safe loader and references (:mod:`liberator.references`) are replaced
afterwards, in the finished texts, so that no value can add a key. What the data means is the business
of :mod:`liberator.config`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from liberator.errors import ConfigError
from liberator.references import expand

#: Keys and list indexes from the top of the file to a value.
Place = tuple[str | int, ...]

#: More values than any configuration has; aliases of aliases can multiply without end.
_MOST_VALUES = 100_000


class Document:
    """What a file says. ``data`` is made of dicts, lists and scalars, references replaced.

    ``problems`` and ``warnings`` collect what is wrong, as finished lines; places whose references
    failed are ``unknown``, and nothing more is said about them.
    """

    def __init__(self, path: Path):
        self.path = path
        self.base = path.resolve().parent
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.unknown: set[Place] = set()
        self._lines: dict[Place, int] = {}
        self.data = self._expand(self._read(), ())

    def problem(self, place: Place, text: str) -> None:
        """Note that the value at ``place`` is wrong."""
        self.problems.append(self.describe(place, text))

    def warning(self, place: Place, text: str) -> None:
        """Note that the value at ``place`` looks wrong."""
        self.warnings.append(self.describe(place, text))

    def describe(self, place: Place, text: str) -> str:
        """``sources.shop.tabels: unknown option (shop.yaml:6)``."""
        line = next(
            (self._lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self._lines), None
        )
        where = f"{self.path.name}:{line}" if line else self.path.name
        return f"{spell(place)}: {text} ({where})" if place else f"{where}: {text}"

    def _read(self) -> Any:
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as exc:
            reason = (exc.strerror or "unknown reason").lower()
            raise ConfigError(f"cannot read configuration file {self.path}: {reason}") from exc
        except UnicodeDecodeError as exc:
            raise ConfigError(f"configuration file {self.path} is not text in utf-8") from exc
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            self._look(node, (), ())
            return loader.construct_document(node)
        except yaml.MarkedYAMLError as exc:
            raise ConfigError(self._syntax(exc)) from exc
        except (yaml.YAMLError, ValueError, RecursionError) as exc:
            raise ConfigError(f"{self.path.name} is not YAML that can be read") from exc
        finally:
            loader.dispose()

    def _look(self, node: yaml.Node, place: Place, above: tuple[int, ...]) -> None:
        """Note every value's line; refuse keys that occur twice and values that contain themselves."""
        self._lines.setdefault(place, node.start_mark.line + 1)
        if id(node) in above or len(self._lines) > _MOST_VALUES:
            raise yaml.MarkedYAMLError(problem="an alias stands for too much", problem_mark=node.start_mark)
        above = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._look(item, (*place, index), above)
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                inner = (*place, str(key.value))
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    self.problems.append(
                        f"{spell(inner)}: given twice ({self.path.name}:{key.start_mark.line + 1})"
                    )
                seen.add(str(key.value))
                self._lines[inner] = key.start_mark.line + 1
                self._look(value, inner, above)

    def _syntax(self, exc: yaml.MarkedYAMLError) -> str:
        """One line for a file that is not YAML; the two classic slips with patterns get their cure."""
        mark = exc.problem_mark or exc.context_mark
        where = f"{self.path.name}:{mark.line + 1}" if mark else self.path.name
        problem = exc.problem or "unreadable"
        if "alias" in f"{exc.context} {problem}" and "undefined" not in problem and "too much" not in problem:
            problem = "a value that begins with * must be in quotes"
        elif "could not determine a constructor" in problem or "tag" in f"{exc.context}":
            problem = "a value that begins with ! must be in quotes"
        elif "undefined alias" in problem:
            problem = "a value that begins with * is an alias, which must be defined; put a pattern in quotes"
        elif "\\t" in problem:
            problem = "a tab where only spaces may stand"
        return f"{where}: {problem}"

    def _expand(self, value: Any, place: Place) -> Any:
        if isinstance(value, dict):
            return {str(key): self._expand(inner, (*place, str(key))) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._expand(inner, (*place, index)) for index, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            return expand(value, self.base, _environment())
        except ValueError as exc:
            self.problem(place, str(exc))
            self.unknown.add(place)
            return value


def spell(place: Place) -> str:
    """``sources.shop.tables[0]``."""
    out = ""
    for part in place:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def _environment() -> Mapping[str, str]:
    return os.environ
