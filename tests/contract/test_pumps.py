"""Source to sink through both pumps, on every log, with a crash at every step: nothing lost or doubled."""

from __future__ import annotations

import contextlib

import pytest

from liberator.appender import Behind
from liberator.apply import Apply, Plan
from liberator.capture import Capture
from liberator.codec.avro import AvroCodec
from liberator.codec.decoder import RecordDecoder
from liberator.codec.json import JsonCodec
from liberator.errors import SinkError
from liberator.event import Operation
from liberator.log.embedded import EmbeddedLog
from liberator.log.memory import MemoryLog
from liberator.reading import Ahead
from liberator.retry import Backoff
from liberator.schema import Kind
from liberator.testing.events import create, delete, rekey, table, transaction, update
from liberator.testing.faults import Crash, Faults
from liberator.testing.memory import Abort, ListSink, ListSource, Store, fold

ORDERS = table("orders", {"id": Kind.INT64, "note": Kind.STRING}, key=["id"])
ITEMS = table("items", {"order": Kind.INT64, "line": Kind.INT32}, key=["order", "line"])


def script():
    """Transactions of one row, of several, of more than a batch; two tables, all kinds of changes."""
    return [
        transaction(10, create(ORDERS, id=1, note="a")),
        transaction(20, create(ORDERS, id=2, note="b"), create(ITEMS, order=2, line=1)),
        transaction(30, *(create(ORDERS, id=n, note="many") for n in range(100, 125))),
        transaction(40, update(ORDERS, id=1, note="c"), delete(ITEMS, order=2, line=1)),
        transaction(50, rekey(ORDERS, {"id": 2}, id=3, note="b")),
        transaction(60, delete(ORDERS, id=110), create(ITEMS, order=3, line=1)),
    ]


def brief(event):
    return (*event.position, event.operation, event.topic, event.key)


class CheckedSource(ListSource):
    """Fails the test when something is confirmed that the log does not hold."""

    log = None

    def confirm(self, position):
        state = self.log.state(self.name)
        assert state is not None and state.position >= position
        super().confirm(position)


class Pipe:
    """A source, a log and a sink; ``faults`` is between them and the pumps."""

    def __init__(self, open_log, events=None, codec=AvroCodec, envelope="change"):
        self.script = script() if events is None else events
        self.store = Store()
        self.faults = Faults()
        self.confirmed = []
        self.open_log = open_log
        self.codec = codec
        self.envelope = envelope
        self.plan = Plan(batch=4)
        self.behind = False

    def capture(self, batch=5):
        with contextlib.ExitStack() as stack:
            appender = None
            if self.behind:
                appender = Behind(self.faulty_log, "test")
                stack.callback(appender.close)
            log = stack.enter_context(self.open_log())
            source = CheckedSource("test", self.script, batch=batch)
            source.log = log
            until = source.current()
            pump = Capture(
                self.faults.wrap(source),
                self.faults.wrap(log),
                self.codec(log.registry, self.envelope),
                appender=appender,
            )
            try:
                assert pump.run(lambda: False, until)
            finally:
                self.confirmed += source.confirmed

    @contextlib.contextmanager
    def faulty_log(self):
        with self.open_log() as log:
            yield self.faults.wrap(log)

    def apply(self):
        with contextlib.ExitStack() as stack:
            ahead = None
            if self.behind:
                ahead = Ahead(self.faulty_reader)
                stack.callback(ahead.close)
            log = stack.enter_context(self.open_log())
            pump = Apply(
                lambda: self.faults.wrap(ListSink("sink", self.store)),
                self.faults.wrap(log),
                RecordDecoder(log.registry),
                self.plan,
                backoff=Backoff(base=0.001),
                ahead=ahead,
            )
            assert pump.run(lambda: False, log.end)

    def faulty_reader(self):
        stack = contextlib.ExitStack()
        log = stack.enter_context(self.open_log())
        return self.plan.reader(self.faults.wrap(log), RecordDecoder(log.registry)), stack.close

    def captured(self):
        with self.open_log() as log:
            records = log.read(log.begin(), None, 1_000_000).records
            return [brief(event) for event in RecordDecoder(log.registry).decode(records)]

    def expected(self):
        return [brief(event) for item in self.script if isinstance(item, list) for event in item]

    def applied(self):
        return [brief(event) for event in self.store.applied]

    def tables(self):
        """The tables as they must be: the script folded."""
        tables = {}
        for item in self.script:
            for event in item if isinstance(item, list) else []:
                fold(tables.setdefault(event.topic, {}), event)
        return tables


@pytest.fixture(params=["memory", "embedded"])
def open_log(request, tmp_path):
    """Opens the test's log, again and again."""
    if request.param == "embedded":
        config = EmbeddedLog.Config(type="embedded", path=tmp_path / "test.log")
        return lambda: EmbeddedLog.from_config(config)
    log = MemoryLog()
    return lambda: contextlib.nullcontext(log)


@pytest.fixture
def pipe(open_log):
    return Pipe(open_log)


def survive(action, certain=True):
    """Run ``action`` as a supervisor would: again after the crash. A crash that is not ``certain`` may
    come in a step that nobody needs any more."""
    crashes = 0
    while True:
        try:
            action()
        except Crash:
            crashes += 1
            continue
        assert crashes == 1 or not certain, "the fault never came: this test tests nothing"
        return


@pytest.mark.parametrize("envelope", ["change", "entity"])
@pytest.mark.parametrize("codec", [AvroCodec, JsonCodec])
@pytest.mark.parametrize("behind", [False, True], ids=["straight", "behind"])
def test_what_the_source_says_the_sink_holds(open_log, codec, envelope, behind):
    pipe = Pipe(open_log, codec=codec, envelope=envelope)
    pipe.behind = behind
    pipe.capture()
    assert pipe.captured() == pipe.expected()
    pipe.apply()
    assert pipe.applied() == pipe.expected()
    assert pipe.store.tables == pipe.tables()


@pytest.mark.parametrize("behind", [False, True], ids=["straight", "behind"])
@pytest.mark.parametrize("skip", [0, 1, 3, 6])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["read", "append", "confirm"])
def test_a_crash_of_capture_neither_loses_nor_doubles(pipe, operation, when, skip, behind):
    pipe.behind = behind
    getattr(pipe.faults, when)(operation, Crash(), skip)
    # Of appends that have ended meanwhile only the last is confirmed.
    survive(pipe.capture, certain=not (behind and operation == "confirm" and skip))
    assert pipe.captured() == pipe.expected()
    assert pipe.confirmed == sorted(pipe.confirmed)


@pytest.mark.parametrize("behind", [False, True], ids=["alone", "ahead"])
@pytest.mark.parametrize("skip", [0, 1, 3])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["read", "open", "write", "commit", "close"])
def test_a_crash_of_apply_neither_loses_nor_doubles(pipe, operation, when, skip, behind):
    pipe.capture()
    pipe.behind = behind
    if operation in ("open", "close"):
        for again in range(skip):
            pipe.faults.before("write", SinkError("lost the connection", retryable=True), again and 2)
    getattr(pipe.faults, when)(operation, Crash(), skip)
    survive(pipe.apply, certain=not (behind and operation == "read"))
    assert pipe.applied() == pipe.expected()
    assert pipe.store.tables == pipe.tables()


@pytest.mark.parametrize("behind", [False, True], ids=["alone", "ahead"])
@pytest.mark.parametrize("skip", [0, 1, 3])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["open", "write", "commit"])
def test_a_retryable_error_of_the_sink_is_survived_without_a_restart(pipe, operation, when, skip, behind):
    pipe.capture()
    pipe.behind = behind
    if operation == "open":
        for _ in range(skip):
            pipe.faults.before("write", SinkError("deadlock", retryable=True))
    getattr(pipe.faults, when)(operation, SinkError("lost the connection", retryable=True), skip)
    pipe.apply()
    assert not pipe.faults.pending()
    assert pipe.applied() == pipe.expected()
    assert pipe.store.tables == pipe.tables()


def test_crashes_again_and_again_are_survived(open_log):
    events = []
    for item in script():
        events += [Abort(), item]
    pipe = Pipe(open_log, events)
    for _ in range(3):
        pipe.faults.after("append", Crash(), skip=1)
        pipe.faults.before("confirm", Crash(), skip=1)
    finished = False
    while not finished:
        try:
            pipe.capture(batch=2)
            finished = True
        except (Crash, Exception) as exc:
            if not isinstance(exc, Crash):
                assert "the script says to fail here" in str(exc)
    assert pipe.captured() == pipe.expected()


def test_a_pipe_that_runs_while_the_script_grows_stays_in_order(pipe):
    whole = pipe.script
    pipe.script = []
    for item in whole:
        pipe.script.append(item)
        pipe.capture()
        pipe.apply()
        assert pipe.applied() == pipe.expected()


def test_source_transactions_become_visible_whole(open_log):
    """A sink that looks at every commit never sees a part of a transaction."""
    seen = []

    class Looking(ListSink):
        def commit(self, cursor):
            super().commit(cursor)
            if self._store.applied:
                seen.append(brief(self._store.applied[-1])[:3])

    pipe = Pipe(open_log)
    pipe.capture(batch=3)
    with open_log() as log:
        make = lambda: Looking("sink", pipe.store)  # noqa: E731
        Apply(make, log, RecordDecoder(log.registry), Plan(batch=2)).run(lambda: False, log.end)
    ends = {brief(item[-1])[:3] for item in pipe.script}
    assert seen and set(seen) <= ends
    assert pipe.applied() == pipe.expected()


def test_a_key_change_reaches_the_sink_as_a_delete_and_a_create(pipe):
    pipe.capture()
    pipe.apply()
    moved = [e for e in pipe.store.applied if e.moved is not None]
    assert [(e.operation, e.key, e.moved) for e in moved] == [
        (Operation.DELETE, (2,), (3,)),
        (Operation.CREATE, (3,), (2,)),
    ]


@pytest.mark.parametrize("behind", [False, True], ids=["straight", "behind"])
def test_a_partitioned_log_carries_every_key_in_its_order(behind):
    log = MemoryLog(partitions=2)
    pipe = Pipe(lambda: contextlib.nullcontext(log))
    pipe.plan = Plan(apply="batch", batch=4)
    pipe.behind = behind
    pipe.faults.after("append", Crash(), skip=2)
    pipe.faults.after("commit", Crash(), skip=2)
    survive(pipe.capture)
    survive(pipe.apply)
    assert sorted(pipe.applied(), key=str) == sorted(pipe.expected(), key=str)
    assert pipe.store.tables == pipe.tables()
