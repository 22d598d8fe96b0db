"""Arrays: from the text that Postgres prints to tuples.

An array of one dimension that begins at 1, which is nearly all of them, becomes a tuple. Any other stays
the text that it is: the escape described in :mod:`liberator.schema`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from liberator.schema import Kind, LogicalType

#: One element, quoted or plain, and what follows it; the delimiter goes where the % stands.
_ELEMENT: Final = r'(?:"((?:[^"\\]|\\.)*)"|([^"{}\\%s]+))(%s|\}\Z)'
_BACKSLASHED = re.compile(r"\\(.)", re.DOTALL)
_BOUNDS = re.compile(r"(?:(?:\[-?\d+:-?\d+\])+=)?", re.ASCII)
_NO_BRACES = re.compile(r'"(?:[^"\\]|\\.)*"|[^{}"]+', re.DOTALL)
_MOST_DIMENSIONS: Final = 6


def delimiter(item: LogicalType) -> str:
    """What stands between an array's elements: a comma, but for box and PostGIS's types."""
    if item.kind is Kind.GEOMETRY:
        return ":"
    return ";" if item.kind is Kind.NATIVE and item.name == "box" else ","


def array_parser(parse: Callable[[str], Any], comma: str) -> Callable[[str], tuple[Any, ...] | str]:
    """The parse function of arrays whose elements ``parse`` reads: a tuple of its values and None, or
    the text itself for several dimensions and for bounds. Raises ValueError for what is no array."""
    one = re.compile(_ELEMENT % (comma, comma), re.DOTALL).match

    def parse_array(text: str) -> tuple[Any, ...] | str:
        if text == "{}":
            return ()
        if text[:1] == "[" or text[:2] == "{{":
            return _several_dimensions(text)
        if text[:1] != "{":
            raise ValueError("not an array")
        values, at = [], 1
        while (match := one(text, at)) is not None:
            quoted, plain, follows = match.groups()
            if quoted is not None:
                values.append(parse(_BACKSLASHED.sub(r"\1", quoted) if "\\" in quoted else quoted))
            else:
                values.append(None if plain == "NULL" else parse(plain))
            if follows != comma:
                return tuple(values)
            at = match.end()
        raise ValueError("not an array")

    return parse_array


def _several_dimensions(text: str) -> str:
    """The text, if it is such an array: its braces, quoted ones left out, must pair up."""
    bounds = _BOUNDS.match(text)
    body = text[bounds.end() :] if bounds else text
    if body[:1] != "{" or body[-1:] != "}":
        raise ValueError("not an array")
    inner = _NO_BRACES.sub("", body)[1:-1]
    for _ in range(_MOST_DIMENSIONS):
        inner = inner.replace("{}", "")
    if inner:
        raise ValueError("not an array")
    return text
