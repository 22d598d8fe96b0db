"""What is settled in a SQLite file: there is one writer at a time.

Ids are given, and times are taken, under the write lock, so they are committed in their order and nothing
that follows them is missed. What remains are equal times: a writer that is still at work may add a row of
the same second as one that was committed already. So for times we take the write lock for a moment: if we
get it nobody is at work, and what has a time before now is settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectors.sql.horizon import Bound, Holder, Horizon, Horizons, Probe, ProbeTaker, Sampler, Subject
from liberator.errors import SourceError
from liberator.preflight import Finding

if TYPE_CHECKING:
    from connectors.sqlite.reader import SqliteReader

#: Times are cut off to seconds.
SECOND = 1_000_000


class SqliteHorizons(Horizons):
    """Asked over the connection of ``reader``."""

    def __init__(self, reader: SqliteReader):
        self._reader = reader

    def incrementing(self, subject: Subject) -> Horizon:
        """All that can be seen is settled."""
        return Everything(self._reader)

    def timestamp(self, subject: Subject) -> Horizon:
        """What has an earlier time than the last moment at which nobody was writing."""
        return Quiet(self._reader, subject)

    def delayed(self, subject: Subject, times: bool) -> ProbeTaker:
        """By the clock."""
        return Taker(self._reader, subject, times)

    def given(self, subject: Subject) -> int | None:
        """For a table with ``autoincrement``."""
        if len(subject.relations) != 1 or gives_again(self._reader, subject.relations[0][1]):
            return None
        name = self._reader.text(subject.relations[0][1])
        found = self._reader.fetch(f"select seq from sqlite_sequence where name = {name}")
        return int(found[0][0]) if found else 0

    def unseen(self, relations: Sequence[tuple[str, str]]) -> Sampler:
        """A file has no log that could be read."""
        raise NotImplementedError

    def holders(self) -> list[Holder]:
        """The writer who is at work, if there is one; a file does not say who that is."""
        return (
            [] if quiet(self._reader) is not None else [Holder("writer", application="a writer of the file")]
        )

    def check(self) -> list[Finding]:
        """Whether the write lock can be taken."""
        try:
            quiet(self._reader)
        except SourceError as exc:
            return [
                Finding(
                    "warning",
                    "horizon",
                    f"the write lock cannot be taken, which the timestamp modes need: {exc}",
                    "let this account write to the file and its directory",
                )
            ]
        return [Finding("ok", "horizon", "there is one writer at a time, and the write lock can be taken")]


class Everything(Horizon):
    """All that is committed."""

    def __init__(self, reader: SqliteReader):
        self._reader = reader

    def look(self) -> Bound:
        """No condition."""
        return Bound("true", self._reader.now())


class Taker(ProbeTaker):
    """Ids of any type, times of earlier seconds."""

    def greatest(self) -> str | None:
        """As SQLite quotes it."""
        (found,) = self._reader.fetch(f"select quote(max({self.column})) from {self.subject.source}")
        return None if found[0] == "NULL" else str(found[0])

    def before(self, moment: int) -> tuple[str, int]:
        """``current_timestamp`` has whole seconds."""
        upper = self._reader.instant(moment, self.subject.column, self.subject.zone)
        return upper, moment // SECOND * SECOND - 1


class Quiet(Horizon):
    """Times before the second in which the write lock was free."""

    def __init__(self, reader: SqliteReader, subject: Subject):
        self._reader = reader
        self._taker = Taker(reader, subject, times=True)
        self._bound = Bound(None, 0)

    def look(self) -> Bound:
        """Tries the lock; if somebody has it, what was settled before is."""
        now = quiet(self._reader)
        if now is not None:
            self._bound = self._taker.bound(Probe(now, None, {}))
        return self._bound


def gives_again(reader: SqliteReader, table: str) -> bool:
    """Whether a row may get the number of one that was deleted: the greatest number is given again once its
    row is gone, unless the table has ``autoincrement`` (https://www.sqlite.org/autoinc.html)."""
    name = reader.text(table)
    rows = reader.fetch(f"select sql from sqlite_master where type = 'table' and name = {name}")
    return not rows or "autoincrement" not in str(rows[0][0]).lower()


def quiet(reader: SqliteReader) -> int | None:
    """The clock at a moment at which nobody was writing; None if somebody is."""
    reader.execute("pragma busy_timeout = 0")
    try:
        reader.execute("begin immediate")
    except SourceError as exc:
        if exc.retryable:
            return None
        raise
    finally:
        reader.execute("pragma busy_timeout = 20000")
    now = reader.now()
    reader.execute("rollback")
    return now
