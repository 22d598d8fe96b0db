"""Who holds the horizon of MySQL and MariaDB back beside open transactions."""

from __future__ import annotations

import re
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest

from liberator.errors import SourceError
from tests.fix_mysql import connected
from tests.integration.test_query import brief, read, source

IDS = {"mode": "incrementing", "incrementing_column": "id"}
TIMES = {"mode": "timestamp", "timestamp_column": "at"}


@pytest.fixture
def db(mysqls_database):
    with closing(connected(mysqls_database).thing) as conn:
        conn.url = mysqls_database
        conn.cursor().execute(
            "create table orders (id int primary key auto_increment, note varchar(9),"
            " at timestamp(3) not null default current_timestamp(3))"
        )
        yield conn


@pytest.mark.parametrize("options", [IDS, TIMES], ids=["ids", "times"])
def test_a_prepared_transaction_is_waited_for_also_when_its_connection_is_gone(db, tmp_path, options):
    with closing(source(db.url, tmp_path, **options)) as opened:
        opened.open(None)
        read(opened)
        with closing(connected(db.url).thing) as other:
            other.cursor().execute("xa start 'late'")
            other.cursor().execute("insert into orders (note) values ('late')")
            other.cursor().execute("xa end 'late'")
            db.cursor().execute("insert into orders (note) values ('early')")
            for _ in range(10):
                assert opened.read().events == []
            other.cursor().execute("xa prepare 'late'")
        try:
            until = time.monotonic() + 1  # longer than times are waited for without anybody at work
            while time.monotonic() < until:
                assert opened.read().events == []
        finally:
            db.cursor().execute("xa commit 'late'")
        assert sorted(key for _, key in brief(read(opened)[0])) == [1, 2]


def test_a_statement_that_has_its_time_and_is_no_transaction_yet_is_waited_for(db, tmp_path):
    """``now()`` is the statement's beginning; InnoDB hears of it with its first row."""
    with closing(source(db.url, tmp_path, **TIMES)) as opened:
        opened.open(None)
        read(opened)
        with closing(connected(db.url).thing) as slow:
            work = threading.Thread(
                target=slow.cursor().execute, args=["insert into orders (note) values (sleep(1.5))"]
            )
            work.start()
            try:
                with db.cursor() as cursor:
                    # What stands in the list before it has come so far may not have its time yet.
                    sql = (
                        "select count(*) from information_schema.processlist"
                        " where info like '%(sleep(1.5))' and state = 'User sleep'"
                    )
                    while not cursor.execute(sql) or not cursor.fetchone()[0]:
                        time.sleep(0.01)
                    time.sleep(0.02)  # the server's clock goes in steps of some milliseconds
                    cursor.execute("insert into orders (note) values ('early')")
                found = []
                while work.is_alive():
                    found += brief(opened.read().events)
            finally:
                work.join()
        found += brief(read(opened)[0])
        with db.cursor() as cursor:
            cursor.execute("select note, id from orders order by at")
            assert [note for note, _ in cursor.fetchall()] == ["0", "early"], (
                "the later one has the earlier time"
            )
        assert sorted(key for _, key in found) == [1, 2]


def test_a_replica_that_is_behind_the_server_that_was_read_is_waited_for(db, tmp_path):
    """Rows that it has not got yet would be taken for deleted. Here one that is read-only stands for it."""
    options = {**IDS, "deletes": {"reconcile": "1h"}, "horizon": "delay(1ms)"}
    with db.cursor() as cursor:
        cursor.execute("insert into orders (note) values ('a')")
        with closing(source(db.url, tmp_path, **options)) as opened:
            opened.open(None)
            assert brief(read(opened)[0]) == [("read", 1)]
            _, state = read(opened)
        mark = state.snapshot["mark"]
        assert re.fullmatch(r"[-:,0-9a-z_]+\d", mark), "the server has global ids, some perhaps with tags"
        ahead = replace(state, snapshot={**state.snapshot, "mark": re.sub(r"\d+$", "999999999", mark)})
        cursor.execute("set global read_only = on")
        try:
            with closing(source(db.url, tmp_path, **options)) as opened:
                with pytest.raises(SourceError, match="has not come as far") as refused:
                    opened.open(ahead)
                assert refused.value.retryable
            with closing(source(db.url, tmp_path, **options)) as opened:
                opened.open(state)
        finally:
            cursor.execute("set global read_only = off")
        with closing(source(db.url, tmp_path, **options)) as opened:
            opened.open(ahead)  # not a replica: what it lacks is gone
