"""What tables and columns are called at the target.

A table's name comes from a template with ``{source}``, ``{schema}`` and ``{table}``. What the target
cannot spell (too long, or equal to a neighbour where case does not count) gets a suffix made of a hash
of the whole name: the same name gives the same suffix for ever.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterable

from connectors.sql.dialect import Dialect, TableName
from liberator.schema import TableSchema

FIELDS = ("source", "schema", "table")


def check_template(template: str) -> str:
    """``template`` if it can be rendered; ValueError says what is wrong with it."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as exc:
        raise ValueError(f"not a template: {exc}") from None
    fields = [field for _, field, _, _ in parts if field is not None]
    for _, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or spec or conversion):
            raise ValueError(f"unknown field {{{field}}}; there are {{source}}, {{schema}} and {{table}}")
    if "table" not in fields:
        raise ValueError("a template needs {table}")
    return template


def source_of(topic: str, origin: TableSchema) -> str:
    """The name of the source that writes ``topic``."""
    tail = f".{origin.schema}.{origin.table}"
    return topic.removesuffix(tail) if topic.endswith(tail) else topic.partition(".")[0]


def table_name(dialect: Dialect, template: str, topic: str, origin: TableSchema) -> TableName:
    """The target of ``topic``. Where the target has schemas, a dot in the template parts schema and
    table; without one the table is in the dialect's home."""
    values = {"source": source_of(topic, origin), "schema": origin.schema, "table": origin.table}
    if not dialect.has_schemas:
        return TableName(None, shorten(dialect, template.format(**values)))
    left, dot, right = template.rpartition(".")
    schema = left.format(**values) if dot else dialect.home
    return TableName(
        None if schema is None else shorten(dialect, schema), shorten(dialect, right.format(**values))
    )


def column_names(dialect: Dialect, names: Iterable[str]) -> list[str]:
    """The names of columns at the target, in order; those that would collide get a suffix."""
    taken: set[str] = set()
    out = []
    for name in names:
        short = shorten(dialect, name)
        if dialect.same(short) in taken:
            short = shorten(dialect, name, suffix=True)
        taken.add(dialect.same(short))
        out.append(short)
    return out


def shorten(dialect: Dialect, name: str, suffix: bool = False) -> str:
    """``name`` as the target can spell it; ``suffix``: with a hash even if it is short enough."""
    spellable = dialect.spellable(name)
    if _length(dialect, spellable) is None and spellable == name and not suffix:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    longest = _length(dialect, f"{spellable}_{digest}")
    if longest is None:
        return f"{spellable}_{digest}"
    room = longest - len(digest) - 1
    if dialect.counts_characters:
        return f"{spellable[:room]}_{digest}"
    # Cut between characters: a half character would not be UTF-8.
    cut = spellable.encode("utf-8", "surrogatepass")[:room].decode("utf-8", "ignore")
    return f"{cut}_{digest}"


def _length(dialect: Dialect, name: str) -> int | None:
    """The longest that a name may be, where this one is longer."""
    longest = dialect.longest_name
    if longest is None:
        return None
    length = len(name if dialect.counts_characters else name.encode("utf-8", "surrogatepass"))
    return longest if length > longest else None
