"""The source ``postgres-wal``: a database's write-ahead log, through pgoutput, and what was there before.

This module is the conductor. It owns the state and decides what comes next: a piece of the stream, a chunk
of a snapshot, a heartbeat. The stream's bytes come from :mod:`.replication`, events from
:mod:`.changes`, chunks from :mod:`.chunks`, slot and publication from :mod:`.publication`, checks from
:mod:`.preflight`.

Positions: ``major`` is an LSN and ``minor`` the rows taken of the transaction that commits there; behind a
whole transaction ``major`` is the end of its commit record. Either way the server may forget all WAL
before ``major``: a transaction that commits at it is sent again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import psycopg

from connectors.postgres import catalog as pg_catalog
from connectors.postgres.catalog import Catalog, Table
from connectors.postgres.connection import Connection, connect, format_lsn, parse_lsn, translate
from connectors.postgres.wal import parts, preflight, publication
from connectors.postgres.wal.changes import HEARTBEAT, ChangeDecoder, NotData
from connectors.postgres.wal.history import Identity, usable, verify
from connectors.postgres.wal.objects import Objects
from connectors.postgres.wal.options import WalOptions
from connectors.postgres.wal.partitions import Partitions
from connectors.postgres.wal.relations import Relations
from connectors.postgres.wal.replication import ReplicationStream
from connectors.postgres.wal.snapshots import Snapshots
from liberator.errors import DecodeError, SourceError
from liberator.event import ChangeEvent, Events, Position
from liberator.preflight import Finding
from liberator.snapshot import Progress, anew
from liberator.source import Batch, Managed, Source, SourceStatus, State

#: Seconds between feedback messages, looks for new tables, and requests for a keepalive while idle.
_FEEDBACK = 1.0
_TABLES = 30.0
_WAIT = 0.05
#: While we are behind: let the server fill its end for so long, instead of waking for every message.
_GATHER = 0.0002
_SMALL = 32_768
#: Bytes of the stream after which a batch ends, whatever its rows.
_BATCH_BYTES = 16_000_000
_BEAT = "select pg_logical_emit_message(true, %s, %s)"
#: What a standby answers to a heartbeat, and a role that may not call the function: other traffic must do.
_STANDBY = (
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.InsufficientPrivilege,
)


class PostgresWal(Source):
    """Captures tables of one Postgres database. Exactly once: a position names a single row."""

    Config: ClassVar[type[WalOptions]] = WalOptions
    connector: ClassVar[str] = "postgresql"
    origin_fields: ClassVar[tuple[tuple[str, Literal["long", "string"]], ...]] = (
        ("txId", "long"),
        ("lsn", "long"),
    )

    config: WalOptions

    def __init__(self, name: str, config: Any):
        super().__init__(name, config)
        self.slot = config.slot or f"liberator_{name}".replace("-", "_")
        self._conn: Connection | None = None
        self._stream: ReplicationStream | None = None
        self._block, self._pos = b"", 0
        self._confirmed = 0
        self._sent = self._asked = self._looked = self._beaten = 0.0
        self._identity: Mapping[str, Any] = {}
        self._objects = Objects(name, config, self.slot)
        self._ending = self._ended = False

    # -- opening ---------------------------------------------------------------------------------

    @translate("start reading")
    def open(self, state: State | None) -> None:
        """Connect, make sure of publication and slot, verify that the slot goes on where the log ends."""
        if state is not None and state.snapshot.get("ended"):
            self._last = state
            self._ending = True
            return
        self._conn = self._connect()
        facts = pg_catalog.server(self._conn)
        preflight.require(self.name, self.config, facts)
        self._database: str = facts["database"]
        self._version: int = facts["version"]
        self._catalog = self._new_catalog(self._conn)
        self._tables = self._captured_tables(self._conn)
        progress = Progress(state.snapshot if state else None)
        parts.refuse(self._conn, self.config, self.name, list(self._tables.values()), parts.remembered(state))
        publication.refuse_lost(self._conn, self.name, state)
        publication.refuse_used(self._conn, self.name, self.slot)
        ensured, settle = self._publish(self._conn, progress)
        epoch = state.position.epoch if state else 1
        self._stream = ReplicationStream(self.config.url, f"liberator {self.name}")
        resume, self._identity = self._resume(state, epoch)
        schemas = state.schemas if state else {}
        self._relations = relations = Relations(
            self.name, self._conn, self._catalog, schemas, self._look_soon
        )
        self._decoder = ChangeDecoder(resume, relations.described, relations.relabelled, relations.moved)
        self._decoder.skip_origins = frozenset(o.encode() for o in self.config.skip_origins)
        self._decoder.messages = relations.messages(self._database, self.config.messages)
        self._snapshots = Snapshots(self.name, self.config, progress, self._new_chunk_source, relations.seen)
        relations.tables, relations.snapshots = self._tables, self._snapshots
        self._partitions = Partitions(self._conn, self._snapshots, self._identity, self.config)
        relations.partitions = self._partitions
        self._snapshots.plan(self._tables, settle=settle)
        self._partitions.look(self._tables.values())
        if state is not None:
            self._snapshots.unpublished(ensured.published)
        self._join(ensured.created if state is not None else ())
        self._block, self._pos = self._start(resume), 0
        self._confirmed = resume.major
        self._looked = self._beaten = time.monotonic()

    def _resume(self, state: State | None, epoch: int) -> tuple[Position, Mapping[str, Any]]:
        """Where to go on, and the identity of the history that this position belongs to."""
        assert self._conn is not None and self._stream is not None
        now = Identity.of(self._stream, self._database, self.slot)
        slot = publication.read_slot(self._conn, self.slot)
        if state is not None and state.identity:
            identity = verify(self.name, Identity.from_json(state.identity), now, slot, state, self._stream)
            whole = {**state.identity, **self._identify(identity)}
            return state.position, state.identity if whole == dict(state.identity) else whole
        if state is not None and slot is not None:
            # The gap was accepted: what the old slot still holds is read again with the tables.
            publication.drop(self._conn, publication.managed(self._conn, [], self.slot))
            slot = None
        if slot is None:
            lsn = publication.create_slot(
                self._conn, self.slot, failover=self.config.failover, timeout=self.config.slot_timeout
            )
        else:
            lsn = usable(self.name, slot, now)
        return Position(epoch, lsn), self._identify(now)

    def _identify(self, identity: Identity) -> dict[str, Any]:
        return {**identity.to_json(), "publications": [p.name for p in self._publications]}

    def _start(self, resume: Position) -> bytes:
        assert self._stream is not None
        names = ",".join(f'"{p.name}"' for p in self._publications if p.name not in self._joining[0])
        options = {"proto_version": "1", "publication_names": names}
        if self._version >= 140000:
            options["messages"] = "true"
        return self._stream.start(self.slot, resume.major, options)

    def _connect(self) -> Connection:
        return connect(self.config.url, f"liberator {self.name}")

    def _new_catalog(self, conn: Connection) -> Catalog:
        return Catalog(conn, self._database, self.config.columns, self._version >= 180000)

    def _new_chunk_source(self) -> tuple[Connection, Any]:
        return connect(self.config.url, f"liberator {self.name} snapshot"), self._new_catalog

    def _captured_tables(self, conn: Connection) -> dict[int, Table]:
        where = f"sources.{self.name}.tables"
        with translate("read the catalog"):
            found = pg_catalog.captured(pg_catalog.all_tables(conn), self.config.tables, where)
        return {t.oid: t for t in found}

    def _publish(self, conn: Connection, known: Progress) -> tuple[publication.Ensured, int]:
        """Make the publications right. Gives also the transaction id below which all must have ended before
        a table that was just added may be read: changes that were in flight are not published. A table that
        is not ``known`` may have been added by somebody else, or by us before a crash."""
        tables = list(self._tables.values())
        self._publications = publication.plan(self.config, self.name, tables, self._version)
        ensured = publication.ensure(conn, self._publications)
        if not ensured.changed and all(t.full_name in known for t in tables):
            return ensured, 0
        row = conn.execute("select pg_snapshot_xmax(pg_current_snapshot())::text::int8").fetchone()
        return ensured, int(row[0]) if row else 0

    def _join(self, created: Sequence[str]) -> None:
        """Note publications that are younger than the WAL we read next: for that WAL they do not exist,
        and naming them would be an error. They join once the stream has come to their creation."""
        self._joining = (frozenset(created), self.current().major if created else 0)

    def _joined(self) -> bool:
        """Whether the stream has come to where all publications exist; it then begins anew with them."""
        names, since = self._joining
        if not names or self._decoder.open or self._decoder.position.major < since:
            return False
        self._joining = (frozenset(), 0)
        self._restart()
        return True

    def _restart(self) -> None:
        """Begin the stream anew where it stands."""
        assert self._stream is not None
        self._stream.close()
        self._stream = ReplicationStream(self.config.url, f"liberator {self.name}")
        self._decoder.relations.clear()
        self._decoder.inserts.clear()
        self._decoder.resume(self._decoder.position)
        self._block, self._pos = self._start(self._decoder.position), 0

    # -- reading ---------------------------------------------------------------------------------

    @translate("read on")
    def read(self) -> Batch:
        """The next piece: rows of a snapshot that is due, else what the stream has."""
        if self._ending:
            return Batch([], self._last, end=True)
        now = time.monotonic()
        self._chores(now)
        if self._joining[0]:
            self._joined()
        if self.config.snapshot == "only" and self._snapshots.done and not self._decoder.open:
            return self._end()
        piece = self._snapshots.next(self._decoder, self.config.batch, now)
        if piece is not None:
            return self._batch(piece)
        events = Events()
        if self._snapshots.waiting and not self._decoder.open:
            self._prod(now)  # first, for rows are held until the answer
        self._fill(events, 0.01 if self._snapshots.waiting else _WAIT)
        if not events and not self._decoder.open:
            self._prod(now)
        return self._batch(events)

    def _fill(self, events: Events, timeout: float) -> None:
        """Decode until a batch is full, or nothing more has come and no transaction is half read."""
        decoder, limit = self._decoder, self.config.batch
        stream = self._stream
        assert stream is not None
        budget = _BATCH_BYTES
        patience = 20
        while True:
            before = self._pos
            self._decode(events, limit)
            budget -= self._pos - before
            if budget < 0 or decoder.pieces(events) >= limit or (len(events) >= limit and not decoder.open):
                return
            rest = self._block[self._pos :]
            if decoder.reply:
                self._feedback()
            wait = timeout if not events else 0.0
            if decoder.open:
                wait = _WAIT
            block = stream.receive(rest, wait)
            self._block, self._pos = block, 0
            if len(block) == len(rest):
                patience -= 1
                if not decoder.open or patience <= 0:
                    return
            elif len(block) < _SMALL and events:
                time.sleep(_GATHER)

    def _decode(self, events: Events, limit: int) -> None:
        while True:
            try:
                self._pos = self._decoder.decode(self._block, self._pos, events, limit)
                return
            except NotData as frame:
                assert self._stream is not None
                self._stream.control(frame.kind, frame.body)
                self._pos = frame.after
            except DecodeError as exc:
                place = format_lsn(self._decoder.position.major)
                raise DecodeError(
                    f"source {self.name} cannot read its stream behind {place}: {exc}", hint=exc.hint
                ) from exc

    def _end(self) -> Batch:
        """The snapshot was all that was wanted, and it is complete."""
        last = self._batch([])
        snapshot = {**last.state.snapshot, "ended": True}
        self._last = State(last.state.position, self._identity, snapshot, self._relations.schemas)
        self._ending = True
        return Batch([], self._last, end=True)

    def _batch(self, events: Sequence[ChangeEvent]) -> Batch:
        decoder = self._decoder
        self._identity = self._partitions.noted(self._identity)
        state = State(
            decoder.position, self._identity, self._snapshots.progress.to_json(), self._relations.schemas
        )
        return Batch(events, state, decoder.open, decoder.timestamp)

    def _chores(self, now: float) -> None:
        if now - self._sent >= _FEEDBACK or self._decoder.reply:
            self._feedback()
        if self.config.heartbeat and now - self._beaten >= self.config.heartbeat:
            self._beat(now)
        if now - self._looked >= _TABLES and not self._decoder.open:
            self._looked = now
            self._look_for_tables()

    def _prod(self, now: float) -> None:
        """Ask the server how far it has read: idle and filtered traffic moves our position that way. If a
        snapshot waits for a place that nothing will push the WAL beyond, push it."""
        if now - self._asked < (0.01 if self._snapshots.waiting else _FEEDBACK):
            return
        self._asked = now
        self._feedback(reply=True)
        if self._snapshots.waiting and now - self._beaten > _FEEDBACK:
            self._beat(now)

    def _feedback(self, *, reply: bool = False) -> None:
        assert self._stream is not None
        self._sent = time.monotonic()
        self._decoder.reply = False
        written = max(self._confirmed, self._decoder.position.major)
        self._stream.feedback(written, self._confirmed, reply=reply)

    def _beat(self, now: float) -> None:
        """Write a message to the WAL, so that a quiet database tells its lag, and decoding is proved."""
        self._beaten = now
        conn = self._conn
        assert conn is not None
        with translate("write a heartbeat"), contextlib.suppress(*_STANDBY):
            conn.execute(_BEAT, (HEARTBEAT, self.name))

    def confirm(self, position: Position) -> None:
        """Let the server forget what lies before ``position``, with the next feedback."""
        self._confirmed = max(self._confirmed, position.major)
        if self._ending and not self._ended:
            # The last state is in the log: the slot has nothing left to keep for us.
            self._ended = True
            self.close()
            self.teardown()

    def close(self) -> None:
        """Close all connections, after a last word on what is confirmed."""
        stream, self._stream = self._stream, None
        if stream is not None:
            if self._confirmed and hasattr(self, "_decoder"):
                # If the connection is gone: the log knows better than the server anyway.
                with contextlib.suppress(SourceError):
                    stream.feedback(max(self._confirmed, self._decoder.position.major), self._confirmed)
            stream.close()
        if hasattr(self, "_snapshots"):
            self._snapshots.close()
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    # -- tables and schemas ----------------------------------------------------------------------

    def _look_soon(self) -> None:
        self._looked = 0.0

    def _look_for_tables(self) -> None:
        """Tables that have appeared since, or were dropped and made again, join in."""
        assert self._conn is not None
        with translate("read the catalog"):
            found = self._captured_tables(self._conn)
            if self.config.without_identity == "refuse":
                # It may get its key a moment later; until then it is not published, and so not harmed.
                found = {oid: t for oid, t in found.items() if t.identified or oid in self._tables}
            names = {t.oid: t.full_name for t in self._tables.values()}
            self._partitions.look(found.values())
            if {t.oid: t.full_name for t in found.values()} == names:
                publication.refuse_changed(self._conn, self.name, self._publications)
            else:
                self._tables = self._relations.tables = found
                ensured, settle = self._publish(self._conn, self._snapshots.progress)
                self._snapshots.plan(found, settle=settle)
                if ensured.created:
                    self._join(ensured.created)
                    self._identity = {**self._identity, "publications": [p.name for p in self._publications]}
            self._snapshots.reattend(self._decoder.relations.values())

    # -- requests --------------------------------------------------------------------------------

    def snapshot(self, signal: int, tables: Sequence[str]) -> None:
        """Read tables again. ``tables`` are patterns over ``schema.table``."""
        wanted = pg_catalog.captured(list(self._tables.values()), tables, "snapshot")
        self._snapshots.request(wanted, signal)
        self._snapshots.reattend(self._decoder.relations.values())

    def began(self) -> State:
        """Where the slot begins."""
        return self._batch([]).state

    def current(self) -> Position:
        """The place that the WAL is written to now. A message is written as well, so that the stream
        comes by this place even if nobody writes anything else."""
        with connect(self.config.url, f"liberator {self.name}") as conn, translate("read the WAL's position"):
            row = conn.execute(
                "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()"
                " else pg_current_wal_insert_lsn() end::text"
            ).fetchone()
            with contextlib.suppress(*_STANDBY):
                conn.execute(_BEAT, (HEARTBEAT, self.name))
        if row is None:
            raise SourceError("the server did not tell its WAL position", retryable=True)
        return Position(0, parse_lsn(row[0]))

    def reached(self, state: State, target: Position) -> bool:
        """Whether the stream has come by ``target`` and no table waits to be read."""
        if state.snapshot.get("ended"):
            return True
        if any(t["state"] != "done" for t in state.snapshot.get("tables", {}).values()):
            return False
        return state.position.major >= target.major

    def recover(self, state: State) -> State:
        """The state after a gap was accepted: a new epoch, all tables emptied and read anew."""
        return anew(state)

    # -- set-up ----------------------------------------------------------------------------------

    def check(self) -> list[Finding]:
        """Everything that would hinder a run; see :mod:`.preflight`."""
        return preflight.check(self.name, self.config, self.slot)

    def objects(self) -> list[Managed]:
        """The publications and the slot."""
        return self._objects.listed()

    def setup(self) -> list[Managed]:
        """Create publications, then the slot."""
        return self._objects.create()

    def teardown(self) -> list[Managed]:
        """Drop the slot, then the publications, also those of tables that are gone."""
        return self._objects.remove()

    def status(self, state: State | None) -> SourceStatus:
        """Lag and retained WAL in bytes, the slot's health."""
        with self._connect() as conn, translate("read the slot"):
            refuse = self.config.without_identity == "refuse"
            tables = self._captured_tables(conn).values() if refuse else ()
            left_out = sorted(t.full_name for t in tables if not t.identified)
            return preflight.status(conn, self.slot, state, left_out)

    def describe(self, position: Position) -> str:
        """The LSN; inside a transaction also the rows taken of it."""
        lsn = format_lsn(position.major)
        return f"{lsn}+{position.minor}" if position.minor else lsn

    @classmethod
    def init(cls, url: str) -> str:
        """A commented configuration for the database at ``url``."""
        from connectors.postgres.init import configuration

        return configuration(url)
