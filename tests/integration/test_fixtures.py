"""The fixtures keep their promises: databases are fresh, logical, and leave nothing behind."""

from __future__ import annotations

import psycopg
import pytest

from connectors.mysql.server import MariaDbServer, MySqlServer
from liberator.errors import SourceError
from tests.fix_mysql import connected
from tests.fix_mysql import fresh_database as fresh_mysql_database
from tests.fix_postgres import fresh_database


def test_a_database_is_empty_and_its_server_decodes_logically(database):
    with psycopg.connect(database) as conn:
        assert conn.execute("show wal_level").fetchone() == ("logical",)
        assert conn.execute("select count(*) from pg_stat_user_tables").fetchone() == (0,)


def test_slots_go_with_their_test_and_a_database_with_the_next_one_even_while_in_use(postgres):
    lifetime, later = fresh_database(postgres), fresh_database(postgres)
    with psycopg.connect(next(lifetime), autocommit=True) as held:
        name = held.info.dbname
        held.execute("select pg_create_logical_replication_slot('fixture_left_over', 'pgoutput')")
        next(lifetime, None)
        slots = "select 1 from pg_replication_slots where database = %s"
        with psycopg.connect(postgres.url()) as conn:
            assert conn.execute(slots, [name]).fetchone() is None
        next(later)
        with psycopg.connect(postgres.url()) as conn:
            assert conn.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None
        next(later, None)


def test_postgres_15_is_used_where_it_is_installed(database15):
    with psycopg.connect(database15) as conn:
        assert conn.info.server_version // 10000 == 15


def test_a_mysql_database_is_empty_and_its_server_logs_rows_with_full_metadata(mysqls_database):
    with connected(mysqls_database) as conn:
        assert variables(conn) == ("ON", "ROW", "FULL", "FULL")
        assert rows(conn, "show tables") == ()


def test_a_mysql_database_goes_away_even_while_a_transaction_holds_it(mysqls):
    lifetime = fresh_mysql_database(mysqls)
    url = next(lifetime)
    with connected(url) as held:
        rows(held, "create table kept (id int primary key)")
        rows(held, "begin")
        rows(held, "insert into kept values (1)")
        next(lifetime, None)
    with connected(mysqls.url()) as conn:
        assert rows(conn, f"show databases like '{url.rpartition('/')[2]}'") == ()


@pytest.mark.parametrize("kind", [MySqlServer, MariaDbServer])
def test_a_mysql_server_keeps_port_and_committed_rows_through_a_kill(kind, request):
    binary = request.getfixturevalue(f"{kind.NAME}_binary")
    with kind(binary, options={"server_id": "7", "binlog_row_metadata": "MINIMAL"}) as server:
        with connected(server.url()) as conn:
            rows(conn, "create database kept")
            rows(conn, "create table kept.kept as select 42 as answer")
        url = server.url("kept")
        server.kill()
        server.options["binlog_row_metadata"] = "FULL"
        server.restart()
        with connected(url) as conn:
            assert rows(conn, "select answer, @@server_id from kept") == ((42, 7),)
            assert variables(conn) == ("ON", "ROW", "FULL", "FULL")
    assert not server.directory.exists()


def test_two_mysql_servers_of_one_machine_are_not_the_same_to_replicas(mysql, mysql_binary):
    with MySqlServer(mysql_binary) as other, connected(other.url()) as conn, connected(mysql.url()) as first:
        assert rows(conn, "select @@server_uuid") != rows(first, "select @@server_uuid")


@pytest.mark.parametrize("kind", [MySqlServer, MariaDbServer])
def test_a_mysql_server_that_is_hidden_is_not_found_elsewhere(kind, monkeypatch):
    monkeypatch.setenv(kind.VARIABLE, "")
    with pytest.raises(SourceError, match=f"no {kind.TITLE} server"):
        kind.find()


def rows(conn, statement):
    with conn.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def variables(conn):
    names = ("log_bin", "binlog_format", "binlog_row_image", "binlog_row_metadata")
    found = dict(rows(conn, f"show global variables where variable_name in {names}"))
    return tuple(found[name] for name in names)
