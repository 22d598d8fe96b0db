"""A sample database of others: what a snapshot reads of it is what the stream said."""

from __future__ import annotations

import re

from liberator.event import Operation
from tests.binlog import reading
from tests.corpora import corpus
from tests.fix_mysql import connected


def test_chinook_is_the_same_in_the_stream_and_in_a_snapshot(mysqls_database):
    script = corpus("chinook", "Chinook_MySql.sql").read_text(encoding="utf-8-sig")
    script = script[re.search(r"^USE .*?;", script, re.MULTILINE).end() :]
    script = re.sub(r"/\*.*?\*/", "", script, flags=re.DOTALL)
    schema, insert, rest = script.partition("INSERT INTO")
    with connected(mysqls_database) as db:
        for statement in re.split(r";\s*\n", schema):
            if statement.strip():
                db.query(statement)
        with reading(mysqls_database) as binlog:
            binlog.read()
            for statement in re.split(r";\s*\n", insert + rest):
                if statement.strip():
                    db.query(statement)
            streamed = binlog.read()
    with reading(mysqls_database, chunk=500) as binlog:
        read = binlog.read()
    assert {e.operation for e in streamed} == {Operation.CREATE}
    assert {e.operation for e in read} == {Operation.READ}
    assert len(read) > 15_000
    told = {(e.schema.table, e.key): (e.after, e.schema) for e in streamed}
    seen = {(e.schema.table, e.key): (e.after, e.schema) for e in read}
    assert len(seen) == len(read) == len(streamed)
    assert told == seen
