"""Maxwell's scripts give the row events that they expect."""

from __future__ import annotations

import re

import pytest

from liberator.event import Operation
from tests.binlog import is_mariadb, reading, rows, run
from tests.corpora import corpus
from tests.fix_mysql import connected, drop_database
from tests.maxwell import assert_is, script_parts

SCRIPTS = [
    "1j", "bignum", "bit", "blob", "case_insensitive", "charsets", "column_case", "create_like",
    "create_select", "enum", "gis", "invalid_time", "json", "latin1", "minimal", "row_query_log_is_on",
    "set", "time", "ucs2", "zero_created_at",
]  # fmt: skip
#: Scripts that make Maxwell read a whole table, and which of their rows each expects again; without the one
#: whose table stands at another server.
SNAPSHOTS = {
    "json-type": {}, "multiple-row": {}, "multiple-row-with-whereclause": {"shard_1.minimal": "id > 1"},
    "multiple-tables": {}, "no-pk": {}, "null-values": {}, "single-row": {}, "whitelist": {},
    "with-comment": {},
}  # fmt: skip


@pytest.fixture
def scratch(mysqls_database):
    """The databases that scripts make are gone in the end; one of them they expect."""
    run(mysqls_database, "create database test", "create table nothing (id int primary key)")
    before = set(rows(mysqls_database, "show databases"))
    yield mysqls_database
    with connected(mysqls_database) as db:
        for (name,) in {("test",)} | set(rows(mysqls_database, "show databases")) - before:
            drop_database(db, name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_gives_the_row_events_that_it_expects(name, scratch):
    script = corpus("maxwell", "sql", "json", f"test_{name}").read_text(encoding="utf-8")
    statements, expected = script_parts(script)
    assert expected
    own = scratch.rpartition("/")[2]
    tables = [f"{database}.*" for database in sorted({own, *(row.database for row in expected)})]
    with reading(scratch, tables=tables, snapshot="none", zero_dates="string") as binlog:
        binlog.read()
        run(scratch, *before(name, scratch), *(s.replace("set global", "set session") for s in statements))
        events = binlog.read()
    # What a minimal image leaves out of a row that is inserted is read again.
    changes = [event for event in events if event.operation is not Operation.READ]
    assert len(events) - len(changes) == 2 * (name == "minimal")
    for event, row in zip(changes, expected, strict=True):
        assert_is(event, row, lambda value: text_of(scratch, value), fold=name == "case_insensitive")


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_what_a_script_expects_to_be_read_is_what_a_snapshot_reads(name, scratch):
    """A row in Maxwell's own table tells it to read another one."""
    schema = corpus("maxwell", "sql", "schema", "minimal.sql").read_text()
    statements, expected = script_parts(
        corpus("maxwell", "sql", "json", f"bootstrap-{name}").read_text(encoding="utf-8")
    )
    wanted = {repr(row.values): row for row in expected if row.operation is Operation.READ}
    assert wanted
    own = [statement for statement in statements if "maxwell.bootstrap" not in statement]
    run(scratch, "create database shard_1", "use shard_1", schema.rstrip().rstrip(";"), *own)
    tables = sorted({f"shard_1.{row.table}" for row in wanted.values()})
    with reading(scratch, tables=tables, where=SNAPSHOTS[name], snapshot="only") as binlog:
        events = binlog.read()
    for event, row in zip(events, wanted.values(), strict=True):
        assert_is(event, row, str)


def test_a_script_that_says_something_else_is_noticed(scratch):
    statements, expected = script_parts(corpus("maxwell", "sql", "json", "test_set").read_text())
    expected[1].values["set_field"] = ["foo"]
    with reading(scratch, tables=["set_db.*", "test_*.*"], snapshot="none") as binlog:
        binlog.read()
        run(scratch, *statements)
        events = binlog.read()
    assert_is(events[0], expected[0], str)
    with pytest.raises(AssertionError):
        assert_is(events[1], expected[1], str)


def before(name, url):
    """What Maxwell's own test of a script sets."""
    yield "set names utf8mb4, sql_mode = ''"
    if name == "minimal":
        yield "set binlog_row_image = minimal"
    if name == "row_query_log_is_on":
        yield (
            "set binlog_annotate_row_events = on"
            if is_mariadb(url)
            else "set binlog_rows_query_log_events = on"
        )


def text_of(url, geometry):
    """The well-known text of a geometry, as Maxwell spaces it."""
    form, srid = geometry
    assert srid == 0
    ((text,),) = rows(url, f"select st_astext(st_geomfromwkb(x'{form.hex()}'))")
    return re.sub(r",(?=[\dA-Z])", ", ", re.sub(r"(?<=[A-Z])\(", " (", text))
