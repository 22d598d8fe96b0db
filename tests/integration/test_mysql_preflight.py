"""What the binlog source says of a server before a run and beside one: each finding, and what mends it."""

from __future__ import annotations

import re
import time

import pytest

from connectors.mysql.binlog import preflight
from connectors.mysql.connection import Server
from connectors.mysql.server import MariaDbServer, MySqlServer
from liberator.errors import SourceError
from liberator.source import State
from tests.binlog import Binlog, is_mariadb, reading, rows, run

#: Nothing is as it should be, but for what a source cannot do without.
SPOILT = {
    "mysql": {
        "gtid_mode": "OFF",
        "enforce_gtid_consistency": "OFF",
        "binlog_row_image": "MINIMAL",
        "binlog_row_metadata": "MINIMAL",
        "binlog_row_value_options": "PARTIAL_JSON",
        "binlog_expire_logs_seconds": "3600",
        "binlog_order_commits": "OFF",
        "replica_preserve_commit_order": "OFF",
        "log_replica_updates": "OFF",
        "innodb_native_foreign_keys": "ON",
        "binlog_ignore_db": "unwritten",
    },
    "mariadb": {
        "binlog_row_image": "MINIMAL",
        "binlog_row_metadata": "NO_LOG",
        "binlog_expire_logs_seconds": "3600",
        "gtid_strict_mode": "OFF",
        "log_slave_updates": "OFF",
        "binlog_do_db": "d",
    },
}
#: What is found then at both, and at one of them.
FOUND = {"binlog_row_image", "binlog_row_metadata", "retention", "cascade", "key", "engine"}
OWN = {
    "mysql": {
        "binlog_row_value_options",
        "gtid_mode",
        "binlog_order_commits",
        "replica_preserve_commit_order",
        "log_replica_updates",
    },
    "mariadb": {"gtid_strict_mode", "log_slave_updates"},
}
#: What takes a restart or a decision.
STAYS = {
    "gtid_mode",
    "log_replica_updates",
    "log_slave_updates",
    "cascade",
    "key",
    "binlog_row_value_options",
}


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def spoilt(request):
    kind = MySqlServer if request.param == "mysql" else MariaDbServer
    with kind(request.getfixturevalue(f"{request.param}_binary"), SPOILT[request.param]) as server:
        run(server.url(), "create database d")
        run(
            server.url("d"),
            "create table p (id int primary key)",
            "create table c (id int primary key, p int, constraint `a``b` foreign key (p) references p (id) "
            "on delete set null on update cascade)",
            "create table keyless (a int)",
            "create table old (id int primary key) engine = MyISAM",
        )
        yield server


def findings(url, **options):
    return [f for f in Binlog(url, **options).make().check() if f.level != "ok"]


def test_everything_that_hinders_is_found_and_what_is_said_to_mend_it_does(spoilt):
    url = spoilt.url("d")
    found = findings(url)
    assert {f.check for f in found} == FOUND | OWN[spoilt.NAME]
    assert {f.level for f in found} == {"warning"}
    assert all(f.remedy for f in found)
    (cascade,) = [f.message for f in found if f.check == "cascade"]
    assert cascade.startswith("foreign key a`b of d.c (on delete set null, on update cascade): ")
    mended = [
        match[0]
        for f in found
        for match in [re.match(r"set global \w+ = [^,;\s]+|alter table \S+ engine = \w+", f.remedy)]
        if match
    ]
    run(url, *mended)
    assert {f.check for f in findings(url)} == STAYS & (FOUND | OWN[spoilt.NAME])


def test_a_server_that_logs_statements_is_refused_and_told_how_to_log_rows(spoilt):
    url = spoilt.url("d")
    run(url, "set global binlog_format = 'STATEMENT'")
    try:
        (found,) = [f for f in findings(url) if f.level == "error"]
        assert (found.check, "STATEMENT" in found.message) == ("binlog_format", True)
        with pytest.raises(SourceError, match="binlog_format is STATEMENT") as refused:
            Binlog(url).open()
        assert refused.value.hint == found.remedy
        run(url, found.remedy.partition(";")[0])
        assert not [f for f in findings(url) if f.level == "error"]
    finally:
        run(url, "set global binlog_format = 'ROW'")


def test_what_an_account_may_not_is_found_and_granted_by_the_remedies(spoilt):
    url, user = spoilt.url("d"), "o'brien"
    account = f"`{user}`@`%`"
    run(url, f"create user {account} identified by 'secret'", f"grant insert on d.p to {account}")
    try:
        weak = url.replace("root@", "o%27brien:secret@")
        found = [f for f in findings(weak, tables=["d.p"]) if f.level == "error"]
        # Without GTIDs a snapshot has to see who is committing, on MySQL.
        locks = ["locks"] * isinstance(spoilt, MySqlServer)
        assert sorted(f.check for f in found) == locks + ["privilege"] * 3
        assert all(account in f.remedy for f in found)
        assert "secret" not in str(found)
        run(url, *(f.remedy for f in found))
        assert not [f for f in findings(weak, tables=["d.p"]) if f.level == "error"]
        run(url, "insert into p values (1)")
        with reading(weak, tables=["d.p"]) as binlog:
            assert [e.key for e in binlog.read()] == [(1,)]
    finally:
        run(url, f"drop user {account}", "delete from p")
    (lost,) = findings(url.replace("root@", "nobody:secret@"))
    assert (lost.level, lost.check, lost.option) == ("error", "connection", "url")
    assert "secret" not in str(lost)


def test_tables_whose_changes_the_server_keeps_out_of_its_binlog_are_told(spoilt):
    run(spoilt.url(), "create database unwritten", "create table unwritten.t (id int primary key)")
    try:
        found = [f for f in findings(spoilt.url("d"), tables=["*.p", "*.t"]) if f.level == "error"]
        assert [f.check for f in found] == ["filter"]
        assert "database unwritten" in found[0].message
    finally:
        run(spoilt.url(), "drop database unwritten")


def test_gtids_that_are_asked_for_and_not_there_are_an_error(spoilt):
    url = spoilt.url("d")
    if isinstance(spoilt, MariaDbServer):
        assert not [f for f in findings(url, gtid="on") if f.level == "error"]
        return
    assert [f.check for f in findings(url, gtid="on") if f.level == "error"] == ["gtid_mode"]
    assert "gtid_mode" not in {f.check for f in findings(url, gtid="off")}
    with pytest.raises(SourceError, match="gtid is on, but the server's gtid_mode is OFF"):
        Binlog(url, gtid="on").open()


def test_tables_that_nothing_matches_are_told(spoilt):
    (found,) = [f for f in findings(spoilt.url("d"), tables=["d.none*"]) if f.level == "error"]
    assert found.check == "tables" and "d.none*" in found.message and found.remedy


def test_a_server_without_a_binlog_is_told_all_the_same(mysql_binary):
    options = {"gtid_mode": "OFF", "enforce_gtid_consistency": "OFF", "log_bin": None}
    with MySqlServer(mysql_binary, options) as server:
        run(server.url(), "create database d")
        run(server.url("d"), "create table t (id int primary key)")
        found = findings(server.url("d"))
        assert [f.check for f in found if f.level == "error"] == ["log_bin"]
        assert "restart" in found[0].remedy
        with pytest.raises(SourceError, match="writes no binlog"):
            Binlog(server.url("d")).open()


def test_a_server_that_does_not_say_who_is_committing_gives_no_snapshot_without_gtids(mysql_binary):
    with MySqlServer(mysql_binary, {"performance_schema": "OFF"}) as server:
        run(server.url(), "create database d")
        url = server.url("d")
        run(url, "create table t (id int primary key)", "insert into t values (1)")
        (found,) = [f for f in findings(url, gtid="off") if f.level == "error"]
        assert (found.check, found.remedy[:25]) == ("locks", "set performance_schema=ON")
        with (
            reading(url, gtid="off") as binlog,
            pytest.raises(SourceError, match="notes no locks") as refused,
        ):
            binlog.read()
        assert "performance_schema=ON" in refused.value.hint
        for options in ({"gtid": "auto"}, {"gtid": "off", "snapshot": "none"}):
            assert not [f for f in findings(url, **options) if f.level == "error"]
        with reading(url) as binlog:
            assert [e.key for e in binlog.read()] == [(1,)]


@pytest.mark.parametrize(
    ("flavour", "version", "fits"),
    [("mysql", (5, 7, 44), False), ("mysql", (8, 0, 11), True), ("mysql", (9, 7, 0), True),
     ("mariadb", (10, 5, 29), False), ("mariadb", (10, 6, 1), True), ("mariadb", (11, 8, 2), True)],
)  # fmt: skip
def test_a_server_that_is_too_old_is_refused(flavour, version, fits):
    server, settings = Server(flavour, version), {"log_bin": "ON", "binlog_format": "ROW"}
    if fits:
        return preflight.require("s", server, settings)
    with pytest.raises(SourceError, match="is too old"):
        preflight.require("s", server, settings)


def test_lag_and_head_room_are_told_and_what_is_about_to_be_lost_is_warned_of(mysqls_database):
    run(mysqls_database, "create table t (id int primary key, b longtext)")
    before = rows(mysqls_database, "select @@global.binlog_expire_logs_seconds")[0][0]
    run(mysqls_database, "set global binlog_expire_logs_seconds = 36000")
    try:
        with reading(mysqls_database) as binlog:
            fresh = binlog.source.status(None)
            assert (fresh.position, fresh.lag_bytes, fresh.details) == (None, None, {"retention_hours": 10})
            run(mysqls_database, "insert into t values (1, 'x')")
            binlog.read()
            now = binlog.source.status(binlog.state)
            assert (now.position, now.lag_bytes) == (now.current, 0)
            assert now.details["headroom_hours"] == now.details["retention_hours"] == 10
            assert now.details["lag_seconds"] == 0 and "warnings" not in now.details
            run(mysqls_database, "insert into t values (2, repeat('y', 100000))")
            behind = binlog.source.status(binlog.state)
            assert 100_000 < behind.lag_bytes < 110_000
            late = older(binlog.state, hours=8)
            told = binlog.source.status(late).details
            assert told["headroom_hours"] == 2.0 and 28_800 <= told["lag_seconds"] < 28_900
            assert told["warnings"] == ["in 2.0 hours the server may purge what has not been read"]
            gone = State(late.position, {**late.identity, "file": "binlog.000000"}, {}, {})
            told = binlog.source.status(gone).details
            assert told["binlog"] == "lost" and "purged" in told["warnings"][0]
    finally:
        run(mysqls_database, f"set global binlog_expire_logs_seconds = {before}")


def older(state, hours):
    """As if it were so many hours ago that the stream was read."""
    moment = (time.time() - hours * 3600) * 1_000_000
    return State(state.position, {**state.identity, "timestamp": int(moment)}, state.snapshot, state.schemas)


def test_head_room_is_without_end_where_nothing_is_purged(mysqls_database):
    name = "binlog_expire_logs_seconds" if is_mariadb(mysqls_database) else "binlog_expire_logs_auto_purge"
    before = rows(mysqls_database, f"select @@global.{name}")[0][0]
    run(mysqls_database, "create table t (id int primary key)", f"set global {name} = 0")
    try:
        with reading(mysqls_database) as binlog:
            binlog.read()
            assert "headroom_hours" not in binlog.source.status(binlog.state).details
            assert [f.level for f in binlog.source.check() if f.check == "retention"] == ["ok"]
    finally:
        run(mysqls_database, f"set global {name} = {before}")
