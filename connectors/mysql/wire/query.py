"""Query events: the statement, its database, and the settings that say how to read it.

https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html
"""

from __future__ import annotations


class Query:
    """A statement as logged. ``database`` is the session's default, "" if none. ``statement`` is text, decoded
    by the session's charset; ``ansi_quotes`` and ``no_backslash_escapes`` are those of its sql_mode."""

    __slots__ = (
        "ansi_quotes",
        "charset",
        "database",
        "error_code",
        "no_backslash_escapes",
        "sql_mode",
        "statement",
        "thread_id",
    )

    thread_id: int
    database: str
    statement: str
    error_code: int
    sql_mode: int
    charset: int
    ansi_quotes: bool
    no_backslash_escapes: bool


def is_begin(data: bytes, start: int, end: int) -> bool:
    """Whether the body of a QUERY event is the BEGIN of a transaction, without parsing the rest."""
    raise NotImplementedError


def parse_query(data: bytes, start: int, end: int) -> Query:
    """QUERY. Raises DecodeError, also for a statement in a charset that we cannot read."""
    raise NotImplementedError
