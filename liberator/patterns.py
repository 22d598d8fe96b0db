"""Patterns over dotted names: which tables a source takes, which topics a sink writes.

``*`` stands for any characters, dots included, so that ``shop.*`` covers ``shop.public.orders``; a
pattern that begins with ``!`` leaves out. A name is taken when at least one pattern takes it and none
leaves it out; the order of the patterns does not matter. Everything else in a pattern stands for itself,
upper and lower case apart. An odd name is written as in SQL, ``public."wild*card"`` (a quote inside is
doubled), or with a backslash before the odd character, ``public.wild\\*card``.

What the names mean is the callers' business; nothing here knows a table from a topic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: A quoted run, an escaped character, a wildcard, or one character that stands for itself.
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|\\(.)|(\*)|([^"\\])', re.DOTALL)


class Patterns:
    """A compiled list of patterns; call it with a name.

    >>> wanted = Patterns(["public.*", "!public.tmp_*"])
    >>> wanted("public.orders"), wanted("public.tmp_1"), wanted("audit.log")
    (True, False, False)

    Raises ValueError, with a message in plain words, for a list without a pattern that takes something
    and for a pattern that cannot be read.
    """

    def __init__(self, patterns: Sequence[str]):
        self.takes = tuple(p for p in patterns if not p.startswith("!"))
        self.leaves_out = tuple(p for p in patterns if p.startswith("!"))
        if not self.takes:
            raise ValueError("needs at least one pattern that takes something, such as '*'")
        self._takes = _compile(self.takes)
        self._leaves_out = _compile([p[1:] for p in self.leaves_out])

    def __call__(self, name: str) -> bool:
        """Whether ``name`` is taken."""
        return bool(self._takes.fullmatch(name)) and not self._leaves_out.fullmatch(name)

    def unmatched(self, names: Iterable[str]) -> list[str]:
        """The taking patterns that match none of ``names``: most likely misspelt."""
        known = list(names)
        return [p for p in self.takes if not any(map(_compile([p]).fullmatch, known))]

    def may_take(self, prefix: str) -> bool:
        """Whether a taking pattern matches some name that begins with ``prefix``; for warnings."""
        return any(_may_begin(parse(p), prefix) for p in self.takes)

    def __repr__(self) -> str:
        return f"Patterns({[*self.takes, *self.leaves_out]!r})"


def escape(name: str) -> str:
    """The pattern that takes exactly ``name``."""
    return re.sub(r'([*\\"!])', r"\\\1", name)


def parse(pattern: str) -> list[str | None]:
    """``pattern``, without a leading ``!``, as literal texts and ``None`` for each wildcard.

    Raises ValueError for an empty pattern, a quote that is never closed, a backslash at the end.
    """
    parts: list[str | None] = []
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            raise ValueError(
                'has an opening " without a closing one'
                if pattern[at] == '"'
                else "ends with a lone backslash"
            )
        quoted, escaped, wildcard, plain = token.groups()
        parts.append(
            None if wildcard else quoted.replace('""', '"') if quoted is not None else escaped or plain
        )
        at = token.end()
    if not any(part is None or part for part in parts):
        raise ValueError("must not be empty")
    return parts


def _compile(patterns: Sequence[str]) -> re.Pattern[str]:
    """One expression for all ``patterns``; for none, one that matches nothing."""
    alternatives = (
        "".join(".*" if part is None else re.escape(part) for part in parse(pattern)) for pattern in patterns
    )
    return re.compile("|".join(f"(?:{a})" for a in alternatives) or r"(?!)", re.DOTALL)


def _may_begin(parts: list[str | None], prefix: str) -> bool:
    """Whether a match of ``parts`` can begin with ``prefix``: a wildcard can be all that is left of it."""
    literal = ""
    for part in parts:
        if part is None:
            return prefix.startswith(literal) or literal.startswith(prefix)
        literal += part
    return literal.startswith(prefix)
