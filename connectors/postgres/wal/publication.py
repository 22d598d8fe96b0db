"""The publication and the slot: the two objects that a WAL source keeps at its server.

The publication holds exactly the configured tables, with their column lists and row filters. Tables on
which updates would begin to fail once published (no replica identity) go into a second publication
that publishes inserts and truncates only, if the configuration says so. Never ``for all tables``.

The publication comes first, the slot second: decoding reads the catalog as of the WAL's position, and a
publication that is younger than the slot does not exist for it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from connectors.postgres import catalog
from connectors.postgres.catalog import Table
from connectors.postgres.connection import Connection, format_lsn, literal, parse_lsn, quote, translate
from connectors.postgres.wal import parts
from connectors.postgres.wal.options import WalOptions
from liberator.errors import ConfigError, PositionLost, SourceError
from liberator.source import Managed, State

#: How long a walsender may take to end, in seconds.
_MOMENT = 1.0


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication as it should be, for ``source``; ``operations`` as in ``with (publish = …)``."""

    source: str
    name: str
    tables: tuple[Table, ...]
    clauses: tuple[str, ...]
    operations: str
    generated: bool

    @property
    def comment(self) -> str:
        """What marks a publication as made by us, and for which definition."""
        text = "\n".join([*self.clauses, self.operations, str(self.generated)])
        return "liberator " + hashlib.sha256(text.encode()).hexdigest()[:16]

    def create(self) -> list[str]:
        """The statements that make it."""
        name = quote(self.name)
        return [
            f"create publication {name} for table {', '.join(self.clauses)} with ({self._options()})",
            self._mark(),
        ]

    def alter(self) -> list[str]:
        """The statements that make an existing one into this."""
        return [
            f"alter publication {quote(self.name)} set table {', '.join(self.clauses)}",
            f"alter publication {quote(self.name)} set ({self._options()})",
            self._mark(),
        ]

    def drop(self) -> str:
        """The statement that removes it."""
        return f"drop publication {quote(self.name)}"

    def _options(self) -> str:
        options = f"publish = '{self.operations}', publish_via_partition_root = true"
        return options + (", publish_generated_columns = stored" if self.generated else "")

    def _mark(self) -> str:
        return f"comment on publication {quote(self.name)} is {literal(self.comment)}"

    def state(self, conn: Connection) -> str:
        """``missing``, ``present`` or ``different``. One made by a DBA, without our mark, is present if
        its tables and operations are the same; row filters are then the DBA's business."""
        found = catalog.rows(conn, "publication", {"name": self.name})
        if not found:
            return "missing"
        row = found[0]
        same = row["tables"] == sorted(t.oid for t in self.tables) and self._alike(row)
        marked = (row["comment"] or "").startswith("liberator ")
        if same and (not marked or row["comment"] == self.comment):
            return "present"
        return "different"

    def lacks(self, conn: Connection) -> bool:
        """Whether changes of its tables are not published now; it may have tables beside them."""
        found = catalog.rows(conn, "publication", {"name": self.name})
        return not (
            found and {t.oid for t in self.tables} <= set(found[0]["tables"]) and self._alike(found[0])
        )

    def _alike(self, row: dict[str, Any]) -> bool:
        words = (w for w in ("insert", "update", "delete", "truncate") if row["pub" + w])
        return ", ".join(words) == self.operations and bool(row["pubviaroot"])


def plan(options: WalOptions, name: str, tables: Sequence[Table], version: int) -> list[Publication]:
    """The publications for ``tables``. Raises ConfigError for tables that cannot be published safely and
    for column lists and row filters that the server cannot keep."""
    refuse_unidentified(options, name, tables)
    if version < 150000 and (options.columns or options.filter):
        raise ConfigError(
            f"sources.{name}: column lists and row filters need Postgres 15 or later",
            hint="publish whole tables, or upgrade the server",
        )
    out = []
    groups = (
        ("", "insert, update, delete, truncate", [t for t in tables if t.identified]),
        ("_inserts", "insert, truncate", [t for t in tables if not t.identified]),
    )
    for suffix, operations, members in groups:
        if members:
            clauses = tuple(_clause(t, options) for t in members)
            base = options.publication or f"liberator_{name}".replace("-", "_")
            made = Publication(name, base + suffix, tuple(members), clauses, operations, version >= 180000)
            out.append(made)
    return out


def refuse_unidentified(options: WalOptions, name: str, tables: Sequence[Table]) -> None:
    """Raise ConfigError for tables whose updates and deletes would fail at the application."""
    bare = [t for t in tables if not t.identified]
    if bare and options.without_identity == "refuse":
        raise ConfigError(
            [
                f"sources.{name}.tables: {t.full_name} has no replica identity: once published, the "
                "application's updates and deletes of it would fail"
                for t in bare
            ],
            hint=f"add a primary key, or `alter table {bare[0].sql} replica identity full`, or leave the "
            "table out with a ! pattern, or set without_identity: insert_only to capture inserts alone",
        )


def _clause(table: Table, options: WalOptions) -> str:
    only = "" if table.kind == "p" else "only "
    clause = only + table.sql
    if columns := options.columns.get(table.full_name):
        clause += f" ({', '.join(quote(c) for c in columns)})"
    if condition := options.filter.get(table.full_name):
        clause += f" where ({condition})"
    return clause


def managed(conn: Connection, publications: Sequence[Publication], slot: str) -> list[Managed]:
    """The publications and the slot with their present state."""
    out = [
        Managed("publication", p.name, p.state(conn), "; ".join(p.create()), p.drop())  # type: ignore[arg-type]
        for p in publications
    ]
    state = "present" if read_slot(conn, slot) else "missing"
    name = literal(slot)
    out.append(
        Managed(
            "replication slot",
            slot,
            state,  # type: ignore[arg-type]
            f"select pg_create_logical_replication_slot({name}, 'pgoutput')",
            f"select pg_drop_replication_slot({name})",
        )
    )
    return out


@dataclass(frozen=True, slots=True)
class Ensured:
    """What :func:`ensure` found and did: the tables that were published before, the names of publications
    that were created, and whether anything was changed at all."""

    published: frozenset[int]
    created: tuple[str, ...]
    changed: bool


def ensure(conn: Connection, publications: Sequence[Publication]) -> Ensured:
    """Create or change publications until they are as they should be."""
    published: set[int] = set()
    created = []
    changed = False
    for publication in publications:
        state = publication.state(conn)
        for found in catalog.rows(conn, "publication", {"name": publication.name}):
            published.update(found["tables"])
        if state == "present":
            continue
        if state == "missing":
            created.append(publication.name)
        changed = True
        statements = publication.create() if state == "missing" else publication.alter()
        try:
            with conn.transaction():
                for statement in statements:
                    conn.execute(statement.encode())
                parts.refuse_harmful(conn, publication.name, publication.source)
        except psycopg.errors.InsufficientPrivilege as exc:
            raise SourceError(
                f"may not {'create' if state == 'missing' else 'change'} publication {publication.name}",
                hint="let the owner of the tables run: " + "; ".join(statements),
            ) from exc
        except psycopg.Error as exc:
            with translate(f"make publication {publication.name}"):
                raise exc
    return Ensured(frozenset(published), tuple(created), changed)


def refuse_lost(conn: Connection, name: str, state: State | None) -> None:
    """Raise PositionLost if a publication has gone since: what was written while it did not exist is in no
    stream, without a word from the server."""
    if state is None:
        return
    for publication in state.identity.get("publications", ()):
        if not catalog.rows(conn, "publication", {"name": publication}):
            raise PositionLost(
                f"source {name}: publication {publication} had been dropped; changes since "
                f"{format_lsn(state.position.major)} may be missing",
                hint=f"`liberator snapshot --config FILE --recover {name}` reads all tables anew",
            )


def refuse_used(conn: Connection, name: str, slot: str) -> None:
    """Raise SourceError while another process reads the slot: what it reads is not ours to alter. A walsender
    that is just ending is given a moment."""
    deadline = time.monotonic() + _MOMENT
    while (found := read_slot(conn, slot)) is not None and found["active"]:
        if time.monotonic() > deadline:
            raise SourceError(
                f"source {name}: slot {slot} is in use (by the server's process {found['active_pid']})",
                hint="another process reads this slot; stop it, or give this source a slot of its own",
                retryable=True,
            )
        time.sleep(0.05)


def refuse_changed(conn: Connection, name: str, publications: Sequence[Publication]) -> None:
    """Raise SourceError if somebody has taken something out of a publication that is being read: what is
    written to such a table is in no stream. The next start mends it, and reads the table anew."""
    for publication in publications:
        if publication.lacks(conn):
            raise SourceError(
                f"source {name}: somebody has changed publication {publication.name}; tables that were taken "
                "out of it will be read anew",
                hint="if two sources share a publication, name another one with `publication`",
                retryable=True,
            )


def rehearse(conn: Connection, publication: Publication) -> None:
    """Make the publication, see whether it would harm the application, and take it back: nobody else sees it.
    Raises ConfigError, and the driver's errors."""
    state = publication.state(conn)
    with conn.transaction(force_rollback=True):
        if state != "present":
            for statement in publication.create() if state == "missing" else publication.alter():
                conn.execute(statement.encode())
        parts.refuse_harmful(conn, publication.name, publication.source)


def read_slot(conn: Connection, slot: str) -> dict[str, Any] | None:
    """The slot's row in pg_replication_slots as a dict, LSNs as text; None if there is none."""
    found = catalog.rows(conn, "slot", {"slot": slot})
    return found[0]["slot"] if found else None


def create_slot(conn: Connection, slot: str, *, failover: bool, timeout: float) -> int:
    """Create the slot and return its consistent point.

    The server waits for every transaction that is writing now. After ``timeout`` seconds we give up
    and name those that stand in the way, instead of hanging for hours.
    """
    call = sql.SQL("select lsn::text from pg_create_logical_replication_slot({}, 'pgoutput')")
    if failover:
        call = sql.SQL(
            "select lsn::text from pg_create_logical_replication_slot({}, 'pgoutput', false, false, true)"
        )
    done = threading.Event()
    timer = threading.Thread(target=_cancel_after, args=(conn, done, timeout), daemon=True)
    timer.start()
    try:
        row = conn.execute(call.format(sql.Literal(slot))).fetchone()
    except psycopg.errors.QueryCanceled as exc:
        raise SourceError(
            f"creating slot {slot} waited {timeout:.0f} s for transactions that are still open: "
            + blockers(conn),
            hint="end them (pg_terminate_backend(pid), rollback prepared), or raise slot_timeout",
            retryable=True,
        ) from exc
    except psycopg.Error as exc:
        with translate(f"create slot {slot}"):
            raise exc
    finally:
        done.set()
        timer.join()
    if row is None:
        raise SourceError(f"the server created no slot {slot}")
    return parse_lsn(row[0])


def _cancel_after(conn: Connection, done: threading.Event, timeout: float) -> None:
    if not done.wait(timeout):
        conn.cancel_safe(timeout=10)


def blockers(conn: Connection) -> str:
    """Who holds a transaction open, in words."""
    found = [
        f"pid {r['pid']} ({r['usename']}, {r['application_name'] or 'no application name'}, {r['seconds']} s)"
        for r in catalog.rows(conn, "blockers")
    ]
    found += [f"prepared transaction {r['gid']} ({r['seconds']} s)" for r in catalog.rows(conn, "prepared")]
    return ", ".join(found) or "none visible to this role"


def with_strays(
    conn: Connection, options: WalOptions, name: str, objects: Sequence[Managed]
) -> list[Managed]:
    """``objects`` and those of our publications that the present configuration no longer names."""
    base = options.publication or f"liberator_{name}".replace("-", "_")
    named = {o.name for o in objects}
    out = list(objects)
    for stray in (base, base + "_inserts"):
        if stray not in named and catalog.rows(conn, "publication", {"name": stray}):
            out.insert(0, Managed("publication", stray, "present", "", f"drop publication {quote(stray)}"))
    return out


def drop(conn: Connection, objects: Sequence[Managed]) -> list[Managed]:
    """Remove what is present, the slot first; returns what was removed. A walsender that is just
    ending is given a few seconds."""
    removed = []
    for thing in reversed(objects):
        if thing.state == "missing":
            continue
        deadline = time.monotonic() + 5
        while True:
            try:
                conn.execute(thing.drop.encode())
                break
            except psycopg.errors.ObjectInUse as exc:
                if time.monotonic() > deadline:
                    raise SourceError(
                        f"{thing.kind} {thing.name} is in use",
                        hint="stop `liberator run` first",
                        retryable=True,
                    ) from exc
                time.sleep(0.1)
            except psycopg.Error as exc:
                with translate(f"drop {thing.kind} {thing.name}"):
                    raise exc
        removed.append(thing)
    return removed
