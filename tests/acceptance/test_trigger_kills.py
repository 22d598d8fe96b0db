"""The source ``trigger`` killed at any moment, while it drains and purges: nothing lost, nothing twice."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import psycopg
import pytest

from tests.pipeline import Pipeline

ROWS = 3000


@pytest.fixture
def shop(database):
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("create table orders (id int primary key, n int)")
    return database


def write(url, failed):
    """Transactions that cross, some of which roll back."""
    chance = random.Random(7)
    try:
        with psycopg.connect(url) as a, psycopg.connect(url) as b:
            for first in range(0, ROWS, 20):
                for i in range(first, first + 20):
                    (a if i % 2 else b).execute("insert into orders values (%s, 0)", [i])
                b.commit()
                a.rollback() if chance.random() < 0.2 else a.commit()
                time.sleep(0.01)
    except BaseException as exc:
        failed.append(exc)


def test_kills_while_it_drains_and_purges_lose_nothing_and_repeat_nothing(shop, tmp_path):
    source = {
        "type": "trigger", "url": shop, "tables": ["public.orders"], "snapshot": "none", "batch": 100,
        "poll": 0.01,
    }  # fmt: skip
    failed: list[BaseException] = []
    with Pipeline(tmp_path / "run", {"shop": source}, {}) as pipeline:
        pipeline.run("setup")
        pipeline.start()
        writer = threading.Thread(target=write, args=[shop, failed])
        writer.start()
        chance = random.Random(1)
        kills = 0
        while writer.is_alive() or kills < 4:
            pipeline.kill_worker("source:shop")
            kills += 1
            time.sleep(chance.random())  # not a wait: the next kill comes at any moment
        writer.join()
        assert not failed
        pipeline.stop()
        pipeline.run("run", "--until-current")
        with psycopg.connect(shop) as db:
            committed = {i for (i,) in db.execute("select id from orders").fetchall()}
        ids = [event.after[0] for event in pipeline.events()]
    assert kills >= 4
    counts = Counter(ids)
    assert counts.keys() == committed
    with psycopg.connect(shop) as db:
        left = db.execute("select count(*) from liberator.shop_changes").fetchone()[0]
    assert left < ROWS, "nothing was purged"
    assert max(counts.values()) == 1
