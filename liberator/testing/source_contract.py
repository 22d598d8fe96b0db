"""What every source promises, as tests. A connector's own test file begins with a few lines of it:

    class TestMySource(SourceContract):
        def make(self):
            return MySource("contract", MySource.Config(type="mine", url=self.url, tables=["contract"]))

        def change(self, *changes):
            with connect(self.url) as db, db.transaction():
                for operation, values in changes:  # ("insert", {"id": 1, "note": "a"})
                    ...

``make`` gives a new, unopened source each time; all sources of one test are the same one, in processes one
after the other. Give it small batches, of about ten events, so that transactions are read in parts.
``change`` commits one transaction on the table ``contract (id bigint primary key, note
text)``, which exists, empty, when the test begins: make it in an autouse fixture. Operations are
``insert`` and ``update`` with ``id`` and ``note``, and ``delete`` with ``id``.

A source that has no snapshot says ``snapshots = False``; one that sees no deletes ``deletes = False``.
``patience`` is how long a change may take to arrive, in seconds. Needs pytest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from liberator.event import ChangeEvent, Operation, Position
from liberator.source import Batch, Source, SourceStatus, State

#: One change: ``insert``, ``update`` or ``delete``, and the values of the row.
Change = tuple[str, Mapping[str, Any]]
#: A read that finds nothing comes back within about 100 ms; a busy machine gets some more.
IDLE_READ = 2.0


def insert(id: int, note: str = "") -> Change:  # noqa: A002
    """A row to insert."""
    return "insert", {"id": id, "note": note}


def changed(id: int, note: str) -> Change:  # noqa: A002
    """A row to update."""
    return "update", {"id": id, "note": note}


def gone(id: int) -> Change:  # noqa: A002
    """A row to delete."""
    return "delete", {"id": id}


def brief(event: ChangeEvent) -> tuple[str, int, Any]:
    """An event as the tests compare it: operation, key, and the note (None for a delete)."""
    row = event.after if event.after is not None else event.before
    assert row is not None
    values = dict(zip(event.schema.names, row, strict=True))
    note = values["note"] if event.operation is not Operation.DELETE else None
    return event.operation.name.lower(), values["id"], note


@dataclass(slots=True)
class Reading:
    """What was read: batches in order."""

    batches: list[Batch] = field(default_factory=list)

    @property
    def events(self) -> list[ChangeEvent]:
        """All events, in order."""
        return [event for batch in self.batches for event in batch.events]

    @property
    def briefs(self) -> list[tuple[str, int, Any]]:
        """All events, briefly."""
        return [brief(event) for event in self.events]

    @property
    def state(self) -> State:
        """The state after the last batch."""
        return self.batches[-1].state


class Playing:
    """What the suite asks of a connector's test, and the ways in which the tests read."""

    #: Whether rows that are there before the first open are read, and tables can be read again.
    snapshots = True
    #: The test's table as ``Source.snapshot`` takes it.
    table = "public.contract"
    #: Whether deletes are seen.
    deletes = True
    #: How long a change may take to arrive, in seconds.
    patience = 30.0

    def make(self) -> Source:
        """A new source on this test's database, not opened."""
        raise NotImplementedError

    def change(self, *changes: Change) -> None:
        """Commit one transaction."""
        raise NotImplementedError

    @contextmanager
    def opened(self, state: State | None) -> Iterator[Source]:
        """A source that reads on from ``state``."""
        source = self.make()
        try:
            source.open(state)
            yield source
        finally:
            source.close()

    def drain(self, source: Source, done: Callable[[Batch], bool] | None = None) -> Reading:
        """Read until ``done``, or until what is committed now was read and no snapshot is pending."""
        target = source.current()
        reading = Reading()
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            batch = source.read()
            reading.batches.append(batch)
            if done(batch) if done else not batch.open and source.reached(batch.state, target):
                return reading
        raise AssertionError(f"not there after {self.patience} s, at {reading.state.position} of {target}")

    def start(self) -> State:
        """Open for the first time, read what is there, and return the durable state after it."""
        with self.opened(None) as source:
            state = self.drain(source).state
            source.confirm(state.position)
            return state

    def some_changes(self) -> list[tuple[str, int, Any]]:
        """Commit transactions of several sizes; returns what they must be read as."""
        many = range(100, 150)
        self.change(insert(1, "a"))
        self.change(insert(2, "b"), changed(1, "c"), insert(3, "d"))
        self.change(*(insert(n, "many") for n in many))
        expected: list[tuple[str, int, Any]] = [
            ("create", 1, "a"),
            ("create", 2, "b"),
            ("update", 1, "c"),
            ("create", 3, "d"),
            *(("create", n, "many") for n in many),
        ]
        if self.deletes:
            self.change(gone(2), insert(2, "again"))
            expected += [("delete", 2, None), ("create", 2, "again")]
        self.change(changed(3, "last"))
        return [*expected, ("update", 3, "last")]


class StreamContract(Playing):
    """Changes arrive once, in commit order, however often the source is opened anew."""

    def test_every_committed_change_arrives_once_and_in_commit_order(self) -> None:
        state = self.start()
        expected = self.some_changes()
        with self.opened(state) as source:
            assert self.drain(source).briefs == expected

    def test_changes_arrive_while_the_source_is_open(self) -> None:
        state = self.start()
        with self.opened(state) as source:
            for number in range(1, 4):
                self.change(insert(number, "live"))
                assert self.drain(source).briefs == [("create", number, "live")]

    def test_a_source_resumes_strictly_after_every_state_it_gave(self) -> None:
        state = self.start()
        reading = Reading()
        with self.opened(state) as source:
            for number, size in enumerate((1, 2, 30, 4, 25), 1):
                self.change(*(insert(number * 100 + n, str(number)) for n in range(size)))
                reading.batches += self.drain(source).batches
        expected = reading.briefs
        assert len(expected) == 62
        read = 0
        for batch in reading.batches:
            read += len(batch.events)
            with self.opened(batch.state) as source:
                assert self.drain(source).briefs == expected[read:]

    def test_what_was_not_confirmed_is_read_again_the_same(self) -> None:
        state = self.start()
        expected = self.some_changes()
        for _ in range(2):
            with self.opened(state) as source:
                assert self.drain(source).briefs == expected

    def test_a_confirmed_state_is_where_the_next_process_goes_on(self) -> None:
        state = self.start()
        for number in range(1, 4):
            self.change(insert(number, "before"))
            with self.opened(state) as source:
                reading = self.drain(source)
                state = reading.state
                source.confirm(state.position)
                source.confirm(state.position)
            assert reading.briefs == [("create", number, "before")]

    def test_positions_only_grow(self) -> None:
        state = self.start()
        self.some_changes()
        with self.opened(state) as source:
            reading = self.drain(source)
        before = state.position
        for batch in reading.batches:
            places = [event.position for event in batch.events]
            assert places == sorted(places)
            assert all(before < place for place in places)
            assert all(place <= batch.state.position for place in places)
            assert before <= batch.state.position
            before = batch.state.position

    def test_the_events_of_a_transaction_are_numbered_from_one(self) -> None:
        state = self.start()
        self.some_changes()
        with self.opened(state) as source:
            events = self.drain(source).events
        transactions: dict[Position, list[ChangeEvent]] = {}
        for event in events:
            transactions.setdefault(event.transaction.position, []).append(event)
        for members in transactions.values():
            assert [event.ordinal for event in members] == list(range(1, len(members) + 1))
            assert [event.table_ordinal for event in members] == list(range(1, len(members) + 1))
            assert all(event.transaction.timestamp > 0 for event in members)

    def test_a_schema_object_is_shared_by_the_events_of_a_table(self) -> None:
        state = self.start()
        self.some_changes()
        with self.opened(state) as source:
            assert len({id(event.schema) for event in self.drain(source).events}) == 1

    def test_a_state_is_plain_json_and_survives_it(self) -> None:
        state = self.start()
        expected = self.some_changes()
        for part in (state.identity, state.snapshot, state.schemas):
            assert json.loads(json.dumps(part)) == part
        copy = State(
            Position(*json.loads(json.dumps(state.position))),
            json.loads(json.dumps(state.identity)),
            json.loads(json.dumps(state.snapshot)),
            json.loads(json.dumps(state.schemas)),
        )
        with self.opened(copy) as source:
            assert self.drain(source).briefs == expected


class IdleContract(Playing):
    """A quiet source comes back soon, with a state, and knows where it stands."""

    def test_a_read_that_finds_nothing_comes_back_soon_and_empty(self) -> None:
        state = self.start()
        with self.opened(state) as source:
            self.drain(source)
            for _ in range(5):
                began = time.monotonic()
                batch = source.read()
                assert time.monotonic() - began < IDLE_READ
                assert not batch.events
                assert not batch.open
                assert batch.state.position >= state.position

    def test_the_parts_of_an_idle_state_stay_the_same_objects(self) -> None:
        with self.opened(self.start()) as source:
            self.drain(source)
            one, two = source.read().state, source.read().state
        assert one.identity is two.identity
        assert one.snapshot is two.snapshot
        assert one.schemas is two.schemas

    def test_the_current_position_is_reached_only_once_its_changes_are_read(self) -> None:
        state = self.start()
        self.change(insert(1, "a"))
        target = self.make().current()
        with self.opened(state) as source:
            assert not source.reached(state, target)
            reading = self.drain(source, lambda batch: source.reached(batch.state, target))
        assert reading.briefs == [("create", 1, "a")]

    def test_a_quiet_source_reaches_its_current_position_without_events(self) -> None:
        with self.opened(self.start()) as source:
            assert self.drain(source).events == []


class LifeContract(Playing):
    """Opening, closing, looking, and what is left behind."""

    def test_closing_twice_is_fine(self) -> None:
        source = self.make()
        source.open(None)
        source.close()
        source.close()

    def test_closing_what_was_never_opened_is_fine(self) -> None:
        self.make().close()

    def test_a_check_finds_no_error_at_a_healthy_database(self) -> None:
        assert [finding for finding in self.make().check() if finding.level == "error"] == []

    def test_set_up_twice_creates_once_and_teardown_leaves_nothing(self) -> None:
        self.make().setup()
        assert self.make().setup() == []
        assert {managed.state for managed in self.make().objects()} <= {"present"}
        self.make().teardown()
        assert self.make().teardown() == []
        assert {managed.state for managed in self.make().objects()} <= {"missing"}

    def test_teardown_removes_what_open_created(self) -> None:
        self.start()
        self.make().teardown()
        assert {managed.state for managed in self.make().objects()} <= {"missing"}

    def test_every_managed_object_says_how_it_is_made_and_removed(self) -> None:
        for managed in self.make().objects():
            assert managed.kind and managed.name and managed.create and managed.drop

    def test_a_status_can_be_had_from_outside(self) -> None:
        assert isinstance(self.make().status(None), SourceStatus)
        state = self.start()
        assert isinstance(self.make().status(state), SourceStatus)
        assert self.make().describe(state.position)


class SnapshotContract(Playing):
    """What was there before the first open is read once, and can be read again."""

    def rows_before(self) -> list[tuple[str, int, Any]]:
        """Commit rows that a snapshot must find; returns what they are read as."""
        if not self.snapshots:
            pytest.skip("this source has no snapshot")
        self.change(*(insert(n, f"row {n}") for n in range(1, 41)))
        return [("read", n, f"row {n}") for n in range(1, 41)]

    def test_rows_that_are_there_already_are_read_once(self) -> None:
        expected = self.rows_before()
        with self.opened(None) as source:
            reading = self.drain(source)
            assert sorted(reading.briefs) == sorted(expected)
            assert all(event.ordinal == 0 for event in reading.events)
            self.change(insert(1000, "after"))
            assert self.drain(source).briefs == [("create", 1000, "after")]

    def test_a_snapshot_goes_on_after_every_state_it_gave(self) -> None:
        expected = self.rows_before()
        with self.opened(None) as source:
            reading = self.drain(source)
        read = 0
        for batch in reading.batches:
            read += len(batch.events)
            with self.opened(batch.state) as source:
                rest = self.drain(source).briefs
            assert sorted(reading.briefs[:read] + rest) == sorted(expected)

    def test_a_finished_snapshot_is_not_repeated(self) -> None:
        self.rows_before()
        state = self.start()
        with self.opened(state) as source:
            assert self.drain(source).events == []

    def test_a_snapshot_and_the_changes_beside_it_give_the_rows_that_are_there(self) -> None:
        self.rows_before()
        with self.opened(None) as source:
            first = source.read()
            self.change(changed(5, "changed"), insert(500, "new"), changed(35, "changed"))
            if self.deletes:
                self.change(gone(6), gone(36))
            rest = self.drain(source)
        mirror: dict[int, Any] = {}
        for operation, key, note in [brief(event) for event in first.events] + rest.briefs:
            mirror[key] = note
            if operation == "delete":
                del mirror[key]
        expected = {n: f"row {n}" for n in range(1, 41)} | {
            5: "changed",
            35: "changed",
            500: "new",
        }
        if self.deletes:
            del expected[6], expected[36]
        assert mirror == expected

    def test_a_table_can_be_read_again_while_streaming_goes_on(self) -> None:
        self.rows_before()
        with self.opened(self.start()) as source:
            self.drain(source)
            self.change(changed(3, "changed"))
            self.drain(source)
            source.snapshot(7, [self.table])
            source.snapshot(7, [self.table])
            reading = self.drain(source, lambda batch: self._noted(source, batch, 7))
        expected = [("read", n, "changed" if n == 3 else f"row {n}") for n in range(1, 41)]
        assert sorted(reading.briefs) == sorted(expected)
        with self.opened(reading.state) as source:
            source.snapshot(7, [self.table])
            assert self.drain(source).events == [], "a request that the state has noted is not served twice"

    def test_a_table_that_is_being_read_again_is_read_to_its_end_by_the_next_process(self) -> None:
        self.rows_before()
        with self.opened(self.start()) as source:
            source.snapshot(7, [self.table])
            reading = self.drain(source, lambda batch: batch.state.snapshot.get("signal", 0) >= 7)
        with self.opened(reading.state) as source:
            rest = self.drain(source)
        seen = {key: note for _, key, note in reading.briefs + rest.briefs}
        assert seen == {n: f"row {n}" for n in range(1, 41)}

    def _noted(self, source: Source, batch: Batch, signal: int) -> bool:
        noted: int = batch.state.snapshot.get("signal", 0)
        return noted >= signal and source.reached(batch.state, batch.state.position)


class SourceContract(StreamContract, IdleContract, LifeContract, SnapshotContract):
    """Everything a source promises; subclass this one."""
