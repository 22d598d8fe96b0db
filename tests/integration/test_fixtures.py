"""The fixtures keep their promises: databases are fresh, logical, and leave nothing behind."""

from __future__ import annotations

import psycopg

from tests.fix_postgres import fresh_database


def test_a_database_is_empty_and_its_server_decodes_logically(database):
    with psycopg.connect(database) as conn:
        assert conn.execute("show wal_level").fetchone() == ("logical",)
        assert conn.execute("select count(*) from pg_stat_user_tables").fetchone() == (0,)


def test_a_database_goes_away_with_its_slots_even_while_in_use(postgres):
    lifetime = fresh_database(postgres)
    url = next(lifetime)
    held = psycopg.connect(url, autocommit=True)
    name = held.info.dbname
    held.execute("select pg_create_logical_replication_slot('fixture_left_over', 'pgoutput')")
    next(lifetime, None)
    with psycopg.connect(postgres.url()) as conn:
        assert conn.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None
        assert (
            conn.execute("select 1 from pg_replication_slots where database = %s", [name]).fetchone() is None
        )
    held.close()


def slots(conn, database):
    return conn.execute(
        "select slot_name from pg_replication_slots where database = %s", [database]
    ).fetchall()


def test_postgres_15_is_used_where_it_is_installed(database15):
    with psycopg.connect(database15) as conn:
        assert conn.info.server_version // 10000 == 15
