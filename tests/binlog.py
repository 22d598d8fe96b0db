"""Reading a binlog source in tests: as :mod:`tests.wal`, on MySQL and MariaDB."""

from __future__ import annotations

from contextlib import contextmanager

from connectors.mysql.binlog.source import MysqlBinlog
from tests.fix_mysql import connected
from tests.wal import Wal


class Binlog(Wal):
    """One source over its lives; ``state`` is what a log would hold. ``read`` gives the new events."""

    def __init__(self, url, name="binlog", **options):
        self.url = url
        self.name = name
        self.database = url.rpartition("/")[2]
        self.options = {
            "type": "mysql-binlog",
            "url": url + "?ssl-mode=disabled",
            "tables": [f"{self.database}.*"],
            "heartbeat": 1,
            **options,
        }
        self.state = None
        self.source = None

    def make(self):
        return MysqlBinlog(self.name, MysqlBinlog.Config(**self.options))

    def some(self, target):
        """The next events, at least one if any is left before ``target``."""
        while True:
            batch = self.step()
            if batch.events or self.source.reached(batch.state, target):
                return list(batch.events)


@contextmanager
def reading(url, **options):
    binlog = Binlog(url, **options)
    try:
        yield binlog.open()
    finally:
        binlog.close()


def run(url, *statements):
    """Each statement in a transaction of its own, all in one session."""
    with connected(url) as db:
        for statement in statements:
            db.cursor().execute(statement)


def together(url, *statements):
    """All statements in one transaction."""
    with connected(url) as db:
        db.begin()
        for statement in statements:
            db.cursor().execute(statement)
        db.commit()


def rows(url, query):
    """A query's rows."""
    with connected(url) as db, db.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def is_mariadb(url):
    return "MariaDB" in rows(url, "select version()")[0][0]


__all__ = ["Binlog", "is_mariadb", "reading", "rows", "run", "together"]
