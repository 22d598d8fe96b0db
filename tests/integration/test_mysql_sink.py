"""The MySQL sink on real servers: which row an insert-or-update hits, DDL that commits, limits, checks."""

from __future__ import annotations

import threading
import time
from dataclasses import astuple

import pytest

from connectors.sql.reader import open_reader
from connectors.sql.sink.naming import shorten
from liberator.errors import SinkError
from liberator.schema import Kind
from liberator.testing.events import create, delete, table, transaction, update
from tests.binlog import reading
from tests.fix_mysql import connected
from tests.targets import MySqlTarget, at

ORDERS = table("orders", {"id": Kind.INT64, "code": Kind.STRING, "n": Kind.INT32}, key=["id"])
TEXT_KEY = table("words", {"word": Kind.STRING, "n": Kind.INT32}, key=["word"])


@pytest.fixture(params=["mysql", "mariadb"])
def target(request):
    target = MySqlTarget(request.getfixturevalue(f"{request.param}_database"), request.param)
    target.execute("alter database default character set utf8mb4")
    return target


def test_an_upsert_never_changes_another_row_through_a_second_unique_index(target):
    target.execute(
        "create table orders (id bigint not null primary key, code varchar(20) unique, n int unique);"
        "insert into orders values (1, 'mine', 1), (2, 'taken', 2)"
    )
    for row in ({"id": 3, "code": "taken"}, {"id": 1, "code": "taken"}, {"id": 3, "code": "x", "n": 1}):
        for many in ((), [create(ORDERS, id=n, code=f"c{n}") for n in range(10, 60)]):
            with pytest.raises(SinkError) as caught:
                target.apply(transaction(1, create(ORDERS, **row), *many))
            assert "unique" in caught.value.hint and not caught.value.retryable
            assert "taken" not in str(caught.value)
            assert target.rows("orders") == {(1, "mine", 1), (2, "taken", 2)}


def test_a_unique_index_that_is_added_while_the_sink_runs_is_heeded_too(target):
    sink = target.sink()
    sink.open()
    sink.write(transaction(1, create(ORDERS, id=1, code="a"), create(ORDERS, id=2, code="b")))
    sink.commit(at(1))
    target.execute("alter table orders modify code varchar(20), add unique (code)")
    with pytest.raises(SinkError, match=r"constraint|unique"):
        sink.write(transaction(2, create(ORDERS, id=3, code="b")))
    sink.close()
    assert target.rows("orders") == {(1, "a", None), (2, "b", None)}


def test_keys_that_the_target_compares_laxly_are_never_taken_for_one_another(target):
    target.execute(
        "create table words (word varchar(20) character set utf8mb4 collate utf8mb4_general_ci not null "
        "primary key, n int)"
    )
    target.apply(transaction(1, create(TEXT_KEY, word="abc", n=1)))
    for word in ("ABC", "abc ", "äbc"):
        with pytest.raises(SinkError):
            target.apply(transaction(2, create(TEXT_KEY, word=word, n=2)))
        assert target.rows("words") == {("abc", 1)}
    # What the source itself changes so is the same row under another spelling.
    target.apply(transaction(3, delete(TEXT_KEY, word="abc"), create(TEXT_KEY, word="ABC", n=3)))
    assert target.rows("words") == {("ABC", 3)}


def test_texts_that_only_bytes_tell_apart_are_different_keys(target):
    words = ["a", "A", "ä", "a ", " a", "a\u0301", "\u00e4 ", "日本", "", "😀", "😁"]
    target.apply(
        transaction(1, *(create(TEXT_KEY, word=w, n=i) for i, w in enumerate(words))),
        transaction(2, *(update(TEXT_KEY, word=w, n=-i) for i, w in enumerate(words))),
    )
    assert target.rows("words") == {(w, -i) for i, w in enumerate(words)}


def test_a_text_that_is_too_long_for_a_key_is_refused_with_the_column(target):
    longest = 768
    target.apply(transaction(1, create(TEXT_KEY, word="😀" * longest)))
    with pytest.raises(SinkError, match="column word: varchar has no place") as caught:
        target.apply(transaction(2, create(TEXT_KEY, word="secret" * longest)))
    assert "secret" not in str(caught.value) and "longer" in caught.value.hint


def test_a_key_of_several_texts_can_be_indexed(target):
    wide = table("wide", {f"k{i}": Kind.STRING for i in range(12)} | {"b": Kind.BYTES, "n": Kind.INT64},
                 key=[f"k{i}" for i in range(12)] + ["b"])  # fmt: skip
    row = {f"k{i}": "é" * 10 for i in range(12)} | {"b": b"\xff", "n": 1}
    target.apply(transaction(1, create(wide, **row)), transaction(2, update(wide, **row | {"n": 2})))
    assert target.query("select n from wide") == [(2,)]


def test_names_of_64_characters_are_kept_and_longer_ones_told_apart(target):
    longest = "é" * 64
    for name in (longest, longest + "1", longest + "2", "blank ", "grin 😀"):
        schema = table(name, {"id": Kind.INT64, name: Kind.INT32}, key=["id"])
        target.apply(transaction(1, create(schema, id=1, **{name: 7})))
        dialect = target.sink().dialect()
        spelled = shorten(dialect, name)
        assert (spelled == name) == (name == longest)
        assert target.query(f'select "{spelled}" from "{spelled}"') == [(7,)]


def test_tables_that_differ_in_case_are_two_where_the_server_says_so(target):
    if target.query("select @@lower_case_table_names") != [(0,)]:
        pytest.skip("this server takes them for one")
    lower, upper = (table(name, {"id": Kind.INT64}, key=["id"]) for name in ("cases", "CASES"))
    target.apply(transaction(1, create(lower, id=1), create(upper, id=2)))
    assert target.rows("cases") == {(1,)} and target.rows("CASES") == {(2,)}


def test_the_template_puts_tables_into_databases_of_their_own(target):
    home = target.query("select database()")[0][0]
    other = table("orders", {"id": Kind.INT64}, key=["id"], schema=f"{home}_x")
    try:
        target.apply(transaction(1, create(other, id=1)), table="{schema}.{table}")
        assert target.query(f'select id from "{home}_x".orders') == [(1,)]
        assert target.query("select count(*) from liberator_cursors") == [(1,)]
    finally:
        target.execute(f"drop database if exists {home}_x")


def test_ddl_behind_rows_throws_the_batch_back_whole_and_the_next_attempt_succeeds(target):
    other = table("others", {"id": Kind.INT64}, key=["id"])
    first, second = transaction(1, create(ORDERS, id=1)), transaction(2, create(other, id=2))
    sink = target.sink()
    sink.open()
    sink.write(first)
    sink.commit(at(1))
    sink.write(transaction(2, create(ORDERS, id=2)))
    with pytest.raises(SinkError, match="begins again") as caught:
        sink.write(second)
    assert caught.value.retryable
    sink.close()
    assert target.rows("orders", "id") == {(1,)} and target.sink().cursor() == at(1)
    target.apply(transaction(2, create(ORDERS, id=2)) + second)
    assert target.rows("orders", "id") == {(1,), (2,)} and target.rows("others") == {(2,)}


def test_a_crash_behind_ddl_repeats_safely(target):
    schema = table("orders", {"id": Kind.INT64, "more": Kind.STRING}, key=["id"])
    target.apply(transaction(1, create(ORDERS, id=1)))
    sink = target.sink()
    sink.open()
    sink.write(transaction(2, create(schema, id=2, more="x")))  # the column is there now, for good
    sink.close()
    assert target.query('select count("more") from orders') == [(0,)]
    assert target.sink().cursor() == at(1)
    target.apply([], transaction(2, create(schema, id=2, more="x")))
    assert target.rows("orders", "id, more") == {(1, None), (2, "x")}


def test_a_definition_stays_but_for_what_is_altered(target):
    target.execute(
        "create table orders (id int not null auto_increment primary key, "
        "code varchar(5) not null default 'it''s' comment 'a \"code\"', n smallint not null default 7, "
        "seen timestamp(3) not null default current_timestamp(3) on update current_timestamp(3))"
    )
    target.apply(transaction(1, create(ORDERS, id=0, code="abc", n=70_000)))
    assert target.rows("orders", "id, code, n") == {(0, "abc", 70_000)}
    shown = target.query("show create table orders")[0][1].lower()
    assert "bigint not null auto_increment" in shown or "bigint(20) not null auto_increment" in shown
    assert "default 7" in shown or "default '7'" in shown
    for part in ("default 'it''s'", "on update current_timestamp(3)"):
        assert part in shown
    assert "comment" in shown


def test_a_row_longer_than_the_server_takes_is_refused_with_the_remedy(target):
    sink = target.sink()
    sink.open()
    sink._dialect.largest = 100_000
    sink.write(transaction(1, *(create(ORDERS, id=i, code="x" * 9_000) for i in range(40))))
    with pytest.raises(SinkError, match="longer than the server takes") as caught:
        sink.write(transaction(2, create(ORDERS, id=99, code="x" * 200_000)))
    assert "max_allowed_packet" in caught.value.hint and not caught.value.retryable
    sink.close()


def test_a_lock_that_others_hold_rolls_everything_back_and_can_be_retried(target):
    target.apply(transaction(1, create(ORDERS, id=1), create(ORDERS, id=2)))
    sink = target.sink()
    sink.open()
    sink._dialect.execute("set session innodb_lock_wait_timeout = 1")
    with connected(target.url) as other:
        other.begin()
        other.cursor().execute("update orders set n = 5 where id = 2")
        with pytest.raises(SinkError, match="Lock wait timeout") as caught:
            sink.write(transaction(2, update(ORDERS, id=1, n=1), update(ORDERS, id=2, n=1)))
        assert caught.value.retryable
        other.rollback()
    sink.close()
    assert target.rows("orders", "id, n") == {(1, None), (2, None)}


def test_a_deadlock_rolls_everything_back_and_can_be_retried(target):
    target.apply(transaction(1, *(create(ORDERS, id=n, code=f"c{n}") for n in range(300))))
    sink = target.sink()
    sink.open()
    with connected(target.url) as other, other.cursor() as cursor:
        other.begin()
        cursor.execute("update orders set n = 9 where id > 1")  # who has changed less is the victim
        sink.write(transaction(2, update(ORDERS, id=1, n=1)))
        waiting = threading.Thread(target=cursor.execute, args=("update orders set n = 9 where id = 1",))
        waiting.start()
        waits = "select count(*) from information_schema.innodb_trx where trx_state = 'LOCK WAIT' and "
        deadline = time.monotonic() + 30
        while target.query(f"{waits} trx_mysql_thread_id = {other.thread_id()}") == [(0,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(SinkError, match="Deadlock") as caught:
            sink.write(transaction(3, update(ORDERS, id=2, n=1)))
        assert caught.value.retryable
        sink.close()
        waiting.join()
        other.commit()
    assert target.rows("orders", "id, n") == {(n, 9 if n else None) for n in range(300)}
    assert target.sink().cursor() == at(1)


def test_a_table_without_transactions_is_refused(target):
    target.execute("create table orders (id bigint not null primary key) engine = MyISAM")
    with pytest.raises(SinkError, match="MyISAM, which has no transactions") as caught:
        target.apply(transaction(1, create(ORDERS, id=1)))
    assert "InnoDB" in caught.value.hint


def test_the_session_is_strict_and_tells_time_in_utc_whatever_the_server_does(target):
    dialect = target.sink().dialect()
    dialect.connect()
    mode, zone, isolation = dialect.execute(
        "select @@sql_mode, @@time_zone, "
        + ("@@tx_isolation" if target.kind == "mariadb" else "@@transaction_isolation")
    )[0][0]
    dialect.close()
    assert "STRICT_ALL_TABLES" in mode and zone == "+00:00" and isolation == "READ-COMMITTED"


def test_check_tells_what_an_account_may_not(target):
    home = target.query("select database()")[0][0]
    user = f"u_{home[5:]}"
    target.execute(f"create user {user} identified by 'secret pass'; grant select on {home}.* to {user}")
    try:
        server = target.url.partition("@")[2]
        weak = MySqlTarget(f"mysql://{user}:secret%20pass@{server}", target.kind)
        found = {f[1]: f for f in map(astuple, weak.sink().check())}
        assert found["connection"][0] == "ok"
        level, _, text, remedy = found["privileges"][:4]
        assert level == "error" and "create" in text and "grant" in remedy and "secret" not in text
        target.execute(f"grant all on {home}.* to {user}")
        assert "error" not in {astuple(f)[0] for f in weak.sink().check()}
        assert target.query("show tables like 'liberator%'") == []
    finally:
        target.execute(f"drop user {user}")
    wrong = MySqlTarget(target.url.replace("//root", "//nobody:wrong"), target.kind).sink().check()
    assert astuple(wrong[0])[0] == "error" and "wrong" not in str(astuple(wrong[0]))


def test_a_database_that_is_not_named_is_told(target):
    nameless = MySqlTarget(target.url.rpartition("/")[0] + "/", target.kind)
    assert any("names no database" in str(astuple(f)) for f in nameless.sink().check())
    with pytest.raises(SinkError, match="names no database"):
        nameless.sink().open()


def test_a_connection_that_is_killed_can_be_retried(target):
    sink = target.sink()
    sink.open()
    sink.write(transaction(1, create(ORDERS, id=1)))
    (number,) = sink._dialect.execute("select connection_id()")[0][0]
    with connected(target.url) as other:
        other.cursor().execute(f"kill {number}")
    with pytest.raises(SinkError) as caught:
        sink.commit(at(1))
    assert caught.value.retryable
    sink.close()
    assert target.sink().cursor() is None
    assert target.query("select count(*) from orders") == [(0,)]


def test_a_staged_update_finds_rows_by_the_key(target):
    """Whatever the statistics say, the target is not read as a whole for each batch."""
    many = [create(ORDERS, id=n, code=f"c{n}") for n in range(500)]
    target.apply(
        transaction(1, *many), transaction(2, *(update(ORDERS, id=n, n=n) for n in range(0, 500, 9)))
    )
    dialect = target.sink().dialect()
    dialect.connect()
    try:
        dialect.execute("create temporary table s (c0 bigint, c2 int)")
        dialect.execute("insert into s values (1, 1), (2, 2), (9, 9)")
        plan, _ = dialect.execute("explain update s straight_join orders as t on t.id = s.c0 set t.n = s.c2")
    finally:
        dialect.close()
    found = str(plan)
    assert "eq_ref" in found or "Single-row index lookup on t using PRIMARY" in found
    assert target.query("select count(*) from orders where n = id and id % 9 = 0") == [(56,)]


def test_the_bookkeeping_of_a_sink_is_captured_only_where_it_is_named(target):
    target.execute("create table orders (id int primary key)")
    target.apply([])
    database = target.url.rpartition("/")[2]
    with reading(target.url, name="shop") as binlog:
        binlog.read()
        target.apply([])
        assert binlog.read() == []
    with reading(target.url, name="books", tables=[f"{database}.liberator_cursors"]) as binlog:
        assert [e.schema.table for e in binlog.read()] == ["liberator_cursors"]
    with open_reader(target.url) as reader:
        assert [t.name for t in reader.chosen(["*.*"], "tables") if t.schema == database] == ["orders"]
        assert [t.name for t in reader.chosen([f"{database}.liberator_tables"], "tables")] == [
            "liberator_tables"
        ]
