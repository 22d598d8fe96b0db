"""The source ``trigger`` on MySQL, MariaDB and SQLite: order, DDL, names, what triggers are not told."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import psycopg
import pymysql
import pytest

from liberator.errors import PositionLost, SourceError
from liberator.event import Operation
from tests.fix_mysql import connected
from tests.race import Race
from tests.triggers import Confirming, Reading, make, told


class Conn:
    """A PyMySQL connection that is used as the others are."""

    def __init__(self, url):
        self.inner = connected(url).thing
        self.inner.autocommit(False)

    def execute(self, sql):
        cursor = self.inner.cursor()
        cursor.execute(sql)
        return cursor

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.fixture
def db(mysqls_database):
    with closing(Conn(mysqls_database)) as conn:
        conn.autocommit(True)
        conn.url = mysqls_database
        yield conn


@pytest.fixture
def lite(tmp_path):
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as conn:
        yield conn


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'shop.db'}"


def test_on_mysql_no_committed_row_is_lost_and_none_comes_twice(db):
    db.execute("create table race (id bigint primary key auto_increment, writer int)")
    make(db.url, "*.race").setup()
    feed = Confirming(lambda: make(db.url, "*.race", batch=500, snapshot="none", purge=False))
    purged = Confirming(lambda: make(db.url, "*.race", name="other", batch=500, snapshot="none"))
    purged.make().setup()
    race = Race(lambda: Conn(db.url), 20_000)
    naive = (
        "select id, cast(json_extract(new, '$[0]') as unsigned) from liberator_shop_changes"
        " where id > {last} order by id"
    )
    race.run([feed, purged], naive, lambda last: str(last or 0), timeout=120)
    race.verify([feed, purged])


def test_in_sqlite_no_committed_row_is_lost_and_none_comes_twice(lite, url, tmp_path):
    """Its ids come in the order of commits; times do not part what one writer does from the next."""
    lite.execute("pragma journal_mode = wal")
    lite.execute("create table race (id integer primary key autoincrement, writer int)")
    feed = Confirming(lambda: make(url, "race", batch=500, snapshot="none", purge=False))
    feed.make().setup()

    def connect():
        conn = sqlite3.connect(tmp_path / "shop.db", timeout=60, isolation_level=None)
        conn.execute("pragma synchronous = off")
        return conn

    race = Race(connect, 20_000, "begin immediate")
    naive = "select at / 1000000, n0 from liberator_shop_changes where at / 1000000 > {last} order by 1, 2"
    race.run([feed], naive, lambda last: str(last or 0))
    race.verify([feed])


def test_changes_of_a_transaction_stay_together_and_rows_in_their_order(db):
    db.execute("create table t (id int primary key, who varchar(9))")
    db.execute("insert into t values (1, ''), (2, ''), (3, '')")
    with (
        Reading(db.url, "*.t", snapshot="none") as reading,
        closing(Conn(db.url)) as a,
        closing(Conn(db.url)) as c,
    ):
        a.execute("update t set who = 'a' where id = 2")
        c.execute("update t set who = 'c' where id = 3")
        db.execute("update t set who = 'b' where id = 1")
        a.execute("update t set who = 'a' where id = 1")
        a.commit()
        for _ in range(3):
            assert [e.after for e in reading.source.read().events] == []
        c.commit()
        found = reading.read()
        assert [e.after for e in found] == [(3, "c"), (1, "b"), (2, "a"), (1, "a")]
        assert [e.ordinal for e in found] == [1, 1, 1, 2]
        a.execute("set @liberator_origin = 'x'")
        a.execute("update t set id = 9 where id = 1")
        a.execute("delete from t where id = 2")
        a.commit()
        found = reading.read()
    assert [(e.operation.name, e.before, e.after, e.moved) for e in found] == [
        ("DELETE", (1, "a"), None, (9,)), ("CREATE", None, (9, "a"), (1,)), ("DELETE", (2, "a"), None, None),
    ]  # fmt: skip
    assert found[0].transaction.origin[1] == "x"
    assert len({e.transaction.id for e in found}) == 1


def test_replace_and_insert_or_update_are_told_as_what_they_do(db):
    db.execute("create table t (id int primary key, u int unique, n int)")
    db.execute("insert into t values (1, 1, 1), (2, 2, 2)")
    with Reading(db.url, "*.t", snapshot="none") as reading:
        db.execute("replace into t values (1, 2, 3)")
        db.execute("insert into t values (1, 5, 5) on duplicate key update n = 7")
        found = [(e.operation.name, e.before or e.after) for e in reading.read()]
    assert sorted(found[:2]) == [("DELETE", (1, 1, 1)), ("DELETE", (2, 2, 2))]
    assert found[2:] == [("CREATE", (1, 2, 3)), ("UPDATE", (1, 2, 7))]


def test_the_next_look_follows_ddl_and_the_table_is_read_again(db):
    db.execute("create table t (id int primary key, a varchar(9))")
    db.execute("insert into t values (1, 'x')")
    with Reading(db.url, "*.t") as reading:
        reading.read()
        db.execute("alter table t add column b int default 5")
        db.execute("insert into t values (2, 'unseen', 6)")
        found = reading.until(lambda es: sum(e.operation is Operation.READ for e in es) == 2)
        assert told(found[0]) == ("create", {"id": 2, "a": "unseen"})
        rows = [told(e)[1] for e in found if e.operation is Operation.READ]
        assert rows == [{"id": 1, "a": "x", "b": 5}, {"id": 2, "a": "unseen", "b": 6}]
        db.execute("alter table t drop column a")
        with pytest.raises(pymysql.Error):
            db.execute("insert into t values (3, 7)")  # it fails rather than being lost
        reading.until(lambda _: len(versions(db)) == 3)
        db.execute("insert into t values (3, 7)")
        assert [told(e) for e in reading.read()] == [("create", {"id": 3, "b": 7})]
        status = make(db.url, "*.t").status(reading.state)
        assert list(status.details["captured since"]) == [f"{db.url.rpartition('/')[2]}.t"]


def versions(db):
    return db.execute("select id from liberator_shop_versions where id > 1").fetchall()


def test_triggers_that_were_made_half_are_made_anew_and_the_table_is_read_again(db):
    """As after a kill between two of them: what was written meanwhile is in no change."""
    db.execute("create table t (id int primary key)")
    db.execute("insert into t values (1)")
    with Reading(db.url, "*.t") as reading:
        reading.read()
        state = reading.state
    (name,) = db.execute(
        "select trigger_name from information_schema.triggers"
        " where trigger_schema = database() and trigger_name like '%insert'"
    ).fetchone()
    db.execute(f"drop trigger {name}")
    db.execute("insert into t values (2)")
    with Reading(db.url, "*.t", state=state) as reading:
        found = [(e.operation.name, e.after) for e in reading.read()]
        assert found == [("TRUNCATE", None), ("READ", (1,)), ("READ", (2,))]
        db.execute("insert into t values (3)")
        assert [e.after for e in reading.read()] == [(3,)]


def test_rows_that_are_loaded_from_a_file_are_changes_too(db, tmp_path):
    db.execute("create table t (id int primary key, note varchar(9))")
    (tmp_path / "rows.txt").write_text("1\ta\n2\tb\n")
    db.execute("set @before = @@global.local_infile")
    db.execute("set global local_infile = 1")
    try:
        inner = db.inner
        loading = pymysql.connect(
            host=inner.host, port=inner.port, unix_socket=inner.unix_socket, user="root",
            database=db.url.rpartition("/")[2], local_infile=True, autocommit=True,
        )  # fmt: skip
        with Reading(db.url, "*.t", snapshot="none") as reading, closing(loading):
            loading.cursor().execute(f"load data local infile '{tmp_path / 'rows.txt'}' into table t")
            assert [e.after for e in reading.read()] == [(1, "a"), (2, "b")]
    finally:
        db.execute("set global local_infile = @before")


def test_foreign_keys_that_write_by_themselves_are_refused(db):
    db.execute("create table p (id int primary key)")
    db.execute(
        "create table c (id int primary key, p int, foreign key (p) references p (id) on delete cascade)"
    )
    with closing(make(db.url, "*.p", "*.c")) as source:
        with pytest.raises(SourceError, match="without firing triggers"):
            source.open(None)
        (finding,) = [f for f in source.check() if f.check == "foreign key"]
        assert finding.level == "error"
    with Reading(db.url, "*.p", "*.c", cascades="ignore") as reading:
        reading.read()
        db.execute("insert into p values (1)")
        db.execute("insert into c values (1, 1)")
        db.execute("delete from p")
        found = [(e.operation.name, e.schema.table) for e in reading.read()]
    assert found[:3] == [("CREATE", "p"), ("CREATE", "c"), ("DELETE", "p")]


def test_hostile_names_on_mysql(db):
    table, column, long = "sel`ect'; drop table x; -- $old ü", "new.`$values 'x' \\", "x" * 64
    quoted, name = ("`" + n.replace("`", "``") + "`" for n in (table, column))
    db.execute(f"create table {quoted} (`user` int primary key, {name} varchar(9))")
    db.execute(f"create table {long} ({long} int primary key)")
    with Reading(db.url, "*.*", "!mysql.*", "!sys.*", snapshot="none") as reading:
        db.execute(f"insert into {quoted} values (1, 'a')")
        db.execute(f"update {quoted} set {name} = 'b'")
        db.execute(f"insert into {long} values (2)")
        assert [told(e)[1] for e in reading.read()] == [
            {"user": 1, column: "a"}, {"user": 1, column: "b"}, {long: 2},
        ]  # fmt: skip


def test_hostile_names_and_tables_without_rowid_in_sqlite(lite, url):
    table, column = "sel\"ect'; drop table x; -- $old ü", "new.\"$values 'x' \\"
    quoted, name = ('"' + n.replace('"', '""') + '"' for n in (table, column))
    lite.execute(f'create table {quoted} ("user" text primary key, {name} blob) without rowid')
    with Reading(url, "*", snapshot="none") as reading:
        lite.execute(f"insert into {quoted} values ('k', x'00')")
        lite.execute(f"update {quoted} set \"user\" = 'K'")
        found = [(e.operation.name, told(e)[1]) for e in reading.read()]
    assert found == [
        ("CREATE", {"user": "k", column: b"\0"}), ("DELETE", {"user": "k", column: b"\0"}),
        ("CREATE", {"user": "K", column: b"\0"}),
    ]  # fmt: skip


def test_replace_in_sqlite_tells_of_other_rows_with_recursive_triggers(lite, url):
    lite.execute("create table t (id integer primary key, u int unique)")
    lite.execute("insert into t values (1, 1), (2, 2)")
    assert [f.check for f in make(url, "t").check() if f.level == "warning"] == ["replace"]
    with Reading(url, "t", snapshot="none") as reading:
        lite.execute("pragma recursive_triggers = on")
        lite.execute("replace into t values (3, 2)")
        lite.execute("insert into t values (1, 9) on conflict (id) do update set u = 9")
        found = [(e.operation.name, e.before or e.after) for e in reading.read()]
    assert found == [("DELETE", (2, 2)), ("CREATE", (3, 2)), ("UPDATE", (1, 9))]


def test_ddl_in_sqlite_is_followed_and_a_rebuilt_table_read_anew(lite, url):
    lite.execute("create table t (id integer primary key, a text)")
    lite.execute("insert into t values (1, 'x')")
    with Reading(url, "t") as reading:
        reading.read()
        lite.execute("alter table t add column b int default 5")
        found = reading.until(lambda es: any(e.operation is Operation.READ for e in es))
        assert told(found[-1]) == ("read", {"id": 1, "a": "x", "b": 5})
        lite.execute("alter table t rename column a to c")
        lite.execute("create table n (id integer primary key, c text, b int)")
        lite.execute("insert into n select * from t")
        lite.execute("drop table t")
        lite.execute("alter table n rename to t")
        lite.execute("update t set c = 'unseen'")
        found = reading.until(
            lambda es: any(e.operation is Operation.READ and e.after[1] == "unseen" for e in es)
        )
        assert Operation.TRUNCATE in {e.operation for e in found}
        lite.execute("insert into t values (2, 'seen', 1)")
        assert [told(e) for e in reading.read()] == [("create", {"id": 2, "c": "seen", "b": 1})]


def test_a_table_without_a_key_is_read_whole(lite, url):
    lite.execute("create table t (n int, note text)")
    lite.execute("begin")
    lite.executemany("insert into t values (?, 'old')", [(n,) for n in range(12_000)])
    lite.execute("commit")
    make(url, "t").setup()
    lite.execute("insert into t values (-1, 'seen by both')")
    with Reading(url, "t", batch=500) as reading:
        reading.read()
        lite.execute("delete from t where n = 7")
        reading.read()
    operations = [e.operation for e in reading.events]
    assert operations.count(Operation.READ) == 12_001
    assert operations[-1] is Operation.DELETE


def test_a_table_without_a_key_is_read_whole_from_mysql_too(db):
    db.execute("create table t (n int)")
    db.execute("insert into t values " + ", ".join(f"({n})" for n in range(500)))
    with Reading(db.url, "*.t", batch=100, chunk=150) as reading:
        reading.read()
        db.execute("delete from t where n = 7")
        reading.read()
    assert sorted(e.after[0] for e in reading.events if e.operation is Operation.READ) == list(range(500))
    assert (reading.events[-1].operation, reading.events[-1].before) == (Operation.DELETE, (7,))


@pytest.mark.parametrize("kind", ["database", "mysql_database", "mariadb_database", "sqlite"])
def test_a_trigger_that_fails_fails_the_write_and_loses_no_change(request, tmp_path, kind):
    url = f"sqlite:///{tmp_path / 'shop.db'}" if kind == "sqlite" else request.getfixturevalue(kind)
    connect = {
        "sqlite": lambda: sqlite3.connect(tmp_path / "shop.db", isolation_level=None),
        "database": lambda: psycopg.connect(url, autocommit=True),
    }.get(kind, lambda: connected(url).thing)
    with closing(connect()) as db:
        run = db.cursor().execute
        run("create table t (id integer primary key)")
        make(url, "*t").setup()
        run("drop table " + ("liberator.shop_changes" if kind == "database" else "liberator_shop_changes"))
        with pytest.raises((psycopg.Error, pymysql.Error, sqlite3.Error), match="shop_changes"):
            run("insert into t values (1)")
        cursor = db.cursor()
        cursor.execute("select count(*) from t")
        assert cursor.fetchone()[0] == 0


@pytest.mark.parametrize("kind", ["database", "mysql_database", "mariadb_database", "sqlite"])
def test_a_change_table_that_is_older_than_the_position_is_a_lost_one(request, tmp_path, kind):
    """As after a restore from a backup: ids that were read are given to other changes."""
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'shop.db'}"
        connect = lambda: sqlite3.connect(tmp_path / "shop.db", isolation_level=None)  # noqa: E731
        restart = "update sqlite_sequence set seq = 0"
    elif kind == "database":
        url = request.getfixturevalue(kind)
        connect = lambda: psycopg.connect(url, autocommit=True)  # noqa: E731
        restart = "alter sequence liberator.shop_changes_id_seq restart"
    else:
        url = request.getfixturevalue(kind)
        connect = lambda: connected(url).thing  # noqa: E731
        restart = "alter table liberator_shop_changes auto_increment = 1"
    with closing(connect()) as db:
        db.cursor().execute("create table t (id integer primary key)")
        with Reading(url, "*t", snapshot="none") as reading:
            db.cursor().execute("insert into t values (1), (2), (3)")
            assert len(reading.read()) == 3
            deadline = time.monotonic() + 30
            while make(url, "*t").status(None).details["changes"]:
                reading.read()
                assert time.monotonic() < deadline
            state = reading.state
        with Reading(url, "*t", snapshot="none", state=state):
            pass  # that all is purged says nothing
        db.cursor().execute(restart)
        db.cursor().execute("insert into t values (4)")
        with closing(make(url, "*t")) as source, pytest.raises(PositionLost, match="restored from a backup"):
            source.open(state)


def test_an_origin_in_sqlite_is_set_in_a_table(lite, url):
    lite.execute("create table t (id integer primary key)")
    with Reading(url, "t", snapshot="none", skip_origins=["ours"]) as reading:
        lite.executescript(
            "begin; update liberator_shop_now set origin = 'ours'; insert into t values (1);"
            "update liberator_shop_now set origin = null; commit; insert into t values (2);"
        )
        assert [e.after for e in reading.read()] == [(2,)]
