"""What a query source does alike on every database: batches that end early, clocks in other time zones."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import psycopg
import pytest

from tests.fix_mysql import connected
from tests.integration.test_query import brief, read, source

SERIAL = {
    "database": "bigserial primary key",
    "mysql_database": "bigint auto_increment primary key",
    "mariadb_database": "bigint auto_increment primary key",
    "sqlite": "integer primary key autoincrement",
}


class Shop:
    """A database, its kind and URL; ``run`` executes a statement, ``connect`` gives another connection."""

    def __init__(self, kind, url, path):
        self.kind, self.url, self._path = kind, url, path

    def connect(self):
        if self.kind == "sqlite":
            return sqlite3.connect(self._path, isolation_level=None)
        return psycopg.connect(self.url) if self.kind == "database" else connected(self.url).thing

    def run(self, *statements):
        with closing(self.connect()) as db:
            for statement in statements:
                db.cursor().execute(statement)
            db.commit()


@pytest.fixture(params=SERIAL)
def shop(request, tmp_path):
    path = tmp_path / "shop.db"
    url = f"sqlite:///{path}" if request.param == "sqlite" else request.getfixturevalue(request.param)
    if request.param == "sqlite":
        path.touch()
    return Shop(request.param, url, path)


@pytest.mark.parametrize("mode", ["incrementing", "bulk", "diff"])
def test_a_batch_that_ends_early_leaves_no_row_out(shop, tmp_path, mode):
    sizes = [n * 137 % 5000 for n in range(60)]
    rows = ", ".join(f"('{'x' * size}')" for size in sizes)
    shop.run(
        f"create table orders (id {SERIAL[shop.kind]}, note text)", f"insert into orders (note) values {rows}"
    )
    options = {"mode": mode, "batch": 1000, "batch_bytes": 3000, "poll_interval": "1h"}
    if mode == "incrementing":
        options["incrementing_column"] = "id"
    with closing(source(shop.url, tmp_path, **options)) as opened:
        opened.open(None)
        batches = []
        target = opened.current()
        while not opened.reached((batch := opened.read()).state, target):
            batches.append(len(batch.events))
            assert [e.after and len(e.after[1]) for e in batch.events] == sizes[
                sum(batches[:-1]) : sum(batches)
            ]
        batches.append(len(batch.events))
    assert sum(batches) == 60
    if shop.kind != "sqlite":  # which reads some hundred rows at a time
        assert len([n for n in batches if n]) > 20


#: A zone, and how many hours its clock is before or behind UTC.
ZONES = {
    "database": ("Pacific/Pago_Pago", -11),
    "mysql_database": ("Pacific/Kiritimati", 14),
    "mariadb_database": ("Pacific/Pago_Pago", -11),
    "sqlite": ("Pacific/Kiritimati", 14),
}
#: The clock of a zone so many hours from UTC.
CLOCKS = {
    "database": "(now() at time zone 'UTC' + interval '{0} hours')",
    "sqlite": "datetime('now', '{0} hours')",
}
TYPES = {"database": "timestamp(3)", "sqlite": "timestamp"}


def test_times_of_another_zone_are_read_when_they_are_settled_and_not_before(shop, tmp_path):
    zone, hours = ZONES[shop.kind]
    clock = CLOCKS.get(shop.kind, "(utc_timestamp(3) + interval {0} hour)").format(hours)
    insert = f"insert into orders values ({{0}}, {clock})"
    shop.run(
        f"create table orders (id integer primary key, at {TYPES.get(shop.kind, 'datetime(3)')} not null)",
        insert.format(1),
    )
    options = {"mode": "timestamp", "timestamp_column": "at", "time_zone": zone}
    with closing(source(shop.url, tmp_path, **options)) as opened:
        opened.open(None)
        assert brief(read(opened)[0]) == [("read", 1)]
        if shop.kind == "sqlite":
            return  # one writer at a time
        with closing(shop.connect()) as late:
            if shop.kind != "database":
                late.begin()
            late.cursor().execute(insert.format(2))
            shop.run(insert.format(3))
            until = time.monotonic() + 1  # longer than times are waited for without anybody at work
            while time.monotonic() < until:
                assert opened.read().events == []
            late.commit()
        assert brief(read(opened)[0]) == [("read", 2), ("read", 3)]
