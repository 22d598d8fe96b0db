"""Two databases that are kept equal both ways, by triggers: what a sink writes does not come back."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from tests.fix_mysql import connected
from tests.pipeline import Inline
from tests.triggers import Reading, make


@pytest.mark.parametrize("target", ["postgres", "mysql"])
def test_what_a_sink_wrote_is_left_out_by_its_origin(database, mysqls_database, tmp_path, target):
    here, there = (database, mysqls_database) if target == "postgres" else (mysqls_database, database)
    with (
        closing(psycopg.connect(database, autocommit=True)) as one,
        closing(connected(mysqls_database).thing) as other,
        other.cursor() as two,
    ):
        for execute in (one.execute, two.execute):
            execute("create table orders (id bigint primary key, n integer)")
        make(here, "*.orders").setup()
        write, seen = (two.execute, one.execute) if target == "postgres" else (one.execute, two.execute)
        source = {"type": "trigger", "url": there, "tables": ["*.orders"]}
        sink = {"type": target, "url": here, "create": False, "origin": "the other's"}
        with Inline(tmp_path / "run", {"other": source}, {"copy": sink}) as pipeline:
            write("insert into orders values (1, 10), (2, 20)")
            pipeline.catch_up()
            write("update orders set n = 11 where id = 1")
            write("delete from orders where id = 2")
            pipeline.catch_up()
        seen("insert into orders values (3, 30)")
        with Reading(here, "*.orders", snapshot="none", purge=False) as reading:
            found = {(e.key, e.transaction.origin[1]) for e in reading.read()}
        assert found == {((1,), "the other's"), ((2,), "the other's"), ((3,), None)}
        with Reading(here, "*.orders", snapshot="none", skip_origins=["the other's"]) as reading:
            assert [e.after for e in reading.read()] == [(3, 30)]
