"""What a binlog source needs of its server, and how far it is from losing its place.

:func:`check` looks at everything and reports all findings at once; :func:`require` is the short form that
stops a run before it fails in a less obvious way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pymysql

from connectors.mysql import catalog
from connectors.mysql.binlog.options import BinlogOptions
from connectors.mysql.binlog.transactions import number_of, place_of
from connectors.mysql.catalog import Table, is_on
from connectors.mysql.connection import Connection, Server, connect, query, quote, reason
from liberator.errors import ConfigError, LiberatorError, SourceError
from liberator.patterns import Patterns
from liberator.preflight import Finding
from liberator.source import SourceStatus, State

_OLDEST: Final = {"mysql": (8, 0), "mariadb": (10, 6)}
#: A server that purges sooner than this many hours leaves no time to mend anything.
_HOURS: Final = 24


def require(name: str, server: Server, settings: Mapping[str, str]) -> None:
    """Raise SourceError if the server cannot be captured at all."""
    for finding in _server(server, settings):
        if finding.level == "error":
            raise SourceError(f"source {name}: {finding.message}", hint=finding.remedy)


def check(name: str, options: BinlogOptions) -> list[Finding]:
    """All findings about the server, our user and the tables."""
    try:
        conn = connect(options.url, f"liberator {name}")
    except LiberatorError as exc:
        remedy = exc.hint or "is the server up, is the url right?"
        return [Finding("error", "connection", str(exc), remedy, option="url")]
    with conn:
        try:
            return list(_all(name, options, conn))
        except pymysql.MySQLError as exc:
            return [Finding("error", "catalog", f"cannot read the catalog: {reason(exc)}", "see the message")]


def _all(name: str, options: BinlogOptions, conn: Connection[Any]) -> Iterator[Finding]:
    server, settings = Server.of(conn), catalog.settings(conn)
    yield from _server(server, settings)
    yield from _binlog(server, settings)
    yield from _gtids(server, settings, options)
    yield from _retention(settings)
    yield from _privileges(conn, server)
    by_gtid = settings.get("gtid_mode") == "ON" and options.gtid != "off"
    if options.snapshot != "none" and not server.mariadb and not by_gtid:
        yield from _locks(conn)
    yield from _order(server, settings)
    yield from _tables(name, options, conn, server, settings)


def _server(server: Server, settings: Mapping[str, str]) -> Iterator[Finding]:
    oldest = _OLDEST[server.flavour]
    if server.version[:2] < oldest:
        yield Finding(
            "error", "version", f"{server} is too old", f"{'.'.join(map(str, oldest))} or later is needed"
        )
    else:
        yield Finding("ok", "version", str(server))
    if not is_on(settings.get("log_bin")):
        yield Finding(
            "error", "log_bin", "the server writes no binlog",
            "set log_bin in the server's configuration, then restart the server",
        )  # fmt: skip
    form = settings.get("binlog_format", "ROW").upper()
    if form != "ROW":
        yield Finding(
            "error", "binlog_format", f"binlog_format is {form}, it must be ROW",
            "set global binlog_format = 'ROW'; then end all sessions that still have another",
        )  # fmt: skip


def _binlog(server: Server, settings: Mapping[str, str]) -> Iterator[Finding]:
    image = settings.get("binlog_row_image", "FULL").upper()
    if image != "FULL":
        yield Finding(
            "warning", "binlog_row_image", f"binlog_row_image is {image}: updates do not say what they "
            f"leave alone",
            "set global binlog_row_image = 'FULL', if sinks need whole rows",
        )  # fmt: skip
    if settings.get("binlog_row_metadata", "").upper() != "FULL":
        yield Finding(
            "warning", "binlog_row_metadata", "the binlog does not name columns: after DDL, or while we "
            "are down, "
            "a table may have changed in a way that cannot be seen, and a run may have to stop",
            "set global binlog_row_metadata = 'FULL'",
        )  # fmt: skip
    if "PARTIAL_JSON" in settings.get("binlog_row_value_options", ""):
        yield Finding(
            "warning", "binlog_row_value_options", "updates of JSON documents are written as diffs",
            "fine with binlog_row_image=FULL; else each such row is read again",
        )  # fmt: skip
    if server.mariadb and not is_on(settings.get("log_slave_updates")):
        yield from _replica("log_slave_updates")
    if not server.mariadb and not is_on(
        settings.get("log_replica_updates", settings.get("log_slave_updates"))
    ):
        yield from _replica("log_replica_updates")


def _replica(setting: str) -> Iterator[Finding]:
    yield Finding(
        "warning", setting, f"{setting} is off: what this server replicates from another is not in its "
        f"binlog",
        f"set {setting}=ON if it is a replica, or is to become one",
    )  # fmt: skip


def _gtids(server: Server, settings: Mapping[str, str], options: BinlogOptions) -> Iterator[Finding]:
    if options.gtid == "off":
        return
    if server.mariadb:
        if not is_on(settings.get("gtid_strict_mode")):
            yield Finding(
                "warning", "gtid_strict_mode", "gtid_strict_mode is off: after a failover a transaction "
                "may have the "
                "number of another one, unnoticed",
                "set global gtid_strict_mode = 1",
            )  # fmt: skip
        return
    mode = settings.get("gtid_mode", "OFF")
    if mode == "ON":
        yield Finding("ok", "gtid_mode", "positions are GTIDs: another server of the topology can take over")
        return
    level: Any = "error" if options.gtid == "on" and not mode.startswith("ON") else "warning"
    yield Finding(
        level, "gtid_mode", f"gtid_mode is {mode}: positions hold for this server alone; after a "
        f"failover a run stops",
        "switch GTIDs on, in the steps of the server's manual",
    )  # fmt: skip


def hours(settings: Mapping[str, str]) -> float | None:
    """For how many hours the server keeps its binlog; None: for ever."""
    seconds = float(settings.get("binlog_expire_logs_seconds", 0) or 0)
    if not seconds:
        seconds = float(settings.get("expire_logs_days", 0) or 0) * 86_400
    if not seconds or settings.get("binlog_expire_logs_auto_purge", "ON").upper() == "OFF":
        return None
    return seconds / 3600


def _retention(settings: Mapping[str, str]) -> Iterator[Finding]:
    kept = hours(settings)
    if kept is None:
        yield Finding("ok", "retention", "the binlog is kept until somebody purges it")
    elif kept < _HOURS:
        yield Finding(
            "warning", "retention", f"the binlog is kept for {kept:g} hours: a longer outage of ours "
            f"loses changes",
            "set global binlog_expire_logs_seconds = 604800 (a week; on RDS: call "
            "mysql.rds_set_configuration('binlog retention hours', 168))",
        )  # fmt: skip
    else:
        yield Finding("ok", "retention", f"the binlog is kept for {kept:g} hours")


def _account(conn: Connection[Any]) -> str:
    """We, as statements name us."""
    name, _, host = str(query(conn, "select current_user()")[0][0]).rpartition("@")
    return f"{quote(name)}@{quote(host)}"


def _privileges(conn: Connection[Any], server: Server) -> Iterator[Finding]:
    text = " ".join(str(row[0]) for row in query(conn, "show grants")).upper()
    user = _account(conn)
    slave = ("REPLICATION SLAVE", "REPLICATION REPLICA", "ALL PRIVILEGES ON *.*")
    client = ("REPLICATION CLIENT", "BINLOG MONITOR", "SUPER", "ALL PRIVILEGES ON *.*")
    if not any(word in text for word in slave):
        yield Finding(
            "error",
            "privilege",
            f"user {user} may not read the binlog",
            f"grant replication slave on *.* to {user}",
        )
    try:
        catalog.binlog_status(conn, server)
        catalog.binlog_files(conn)
    except SourceError:
        return  # there is none, which was told
    except pymysql.MySQLError:
        if not any(word in text for word in client):
            yield Finding(
                "error", "privilege", f"user {user} may not ask where the binlog stands",
                f"grant {'binlog monitor' if server.mariadb else 'replication client'} on *.* to {user}",
            )  # fmt: skip


def _locks(conn: Connection[Any]) -> Iterator[Finding]:
    try:
        catalog.committing(conn)
    except SourceError as exc:
        remedy = (exc.hint or "").partition(";")[0].replace("our user", _account(conn))
        yield Finding("error", "locks", str(exc), remedy)


def _order(server: Server, settings: Mapping[str, str]) -> Iterator[Finding]:
    if not server.mariadb and not is_on(settings.get("binlog_order_commits", "ON")):
        yield Finding(
            "warning", "binlog_order_commits", "transactions may become visible in another order than "
            "the binlog's",
            "set global binlog_order_commits = ON",
        )  # fmt: skip
    preserve = settings.get("replica_preserve_commit_order", settings.get("slave_preserve_commit_order"))
    if preserve is not None and not is_on(preserve):
        yield Finding(
            "warning", "replica_preserve_commit_order", "as a replica this server may commit in another "
            "order than "
            "its source",
            "set global replica_preserve_commit_order = ON",
        )  # fmt: skip


def _tables(
    name: str, options: BinlogOptions, conn: Connection[Any], server: Server, settings: Mapping[str, str]
) -> Iterator[Finding]:
    try:
        tables = catalog.captured(
            catalog.all_tables(conn), options.tables, options.ghosts, f"sources.{name}.tables"
        )
    except ConfigError as exc:
        yield Finding("error", "tables", str(exc), exc.hint or "")
        return
    yield Finding("ok", "tables", f"{len(tables)} to capture")
    yield from _special(options, conn, server)
    for table in tables:
        yield from _table(table, options, conn)
    yield from _filters(tables, conn, server)
    below = "ON" if server.mariadb or server.version < (9, 6) else "OFF"
    if not is_on(settings.get("innodb_native_foreign_keys", below)):
        return  # the server writes what cascades do
    referring = set(query(conn, catalog.SQL["references"]))
    tables = [table for table in tables if (table.schema, table.name) in referring]
    for table in tables:
        for constraint, rules in catalog.cascades(conn, table):
            yield Finding(
                "warning", "cascade", f"foreign key {constraint} of {table.full_name} ({rules}): "
                f"the binlog does "
                "not say which rows it changes",
                "let the application change them, or read the table again from time to time: liberator "
                "snapshot",
            )  # fmt: skip


def _special(options: BinlogOptions, conn: Connection[Any], server: Server) -> Iterator[Finding]:
    """What the patterns name, and is left out all the same."""
    if not server.mariadb:
        return
    wanted = Patterns(options.tables)
    for name, kind in catalog.special(conn):
        if kind == catalog.VERSIONED and wanted(name):
            yield Finding(
                "warning", "versioned", f"{name} is system-versioned and left out: its history stands in the "
                "binlog as rows like any others",
                f"leave it out by name (!{name}), or give up its history: "
                f"alter table {quote(*name.split('.', 1))} drop system versioning",
            )  # fmt: skip


def _filters(tables: Sequence[Table], conn: Connection[Any], server: Server) -> Iterator[Finding]:
    try:
        status = catalog.binlog_status(conn, server)
    except (pymysql.MySQLError, SourceError):
        return  # which was told
    for database in sorted({table.schema for table in tables if status.leaves_out(table.schema)}):
        yield Finding(
            "error", "filter", f"the server does not write changes of database {database} to its binlog",
            "see its options binlog_do_db and binlog_ignore_db; they need a restart",
        )  # fmt: skip


def _table(table: Table, options: BinlogOptions, conn: Connection[Any]) -> Iterator[Finding]:
    if options.snapshot != "none" and (why := catalog.may_read(conn, table)) is not None:
        yield Finding(
            "error",
            "privilege",
            f"{table.full_name} may not be read: {why}",
            f"grant select on {table.sql} to {_account(conn)}",
        )
    if not table.keyed:
        yield Finding(
            "warning", "key", f"{table.full_name} has no primary key: its snapshot is read in one "
            "transaction, and sinks find its rows by all their values",
            f"alter table {table.sql} add primary key (…)",
        )  # fmt: skip
    if table.engine.lower() != "innodb":
        yield Finding(
            "warning", "engine", f"{table.full_name} is {table.engine}: its snapshot is not of one moment",
            f"alter table {table.sql} engine = InnoDB",
        )  # fmt: skip


def status(conn: Connection[Any], state: State | None) -> SourceStatus:
    """Where the server is and where we are. Raises the driver's errors."""
    server, settings = Server.of(conn), catalog.settings(conn)
    now = catalog.binlog_status(conn, server)
    current = f"{now.file}:{now.position}"
    details: dict[str, Any] = {}
    if (kept := hours(settings)) is not None:
        details["retention_hours"] = round(kept, 1)
    if state is None or not state.identity.get("file"):
        return SourceStatus(None, current, None, None, details)
    number, offset = place_of(state.position.major)
    file = str(state.identity["file"])
    files = catalog.binlog_files(conn)
    lag = sum(size for name, size in files if number_of(name) >= number)
    lost = file not in dict(files)
    lag = max(0, lag if lost else lag - offset)
    behind = max(0.0, time.time() - int(state.identity.get("timestamp", 0)) / 1e6) if lag > 0 else 0.0
    details["lag_seconds"] = round(behind, 1)
    if lost:
        details["binlog"] = "lost"
        details["warnings"] = [f"the server has purged {file}, where we are: changes may be missing"]
    elif kept is not None:
        headroom = max(0.0, kept - behind / 3600)
        details["headroom_hours"] = round(headroom, 1)
        if headroom < kept / 4:
            details["warnings"] = [f"in {headroom:.1f} hours the server may purge what has not been read"]
    if gtids := state.identity.get("gtids"):
        details["gtids"] = gtids
    return SourceStatus(f"{file}:{offset}", current, lag, None, details)
