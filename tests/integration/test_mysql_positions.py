"""Positions of the binlog source where GTIDs come into use, are missing, or are not what the server has; and
snapshots while a commit is in the binlog that nobody can see."""

from __future__ import annotations

import pytest

from connectors.mysql import catalog
from connectors.mysql.binlog.transactions import major_of
from connectors.mysql.server import MySqlServer
from liberator.errors import PositionLost
from liberator.event import Operation, Position
from liberator.source import State
from tests.binlog import is_mariadb, reading, rows, run, together
from tests.fix_mysql import connected
from tests.integration.test_mysql_unlogged import Copy, elsewhere
from tests.integration.test_outbox_first_start import beside, eventually, no_replica_answers

TABLE = "create table t (id int primary key, a int)"


def keys(events):
    return [e.key[0] for e in events]


def executed(url):
    (text,) = rows(url, "select @@gtid_binlog_pos" if is_mariadb(url) else "select @@gtid_executed")[0]
    return text.replace("\n", "")


def test_gtids_that_come_into_use_are_those_of_everything_before(mysqls_database):
    """Else another server would send again what it has before those that we have seen."""
    run(mysqls_database, TABLE, "insert into t values (1, 1)")
    if is_mariadb(mysqls_database):
        run(mysqls_database, "set session gtid_domain_id = 5", "insert into t values (2, 2)")
    else:
        run(mysqls_database, "set gtid_next = 'AUTOMATIC:tag'", "insert into t values (2, 2)")
    with reading(mysqls_database, gtid="off", batch=1) as binlog:
        binlog.read()
        assert binlog.state.identity["gtids"] == ""
        together(mysqls_database, *(f"insert into t values ({n}, 0)" for n in range(10, 13)))
        while not (first := binlog.step().events):
            pass
        binlog.reopen(gtid="auto")
        rest = binlog.read()
        assert keys([*first, *rest]) == [10, 11, 12]
        assert binlog.state.identity["gtids"] == executed(mysqls_database)
        elsewhere(binlog)
        run(mysqls_database, "insert into t values (20, 0)")
        assert keys(binlog.read()) == [20]


def test_a_position_that_mariadb_does_not_tell_is_read_from_its_binlog(mariadb_database):
    """It does not tell one behind an event that is larger than it would take from a client."""
    run(
        mariadb_database,
        "create table t (id int primary key, b longtext)",
        "set global max_allowed_packet = 1048576",
    )
    try:
        run(mariadb_database, "insert into t values (1, '')")
        run(mariadb_database, "update t set b = repeat('x', 900000)", "set gtid_domain_id = 6")
        run(mariadb_database, "update t set b = repeat('y', 900000)")
        file, offset = rows(mariadb_database, "show binlog status")[0][:2]
        assert rows(mariadb_database, f"select binlog_gtid_pos('{file}', {offset})") == [(None,)]
        with reading(mariadb_database) as binlog:
            assert keys(binlog.read()) == [1]
            assert binlog.state.identity["gtids"] == executed(mariadb_database)
    finally:
        run(mariadb_database, "set global max_allowed_packet = 16777216")


def test_a_server_that_is_about_to_use_gtids_is_gone_on_with_after_a_purge_and_elsewhere(mysql_binary):
    with MySqlServer(mysql_binary, {"gtid_mode": "ON_PERMISSIVE"}) as server:
        run(server.url(), "create database d")
        url = server.url("d")
        run(url, TABLE, "flush binary logs", "insert into t values (1, 1)", "flush binary logs")
        run(url, "insert into t values (2, 2)")
        newest = rows(url, "show binary logs")[-1][0]
        run(url, f"purge binary logs to '{newest}'")
        with reading(url) as binlog:
            assert keys(binlog.read()) == [1, 2]
            run(url, "insert into t values (3, 3)")
            assert keys(binlog.read()) == [3]
            binlog.reopen()
            assert binlog.read() == []
            assert binlog.state.identity["gtids"] == executed(url)
            run(url, "set global gtid_mode = on")
            elsewhere(binlog)
            run(url, "insert into t values (4, 4)")
            assert keys(binlog.read()) == [4]


def test_without_gtids_another_server_is_a_reason_to_stop(mysqls_database):
    run(mysqls_database, TABLE)
    with reading(mysqls_database, gtid="off") as binlog:
        binlog.read()
        with pytest.raises(PositionLost, match="this is another server") as lost:
            elsewhere(binlog)
        assert "only with GTIDs" in lost.value.hint
        assert "--recover binlog" in lost.value.hint


def test_transactions_that_another_server_never_had_are_a_reason_to_stop(mysqls_database):
    run(mysqls_database, TABLE)
    maria = is_mariadb(mysqls_database)
    with reading(mysqls_database) as binlog:
        binlog.read()
        # In one of the domains, from one of the servers, we are ahead.
        more = "777-1-5" if maria else "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1-5"
        state = binlog.state
        identity = {**state.identity, "gtids": f"{state.identity['gtids']},{more}"}
        binlog.state = State(state.position, identity, state.snapshot, state.schemas)
        with pytest.raises(PositionLost, match=rf"never had transactions? {more}") as lost:
            elsewhere(binlog)
        assert "--recover binlog" in lost.value.hint


def test_a_place_that_has_more_than_32_bits_is_gone_on_from_by_gtid(mysqls_database, monkeypatch):
    run(mysqls_database, TABLE, "insert into t values (1, 1)")
    with reading(mysqls_database) as binlog:
        assert keys(binlog.read()) == [1]
        state = binlog.state
        far = major_of(state.identity["file"], 5 << 30)
        binlog.close()
        # A transaction of some GB has made the file so long.
        monkeypatch.setattr(catalog, "binlog_files", lambda conn: [(state.identity["file"], 6 << 30)])
        for epoch in (1, 2):
            binlog.state = State(Position(epoch, far), state.identity, state.snapshot, state.schemas)
            binlog.open()
            run(mysqls_database, f"insert into t values (2{epoch}, 2)")
            assert keys(binlog.read()) == list(range(21, 21 + epoch))
            binlog.close()
        binlog.state = State(Position(1, far), {**state.identity, "gtids": ""}, state.snapshot, state.schemas)
        with pytest.raises(PositionLost, match="behind the first 4 GB"):
            binlog.reopen(gtid="off")


def test_the_place_where_a_source_began_is_known_before_its_first_event(mysqls_database):
    run(mysqls_database, TABLE)
    with reading(mysqls_database, gtid="off", snapshot="none") as binlog:
        binlog.state = binlog.source._batch([]).state
        binlog.close()
        run(mysqls_database, "insert into t values (1, 1)")
        binlog.open()
        assert keys(binlog.read()) == [1]


@pytest.mark.parametrize("gtid", ["auto", "off"])
def test_a_snapshot_does_not_bring_back_what_a_commit_has_changed_that_nobody_can_see_yet(
    mysqls_database, gtid, monkeypatch
):
    """Between binlog and storage engine a commit waits for a semi-synchronous replica. The stream has told of
    it by then, and a chunk would have the row as it was."""
    monkeypatch.setattr("connectors.mysql.binlog.marks._PATIENCE", 0.05)
    run(mysqls_database, TABLE, "insert into t values (1, 1), (2, 1), (3, 1)")
    copy = Copy()
    with (
        connected(mysqls_database) as db,
        connected(mysqls_database) as writer,
        reading(mysqls_database, chunk=1, gtid=gtid) as binlog,
    ):
        cursor = db.cursor()
        sql = f"select state from information_schema.processlist where id = {writer.thread_id()}"

        def in_commit():
            cursor.execute(sql)
            return "semi-sync" in (cursor.fetchone()[0] or "").lower()

        writer.begin()
        writer.cursor().execute("update t set a = 2 where id > 1")
        with no_replica_answers(db) as answer, beside(writer.commit):
            try:
                eventually(in_commit)
                events = []
                eventually(lambda: events.extend(binlog.step().events) or [e for e in events if e.before])
                for _ in range(15):  # chunks are due, and tried
                    events += binlog.step().events
                assert rows(mysqls_database, "select a from t") == [(1,), (1,), (1,)]
                assert not [e for e in events if e.operation is Operation.READ and e.key[0] > 1]
            finally:
                answer()
        events += binlog.read()
    copy.play(events)
    copy.agrees(mysqls_database, "t")
    told = [e.operation for e in events if e.key == (3,)]
    assert told == [Operation.UPDATE, Operation.READ]
