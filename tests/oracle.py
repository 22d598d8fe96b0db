"""What a Postgres server itself says was committed, and in which order: decoded by ``test_decoding``.

The plugin comes with the server and shares nothing with pgoutput's format or with our code. A slot made
before the test begins keeps every change; :meth:`Oracle.changes` reads them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import psycopg

from liberator.event import ChangeEvent, Operation

LINE = re.compile(r"table (?P<table>\S+): (?P<kind>INSERT|UPDATE|DELETE|TRUNCATE): (?P<rest>.*)", re.DOTALL)
MOVED = re.compile(r"old-key: id\[bigint\]:(?P<old>-?\d+) new-tuple: (?P<rest>.*)", re.DOTALL)
NUMBERS = re.compile(r"id\[bigint\]:(?P<id>-?\d+)(?: version\[integer\]:(?P<version>-?\d+))?")
KINDS = {"INSERT": Operation.CREATE, "UPDATE": Operation.UPDATE, "DELETE": Operation.DELETE}


class Change(NamedTuple):
    """One change in its shortest form. Every table of these tests begins with ``id`` and ``version``."""

    table: str
    operation: Operation
    id: int | None
    version: int | None


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed transaction: its id, and its changes in order."""

    xid: int
    changes: tuple[Change, ...]


class Oracle:
    """A ``test_decoding`` slot at one database."""

    def __init__(self, url: str, slot: str):
        self._url, self._slot = url, slot
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", [slot])

    def transactions(self) -> list[Committed]:
        """Everything that was committed since the slot was made, in commit order."""
        with psycopg.connect(self._url) as conn, conn.cursor("oracle") as cursor:
            cursor.itersize = 20_000
            cursor.execute(
                "select data from pg_logical_slot_peek_changes(%s, null, null, 'skip-empty-xacts', '1')",
                [self._slot],
            )
            return list(_transactions(line for (line,) in cursor))

    def drop(self) -> None:
        """Let go of the WAL."""
        with psycopg.connect(self._url, autocommit=True) as conn:
            conn.execute("select pg_drop_replication_slot(%s)", [self._slot])


def _transactions(lines: Iterable[str]) -> Iterator[Committed]:
    xid, changes = 0, []
    for line in lines:
        if line.startswith("BEGIN "):
            xid, changes = int(line.removeprefix("BEGIN ")), []
        elif line.startswith("COMMIT "):
            if changes:  # a message alone, such as a heartbeat, changes nothing
                yield Committed(xid, tuple(changes))
        elif line.startswith("table "):
            changes.extend(_changes(line))


def _changes(line: str) -> Iterator[Change]:
    found = LINE.match(line)
    assert found, line[:200]
    table, kind, rest = found["table"], found["kind"], found["rest"]
    if kind == "TRUNCATE":
        yield Change(table.rstrip(","), Operation.TRUNCATE, None, None)
    elif kind == "UPDATE" and (moved := MOVED.match(rest)):
        # What the server calls an update of the key is, for whoever keeps rows by key, two changes.
        yield Change(table, Operation.DELETE, int(moved["old"]), None)
        yield Change(table, Operation.CREATE, *_numbers(moved["rest"]))
    else:
        id_, version = _numbers(rest)
        yield Change(table, KINDS[kind], id_, None if kind == "DELETE" else version)


def _numbers(tuple_text: str) -> tuple[int, int | None]:
    found = NUMBERS.match(tuple_text)
    assert found, tuple_text[:200]
    return int(found["id"]), None if found["version"] is None else int(found["version"])


def change_of(event: ChangeEvent) -> Change:
    """An event of ours in the oracle's words."""
    table = f"{event.schema.schema}.{event.schema.table}"
    if event.operation is Operation.TRUNCATE:
        return Change(table, event.operation, None, None)
    if event.operation is Operation.DELETE:
        assert event.before is not None
        return Change(table, event.operation, event.before[0], None)
    assert event.after is not None
    return Change(table, event.operation, event.after[0], event.after[1])


def assert_exactly_once_in_order(events: list[ChangeEvent], committed: list[Committed]) -> int:
    """The streamed events are what was committed: each change once, transactions whole and in commit
    order, from some transaction on (before it, the snapshot has seen everything). Returns how many
    transactions that are."""
    streamed: list[tuple[str, list[Change]]] = []
    position = None
    for event in events:
        if event.operation is Operation.READ:
            continue
        if event.transaction.position != position:
            assert position is None or event.transaction.position > position, "transactions out of order"
            position = event.transaction.position
            streamed.append((event.transaction.id, []))
        changes = streamed[-1][1]
        changes.append(change_of(event))
        assert event.ordinal == len(changes), f"ordinal {event.ordinal} for change {len(changes)}"
    if not streamed:
        return 0
    xids = [committed_.xid for committed_ in committed]
    ours = [int(xid) for xid, _ in streamed]
    assert ours[0] in xids, f"transaction {ours[0]} was never committed"
    expected = committed[xids.index(ours[0]) :]
    lost, never = set(xids[xids.index(ours[0]) :]) - set(ours), set(ours) - set(xids)
    changes_lost = {
        transaction.xid: transaction.changes[:9] for transaction in expected if transaction.xid in lost
    }
    assert not lost and not never, f"lost: {changes_lost}; never committed: {sorted(never)}"
    assert ours == [transaction.xid for transaction in expected], "out of commit order, or twice"
    for (_, changes), theirs in zip(streamed, expected, strict=True):
        assert tuple(changes) == theirs.changes, f"transaction {theirs.xid} differs"
    return len(streamed)
