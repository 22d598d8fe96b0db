"""What the binlog tells of only in part: DDL that moves rows without row events, DDL in two phases, XA."""

from __future__ import annotations

import contextlib
import time

import pymysql
import pytest

from connectors.mysql.binlog.marks import Marks
from connectors.mysql.binlog.transactions import Transactions
from connectors.mysql.catalog import binlog_status
from connectors.mysql.connection import Server, connect
from connectors.mysql.wire.maria_gtid import MariaPosition
from liberator.errors import PositionLost, SourceError
from liberator.event import Operation, Position
from liberator.source import State
from tests.binlog import reading, rows, run, together
from tests.fix_mysql import connected

TABLE = "create table t (id int primary key, a int)"
PARTS = (
    "create table t (id int primary key, a int) partition by range (id) (partition p0 values less than (10), "
    "partition p1 values less than (100), partition p2 values less than (1000))"
)


class Copy:
    """What a sink holds of each table: rows by key."""

    def __init__(self):
        self.tables = {}

    def play(self, events):
        for event in events:
            table = self.tables.setdefault(event.schema.table, {})
            if event.operation is Operation.TRUNCATE:
                table.clear()
            elif event.operation is Operation.DELETE:
                del table[event.key]
            else:
                table[event.key] = event.after

    def agrees(self, url, *tables):
        held = {name: sorted(self.tables.get(name, {}).values()) for name in tables}
        assert held == {name: rows(url, f"select * from `{name}` order by id") for name in tables}


def follow(url, *statements, tables=("t",), **options):
    """Run the statements one by one, and see after each that a sink would hold what the tables hold."""
    copy = Copy()
    with reading(url, **options) as binlog:
        copy.play(binlog.read())
        for statement in statements:
            run(url, statement)
            copy.play(binlog.read())
            copy.agrees(url, *tables)


@pytest.mark.parametrize("snapshot", ["initial", "none"])
def test_rows_that_go_with_partitions_go_from_the_sinks_too(mysqls_database, snapshot):
    run(mysqls_database, PARTS, "create table u (id int primary key, a int)")
    copy = Copy()
    with reading(mysqls_database, snapshot=snapshot) as binlog:
        run(
            mysqls_database,
            "insert into t values (1, 1), (11, 11), (111, 111)",
            "insert into u values (2, 2), (3, 3)",
        )
        copy.play(binlog.read())
        for statement in (
            "alter table t truncate partition p1",
            "alter table t /* words: */ exchange /* between */ partition p0 with table u",
            "alter table t drop partition p2",
            "alter table t reorganize partition p1 into (partition p1 values less than maxvalue)",
        ):
            run(mysqls_database, statement)
            copy.play(binlog.read())
            copy.agrees(mysqls_database, "t", "u")


def test_mariadbs_conversions_between_partitions_and_tables_are_followed(mariadb_database):
    run(mariadb_database, PARTS, "insert into t values (1, 1), (11, 11), (111, 111)")
    follow(mariadb_database, "alter table t convert partition p2 to table v", tables=("t", "v"))
    follow(mariadb_database, "alter table t convert table v to partition p2 values less than (1000)")


def test_rows_that_mariadb_leaves_out_of_an_altered_or_replaced_table_go(mariadb_database):
    run(mariadb_database, TABLE, "insert into t values (1, 1), (2, 1), (3, 3)")
    follow(
        mariadb_database,
        "alter ignore table t add unique (a)",
        "create or replace table t (id int primary key, b int)",
        "insert into t values (9, 9)",
        "create or replace table t (id int primary key, b int) select 7 as id, 8 as b",
    )


def test_a_table_made_from_a_query_has_its_rows_and_one_written_as_a_statement_stops_the_source(
    mysqls_database,
):
    run(mysqls_database, TABLE, "insert into t values (1, 1), (2, 2)")
    follow(
        mysqls_database,
        "create table u (primary key (id)) select * from t",
        "create table if not exists u (id int primary key)",
        "insert into u values (3, 3)",
        tables=("t", "u"),
    )
    with reading(mysqls_database) as binlog:
        binlog.read()
        run(mysqls_database, "set session binlog_format = 'STATEMENT'", "create table w select * from t")
        with pytest.raises(SourceError, match=r"\.w was written .* as a statement \(create table"):
            binlog.read()


def test_what_becomes_of_rows_that_go_without_events_is_an_option(mysqls_database):
    run(mysqls_database, PARTS, "insert into t values (1, 1), (11, 11)")
    with reading(mysqls_database, unlogged="error") as binlog:
        binlog.read()
        run(mysqls_database, "alter table t truncate partition p0", "insert into t values (2, 2)")
        with pytest.raises(SourceError, match=r"rows of .*\.t came or went before binlog") as stopped:
            binlog.read()
        assert "unlogged: reread" in stopped.value.hint
        binlog.reopen(unlogged="ignore")
        assert [e.after for e in binlog.read()] == [(2, 2)]


# -- DDL of MariaDB in two phases ----------------------------------------------------------------------


def in_two_phases(url, statement):
    run(url, "set binlog_alter_two_phase = 1", statement)


def test_an_alter_in_two_phases_counts_where_it_is_committed(mariadb_database):
    run(mariadb_database, TABLE, "insert into t values (1, 1)")
    with reading(mariadb_database, unlogged="error") as binlog:
        binlog.read()
        before = ended(mariadb_database)
        in_two_phases(mariadb_database, "alter table t add column c int not null default 5, rename to u")
        alters = [r for r in rows(mariadb_database, f"show binlog events {before}") if "alter" in r[5]]
        assert len(alters) == 2
        with pytest.raises(SourceError, match=rf"\.u came or went before .*:{alters[1][4]},"):
            binlog.read()
        copy = Copy()
        binlog.reopen(unlogged="reread")
        copy.play(binlog.read())
        copy.agrees(mariadb_database, "u")


def test_an_alter_in_two_phases_that_is_rolled_back_never_was(mariadb_database):
    run(mariadb_database, TABLE, "insert into t values (1, 1), (2, 1)")
    with reading(mariadb_database, unlogged="error") as binlog:
        binlog.read()
        before = ended(mariadb_database)
        with pytest.raises(pymysql.IntegrityError):
            in_two_phases(mariadb_database, "alter table t add unique (a), rename to u, algorithm = copy")
        run(mariadb_database, "insert into t values (3, 3)")
        told = [r[5] for r in rows(mariadb_database, f"show binlog events {before}")]
        assert any("ROLLBACK ALTER" in r for r in told)
        assert [e.after for e in binlog.read()] == [(3, 3)]


def ended(url):
    """Where the binlog ends, as ``show binlog events`` takes it."""
    file, position = rows(url, "show binlog status")[0][:2]
    return f"in '{file}' from {position}"


# -- XA ------------------------------------------------------------------------------------------------


def prepared(url, xid, *statements):
    """An XA transaction whose connection ends with it prepared."""
    run(url, f"xa start '{xid}'", *statements, f"xa end '{xid}'", f"xa prepare '{xid}'")


def elsewhere(binlog):
    """Go on as at another server: by GTID, where file and offset say nothing."""
    state = binlog.state
    binlog.close()
    identity = {**state.identity, "server": "another one"}
    binlog.state = State(state.position, identity, state.snapshot, state.schemas)
    return binlog.open()


def test_a_transaction_that_was_prepared_before_we_began_is_not_lost(mysqls_database):
    run(mysqls_database, TABLE, "insert into t values (1, 1), (2, 2)")
    prepared(mysqls_database, "early", "insert into t values (3, 3)", "delete from t where id = 1")
    copy = Copy()
    with reading(mysqls_database) as binlog:
        copy.play(binlog.read())
        copy.agrees(mysqls_database, "t")
        run(mysqls_database, "xa commit 'early'")
        copy.play(binlog.read())
        copy.agrees(mysqls_database, "t")
        assert sorted(copy.tables["t"]) == [(2,), (3,)]


def test_a_transaction_that_was_prepared_at_another_server_is_not_lost(mysqls_database):
    run(mysqls_database, TABLE, "create table other (id int primary key)", "insert into t values (1, 1)")
    name = mysqls_database.rpartition("/")[2]
    copy = Copy()
    with reading(mysqls_database, tables=[f"{name}.t"]) as binlog:
        copy.play(binlog.read())
        prepared(mysqls_database, "ours", "insert into t values (2, 2)")
        prepared(mysqls_database, "not ours", "insert into other values (1)")
        assert binlog.read() == []
        elsewhere(binlog)
        run(mysqls_database, "xa commit 'not ours'")
        assert binlog.read() == []
        run(mysqls_database, "xa commit 'ours'")
        events = binlog.read()
        assert events[0].operation is Operation.TRUNCATE
        copy.play(events)
        copy.agrees(mysqls_database, "t")


def test_a_transaction_whose_rows_were_purged_before_its_commit_stops_the_source(mysqls_database):
    run(mysqls_database, TABLE)
    with reading(mysqls_database) as binlog:
        binlog.read()
        prepared(mysqls_database, "old", "insert into t values (1, 1)")
        run(mysqls_database, "flush binary logs")
        assert binlog.read() == []
        binlog.reopen()  # the next process has its rows no more in memory
        run(mysqls_database, "xa commit 'old'")
        newest = rows(mysqls_database, "show binary logs")[-1][0]
        deadline = time.monotonic() + 30
        # MariaDB keeps a file as long as a recovery might need it.
        while rows(mysqls_database, "show binary logs")[0][0] != newest and time.monotonic() < deadline:
            run(mysqls_database, f"purge binary logs to '{newest}'")
        with pytest.raises(PositionLost) as lost:
            binlog.read()
        assert "--recover" in lost.value.hint
        copy = Copy()
        binlog.close()
        binlog.state = binlog.make().recover(binlog.state)
        copy.play(binlog.open().read())
        copy.agrees(mysqls_database, "t")
        assert copy.tables["t"] == {(1,): (1, 1)}


def test_a_commit_that_mariadb_has_in_its_binlog_and_not_yet_in_its_tables_is_waited_for(mariadb_database):
    run(mariadb_database, TABLE)
    prepared(mariadb_database, "x", "insert into t values (1, 1)")
    with connect(mariadb_database, "test") as conn:
        server = Server.of(conn)
        status = binlog_status(conn, server)
        place = Transactions(Position(1, 0), status.file, MariaPosition())
        marks = Marks(server, gtids=False)
        # As while it commits: the stream has told its rows, and it is prepared still.
        place.started = 4
        place.decide("X'78',X'',1")
        assert marks.begin(conn, place) is None
        place.prepare("X'78',X'',1", touched=True)  # the next one of this name
        assert marks.begin(conn, place) is not None
        place.discard("X'78',X'',1")
        place.decide("X'78',X'',1")
        run(mariadb_database, "xa commit 'x'")
        seen = marks.begin(conn, place)
        # What the stream tells from here on is not surely in the snapshot, whatever the binlog's place says.
        place.started = 100
        assert seen(place.make(1, 0))
        place.started = 200
        place.decide("X'79',X'',1")
        assert not seen(place.make(1, 0))


# -- where a transaction was read in part --------------------------------------------------------------


def test_a_transaction_read_in_part_at_another_server_is_gone_on_with_after_any_restart(mysqls_database):
    run(mysqls_database, TABLE)
    with reading(mysqls_database, batch=1) as binlog:
        binlog.read()
        together(mysqls_database, *(f"insert into t values ({n}, 0)" for n in range(6)))
        events = []
        while len(events) < 3:
            events += binlog.step().events
        assert binlog.state.position.minor == len(events)
        elsewhere(binlog)
        target = binlog.source.current()
        events += binlog.step().events  # perhaps before the transaction comes
        while not binlog.source.reached(binlog.state, target):
            binlog.reopen()
            events += binlog.some(target)
        assert [e.key for e in events] == [(n,) for n in range(6)]


def test_domains_of_mariadb_are_gone_on_with_each_where_it_was(mariadb_database):
    run(mariadb_database, TABLE)
    domains = [7, 0, 8, 7, 8, 0, 7]
    with reading(mariadb_database, batch=1) as binlog:
        binlog.read()
        with contextlib.ExitStack() as stack:
            sessions = {d: stack.enter_context(connected(mariadb_database)) for d in set(domains)}
            for domain, session in sessions.items():
                session.cursor().execute(f"set session gtid_domain_id = {domain}")
            for n, domain in enumerate(domains):
                sessions[domain].begin()
                sessions[domain].cursor().execute(f"insert into t values ({2 * n}, {domain})")
                sessions[domain].cursor().execute(f"insert into t values ({2 * n + 1}, {domain})")
                sessions[domain].commit()
        events = []
        target = binlog.source.current()
        while not binlog.source.reached(binlog.state, target):
            events += binlog.some(target)
            elsewhere(binlog) if len(events) % 3 == 1 else binlog.reopen()
        # Another server sends domain by domain what it likes first: in each the order stays.
        assert sorted(e.key[0] for e in events) == list(range(14))
        for domain in sessions:
            keys = [e.key[0] for e in events if e.after[1] == domain]
            assert keys == sorted(keys)


# -- tables of MariaDB that are not ordinary ones --------------------------------------------------------


VERSIONED = [
    "create table v (id int primary key, a int) with system versioning",
    "create table v (id int primary key, a int, b timestamp(6) generated always as row start, "
    "e timestamp(6) generated always as row end, period for system_time (b, e)) with system versioning",
    "create table v (id int primary key, a int, b bigint unsigned generated always as row start, "
    "e bigint unsigned generated always as row end, period for system_time (b, e)) with system versioning",
]


@pytest.mark.parametrize("versioned", VERSIONED, ids=["hidden", "named", "transactions"])
def test_a_system_versioned_table_is_left_out_and_the_check_says_so(mariadb_database, versioned):
    run(mariadb_database, TABLE, versioned, "insert into v (id, a) values (1, 1)")
    with reading(mariadb_database) as binlog:
        binlog.read()
        (finding,) = [f for f in binlog.source.check() if f.check == "versioned"]
        assert finding.level == "warning"
        assert f"{mariadb_database.rpartition('/')[2]}.v " in finding.message
        for n in range(2, 4):
            run(
                mariadb_database,
                f"insert into v (id, a) values ({n}, {n})",
                f"update v set a = 0 where id = {n}",
                f"delete from v where id = {n}",
                f"insert into t values ({n}, {n})",
            )
            assert [e.after for e in binlog.read()] == [(n, n)]


def test_a_captured_table_that_becomes_system_versioned_stops_the_source(mariadb_database):
    run(mariadb_database, TABLE, "create table u like t", "insert into t values (1, 1)")
    name = mariadb_database.rpartition("/")[2]
    with reading(mariadb_database) as binlog:
        binlog.read()
        run(mariadb_database, "alter table t add system versioning", "update t set a = 2")
        with pytest.raises(
            SourceError, match=r"\.t was captured, and has become system-versioned"
        ) as stopped:
            binlog.read()
        assert f"!{name}.t" in stopped.value.hint
        binlog.reopen(tables=[f"{name}.*", f"!{name}.t"])
        run(mariadb_database, "insert into u values (1, 1)")
        assert [e.schema.table for e in binlog.read()] == ["u"]


def test_a_table_that_gives_up_its_history_is_read_and_captured(mariadb_database):
    run(mariadb_database, TABLE, VERSIONED[0], "insert into v values (1, 1), (2, 2)")
    copy = Copy()
    with reading(mariadb_database) as binlog:
        copy.play(binlog.read())
        run(
            mariadb_database,
            "update v set a = 5 where id = 1",
            "alter table v drop system versioning",
            "insert into v values (3, 3)",
        )
        copy.play(binlog.read())
        copy.agrees(mariadb_database, "v")


def test_sequences_are_no_tables_to_capture_nor_is_history_that_is_gone(mariadb_database):
    run(mariadb_database, TABLE, VERSIONED[0], "create sequence s")
    with reading(mariadb_database) as binlog:
        binlog.read()
        for n in range(3):
            run(mariadb_database, f"select setval(s, {5000 * (n + 1)})", f"insert into t values ({n}, 0)")
            assert [e.schema.table for e in binlog.read()] == ["t"]
        # What is gone when its rows come is known by its columns.
        run(mariadb_database, "do nextval(s)", "insert into v values (1, 1)", "insert into t values (9, 0)")
        run(mariadb_database, "drop sequence s", "drop table v")
        assert [e.schema.table for e in binlog.read()] == ["t"]
