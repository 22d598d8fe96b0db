"""What polling an outbox needs of one kind of database beside its reader: leases, a hash, a wake-up.

A part of the aggregates is polled by one process at a time: it holds a lock at the database for every value
of the hash that belongs to its part, for as long as its connection lives. So parts of any number exclude
each other, and who has lost the connection has lost the lease with it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import ClassVar

from connectors.sql.reader import Reader, SourceTable
from liberator.schema import Column

#: Module and class by :attr:`Reader.name`.
KEEPERS = {
    "postgresql": ("connectors.postgres.outbox", "PostgresKeeper"),
    "mysql": ("connectors.mysql.outbox", "MysqlKeeper"),
    "mariadb": ("connectors.mysql.outbox", "MysqlKeeper"),
    "sqlite": ("connectors.sqlite.outbox", "SqliteKeeper"),
}


class Keeper(ABC):
    """Looks after one outbox table over the connection of ``reader``."""

    #: Whether writers wait for each other, so that rows are committed in the order of their numbers.
    serial: ClassVar[bool] = False

    def __init__(self, reader: Reader, table: SourceTable):
        self.reader = reader
        self.table = table

    @abstractmethod
    def lease(self, slots: Sequence[int]) -> bool:
        """Take the lease of these values of the hash; False while somebody else has one of them."""

    @abstractmethod
    def slot(self, column: str) -> str:
        """An expression for the hash of a quoted column: an integer from 0 to 63."""

    def listen(self) -> None:  # noqa: B027
        """Have :meth:`wait` notice when something is committed, if the database can tell."""

    def wait(self, timeout: float) -> bool:
        """Sleep so many seconds, or until something may have been committed (True)."""
        time.sleep(timeout)
        return False

    def refuse_disorder(self, number: Column) -> None:  # noqa: B027
        """Raise SourceError where the numbers of this column do not grow from event to event."""

    def reuses_numbers(self) -> bool:
        """Whether a row may get the number of one that was deleted."""
        return False


def keeper(reader: Reader, table: SourceTable) -> Keeper:
    """The keeper for the database of ``reader``."""
    module, name = KEEPERS[reader.name]
    made: Keeper = getattr(import_module(module), name)(reader, table)
    return made
