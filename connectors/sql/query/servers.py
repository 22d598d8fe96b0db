"""What makes a server another one than it was, so that what was read of it says nothing any more.

*Ids that begin again.* A table that was emptied by ``truncate``, made anew, or restored from a backup may
give its ids out once more. Rows with ids that were passed before would never be read: so it is noticed when
the database has given out less than it had, and less than what was read.

*A replica that is behind.* Another replica than the one that was read until now, or a replica where the
primary was read, may not have rows yet that were read; they would be taken for deleted. So it is waited for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.sql.horizon import Subject
from connectors.sql.query.check import commit_column
from connectors.sql.query.options import QueryOptions
from connectors.sql.query.progress import Progress
from connectors.sql.query.target import Target
from connectors.sql.reader import Reader
from liberator.errors import PositionLost, SourceError

_NUMBER = re.compile(r"-?\d+")


class Servers:
    """Looks at one server; ``source`` is the name for messages."""

    def __init__(self, source: str, reader: Reader, options: QueryOptions, progress: Progress):
        self._source = source
        self._horizons = reader.horizons()
        self._replica = reader.replica
        self._options = options
        self._progress = progress

    # -- ids ---------------------------------------------------------------------------------------

    def refuse_restart(self, target: Target) -> None:
        """Before a table is read: raise PositionLost if its ids have begun again."""
        table = self._progress[target.name]
        at, before = self._last(table), table.get("given")
        if at is None or before is None:
            return
        given = self._given(target)
        if given is not None and given < at <= before:
            raise PositionLost(
                f"source {self._source}: {target.name} gives ids out again: it has come to {given} after"
                f" {at} was read; it was emptied, made anew, or restored from a backup",
                hint=f"`liberator snapshot --config FILE --recover {self._source}` reads all tables anew; a"
                " table that is emptied now and then is better read with mode: diff",
            )

    def note_given(self, target: Target) -> None:
        """Once it was read: how far its ids have come."""
        given = self._given(target)
        if given is not None and given > self._progress[target.name].get("given", -1):
            self._progress.update(target.name, given=given)

    def _given(self, target: Target) -> int | None:
        column = self._options.incrementing_column
        if self._replica or "incrementing" not in self._options.mode or commit_column(self._options, target):
            return None
        assert column is not None
        return self._horizons.given(Subject(target.source, target.column(column), target.relations))

    def _last(self, table: Mapping[str, Any]) -> int | None:
        """The greatest id that was read in the order of ids."""
        for place in ("cursor", "nulls"):
            cursor = table.get(place)
            if cursor and cursor["by"][0] == self._options.incrementing_column:
                found = _NUMBER.search(cursor["at"][0])
                return int(found[0]) if found else None
        return None

    # -- replicas ----------------------------------------------------------------------------------

    def refuse_behind(self) -> None:
        """Raise SourceError, retryable, while the server lacks what was read."""
        if self._progress.mark and self._horizons.behind(self._progress.mark):
            raise SourceError(
                f"source {self._source}: this replica has not come as far as the server that was read before",
                hint="wait, or give the url of another one",
                retryable=True,
            )

    def note_read(self) -> None:
        """Once rows were read that must not seem to be gone: how far the server has come."""
        if self._options.remembers:
            self._progress.note(mark=self._horizons.mark())
