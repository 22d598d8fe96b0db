"""What may happen to a replication slot besides being read: invalidated by the server, made for failover."""

from __future__ import annotations

import contextlib

import psycopg
import pytest

from connectors.postgres.server import PostgresServer
from connectors.postgres.wal import preflight
from liberator.errors import PositionLost, SourceError
from liberator.event import Position
from liberator.source import State
from tests.fix_postgres import UNSYNCED, fresh_database
from tests.wal import Wal, brief, run

ORDERS = "create table orders (id bigint primary key)"


@pytest.fixture
def frugal():
    """A database at a server that keeps next to no WAL for a slot."""
    settings = {**UNSYNCED, "max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}
    with (
        PostgresServer(settings=settings) as server,
        contextlib.contextmanager(fresh_database)(server) as url,
    ):
        yield url


def test_a_slot_that_the_server_invalidated_is_a_gap_that_can_be_recovered_from(frugal):
    run(frugal, ORDERS, "insert into orders values (1), (2)")
    wal = Wal(frugal).open()
    assert len(wal.read()) == 2
    wal.close()
    run(frugal, "delete from orders where id = 1", "insert into orders values (3)")
    with psycopg.connect(frugal, autocommit=True) as conn:
        for _ in range(4):
            conn.execute("select pg_logical_emit_message(false, 'filler', 'x'), pg_switch_wal()")
        conn.execute("checkpoint")
        status = "select wal_status from pg_replication_slots where slot_name = 'liberator_wal'"
        assert conn.execute(status).fetchone() == ("lost",)
    (finding,) = (f for f in wal.make().check() if f.level == "error")
    assert "was invalidated" in finding.message
    assert "--recover" in finding.remedy
    assert wal.make().status(wal.state).details["slot_state"] == "lost"
    new = Wal(frugal)
    with pytest.raises(SourceError, match=r"invalidated .* before it was read") as caught:
        new.open()
    new.close()
    assert "teardown" in caught.value.hint
    with pytest.raises(PositionLost, match="slot liberator_wal was invalidated") as caught:
        wal.open()
    wal.close()
    assert not caught.value.retryable
    assert "--recover wal" in caught.value.hint
    wal.state = wal.make().recover(wal.state)
    wal.open()
    assert [(brief(e)[0], e.key) for e in wal.read()] == [("truncate", None), ("read", (2,)), ("read", (3,))]
    run(frugal, "insert into orders values (4)")
    assert [e.key for e in wal.read()] == [(4,)]
    wal.close()
    wal.make().teardown()


def test_how_long_the_slot_has_held_back_the_servers_vacuum_is_told(database, monkeypatch):
    run(database, ORDERS)
    wal = Wal(database, heartbeat=0).open()
    wal.read()
    wal.close()
    run(database, *["create table t (); drop table t"] * 3)
    assert wal.make().status(wal.state).details["horizon_age"] >= 3
    assert not [f for f in wal.make().check() if "vacuumed" in f.message]
    monkeypatch.setattr(preflight, "_OLD_HORIZON", 2)
    (finding,) = (f for f in wal.make().check() if "vacuumed" in f.message)
    assert finding.level == "warning" and "teardown" in finding.remedy


def test_options_that_the_server_is_too_old_for_are_refused(database15):
    run(database15, ORDERS)
    wal = Wal(database15, failover=True, skip_origins=["x"])
    (finding,) = (f for f in wal.make().check() if f.level == "error")
    assert finding.option == "failover"
    with pytest.raises(SourceError, match="failover slots can be made from Postgres 17 on"):
        wal.open()
    wal.close()


def test_a_failover_slot_is_made_where_it_is_asked_for(database):
    run(database, ORDERS)
    with psycopg.connect(database, autocommit=True) as conn:
        if conn.info.server_version < 170000:
            pytest.skip("failover slots came with Postgres 17")
        for wanted in (True, False):
            source = Wal(database, failover=wanted).make()
            source.setup()
            warned = [f for f in source.check() if "synchronized_standby_slots" in f.message]
            assert [f.level for f in warned] == ["warning"] * wanted
            made = conn.execute("select failover from pg_replication_slots where slot_name = 'liberator_wal'")
            assert made.fetchone() == (wanted,)
            source.teardown()


def test_a_server_on_a_new_timeline_is_gone_on_with_if_it_had_all_that_we_have():
    """As after the promotion of a standby; here by a recovery to the end of the archive."""
    # Without hot standby the server takes no connection before the recovery has ended.
    settings = {**UNSYNCED, "restore_command": "false", "hot_standby": "off"}
    with (
        PostgresServer(settings=settings) as server,
        contextlib.contextmanager(fresh_database)(server) as url,
    ):
        run(url, ORDERS, "insert into orders values (1)")
        wal = Wal(url).open()
        assert len(wal.read()) == 1
        wal.close()
        run(url, "insert into orders values (2)")
        (server.data / "recovery.signal").touch()
        server.restart()
        run(url, "checkpoint", "insert into orders values (3)")
        kept = wal.state
        ahead = Position(kept.position.epoch, kept.position.major + (1 << 40))
        wal.state = State(ahead, kept.identity, kept.snapshot, kept.schemas)
        with pytest.raises(
            PositionLost, match=r"timeline 2, which left ours \(1\) at 0/[0-9A-F]+: we have read"
        ):
            wal.open()
        wal.close()
        wal.state = kept
        wal.open()
        assert [e.key for e in wal.read()] == [(2,), (3,)]
        assert wal.state.identity["timeline"] == 2
        wal.close()
        wal.make().teardown()
