"""What is settled at a Postgres database.

1. *A column of type xid8* that holds the writer's transaction id. All transactions below ``xmin`` of a
   snapshot have ended, so rows below it are settled, in that statement and in every later one. Only
   transactions that have written something hold it back, though in any database of the server.
2. *Ids*: a writer takes the table's lock (``row exclusive``) before it evaluates ``nextval``. So once those
   who held such a lock after the greatest id was looked up have ended, no smaller id is still to come; this
   is how ``create index concurrently`` waits for writers. Prepared transactions hold their locks too.
   For a query whose tables are not known, every open transaction is waited for.
3. *Times*: ``now()`` is the time at which a transaction began, so every open one is waited for, whether it
   has written yet or not, prepared ones included. Its number is listed a moment after its ``now()``: hence
   a margin.

``pg_locks`` shows all of this to everybody. Who they are needs ``pg_stat_activity``, of which an account
without ``pg_read_all_stats`` sees process, user and database; that is enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from connectors.postgres.sequences import given, refuse_cached, refuse_foreign
from connectors.sql.horizon import (
    Bound,
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
    from connectors.postgres.reader import PostgresReader

SQL = load("connectors.postgres", "horizon.sql")
#: Between the moment that ``now()`` gives and the one at which ``pg_locks`` lists the transaction lie some
#: instructions of one process, which the system may suspend between them.
MARGIN = 500_000
_INSTEAD = "add a commit column (`liberator setup --add-commit-column`)"


class PostgresHorizons(Horizons):
    """Asked over the connection of ``reader``."""

    def __init__(self, reader: PostgresReader):
        self._reader = reader

    def incrementing(self, subject: Subject) -> Horizon:
        """Waits for those who hold a writer's lock on the subject's tables. Raises SourceError for a
        sequence that hands out ids in advance."""
        self._refuse_replica(subject)
        refuse_foreign(self._reader, subject, _INSTEAD)
        refuse_cached(self._reader, subject, _INSTEAD)
        return Waited(
            Taker(self._reader, subject, times=False), Lists(self._reader, self._lockers(subject.relations))
        )

    def timestamp(self, subject: Subject) -> Horizon:
        """Waits for every transaction."""
        self._refuse_replica(subject)
        refuse_foreign(self._reader, subject, _INSTEAD)
        return Waited(Taker(self._reader, subject, times=True), Lists(self._reader, SQL["everybody"]))

    def delayed(self, subject: Subject, times: bool) -> ProbeTaker:
        """Without a look at anybody."""
        return Taker(self._reader, subject, times)

    def commit(self, subject: Subject) -> Horizon | None:
        """For columns of type xid8."""
        if subject.column.native != "xid8":
            return None
        return Xmin(self._reader, subject)

    def given(self, subject: Subject) -> int | None:
        """As far as the column's sequences have come."""
        return given(self._reader, subject)

    def mark(self) -> str:
        """A place in the WAL."""
        ((found,),) = self._reader.fetch(SQL["mark"])
        return str(found or "")

    def behind(self, mark: str) -> bool:
        """By what a standby has replayed."""
        if not mark or not self._reader.replica:
            return False
        ((found,),) = self._reader.fetch(SQL["behind"].replace("$mark", self._reader.text(mark)))
        return bool(found)

    def unseen(self, relations: Sequence[tuple[str, str]]) -> Sampler:
        """Those who hold a writer's lock: it is given back once the transaction can be seen, which is after
        its commit was written, and after a synchronous standby has answered. A standby has none: it has
        made visible what its log tells."""
        return Lists(self._reader, self._lockers(relations))

    def holders(self) -> list[Holder]:
        """Everybody with an open transaction, oldest first."""
        return sorted(active(self._reader, SQL["everybody"]).values(), key=lambda h: -h.age)

    def check(self) -> list[Finding]:
        """That ages can be seen is nice to have."""
        (found,) = self._reader.fetch(SQL["sees_all"])
        if found[0]:
            return [Finding("ok", "horizon", "open transactions can be seen, with their ages")]
        return [
            Finding(
                "warning",
                "horizon",
                "who holds the horizon back is shown without its age",
                f"grant pg_read_all_stats to {self._reader.quote(found[1])}",
            )
        ]

    def _lockers(self, relations: Sequence[tuple[str, str]]) -> str:
        if not relations:
            return SQL["everybody"]
        names = ", ".join(
            f"({self._reader.text(schema)}, {self._reader.text(table)})" for schema, table in relations
        )
        return SQL["lockers"].replace("$relations", names)

    def _refuse_replica(self, subject: Subject) -> None:
        if self._reader.replica:
            raise SourceError(
                f"{subject.source}: a standby does not show who is writing at its primary",
                hint=f"read from the primary; or {_INSTEAD}, "
                "which works on a standby; or let a query source choose `horizon: delay(30s)`, which may "
                "lose rows",
            )


class Xmin(Horizon):
    """Rows of transactions below the oldest one that is still running."""

    def __init__(self, reader: PostgresReader, subject: Subject):
        self._reader = reader
        self._column = reader.quote(subject.column.name)
        self._mark: tuple[int, int] | None = None  # a time, and the transaction id that was next then
        self._covered = 0

    def look(self) -> Bound:
        """By the snapshot of one statement."""
        (found,) = self._reader.fetch(SQL["snapshot"])
        xmin, xmax, now = int(found[0]), int(found[1]), int(found[2])
        if self._mark is not None and xmin >= self._mark[1]:
            self._covered, self._mark = self._mark[0], None
        if xmin == xmax:
            self._covered = max(self._covered, now)
        elif self._mark is None:
            self._mark = (now, xmax)
        return Bound(f"{self._column} < '{xmin}'::xid8", self._covered)


class Taker(ProbeTaker):
    """Ids of any type, times as the column rounds them."""

    def greatest(self) -> str | None:
        """With the column's own type."""
        (found,) = self._reader.fetch(f"select max({self.column})::text from {self.subject.source}")
        return None if found[0] is None else f"{self._reader.text(found[0])}::{self.subject.column.native}"

    def before(self, moment: int) -> tuple[str, int]:
        """Earlier than the moment by more than the column rounds."""
        column, until = self.subject.column, moment - MARGIN
        upper = self._reader.instant(until, column, self.subject.zone)
        return upper, until - coarseness(column.native)


class Lists(Sampler):
    """Those whom a statement of ``horizon.sql`` lists."""

    def __init__(self, reader: PostgresReader, statement: str):
        super().__init__()
        self._reader = reader
        self._statement = statement

    def sample(self) -> Mapping[str, Holder]:
        """Runs the statement."""
        return active(self._reader, self._statement)


def active(reader: PostgresReader, statement: str) -> Mapping[str, Holder]:
    """Those whom a statement of ``horizon.sql`` lists, by the number of their transaction."""
    return {
        id_: Holder(id_, pid, user or "", application or "", float(age or 0), anybody=prepared)
        for id_, prepared, pid, user, application, age in reader.fetch(statement)
    }


def coarseness(native: str) -> int:
    """The distance of a column's values, in microseconds: twice what it may round a time by."""
    _, opened, rest = native.partition("(")
    digits = rest.partition(")")[0]
    if native == "date":
        return 86_400_000_000
    return int(10 ** (6 - int(digits))) if opened and digits.isdigit() else 1
