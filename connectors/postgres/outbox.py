"""Polling an outbox at Postgres: advisory locks are the leases, NOTIFY wakes.

The channel is ``liberator_<table>``; the trigger that `liberator outbox ddl postgresql --notify` prints
notifies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from connectors.postgres.connection import literal, quote, translate
from connectors.postgres.sequences import refuse_cached
from connectors.sql.horizon import Subject
from connectors.sql.outbox.keeper import Keeper
from liberator.schema import Column

if TYPE_CHECKING:
    from connectors.postgres.reader import PostgresReader


class PostgresKeeper(Keeper):
    """One table of a Postgres database."""

    def lease(self, slots: Sequence[int]) -> bool:
        """Session locks of two keys: the table's name, hashed, and the slot."""
        name = literal(f"liberator outbox {self.table.full_name}")
        numbers = ",".join(map(str, slots))
        (found,) = self.reader.fetch(
            f"select bool_and(pg_try_advisory_lock(hashtext({name}), n)) from unnest(array[{numbers}]) n"
        )
        return bool(found[0])

    def slot(self, column: str) -> str:
        """``hashtext``, which is the same on one server for ever."""
        return f"(hashtext({column}::text) & 63)"

    def listen(self) -> None:
        """Notifications come by the reader's own connection."""
        self.reader.execute(f"listen {quote(f'liberator_{self.table.name}')}")

    def wait(self, timeout: float) -> bool:
        """Until the next notification."""
        with translate("wait for notifications"):
            found = list(self._reader.conn.notifies(timeout=timeout, stop_after=1))
            if found:  # those that came with it are the same news
                list(self._reader.conn.notifies(timeout=0))
        return bool(found)

    def refuse_disorder(self, number: Column) -> None:
        """Where a session has numbers in stock."""
        subject = Subject(
            self.reader.relation(self.table),
            number,
            [(self.table.schema, self.table.name)] * (not self.table.view),
        )
        refuse_cached(self._reader, subject, "leave the order to the log with `capture: log`")

    @property
    def _reader(self) -> PostgresReader:
        return cast("PostgresReader", self.reader)
