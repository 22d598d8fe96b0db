"""What a statement in the binlog does to which tables, understood from its head alone.

No grammar: comments are skipped, names are read in every quoting, and the first words decide. What is not
known to touch a table's rows or shape is OTHER. Versioned comments (``/*!50000 … */``, MariaDB's
``/*M! … */``) count as what is in them, for a server that logged one had it executed.

Only three things are looked for behind the head, outside of parentheses, and in DDL alone: whether a new
table is filled at once, whether an altered one gets another name, and whether rows come or go without row
events (partitions).

https://dev.mysql.com/doc/refman/8.4/en/sql-statements.html, https://mariadb.com/docs/server/reference/sql-statements
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from connectors.mysql.wire.tokens import Tokens
from liberator.errors import DecodeError

#: Database and table; the database is "" if none is written and the session has none.
Name = tuple[str, str]


class Act(Enum):
    """What kind of statement it is."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()
    SAVEPOINT = auto()  #: savepoint, release savepoint
    ROLLBACK_TO = auto()  #: to a savepoint
    XA = auto()  #: xa start, end, prepare, commit, rollback
    CREATE_TABLE = auto()
    CREATE_TABLE_AS = auto()  #: create table … select as it was written: its rows are not in the binlog
    ALTER_TABLE = auto()  #: also create index and drop index
    DROP_TABLE = auto()
    RENAME_TABLE = auto()  #: ``tables`` is old, new, old, new, …, to be done one after the other
    TRUNCATE_TABLE = auto()
    CREATE_DATABASE = auto()  #: ``tables`` is ((database, ""),)
    ALTER_DATABASE = auto()
    DROP_DATABASE = auto()
    DML = auto()  #: insert, update, delete, replace, load data, call, …: a change of rows as a statement
    OTHER = auto()  #: grants, settings, views, triggers, routines, …


@dataclass(slots=True)
class Statement:
    """``tables`` are (database, table) in the order named; the session's database where none is written.
    Of DML they are what the statement itself names, and () where that takes more than its head."""

    act: Act
    tables: tuple[Name, ...] = ()
    #: create and drop: temporary tables only, of which the binlog has no rows.
    temporary: bool = False
    #: alter table … rename: ``tables`` is old and new.
    renamed: bool = False
    #: alter table: rows come or go without row events (partitions dropped, truncated, exchanged or
    #: converted, a tablespace imported or discarded, duplicates left out by ``alter ignore table``). Of an
    #: exchange and a conversion ``tables`` has the other table as well.
    silent: bool = False
    #: create table … start transaction (MySQL's create table … select): its rows follow as row events.
    opens: bool = False
    #: create or replace table: one of this name was dropped before.
    replaces: bool = False


def understand(
    statement: str, database: str = "", *, ansi_quotes: bool = False, no_backslash_escapes: bool = False
) -> Statement:
    """What ``statement`` does. What is not understood is OTHER; but a head that begins like a change of
    tables and cannot be read to its end raises DecodeError, for it must not be passed over."""
    tokens = Tokens(statement, ansi_quotes=ansi_quotes, no_backslash_escapes=no_backslash_escapes)
    return _understand(tokens, database)


def _understand(tokens: Tokens, database: str) -> Statement:
    verb = tokens.take()
    read = _VERBS.get(verb.word)
    if read is None:
        return Statement(Act.OTHER)
    try:
        return read(tokens, database)
    except _UnreadableError:
        raise DecodeError(
            f"cannot read the head of a statement in the binlog that begins with {verb.word.lower()}",
            hint="which table it changes is unknown, so it must not be passed over; please report its form",
        ) from None


class _UnreadableError(Exception):
    """The head of a statement is not what it should be."""


def _name(tokens: Tokens, database: str) -> Name:
    """A table's name, with its database or without."""
    first = _part(tokens)
    if not tokens.skip_mark("."):
        return database, first
    return first, _part(tokens)


def _part(tokens: Tokens) -> str:
    token = tokens.take()
    if token.name is None:
        raise _UnreadableError
    return token.name


def _names(tokens: Tokens, database: str) -> tuple[Name, ...]:
    found = [_name(tokens, database)]
    while tokens.skip_mark(","):
        found.append(_name(tokens, database))
    return tuple(found)


def _plain(act: Act) -> Callable[[Tokens, str], Statement]:
    return lambda tokens, database: Statement(act)


# -- transactions ----------------------------------------------------------------------------------


def _start(tokens: Tokens, database: str) -> Statement:
    return Statement(Act.BEGIN if tokens.skip("TRANSACTION") else Act.OTHER)


def _rollback(tokens: Tokens, database: str) -> Statement:
    tokens.skip("WORK")
    return Statement(Act.ROLLBACK_TO if tokens.skip("TO") else Act.ROLLBACK)


def _release(tokens: Tokens, database: str) -> Statement:
    return Statement(Act.SAVEPOINT if tokens.skip("SAVEPOINT") else Act.OTHER)


# -- DDL -------------------------------------------------------------------------------------------


def _create(tokens: Tokens, database: str) -> Statement:
    replaces = tokens.skip("OR")
    if replaces:
        tokens.take()
    temporary = tokens.skip("TEMPORARY")
    if tokens.skip("TABLE"):
        tokens.skip_all("IF", "NOT", "EXISTS")
        said = _create_table(tokens, _name(tokens, database), temporary)
        said.replaces = replaces
        return said
    if tokens.skip("DATABASE", "SCHEMA"):
        tokens.skip_all("IF", "NOT", "EXISTS")
        return Statement(Act.CREATE_DATABASE, ((_part(tokens), ""),))
    while tokens.skip("ONLINE", "OFFLINE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR"):
        pass
    if tokens.skip("INDEX"):
        return _index(tokens, database)
    return Statement(Act.OTHER)


def _create_table(tokens: Tokens, name: Name, temporary: bool) -> Statement:
    act, opens = Act.CREATE_TABLE, False
    first = tokens.take()
    if first.word == "LIKE":
        return Statement(act, (name,), temporary)
    if first.mark == "(":
        if tokens.peek().word == "LIKE":
            return Statement(act, (name,), temporary)
        if tokens.peek().word in _QUERIES or tokens.peek().mark == "(":
            return Statement(Act.CREATE_TABLE_AS, (name,), temporary)
        tokens.close()
    before = first
    for token in tokens.outer(first):
        if token.word in _FILLS or (before.word in ("IGNORE", "REPLACE") and token.mark == "("):
            act = Act.CREATE_TABLE_AS
            break
        opens = before.word == "START" and token.word == "TRANSACTION"
        before = token
    return Statement(act, (name,), temporary, opens=opens)


def _index(tokens: Tokens, database: str) -> Statement:
    """create index … on t, drop index … on t."""
    for _ in range(_INDEX_HEAD):
        if tokens.skip("ON"):
            return Statement(Act.ALTER_TABLE, (_name(tokens, database),))
        if tokens.take().end:
            break
    raise _UnreadableError


def _alter(tokens: Tokens, database: str) -> Statement:
    ignore = False
    while tokens.peek().word in ("ONLINE", "OFFLINE", "IGNORE"):
        ignore |= tokens.take().word == "IGNORE"
    if tokens.skip("TABLE"):
        tokens.skip_all("IF", "EXISTS")
        said = _alter_table(tokens, database)
        said.silent |= ignore
        return said
    if tokens.skip("DATABASE", "SCHEMA"):
        token = tokens.peek()
        named = token.name is not None and (token.quoted or token.word not in _DATABASE_OPTIONS)
        return Statement(Act.ALTER_DATABASE, ((_part(tokens) if named else database, ""),))
    return Statement(Act.OTHER)


def _alter_table(tokens: Tokens, database: str) -> Statement:
    tables = [_name(tokens, database)]
    renamed = silent = False
    before = ""
    for token in tokens.outer():
        word = token.word
        if word == "RENAME" and tokens.peek().word not in _RENAMED_PARTS:
            if not tokens.skip("TO", "AS"):
                tokens.skip_mark("=")
            tables.insert(1, _name(tokens, database))
            renamed = True
        elif f"{before} {word}" in _SILENT:
            silent = True
            if before in ("EXCHANGE", "CONVERT"):
                tables.append(_other_table(tokens, database, word))
        before = word
    return Statement(Act.ALTER_TABLE, tuple(tables), renamed=renamed, silent=silent)


def _other_table(tokens: Tokens, database: str, what: str) -> Name:
    """exchange partition p with table t, convert partition p to table t, convert table t to partition p …"""
    if what == "PARTITION":
        _part(tokens)
        if not (tokens.skip("WITH", "TO") and tokens.skip("TABLE")):
            raise _UnreadableError
    return _name(tokens, database)


def _drop(tokens: Tokens, database: str) -> Statement:
    temporary = tokens.skip("TEMPORARY")
    if tokens.skip("TABLE", "TABLES"):
        tokens.skip_all("IF", "EXISTS")
        return Statement(Act.DROP_TABLE, _names(tokens, database), temporary)
    if tokens.skip("DATABASE", "SCHEMA"):
        tokens.skip_all("IF", "EXISTS")
        return Statement(Act.DROP_DATABASE, ((_part(tokens), ""),))
    while tokens.skip("ONLINE", "OFFLINE"):
        pass
    if tokens.skip("INDEX"):
        return _index(tokens, database)
    return Statement(Act.OTHER)


def _rename(tokens: Tokens, database: str) -> Statement:
    if not tokens.skip("TABLE", "TABLES"):
        return Statement(Act.OTHER)
    tokens.skip_all("IF", "EXISTS")
    tables: list[Name] = []
    while True:
        tables.append(_name(tokens, database))
        if tokens.skip("WAIT"):
            tokens.take()
        tokens.skip("NOWAIT")
        if not tokens.skip("TO"):
            raise _UnreadableError
        tables.append(_name(tokens, database))
        if not tokens.skip_mark(","):
            return Statement(Act.RENAME_TABLE, tuple(tables))


def _truncate(tokens: Tokens, database: str) -> Statement:
    tokens.skip("TABLE")
    return Statement(Act.TRUNCATE_TABLE, (_name(tokens, database),))


# -- changes in statement format -------------------------------------------------------------------


def _insert(tokens: Tokens, database: str) -> Statement:
    while tokens.skip("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"):
        pass
    return _dml(tokens, database)


def _update(tokens: Tokens, database: str) -> Statement:
    while tokens.skip("LOW_PRIORITY", "IGNORE"):
        pass
    return _dml(tokens, database, "SET")


def _delete(tokens: Tokens, database: str) -> Statement:
    while tokens.skip("LOW_PRIORITY", "QUICK", "IGNORE"):
        pass
    if not tokens.skip("FROM"):
        return Statement(Act.DML)
    return _dml(tokens, database, "WHERE", "ORDER", "LIMIT", "RETURNING", "")


def _dml(tokens: Tokens, database: str, *followers: str) -> Statement:
    """One table, if its name is followed by what follows the only one."""
    try:
        name = _name(tokens, database)
    except _UnreadableError:
        return Statement(Act.DML)
    after = tokens.peek()
    single = not followers or (after.word in followers and (after.word or after.end))
    return Statement(Act.DML, (name,) if single else ())


def _load(tokens: Tokens, database: str) -> Statement:
    for token in tokens.outer():
        if token.word == "INTO" and tokens.skip("TABLE"):
            return _dml(tokens, database)
    return Statement(Act.DML)


def _set(tokens: Tokens, database: str) -> Statement:
    """MariaDB: set statement … for another statement, which is the one that counts."""
    if tokens.skip("STATEMENT"):
        for token in tokens.outer():
            if token.word == "FOR":
                return _understand(tokens, database)
    return Statement(Act.OTHER)


def _do(tokens: Tokens, database: str) -> Statement:
    """Logged where a session ends that held a lock by name; all else calls functions, which may do much."""
    return Statement(Act.OTHER if tokens.skip("RELEASE_LOCK") else Act.DML)


#: Words between ``index`` and ``on``: if exists, a name, using and a kind, with comments gone.
_INDEX_HEAD: Final = 8
_QUERIES: Final = frozenset(("SELECT", "WITH", "VALUES", "TABLE"))
#: Behind the head of create table, outside of parentheses: a query follows. "with" also begins other things,
#: and where it begins a query an "as" comes behind it.
_FILLS: Final = frozenset(("SELECT", "AS", "VALUES", "TABLE"))
_RENAMED_PARTS: Final = frozenset(("COLUMN", "INDEX", "KEY"))
#: Before ``partition``, ``tablespace`` or ``table``: rows come or go, and no row event says so.
_SILENT: Final = frozenset(
    (
        *(f"{verb} PARTITION" for verb in ("DROP", "TRUNCATE", "EXCHANGE", "CONVERT", "IMPORT", "DISCARD")),
        "IMPORT TABLESPACE",
        "DISCARD TABLESPACE",
        "CONVERT TABLE",
    )
)
_DATABASE_OPTIONS: Final = frozenset(
    ("CHARACTER", "CHARSET", "DEFAULT", "COLLATE", "COMMENT", "ENCRYPTION", "READ", "UPGRADE")
)

_VERBS: Final[dict[str, Callable[[Tokens, str], Statement]]] = {
    "BEGIN": _plain(Act.BEGIN),
    "START": _start,
    "COMMIT": _plain(Act.COMMIT),
    "ROLLBACK": _rollback,
    "SAVEPOINT": _plain(Act.SAVEPOINT),
    "RELEASE": _release,
    "XA": _plain(Act.XA),
    "CREATE": _create,
    "ALTER": _alter,
    "DROP": _drop,
    "RENAME": _rename,
    "TRUNCATE": _truncate,
    "INSERT": _insert,
    "REPLACE": _insert,
    "UPDATE": _update,
    "DELETE": _delete,
    "LOAD": _load,
    "SET": _set,
    "DO": _do,
    **dict.fromkeys(("CALL", "EXECUTE", "SELECT", "WITH", "VALUES", "HANDLER"), _plain(Act.DML)),
}
