"""Where a column's values come from: from sequences, whose numbers may come in no order, or how far they are;
or from another server.

A query's column, or a view's, is traced to the table that it comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from connectors.postgres.connection import quote, translate
from connectors.sql.horizon import Subject
from connectors.sql.statements import load
from liberator.errors import SourceError

if TYPE_CHECKING:
    from connectors.postgres.reader import PostgresReader

SQL = load("connectors.postgres", "sequences.sql")
#: Views of views that are gone through.
_DEEP = 16


class Sequence(NamedTuple):
    """``size`` numbers are handed out at once; ``readable``: this account may ask how far it has come."""

    name: str
    size: int
    step: int
    readable: bool


def sequences(reader: PostgresReader, subject: Subject) -> list[Sequence]:
    """Those from which the subject's column is filled, as far as the catalog tells."""
    found = []
    for table, column in _places(reader, subject):
        statement = SQL["filled"].replace("$table", table).replace("$column", reader.text(column))
        found += [Sequence(*row) for row in reader.fetch(statement)]
    return found


def refuse_foreign(reader: PostgresReader, subject: Subject, remedy: str) -> None:
    """Raise SourceError where rows come from elsewhere: in an order which is not that of their ids or times,
    and nobody who can be seen holds them back. ``remedy`` is a way out."""
    for table, _ in _places(reader, subject):
        for name, way in reader.fetch(SQL["foreign"].replace("$table", table)):
            raise SourceError(
                f"{subject.source}: rows of {name} come {way}, and who is writing there cannot be seen here",
                hint=f"read from where they are written; or use mode: diff; or {remedy}",
            )


def refuse_cached(reader: PostgresReader, subject: Subject, remedy: str) -> None:
    """Raise SourceError for a sequence that hands out several numbers to a session, to be used at any later
    time. ``remedy`` is the other way out."""
    for name, size, _, _ in sequences(reader, subject):
        if size > 1:
            raise SourceError(
                f"{subject.source}: sequence {name} hands out {size} ids at once, for use at any time later",
                hint=f"`alter sequence {name} cache 1`, or {remedy}",
            )


def given(reader: PostgresReader, subject: Subject) -> int | None:
    """The greatest number that was given out; None where that cannot be known."""
    out = None
    for name, _, step, readable in sequences(reader, subject):
        if not readable:
            return None
        ((last, called),) = reader.fetch(f"select last_value, is_called from {name}")
        out = max(out or 0, int(last) if called else int(last) - step)
    return out


def _places(reader: PostgresReader, subject: Subject) -> list[tuple[str, str]]:
    """The tables, as literals, and columns in which the subject's column is stored."""
    places = [(reader.text(quote(*names)), subject.column.name) for names in subject.relations]
    return places or _origin(reader, subject.source, subject.column.name)


def _origin(reader: PostgresReader, source: str, column: str) -> list[tuple[str, str]]:
    """The table, as a literal, and column of which ``column`` of a query is; nothing where it is computed."""
    for _ in range(_DEEP):
        with translate("describe a query"), reader.conn.cursor() as cursor:
            cursor.execute(f"select {quote(column)} from {source} limit 0".encode())
            result = cursor.pgresult
            assert result is not None
            table, number = result.ftable(0), result.ftablecol(0)
        found = reader.fetch(SQL["origin"].replace("$oid", str(table)).replace("$number", str(number)))
        if not found:
            return []
        column, view = found[0]
        if view is None:
            return [(f"'{table}'", column)]
        source = f"({view.strip().rstrip(';')}) as v"
    return []
