"""Killed in the middle of a poll, a query source goes on where the log ends: nothing twice, nothing lost."""

from __future__ import annotations

import time

import psycopg
import pytest

from liberator.event import Operation
from tests.pipeline import Pipeline, wait_for

ROWS = 16_000


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "incrementing", "incrementing_column": "id"},
        {"mode": "incrementing", "incrementing_column": "id", "deletes": {"reconcile": "50ms"}},
        {"mode": "diff"},
    ],
    ids=["incrementing", "reconcile", "diff"],
)
def test_killed_while_it_polls(database, tmp_path, options):
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("create table orders (id bigserial primary key, note text not null)")
        db.execute("insert into orders (note) select 'first' from generate_series(1, %s)", [ROWS // 2])
        source = {
            "type": "query", "url": database, "tables": ["public.orders"], "poll_interval": "20ms",
            "batch": 500, **options,
        }  # fmt: skip
        with Pipeline(tmp_path / "run", {"shop": source}, {}) as pipeline:
            for number in range(3):
                pipeline.start()
                before = count(pipeline)
                db.execute(
                    "insert into orders (note) select 'later' from generate_series(1, %s)", [ROWS // 8]
                )
                if "mode" in options and len(options) != 2:
                    db.execute("delete from orders where id %% 1000 = %s", [number])
                wait_for(lambda before=before: count(pipeline) > before, 60, pipeline.tail)
                pipeline.kill_all()
            pipeline.catch_up()
            if options.get("deletes"):
                # The search for deletes is not part of being current.
                asked = time.time_ns() // 1000
                pipeline.start()
                wait_for(lambda: searched(pipeline) > asked, 60, pipeline.tail)
                pipeline.stop()
            events = pipeline.events()
        there = {row[0] for row in db.execute("select id from orders").fetchall()}
    known: set[int] = set()
    for event in events:
        (key,) = event.key
        if event.operation is Operation.DELETE:
            known.remove(key)
        else:
            assert key not in known, "a row came twice"
            known.add(key)
    assert (len(options) == 2 and options["mode"] == "incrementing") or known == there
    assert known >= there


def count(pipeline):
    """Records in the log, about; 0 before there is one."""
    try:
        with pipeline.log() as log:
            return sum(log.end().offsets.values())
    except Exception:
        return 0


def searched(pipeline):
    with pipeline.log() as log:
        return log.state("shop").snapshot.get("reconciled", 0)
