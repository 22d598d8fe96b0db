"""A query source that reads what is written elsewhere: a standby, a subscriber, a foreign table."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from connectors.postgres.server import PostgresServer
from connectors.sql.query.source import QuerySource
from liberator.errors import SourceError
from liberator.event import Operation
from tests.fix_postgres import UNSYNCED
from tests.integration.test_query import brief, read

#: How a standby follows its primary.
CONNECTED = "primary_conninfo = 'host={0} user=postgres'"


@contextlib.contextmanager
def standby(primary, *lines):
    """A server with a copy of the data of ``primary``, which stands still meanwhile."""
    copy = PostgresServer(
        binaries=primary.binaries, directory=Path(tempfile.mkdtemp(prefix="lib-sb-", dir="/tmp"))
    )
    primary.kept(copy.data, f"unix_socket_directories = '{copy.directory}'", *lines)
    with copy:
        yield copy


class Primary(PostgresServer):
    """A primary that can be copied."""

    def kept(self, target, *lines):
        """Stop, copy the data as those of a standby with these settings, go on."""
        self._end(self.STOP)
        shutil.copytree(self.data, target)
        with (target / "postgresql.conf").open("a") as conf:
            conf.write("\n".join(["", *lines, ""]))
        (target / "standby.signal").touch()
        if self._user is not None:
            for path in (target.parent, *target.parent.rglob("*")):
                shutil.chown(path, self._user)
        self._spawn()


def source(server, directory, **options):
    url = server if isinstance(server, str) else server.url()
    given = {
        "type": "query", "url": url, "tables": ["public.orders"], "poll_interval": 0.02,
        "mode": "incrementing", "incrementing_column": "id", "state_directory": directory, **options,
    }  # fmt: skip
    return QuerySource("shop", QuerySource.Config(**given))


def replayed(server, lsn):
    """Wait until a standby has come so far."""
    deadline = time.monotonic() + 60
    with psycopg.connect(server.url(), autocommit=True) as db:
        while not db.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone()[0]:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_standby_is_read_below_its_own_horizon_and_one_that_is_behind_is_waited_for(tmp_path):
    with Primary(settings={**UNSYNCED, "wal_level": "replica"}) as primary:
        with psycopg.connect(primary.url()) as first:
            first.execute("create table orders (id bigserial primary key, note text)")
            first.execute("insert into orders (note) values ('a'), ('b')")
        setup = source(primary, tmp_path)
        setup.extra("commit-column")
        setup.setup()
        with (
            standby(primary) as behind,
            standby(primary, CONNECTED.format(primary.directory)) as replica,
            contextlib.closing(psycopg.connect(primary.url(), autocommit=True)) as db,
            contextlib.closing(psycopg.connect(primary.url())) as late,
        ):
            with contextlib.closing(source(replica, tmp_path, commit_column="none")) as blind:
                blind.open(None)
                with pytest.raises(SourceError, match="a standby does not show who is writing"):
                    blind.read()
            options = {"deletes": {"reconcile": "1ms"}}
            opened = source(replica, tmp_path, **options)
            opened.open(None)
            assert brief(read(opened)[0]) == [("read", 1), ("read", 2)]
            # Of two transactions the older is committed later.
            late.execute("insert into orders (note) values ('late')")
            db.execute("insert into orders (note) values ('early')")
            replayed(replica, now(db))
            for _ in range(10):
                assert opened.read().events == []
            late.commit()
            replayed(replica, now(db))
            events, state = read(opened)
            assert sorted(brief(events)) == [("create", 3), ("create", 4)]
            opened.close()

            other = source(behind, tmp_path, **options)
            with pytest.raises(SourceError, match="has not come as far") as refused:
                other.open(state)
            assert refused.value.retryable
            other.close()
            db.execute("delete from orders where id = 4")
            with (behind.data / "postgresql.conf").open("a") as conf:
                conf.write(CONNECTED.format(primary.directory) + "\n")
            with psycopg.connect(behind.url(), autocommit=True) as conn:
                conn.execute("select pg_reload_conf()")
            replayed(behind, now(db))
            other.open(state)
            found = []
            deadline = time.monotonic() + 60
            while not found:
                found = list(other.read().events)
                assert time.monotonic() < deadline
            other.close()
            assert [(e.operation, e.key) for e in found] == [(Operation.DELETE, (4,))]


def now(db):
    """How far the primary has come; a transaction of its own has the standby see who is at work."""
    return db.execute("select pg_current_wal_insert_lsn()::text").fetchone()[0]


@pytest.mark.parametrize("seen", ["a table", "a query"])
@pytest.mark.parametrize("mode", ["incrementing", "timestamp"])
def test_a_table_that_another_server_fills_is_read_by_its_commit_column_only(
    database, database2, tmp_path, mode, seen
):
    """Rows come in the order of commits over there, which is not that of ids, and nobody holds them back."""
    columns = "(id bigserial primary key, at timestamptz not null default now())"
    slot = f"slot_{database.partition('/test_')[2].partition('?')[0]}"
    given = {"mode": mode, "incrementing_column": "id", "timestamp_column": "at"}
    if seen == "a query":
        given |= {"tables": [], "queries": {"q": "select * from public.orders"}, "key": ["id"]}
    with (
        psycopg.connect(database, autocommit=True) as there,
        psycopg.connect(database2, autocommit=True) as here,
    ):
        for db in (there, here):
            db.execute(f"create table orders {columns}".encode())
        there.execute("create publication everything for all tables")
        there.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        there.execute("insert into orders default values")
        with contextlib.closing(source(database2, tmp_path, **given)) as before:
            before.open(None)
            before.read()
        # What there is comes through the slot. A copy would make a slot of its own, for which the server
        # waits for all transactions to end: with both databases at one server, also for the one that drops
        # the subscription, and that one waits for the copy.
        here.execute(
            f"create subscription filled connection '{there.info.dsn}' publication everything"
            f" with (create_slot = false, slot_name = '{slot}', copy_data = false)".encode()
        )
        try:
            with contextlib.closing(source(database2, tmp_path, **given)) as refused:
                refused.open(None)
                with pytest.raises(SourceError, match="come by logical replication"):
                    refused.read()
            if seen == "a table":
                setup = source(database2, tmp_path, **given)
                setup.extra("commit-column")
                setup.setup()
                there.execute("insert into orders default values")
                with contextlib.closing(source(database2, tmp_path, **given)) as opened:
                    opened.open(None)
                    found: set = set()
                    deadline = time.monotonic() + 60
                    while found != {(1,), (2,)}:
                        found |= {e.key for e in opened.read().events}
                        assert time.monotonic() < deadline
        finally:
            here.execute("alter subscription filled disable")
            here.execute("alter subscription filled set (slot_name = none)")
            here.execute("drop subscription filled")


@pytest.mark.parametrize("kind", ["foreign", "materialized", "a view of a foreign one"])
def test_tables_that_are_filled_from_elsewhere_are_refused(database, database2, tmp_path, kind):
    options = {"mode": "incrementing", "incrementing_column": "id", "key": ["id"]}
    with psycopg.connect(database2) as there:
        there.execute("create table orders (id bigserial primary key)")
    with psycopg.connect(database, autocommit=True) as here:
        if kind == "materialized":
            here.execute("create materialized view orders as select 1::bigint as id")
        else:
            if not here.execute(
                "select 1 from pg_available_extensions where name = 'postgres_fdw'"
            ).fetchone():
                pytest.skip("this server has no postgres_fdw")
            given = conninfo_to_dict(database2)
            here.execute("create extension postgres_fdw")
            here.execute(
                f"create server far foreign data wrapper postgres_fdw options (host '{given['host']}',"
                f" dbname '{given['dbname']}')".encode()
            )
            here.execute("create user mapping for current_user server far options (user 'postgres')")
            name = "orders" if kind == "foreign" else "distant"
            here.execute(
                f"create foreign table {name} (id bigint) server far options (table_name 'orders')".encode()
            )
            if kind != "foreign":
                here.execute("create view orders as select id from distant")
        with contextlib.closing(source(database, tmp_path, **options)) as refused:
            refused.open(None)
            with pytest.raises(SourceError, match=r"rows of (orders|distant) come "):
                refused.read()
