"""Query events: the statement, its database, and the settings that say how to read it.

https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html
"""

from __future__ import annotations

import struct
from typing import Final

from connectors.mysql.values.charsets import UTF8, charset_of, decoder
from connectors.mysql.wire.events import damaged
from liberator.errors import DecodeError, SchemaError

#: Thread, seconds of execution, size of the database's name, error, size of the status variables.
_head = struct.Struct("<IIBHH").unpack_from
_HEAD_SIZE: Final = 13
_LOAD_SIZE: Final = 13
_UTF8MB4: Final = 255

# Bits of sql_mode.
_ANSI_QUOTES: Final = 1 << 2
_NO_BACKSLASH_ESCAPES: Final = 1 << 20

#: Status variables before and up to the charset: they are written in the order of their codes, those
#: behind it are of no use to us. A number is the size, None means that the next byte tells it.
_SIZES: Final[dict[int, int | None]] = {0: 4, 1: 8, 2: None, 3: 4, 4: 6, 5: None, 6: None}
_SQL_MODE: Final = 1
_OLD_CATALOG: Final = 2
_CHARSET: Final = 4


class Query:
    """A statement as logged. ``database`` is the session's default, "" if none. ``statement`` is text, read
    in the session's charset (``charset``: a collation's id); ``ansi_quotes`` and ``no_backslash_escapes``
    are those of its sql_mode."""

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

    def __init__(
        self, thread_id: int, database: str, statement: str, error_code: int, mode: int, charset: int
    ):
        self.thread_id = thread_id
        self.database = database
        self.statement = statement
        self.error_code = error_code
        self.sql_mode = mode
        self.charset = charset
        self.ansi_quotes = bool(mode & _ANSI_QUOTES)
        self.no_backslash_escapes = bool(mode & _NO_BACKSLASH_ESCAPES)


def is_begin(data: bytes, start: int, end: int) -> bool:
    """Whether the body of a QUERY event is the BEGIN of a transaction, without parsing the rest."""
    if data[end - 5 : end] != b"BEGIN" or end - start < _HEAD_SIZE:
        return False
    # The sizes of the database's name and of the status variables, and the zero behind the name.
    return start + _HEAD_SIZE + data[start + 8] + (data[start + 11] | data[start + 12] << 8) == end - 6


def parse_query(data: bytes, start: int, end: int) -> Query:
    """QUERY. Raises DecodeError, also for a statement in a charset that cannot be read."""
    if end - start < _HEAD_SIZE:
        raise damaged("query")
    thread_id, _, name_size, error_code, status_size = _head(data, start)
    status = start + _HEAD_SIZE
    name = status + status_size
    statement = name + name_size + 1
    if statement > end or data[statement - 1]:
        raise damaged("query")
    mode, charset = _status(data, status, name)
    try:
        database = data[name : statement - 1].decode()
    except UnicodeDecodeError:
        raise damaged("query") from None
    return Query(thread_id, database, _text(data[statement:end], charset), error_code, mode, charset)


def parse_load_query(data: bytes, start: int, end: int) -> Query:
    """EXECUTE_LOAD_QUERY, a ``load data`` written as a statement: a query with more in its head, about the
    file."""
    if end - start < _HEAD_SIZE + _LOAD_SIZE:
        raise damaged("execute_load_query")
    body = data[start : start + _HEAD_SIZE] + data[start + _HEAD_SIZE + _LOAD_SIZE : end]
    return parse_query(body, 0, len(body))


def _status(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The sql_mode, and the charset of the statement."""
    mode, charset = 0, _UTF8MB4
    while at < end:
        code = data[at]
        at += 1
        if code not in _SIZES:
            break
        size = _SIZES[code]
        if size is None:
            if at >= end:
                raise damaged("query")
            # The older form of the catalog has a zero behind it.
            size = 1 + data[at] + (code == _OLD_CATALOG)
        if at + size > end:
            raise damaged("query")
        if code == _SQL_MODE:
            mode = int.from_bytes(data[at : at + 8], "little")
        elif code == _CHARSET:
            charset = int.from_bytes(data[at : at + 2], "little")
            break
        at += size
    return mode, charset


def _text(raw: bytes, charset: int) -> str:
    if raw.isascii():  # no charset in which it is not can be a client's
        return raw.decode("ascii")
    try:
        name = charset_of(charset)
        # Binary literals may stand in any statement; what we must read of it stands before them.
        return raw.decode(errors="replace") if name in UTF8 or name == "binary" else decoder(name)(raw)
    except SchemaError as exc:
        raise DecodeError(f"cannot read a statement in the binlog: {exc}", hint=exc.hint) from None
    except UnicodeDecodeError:
        raise DecodeError(f"cannot read a statement in the binlog: it is not well formed as {name}") from None
