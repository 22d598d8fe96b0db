"""What ``liberator check`` looks at before a sink writes to MySQL or MariaDB."""

from __future__ import annotations

import contextlib
from typing import Any

import pymysql
from pymysql.connections import Connection

from connectors.mysql.connection import Server, connect, query, quote, reason
from connectors.sql.statements import load
from liberator.errors import LiberatorError
from liberator.preflight import Finding

SQL = load("connectors.mysql.sink", "sink.sql")
#: The oldest versions that have what the sink says: an alias for inserted rows, a collation without padding.
OLDEST = {"mysql": (8, 0, 19), "mariadb": (10, 6)}
#: A statement must have room for a batch of ordinary rows, in bytes.
SMALL_PACKET = 4 << 20
#: The page size below which an index holds less than our keys may have, in bytes.
PAGE = 16 << 10
PROBE = "liberator_check"


def findings(url: str) -> list[Finding]:
    """Whether the server can be reached, is one that we know, and lets our account create and write."""
    try:
        conn = connect(url, "liberator check")
    except LiberatorError as exc:
        return [Finding("error", "connection", str(exc), exc.hint or "check the sink's url", option="url")]
    with contextlib.closing(conn):
        server = Server.of(conn)
        account, home, read_only, packet, logs, log_format, page = query(conn, SQL["check"])[0]
        out = [Finding("ok", "connection", f"connected to {server} as {account}")]
        if server.version < OLDEST[server.flavour]:
            oldest = ".".join(map(str, OLDEST[server.flavour]))
            out.append(Finding("error", "version", f"{server} is too old", f"upgrade to {oldest} or newer"))
        if read_only:
            out.append(
                Finding("error", "read only", "the server is read only", "use the URL of the primary server")
            )
        if logs and log_format == "STATEMENT":
            out.append(
                Finding(
                    "error",
                    "binlog_format",
                    "the server logs statements, from which a replica of it would come to differ",
                    "set global binlog_format = 'ROW'",
                )
            )
        out += _limits(int(packet), int(page))
        if home is None:
            out.append(
                Finding(
                    "error",
                    "database",
                    "the url names no database",
                    "write mysql://user@host:3306/database",
                    option="url",
                )
            )
        elif not read_only:
            out += _privileges(conn, str(home), str(account))
    return out


def _limits(packet: int, page: int) -> list[Finding]:
    out = []
    if packet < SMALL_PACKET:
        out.append(
            Finding(
                "warning",
                "max_allowed_packet",
                f"a statement has room for {packet} bytes, so has a row",
                "set global max_allowed_packet = 64 * 1024 * 1024",
            )
        )
    if page < PAGE:
        out.append(
            Finding(
                "warning",
                "innodb_page_size",
                f"pages of {page} bytes hold shorter keys than this sink makes of text",
                "create tables with text in their key yourself, with narrower columns",
            )
        )
    return out


def _privileges(conn: Connection[Any], home: str, account: str) -> list[Finding]:
    """Try what the sink does, on a table that goes again: grants can come from roles and wildcards."""
    name = quote(home, PROBE)
    lacking = {}
    for what, sql in (
        ("create temporary tables", f"create temporary table {name} (a int)"),
        ("drop", f"drop temporary table if exists {name}"),
        ("create", f"create table if not exists {name} (a int primary key, b int) engine = InnoDB"),
        ("alter", f"alter table {name} modify column b bigint null"),
        ("index", f"create unique index by_b on {name} (b)"),
        ("insert", f"insert into {name} values (1, 1)"),
        ("update", f"update {name} set b = 2"),
        ("select", f"select * from {name}"),
        ("delete", f"delete from {name}"),
        ("drop", f"drop table if exists {name}"),
    ):
        try:
            query(conn, sql)
        except pymysql.MySQLError as exc:
            lacking[what] = reason(exc)
            if what == "create":
                break
    if not lacking:
        return [Finding("ok", "privileges", f"{account} may create and write tables in database {home}")]
    # The account as a grant spells it.
    user, _, host = account.rpartition("@")
    return [
        Finding(
            "error",
            "privileges",
            f"{account} may not {', '.join(lacking)} in database {home}: {next(iter(lacking.values()))}",
            f"grant {', '.join(dict.fromkeys(lacking))} on {quote(home)}.* to '{user}'@'{host}'",
        )
    ]
