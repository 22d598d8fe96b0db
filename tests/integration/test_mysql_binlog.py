"""The binlog source on real servers: what happens to transactions, row images and positions."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

import pymysql
import pytest

from connectors.mysql.server import MariaDbServer, MySqlServer
from liberator.errors import LiberatorError, PositionLost, SourceError
from liberator.event import ABSENT, Operation
from tests.binlog import Binlog, is_mariadb, reading, rows, run, together
from tests.fix_mysql import connected
from tests.wal import brief

TABLE = "create table t (id bigint primary key, a int, b varchar(40))"


def notes(events):
    return [(e.operation.name.lower(), e.key, e.after and e.after[-1]) for e in events]


def test_a_transaction_is_gone_on_with_behind_each_of_its_rows(mysqls_database):
    run(mysqls_database, TABLE)
    with reading(mysqls_database, batch=1) as binlog:
        binlog.read()
        together(
            mysqls_database,
            *(f"insert into t values ({n}, 0, 'x')" for n in range(6)),
            "update t set a = 1 where id < 2",
            "update t set id = id + 100 where id = 5",
            "delete from t where id = 4",
        )
        states, events = [], []
        target = binlog.source.current()
        while not binlog.source.reached(binlog.state, target) or binlog.source._place.open:
            batch = binlog.step()
            events += batch.events
            states.append((len(events), batch.state))
        assert [e.ordinal for e in events] == list(range(1, 12))
        assert len({count for count, _ in states}) >= 8
        for count, state in states:
            binlog.close()
            binlog.state = state
            binlog.open()
            assert binlog.read() == events[count:]


def test_rows_that_a_session_writes_with_another_image_leave_out_what_is_not_sent(mysqls_database):
    run(
        mysqls_database,
        "create table t (id int primary key, a int default 7, b text, c varchar(10) not null default 'c')",
    )
    with reading(mysqls_database) as binlog:
        binlog.read()
        run(
            mysqls_database,
            "insert into t values (1, 1, 'one', 'x')",
            "set session binlog_row_image = 'minimal'",
            "update t set a = 2",
            "update t set id = 9",
            "set session binlog_row_image = 'noblob'",
            "update t set a = 3",
            "delete from t",
        )
        events = binlog.read()
    full, minimal, gone, moved, noblob, deleted = events
    assert full.after == (1, 1, "one", "x")
    assert minimal.operation is Operation.UPDATE
    assert minimal.after == (1, 2, ABSENT, ABSENT)
    assert gone.moved == (9,) and moved.moved == (1,) and moved.key == (9,)
    assert noblob.after == (9, 3, ABSENT, "x")
    assert deleted.key == (9,)


def test_an_insert_without_its_defaults_is_read_again_whole(mysqls_database):
    run(mysqls_database, "create table t (id int primary key, a int default 7, b text)")
    with reading(mysqls_database) as binlog:
        binlog.read()
        run(
            mysqls_database,
            "set session binlog_row_image = 'minimal'",
            "insert into t (id) values (1)",
            "insert into t (id, a, b) values (2, 3, 'x')",
        )
        last = {e.key: e.after for e in binlog.read()}
        assert last == {(1,): (1, 7, None), (2,): (2, 3, "x")}


def test_json_diffs_are_applied_or_the_row_is_read_again(mysql_database):
    run(mysql_database, "create table t (id int primary key, doc json, a int)")
    run(mysql_database, """insert into t values (1, '{"a": 1, "b": [1, 2]}', 0)""")
    with reading(mysql_database) as binlog:
        binlog.read()
        run(
            mysql_database,
            "set session binlog_row_value_options = 'PARTIAL_JSON'",
            "update t set doc = json_set(doc, '$.a', 5), a = 1",
        )
        (event,) = binlog.read()
        assert event.after == (1, '{"a": 5, "b": [1, 2]}', 1)
        run(
            mysql_database,
            "set session binlog_row_value_options = 'PARTIAL_JSON'",
            "set session binlog_row_image = 'minimal'",
            "update t set doc = json_set(doc, '$.a', 6)",
        )
        *_, last = binlog.read()
        assert last.after == (1, '{"a": 6, "b": [1, 2]}', 1)


def test_a_storm_of_ddl_keeps_each_row_with_its_own_columns(mysqls_database):
    run(mysqls_database, TABLE)
    with reading(mysqls_database, reread_after_ddl=False) as binlog:
        binlog.read()
        run(
            mysqls_database,
            "insert into t values (1, 1, 'x')",
            "alter table t add column c int first",
            "insert into t (id, a, b, c) values (2, 1, 'y', 2)",
            "alter table t drop column a",
            "insert into t (id, b, c) values (3, 'z', 3)",
            "alter table t change b note text",
            "insert into t (id, note, c) values (4, 'w', 4)",
            "rename table t to u",
            "insert into u (id, note, c) values (5, 'v', 5)",
            "drop table u",
            "create table t (id int primary key)",
            "insert into t values (6)",
        )
        seen = [brief(e) for e in binlog.read() if e.operation is Operation.CREATE]
    assert seen[:4] == [
        ("create", "t", {"id": 1, "a": 1, "b": "x"}),
        ("create", "t", {"c": 2, "id": 2, "a": 1, "b": "y"}),
        ("create", "t", {"c": 3, "id": 3, "b": "z"}),
        ("create", "t", {"c": 4, "id": 4, "note": "w"}),
    ]
    assert seen[-1] == ("create", "t", {"id": 6})


def test_ddl_that_passed_while_the_reader_was_away_does_not_disturb_older_rows(mysqls_database):
    run(mysqls_database, TABLE)
    binlog = Binlog(mysqls_database, reread_after_ddl=False).open()
    binlog.read()
    binlog.close()
    run(
        mysqls_database,
        "insert into t values (1, 1, 'x')",
        "alter table t drop column a",
        "insert into t values (2, 'y')",
    )
    with reading(mysqls_database):
        pass
    binlog.open()
    assert [brief(e)[2] for e in binlog.read()] == [{"id": 1, "a": 1, "b": "x"}, {"id": 2, "b": "y"}]
    binlog.close()


def test_a_table_takes_the_place_of_another_as_gh_ost_does_it(mysqls_database):
    run(mysqls_database, TABLE, "insert into t values (1, 1, 'a'), (2, 2, 'b')")
    with reading(mysqls_database) as binlog:
        sink = {}
        play(sink, binlog.read())
        run(
            mysqls_database,
            "create table _t_gho like t",
            "alter table _t_gho add column c int not null default 5",
            "insert into _t_gho (id, a, b) select * from t",
            "update t set a = 3 where id = 1",
            "update _t_gho set a = 3 where id = 1",
            "rename table t to _t_del, _t_gho to t",
            "update t set b = 'after' where id = 2",
            "drop table _t_del",
        )
        events = binlog.read()
        assert {e.schema.table for e in events} == {"t"}
        assert not any(e.operation is Operation.TRUNCATE for e in events)
        play(sink, events)
        assert sink == {1: {"id": 1, "a": 3, "b": "a", "c": 5}, 2: {"id": 2, "a": 2, "b": "after", "c": 5}}


def test_a_table_that_takes_another_ones_name_is_emptied_and_read(mysqls_database):
    run(mysqls_database, TABLE, "insert into t values (1, 1, 'a')", "create table other like t")
    run(mysqls_database, "insert into other values (7, 7, 'g')")
    with reading(mysqls_database, tables=[f"{mysqls_database.rpartition('/')[2]}.t"]) as binlog:
        sink = {}
        play(sink, binlog.read())
        run(mysqls_database, "rename table t to old, other to t", "insert into t values (8, 8, 'h')")
        play(sink, binlog.read())
        assert set(sink) == {7, 8}


def test_truncate_empties_and_a_table_made_anew_begins_empty(mysqls_database):
    run(mysqls_database, TABLE, "insert into t values (1, 1, 'a')")
    with reading(mysqls_database) as binlog:
        binlog.read()
        run(mysqls_database, "truncate t", "insert into t values (2, 2, 'b')")
        assert [e.operation for e in binlog.read()] == [Operation.TRUNCATE, Operation.CREATE]
        run(mysqls_database, "drop table t", TABLE, "insert into t values (3, 3, 'c')")
        assert [e.operation for e in binlog.read()] == [Operation.TRUNCATE, Operation.CREATE]


def test_a_table_without_a_key_is_read_once_and_streamed_from_there(mysqls_database):
    run(
        mysqls_database,
        "create table t (a int, b text)",
        "insert into t values (1, 'x'), (1, 'x'), (2, null)",
    )
    over = threading.Event()

    def write():
        with connected(mysqls_database) as db:
            n = 10
            while not over.is_set():
                db.cursor().execute(f"insert into t values ({n}, 'w')")
                n += 1

    writer = threading.Thread(target=write)
    with reading(mysqls_database, batch=50) as binlog:
        writer.start()
        try:
            events = binlog.read()
        finally:
            over.set()
            writer.join()
        events += binlog.read()
    seen = sorted(e.after for e in events if e.operation is not Operation.TRUNCATE)
    assert [s[0] for s in seen] == [r[0] for r in rows(mysqls_database, "select a from t order by a")]


def test_a_snapshot_beside_writers_gives_the_rows_that_are_there(mysqls_database):
    run(mysqls_database, TABLE)
    with connected(mysqls_database) as db:
        db.cursor().executemany("insert into t values (%s, 0, 'x')", [(n,) for n in range(3000)])
    check_snapshot_beside_writers(mysqls_database)


def test_a_snapshot_without_gtids_beside_writers_gives_the_rows_that_are_there(plain_mysql):
    url = plain_mysql.url("d")
    run(plain_mysql.url(), "drop database if exists d", "create database d")
    run(url, TABLE)
    with connected(url) as db:
        db.cursor().executemany("insert into t values (%s, 0, 'x')", [(n,) for n in range(3000)])
    check_snapshot_beside_writers(url)


def check_snapshot_beside_writers(url):
    over = threading.Event()
    failed = []

    def write(first):
        try:
            with connected(url) as db:
                n = 0
                while not over.is_set():
                    n += 1
                    key = (first * 7919 + n * 31) % 3000
                    db.cursor().execute(f"update t set a = a + 1, b = 'w{n}' where id = {key}")
                    if n % 5 == 0:
                        db.cursor().execute(f"delete from t where id = {(key + 1) % 3000}")
                        db.cursor().execute(f"insert into t values ({10_000 + first * 100_000 + n}, 1, 'n')")
        except pymysql.MySQLError as exc:
            failed.append(exc)

    writers = [threading.Thread(target=write, args=(i,)) for i in range(2)]
    with reading(url, chunk=100, batch=200) as binlog:
        for writer in writers:
            writer.start()
        sink = {}
        try:
            play(sink, binlog.read(60), strict=True)
        finally:
            over.set()
            for writer in writers:
                writer.join()
        play(sink, binlog.read(), strict=True)
    assert not failed
    assert [tuple(r.values()) for _, r in sorted(sink.items())] == rows(url, "select * from t order by id")


def play(sink, events, strict=False):
    """Apply events to a dict. ``strict``: a snapshot's row must never be older than what the sink has."""
    for event in events:
        if event.operation is Operation.TRUNCATE:
            sink.clear()
        elif event.operation is Operation.DELETE:
            sink.pop(event.key[0], None)
        else:
            new = {n: v for n, v in zip(event.schema.names, event.after, strict=True) if v is not ABSENT}
            old = sink.get(event.key[0], {})
            if strict and event.operation is Operation.READ and old:
                assert new["a"] >= old["a"], "a row went back in time"
            sink[event.key[0]] = {**{k: v for k, v in old.items() if k in event.schema.names}, **new}


def test_xa_transactions_count_when_they_are_committed(mysqls_database):
    run(mysqls_database, TABLE)
    with reading(mysqls_database, batch=1) as binlog:
        binlog.read()
        run(
            mysqls_database,
            "xa start 'one', 'x', 7",
            "insert into t values (1, 1, 'xa')",
            "insert into t values (2, 1, 'xa')",
            "xa end 'one', 'x', 7",
            "xa prepare 'one', 'x', 7",
        )
        run(mysqls_database, "insert into t values (5, 5, 'between')")
        assert notes(binlog.read()) == [("create", (5,), "between")]
        binlog.reopen()
        run(mysqls_database, "xa commit 'one', 'x', 7")
        target = binlog.source.current()
        first = binlog.step()
        while not first.events:
            first = binlog.step()
        binlog.reopen()
        rest = binlog.read()
        assert notes([*first.events, *rest]) == [("create", (1,), "xa"), ("create", (2,), "xa")]
        assert binlog.source.reached(binlog.state, target)
        run(
            mysqls_database,
            "xa start 'two'",
            "insert into t values (3, 1, 'xa')",
            "xa end 'two'",
            "xa prepare 'two'",
            "xa rollback 'two'",
            "xa start 'three'",
            "insert into t values (4, 1, 'xa')",
            "xa end 'three'",
            "xa commit 'three' one phase",
        )
        assert notes(binlog.read()) == [("create", (4,), "xa")]
        assert "prepared" not in binlog.state.identity


def test_what_was_rolled_back_to_a_savepoint_never_was(mysqls_database):
    run(mysqls_database, TABLE, "create table m (id int primary key) engine = MyISAM")
    with reading(mysqls_database) as binlog:
        binlog.read()
        together(
            mysqls_database,
            "insert into t values (1, 1, 'a')",
            "savepoint `s p`",
            "insert into t values (2, 2, 'b')",
            *(["insert into m values (1)"] if is_mariadb(mysqls_database) else []),
            "rollback to `s p`",
            "insert into t values (3, 3, 'c')",
        )
        events = [e for e in binlog.read() if e.schema.table == "t"]
        assert notes(events) == [("create", (1,), "a"), ("create", (3,), "c")]


def test_compressed_transactions_are_read_and_resumed_like_others(mysqls_database):
    run(mysqls_database, TABLE)
    maria = is_mariadb(mysqls_database)
    setting = "global log_bin_compress" if maria else "session binlog_transaction_compression"
    with reading(mysqls_database, batch=1) as binlog:
        binlog.read()
        try:
            with connected(mysqls_database) as db:
                db.cursor().execute(f"set {setting} = 1")
                db.begin()
                for n in range(4):
                    db.cursor().execute("insert into t values (%s, 1, %s)", (n, "long " * 7))
                db.cursor().execute("update t set a = 2")
                db.commit()
        finally:
            if maria:
                run(mysqls_database, "set global log_bin_compress = 0")
        events = []
        target = binlog.source.current()
        while not events or not binlog.source.reached(binlog.state, target):
            events += binlog.some(target)
            binlog.reopen()
        assert [e.ordinal for e in events] == list(range(1, 9))
        assert [e.operation.name for e in events] == ["CREATE"] * 4 + ["UPDATE"] * 4


def test_a_change_written_as_a_statement_stops_the_source_and_others_do_not(mysqls_database):
    run(mysqls_database, TABLE, "create table other (id int primary key)")
    name = mysqls_database.rpartition("/")[2]
    with reading(mysqls_database, tables=[f"{name}.t"]) as binlog:
        binlog.read()
        run(mysqls_database, "set session binlog_format = 'STATEMENT'", "insert into other values (1)")
        assert binlog.read() == []
        run(
            mysqls_database,
            "set session binlog_format = 'STATEMENT'",
            "insert into t values (1, 1, 'secret')",
        )
        with pytest.raises(SourceError, match=rf"{name}\.t was written .* as a statement") as failed:
            binlog.read()
        assert "binlog_format=ROW" in failed.value.hint
        assert "secret" not in str(failed.value)


def test_a_file_loaded_as_a_statement_stops_the_source_only_if_it_went_into_a_captured_table(
    mysqls_database, tmp_path
):
    run(mysqls_database, TABLE, "create table other (id int primary key)")
    name = mysqls_database.rpartition("/")[2]
    file = tmp_path / "numbers"
    file.write_text("1\n2\n")
    run(mysqls_database, "set global local_infile = 1")
    parts = urlsplit(mysqls_database)
    login = {"host": parts.hostname, "port": parts.port, "user": "root", "database": name}
    with (
        contextlib.closing(pymysql.connect(**login, local_infile=True, autocommit=True)) as db,
        reading(mysqls_database, tables=[f"{name}.t"]) as binlog,
    ):
        binlog.read()
        db.query("set session binlog_format = 'STATEMENT'")
        db.query(f"load data local infile '{file}' ignore into table other (id)")
        run(mysqls_database, "insert into t values (1, 1, 'a')")
        assert notes(binlog.read()) == [("create", (1,), "a")]
        db.query(f"load data local infile '{file}' replace into table `{name}`.`t` (id)")
        with pytest.raises(SourceError, match=rf"{name}\.t was written .* as a statement \(load\)"):
            binlog.read()


def test_hostile_names_are_captured_and_read(mysqls_database):
    names = ["a`b", 'q"uote', "sp ace", "ünïcode", "se.mi;colon", "%s", "{x}", "select", "back\\slash"]
    with connected(mysqls_database) as db:
        for name in names:
            quoted = name.replace("`", "``")
            db.query(f"create table `{quoted}` (`{quoted}` int primary key, `x y` text)")
            db.query(f"insert into `{quoted}` values (1, 'snapshot')")
    with reading(mysqls_database) as binlog:
        assert sorted(e.schema.table for e in binlog.read()) == sorted(names)
        with connected(mysqls_database) as db:
            for name in names:
                db.query("insert into `" + name.replace("`", "``") + "` values (2, 'stream')")
                db.query("truncate `" + name.replace("`", "``") + "`")
        events = binlog.read()
        assert [e.schema.table for e in events] == [n for n in names for _ in (1, 2)]
        assert all(e.after == (2, "stream") for e in events[::2])


def test_an_idle_and_a_filtered_stream_still_move_the_position(mysqls_database):
    run(mysqls_database, TABLE, "create table other (id int primary key auto_increment, x int)")
    with reading(mysqls_database, tables=[f"{mysqls_database.rpartition('/')[2]}.t"]) as binlog:
        binlog.read()
        before = binlog.state.position
        run(mysqls_database, *["insert into other (x) values (1)"] * 20)
        assert binlog.read() == []
        assert binlog.state.position > before
        run(mysqls_database, "flush binary logs")
        assert binlog.read() == []
        assert binlog.state.position.major >> 40 > before.major >> 40


# -- servers that forget, change, or are somebody else's ----------------------------------------------


@pytest.fixture(scope="module")
def plain_mysql(mysql_binary):
    """A MySQL without GTIDs, whose binlog names no columns."""
    options = {"gtid_mode": "OFF", "enforce_gtid_consistency": "OFF", "binlog_row_metadata": "MINIMAL"}
    with MySqlServer(mysql_binary, options) as server:
        yield server


@pytest.fixture(params=["mysql", "mariadb"])
def own(request):
    """A server that a test may spoil."""
    kind = MySqlServer if request.param == "mysql" else MariaDbServer
    with kind(request.getfixturevalue(f"{request.param}_binary")) as server:
        run(server.url(), "create database d")
        run(server.url("d"), TABLE, "insert into t values (1, 1, 'a')")
        yield server


def lost(binlog):
    with pytest.raises(PositionLost) as failed:
        binlog.open().read()
    binlog.close()
    assert "--recover" in failed.value.hint
    return str(failed.value)


def test_a_purged_binlog_and_a_reset_one_are_told_and_recovered_from(own):
    url = own.url("d")
    binlog = Binlog(url).open()
    binlog.read()
    binlog.close()
    run(url, "insert into t values (2, 2, 'b')", "flush binary logs", "insert into t values (3, 3, 'c')")
    binlog.open()  # rotated under a stopped reader: nothing is lost
    assert notes(binlog.read()) == [("create", (2,), "b"), ("create", (3,), "c")]
    binlog.close()
    run(url, "insert into t values (4, 4, 'd')", "delete from t where id = 1", "flush binary logs")
    run(url, "insert into t values (5, 5, 'e')")
    (newest, *_) = rows(url, "show binary logs")[-1]
    run(url, f"purge binary logs to '{newest}'")
    assert "purged" in lost(binlog) or "is gone" in lost(binlog)
    binlog.state = binlog.make().recover(binlog.state)
    binlog.open()
    sink = {1: {}}
    play(sink, binlog.read())
    assert set(sink) == {2, 3, 4, 5}
    assert binlog.state.position.epoch == 2
    binlog.close()
    run(url, "reset master" if isinstance(own, MariaDbServer) else "reset binary logs and gtids")
    run(url, *[f"insert into t values ({n}, 0, 'after the reset')" for n in range(10, 60)])
    message = lost(binlog)
    assert "reset" in message or "never had" in message


def test_another_server_with_the_same_transactions_goes_on_and_one_without_them_does_not(
    mysql_binary, tmp_path
):
    with MySqlServer(mysql_binary) as first:
        run(first.url(), "create database d")
        url = first.url("d")
        run(url, TABLE, "insert into t values (1, 1, 'a')")
        binlog = Binlog(url, batch=1).open()
        binlog.read()
        together(url, *(f"insert into t values ({n}, 1, 'x')" for n in range(2, 6)))
        first_half = []
        while len(first_half) < 2:
            first_half += binlog.step().events
        assert binlog.state.position.minor == 2
        binlog.close()
        with MySqlServer(mysql_binary, {"server_id": "2"}) as second:
            replicate(first, second)
            binlog.options["url"] = second.url("d") + "?ssl-mode=disabled"
            binlog.open()
            rest = binlog.read()
            assert [e.key for e in [*first_half, *rest]] == [(n,) for n in range(2, 6)]
            assert rest[0].position.epoch == 2
            assert rest[0].ordinal == 3
            binlog.close()
            run(first.url("d"), "insert into t values (9, 9, 'only here')")
            binlog.options["url"] = url + "?ssl-mode=disabled"
            binlog.open()
            assert notes(binlog.read()) == [("create", (9,), "only here")]
            binlog.close()
            run(second.url(), "stop replica")
            run(first.url("d"), "insert into t values (10, 10, 'only here')")
            binlog.open()
            binlog.read()
            binlog.close()
            binlog.options["url"] = second.url("d") + "?ssl-mode=disabled"
            assert "never had" in lost(binlog)


def replicate(source, replica):
    run(
        replica.url(),
        f"change replication source to source_host = '127.0.0.1', source_port = {source.port}, "
        "source_user = 'root', source_auto_position = 1, get_source_public_key = 1",
        "start replica",
    )
    wanted = rows(source.url(), "select @@global.gtid_executed")[0][0].replace("\n", "")
    assert rows(replica.url(), f"select wait_for_executed_gtid_set('{wanted}', 60)") == [(0,)]


def test_a_connection_that_is_only_half_there_is_noticed_within_three_heartbeats(mysqls_database):
    run(mysqls_database, TABLE)
    with Proxy(int(mysqls_database.rpartition(":")[2].split("/")[0])) as proxy:
        name = mysqls_database.rpartition("/")[2]
        with reading(f"mysql://root@127.0.0.1:{proxy.port}/{name}", heartbeat=0.5) as binlog:
            binlog.read()
            proxy.silent.set()
            began = time.monotonic()
            with pytest.raises(SourceError, match="has not been heard") as failed:
                while time.monotonic() - began < 30:
                    binlog.step()
            assert failed.value.retryable
            assert time.monotonic() - began < 10


class Proxy:
    """Forwards TCP to a port of this machine, until it is ``silent``."""

    def __init__(self, target):
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.silent = threading.Event()
        self._ends = [self._server]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exc):
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self.silent.is_set():
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


def test_what_a_foreign_key_cascades_is_in_the_binlog_or_warned_of(mysqls_database):
    run(
        mysqls_database,
        "create table p (id int primary key)",
        "create table c (id int primary key, p int, foreign key (p) references p (id) on delete cascade)",
        "insert into p values (1)",
        "insert into c values (1, 1)",
    )
    with reading(mysqls_database) as binlog:
        binlog.read()
        run(mysqls_database, "delete from p")
        told = {e.schema.table for e in binlog.read()}
        warned = any(f.check == "cascade" for f in binlog.source.check())
    assert ("c" in told) is not warned


def test_a_transaction_of_many_rows_passes_in_bounded_pieces(mysqls_database):
    run(mysqls_database, TABLE)
    with reading(mysqls_database, batch=1000) as binlog:
        binlog.read()
        with connected(mysqls_database) as db:
            db.begin()
            db.cursor().executemany("insert into t values (%s, 1, 'many')", [(n,) for n in range(20_000)])
            db.commit()
        sizes, ordinals = [], []
        target = binlog.source.current()
        while not ordinals or not binlog.source.reached(binlog.state, target):
            batch = binlog.step()
            sizes.append(len(batch.events))
            ordinals += [e.ordinal for e in batch.events]
        assert ordinals == list(range(1, 20_001))
        assert max(sizes) < 3000


def test_a_row_of_several_packets_is_read_and_streamed(mysqls_database):
    before, long = rows(mysqls_database, "select @@global.max_allowed_packet")[0][0], 33_000_000
    run(mysqls_database, f"set global max_allowed_packet = {1 << 26}")
    try:
        run(
            mysqls_database,
            "create table t (id int primary key, a int, b longtext)",
            f"insert into t values (1, 1, 'x'), (2, 2, repeat('y', {long})), (3, 3, 'z')",
        )
        with reading(mysqls_database) as binlog:
            events = binlog.read()
            run(mysqls_database, "update t set a = a + 1")
            events += binlog.read()
    finally:
        # What is behind so large an event MariaDB does not tell the position of.
        run(mysqls_database, f"set global max_allowed_packet = {before}", "flush binary logs")
    told = [(e.key[0], e.after[1], len(e.after[2])) for e in events]
    assert told == [(1, 1, 1), (2, 2, long), (3, 3, 1), (1, 2, 1), (2, 3, long), (3, 4, 1)]


def test_no_commit_of_a_semi_synchronous_source_waits_for_a_reader(mysqls_database):
    run(mysqls_database, TABLE)
    maria = is_mariadb(mysqls_database)
    prefix, other = ("rpl_semi_sync_master", "slave") if maria else ("rpl_semi_sync_source", "replica")
    if not maria:
        with contextlib.suppress(pymysql.err.OperationalError):  # it is there already
            run(mysqls_database, "install plugin rpl_semi_sync_source soname 'semisync_source.so'")
    try:
        with reading(mysqls_database) as binlog:
            binlog.read()
            run(
                mysqls_database,
                f"set global {prefix}_timeout = 60000",
                f"set global {prefix}_wait_no_{other} = off",
                f"set global {prefix}_enabled = on",
                "insert into t values (1, 1, 'a')",
            )
            assert notes(binlog.read()) == [("create", (1,), "a")]
            told = rows(mysqls_database, f"show global status like '{prefix}_%'")
            told = {name.lower(): value for name, value in told}
            assert (told[f"{prefix}_clients"], told[f"{prefix}_yes_tx"]) == ("0", "0")
    finally:
        run(
            mysqls_database,
            f"set global {prefix}_enabled = off",
            f"set global {prefix}_wait_no_{other} = on",
            f"set global {prefix}_timeout = 10000",
        )
        if not maria:
            run(mysqls_database, "uninstall plugin rpl_semi_sync_source")


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_events_name_the_kind_of_server_that_the_url_names(kind):
    assert Binlog(f"{kind}://root@127.0.0.1/shop").make().connector == kind


def test_a_server_id_is_derived_from_name_and_url_unless_it_is_given():
    urls = [
        f"mysql://root@{host}:{port}/shop" for host, port in (("one", 3306), ("two", 3306), ("one", 3307))
    ]
    ids = [Binlog(url, name=name).make().server_id for url in urls for name in ("shop", "other")]
    assert len(set(ids)) == 6
    assert all(1 << 28 <= number < 1 << 29 for number in ids)  # where people do not number their servers
    assert ids[0] == Binlog(urls[0], name="shop").make().server_id
    assert Binlog(urls[0], server_id=7).make().server_id == 7


def test_a_second_reader_with_the_same_server_id_is_told_so(mysqls_database):
    run(mysqls_database, TABLE)
    with (
        reading(mysqls_database, server_id=777) as first,
        reading(mysqls_database, name="other", server_id=777),
        pytest.raises(LiberatorError, match=r"server.?id|server_uuid"),
    ):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            first.step()
