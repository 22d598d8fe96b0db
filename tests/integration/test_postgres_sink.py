"""The Postgres sink beside others: deadlocks, lost connections, fencing, kills, privileges."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psycopg
import pytest

from liberator.errors import SinkError
from liberator.schema import Kind
from liberator.testing.events import create, table, transaction, truncate, update
from tests.targets import PostgresTarget, SqliteTarget, at
from tests.wal import reading, run

ORDERS = table("orders", {"id": Kind.INT64, "note": Kind.STRING, "n": Kind.INT32}, key=["id"])
ROOT = Path(__file__).parents[2]


@pytest.fixture
def target(database):
    return PostgresTarget(database)


@pytest.fixture
def sink(target):
    sink = target.sink()
    sink.open()
    yield sink
    sink.close()


def test_a_lost_connection_can_be_retried_and_nothing_took_effect(target, sink):
    sink.write(transaction(1, create(ORDERS, id=1)))
    sink.commit(at(1))
    sink.write(transaction(2, create(ORDERS, id=2)))
    target.query(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name like 'liberator%' and pid <> pg_backend_pid()"
    )
    with pytest.raises(SinkError) as caught:
        sink.commit(at(2))
    assert caught.value.retryable
    sink.close()
    assert sink.open() == at(1)
    assert target.rows("orders", "id") == {(1,)}


def test_a_server_that_is_not_there_can_be_retried(tmp_path):
    gone = PostgresTarget(f"postgresql://postgres:hidden@/db?host={tmp_path}")
    with pytest.raises(SinkError) as caught:
        gone.sink().open()
    assert caught.value.retryable
    assert "hidden" not in str(caught.value)
    assert [f.level for f in gone.sink().check()] == ["error"]


def test_a_deadlock_rolls_everything_back_and_can_be_retried(target, sink):
    sink.write(transaction(1, create(ORDERS, id=1, n=0), create(ORDERS, id=2, n=0)))
    sink.commit(at(1))
    with psycopg.connect(target.url, autocommit=True) as other:
        # The other one waits longer, so that it is us who are chosen to give way.
        other.execute("set deadlock_timeout = '60s'")
        other.execute("begin")
        other.execute("update orders set n = 9 where id = 2")
        sink.write(transaction(2, update(ORDERS, id=1, n=1)))
        waiting = threading.Thread(target=other.execute, args=("update orders set n = 9 where id = 1",))
        waiting.start()
        wait_until(lambda: waits_for_lock(target))
        with pytest.raises(SinkError) as caught:
            sink.write(transaction(3, update(ORDERS, id=2, n=1)))
        assert caught.value.retryable
        sink.close()
        waiting.join()
        other.execute("commit")
    assert sink.open() == at(1)
    assert target.rows("orders", "id, n") == {(1, 9), (2, 9)}


def test_two_sinks_that_write_the_same_rows_in_other_orders_do_not_deadlock(target, monkeypatch):
    monkeypatch.setattr("connectors.postgres.sink.writer.FEW", 0)
    keys = list(range(200))
    events = [
        transaction(1, *(create(ORDERS, id=k, note=str(k), n=1) for k in order))
        for order in (keys, keys[::-1])
    ]
    target.apply(events[0], name="first")
    failures = []

    def work(name, events):
        sink = target.sink(name)
        try:
            sink.open()
            for offset in range(15):
                sink.write(events)
                sink.commit(at(offset))
        except SinkError as exc:
            failures.append(exc)
        finally:
            sink.close()

    threads = [threading.Thread(target=work, args=(f"s{i}", e)) for i, e in enumerate(events)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_older_process_that_was_in_the_middle_is_fenced_out(target):
    old, new = target.sink(), target.sink()
    try:
        old.open()
        old.write(transaction(1, create(ORDERS, id=1, note="old")))
        new.open()
        with pytest.raises(SinkError, match="another process has taken over sink sink"):
            old.commit(at(1))
        old.close()
        new.write(transaction(1, create(ORDERS, id=1, note="new")))
        new.commit(at(1))
    finally:
        old.close()
        new.close()
    assert target.rows("orders", "id, note") == {(1, "new")}


def test_the_very_table_that_a_source_captures_is_no_target(target):
    """Its own writes would come again as changes, for ever."""
    run(target.url, "create table orders (id int primary key)", "insert into orders values (1)")
    with reading(target.url, name="shop-eu") as wal:
        events = wal.read()
    sink = target.sink()
    try:
        sink.open()
        with pytest.raises(SinkError, match="comes from: each change would come again") as caught:
            sink.write(events)
    finally:
        sink.close()
    assert not caught.value.retryable
    target.apply(events, table="copy_of_{table}")
    assert target.query("select id from copy_of_orders") == [(1,)]


def test_the_bookkeeping_of_a_sink_is_captured_only_where_it_is_named(target):
    run(target.url, "create table orders (id int primary key)")
    target.apply([])
    with reading(target.url, name="shop") as wal:
        wal.read()
        target.apply([])
        assert wal.read() == []
    with reading(target.url, name="books", tables=["public.liberator_cursors"]) as wal:
        assert [e.schema.table for e in wal.read()] == ["liberator_cursors"]


def test_a_user_without_privileges_is_told_what_to_grant(target):
    name = f"lowly_{os.getpid()}"
    with psycopg.connect(target.url, autocommit=True) as admin:
        admin.execute(f"create role {name} login")
    try:
        separator = "&" if "?" in target.url else "?"
        lowly = PostgresTarget(f"{target.url}{separator}user={name}")
        findings = [f for f in lowly.sink().check() if f.level == "error"]
        assert findings and all(f.remedy for f in findings)
        assert any("grant create" in f.remedy for f in findings)
        with pytest.raises(SinkError) as caught:
            lowly.sink().open()
        assert not caught.value.retryable
        assert "grant" in caught.value.hint
    finally:
        with psycopg.connect(target.url, autocommit=True) as admin:
            admin.execute(f"drop role {name}")


def test_check_of_a_schema_that_is_not_there_yet_says_that_it_will_be_made(target):
    findings = target.sink(schema="made later").check()
    assert {f.level for f in findings} == {"ok"}
    assert any("made later" in f.message for f in findings)


def test_a_table_can_be_emptied_without_the_privilege_to_truncate(target):
    name = f"writer_{os.getpid()}"
    target.execute("create table orders (id bigint primary key, note text, n integer)")
    with psycopg.connect(target.url, autocommit=True) as admin:
        admin.execute(f"create role {name} login")
        admin.execute(f"grant create, usage on schema public to {name}")
        admin.execute(f"grant select, insert, update, delete on orders to {name}")
    try:
        separator = "&" if "?" in target.url else "?"
        writer = PostgresTarget(f"{target.url}{separator}user={name}")
        writer.apply(
            transaction(1, create(ORDERS, id=1)), transaction(2, truncate(ORDERS), create(ORDERS, id=2))
        )
        assert target.rows("orders", "id") == {(2,)}
    finally:
        with psycopg.connect(target.url, autocommit=True) as admin:
            admin.execute(f"drop owned by {name}; drop role {name}")


WORKER = """
    import sys
    sys.path.insert(0, {root!r})
    from liberator.schema import Kind
    from liberator.testing.events import create, table, transaction, update
    from tests.targets import PostgresTarget, SqliteTarget, at
    from pathlib import Path

    orders = table("orders", {{"id": Kind.INT64, "note": Kind.STRING, "n": Kind.INT32}}, key=["id"])
    totals = table("totals", {{"id": Kind.INT64, "n": Kind.INT32}}, key=["id"])
    kind, place = sys.argv[1:]
    target = SqliteTarget(Path(place)) if kind == "sqlite" else PostgresTarget(place)
    sink = target.sink()
    cursor = sink.open()
    offset = cursor.offsets[""] if cursor else 0
    while True:
        offset += 1
        rows = [create(orders, id=offset * 100 + i, note="x" * 50, n=offset) for i in range(30)]
        sink.write(transaction(offset, *rows))
        sink.write(transaction(offset, update(totals, id=1, n=offset)))
        sink.commit(at(offset))
        print(offset, flush=True)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_rows_and_cursor_agree_whenever_the_process_is_killed(kind, tmp_path, request):
    place = str(tmp_path / "t.db") if kind == "sqlite" else request.getfixturevalue("database")
    target = SqliteTarget(Path(place)) if kind == "sqlite" else PostgresTarget(place)
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER.format(root=str(ROOT))))
    reached = 0
    for round_ in range(6):
        process = subprocess.Popen(
            [sys.executable, str(script), kind, place], stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        with process:
            process.stdout.readline()
            time.sleep(0.02 + 0.031 * round_)
            process.send_signal(signal.SIGKILL)
        cursor = target.sink().cursor()
        offset = cursor.offsets[""]
        assert offset > reached
        reached = offset
        # Nothing of the transaction in hand, everything of those before.
        assert target.query("select n from totals") == [(offset,)]
        assert target.query("select count(*), max(n), count(distinct n) from orders") == [
            (offset * 30, offset, offset)
        ]


def waits_for_lock(target):
    return target.query("select 1 from pg_stat_activity where wait_event_type = 'Lock'") != []


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
