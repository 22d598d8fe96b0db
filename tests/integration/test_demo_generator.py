"""The demo's generator changes every table in every way, and what it rolls back is never there."""

from __future__ import annotations

from importlib import resources

import psycopg

from connectors.demo.compare import compare, postgres_rows, tables
from connectors.demo.generator import WEIGHTS, keep_changing

DEMO = resources.files("connectors.demo")


def test_the_shop_is_changed_in_every_way_and_nothing_rolled_back_is_seen(database):
    with psycopg.connect(database, autocommit=True) as conn:
        for file in ("shop.sql", "seed.sql"):
            conn.execute(DEMO.joinpath(file).read_bytes())
        before = {table.name: list(postgres_rows(conn, table)) for table in tables(conn)}
        steps = iter(range(600))
        counts = keep_changing(database, 1e6, seed=7, going=lambda: next(steps, None) is not None)
        ways = {action.__name__ for action in WEIGHTS}
        assert set(counts) == ways - {"change_mind"} | {"rolled_back"}
        assert sum(counts.values()) == 600
        assert conn.execute("select count(*) from customers where name = 'never seen'").fetchone() == (0,)
        out_of_line = "select pg_relation_size(reltoastrelid) from pg_class where oid = 'products'::regclass"
        assert conn.execute(out_of_line).fetchone() > (1_000_000,)
        said = {}
        for table in tables(conn):
            result = compare(table, "before", postgres_rows(conn, table), iter(before[table.name]))
            assert result.different > 0, table.name
            said[table.name] = result.different
        assert set(said) == {"customers", "order_items", "orders", "products"}
