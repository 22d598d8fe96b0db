"""What an outbox may do whose log is read: be emptied at once, be updated, keep no rows at all."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from liberator.outbox import Outbox
from tests.fix_mysql import connected
from tests.integration.test_outbox import drain, opened

KINDS = {"database": "postgresql", "mysql_database": "mysql", "mariadb_database": "mysql"}


class Application:
    """Publishes over a connection of its own."""

    def __init__(self, dialect, url, engine="InnoDB"):
        self.db = psycopg.connect(url) if dialect == "postgresql" else connected(url).thing
        if dialect == "mysql":
            self.db.autocommit(False)
        for statement in filter(str.strip, Outbox().ddl(dialect, drain="log").split(";\n")):
            self.run(statement.replace("InnoDB", engine))
        self.db.commit()

    def run(self, statement):
        self.db.cursor().execute(statement)

    def publish(self, identity):
        Outbox().publish(self.db, aggregate_type="t", aggregate_id=identity, event_type="E", payload={})

    def close(self):
        self.db.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_whose_row_is_deleted_in_its_transaction_is_published_and_nothing_else_is(request, kind):
    url = request.getfixturevalue(kind)
    with closing(Application(KINDS[kind], url)) as application, opened(url, capture="log") as source:
        assert drain(source)[0] == []
        application.publish("gone")
        application.run("delete from outbox")
        application.publish("changed")
        application.run("update outbox set aggregate_id = 'other'")
        application.db.commit()
        application.run("update outbox set event_type = 'F'")
        application.run("delete from outbox")
        application.db.commit()
        application.publish("never")
        application.db.rollback()
        found = [(m.aggregate_id, m.type) for _, m in drain(source)[0]]
    assert found == [("gone", "E"), ("changed", "E")]


def test_a_table_that_keeps_no_rows_is_an_outbox_for_the_log(mysql_database):
    with (
        closing(Application("mysql", mysql_database, "BLACKHOLE")) as application,
        opened(mysql_database, capture="log") as source,
    ):
        assert drain(source)[0] == []
        application.publish("1")
        application.publish("2")
        application.db.commit()
        assert [m.aggregate_id for _, m in drain(source)[0]] == ["1", "2"]
