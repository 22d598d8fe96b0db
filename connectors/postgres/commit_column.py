"""The commit column of a table: a column of type xid8 with the transaction of the row's last change.

Rows below the oldest running transaction are settled, so a source that asks can follow this column without
waiting for anybody's locks, and sees updates too. ``liberator setup --add-commit-column`` prints or adds
column, trigger and index; ``liberator teardown`` takes them away.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from connectors.sql.reader import SourceTable
from connectors.sql.statements import load
from liberator.source import Managed

if TYPE_CHECKING:
    from connectors.postgres.reader import PostgresReader

SQL = load("connectors.postgres", "commit_column.sql")


def managed(reader: PostgresReader, table: SourceTable, column: str) -> list[Managed]:
    """The column with its trigger, and its index, for one table."""
    schema = reader.describe(table)
    keys = [c.name for c in schema.key_columns] if schema is not None else []
    names = {kind: _named(f"{table.name}_{column}", kind) for kind in ("stamp", "index")}
    quoted = reader.relation(table)
    function = reader.quote(table.schema, names["stamp"])
    words = {
        "$column_text": reader.text(column),
        "$trigger_text": reader.text(names["stamp"]),
        "$index_text": reader.text(names["index"]),
        "$text": reader.text(quoted),
        "$table": quoted,
        "$column": reader.quote(column),
        "$trigger": reader.quote(names["stamp"]),
        "$function": function,
    }
    (found,) = reader.fetch(_filled("present", words))
    has_column, has_trigger, has_index = found
    add = _filled("add" if reader.version >= 140000 else "add_13", words)
    state: Literal["present", "missing", "different"] = "missing"
    if has_column or has_trigger:
        state = "present" if has_column and has_trigger else "different"
    index = ", ".join(map(reader.quote, dict.fromkeys([column, *keys])))
    return [
        Managed("commit column", f"{table.full_name}.{column}", state, add, _filled("drop", words)),
        Managed(
            "index",
            f"{table.schema}.{names['index']}",
            "present" if has_index else "missing",
            f"create index if not exists {reader.quote(names['index'])} on {quoted} ({index})",
            f"drop index if exists {reader.quote(table.schema, names['index'])}",
        ),
    ]


def _named(base: str, kind: str) -> str:
    name = f"{base}_{kind}"
    if len(name.encode()) <= 63:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[:40].decode(errors='ignore')}_{digest}_{kind}"


def _filled(statement: str, words: dict[str, str]) -> str:
    text = "\n".join(line for line in SQL[statement].splitlines() if not line.startswith("--"))
    # The longest words first, for $column is the beginning of $column_text.
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, words[word])
    return text
