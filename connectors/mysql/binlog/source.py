"""The source ``mysql-binlog``: a MySQL or MariaDB server's binary log, and what was there before.

This module is the conductor. It owns the state and decides what comes next: a piece of the stream, a chunk
of a snapshot. The stream's bytes come from :mod:`connectors.mysql.wire`, events from :mod:`.changes`, chunks
from :mod:`.chunks`, where to go on from :mod:`.history`, checks from :mod:`.preflight`.

Positions: ``major`` is a place in the binlog (:mod:`.transactions`), ``minor`` the rows taken of the
transaction that begins there. The server keeps nothing for us: what it purges before we have read it is
lost, and said to be.
"""

from __future__ import annotations

import platform
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal

from connectors.mysql import catalog as my_catalog
from connectors.mysql.binlog import history, preflight
from connectors.mysql.binlog.changes import ChangeDecoder
from connectors.mysql.binlog.chunks import ChunkReader
from connectors.mysql.binlog.history import Here, Start
from connectors.mysql.binlog.marks import Marks
from connectors.mysql.binlog.options import BinlogOptions
from connectors.mysql.binlog.snapshots import Snapshots
from connectors.mysql.binlog.tables import Tables
from connectors.mysql.binlog.transactions import Transactions, major_of, place_of
from connectors.mysql.catalog import Catalog, Table
from connectors.mysql.connection import Connection, Server, arguments, connect, translate
from connectors.mysql.wire import kinds
from connectors.mysql.wire.blocks import Block
from connectors.mysql.wire.dump import BinlogStream
from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.gtid_events import (
    parse_gtid,
    parse_maria_gtid,
    parse_maria_gtid_list,
    parse_previous_gtids,
    parse_tagged_gtid,
)
from connectors.mysql.wire.maria_gtid import MariaPosition
from liberator.errors import DecodeError, PositionLost, SourceError
from liberator.event import ChangeEvent, Events, Position
from liberator.preflight import Finding
from liberator.snapshot import Progress, anew
from liberator.source import Batch, Source, SourceStatus, State

_WAIT: Final = 0.05
#: Bytes of the stream after which a batch ends, whatever its rows.
_BATCH_BYTES: Final = 16_000_000
#: How often a transaction that is half read is waited for before its rows leave without the rest.
_PATIENCE: Final = 20
#: Kinds of events with which the first part of an XA transaction ends.
_PREPARED: Final = (kinds.XA_PREPARE, kinds.TRANSACTION_PAYLOAD)
#: Events that name MySQL's transactions.
_NAMED: Final = {kinds.GTID: parse_gtid, kinds.TAGGED_GTID: parse_tagged_gtid}


class MysqlBinlog(Source):
    """Captures tables of one MySQL or MariaDB server. Exactly once: a position names a single row."""

    Config: ClassVar[type[BinlogOptions]] = BinlogOptions
    connector: ClassVar[str] = "mysql"
    origin_fields: ClassVar[tuple[tuple[str, Literal["long", "string"]], ...]] = (
        ("server_id", "long"),
        ("gtid", "string"),
        ("file", "string"),
        ("pos", "long"),
        ("thread", "long"),
    )

    config: BinlogOptions

    def __init__(self, name: str, config: Any):
        super().__init__(name, config)
        # In Debezium's words, and by the URL: events are laid out before we connect.
        self.connector = "mariadb" if config.url.startswith("mariadb:") else "mysql"  # type: ignore[misc]
        self.server_id = config.server_id or derived_server_id(name, config.url)
        self._conn: Connection[Any] | None = None
        self._stream: BinlogStream | None = None
        self._snapshots: Snapshots | None = None
        self._ending = False
        self._made: tuple[Any, ...] = ()
        self._identity: Mapping[str, Any] = {}

    # -- opening ---------------------------------------------------------------------------------

    def open(self, state: State | None) -> None:
        """Connect, verify that the server goes on where the log ends, ask for the stream."""
        if state is not None and state.snapshot.get("ended"):
            self._last = state
            self._ending = True
            return
        self._conn = conn = self._connect()
        with translate("read the server's settings"):
            self._server = server = Server.of(conn)
            settings = my_catalog.settings(conn)
            preflight.require(self.name, server, settings)
            tables = self._captured_tables(conn)
            gtids = history.uses_gtids(self.name, settings, server, self.config.gtid)
            here = Here(conn, server, settings, gtids, self._created, self._gtids_before)
            start = self._begin(here, state)
        self._here = here
        self._place = place = Transactions(start.resume, start.file, start.gtids, start.again)
        if state is not None:
            place.restore(state.identity)
        catalog = Catalog(conn, server, self.config.types)
        fold = settings.get("lower_case_table_names", "0") != "0"
        schemas = state.schemas if state else {}
        self._tables = Tables(self.name, self.config, catalog, schemas, fold=fold)
        if settings.get("binlog_row_metadata", "").upper() != "FULL" and not (state and state.identity):
            for table in tables.values():
                self._tables.learn((table.schema, table.name))
        self._decoder = ChangeDecoder(place, self._tables, self._replay)
        marks = Marks(server, gtids and settings.get("gtid_mode") == "ON")
        reader = ChunkReader(lambda: self._connect(" snapshot"), server, marks, self.config.types)
        self._snapshots = Snapshots(
            self.name,
            self.config,
            Progress(state.snapshot if state else None),
            reader,
            server,
            lambda: self._captured_tables(self._ready),
        )
        self._tables.watcher = self._snapshots
        self._snapshots.tables = self._tables
        self._snapshots.plan(tables)
        self._stream = self._start(start)
        self._began = start

    def _begin(self, here: Here, state: State | None) -> Start:
        if state is not None and state.identity:
            return history.resume(self.name, here, state)
        start = history.first(here)
        if state is None:
            return start
        # The gap was accepted: a new history begins, and the tables are read with it.
        return Start(
            state.position._replace(major=start.resume.major, minor=0), start.gtids, start.file, start.offset
        )

    def _start(self, start: Start) -> BinlogStream:
        stream = self._new_stream(self.server_id)
        if start.file:
            stream.start_file(start.file, start.offset)
        elif isinstance(start.gtids, MariaPosition):
            stream.start_maria(start.gtids)
        else:
            stream.start_gtids(start.gtids)
        return stream

    def _connect(self, what: str = "") -> Connection[Any]:
        return connect(self.config.url, f"liberator {self.name}{what}")

    @property
    def _ready(self) -> Connection[Any]:
        """The connection for the catalog; a new one if the server has closed it meanwhile."""
        if self._conn is None:
            raise SourceError(f"source {self.name} is not open")
        with translate("reach the server"):
            self._conn.ping(reconnect=False)
        return self._conn

    def _new_stream(self, server_id: int, *, wait: bool = True) -> BinlogStream:
        return BinlogStream(self._connect(" stream"), server_id, heartbeat=self.config.heartbeat, wait=wait)

    def _captured_tables(self, conn: Connection[Any]) -> dict[str, Table]:
        where = f"sources.{self.name}.tables"
        with translate("read the catalog"):
            found = my_catalog.all_tables(conn)
        return {
            t.full_name: t for t in my_catalog.captured(found, self.config.tables, self.config.ghosts, where)
        }

    def _aside(self) -> int:
        """The server id of a second stream of ours: of two with the same one the server ends the older."""
        return self.server_id ^ 0x0800_0000 or 1

    def _blocks(self, file: str, offset: int = 4) -> Iterator[Block]:
        """All that the binlog has from a place on, over a stream beside the source's own."""
        stream = self._new_stream(self._aside(), wait=False)
        try:
            stream.start_file(file, offset)
            while not stream.ended:
                if (block := stream.read(1.0)) is not None:
                    yield block
        finally:
            stream.close()

    def _created(self, file: str) -> int:
        """When a binlog file was begun, in seconds since 1970."""
        for block in self._blocks(file):
            for event in block.events:
                if event[0] == kinds.FORMAT_DESCRIPTION:
                    return event[5]
        raise SourceError(f"binlog file {file} does not begin with a format description", retryable=True)

    def _gtids_before(self, file: str, offset: int) -> GtidSet | MariaPosition:
        """The GTIDs of all transactions before a place in the binlog, as its file says them."""
        mysql, maria = GtidSet(), MariaPosition()
        for block in self._blocks(file):
            for kind, start, end, size, position, _, server_id, flags in block.events:
                if flags & kinds.FLAG_ARTIFICIAL:
                    continue
                if position - size >= offset or kind == kinds.ROTATE:
                    return maria if self._server.mariadb else mysql
                if kind == kinds.PREVIOUS_GTIDS:
                    mysql.update(parse_previous_gtids(block.data, start, end))
                elif kind in _NAMED:
                    gtid = _NAMED[kind](block.data, start, end)
                    mysql.add(gtid.sid, gtid.number)
                elif kind == kinds.MARIA_GTID_LIST:
                    maria.update(parse_maria_gtid_list(block.data, start, end))
                elif kind == kinds.MARIA_GTID:
                    maria.add(*parse_maria_gtid(block.data, start, end, server_id)[:3])
        return maria if self._server.mariadb else mysql

    def _replay(self, where: str) -> Iterator[Block]:
        """The blocks of a prepared XA transaction, which begins at ``file:offset``."""
        file, _, offset = where.rpartition(":")
        for block in self._blocks(file, int(offset)):
            for i, event in enumerate(block.events, 1):
                if event[0] in _PREPARED:
                    yield Block(block.data, block.events[:i])
                    return
            yield block
        raise PositionLost(f"source {self.name}: the XA transaction at {where} has no end")

    # -- reading ---------------------------------------------------------------------------------

    def read(self) -> Batch:
        """The next piece: rows of a snapshot that is due, else what the stream has."""
        snapshots = self._snapshots
        if self._ending or snapshots is None:
            return Batch([], self._last, end=True)
        if self.config.snapshot == "only" and snapshots.done and not self._place.open:
            return self._end()
        piece = snapshots.next(self._place, self.config.batch, time.monotonic())
        if piece is not None:
            return self._batch(piece)
        events = Events()
        try:
            self._fill(events, 0.01 if snapshots.waiting else _WAIT)
        except (DecodeError, PositionLost) as exc:
            where = f"{self._place.file}:{place_of(self._place.position.major)[1]}"
            if isinstance(exc, DecodeError):
                raise DecodeError(
                    f"source {self.name} cannot read its stream behind {where}: {exc}", hint=exc.hint
                ) from exc
            repair = f"`liberator snapshot --config FILE --recover {self.name}` reads all tables anew"
            raise PositionLost(
                f"source {self.name}: the log ends at {where}, but {exc}",
                hint=f"{repair}, deletes included; raise binlog_expire_logs_seconds if a purge was why",
            ) from exc
        return self._batch(events)

    def _fill(self, events: Events, timeout: float) -> None:
        """Decode until a batch is full, or nothing more has come and no transaction is half read."""
        decoder, place, stream, limit = self._decoder, self._place, self._stream, self.config.batch
        assert stream is not None
        budget, patience = _BATCH_BYTES, _PATIENCE
        decoder.begin()
        while True:
            if decoder.busy and (place.resting or decoder.decode(events, limit)):
                break
            if budget < 0 or len(events) >= limit or place.resting:
                break
            half = place.open and bool(events)
            block = stream.read(_WAIT if half else 0.0 if events else timeout)
            if block is None:
                patience -= 1
                if not half or patience <= 0:
                    break
                continue
            budget -= len(block.data)
            decoder.feed(block)
        place.pause()

    def _end(self) -> Batch:
        """The snapshot was all that was wanted, and it is complete."""
        last = self._batch([]).state
        self._last = State(last.position, last.identity, {**last.snapshot, "ended": True}, last.schemas)
        self._ending = True
        return Batch([], self._last, end=True)

    def _batch(self, events: Sequence[ChangeEvent]) -> Batch:
        place = self._place
        assert self._snapshots is not None
        state = State(
            place.position, self._identified(), self._snapshots.progress.to_json(), self._tables.schemas
        )
        return Batch(events, state, place.open and place.transaction is not None, place.timestamp)

    def _identified(self) -> Mapping[str, Any]:
        """Which server and history the position belongs to; the same object while nothing changes."""
        place = self._place
        made = (place.position, place.file, place.created, place.partly, place.prepared)
        if made != self._made:
            self._made = made
            identity: dict[str, Any] = {
                "flavour": self._server.flavour,
                "server": self._here.uuid,
                "file": place.file,
                "created": place.created,
                "gtids": str(place.gtids) if self._here.uses_gtids else "",
                "timestamp": place.timestamp,
            }
            if place.partly:
                identity["open"] = place.partly
            if place.prepared:
                identity["prepared"] = place.prepared
            self._identity = identity
        return self._identity

    def confirm(self, position: Position) -> None:
        """Nothing to tell the server, which keeps nothing for us."""
        if self._ending:
            self.close()

    def close(self) -> None:
        """Close all connections."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        if self._snapshots is not None:
            self._snapshots.close()
        conn, self._conn = self._conn, None
        if conn is not None and conn.open:
            with translate("close the connection"):
                conn.close()

    # -- requests --------------------------------------------------------------------------------

    def snapshot(self, signal: int, tables: Sequence[str]) -> None:
        """Read tables again. ``tables`` are patterns over ``database.table``."""
        found = self._captured_tables(self._ready)
        wanted = my_catalog.captured(list(found.values()), tables, [], "snapshot")
        assert self._snapshots is not None
        self._snapshots.request([t.full_name for t in wanted], signal)

    def began(self) -> State:
        """With the place in the binlog, where the stream was asked for by one."""
        state, start = self._batch([]).state, self._began
        if state.position.major or not start.file:
            return state
        return replace(state, position=state.position._replace(major=major_of(start.file, start.offset)))

    def current(self) -> Position:
        """The place that the binlog is written to now."""
        with self._connect() as conn, translate("read the binlog's position"):
            status = my_catalog.binlog_status(conn, Server.of(conn))
        return Position(0, major_of(status.file, status.position))

    def reached(self, state: State, target: Position) -> bool:
        """Whether the stream has come by ``target`` and no row waits to be read."""
        if state.snapshot.get("ended"):
            return True
        if any(t["state"] != "done" or t.get("strays") for t in state.snapshot.get("tables", {}).values()):
            return False
        return state.position.major >= target.major

    def recover(self, state: State) -> State:
        """The state after a gap was accepted: a new epoch, all tables emptied and read anew."""
        return anew(state)

    # -- looking ---------------------------------------------------------------------------------

    def check(self) -> list[Finding]:
        """Everything that would hinder a run; see :mod:`.preflight`."""
        return preflight.check(self.name, self.config)

    def status(self, state: State | None) -> SourceStatus:
        """Lag in bytes and seconds, hours until the server purges what we have not read."""
        with self._connect() as conn, translate("read the binlog's files"):
            return preflight.status(conn, state)

    def describe(self, position: Position) -> str:
        """``000012:345``: the binlog file's number and the offset; inside a transaction also the rows taken
        of it."""
        number, offset = place_of(position.major)
        text = f"{number:06d}:{offset}" if number else "the beginning"
        return f"{text}+{position.minor}" if position.minor else text

    @classmethod
    def init(cls, url: str) -> str:
        """A commented configuration for the server at ``url``."""
        from connectors.mysql.init import configuration

        return configuration(url)


def derived_server_id(name: str, url: str) -> int:
    """An id that the same source on the same host always has, and hardly anybody else: from 2^28 on, where
    people do not number their servers."""
    where = arguments(url)
    text = f"{name} {where['host']} {where['port']} {platform.node()} {uuid.getnode()}"
    return 0x1000_0000 | zlib.crc32(text.encode()) & 0x07FF_FFFF
