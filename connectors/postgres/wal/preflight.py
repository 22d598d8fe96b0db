"""What a WAL source needs of its server, and how the slot is doing.

:func:`check` looks at everything and reports all findings at once; :func:`require` is the short form that
stops a run before it fails in a less obvious way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg

from connectors.postgres import catalog
from connectors.postgres.catalog import Table
from connectors.postgres.connection import Connection, connect, format_lsn, parse_lsn, quote, reason
from connectors.postgres.wal import parts, publication
from connectors.postgres.wal.options import WalOptions
from liberator.errors import ConfigError, LiberatorError, SourceError
from liberator.preflight import Finding
from liberator.source import SourceStatus, State

_OLDEST = 130000
#: Transactions; the server begins to vacuum by force at 200 million, and stops at 2 billion.
_OLD_HORIZON = 50_000_000


def require(name: str, options: WalOptions, facts: dict[str, Any]) -> None:
    """Raise SourceError if the server cannot be captured at all."""
    for finding in _server(facts, options):
        if finding.level == "error":
            raise SourceError(f"source {name}: {finding.message}", hint=finding.remedy)


def check(name: str, options: WalOptions, slot: str) -> list[Finding]:
    """All findings about the server, our role, the tables and the slot."""
    try:
        conn = connect(options.url, f"liberator {name}")
    except LiberatorError as exc:
        remedy = exc.hint or "is the server up, is the url right?"
        return [Finding("error", "connection", str(exc), remedy, option="url")]
    with conn:
        try:
            return list(_all(name, options, slot, conn))
        except psycopg.Error as exc:
            return [Finding("error", "catalog", f"cannot read the catalog: {reason(exc)}", "see the message")]


def _all(name: str, options: WalOptions, slot: str, conn: Connection) -> Iterator[Finding]:
    facts = catalog.server(conn)
    found = publication.read_slot(conn, slot)
    yield from _server(facts, options)
    yield from _room(facts, found is not None)
    yield from _tables(name, options, conn, facts)
    yield from _slot(slot, found, conn)
    yield from _budget(facts)
    for row in catalog.rows(conn, "prepared") if found is None else []:
        yield Finding(
            "warning", "prepared transaction", f"{row['gid']} is prepared since {row['seconds']} s",
            f"the new slot waits for it: commit prepared or rollback prepared '{row['gid']}'",
        )  # fmt: skip


#: What the server must be for an option, and what the option is for.
_SINCE: Final = {
    "messages": (14, "messages can be captured"),
    "skip_origins": (14, "transactions can say where they come from"),
    "failover": (17, "failover slots can be made"),
}


def _server(facts: dict[str, Any], options: WalOptions) -> Iterator[Finding]:
    version = facts["version"]
    if version < _OLDEST:
        yield Finding("error", "version", f"Postgres {version // 10000} is too old", "13 or later is needed")
    else:
        yield Finding("ok", "version", f"Postgres {version // 10000}.{version % 10000}")
    if facts["wal_level"] != "logical":
        yield Finding(
            "error", "wal_level", f"wal_level is {facts['wal_level']}, it must be logical",
            "alter system set wal_level = logical; then restart the server",
        )  # fmt: skip
    if not facts["can_replicate"]:
        yield Finding(
            "error", "privilege", f"role {facts['role']} may not replicate",
            f"alter role {quote(facts['role'])} replication  (on RDS: grant rds_replication to it)",
        )  # fmt: skip
    if facts["encoding"] == "SQL_ASCII":
        yield Finding(
            "warning", "encoding", "it is SQL_ASCII, which checks nothing: a text that is not UTF-8 stops us",
            "convert such texts, or leave their columns out with `columns`",
        )  # fmt: skip
    for option, (since, what) in _SINCE.items():
        if getattr(options, option) and version < since * 10_000:
            yield Finding(
                "error", option, f"{what} from Postgres {since} on", f"leave {option} out", option=option
            )
    if options.failover and facts["standby_slots"] == "":
        yield Finding(
            "warning", "failover",
            "synchronized_standby_slots is empty, so we may be told changes that no standby has yet: if one "
            "is promoted then, they are lost there, and not in the log",
            "alter system set synchronized_standby_slots = '…'; select pg_reload_conf();  (it names the "
            "standbys' physical slots)",
            option="failover",
        )  # fmt: skip


def _room(facts: dict[str, Any], have_slot: bool) -> Iterator[Finding]:
    for what, used, most in (
        ("slots", facts["used_slots"], facts["max_slots"]),
        ("senders", facts["used_senders"], facts["max_senders"]),
    ):
        setting = f"max_replication_{what}" if what == "slots" else f"max_wal_{what}"
        if used >= most and not (have_slot and what == "slots"):
            yield Finding(
                "error", setting, f"all {most} are in use",
                f"drop what is not needed, or raise {setting} and restart the server",
            )  # fmt: skip


def _tables(name: str, options: WalOptions, conn: Connection, facts: dict[str, Any]) -> Iterator[Finding]:
    try:
        tables = catalog.captured(catalog.all_tables(conn), options.tables, f"sources.{name}.tables")
    except ConfigError as exc:
        yield Finding("error", "tables", str(exc), exc.hint or "")
        return
    yield Finding("ok", "tables", f"{len(tables)} to capture")
    for pattern in parts.idle(options, tables):
        yield Finding(
            "warning", "tables", f"no table matches {pattern}", "one that is made later will be captured"
        )
    for table in tables:
        yield from _table(table, options, conn, facts["role"])
    try:
        parts.refuse(conn, options, name, tables)
    except ConfigError as exc:
        yield from _problems("tables", exc)
        return
    yield from _publications(name, options, tables, conn, facts)


def _publications(
    name: str, options: WalOptions, tables: list[Table], conn: Connection, facts: dict[str, Any]
) -> Iterator[Finding]:
    planned: list[publication.Publication] = []
    try:
        planned = publication.plan(options, name, tables, facts["version"])
    except ConfigError as exc:
        yield from _problems("replica identity", exc)
    for each in planned:
        if each.state(conn) != "present" and not facts["can_create"]:
            yield Finding(
                "error", "publication", f"{each.name} is missing and role {facts['role']} may not create it",
                "let the owner of the tables run: " + "; ".join(each.create()),
            )  # fmt: skip
        elif options.columns or options.filter:
            yield from _rehearsal(each, conn)


def _problems(what: str, error: ConfigError) -> Iterator[Finding]:
    for problem in error.problems:
        yield Finding("error", what, problem, error.hint or "")


def _rehearsal(planned: publication.Publication, conn: Connection) -> Iterator[Finding]:
    try:
        publication.rehearse(conn, planned)
    except ConfigError as exc:
        yield from _problems("replica identity", exc)
    except psycopg.Error as exc:
        yield Finding(
            "error",
            "publication",
            f"{planned.name} cannot be made: {reason(exc)}",
            "; ".join(planned.create()),
        )


def _table(table: Table, options: WalOptions, conn: Connection, role: str) -> Iterator[Finding]:
    readable = catalog.rows(conn, "readable", {"oid": table.oid})
    if readable and options.snapshot != "none" and not (readable[0]["readable"] and readable[0]["usable"]):
        yield Finding(
            "error", "privilege", f"{table.full_name} may not be read",
            f"grant usage on schema {quote(table.schema)} to {quote(role)}; "
            f"grant select on {table.sql} to {quote(role)}",
        )  # fmt: skip


def _slot(slot: str, found: dict[str, Any] | None, conn: Connection) -> Iterator[Finding]:
    if found is None:
        yield Finding("ok", "slot", f"{slot} will be created")
    elif found.get("wal_status") == "lost" or found.get("invalidation_reason"):
        yield Finding(
            "error", "slot", f"{slot} was invalidated: the changes it kept are gone",
            "`liberator snapshot --config FILE --recover SOURCE` makes a new one and reads the tables anew",
        )  # fmt: skip
    else:
        yield Finding("ok", "slot", f"{slot} is there, {'in use' if found['active'] else 'not in use'}")
        if (age := found["horizon_age"] or 0) > _OLD_HORIZON:
            yield Finding(
                "warning", "slot", f"{slot} keeps the catalog from being vacuumed, for {age:,} transactions",
                "let `liberator run` catch up, or `liberator teardown` if nobody will",
            )  # fmt: skip
    for row in catalog.rows(conn, "leftovers", {"slot": slot}):
        yield Finding(
            "warning", "slot", f"{row['slot_name']} is nobody's and keeps {row['retained']} of WAL",
            f"if no other liberator owns it: select pg_drop_replication_slot('{row['slot_name']}')",
        )  # fmt: skip


def _budget(facts: dict[str, Any]) -> Iterator[Finding]:
    if facts["keep_size"] == "-1":
        yield Finding(
            "warning", "disk budget", "max_slot_wal_keep_size is unlimited: while liberator is down, WAL is "
            "kept until the disk is full",
            "alter system set max_slot_wal_keep_size = '50GB'; select pg_reload_conf()",
        )  # fmt: skip
    idle = facts["idle_timeout"]
    if idle not in (None, "0", "0s", "0min"):
        yield Finding(
            "warning", "idle slots", f"idle_replication_slot_timeout is {idle}: the slot is invalidated if "
            "liberator is down for longer",
            "raise it above the longest outage that you want to survive",
        )  # fmt: skip


def status(conn: Connection, slot: str, state: State | None, left_out: Sequence[str] = ()) -> SourceStatus:
    """The slot's numbers; ``left_out`` are tables without a replica identity. Raises the driver's errors."""
    row = conn.execute(
        "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()"
        " else pg_current_wal_lsn() end::text"
    ).fetchone()
    now = parse_lsn(row[0]) if row else 0
    found = publication.read_slot(conn, slot)
    details: dict[str, Any] = {"slot": slot}
    if left_out:
        details["warnings"] = [f"not captured, for want of a replica identity: {', '.join(left_out)}"]
    retained = None
    if found is None:
        details["slot_state"] = "missing"
    else:
        details["slot_state"] = found.get("wal_status") or "unknown"
        details["active"] = found["active"]
        details["confirmed"] = found["confirmed_flush_lsn"]
        details["horizon_age"] = found["horizon_age"]
        if found.get("safe_wal_size") is not None:
            details["safe_wal_bytes"] = found["safe_wal_size"]
        if found["restart_lsn"]:
            retained = max(0, now - parse_lsn(found["restart_lsn"]))
    return SourceStatus(
        format_lsn(state.position.major) if state else None,
        format_lsn(now),
        max(0, now - state.position.major) if state else None,
        retained,
        details,
    )
