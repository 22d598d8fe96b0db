"""What is in the binlog beside rows: beginnings and ends of transactions, statements, savepoints, XA.

:class:`Controls` is the part of :class:`.changes.ChangeDecoder` that is not hot: it tells
:mod:`.transactions` where the stream stands and :mod:`.tables` what DDL does, and decides which blocks are
walked next.

Rows of an XA transaction are written to the binlog when it is prepared, and count when it is committed, at
another place and perhaps never. They are passed over at the first place; at the second they are read from the
first one again (``replay``), so that memory holds no transaction that waits, but for the last few small ones:
most are committed at once, and to ask the server for each costs a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from connectors.mysql.binlog.tables import Captured, Tables
from connectors.mysql.binlog.transactions import Transactions
from connectors.mysql.wire import kinds
from connectors.mysql.wire.blocks import Block, Event
from connectors.mysql.wire.compressed import uncompress_query
from connectors.mysql.wire.events import (
    XaPrepare,
    parse_heartbeat,
    parse_incident,
    parse_rotate,
    parse_xa_prepare,
    refuse,
)
from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.gtid_events import (
    PREPARED_XA,
    ROLLBACK_ALTER,
    STANDALONE,
    START_ALTER,
    parse_gtid,
    parse_maria_gtid,
    parse_previous_gtids,
    parse_tagged_gtid,
)
from connectors.mysql.wire.payload import payload_blocks
from connectors.mysql.wire.query import Query, parse_load_query, parse_query
from connectors.mysql.wire.statements import Act, Statement, understand
from liberator.errors import DecodeError, SourceError
from liberator.event import ChangeEvent, Events, Operation, Row, Transaction

#: Gives the blocks of a prepared XA transaction, from where it begins.
Replay = Callable[[str], Iterator[Block]]

_SHAPES: Final = frozenset(
    (
        Act.CREATE_TABLE, Act.CREATE_TABLE_AS, Act.ALTER_TABLE, Act.DROP_TABLE, Act.RENAME_TABLE,
        Act.DROP_DATABASE,
    )
)  # fmt: skip
#: What says nothing that we need to know: parts of statements are judged by the statement itself.
_PASSED: Final = (
    kinds.SILENT
    | (kinds.STATEMENT_PARTS - {kinds.EXECUTE_LOAD_QUERY})
    | {kinds.MARIA_GTID_LIST, kinds.ROWS_QUERY, kinds.ANNOTATE_ROWS}
)


#: Bytes of prepared transactions that are kept.
_HELD: Final = 8_000_000


class Frame:
    """Blocks being walked: those of the stream, of a compressed transaction, of a prepared one."""

    __slots__ = ("block", "blocks", "ends", "index", "replay")

    def __init__(self, blocks: Iterator[Block], *, replay: bool = False, ends: bool = False):
        self.blocks = blocks
        self.block: Block | None = next(blocks, None)
        self.index = 0
        #: Only table maps and rows count: the rest was walked when the transaction was prepared.
        self.replay = replay
        #: The transaction that is read again ends with these blocks.
        self.ends = ends


class Controls:
    """What a decoder knows and does beside rows. ``place`` says where the stream stands, ``tables`` what its
    tables look like."""

    def __init__(self, place: Transactions, tables: Tables, replay: Replay):
        self.place = place
        self.tables = tables
        self._replay = replay
        self._stack: list[Frame] = []
        self._maps: dict[bytes, tuple[bytes, Captured | None]] = {}
        self._known: dict[bytes, Any] = {}
        self._first = 0
        #: Rows of an XA transaction are passed over until it is committed.
        self._withheld = False
        self._touched = False
        #: Savepoints of the transaction: name, events so far, ordinal.
        self._savepoints: list[tuple[str, int, int]] = []
        #: The block and the place in it behind the last GTID.
        self._group: tuple[Block | None, int] = (None, 0)
        #: Prepared transactions, each a part of one block, by xid.
        self._held: dict[str, Block] = {}
        #: The statement takes effect later, or never: an ALTER of MariaDB in two phases.
        self._half = False

    def forget(self) -> None:
        """Tables have changed: ask for each anew."""
        self._maps.clear()
        self._known.clear()

    def _emit(
        self,
        events: Events,
        rel: Captured,
        change: tuple[Operation, Row | None, Row | None],
        transaction: Transaction,
        ordinals: tuple[int, int],
        skip: int,
    ) -> None:
        """One event, unless the log has it or a snapshot does not want it."""
        if ordinals[0] <= skip:
            return
        operation, before, after = change
        event = ChangeEvent(
            operation, rel.topic, rel.schema, before, after, transaction, *ordinals, rel.phase
        )  # fmt: skip
        if rel.hook is None or rel.hook(transaction, event):
            events.tail.append(event)

    # -- everything that is not a row ------------------------------------------------------------

    def _other(self, frame: Frame, block: Block, entry: Event, events: Events) -> bool:  # noqa: C901, PLR0912
        """An event that is neither rows nor a commit of the usual kind; True if a frame was pushed."""
        kind, start, end, size, position, timestamp, server_id, flags = entry
        data, place = block.data, self.place
        if frame.replay:
            if kind == kinds.TRANSACTION_PAYLOAD:
                return self._descend(frame, data, entry)
            return False
        if kind in (kinds.GTID, kinds.ANONYMOUS_GTID, kinds.TAGGED_GTID):
            parse = parse_tagged_gtid if kind == kinds.TAGGED_GTID else parse_gtid
            gtid = parse(data, start, end)
            self._begin(position - size, events)
            self._group = block, frame.index
            place.start(position - size, gtid.sid, gtid.number, gtid.committed)
        elif kind == kinds.MARIA_GTID:
            maria = parse_maria_gtid(data, start, end, server_id)
            self._half = bool(maria.extra & (START_ALTER | ROLLBACK_ALTER))
            self._begin(position - size, events)
            self._group = block, frame.index
            place.start_maria(position - size, (maria.domain, maria.server_id, maria.sequence))
            place.begun = not maria.flags & STANDALONE
            self._withheld = bool(maria.flags & PREPARED_XA)
        elif kind in (kinds.QUERY, kinds.QUERY_COMPRESSED):
            if kind == kinds.QUERY_COMPRESSED:
                data = uncompress_query(data, start, end)
                start, end = 0, len(data)
            return self._query(parse_query(data, start, end), entry, events)
        elif kind == kinds.TRANSACTION_PAYLOAD:
            return self._descend(frame, data, entry)
        elif kind == kinds.XA_PREPARE:
            prepare = parse_xa_prepare(data, start, end)
            if self._touched and self._group[0] is block:
                self._hold(prepare.xid, block, self._group[1], frame.index)
            return self._prepared(prepare, entry)
        elif kind == kinds.ROTATE:
            rotate = parse_rotate(data, start, end)
            place.rotate(rotate.file, rotate.position)
        elif kind == kinds.FORMAT_DESCRIPTION:
            place.described(timestamp)
            self._known.clear()
        elif kind in (kinds.HEARTBEAT, kinds.HEARTBEAT_V2):
            beat = parse_heartbeat(kind, data, start, end, position)
            place.heard(beat.file, beat.position)
        elif kind == kinds.INCIDENT:
            incident = parse_incident(data, start, end)
            raise SourceError(
                f"the server lost events before {place.file}:{position}: {incident.message or 'incident'}",
                hint="`liberator snapshot --config FILE --recover SOURCE` reads all tables anew",
            )
        elif kind == kinds.EXECUTE_LOAD_QUERY:
            return self._query(parse_load_query(data, start, end), entry, events)
        elif kind == kinds.PREVIOUS_GTIDS:
            if isinstance(place.gtids, GtidSet):
                place.gtids.update(parse_previous_gtids(data, start, end))
        elif kind not in _PASSED:
            refuse(kind, flags, place.file, position)
        return False

    def _descend(self, frame: Frame, data: bytes, entry: Event) -> bool:
        self._stack.append(Frame(payload_blocks(data, entry), replay=frame.replay))
        return True

    def _begin(self, start: int, events: Events) -> None:
        if self.place.open:
            raise DecodeError(f"a transaction begins within another at {self.place.file}:{start}")
        self._first = len(events)
        self._withheld = self._touched = False
        self._savepoints = []

    def _query(self, query: Query, entry: Event, events: Events) -> bool:
        place = self.place
        position, timestamp = entry[4], entry[5]
        said = understand(
            query.statement,
            query.database,
            ansi_quotes=query.ansi_quotes,
            no_backslash_escapes=query.no_backslash_escapes,
        )
        act = said.act
        if not place.open:
            # A server that writes no GTID events, not even anonymous ones.
            self._begin(position - entry[3], events)
            place.start(position - entry[3], "", 0, 0)
        place.thread = query.thread_id
        if act is Act.BEGIN:
            place.begun = True
        elif act is Act.COMMIT:
            place.end(position, timestamp)
        elif act is Act.ROLLBACK:
            self._undo(events, self._first, 0)
            place.end(position, timestamp)
        elif act is Act.SAVEPOINT:
            self._savepoint(query.statement, events)
        elif act is Act.ROLLBACK_TO:
            self._roll_back_to(query.statement, events)
        elif act is Act.XA:
            return self._xa(query.statement, position, timestamp)
        else:
            self._statement(said, query, entry, events)
            if not place.begun:
                place.end(position, timestamp)
        return False

    def _statement(self, said: Statement, query: Query, entry: Event, events: Events) -> None:
        """A statement that is no part of a transaction's frame: DDL, or a change in statement format."""
        place, act = self.place, said.act
        if act is Act.DML:
            if not said.tables or any(self.tables.written(name) for name in said.tables):
                table = ".".join(said.tables[0]) if said.tables else "an unknown table"
                raise self._statement_error(query.statement.split(None, 1)[0].lower(), table, entry[4])
        elif act is Act.TRUNCATE_TABLE or act in _SHAPES:
            if said.temporary or self._half:
                return
            where = f"{place.file}:{entry[4]}"
            if act is Act.CREATE_TABLE_AS and self.tables.wanted(said.tables[0]):
                raise self._statement_error("create table … select", ".".join(said.tables[0]), entry[4])
            for rel in self.tables.changed(said, where):
                self._truncate(events, rel, place.transaction or place.make(entry[6], entry[5]))
            if act is not Act.TRUNCATE_TABLE:
                self.forget()

    def _truncate(self, events: Events, rel: Captured, transaction: Transaction) -> None:
        place = self.place
        place.ordinal += 1
        if rel.transaction is not transaction:
            rel.transaction, rel.count = transaction, 0
        rel.count += 1
        counts = (place.ordinal, rel.count)
        self._emit(events, rel, (Operation.TRUNCATE, None, None), transaction, counts, place.skip)

    def _statement_error(self, verb: str, table: str, position: int) -> SourceError:
        what = f" of {table}" if table else ""
        return SourceError(
            f"a change{what} was written to the binlog as a statement ({verb}) before "
            f"{self.place.file}:{position}; "
            "its rows are unknown",
            hint="set binlog_format=ROW, globally and in every session; then `liberator snapshot "
            "--config FILE "
            "--recover SOURCE` reads the tables anew",
        )

    # -- savepoints and XA -----------------------------------------------------------------------

    def _savepoint(self, statement: str, events: Events) -> None:
        self._savepoints.append((_name(statement), len(events), self.place.ordinal))

    def _roll_back_to(self, statement: str, events: Events) -> None:
        """The server takes rows back only where it could not keep them out of the binlog."""
        name = _name(statement)
        for i in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[i][0] == name:
                _, length, ordinal = self._savepoints[i]
                del self._savepoints[i + 1 :]
                self._undo(events, length, ordinal)
                return
        self._undo(events, self._first, 0)

    def _undo(self, events: Events, length: int, ordinal: int) -> None:
        """Take back the rows behind ``length`` events: possible as long as none has left."""
        place = self.place
        if place.ordinal == ordinal:
            return
        if place.left or place.skip:
            raise SourceError(
                f"a transaction of which parts are in the log was rolled back at "
                f"{place.file}:{place.started}",
                hint="raise `batch` above the transaction's size, then `liberator snapshot --config "
                "FILE --recover "
                "SOURCE`",
            )
        for event in list(events)[length:]:
            self.tables.uncount(event)
        events.cut(length)
        place.ordinal = ordinal

    def _xa(self, statement: str, position: int, timestamp: int) -> bool:
        """XA statements: rows of a transaction that begins with one wait for its commit."""
        words = statement.split(None, 2)
        verb, xid = words[1].upper(), words[2].strip() if len(words) > 2 else ""
        place = self.place
        if verb in ("START", "BEGIN"):
            place.begun = self._withheld = True
        elif verb == "COMMIT" and place.prepared.get(xid):
            return self._push_replay(place.prepared[xid], xid, position, timestamp)
        elif verb in ("COMMIT", "ROLLBACK"):
            self._held.pop(xid, None)
            if verb == "COMMIT" and xid not in place.prepared:
                self.tables.unseen(f"{place.file}:{position}")
                self.forget()
            place.discard(xid)
            place.end(position, timestamp)
        return False

    def _prepared(self, prepare: XaPrepare, entry: Event) -> bool:
        place = self.place
        xid, one_phase = prepare.xid, prepare.one_phase
        position, timestamp = entry[4], entry[5]
        touched, self._touched = self._touched, False
        if one_phase and touched:
            return self._push_replay(f"{place.file}:{place.started}", xid, position, timestamp)
        if not one_phase:
            place.prepare(xid, touched=touched)
        self._withheld = False
        place.end(position, timestamp)
        return False

    def _push_replay(self, where: str, xid: str, position: int, timestamp: int) -> bool:
        self.place.decide(xid)
        self._after_replay = (xid, position, timestamp)
        held = self._held.pop(xid, None)
        blocks = self._replay(where) if held is None else iter((held,))
        self._stack.append(Frame(blocks, replay=True, ends=True))
        return True

    def _hold(self, xid: str, block: Block, first: int, last: int) -> None:
        """Keep a prepared transaction, as long as there is room."""
        self._held.pop(xid, None)
        events = block.events[first:last]
        low, high = events[0][1], events[-1][2]
        if high - low > _HELD // 8:
            return
        moved = [(e[0], e[1] - low, e[2] - low, *e[3:]) for e in events]
        self._held[xid] = Block(block.data[low:high], moved)
        while sum(len(held.data) for held in self._held.values()) > _HELD:
            del self._held[next(iter(self._held))]

    def _replayed(self) -> None:
        xid, position, timestamp = self._after_replay
        self._withheld = False
        self.place.discard(xid)
        self.place.end(position, timestamp)


def _name(statement: str) -> str:
    return statement.rsplit(None, 1)[-1].strip("`;")
