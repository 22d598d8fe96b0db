"""The first start of an outbox that is read through the log.

A commit is in the log before anybody sees it. Here it stays so for as long as the test wants: a synchronous
standby, or a semi-synchronous replica, that does not exist is waited for.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress

import psycopg
import pymysql
import pytest

from connectors.sql.outbox.source import OutboxSource
from liberator.errors import PositionLost
from liberator.outbox import uuid7
from tests.fix_mysql import connected
from tests.integration.test_outbox import DEBEZIUM, INSERT, drain, opened


def eventually(condition):
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


@contextmanager
def beside(work):
    """Runs it in a thread that is joined at the end; what it raised is raised there."""
    failures = []

    def run():
        try:
            work()
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


def first_events(url, release):
    """The aggregates of all events of a first start; ``release`` comes after the first looks at the table."""
    with opened(url, capture="log") as source:
        try:
            found = [event for _ in range(3) for event in source.read().events]
        finally:
            release()
        assert found == [], "nothing may be read before those who are writing have ended"
        return [message.aggregate_id for _, message in drain(source)[0]]


def insert(db, what):
    db.cursor().execute(INSERT, [uuid7(), what, "{}"])


def test_a_commit_that_waits_for_a_standby_while_the_slot_is_made_is_not_missed(database):
    """A slot begins behind those who ran when its making began, and behind those who ran when these had
    ended, but perhaps amid the commit of one that began later."""
    with ExitStack() as stack:
        admin = stack.enter_context(psycopg.connect(database, autocommit=True))
        admin.execute(DEBEZIUM["postgresql"])
        admin.execute(f"alter database {admin.info.dbname} set synchronous_commit = local")
        admin.execute("alter system set synchronous_standby_names = 'nobody'")
        stack.callback(admin.execute, "select pg_reload_conf()")
        stack.callback(admin.execute, "alter system reset synchronous_standby_names")
        admin.execute("select pg_reload_conf()")
        admin.execute("set synchronous_commit = local")
        first, second, third = (stack.enter_context(psycopg.connect(database)) for _ in range(3))
        third.execute("set synchronous_commit = on")
        third.commit()
        pid = third.info.backend_pid

        def in_commit():
            sql = "select wait_event = 'SyncRep' from pg_stat_activity where pid = %s"
            return admin.execute(sql, [pid]).fetchone()[0]

        def waited():
            sql = "select transactionid::text from pg_locks where not granted and locktype = 'transactionid'"
            return admin.execute(sql).fetchone()

        def begin():
            assert in_commit(), "it was in the log before the slot, and nobody has seen it yet"
            admin.execute("select pg_cancel_backend(%s)", [pid])

        insert(first, "first")
        found = []
        with beside(lambda: found.extend(first_events(database, begin))):
            before = eventually(waited)
            insert(second, "second")
            first.commit()
            eventually(lambda: waited() not in (None, before))
            insert(third, "third")
            with beside(third.commit):
                eventually(in_commit)
                second.commit()
        assert sorted(found) == ["first", "second", "third"]


@contextmanager
def no_replica_answers(db):
    """Commits wait between the binlog and the storage engine until this is called, or the block ends."""
    old = "MariaDB" in db.server_version
    name = "rpl_semi_sync_master" if old else "rpl_semi_sync_source"
    with db.cursor() as cursor:
        if not old:
            with suppress(pymysql.err.OperationalError):  # it is there already
                cursor.execute("install plugin rpl_semi_sync_source soname 'semisync_source.so'")
        cursor.execute(f"set global {name}_wait_point = AFTER_SYNC")
        cursor.execute(f"set global {name}_timeout = 60000")
        cursor.execute(f"set global {name}_wait_no_{'slave' if old else 'replica'} = on")
        cursor.execute(f"set global {name}_enabled = on")

        def answer():
            cursor.execute(f"set global {name}_enabled = off")

        try:
            yield answer
        finally:
            answer()
            cursor.execute(f"set global {name}_timeout = 10000")


def test_a_commit_that_waits_for_a_replica_when_the_place_is_noted_is_not_missed(mysqls_database):
    url = mysqls_database
    with connected(url) as db, connected(url) as writer, db.cursor() as cursor:
        cursor.execute(DEBEZIUM["mysql"])
        insert(db, "first")
        writer.begin()
        insert(writer, "second")
        sql = f"select state from information_schema.processlist where id = {writer.thread_id()}"

        def in_commit():
            cursor.execute(sql)
            return "semi-sync" in (cursor.fetchone()[0] or "").lower()

        with no_replica_answers(db) as answer, beside(writer.commit):
            eventually(in_commit)
            assert sorted(first_events(url, answer)) == ["first", "second"]


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mariadb"])
def test_what_comes_and_goes_while_older_rows_are_read_survives_a_crash(request, kind):
    """Such an event is in the log alone: the log must be gone on with from where it was first begun."""
    postgres = kind == "postgresql"
    url = request.getfixturevalue("database" if postgres else f"{kind}_database")
    connect = psycopg.connect if postgres else lambda url: connected(url).thing
    with closing(connect(url)) as db:
        db.cursor().execute(
            DEBEZIUM["postgresql" if postgres else "mysql"].replace("id uuid", "no serial, id uuid")
        )
        insert(db, "before")
        db.commit()
        with opened(url, capture="log") as source:
            batch = eventually(lambda: (batch := source.read()).events and batch)
        if not postgres:
            db.begin()
        insert(db, "brief")
        db.cursor().execute("delete from outbox where aggregateid = 'brief'")
        db.commit()
        with opened(url, batch.state, capture="log") as source:
            found, state = drain(source)
        assert [message.aggregate_id for _, message in found] == ["brief"]
        with opened(url, state, capture="log") as source:
            assert drain(source)[0] == []


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mariadb"])
def test_events_of_one_transaction_that_commits_between_two_pages_keep_their_order(request, kind):
    postgres = kind == "postgresql"
    url = request.getfixturevalue("database" if postgres else f"{kind}_database")
    connect = psycopg.connect if postgres else lambda url: connected(url).thing
    with closing(connect(url)) as slow, closing(connect(url)) as quick:
        quick.cursor().execute(
            DEBEZIUM["postgresql" if postgres else "mysql"].replace("id uuid", "no serial, id uuid")
            if postgres
            else DEBEZIUM["mysql"].replace("id char(36)", "no bigint auto_increment unique, id char(36)")
        )
        quick.commit()
        with opened(url, capture="log", batch=2, columns={"id": "no", "event_id": "id"}) as source:
            for connection in () if postgres else (slow, quick):
                connection.begin()
            for connection, what in (
                (slow, "slow 1"), (quick, "a"), (quick, "b"), (slow, "slow 2"), (quick, "c"),
            ):  # fmt: skip
                insert(connection, what)
            quick.commit()
            first = eventually(lambda: source.read().events)
            slow.commit()
            found = [*(e.after[2] for e in first), *(m.aggregate_id for _, m in drain(source)[0])]
    assert [what for what in found if what.startswith("slow")] == ["slow 1", "slow 2"]
    assert sorted(found) == ["a", "b", "c", "slow 1", "slow 2"]


def test_after_a_gap_the_rows_of_the_table_come_again_under_their_ids(database):
    """Which of them lie before the gap nobody knows, so none is left out."""
    with closing(psycopg.connect(database, autocommit=True)) as db:
        db.execute(DEBEZIUM["postgresql"])
        with opened(database, capture="log") as source:
            insert(db, "before")
            insert(db, "deleted")
            found, state = drain(source)
        db.execute("delete from outbox where aggregateid = 'deleted'")
        ((slot,),) = db.execute(
            "select slot_name from pg_replication_slots where database = current_database()"
        )
        db.execute("select pg_drop_replication_slot(%s)", [slot])
        insert(db, "in the gap")
        with pytest.raises(PositionLost), opened(database, state, capture="log"):
            pass
        config = OutboxSource.Config(type="outbox", url=database, capture="log")
        recovered = OutboxSource("events", config).recover(state)
        with opened(database, recovered, capture="log") as source:
            again, _ = drain(source)
    assert sorted(message.aggregate_id for _, message in again) == ["before", "in the gap"]
    ids = {message.aggregate_id: message.id for _, message in found}
    assert {m.aggregate_id: m.id for _, m in again}["before"] == ids["before"]
