"""Polling an outbox in a SQLite file: another connection's commit is noticed at once.

A file has no locks that outlive a transaction, so there are no leases: that somebody else reads the same
outbox is noticed when rows that were read here turn out to be marked already.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from connectors.sql.outbox.keeper import Keeper
from connectors.sqlite.horizon import gives_again

if TYPE_CHECKING:
    from connectors.sqlite.reader import SqliteReader

#: Seconds between two looks at the file.
_STEP = 0.004


class SqliteKeeper(Keeper):
    """One table of a SQLite file."""

    serial: ClassVar[bool] = True
    _version: Any = None

    def lease(self, slots: Sequence[int]) -> bool:
        """There is nothing to hold; a part of the aggregates cannot be had."""
        return True

    def slot(self, column: str) -> str:
        """A file has one writer: sharing the work would not make it quicker."""
        raise NotImplementedError

    def wait(self, timeout: float) -> bool:
        """Until ``pragma data_version`` says that somebody has committed
        (https://www.sqlite.org/pragma.html#pragma_data_version)."""
        deadline = time.monotonic() + timeout
        while True:
            (found,) = self.reader.fetch("pragma data_version")
            before, self._version = self._version, found[0]
            if before is not None and before != found[0]:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_STEP, left))

    def reuses_numbers(self) -> bool:
        """Without ``autoincrement``."""
        return gives_again(cast("SqliteReader", self.reader), self.table.name)
