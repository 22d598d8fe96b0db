"""What a query source does with one table in a pass: follow it, read it whole, or compare it; and the search
for rows that are gone. Each is a generator of events; when it gives some, progress, numbers and the file of
keys stand behind them already.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from connectors.sql.horizon import Bound, Delay, Horizon, Subject
from connectors.sql.query.check import commit_column
from connectors.sql.query.diff import differences
from connectors.sql.query.follow import Follower, Piece
from connectors.sql.query.keyfile import Key, KeyFile, key_row, key_text
from connectors.sql.query.options import QueryOptions
from connectors.sql.query.progress import Progress
from connectors.sql.query.reconcile import Reconciler
from connectors.sql.query.target import Target
from connectors.sql.reader import Reader
from connectors.sql.states import Numbering
from liberator.errors import SourceError
from liberator.event import ChangeEvent


class Passes:
    """Works on one database over one connection. ``keys`` is None where nothing is remembered."""

    def __init__(
        self,
        reader: Reader,
        options: QueryOptions,
        progress: Progress,
        numbers: Numbering,
        keys: KeyFile | None,
    ):
        self.numbers = numbers
        self._reader = reader
        self._options = options
        self._progress = progress
        self._keys = keys
        self._horizons = reader.horizons()
        self._settled: dict[str, Horizon] = {}

    def prepare(self, target: Target) -> None:
        """Have the horizons of a table see how things stand."""
        columns = self._columns(target)
        self._horizon(target, columns[0]).prepare()
        if self._by_id_too(columns):
            assert self._options.incrementing_column is not None
            self._horizon(target, self._options.incrementing_column).prepare()

    def _by_id_too(self, columns: Sequence[str]) -> bool:
        """Whether rows without a time are followed by their ids."""
        options = self._options
        return options.mode == "timestamp+incrementing" and columns[0] == options.timestamp_column

    def follow(self, target: Target) -> Generator[Sequence[ChangeEvent], None, int]:
        """What lies between the cursor and the horizon; returns the moment that is covered then."""
        self._refuse_nulls(target)
        columns = self._columns(target)
        covered = yield from self._drain(target, columns, "cursor", self._horizon(target, columns[0]))
        if self._by_id_too(columns):
            assert self._options.incrementing_column is not None
            without = f"{self._reader.quote(columns[0])} is null"
            horizon = self._horizon(target, self._options.incrementing_column)
            ids = [self._options.incrementing_column]
            covered = min(covered, (yield from self._drain(target, ids, "nulls", horizon, without)))
        if covered and self._progress[target.name]["state"] != "done":
            self._progress.update(target.name, state="done")
        return covered

    def _drain(
        self, target: Target, columns: Sequence[str], place: str, horizon: Horizon, condition: str = "true"
    ) -> Generator[Sequence[ChangeEvent], None, int]:
        """Rows in the order of ``columns``; the cursor is kept at ``place``. Returns the moment covered."""
        bound: Bound = horizon.look()
        if bound.condition is None:
            return bound.covered
        follower = Follower(self._reader, self._options, target, columns)
        known = self._progress[target.name].get(place)
        if known and known["by"] != follower.columns:
            # Another column is followed now: a place in the old order says nothing in the new one.
            self._progress.again(target.name)
            known = None
        conditions = [condition]
        if target.column(columns[0]).nullable and bound.condition == "true":
            conditions.append(f"{self._reader.quote(columns[0])} is not null")
        for piece in follower.pieces(tuple(known["at"]) if known else None, conditions, bound.condition):
            first = self._progress[target.name]["state"] != "done"
            self._progress.update(target.name, **{place: {"by": follower.columns, "at": list(piece.cursor)}})
            yield self._read_rows(target, piece, first)
        return bound.covered

    def everything(self, target: Target) -> Iterator[Sequence[ChangeEvent]]:
        """All rows, in the order of the key; where a pass was broken off it goes on."""
        cursor = self._progress[target.name].get("cursor")
        for piece in Follower(self._reader, self._options, target, ()).pieces(
            tuple(cursor) if cursor else None
        ):
            self._count(target, len(piece.rows))
            self._progress.update(target.name, cursor=list(piece.cursor))
            yield self.numbers.reads(target, piece.rows, piece.moment)
        self._progress.update(target.name, state="done", cursor=None)

    def differences(self, target: Target) -> Iterator[Sequence[ChangeEvent]]:
        """All that differs from what was read before."""
        assert self._keys is not None
        every = bool(self._progress[target.name].get("every"))
        first = self._progress[target.name]["state"] != "done"
        for difference in differences(self._reader, self._options, target, self._keys, every):
            moment = difference.moment
            if first:
                rows = [row for row, _ in difference.rows]
                self._count(target, len(rows))
                yield [
                    *self.numbers.reads(target, rows, moment),
                    *self.numbers.deletes(target, difference.gone, moment),
                ]
                continue
            changes = self.numbers.changes(target, difference.rows, moment)
            yield [*changes, *self.numbers.deletes(target, difference.gone, moment)]
        if first:
            self._progress.update(target.name, state="done", every=None)

    def reconcile(self, found: Sequence[Target]) -> Iterator[Sequence[ChangeEvent]]:
        """Look for rows that are gone, in steps."""
        assert self._keys is not None
        began = self._reader.now()
        for target in found:
            for gone in Reconciler(self._reader, self._options, target, self._keys).steps():
                if gone:
                    self._keys.change(target.place, [], gone)
                yield self.numbers.deletes(target, gone, self._reader.now()) if gone else []
        self._progress.note(reconciled=began)

    # -- events ----------------------------------------------------------------------------------

    def _read_rows(self, target: Target, piece: Piece, first: bool) -> Sequence[ChangeEvent]:
        """Rows behind the cursor as events: what they are as far as it is known."""
        rows, moment = piece.rows, piece.moment
        known: Mapping[Key, Any] = {}
        found: list[Key] = []
        if self._keys is not None:
            place = target.schema.key
            found = [key_text(tuple(row[i] for i in place)) for row in rows]
            known = self._keys.known(target.place, found)
            digest = self._reader.digester(target.schema.key_columns)
            fresh = {key: digest(key_row(key)) for key in found if key not in known}
            if fresh:
                self._keys.change(target.place, [(key, number, None) for key, number in fresh.items()])
        if first:
            self._count(target, len(rows))
            return self.numbers.reads(target, rows, moment)
        if self._keys is not None:
            met: set[Key] = set()
            pairs = []
            for key, row in zip(found, rows, strict=True):
                pairs.append((row, key not in known and key not in met))
                met.add(key)
            return self.numbers.changes(target, pairs, moment)
        grows = self._options.mode == "incrementing" and not commit_column(self._options, target)
        make = self.numbers.creates if grows else self.numbers.reads
        return make(target, rows, moment)

    def _count(self, target: Target, rows: int) -> None:
        self._progress.update(target.name, state="reading", rows=self._progress[target.name]["rows"] + rows)

    def empty(self, target: Target) -> list[ChangeEvent]:
        """Have sinks empty the table, and forget its rows, before all of them come again."""
        self._progress.update(target.name, replace=None)
        if self._keys is not None:
            self._keys.empty(target.place)
        return self.numbers.truncate(target, self._reader.now())

    # -- cursors and horizons --------------------------------------------------------------------

    def _columns(self, target: Target) -> list[str]:
        """The columns whose order is followed."""
        if commit_column(self._options, target):
            return [self._options.commit_column]
        options = self._options
        wanted = {"incrementing": [options.incrementing_column], "timestamp": [options.timestamp_column]}
        both = [options.timestamp_column, options.incrementing_column]
        return [name for name in wanted.get(options.mode, both) if name is not None]

    def _horizon(self, target: Target, column: str) -> Horizon:
        """Kept from pass to pass: it remembers whom it waits for."""
        name = f"{target.name} {column}"
        if name not in self._settled:
            self._settled[name] = self._new_horizon(target, column)
        return self._settled[name]

    def _new_horizon(self, target: Target, column: str) -> Horizon:
        options, horizons = self._options, self._horizons
        subject = Subject(target.source, target.column(column), target.relations, options.time_zone)
        if column == options.commit_column and (exact := horizons.commit(subject)) is not None:
            return exact
        times = column == options.timestamp_column
        if options.delay is not None:
            return Delay(horizons.delayed(subject, times), options.delay)
        return horizons.timestamp(subject) if times else horizons.incrementing(subject)

    def _refuse_nulls(self, target: Target) -> None:
        """A row without a value in the cursor's column would never be read."""
        name = self._columns(target)[0]
        if not target.column(name).nullable:
            return
        if self._options.mode == "timestamp+incrementing" and name == self._options.timestamp_column:
            name = self._options.incrementing_column or name
            if not target.column(name).nullable:
                return
        column = self._reader.quote(name)
        if self._reader.fetch(f"select 1 from {target.source} where {column} is null limit 1"):
            raise SourceError(
                f"{target.name} has rows whose {name} is null: they would never be read",
                hint="mode: timestamp+incrementing reads rows without a time by their id; or name a query "
                "with coalesce, or use mode: diff",
            )
