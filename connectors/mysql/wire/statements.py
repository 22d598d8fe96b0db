"""What a statement in the binlog does to which tables, understood from its head alone.

No grammar: comments are skipped, names are read in every quoting, and the first words decide. What is not
known to touch a table's rows or shape is OTHER.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Act(Enum):
    """What kind of statement it is."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()
    SAVEPOINT = auto()  #: savepoint, release savepoint
    ROLLBACK_TO = auto()  #: to a savepoint
    XA = auto()  #: xa start, end, prepare, commit, rollback: see ``Statement.words``
    CREATE_TABLE = auto()
    CREATE_TABLE_AS = auto()  #: create table … select: rows may follow
    ALTER_TABLE = auto()  #: also create index and drop index
    DROP_TABLE = auto()
    RENAME_TABLE = auto()  #: ``tables`` is old, new, old, new, …
    TRUNCATE_TABLE = auto()
    CREATE_DATABASE = auto()  #: ``tables`` is ((database, ""),)
    ALTER_DATABASE = auto()
    DROP_DATABASE = auto()
    DML = auto()  #: insert, update, delete, replace, load data, call, …: a change of rows as a statement
    OTHER = auto()  #: grants, settings, views, triggers, routines, …


@dataclass(slots=True)
class Statement:
    """``tables`` are (database, table) in the order named; the session's database where none is written."""

    act: Act
    tables: tuple[tuple[str, str], ...] = ()
    #: drop: the tables were temporary; create: likewise. The binlog has no rows of such tables.
    temporary: bool = False
    #: alter table … rename to: the new name; also in ``tables`` as the second.
    renamed: bool = False


def understand(
    statement: str, database: str = "", *, ansi_quotes: bool = False, no_backslash_escapes: bool = False
) -> Statement:
    """What ``statement`` does. What is not understood is OTHER; but a head that begins like a change of
    tables and cannot be read to its end raises DecodeError, for it must not be passed over."""
    raise NotImplementedError
