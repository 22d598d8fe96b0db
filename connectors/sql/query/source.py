"""The source ``query``: tables, views and selects of any SQL database, asked again and again.

A *pass* goes over all tables. For each it looks at the horizon, reads what lies between the table's cursor
and the horizon, and moves the cursor; or reads everything (``bulk``), or compares everything (``diff``): see
:mod:`.passes`. What follows tells of states, not of changes: of a row that was changed twice between two
passes the first change is never seen. Rows that were there before the first pass ended are READ; CREATE and
UPDATE are said where they are known: where ids only grow, or where it is remembered which rows were read.

Positions: ``major`` is the moment, by the database's clock, up to which all that was committed has been read;
it moves when a pass has ended, to what the horizons then cover. ``minor`` counts the changes since. So
everything that was committed at a moment has been read once the position is there, and what ``current``
means is the database's clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from connectors.sql.query.check import commit_column, findings, standing
from connectors.sql.query.keyfile import KeyFile
from connectors.sql.query.options import QueryOptions
from connectors.sql.query.passes import Passes
from connectors.sql.query.progress import Progress
from connectors.sql.query.schedule import Schedule
from connectors.sql.query.servers import Servers
from connectors.sql.query.target import matching, targets
from connectors.sql.reader import Reader, connected, open_reader
from connectors.sql.states import Numbering
from liberator.errors import PositionLost
from liberator.event import ChangeEvent, Position
from liberator.preflight import Finding
from liberator.source import Batch, Managed, Source, SourceStatus, State

#: What envelopes call the databases.
CONNECTORS = {"postgres": "postgresql", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mariadb"}
CONNECTORS |= {"sqlite": "sqlite"}
#: The longest that a read waits, in seconds; between passes when somebody waits for us to be current.
_WAIT = 0.05
_HURRY = 0.02
#: Seconds between looks for new tables.
_LOOK = 30.0


class QuerySource(Source):
    """Reads tables, views and queries of any SQL database again and again, each time what is new."""

    Config: ClassVar[type[QueryOptions]] = QueryOptions
    connector: ClassVar[str] = "sql"
    origin_fields: ClassVar[tuple[tuple[str, Literal["long", "string"]], ...]] = (("transfer", "string"),)

    config: QueryOptions

    def __init__(self, name: str, config: Any):
        super().__init__(name, config)
        # Which database it is says the URL.
        self.connector = CONNECTORS.get(config.url.partition(":")[0], "sql")  # type: ignore[misc]
        self._reader: Reader | None = None
        self._keys: KeyFile | None = None
        self._steps: Iterator[Sequence[ChangeEvent]] | None = None
        self._search: Iterator[Sequence[ChangeEvent]] | None = None
        self._owing = False
        self._asked = 0  # what current() said last
        self._with_commit_column = False

    # -- opening ---------------------------------------------------------------------------------

    def open(self, state: State | None) -> None:
        """Connect, find the tables, go back to where the state was."""
        options = self.config
        self._reader = reader = self._new_reader()
        reader.connect()
        reader.limit(options.statement_timeout)
        self._progress = Progress(state.snapshot if state is not None else None)
        self._numbers = Numbering(state.position if state is not None else Position(1, 0))
        self._schemas = state.schemas if state is not None else {}
        self._schedule = Schedule(options.poll_interval, options.cron)
        self._covered_at = self._asked_at = 0  # passes
        self._passes = 0
        self._look()
        self._identify(state)
        if options.remembers:
            self._keys = KeyFile(options.state_directory / f"{self.name}.keys", self.name)
            self._keys.open(self._progress.keys if state is not None else None)
        self._servers = Servers(self.name, reader, options, self._progress)
        self._servers.refuse_behind()
        self._work = Passes(reader, options, self._progress, self._numbers, self._keys)

    def _new_reader(self) -> Reader:
        return open_reader(self.config.url, f"liberator {self.name}", self.config.zero_dates)

    def _identify(self, state: State | None) -> None:
        """Transaction ids mean something at the server that gave them only."""
        assert self._reader is not None
        server = self._reader.identity()
        commits = any(commit_column(self.config, target) for target in self._targets)
        self._identity: Mapping[str, Any] = {"server": server, "commit_column": commits}
        known = state.identity if state is not None else {}
        if known == self._identity:
            self._identity = known
        elif known.get("commit_column") and known.get("server") != server:
            raise PositionLost(
                f"source {self.name}: this is another server than the one that was read until now, or it was "
                "restored; its transaction ids begin anew",
                hint=f"`liberator snapshot --config FILE --recover {self.name}` reads all tables anew",
            )

    def _look(self) -> None:
        """Find the tables, those too that are new."""
        assert self._reader is not None
        self._looked = time.monotonic()
        self._targets = targets(self._reader, self.config, self.name)
        for target in self._targets:
            target.place = self._progress.add(target.name, target.table.estimate if target.table else 0)
        gone = self._progress.tables.keys() - {t.name for t in self._targets}
        for name in gone:
            self._progress.forget(name)

    def close(self) -> None:
        """Let go of the connection and the file."""
        reader, self._reader = self._reader, None
        keys, self._keys = self._keys, None
        if reader is not None:
            reader.close()
        if keys is not None:
            keys.close()

    # -- reading ---------------------------------------------------------------------------------

    def read(self) -> Batch:
        """The next piece of a pass; between passes a step of the search for deleted rows, or nothing. Where a
        pass takes longer than the interval, one step is made all the same."""
        events: Sequence[ChangeEvent] = []
        if self._steps is None and not self._owed() and self._due():
            self._schedule.begin()
            self._passes += 1
            self._steps = self._pass(self._passes)
        if self._steps is not None:
            found = next(self._steps, None)
            if found is None:
                self._steps, self._owing = None, True
            else:
                events = found
                if events:
                    self._servers.note_read()
        else:
            self._owing = False
            events = self._between()
        return self._batch(events)

    def _owed(self) -> bool:
        return self._owing and (self._search is not None or self._search_due())

    def _due(self) -> bool:
        waited = self._schedule.wait() == 0.0
        hurried = self._asked > self._numbers.position.major or self._progress.pending
        return waited or (hurried and self._schedule.since >= _HURRY)

    def _between(self) -> Sequence[ChangeEvent]:
        """Something to do until the next pass."""
        if self._search is None and self._search_due():
            self._search = self._work.reconcile(self._targets)
        if self._search is not None:
            found = next(self._search, None)
            if found is not None:
                return found
            self._search = None
        time.sleep(
            min(_WAIT, self._schedule.wait(), _HURRY if self._asked > self._numbers.position.major else _WAIT)
        )
        return []

    def _batch(self, events: Sequence[ChangeEvent]) -> Batch:
        keys = self._keys.version if self._keys is not None else None
        if self._keys is not None:
            self._keys.give(self._numbers.position)
        state = State(self._numbers.position, self._identity, self._progress.to_json(keys), self._schemas)
        return Batch(events, state, timestamp=self._numbers.position.major)

    def confirm(self, position: Position) -> None:
        """What the log holds need not be undone any more."""
        if self._keys is not None:
            self._keys.confirm(position)

    # -- a pass ----------------------------------------------------------------------------------

    def _pass(self, number: int) -> Iterator[Sequence[ChangeEvent]]:
        """All tables once. At the end the position moves to what is covered then."""
        assert self._reader is not None
        if time.monotonic() - self._looked >= _LOOK:
            self._look()
        began = self._reader.now()
        covered = []
        if self.config.mode not in ("bulk", "diff"):
            for target in self._targets:
                self._work.prepare(target)
        for target in self._targets:
            if self._progress[target.name].get("replace"):
                yield self._work.empty(target)
            match self.config.mode:
                case "bulk":
                    yield from self._work.everything(target)
                    covered.append(began)
                case "diff":
                    yield from self._work.differences(target)
                    covered.append(began)
                case _:
                    self._servers.refuse_restart(target)
                    covered.append((yield from self._work.follow(target)))
                    self._servers.note_given(target)
        self._cover(min(covered), number)

    def _cover(self, moment: int, number: int) -> None:
        self._numbers.cover(moment)
        if moment:
            # A clock that was put back does not make us current: only a pass does.
            self._covered_at = number

    def _search_due(self) -> bool:
        every = self.config.reconcile
        if every is None or self._progress.pending or not self._covered_at:
            return False
        return self._numbers.position.major - self._progress.reconciled >= every * 1_000_000

    # -- the rest of the contract ----------------------------------------------------------------

    def snapshot(self, signal: int, tables: Sequence[str]) -> None:
        """Read these tables from their beginning once more."""
        if signal <= self._progress.signal:
            return
        for target in matching(self._targets, tables):
            self._progress.again(target.name, every=True if self.config.mode == "diff" else None)
        self._steps = None
        self._progress.note(signal=signal)

    def recover(self, state: State) -> State:
        """All tables anew, emptied first."""
        tables = {
            name: {
                "state": "pending",
                "rows": 0,
                "estimate": t.get("estimate", 0),
                "place": t["place"],
                "replace": True,
            }
            for name, t in state.snapshot.get("tables", {}).items()
        }
        snapshot = {"signal": state.snapshot.get("signal", 0), "tables": tables}
        return State(Position(state.position.epoch + 1, state.position.major), {}, snapshot, {})

    def current(self) -> Position:
        """The database's clock."""
        with connected(self.config.url, f"liberator {self.name}") as reader:
            self._asked = reader.now()
        self._asked_at = getattr(self, "_passes", 0)
        return Position(0, self._asked)

    def reached(self, state: State, target: Position) -> bool:
        """Whether all tables were read once, and a pass that began afterwards has covered ``target``."""
        if any(t["state"] != "done" for t in state.snapshot.get("tables", {}).values()):
            return False
        if self._reader is not None and self._covered_at <= self._asked_at:
            return False
        return state.position.major >= target.major

    def check(self) -> list[Finding]:
        """What would hinder polling; see :mod:`.check`."""
        return findings(self.name, self.config)

    def status(self, state: State | None) -> SourceStatus:
        """The horizon's age, and who holds it."""
        return standing(self.name, self.config, state)

    def describe(self, position: Position) -> str:
        """The moment that is covered, and the changes since."""
        from connectors.sql.clock import spell

        behind = f" + {position.minor}" if position.minor else ""
        return (spell(position.major) if position.major else "the beginning") + behind

    # -- the commit column -----------------------------------------------------------------------

    def extra(self, name: str) -> bool:
        """``commit-column``: a column with the transaction of a row's last change, for each table."""
        self._with_commit_column = name == "commit-column" and self.connector == "postgresql"
        return self._with_commit_column

    def objects(self) -> list[Managed]:
        """The commit columns: those that were asked for, and those that are there."""
        with connected(self.config.url, f"liberator {self.name}") as reader:
            found = [
                managed
                for target in targets(reader, self.config, self.name)
                if target.relations and target.table is not None
                for managed in reader.commit_column(target.table, self.config.commit_column)
            ]
        return [m for m in found if self._with_commit_column or m.state != "missing"]

    def setup(self) -> list[Managed]:
        """Add the commit columns that were asked for."""
        if not self._with_commit_column:
            return []
        return self._run([m for m in self.objects() if m.state != "present"], create=True)

    def teardown(self) -> list[Managed]:
        """Take the commit columns away, and the file of keys."""
        removed = self._run([m for m in self.objects()[::-1] if m.state != "missing"], create=False)
        path = self.config.state_directory / f"{self.name}.keys"
        for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            each.unlink(missing_ok=True)
        return removed

    def _run(self, wanting: list[Managed], create: bool) -> list[Managed]:
        with connected(self.config.url, f"liberator {self.name}") as reader:
            for managed in wanting:
                reader.execute(managed.create if create else managed.drop)
        return wanting
