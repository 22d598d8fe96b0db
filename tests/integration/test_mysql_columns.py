"""How the binlog source knows a table's columns and key: in a binlog without names, for an account that may
do no more than it must, for keys that the server made, and where the server spells names its own way."""

from __future__ import annotations

import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from connectors.mysql.server import MariaDbServer
from liberator.errors import SourceError
from liberator.event import Operation
from tests.binlog import Binlog, is_mariadb, reading, rows, run
from tests.fix_mysql import connected
from tests.integration.test_mysql_unlogged import Copy

TABLE = "create table t (id int primary key, a int, b varchar(40))"


@pytest.fixture
def nameless(mysqls_database):
    """A database at a server whose binlog names no columns, as MySQL's is unless it is told to."""
    none = "no_log" if is_mariadb(mysqls_database) else "minimal"
    run(mysqls_database, f"set global binlog_row_metadata = {none}")
    yield mysqls_database
    run(mysqls_database, "set global binlog_row_metadata = full")


def fill(url, count):
    with connected(url) as db:
        db.cursor().executemany("insert into t values (%s, 0, 'x')", [(n,) for n in range(count)])


def seen(events):
    return [e.after for e in events if e.operation is Operation.CREATE]


@pytest.mark.parametrize("killed", [False, True])
def test_rows_from_before_ddl_are_read_although_a_snapshot_has_seen_the_columns_behind_it(nameless, killed):
    run(nameless, TABLE)
    fill(nameless, 40)
    copy = Copy()
    with reading(nameless, chunk=10, batch=10) as binlog:
        while not (first := binlog.step().events):
            pass
        copy.play(first)
        run(
            nameless,
            "insert into t values (100, 1, 'y')",
            "update t set a = 9 where id = 35",
            "alter table t add column c int default 4",
            "insert into t values (101, 1, 'z', 5)",
        )
        deadline = time.monotonic() + 30
        while killed and not any(s.get("behind") for s in binlog.state.schemas.values()):
            assert time.monotonic() < deadline
            copy.play(binlog.step().events)
        if killed:
            binlog.reopen()
        events = binlog.read()
        copy.play(events)
        assert set(seen(events)) >= {(101, 1, "z", 5)}
        copy.agrees(nameless, "t")
        assert not any(s.get("behind") for s in binlog.state.schemas.values())


@pytest.mark.parametrize("snapshot", ["initial", "none"])
def test_columns_that_changed_while_the_reader_was_away_are_those_from_where_it_began(nameless, snapshot):
    run(nameless, TABLE)
    binlog = Binlog(nameless, snapshot=snapshot).open()
    binlog.step()
    binlog.close()
    run(
        nameless,
        "insert into t values (1, 1, 'x')",
        "alter table t drop column a",
        "insert into t values (2, 'y')",
    )
    binlog.open()
    assert seen(binlog.read()) == [(1, 1, "x"), (2, "y")]
    binlog.close()


def test_columns_that_nobody_can_tell_stop_the_source_with_the_remedy(nameless):
    run(nameless, TABLE)
    with reading(nameless) as binlog:
        binlog.read()
        run(
            nameless,
            "alter table t add column c int",
            "insert into t values (1, 1, 'secret', 1)",
            "alter table t drop column a, add column d int, add column e int",
        )
        with pytest.raises(
            SourceError, match=r"cannot tell the columns of .*\.t where the stream"
        ) as stopped:
            binlog.read()
    assert "binlog_row_metadata = FULL" in stopped.value.hint
    assert "--recover" in stopped.value.hint
    assert "secret" not in str(stopped.value)


@pytest.mark.parametrize("away", [False, True])
def test_each_row_has_the_labels_that_its_enum_and_set_had_then(mysqls_database, away):
    run(mysqls_database, "create table t (id int primary key, e enum('a', 'b'), s set('x', 'y'))")
    with reading(mysqls_database, snapshot="none") as binlog:
        binlog.read()
        if away:
            binlog.close()
        run(
            mysqls_database,
            "set sql_mode = ''",
            "insert into t values (1, 'a', 'x,y'), (2, 'b', '')",
            "alter table t modify e enum('c', 'b', 'a'), modify s set('y', 'x', 'z')",
            "insert into t values (3, 'a', 'x,z')",
            "alter table t modify e enum('d', 'a') not null, modify s set('z')",
            "insert into t values (4, 'nothing', 'z')",
        )
        events = (binlog.open() if away else binlog).read()
    assert seen(events) == [(1, "a", "x,y"), (2, "b", ""), (3, "a", "x,z"), (4, "", "z")]


def test_rows_are_read_alike_whatever_the_server_has_new_sessions_do(mysqls_database):
    isolation = "tx_isolation" if is_mariadb(mysqls_database) else "transaction_isolation"
    odd = {
        "time_zone": "'+05:30'",
        "sql_mode": "'ANSI_QUOTES,PIPES_AS_CONCAT,NO_ZERO_DATE,STRICT_ALL_TABLES'",
        "sql_select_limit": "1",
        "autocommit": "0",
        isolation: "'READ-UNCOMMITTED'",
    }
    before = {name: rows(mysqls_database, f"select @@global.{name}")[0][0] for name in odd}
    run(
        mysqls_database,
        "create table t (id int primary key, at timestamp(6) null, d datetime, b varchar(9) default '\\\\')",
        "set time_zone = '+00:00'",
        "insert into t (id, at, d) values (1, '2024-02-29 12:00:00.5', '2024-02-29 12:00:00')",
        "insert into t (id) values (2)",
    )
    try:
        run(mysqls_database, *(f"set global {name} = {value}" for name, value in odd.items()))
        with reading(mysqls_database, chunk=1) as binlog:
            events = binlog.read()
            run(
                mysqls_database,
                "set autocommit = 1",
                "update t set id = id + 10",
                "alter table t add column c int not null default 5 first",
            )
            streamed = binlog.read()
    finally:
        run(mysqls_database, *(f"set global {name} = {value!r}" for name, value in before.items()))
    noon = 1_709_208_000_000_000
    expected = [(noon + 500_000, noon, "\\"), (None, None, "\\")]
    assert [e.after[1:] for e in events] == expected
    changed = {e.after for e in streamed if e.operation is Operation.CREATE}
    assert changed == {(11, *expected[0]), (12, *expected[1])}
    again = {e.after for e in streamed if e.operation is Operation.READ}
    assert again == {(5, 11, *expected[0]), (5, 12, *expected[1])}


# -- accounts ------------------------------------------------------------------------------------------


@contextmanager
def account(url):
    """The URL of an account with the grants that docs/mysql.md names."""
    parts = urlsplit(url)
    name = parts.path[1:]
    user, status = f"u{name[5:]}", "binlog monitor" if is_mariadb(url) else "replication client"
    run(
        url,
        f"create user {user} identified by 'secret'",
        f"grant replication slave, {status} on *.* to {user}",
        f"grant select on {name}.* to {user}",
    )
    try:
        yield parts._replace(netloc=f"{user}:secret@127.0.0.1:{parts.port}").geturl()
    finally:
        run(url, f"drop user {user}")


def test_an_account_with_no_more_than_the_grants_it_needs_is_told_and_reads_all(mysqls_database):
    run(
        mysqls_database,
        "create table p (id int primary key)",
        "create table t (id int primary key, doc json, e enum('a', 'b') default 'b', p int, "
        "g int generated always as (id + 1) stored, "
        "constraint `to ``p` foreign key (p) references p (id) on delete cascade on update set null)",
        "create table k (a int, b text)",
        "insert into p values (1)",
        """insert into t (id, doc, p) values (1, '{"a": 1}', 1), (2, null, 1), (3, '[]', null)""",
        "insert into k values (1, 'x')",
    )
    with account(mysqls_database) as url:
        found = []
        for one in (mysqls_database, url):
            with reading(one, chunk=1) as binlog:
                tables = binlog.source._captured_tables(binlog.source._ready).values()
                keyed = {table.name: table.keyed for table in tables}
                findings = {(f.level, f.check, f.message) for f in binlog.source.check()}
                events = [(e.operation, e.key, e.after, e.schema) for e in binlog.read()]
                found.append((keyed, findings, events))
        assert found[0] == found[1]
    keyed, findings, events = found[1]
    assert keyed == {"k": False, "p": True, "t": True}
    assert {check for level, check, _ in findings if level != "ok"} >= {"key"}
    if is_mariadb(mysqls_database):
        (warned,) = [message for _, check, message in findings if check == "cascade"]
        assert "foreign key to `p of " in warned
        assert "(on delete cascade, on update set null)" in warned
    assert len(events) == 5


def test_a_key_that_the_server_made_is_the_key_whatever_its_catalog_shows(mysql_database):
    run(mysql_database, "set global show_gipk_in_create_table_and_information_schema = off")
    try:
        run(
            mysql_database,
            "set sql_generate_invisible_primary_key = 1",
            "create table t (a int)",
            "insert into t values (1), (2)",
        )
        with reading(mysql_database) as binlog:
            events = binlog.read()
            run(mysql_database, "update t set a = 7 where a = 1")
            events += binlog.read()
    finally:
        run(mysql_database, "set global show_gipk_in_create_table_and_information_schema = on")
    assert [(e.key, e.after) for e in events] == [((1,), (1, 1)), ((2,), (2, 2)), ((1,), (1, 7))]


def test_names_in_statements_are_in_lower_case_where_the_server_keeps_them_so(mariadb_binary):
    with MariaDbServer(mariadb_binary, {"lower_case_table_names": "1"}) as server:
        run(server.url(), "create database d")
        url = server.url("d")
        run(url, "create table T (id int primary key)", "insert into T values (1)", "create table U like T")
        with reading(url) as binlog:
            assert [e.key for e in binlog.read()] == [(1,)]
            run(
                url,
                "truncate table D.T",
                "insert into T values (2)",
                "drop table D.T",
                "create table T (id int primary key, a int)",
                "insert into D.t values (3, 3)",
                "alter table D.T rename to V",
                "rename table D.U to T",
            )
            events = [(e.topic, e.operation, e.after) for e in binlog.read()]
    assert events[:4] == [
        ("binlog.d.t", Operation.TRUNCATE, None),
        ("binlog.d.t", Operation.CREATE, (2,)),
        ("binlog.d.t", Operation.TRUNCATE, None),
        ("binlog.d.t", Operation.CREATE, (3, 3)),
    ]
    assert sorted(events[4:], key=str) == [
        ("binlog.d.t", Operation.TRUNCATE, None),
        ("binlog.d.v", Operation.READ, (3, 3)),
        ("binlog.d.v", Operation.TRUNCATE, None),
    ]
