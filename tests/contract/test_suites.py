"""The contract suites can fail: each way in which a sink or a source may be wrong is found by some test."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from liberator.errors import SinkError
from liberator.event import ABSENT, ChangeEvent, Operation, Position
from liberator.schema import Kind
from liberator.source import Batch, State
from liberator.testing.events import create, delete, table, transaction, update
from liberator.testing.memory import ListSink, ListSource, Store
from liberator.testing.sink_contract import MirrorContract
from liberator.testing.source_contract import SourceContract

TABLE = table("contract", {"id": Kind.INT64, "note": Kind.STRING}, key=["id"])
MAKE = {"insert": create, "update": update, "delete": delete}


def failures(suite, prepare, only="test_"):
    """The tests of ``suite`` that fail, one after the other, each on an instance of its own."""
    for name in dir(suite):
        if not name.startswith(only):
            continue
        case = suite()
        prepare(case)
        try:
            getattr(case, name)()
        except pytest.skip.Exception:
            pass
        except BaseException:
            yield name


def sink_failures(sink):
    class Suite(MirrorContract):
        def make(self, name="sink"):
            return sink(name, self.store)

        def rows(self, table):
            return self.store.rows(f"test.{table.schema}.{table.table}")

    return failures(Suite, lambda case: setattr(case, "store", Store()))


def source_failures(source, only="test_"):
    class Suite(SourceContract):
        patience = 0.5

        def make(self):
            return source("contract", self.script, batch=10, snapshot=True)

        def change(self, *changes):
            events = [MAKE[operation](TABLE, **values) for operation, values in changes]
            self.script.append(transaction(10 * len(self.script) + 10, *events, source="contract"))

    return failures(Suite, lambda case: setattr(case, "script", []), only)


class ForgetsCursor(ListSink):
    def commit(self, cursor):
        super().commit(cursor)
        self._store.cursors.clear()


class OneCursorForAll(ListSink):
    def commit(self, cursor):
        super().commit(cursor)
        self._store.cursors = dict.fromkeys(["one", "two", "sink"], cursor)


class WritesAtOnce(ListSink):
    def write(self, events):
        super().write(events)
        cursor = self._store.cursors.get(self.name)
        super().commit(cursor)
        if cursor is None:
            del self._store.cursors[self.name]


class KeepsWhatWasNotCommitted(ListSink):
    def close(self):
        if self._written and self._generation:
            super().commit(self._store.cursors[self.name])
        super().close()


class NeverFences(ListSink):
    def _fence(self):
        pass


class FencesButInvitesARetry(ListSink):
    def _fence(self):
        try:
            super()._fence()
        except SinkError as exc:
            raise SinkError(str(exc), retryable=True) from exc


class ReadingTheCursorFences(ListSink):
    def cursor(self):
        self.open()
        return super().cursor()


class Changes(ListSink):
    """Hands on events that are not quite what it was given."""

    def write(self, events):
        super().write([event for old in events for event in self.change(old)])


class NullForAbsent(Changes):
    def change(self, event):
        after = event.after and tuple(None if value is ABSENT else value for value in event.after)
        return [replace(event, after=after)]


class AbsentForNull(Changes):
    def change(self, event):
        if event.operation is not Operation.UPDATE:
            return [event]
        return [replace(event, after=tuple(ABSENT if value is None else value for value in event.after))]


class IgnoresTruncate(Changes):
    def change(self, event):
        return [] if event.operation is Operation.TRUNCATE else [event]


class IgnoresDeletes(Changes):
    def change(self, event):
        return [] if event.operation is Operation.DELETE else [event]


class IgnoresNewColumns(Changes):
    def change(self, event: ChangeEvent):
        old = table(event.schema.table, {c.name: c.type for c in event.schema.columns[:3]}, key=["id"])
        if len(event.schema.names) == 3:
            return [event]
        return [replace(event, schema=old, after=event.after and event.after[:3])]


class MangledText(Changes):
    def change(self, event):
        clean = lambda v: v.strip() if isinstance(v, str) else v  # noqa: E731
        return [replace(event, after=event.after and tuple(map(clean, event.after)))]


class DeletesFirst(ListSink):
    def commit(self, cursor):
        self._written.sort(key=lambda event: event.operation is not Operation.DELETE)
        super().commit(cursor)


class LastOfEachKeyOnly(ListSink):
    def commit(self, cursor):
        last = {(event.topic, event.key): event for event in self._written}
        self._written = list(last.values())
        super().commit(cursor)


class SnapshotRowsYield(ListSink):
    def commit(self, cursor):
        tables = self._store.tables
        self._written = [
            event
            for event in self._written
            if event.operation is not Operation.READ or event.key not in tables.get(event.topic, {})
        ]
        super().commit(cursor)


class RefusesToDeleteTwice(ListSink):
    def write(self, events):
        for event in events:
            if event.operation is Operation.DELETE and event.key[0] > 90:
                raise SinkError("no such row")
        super().write(events)


class TeardownTakesTheData(ListSink):
    def teardown(self):
        self._store.tables.clear()
        return super().teardown()


class TeardownLeavesTheCursor(ListSink):
    def teardown(self):
        return []


class ClosesOnce(ListSink):
    def close(self):
        if not self._generation:
            raise SinkError("it is closed already")
        super().close()


@pytest.mark.parametrize(
    "sink",
    [
        ForgetsCursor,
        OneCursorForAll,
        WritesAtOnce,
        KeepsWhatWasNotCommitted,
        NeverFences,
        FencesButInvitesARetry,
        ReadingTheCursorFences,
        NullForAbsent,
        AbsentForNull,
        IgnoresTruncate,
        IgnoresDeletes,
        IgnoresNewColumns,
        MangledText,
        DeletesFirst,
        LastOfEachKeyOnly,
        SnapshotRowsYield,
        RefusesToDeleteTwice,
        TeardownTakesTheData,
        TeardownLeavesTheCursor,
        ClosesOnce,
    ],
)
def test_a_sink_that_is_wrong_fails_the_suite(sink):
    assert next(sink_failures(sink), None)


def test_the_sink_suite_passes_a_sink_that_is_right():
    assert list(sink_failures(ListSink)) == []


class ResumesAtInsteadOfAfter(ListSource):
    def open(self, state):
        if state is not None and state.position.major > 1:
            state = replace(state, position=Position(0, state.position.major - 1))
        super().open(state)


class ForgetsWhereItWasInATransaction(ListSource):
    def open(self, state):
        super().open(state)
        self._taken = 0


class SkipsOneOnResume(ListSource):
    def open(self, state):
        super().open(state)
        self._item += state is not None


class Wrong(ListSource):
    """Gives batches that are not quite right."""

    def read(self):
        return self.change(super().read())


class StaysWhereItWas(Wrong):
    def change(self, batch):
        self._first = getattr(self, "_first", batch.state)
        return replace(batch, state=replace(batch.state, position=self._first.position))


class NotJson(Wrong):
    def change(self, batch):
        return replace(batch, state=replace(batch.state, schemas={1: ("a",)}))


class FreshObjects(Wrong):
    def change(self, batch):
        return replace(batch, state=replace(batch.state, snapshot=dict(batch.state.snapshot)))


class Unnumbered(Wrong):
    def change(self, batch):
        return replace(batch, events=[replace(event, ordinal=1) for event in batch.events])


class SchemaPerEvent(Wrong):
    def change(self, batch):
        return replace(batch, events=[replace(e, schema=replace(e.schema)) for e in batch.events])


class Doubles(Wrong):
    def change(self, batch):
        return replace(batch, events=[*batch.events, *batch.events[-1:]])


class Reorders(Wrong):
    def change(self, batch):
        return replace(batch, events=batch.events[::-1])


class Blocks(Wrong):
    def change(self, batch):
        if not batch.events:
            time.sleep(2.5)
        return batch


class NeverThere(ListSource):
    def reached(self, state, target):
        return False


class AlwaysThere(ListSource):
    def reached(self, state, target):
        return True


class ReadsTheTableAtEachOpen(ListSource):
    def open(self, state):
        super().open(state)
        if state is not None:
            self._state = replace(state, snapshot={**state.snapshot, "pending": [["public.contract", []]]})


class NoSnapshot(ListSource):
    def open(self, state):
        if state is None:
            state = State(self.current(), {}, {"signal": 0, "pending": []})
        super().open(state)


class StartsTheSnapshotAnew(ListSource):
    def open(self, state):
        if state is not None:
            pending = [[name, []] for name, _ in state.snapshot["pending"]]
            state = replace(state, snapshot={**state.snapshot, "pending": pending})
        super().open(state)


class ServesARequestTwice(ListSource):
    def snapshot(self, signal, tables):
        self._state = replace(self._state, snapshot={**self._state.snapshot, "signal": 0})
        super().snapshot(signal, tables)


class OldRows(ListSource):
    """A snapshot that shows rows as they were when the source was first opened."""

    def _tables(self, position):
        self._first = getattr(self, "_first", position)
        return super()._tables(self._first)


class ClosesBadly(ListSource):
    def close(self):
        if self._state is None:
            raise SinkError("it was never open")


@pytest.mark.parametrize(
    "source",
    [
        ResumesAtInsteadOfAfter,
        ForgetsWhereItWasInATransaction,
        SkipsOneOnResume,
        StaysWhereItWas,
        NotJson,
        FreshObjects,
        Unnumbered,
        SchemaPerEvent,
        Doubles,
        Reorders,
        NeverThere,
        AlwaysThere,
        ReadsTheTableAtEachOpen,
        NoSnapshot,
        StartsTheSnapshotAnew,
        ServesARequestTwice,
        OldRows,
        ClosesBadly,
    ],
)
def test_a_source_that_is_wrong_fails_the_suite(source):
    assert next(source_failures(source), None)


def test_a_source_that_blocks_fails_the_suite():
    assert next(source_failures(Blocks, "test_a_read_that_finds_nothing"), None)


def test_the_source_suite_passes_a_source_that_is_right():
    assert list(source_failures(ListSource)) == []


def test_an_empty_batch_keeps_its_state():
    """What the broken sources above are made of is itself right."""
    source = ListSource("contract", [])
    source.open(None)
    assert source.read() == Batch([], State(Position(0, 0), {"server": "list"}, {"signal": 0, "pending": []}))
