"""Change messages to change events: the hot loop of the WAL source.

Walks over the frames of the replication stream, keeps track of the transaction they belong to, and makes
an event of each row, or one run of many inserts. What a frame's bytes mean is :mod:`.pgoutput`'s and
:mod:`.rows`' business, where they come from :mod:`.replication`'s, and what becomes of the events the
source's.

A transaction's rows are counted, so that a position inside it is exact: after a crash the server sends the
whole transaction again, and the rows already in the log are passed over.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from connectors.postgres.connection import ORIGIN
from connectors.postgres.types.values import UnknownLabel
from connectors.postgres.wal import pgoutput
from connectors.postgres.wal.pgoutput import Relation
from connectors.postgres.wal.replication import POSTGRES_EPOCH
from connectors.postgres.wal.rows import RelationDecoder
from liberator.errors import DecodeError
from liberator.event import (
    ABSENT,
    ChangeEvent,
    Events,
    Operation,
    Phase,
    Position,
    Row,
    Run,
    Transaction,
    whole_key,
)
from liberator.schema import Column, Kind, LogicalType, TableSchema

#: Notes an event and says whether it is to be emitted; called with the transaction's id.
Hook = Callable[[int, ChangeEvent], bool]

#: The prefix of our own logical messages.
HEARTBEAT: Final = "liberator"
#: How many of the newest transactions a snapshot must be able to see (see :mod:`liberator.snapshot`). More
#: than a server has connections that could wait between commit and visibility.
REMEMBERED: Final = 65_536
_NEVER: Final = 1 << 62
#: Makes a named tuple without its Python-level constructor, which costs three times as much.
_new = tuple.__new__
_BEGIN: Final = struct.Struct(">QqI")
_COMMIT: Final = struct.Struct(">BQQq")


class Captured:
    """One relation of the stream: its decoder, and what its events have in common.

    ``hook`` is None but while a snapshot has an interest in the table's changes.
    """

    __slots__ = ("count", "decoder", "hook", "phase", "relation", "schema", "topic", "transaction")

    def __init__(self, relation: Relation, schema: TableSchema, topic: str):
        self.relation = relation
        self.schema = schema
        self.topic = topic
        self.decoder = RelationDecoder(schema, [c.key for c in relation.columns], relation.oid)
        self.phase = Phase.STREAM
        self.hook: Hook | None = None
        self.transaction: Transaction | None = None
        self.count = 0

    def recompiled(self, schema: TableSchema) -> Captured:
        """The same relation under another version of its schema."""
        other = Captured(self.relation, schema, self.topic)
        other.phase, other.hook = self.phase, self.hook
        other.transaction, other.count = self.transaction, self.count
        return other


class ChangeDecoder:
    """Turns frames into events. ``position`` is where the stream stands; ``open`` whether that is
    inside a transaction; ``reply`` whether the server wants feedback at once."""

    def __init__(
        self,
        resume: Position,
        captured: Callable[[Relation], Captured],
        relabel: Callable[[Captured, UnknownLabel], Captured],
        moved: Callable[[Captured, Row], None],
    ):
        self.position = resume
        self.open = False
        self.reply = False
        #: The newest moment by the server's clock up to which the stream was read, µs since 1970.
        self.timestamp = 0
        #: How far the server has read its WAL, as of its last word.
        self.heard = 0
        #: Ids of the newest transactions whose events were emitted.
        self.emitted: deque[int] = deque(maxlen=REMEMBERED)
        #: Prefixes of logical messages to make events of: prefix → its relation.
        self.messages: dict[str, Captured] = {}
        #: Transactions of these origins are passed over.
        self.skip_origins: frozenset[bytes] = frozenset()
        self.relations: dict[bytes, Captured] = {}
        #: The same under the first five bytes of their insert messages.
        self.inserts: dict[bytes, Captured] = {}
        self._resume = resume
        self._captured = captured
        self._relabel = relabel
        self._moved = moved
        self._transaction = Transaction("", resume, 0)
        self._xid = 0
        self._ordinal = 0
        self._skip = 0
        self._first = 0
        self._passing = False

    def decode(self, block: bytes, pos: int, events: Events, limit: int) -> int:  # noqa: C901, PLR0912, PLR0915
        """Append the events of ``block`` from ``pos`` on; return the place behind the last whole frame.

        Stops early behind a commit once there are ``limit`` events. One long function over local
        variables, because every call and every attribute would be paid for by every row.
        """
        size = len(block)
        relations, inserts = self.relations, self.inserts
        append, length, unpack_begin, unpack_commit = (
            events.tail.append, int.from_bytes, _BEGIN.unpack_from, _COMMIT.unpack_from,
        )  # fmt: skip
        transaction, ordinal, skip, xid = self._transaction, self._ordinal, self._skip, self._xid
        create, update, delete = Operation.CREATE, Operation.UPDATE, Operation.DELETE
        settled, begun, passing = self._resume.major, transaction.position.major, self._passing
        try:
            while pos + 5 <= size:
                after = pos + 1 + length(block[pos + 1 : pos + 5], "big")
                if after > size:
                    break
                if block[pos] != 100:
                    raise NotData(block[pos : pos + 1], block[pos + 5 : after], after)
                if block[pos + 5] == 119:
                    head = block[pos + 30 : pos + 35]
                    rel = inserts.get(head)
                    if rel is not None and not passing:
                        if rel.hook is None and ordinal >= skip and block[after + 30 : after + 35] == head:
                            rows: list[Row] = []
                            after = rel.decoder.inserts(block, pos, rows)
                            if rows:
                                if rel.transaction is not transaction:
                                    rel.transaction = transaction
                                    rel.count = 0
                                run = Run(
                                    create, rel.topic, rel.schema, rows,
                                    transaction, ordinal + 1, rel.count + 1, rel.phase,
                                )  # fmt: skip
                                events.extend(run)
                                append = events.tail.append
                                ordinal += len(rows)
                                rel.count += len(rows)
                                pos = after
                                continue
                            after = pos + 1 + length(block[pos + 1 : pos + 5], "big")
                        row = rel.decoder.insert(block[pos + 30 : after], 0)
                        ordinal += 1
                        if rel.transaction is not transaction:
                            rel.transaction = transaction
                            rel.count = 1
                        else:
                            rel.count += 1
                        if ordinal > skip:
                            event = ChangeEvent(
                                create, rel.topic, rel.schema, None, row,
                                transaction, ordinal, rel.count, rel.phase,
                            )  # fmt: skip
                            if rel.hook is None or rel.hook(xid, event):
                                append(event)
                        pos = after
                        continue
                    tag = block[pos + 30]
                    if tag == 66:
                        if after - pos != 51:
                            raise DecodeError("a begin message of the wrong length")
                        begun, timestamp, xid = unpack_begin(block, pos + 31)
                        skip = 0 if begun > settled else self._taken(begun)
                        transaction, passing = self._begin(begun, timestamp, xid), False
                        self._first = len(events)
                        ordinal = 0
                    elif tag == 67:
                        if after - pos != 56:
                            raise DecodeError("a commit message of the wrong length")
                        _, lsn, end, timestamp = unpack_commit(block, pos + 31)
                        if lsn != begun or not self.open:
                            raise DecodeError("a commit message that does not belong to its begin message")
                        self.open = False
                        self.timestamp = timestamp + POSTGRES_EPOCH
                        self._advance(end)
                        if ordinal > skip or passing:
                            self.emitted.append(xid)
                        if len(events) >= limit:
                            pos = after
                            break
                    elif passing and tag in (73, 85, 68):
                        self._pass(block[pos + 30 : after])
                    elif tag in (85, 68):
                        rel = relations[block[pos + 31 : pos + 35]]
                        message = block[pos + 30 : after]
                        if rel.transaction is not transaction:
                            rel.transaction = transaction
                            rel.count = 0
                        before: Row | None
                        now: Row | None
                        if tag == 85:
                            before, row, _ = rel.decoder.update(message, 0)
                            operation, now = update, row
                            if before is not None and (key := rel.schema.key):
                                row = whole_key(key, before, row)
                                if any(before[i] != row[i] for i in key):
                                    self._split(events.tail, rel, (before, row), ordinal, skip)
                                    ordinal += 2
                                    pos = after
                                    continue
                                now = row
                        else:
                            before, _ = rel.decoder.delete(message, 0)
                            operation, now = delete, None
                        ordinal += 1
                        rel.count += 1
                        if ordinal > skip:
                            event = ChangeEvent(
                                operation, rel.topic, rel.schema, before, now,
                                transaction, ordinal, rel.count, rel.phase,
                            )  # fmt: skip
                            if rel.hook is None or rel.hook(xid, event):
                                append(event)
                    else:
                        self._ordinal, self._skip, self._xid = ordinal, skip, xid
                        self._rare(block[pos + 30 : after], events.tail)
                        ordinal, transaction, skip = self._ordinal, self._transaction, self._skip
                        passing = self._passing
                elif block[pos + 5] == 107:
                    self._keepalive(block[pos + 6 : after])
                else:
                    raise DecodeError(f"unknown replication message {block[pos + 5 : pos + 6]!r}")
                pos = after
        except UnknownLabel as unknown:
            # A label younger than our catalog: learn it, and read this very message again.
            self._ordinal, self._skip, self._xid = ordinal, skip, xid
            self.learn(self._relabel(relations[block[pos + 31 : pos + 35]], unknown))
            return self.decode(block, pos, events, limit)
        except KeyError as exc:
            raise DecodeError("a change of a relation that the stream has not described") from exc
        except IndexError as exc:
            raise DecodeError("a replication message that ends too early") from exc
        finally:
            self._ordinal, self._skip, self._xid = ordinal, skip, xid
        if self.open and ordinal > skip:
            self.position = Position(self.position.epoch, begun, ordinal)
        return pos

    def resume(self, position: Position) -> None:
        """A new stream begins that is to go on strictly behind ``position``."""
        self.position = self._resume = position
        self.open = False

    def learn(self, captured: Captured) -> None:
        """From now on the changes of this relation are decoded so."""
        oid = captured.relation.oid.to_bytes(4, "big")
        self.relations[oid] = self.inserts[b"I" + oid] = captured

    @property
    def xid(self) -> int:
        """The id of the transaction that was begun last."""
        return self._xid

    def pieces(self, events: Events) -> int:
        """How many of ``events`` belong to the transaction that is still open."""
        return len(events) - self._first if self.open else 0

    def _taken(self, lsn: int) -> int:
        """How many rows of the transaction that commits at ``lsn`` the log has already."""
        _, major, minor = self._resume
        if lsn < major:
            return _NEVER
        return minor if lsn == major else 0

    def _begin(self, lsn: int, timestamp: int, xid: int, told: int = 0) -> Transaction:
        """A transaction that commits at ``lsn``; ``told`` is what its events call their LSN, if not that."""
        position = _new(Position, (self.position.epoch, lsn, 0))
        self._transaction = transaction = Transaction(
            str(xid), position, timestamp + POSTGRES_EPOCH, (xid, told or lsn)
        )
        self._xid = xid
        self._passing = False
        self.open = True
        return transaction

    def _keepalive(self, body: bytes) -> None:
        if len(body) != 17:
            raise DecodeError("a keepalive message of the wrong length")
        end, clock = struct.unpack_from(">Qq", body)
        self.heard = max(self.heard, end)
        self.reply = self.reply or bool(body[16])
        if not self.open:
            # Nothing is in flight: whatever lies before ``end`` was not for us.
            self.timestamp = max(self.timestamp, clock + POSTGRES_EPOCH)
            self._advance(end)

    def _advance(self, major: int, minor: int = 0) -> None:
        """Move the position, never back: what is sent again may lie before where we resumed."""
        position = self.position
        if major > position.major or (major == position.major and minor > position.minor):
            self.position = _new(Position, (position.epoch, major, minor))

    def _split(
        self,
        events: list[ChangeEvent],
        rel: Captured,
        rows: tuple[Row, Row],
        ordinal: int,
        skip: int,
    ) -> None:
        """A key change: the old key's delete, then the new key's create, each naming the other."""
        before, row = rows
        key = rel.schema.key
        old, new = tuple(before[i] for i in key), tuple(row[i] for i in key)
        pair = (
            (Operation.DELETE, before, None, new),
            (Operation.CREATE, None, row, old),
        )
        for number, (operation, was, now, other) in enumerate(pair, 1):
            rel.count += 1
            if ordinal + number > skip:
                event = ChangeEvent(
                    operation, rel.topic, rel.schema, was, now,
                    self._transaction, ordinal + number, rel.count, rel.phase, other,
                )  # fmt: skip
                if rel.hook is None or rel.hook(self._xid, event):
                    events.append(event)
        if rel.phase is Phase.AHEAD and ABSENT in row:
            self._moved(rel, row)

    def _pass(self, message: bytes) -> None:
        """A row change that is not told, for its transaction's origin. A snapshot that is under way must know
        of it: the row as it was before must not be told either."""
        rel = self.relations[message[1:5]]
        if rel.hook is None:
            return
        before: Row | None = None
        row: Row | None = None
        kind = message[:1]
        if kind == b"I":
            row = rel.decoder.insert(message, 0)
        elif kind == b"U":
            before, row, _ = rel.decoder.update(message, 0)
        else:
            before, _ = rel.decoder.delete(message, 0)
        if before is not None and row is not None:
            row = whole_key(rel.schema.key, before, row)
            if any(before[i] != row[i] for i in rel.schema.key):
                self._split([], rel, (before, row), 0, 0)
                return
        operation = Operation.DELETE if row is None else Operation.UPDATE
        rel.hook(self._xid, ChangeEvent(operation, rel.topic, rel.schema, before, row, self._transaction))

    def _rare(self, message: bytes, events: list[ChangeEvent]) -> None:
        """Everything that is not a row, a begin, a commit: relations, truncates, logical messages."""
        parsed = pgoutput.parse(message)
        match parsed:
            case pgoutput.Relation():
                self.learn(self._captured(parsed))
            case pgoutput.Truncate():
                for oid in parsed.relations:
                    self._truncate(self.relations[oid.to_bytes(4, "big")], events)
            case pgoutput.Message():
                self._message(parsed, events)
            case pgoutput.Type() | pgoutput.Origin():
                pass
            case _:
                raise DecodeError(f"unexpected message {type(parsed).__name__.lower()} in the stream")

    def _truncate(self, rel: Captured, events: list[ChangeEvent]) -> None:
        if not self._passing:
            self._count(rel)
        if self._ordinal > self._skip or self._passing:
            event = ChangeEvent(
                Operation.TRUNCATE, rel.topic, rel.schema, None, None,
                self._transaction, self._ordinal, rel.count, rel.phase,
            )  # fmt: skip
            if (rel.hook is None or rel.hook(self._xid, event)) and not self._passing:
                events.append(event)

    def _message(self, message: pgoutput.Message, events: list[ChangeEvent]) -> None:
        rel = self.messages.get(message.prefix)
        if message.transactional:
            if message.prefix == ORIGIN and message.content in self.skip_origins:
                self._passing = True
            if self._passing:
                return
        # It stands alone, outside any transaction. Its LSN is its end, where the commit of the next
        # transaction may begin: the place before it is inside its own record, and so nobody else's.
        place = message.lsn - 1
        if not message.transactional:
            if rel is None:
                return
            self._skip = self._taken(place)
            self._begin(place, self.timestamp - POSTGRES_EPOCH, 0, message.lsn)
            self._first = len(events)
            self._ordinal = 0
        if rel is not None:
            self._count(rel)
            if self._ordinal > self._skip:
                row = (message.prefix, message.content, message.transactional)
                event = ChangeEvent(
                    Operation.CREATE, rel.topic, rel.schema, None, row,
                    self._transaction, self._ordinal, rel.count,
                )  # fmt: skip
                events.append(event)
        if not message.transactional:
            self.open = False
            self._advance(place, 1)

    def _count(self, rel: Captured) -> None:
        self._ordinal += 1
        if rel.transaction is not self._transaction:
            rel.transaction = self._transaction
            rel.count = 0
        rel.count += 1


class NotData(Exception):
    """A frame that is not CopyData; the source hands it to the connection."""

    def __init__(self, kind: bytes, body: bytes, after: int):
        super().__init__()
        self.kind, self.body, self.after = kind, body, after


def message_schema(database: str) -> TableSchema:
    """The schema of a captured logical message."""
    return TableSchema(
        "postgresql",
        database,
        "pg_logical",
        "message",
        (
            Column("prefix", LogicalType(Kind.STRING), nullable=False, native="text"),
            Column("content", LogicalType(Kind.BYTES), nullable=False, native="bytea"),
            Column("transactional", LogicalType(Kind.BOOL), nullable=False, native="boolean"),
        ),
    )
