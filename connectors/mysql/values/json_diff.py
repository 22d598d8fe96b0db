"""JSON diffs of partial updates (``binlog_row_value_options=PARTIAL_JSON``), applied to a document.

A diff is a sequence of operations, each a byte, a path and, unless it removes, a value in binary JSON; the
lengths before path and value are length-encoded integers. ``sql/json_diff.h``.
"""

from __future__ import annotations

import json
import re
from typing import Final

from connectors.mysql.values.json import Tree, json_tree

_REPLACE: Final = 0
_INSERT: Final = 1
_REMOVE: Final = 2
_LEG = re.compile(r'\.(?:("(?:[^"\\]|\\.)*")|([^.\["]+))|\[(\d+)\]', re.DOTALL)


def apply(tree: Tree, data: bytes) -> Tree:
    """The document after the diffs; ``tree`` itself is changed. Raises ValueError or LookupError for
    diffs that do not fit the document."""
    at = 0
    while at < len(data):
        operation = data[at]
        path, at = _piece(data, at + 1)
        legs = _legs(path.decode())
        value: Tree | None = None
        if operation != _REMOVE:
            encoded, at = _piece(data, at)
            value = json_tree(encoded)
        if not legs:
            if operation != _REPLACE or value is None:
                raise ValueError("a diff of the whole document that does not replace it")
            tree = value
            continue
        parent = tree
        for leg in legs[:-1]:
            parent = _member(parent, leg)
        _change(operation, parent, legs[-1], value)
    return tree


def _piece(data: bytes, at: int) -> tuple[bytes, int]:
    """Bytes with their length before them, and where they end."""
    first = data[at]
    at += 1
    if first >= 251:
        size = {252: 2, 253: 3, 254: 8}[first]
        first, at = int.from_bytes(data[at : at + size], "little"), at + size
    if at + first > len(data):
        raise ValueError("a diff that is truncated")
    return data[at : at + first], at + first


def _legs(path: str) -> list[str | int]:
    """The keys and indexes of a path, which begins with ``$``."""
    if not path.startswith("$"):
        raise ValueError("not a path")
    out: list[str | int] = []
    at = 1
    while at < len(path):
        match = _LEG.match(path, at)
        if match is None:
            raise ValueError("not a path")
        quoted, plain, index = match.groups()
        out.append(json.loads(quoted, strict=False) if quoted else plain if plain is not None else int(index))
        at = match.end()
    return out


def _member(parent: Tree, leg: str | int) -> Tree:
    if isinstance(parent, dict) and isinstance(leg, str):
        return parent[leg]
    if isinstance(parent, list) and isinstance(leg, int):
        return parent[leg]
    raise ValueError("a path that leads elsewhere")


def _change(operation: int, parent: Tree, leg: str | int, value: Tree | None) -> None:
    # The member must be there, unless it is inserted.
    if operation != _INSERT:
        _member(parent, leg)
    if isinstance(parent, dict) and isinstance(leg, str):
        if operation == _REMOVE:
            del parent[leg]
        elif value is not None and operation in (_REPLACE, _INSERT):
            parent[leg] = value
        else:
            raise ValueError("an unknown operation")
    elif isinstance(parent, list) and isinstance(leg, int):
        if operation == _REMOVE:
            del parent[leg]
        elif operation == _INSERT and value is not None:
            parent.insert(leg, value)
        elif operation == _REPLACE and value is not None:
            parent[leg] = value
        else:
            raise ValueError("an unknown operation")
    else:
        raise ValueError("a path that leads elsewhere")
