"""Sample databases and type tables of others: the rows that a stream leaves are those that a snapshot reads,
and both are what the server prints."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from connectors.mysql.types import TypeOptions
from liberator.event import Operation
from liberator.schema import Kind
from tests.binlog import is_mariadb, reading, run
from tests.corpora import corpus
from tests.mysqllab import Lab
from tests.mysqltext import agrees
from tests.targets import MySqlTarget

#: Scripts, one behind the other, to how many rows they leave.
SCRIPTS = {
    ("chinook/Chinook_MySql.sql",): 15_607,
    ("sakila/mysql/sakila-mv-schema.sql", "sakila/mysql/sakila-mv-data.sql"): 47_273,
    ("flink-cdc/mysql/ancient_date_and_time.sql",): 8,
    ("flink-cdc/mysql/binlog_metadata_test.sql",): 1,
    ("flink-cdc/mysql/charset_test.sql",): 63,
    ("flink-cdc/mysql/column_type_test.sql",): 1,
    ("flink-cdc/mysql/column_type_test_mysql8.sql",): 1,
    ("flink-cdc/mysql/customer.sql",): 158,
    ("flink-cdc/mysql/customer3.0.sql",): 4,
    ("flink-cdc/mysql/date_convert_test.sql",): 4,
    ("flink-cdc/mysql/inventory.sql",): 61,
    ("flink-cdc/mysql/json_array_as_key.sql",): 1,
    ("flink-cdc/mysql/user_1.sql", "flink-cdc/mysql/user_2.sql"): 4,
    ("flink-cdc/mysql-pipeline/column_type_test.sql",): 5,
    ("flink-cdc/mysql-pipeline/column_type_test_mysql8.sql",): 5,
    ("flink-cdc/mysql-pipeline/customer.sql",): 179,
    ("flink-cdc/mysql-pipeline/inventory.sql",): 39,
    ("flink-cdc/e2e/data_types_test.sql",): 1,
    ("flink-cdc/e2e/schema_evolve.sql",): 4,
    ("flink-cdc/e2e/mysql_inventory_wo_pk.sql",): 13,
}
KEYS = (Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64, Kind.STRING)
COLUMNS = """
select table_name, column_name, is_nullable = 'YES', column_key = 'PRI'
from information_schema.columns join information_schema.tables using (table_schema, table_name)
where table_schema = database() and table_type = 'BASE TABLE' and coalesce(generation_expression, '') = ''
order by table_name, ordinal_position
"""


def script(names):
    """The scripts, for whatever database is the current one."""
    text = "\n".join(corpus(*name.split("/")).read_text(encoding="utf-8-sig") for name in names)
    text = re.sub(r"^(?:USE|(?:CREATE|DROP) (?:SCHEMA|DATABASE))\b.*?;", "", text, flags=re.MULTILINE)
    return text.replace("sakila.", "")


def as_mariadb_has_it(text):
    """It knows no index over the elements of a JSON array, and but one name of a collection."""
    return re.sub(r",\s*KEY `k6` .*", "", text).replace("GEOMCOLLECTION", "GEOMETRYCOLLECTION")


class Copy:
    """The rows of all tables, as the events so far leave them: those of a table without a key counted."""

    def __init__(self, events=()):
        self.tables, self.schemas = {}, {}
        self.apply(events)

    def apply(self, events):
        """Each change must find what it changes."""
        for event in events:
            name = event.schema.table
            self.schemas[name] = event.schema
            rows = self.tables.setdefault(name, Counter())
            if event.operation is Operation.TRUNCATE:
                rows.clear()
            if event.before is not None:
                assert rows[event.before], f"{name} does not hold {event.before}"
                rows[event.before] -= 1
            if event.after is not None:
                rows[event.after] += 1

    def rows(self):
        """Of each table that is not empty its schema and rows."""
        return {name: (self.schemas[name], +rows) for name, rows in self.tables.items() if rows.total()}


def assert_is_what_the_server_prints(lab, schema, rows, some=""):
    """Each row has its like in the server's own text; or some of them, of a query that ends so."""
    names = ", ".join(f"`{column.name}`" for column in schema.columns)
    assert lab.execute(f"select count(*) from `{schema.table}`") == ((rows.total(),),), schema.table
    printed = lab.plain(f"select {names} from `{schema.table}` {some}")
    # What text a number or a text has as a key is clear.
    key = [schema.columns.index(column) for column in schema.key_columns if column.type.kind in KEYS]
    held = {}
    for row in rows.elements():
        held.setdefault(tuple(str(row[i]) for i in key), []).append(row)
    for texts in printed:
        alike = held[tuple(texts[i].decode() for i in key)]
        alike.remove(next(row for row in alike if is_printed_as(schema, row, texts)))


def is_printed_as(schema, row, texts):
    try:
        for column, value, text in zip(schema.columns, row, texts, strict=True):
            if text is None or value is None:
                assert text is value is None
            else:
                agrees(column.type, text, value)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("names", SCRIPTS, ids=lambda names: names[0].removesuffix(".sql"))
def test_a_script_is_the_same_in_the_stream_and_in_a_snapshot(names, mysqls_database):
    text = script(names)
    if is_mariadb(mysqls_database):
        text = as_mariadb_has_it(text)
    target = MySqlTarget(mysqls_database)
    lab = Lab(mysqls_database, TypeOptions(zero_dates="string"))
    copy, options = Copy(), {"zero_dates": "string"}
    run(mysqls_database, "create table nothing (id int primary key)")  # a pattern must name something
    with reading(mysqls_database, **options, snapshot="none") as binlog:
        binlog.read()
        target.run(text, "")
        copy.apply(binlog.read())
        with reading(mysqls_database, name="other", **options, snapshot="only", chunk=3000) as other:
            assert Copy(other.read()).rows() == copy.rows()
        for schema, rows in copy.rows().values():
            assert_is_what_the_server_prints(lab, schema, rows)
        changed = rewrite(lab, target)
        copy.apply(binlog.read())
        for name, (schema, rows) in copy.rows().items():
            assert_is_what_the_server_prints(lab, schema, rows, changed[name])
    assert sum(rows.total() for _, rows in copy.rows().values()) == SCRIPTS[names]
    lab.close()


def rewrite(lab, target):
    """Take rows of every table out and put them in again, then let every column be null where it may. Which
    rows of each, as the end of a query."""
    columns, changed = {}, {}
    for table, *column in lab.execute(COLUMNS):
        columns.setdefault(table, []).append(column)
    for table, of_it in columns.items():
        names = ", ".join(f"`{name}`" for name, _, _ in of_it)
        nulls = ", ".join(f"`{name}` = null" for name, nullable, _ in of_it if nullable)
        key = ", ".join(f"`{name}`" for name, _, in_key in of_it if in_key)
        first = changed[table] = f"order by {key} limit 300" if key else "limit 300"
        target.run(
            f"set foreign_key_checks = 0; create temporary table kept as select * from `{table}` {first}; "
            f"delete from `{table}` {first}; insert into `{table}` ({names}) select {names} from kept; "
            + (f"update `{table}` set {nulls} {first}" if nulls else ""),
            "",
        )
    return changed
