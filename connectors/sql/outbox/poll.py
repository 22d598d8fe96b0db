"""Reading an outbox table by asking it, again and again.

A *sweep* reads, page by page, all rows that are there and not yet published, in the order of their numbers.
What commits late, with a low number, is found by the next sweep: looking at all rows that are left needs no
horizon and loses nothing. Only ``drain: cursor``, which leaves the rows alone, goes by numbers, and reads no
further than what is settled (:mod:`connectors.sql.horizon`).

Rows are marked over a connection of their own (:mod:`.aside`) while the next page is read.

**Exactly once.** The state names the rows that are in our log and not yet marked (or deleted) here. It is
stored with them in one step, so after a crash they are marked when the table is opened again, and not read
again. Marked are exactly the rows that were read, never "all up to here".

**Order.** Events of one aggregate are read in the order of their numbers. That is the order in which they
were published if the application holds the aggregate's row, or a version of it, while it publishes. All pages
of a sweep are of one view of the table, from its lowest number on: what is committed between two pages could
else show an event in the later page, and the one before it, of the same aggregate, in one that has gone by.

Positions: ``major`` is a moment by the database's clock, in nanoseconds: everything that was committed then
is read. The events of a page lie between two such moments, as one transaction: which of them were committed
together, the table does not tell.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

from connectors.sql.horizon import Bound, Horizon, Subject
from connectors.sql.outbox.aside import Aside
from connectors.sql.outbox.keeper import keeper
from connectors.sql.outbox.layout import Layout
from connectors.sql.outbox.options import SLOTS, OutboxOptions
from connectors.sql.outbox.rows import INTEGERS, Cleaner, Numbers, find_table, pack, unpack
from connectors.sql.reader import Reader, UnknownShape, open_reader
from liberator.errors import ConfigError, PositionLost, SourceError
from liberator.event import ChangeEvent, Operation, Position, Transaction
from liberator.schema import TableSchema
from liberator.source import Batch, State

#: Seconds that one read waits for something to come.
WAIT = 0.05
#: Seconds that a sweep lasts at most, before the next one begins with what it has left.
LONGEST = 5.0
#: Positions in a microsecond: more than there can be pages.
NANOSECONDS = 1000
_NOTHING: dict[str, Any] = {}
_BUDGET = 16_000_000


class Polled:
    """The outbox table of one source, opened. ``close`` gives the lease back."""

    def __init__(self, name: str, options: OutboxOptions, state: State | None):
        self._name = name
        self._options = options
        self._reader: Reader = open_reader(options.url, f"liberator {name}")
        self._aside = Aside(lambda: open_reader(options.url, f"liberator {name} marks"))
        self._marking = False  # the first of the unmarked pages
        self._view = ExitStack()
        try:
            self._open(state)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connections, when what is being marked is marked."""
        try:
            self._aside.close()
        finally:
            with suppress(SourceError):
                self._view.close()
            self._reader.close()

    # -- opening -----------------------------------------------------------------------------------

    def _open(self, state: State | None) -> None:
        reader, options = self._reader, self._options
        reader.connect()
        self._table = find_table(reader, options.table, self._name)
        self._keeper = keeper(reader, self._table)
        self._relation = reader.relation(self._table)
        self._describe()
        identity = {"server": reader.identity(), "table": self._table.full_name, "part": options.part}
        if state is not None and state.identity and dict(state.identity) != identity:
            raise PositionLost(
                f"source {self._name}: the outbox is another one than the one whose rows are in the log",
                hint=f"`liberator snapshot --config FILE --recover {self._name}` begins with the rows there",
            )
        self._identity = state.identity if state is not None and state.identity else identity
        self._position = state.position if state is not None else Position(1, 0)
        notes = state.snapshot if state is not None else {}
        #: Rows that are in the log, or on the way there, by the major behind them.
        self._unmarked: list[tuple[int, list[str]]] = []
        #: The same rows, and those that were marked after the next page was asked for: it may show them.
        self._read: set[str] = set()
        self._gone: list[str] = []
        self._cursor: str | None = notes.get("cursor")
        self._confirmed = self._cursor
        self._horizon = self._settled() if options.drain == "cursor" else None
        if self.numbers.number is not None:
            self._refuse_older(unpack(notes.get("unmarked", "")))
        if not self._keeper.lease(options.slots):
            raise SourceError(
                f"source {self._name}: another process polls part {options.part} of {self._table.full_name}",
                hint="one of them is too many; parts such as 1/2 and 2/2 share the work",
                retryable=True,
            )
        if unmarked := unpack(notes.get("unmarked", "")):
            reader.execute(self._mark(unmarked))
        self._snapshot = notes
        self._note()
        self._keeper.listen()
        self._sweep: _Sweep | None = None
        self._due = 0.0

    def _describe(self) -> None:
        reader, options = self._reader, self._options
        schema = reader.describe(self._table)
        if schema is None:
            raise SourceError(f"source {self._name}: table {self._table.full_name} is gone", retryable=True)
        whole = Layout(self._name, options, schema)
        columns = whole.wanted()
        key = [schema.columns[i] for i in schema.key]
        number = whole.column("id")
        if number is None or number.type.kind not in INTEGERS:
            number = None
        self.numbers = Numbers(reader, number, key or [schema.columns[whole.columns["event_id"]]])
        columns += [c for c in self.numbers.columns if c not in columns]
        part = TableSchema(schema.dialect, schema.database, schema.schema, schema.table, tuple(columns))
        named = {what: name for what, name in options.columns.items() if what != "published_at"}
        self._layout = Layout(self._name, options.model_copy(update={"columns": named}), part)
        self._schema = part
        self.numbers.locate(part)
        created, published = whole.column("created_at"), whole.column("published_at")
        published = published if options.drain == "mark" else None
        if options.drain == "mark" and published is None:
            raise ConfigError(
                f"sources.{self._name}.drain: {self._table.full_name} has no column published_at to mark",
                hint="add one: a timestamp that may be null; or set drain: delete",
            )
        if options.drain == "cursor" and number is None:
            raise ConfigError(
                f"sources.{self._name}.drain: {self._table.full_name} has no growing number, id, to go by",
                hint="drain: mark and drain: delete need none",
            )
        if options.drain != "mark" and number is not None and self._keeper.reuses_numbers():
            raise ConfigError(
                f"sources.{self._name}.drain: {self._table.full_name} gives numbers of deleted rows again",
                hint="declare its id `integer primary key autoincrement`, or set drain: mark",
            )
        if number is not None:
            self._keeper.refuse_disorder(number)
        self._published = published
        age = {"mark": published, "cursor": created, "delete": None}[options.drain]
        self._cleaner = Cleaner(self._relation, age, options.keep)
        names = ", ".join(reader.quote(c.name) for c in columns)
        conditions = [f"{reader.quote(published.name)} is null"] if published else []
        if len(options.slots) < SLOTS:
            aggregate = reader.quote(schema.columns[whole.columns["aggregate_id"]].name)
            number_of, of = options.part.split("/")
            conditions.append(f"{self._keeper.slot(aggregate)} % {of} = {int(number_of) - 1}")
        by = [number] if number else [*([created] if created else []), *key]
        self._order = ", ".join(reader.quote(c.name) for c in by) or names
        self._names, self._conditions = names, conditions

    def _settled(self) -> Horizon:
        return self._reader.horizons().incrementing(self._subject())

    def _subject(self) -> Subject:
        assert self.numbers.number is not None
        names = [] if self._table.view else [(self._table.schema, self._table.name)]
        return Subject(self._relation, self.numbers.number, names)

    def _refuse_older(self, unmarked: Sequence[str]) -> None:
        """A database that has not yet given out a number that we have read gives it out again, to an event
        that would be taken for published."""
        read = [int(identity) for identity in [*unmarked, self._cursor] if identity is not None]
        given = self._reader.horizons().given(self._subject()) if read else None
        if given is None or given >= max(read):
            return
        # Some applications choose numbers that the database has not given out.
        ((there,),) = self._reader.fetch(f"select max({self.numbers.selected}) from {self._relation}")
        if there is None or there < max(read):
            raise PositionLost(
                f"source {self._name}: {self._table.full_name} has given out numbers up to {given}, and"
                f" {max(read)} was read: it was restored from a backup, or its numbers begin again",
                hint=f"`liberator snapshot --config FILE --recover {self._name}` begins with the rows there",
            )

    # -- reading -----------------------------------------------------------------------------------

    def read(self) -> Batch:
        """The next page of a sweep that is under way or due; else wait a little for one."""
        self._marked(wait=False)
        if self._sweep is None and not self._begin():
            return self._batch([])
        assert self._sweep is not None
        try:
            return self._page(self._sweep)
        except UnknownShape:
            self._leave()
            self._describe()
            return self._batch([])

    def _begin(self) -> bool:
        """Begin a sweep, if one is due or something was committed."""
        left = self._due - time.monotonic()
        if left > 0 and not self._keeper.wait(min(left, WAIT)):
            if not self._marking:
                self._purge()
            return False
        self._due = time.monotonic() + self._options.poll_interval
        self._forget()
        if self._horizon is None:
            self._sweep = _Sweep(Bound("true", self._reader.now()))
            if self.numbers.number is not None and not self._keeper.serial:
                self._view.enter_context(self._reader.transaction("read"))
        else:
            self._sweep = _Sweep(self._horizon.look(), self._cursor)
        return True

    def _leave(self) -> None:
        """The sweep is over, and so is its view."""
        self._sweep = None
        self._view.close()

    def _page(self, sweep: _Sweep) -> Batch:
        if sweep.bound.condition is None:
            return self._swept(sweep, [])
        sql, limit = self._statement(sweep)
        found = self._reader.select(sql, self._schema, _BUDGET)
        number = self.numbers.number
        identities = self.numbers.of(found.rows)
        events: list[ChangeEvent] = []
        fresh: list[str] = []
        transaction = Transaction(str(self._position.major), self._position, sweep.bound.covered)
        for row, identity in zip(found.rows, identities, strict=True):
            if identity not in self._read:
                fresh.append(identity)
                place = (len(fresh), len(fresh))
                events.append(self._layout.event(row, Operation.CREATE, transaction, place))
        if identities and number is not None:
            sweep.after = identities[-1]
        if fresh:
            self._take(fresh)
        if found.whole and len(found.rows) < limit:
            return self._swept(sweep, events)
        self._forget(sweep.after)
        if time.monotonic() > sweep.end:
            self._leave()
            self._due = 0.0
        elif number is not None:
            self._reader.ahead(self._statement(sweep)[0])
        return self._batch(events)

    def _forget(self, passed: str | None = None) -> None:
        """What is asked for from now on shows no row that was marked before. In the middle of a sweep, whose
        view is older, only those of which it has ``passed`` the number are not shown again."""
        last = None if passed is None else int(passed)
        shown = [] if last is None else [i for i in self._gone if int(i) > last]
        self._read.difference_update(set(self._gone).difference(shown))
        self._gone = shown

    def _statement(self, sweep: _Sweep) -> tuple[str, int]:
        """What selects the next page, and how many rows that is at most."""
        limit, number, conditions = self._options.batch, self.numbers.number, list(self._conditions)
        if number is None:
            limit += len(self._read)  # they come again
        elif sweep.after is not None:
            conditions.append(f"{self._reader.quote(number.name)} > {sweep.after}")
        bound = sweep.bound.condition
        return self._reader.page(self._names, self._relation, conditions, self._order, limit, bound), limit

    def _take(self, fresh: list[str]) -> None:
        """These rows are on their way into the log."""
        epoch, major, _ = self._position
        self._position = Position(epoch, major + 1)
        if self._horizon is not None:
            self._cursor = fresh[-1]
        self._unmarked.append((self._position.major, fresh))
        if self._horizon is None:
            self._read.update(fresh)
        self._note()

    def _swept(self, sweep: _Sweep, events: list[ChangeEvent]) -> Batch:
        """The sweep is over: all that was committed when it began is read."""
        epoch, major, _ = self._position
        self._position = Position(epoch, max(major, sweep.bound.covered * NANOSECONDS))
        self._leave()
        return self._batch(events, sweep.bound.covered)

    def _batch(self, events: list[ChangeEvent], timestamp: int = 0) -> Batch:
        state = State(self._position, self._identity, self._snapshot, _NOTHING)
        return Batch(events, state, timestamp=timestamp)

    def _note(self) -> None:
        """Put into the state what the next process has to know."""
        if self._horizon is not None:
            notes: dict[str, Any] = {} if self._cursor is None else {"cursor": self._cursor}
        else:
            waiting = [identity for _, identities in self._unmarked for identity in identities]
            notes = {"unmarked": pack(waiting)} if waiting else {}
        if notes != self._snapshot:
            self._snapshot = notes

    # -- what is in the log ------------------------------------------------------------------------

    def confirm(self, position: Position) -> None:
        """The log has everything up to ``position``: have these rows marked or deleted, page by page. The
        last page is still under way on return."""
        while True:
            self._marked(wait=False)
            page = self._unmarked[1:2] if self._marking else self._unmarked[:1]
            if not page or page[0][0] > position.major:
                return
            self._marked(wait=True)
            identities = page[0][1]
            if self._options.drain == "cursor":
                self._confirmed = identities[-1]
                del self._unmarked[0]
            else:
                self._aside.begin(self._mark(identities))
                self._marking = True

    def _marked(self, wait: bool) -> None:
        """Take note of the page that was under way, if it has ended. Raises SourceError if somebody else has
        marked its rows before."""
        if not self._marking or (count := self._aside.end(wait)) is None:
            return
        self._marking = False
        (_, identities), *self._unmarked = self._unmarked
        self._gone += identities
        self._note()
        if count < len(identities):
            raise SourceError(
                f"source {self._name}: {len(identities) - count} rows of {self._table.full_name} were marked"
                " or deleted by somebody else after they were read here",
                hint="only one may publish an outbox, or a part of it: look for another process that does",
            )

    def _mark(self, identities: Sequence[str]) -> str:
        """The statement that marks, or deletes, exactly these rows."""
        reader, these = self._reader, self.numbers.condition(identities)
        if self._options.drain == "delete":
            return f"delete from {self._relation} where {these}"
        assert self._published is not None
        name = reader.quote(self._published.name)
        return f"update {self._relation} set {name} = {reader.clock} where {name} is null and {these}"

    def _purge(self) -> None:
        """Delete some rows that are old enough; with a cursor, none that it has not passed."""
        upto = None
        if self._horizon is not None:
            if self._confirmed is None:
                return
            assert self.numbers.number is not None
            upto = f"{self._reader.quote(self.numbers.number.name)} <= {self._confirmed}"
        self._cleaner.clean(self._reader, self.numbers, upto)


class _Sweep:
    """One pass over the table; ``after`` is the number of the last row read, ``end`` when it has lasted long
    enough for the database, which keeps for its view what was deleted since."""

    __slots__ = ("after", "bound", "end")

    def __init__(self, bound: Bound, after: str | None = None):
        self.bound = bound
        self.after = after
        self.end = time.monotonic() + LONGEST
