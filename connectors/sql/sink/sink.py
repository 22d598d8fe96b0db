"""The SQL sink, written once: transactions, segments, the cursor. A database adds its dialect.

``write`` cuts events into segments in which no stream changes its schema, makes the target fit at each
cut, and hands the segments to the mode. ``commit`` stores the cursor in the same transaction. What a mode
does with events is in :mod:`.upsert`, :mod:`~connectors.sql.sink.append`,
:mod:`~connectors.sql.sink.history`; what a database can do, in its dialect.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from connectors.sql.dialect import Dialect
from connectors.sql.sink.append import Append
from connectors.sql.sink.bookkeeping import Bookkeeping
from connectors.sql.sink.history import History
from connectors.sql.sink.mode import Mode, Segment, Target
from connectors.sql.sink.options import SqlSinkOptions
from connectors.sql.sink.planner import Planner
from connectors.sql.sink.upsert import Upsert
from liberator.errors import SinkError
from liberator.event import ChangeEvent, Operation
from liberator.log import Cursor
from liberator.preflight import Finding
from liberator.schema import TableSchema
from liberator.sink import Sink
from liberator.source import Managed

MODES: dict[str, type[Mode]] = {"upsert": Upsert, "append": Append, "history": History}
T = TypeVar("T")
#: How often another sink can be quicker: where DDL commits, once for each table of the bookkeeping.
_LOOKS = 2


class SqlSink(Sink):
    """Writes streams into the tables of one database. Exactly once: the cursor is in the same
    transaction as the rows."""

    Config = SqlSinkOptions

    def __init__(self, name: str, config: SqlSinkOptions):
        super().__init__(name, config)
        self._options = config
        self._dialect: Dialect | None = None
        self._bookkeeping: Bookkeeping | None = None
        self._planner: Planner | None = None
        self._mode: Mode | None = None
        self._schemas: dict[str, TableSchema] = {}
        self._writing = False
        self._dirty = False  # rows were written in this transaction
        self._again = False  # DDL had to throw them away
        self._held: list[ChangeEvent] = []

    @abstractmethod
    def dialect(self) -> Dialect:
        """A new, unconnected dialect for the configured database."""

    def open(self) -> Cursor | None:
        """Connect, create our bookkeeping, fence out older processes of this name."""
        self.close()
        try:
            return self._open()
        except SinkError:
            self.close()
            raise

    def _open(self) -> Cursor | None:
        dialect = self._dialect = self.dialect()
        dialect.connect()
        self._bookkeeping = Bookkeeping(dialect, self.name)
        self._mode = MODES[self._options.mode](dialect, self._options)
        self._planner = Planner(dialect, self._options, self._mode.extra, self._altering)
        _make(dialect, self._bookkeeping)
        cursor = self._bookkeeping.fence()
        dialect.execute("commit")
        return cursor

    def write(self, events: Sequence[ChangeEvent]) -> None:
        """Apply events, in order."""
        self._begin()
        if self._held:
            events, self._held = [*self._held, *events], []
        if events and events[-1].moved is not None and events[-1].operation is Operation.DELETE:
            # The first half of a key change: the second half has to find the row still there.
            events, self._held = events[:-1], [events[-1]]
        self._apply(events)

    def commit(self, cursor: Cursor) -> None:
        """Make rows and cursor durable at once."""
        assert self._dialect is not None and self._bookkeeping is not None
        self._begin()
        held, self._held = self._held, []
        self._apply(held)
        self._bookkeeping.store(cursor)
        self._dialect.execute("commit")
        self._writing = self._dirty = self._again = False

    def close(self) -> None:
        """Roll back what was not committed, disconnect."""
        dialect, self._dialect = self._dialect, None
        if dialect is not None:
            dialect.close()
        self._mode = self._planner = self._bookkeeping = None
        self._schemas.clear()
        self._held = []
        self._writing = self._dirty = self._again = False

    def cursor(self) -> Cursor | None:
        """The stored cursor; fences nobody."""
        return self._apart(lambda dialect, books: books.cursor())

    def check(self) -> list[Finding]:
        """Whether the target can be reached and written."""
        return self.dialect().check()

    def objects(self) -> list[Managed]:
        """The bookkeeping tables."""
        return self._apart(lambda dialect, books: books.objects())

    def setup(self) -> list[Managed]:
        """Create the bookkeeping tables."""
        return self._apart(_make, reading=False)

    def teardown(self) -> list[Managed]:
        """Forget this sink's cursor and tables; drop the bookkeeping when no sink uses it any more."""
        return self._apart(_forget, reading=False)

    def _apart(self, action: Callable[[Dialect, Bookkeeping], T], reading: bool = True) -> T:
        """Do something in a transaction on a connection of its own."""
        dialect = self.dialect()
        try:
            dialect.connect(reading)
            if reading:
                dialect.execute("begin")
            result = action(dialect, Bookkeeping(dialect, self.name))
            dialect.execute("commit")
            return result
        finally:
            dialect.close()

    def _begin(self) -> None:
        if not self._writing:
            assert self._dialect is not None, "write before open"
            self._dialect.begin()
            self._writing = True

    def _apply(self, events: Sequence[ChangeEvent]) -> None:
        """Cut events into segments where a stream changes its schema, and apply them."""
        assert self._mode is not None and self._dialect is not None
        if not self._dialect.transactional_ddl and not self._dirty:
            self._foresee(events)
        segment = Segment()
        topic: str | None = None
        schema: TableSchema | None = None
        append = segment.events.append
        for event in events:
            # Events of one table mostly come one after another: look only where something changes.
            if event.schema is not schema or event.topic != topic:
                topic, schema = event.topic, event.schema
                if self._is_news(topic, schema):
                    if topic in segment.by_topic:
                        self._write(segment)
                        segment = Segment()
                        append = segment.events.append
                    self._meet(topic, schema)
                append_to_topic = segment.by_topic[topic].append
            append(event)
            append_to_topic(event)
        if segment.events:
            self._write(segment)

    def _foresee(self, events: Sequence[ChangeEvent]) -> None:
        """Where DDL commits: have all that these events need made before the first of their rows is written.
        What a later version has more than an earlier one does not hurt the earlier one."""
        topic: str | None = None
        schema: TableSchema | None = None
        for event in events:
            if event.schema is not schema or event.topic != topic:
                topic, schema = event.topic, event.schema
                if self._is_news(topic, schema):
                    self._meet(topic, schema)

    def _write(self, segment: Segment) -> None:
        assert self._mode is not None
        self._dirty = True
        self._mode.apply(segment)

    def _is_news(self, topic: str, schema: TableSchema) -> bool:
        """Whether this version of a stream is another one than was written last."""
        known = self._schemas.get(topic)
        if known is not schema:
            self._schemas[topic] = schema
        return known is None or (known is not schema and known.fingerprint != schema.fingerprint)

    def _meet(self, topic: str, schema: TableSchema) -> None:
        """A stream that is new here, or whose schema is: make the target fit."""
        assert self._planner and self._mode and self._bookkeeping and self._dialect
        name = self._planner.name(topic, schema)
        self._bookkeeping.claim(name, topic)
        table = self._planner.plan(topic, schema)
        if self._again:
            self._dialect.execute("commit")
            raise SinkError(
                f"table {name} was altered for its stream; the batch begins again", retryable=True
            )
        target = Target.of(table, self._dialect.writer(table, self._options.allow_lossy))
        self._mode.suits(target)
        self._mode.targets[topic] = target

    def _altering(self) -> None:
        """DDL is about to run. Where it commits, it must not commit rows without their cursor."""
        assert self._dialect is not None
        if self._dirty and not self._dialect.transactional_ddl:
            self._dialect.execute("rollback")
            self._dialect.begin()
            self._dirty, self._again = False, True


def _make(dialect: Dialect, books: Bookkeeping) -> list[Managed]:
    """Begin, and create the bookkeeping. Other sinks may be making the very same tables at this moment: where
    one was quicker, look again."""
    for _ in range(_LOOKS):
        dialect.begin()
        try:
            return books.create()
        except SinkError:
            dialect.execute("rollback")
    dialect.begin()
    return books.create()


def _forget(dialect: Dialect, books: Bookkeeping) -> list[Managed]:
    dialect.begin()
    return books.drop()
