"""What a snapshot sees: which transactions are surely in it, as a server can say it without a lock.

The binlog runs ahead of what is visible: a transaction is written, synced and sent to replicas before the
storage engine commits it (with a semi-synchronous replica that does not answer, for as long as it takes).
So a place in the binlog never says what a query saw. What does, depends on the server:

* MariaDB tells the place in the binlog that a consistent snapshot corresponds to, exactly; but for commits
  of XA transactions, which become visible some time after that. Each is among those that ``xa recover`` lists
  until it is visible.
* MySQL with GTIDs: what is in ``@@gtid_executed`` is committed, and visible to whoever looks from then on.
* MySQL without: whoever commits holds a metadata lock of the kind COMMIT from before its transaction is
  written to the binlog until it is visible. Once all holders that there were have gone, everything before the
  place noted first is visible.

The other direction needs no such care: what anybody sees was written to the binlog before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.mysql import catalog
from connectors.mysql.binlog.transactions import Transactions, major_of
from connectors.mysql.connection import Connection, Server, query
from connectors.mysql.wire.events import spell_xid
from connectors.mysql.wire.gtid import GtidSet
from liberator.event import Transaction

#: Seconds to wait for those who are committing, before a chunk is put off.
_PATIENCE: Final = 0.5
_PAUSE: Final = 0.002
_BEGIN: Final = "start transaction with consistent snapshot, read only"


@dataclass(slots=True)
class Seen:
    """Whether a snapshot surely sees a transaction: called with transactions in their order.

    From the first on that it may not see, none counts as seen: a later one may be, but its rows are told by
    the stream again anyway, and the rows of one that is not seen must not be covered by it.
    """

    test: Callable[[Transaction], bool]
    over: bool = False
    _last: Transaction | None = field(default=None, repr=False)

    def __call__(self, transaction: Transaction) -> bool:
        if transaction is not self._last:
            self._last = transaction
            self.over = self.over or not self.test(transaction)
        return not self.over


class Marks:
    """Begins consistent snapshots on a connection, and says what they see."""

    def __init__(self, server: Server, gtids: bool):
        self._server = server
        self._gtids = gtids

    def begin(self, conn: Connection[Any], place: Transactions) -> Seen | None:
        """Begin a snapshot that sees every transaction of which the stream has told something, or None
        (with no transaction open) if that cannot be had now."""
        if self._server.mariadb:
            test = self._begin_maria(conn, place)
        elif self._gtids:
            test = self._begin_executed(conn, place)
        else:
            test = self._begin_committed(conn, place)
        return None if test is None else Seen(test)

    def high(self, conn: Connection[Any]) -> int:
        """The place in the binlog before which everything lies that the connection has seen."""
        status = catalog.binlog_status(conn, self._server)
        return major_of(status.file, status.position)

    def _begin_maria(
        self, conn: Connection[Any], place: Transactions
    ) -> Callable[[Transaction], bool] | None:
        decided = place.decided
        if decided and self._undecided(conn).intersection(decided.values()) - place.prepared.keys():
            return None
        decided.clear()
        query(conn, _BEGIN)
        found = {n.lower(): v for n, v in query(conn, "show status like 'binlog_snapshot_%'")}
        before = major_of(found["binlog_snapshot_file"], int(found["binlog_snapshot_position"]))
        told = place.base + place.started + 1 if place.left else place.position.major
        if told > before:
            query(conn, "rollback")
            return None
        return lambda transaction: (
            transaction.position.major < before and transaction.position.major not in decided
        )

    def _undecided(self, conn: Connection[Any]) -> set[str]:
        """The XA transactions that are prepared, and not yet committed where anybody could see it."""
        return {
            spell_xid(form, data[:size], data[size:]) for form, size, _, data in query(conn, "xa recover")
        }

    def _begin_executed(
        self, conn: Connection[Any], place: Transactions
    ) -> Callable[[Transaction], bool] | None:
        executed = catalog.executed(conn)
        told = place.gtids
        assert isinstance(told, GtidSet)
        mark = place.mark if place.left else None
        if not executed.contains(told) or (mark is not None and not executed.has(*mark)):
            return None
        query(conn, _BEGIN)

        def test(transaction: Transaction) -> bool:
            sid, _, number = transaction.id.rpartition(":")
            return executed.has(sid, int(number))

        return test

    def _begin_committed(
        self, conn: Connection[Any], place: Transactions
    ) -> Callable[[Transaction], bool] | None:
        before = self.high(conn)
        told = place.base + place.started + 1 if place.left else place.position.major
        if told > before or not self._settled(conn):
            return None
        query(conn, _BEGIN)
        return lambda transaction: transaction.position.major < before

    def _settled(self, conn: Connection[Any]) -> bool:
        """Wait until all who are committing now have done so; False if it takes too long."""
        deadline = time.monotonic() + _PATIENCE
        waiting: set[tuple[int, int]] | None = None
        while True:
            now = catalog.committing(conn)
            waiting = now if waiting is None else waiting & now
            if not waiting:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
