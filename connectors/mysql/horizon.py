"""What is settled at a MySQL or MariaDB server.

InnoDB gives an id out while an insert runs, before its transaction is known as a writer, and ``now()`` is the
time at which a statement began, however long it then waited for a lock. So those who may still commit an
id or a time that was given out are: the statements that run now, and after that the transactions that are
open. Once none of them is left, it is settled. The order matters: a statement that has ended between the two
looks has left its transaction behind for the second.

``information_schema.innodb_trx`` is a copy that the server renews only if nobody has read it for a tenth of
a second (https://dev.mysql.com/doc/refman/8.4/en/innodb-information-schema-internal-data.html). A stale
copy lacks the newest transactions. So we read it within a transaction of our own and by a statement with a
random word in it: the copy is fresh if it has our transaction running this statement.

Both need the privilege PROCESS; statements on MySQL also need SELECT on ``performance_schema``.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from connectors.mysql.reader import unit_of
from connectors.mysql.wire.maria_gtid import MariaPosition
from connectors.sql.horizon import (
    Holder,
    Horizon,
    Horizons,
    ProbeTaker,
    Sampler,
    Subject,
    Waited,
)
from connectors.sql.statements import load
from liberator.errors import SourceError
from liberator.preflight import Finding

if TYPE_CHECKING:
    from connectors.mysql.reader import MysqlReader

SQL = load("connectors.mysql", "horizon.sql")
#: Between the moment that ``now()`` gives and the one at which the statement is listed lie some instructions
#: of one thread, which the system may suspend between them.
MARGIN = 500_000
#: The copy is renewed if it is this old, in seconds; and how often to try.
_STALE = 0.11
_TRIES = 40


class MysqlHorizons(Horizons):
    """Asked over the connection of ``reader``."""

    def __init__(self, reader: MysqlReader):
        self._reader = reader
        self._sampler = Active(reader)

    def incrementing(self, subject: Subject) -> Horizon:
        """Ids up to the greatest, once all who were active then have ended."""
        return self._waited(subject, times=False)

    def timestamp(self, subject: Subject) -> Horizon:
        """Times before the clock's, once all who were active then have ended."""
        return self._waited(subject, times=True)

    def _waited(self, subject: Subject, times: bool) -> Horizon:
        if self._reader.replica:
            raise SourceError(
                f"{subject.source}: a replica does not show who is writing at its source",
                hint="read from the source; or let a query source choose `horizon: delay(30s)`, which may "
                "lose rows",
            )
        self._sampler.refuse_switched_off()
        self._sampler.sample()
        return Waited(Taker(self._reader, subject, times), self._sampler)

    def delayed(self, subject: Subject, times: bool) -> ProbeTaker:
        """Without a look at anybody."""
        return Taker(self._reader, subject, times)

    def given(self, subject: Subject) -> int | None:
        """For an auto_increment column."""
        if len(subject.relations) != 1:
            return None
        statement = SQL["given"].replace("$column", self._reader.text(subject.column.name))
        for name, value in zip(("$schema", "$table"), subject.relations[0], strict=True):
            statement = statement.replace(name, self._reader.text(value))
        if not self._reader.server.mariadb:  # which keeps no numbers of yesterday
            self._reader.execute("set session information_schema_stats_expiry = 0")
        found = self._reader.fetch(statement)
        return int(found[0][0] or 1) - 1 if found else None

    def mark(self) -> str:
        """The transactions that were executed, where they have global ids."""
        if self._reader.server.mariadb:
            return str(self._reader.fetch("select @@global.gtid_current_pos")[0][0] or "")
        return "".join(str(self._reader.fetch("select @@global.gtid_executed")[0][0] or "").split())

    def behind(self, mark: str) -> bool:
        """By these."""
        if not mark or not self._reader.replica:
            return False
        if self._reader.server.mariadb:
            return not MariaPosition(self.mark()).contains(MariaPosition(mark))
        query = f"select gtid_subset({self._reader.text(mark)}, @@global.gtid_executed)"
        return not self._reader.fetch(query)[0][0]

    def unseen(self, relations: Sequence[tuple[str, str]]) -> Sampler:
        """Open transactions, of any table: one is written to the binlog, synced and sent to replicas before
        InnoDB commits it. Also prepared ones, whose rows are in the binlog where they were prepared."""
        return Open(self._reader)

    def holders(self) -> list[Holder]:
        """Transactions and statements, oldest first."""
        return sorted(self._sampler.sample().values(), key=lambda h: -h.age)

    def check(self) -> list[Finding]:
        """Whether both lists can be read."""
        try:
            self._sampler.refuse_switched_off()
            self._sampler.sample()
        except SourceError as exc:
            return [Finding("error", "horizon", str(exc), exc.hint or "")]
        return [Finding("ok", "horizon", "open transactions and running statements can be seen")]


class Taker(ProbeTaker):
    """Ids of any type, times in the column's digits."""

    def greatest(self) -> str | None:
        """A number as it is, anything else as a text."""
        (found,) = self._reader.fetch(f"select cast(max({self.column}) as char) from {self.subject.source}")
        upper = None if found[0] is None else str(found[0])
        return upper if upper is None or upper.isdigit() else self._reader.text(upper)

    def before(self, moment: int) -> tuple[str, int]:
        """Cut off to the column's digits."""
        column, until = self.subject.column, moment - MARGIN
        upper = self._reader.instant(until, column, self.subject.zone)
        return upper, until - 2 * unit_of(column.native)


class Active(Sampler):
    """Running statements and open transactions."""

    def __init__(self, reader: MysqlReader):
        super().__init__()
        self._reader = reader
        self._read = 0.0

    def sample(self) -> Mapping[str, Holder]:
        """Statements, then transactions, then statements again: one that had only just been received may
        not have had its number before."""
        first = self._statements()
        return {**first, **self.transactions(), **self._statements()}

    def _statements(self) -> dict[str, Holder]:
        name = "statements_mariadb" if self._reader.server.mariadb else "statements_mysql"
        try:
            found = self._reader.fetch(SQL[name])
        except SourceError as exc:
            raise self._blind(exc, "grant select on performance_schema.* to") from exc
        if not any(ours for *_, ours in found):
            raise self._unlisted("performance_schema is off, or does not record statements")
        return {
            f"statement {id_}": Holder(f"statement {id_}", pid, user or "", host or "", float(age or 0))
            for id_, pid, user, host, age, ours in found
            if not ours
        }

    def refuse_switched_off(self) -> None:
        """Raise SourceError where some statements are not recorded."""
        if not self._reader.server.mariadb:
            for (name,) in self._reader.fetch(SQL["switched_off"]):
                raise self._unlisted(f"{name} is switched off in performance_schema")

    def _unlisted(self, why: str) -> SourceError:
        return SourceError(
            f"who is writing cannot be seen: {why}",
            hint="set performance_schema=ON, and enable in it the consumer events_statements_current and all "
            "instruments of statements; or let a query source choose `horizon: delay(30s)`, which may lose "
            "rows",
        )

    def transactions(self) -> dict[str, Holder]:
        """The open ones but our own."""
        for _ in range(_TRIES):
            wait = self._read + _STALE - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            found = self._look()
            self._read = time.monotonic()
            if found is not None:
                return found
            # Somebody else reads it too; keep out of step with them.
            time.sleep(random.random() * _STALE)
        raise SourceError(
            "information_schema.innodb_trx is never fresh: somebody reads it many times a second",
            hint="have your monitoring read it less often",
            retryable=True,
        )

    def _look(self) -> dict[str, Holder] | None:
        """The open transactions but our own; None if the server's copy is stale."""
        token = uuid.uuid4().hex
        self._reader.execute("start transaction with consistent snapshot")
        try:
            rows = self._reader.fetch(SQL["transactions"].replace("$token", token))
        except SourceError as exc:
            raise self._blind(exc, "grant process on *.* to") from exc
        finally:
            self._reader.execute("rollback")
        out: dict[str, Holder] = {}
        fresh = False
        for id_, thread, ours, statement, user, host, age in rows:
            if ours:
                fresh = token in (statement or "")
                continue
            name = f"transaction {id_}"
            out[name] = Holder(name, thread or None, user or "", host or "", float(age or 0), not thread)
        return out if fresh else None

    def _blind(self, exc: SourceError, grant: str) -> SourceError:
        if exc.retryable:
            return exc
        return SourceError(
            f"who is writing cannot be seen: {exc}",
            hint=f"{grant} this account; or let a query source choose `horizon: delay(30s)`, which may "
            "lose rows",
        )


class Open(Active):
    """Open transactions alone, which need no look at statements."""

    def sample(self) -> Mapping[str, Holder]:
        """Also at a replica, whose appliers always run a statement."""
        return self.transactions()
