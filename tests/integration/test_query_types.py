"""What is asked for equals what the log says: every type of the laboratories, and a whole sample database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
import pytest

from connectors.postgres.wal.source import PostgresWal
from connectors.sql.query.source import QuerySource
from connectors.sql.query.target import EXACT
from connectors.sql.reader import SourceTable, connected
from connectors.sql.trigger.source import TriggerSource
from liberator.errors import LiberatorError
from tests import mysqllab
from tests.corpora import all_tables, corpus, psql
from tests.fix_mysql import connected as mysql_connected
from tests.fix_mysql import fresh_database
from tests.integration import test_mysql_types, test_postgres_types
from tests.typelab import EXTENSIONS, Lab
from tests.typetext import same


@pytest.fixture
def closing() -> Iterator[Callable[[Any], Any]]:
    """Closes what it was given, whatever happens."""
    given: list[Any] = []
    yield lambda thing: given.append(thing) or thing
    for thing in given:
        thing.close()


def test_every_type_of_postgres(database, closing):
    lab = closing(Lab(database, EXTENSIONS))
    for statement in test_postgres_types.SETUP:
        lab.execute(statement)
    streamed: dict[str, tuple[Any, ...]] = {}
    for type_name, values in test_postgres_types.CASES.items():
        try:
            read = lab.read(type_name, values)
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedObject):
            continue  # a server that was built without XML, or without that extension
        streamed[lab.table(type_name)] = (type_name, read.type, read.native, read.stream)
    with connected(database) as reader:
        for table, (type_name, type_, native, stream) in streamed.items():
            schema = reader.describe(SourceTable("public", table))
            column = schema.columns[1]
            assert (column.type, column.native) == (type_, native), type_name
            sql = f"select {reader.listed(schema)} from public.{table} order by id"
            values = [row[1] for row in reader.select(sql, schema).rows]
            assert all(map(same, values, stream)) and len(values) == len(stream), type_name
            # As a query that somebody wrote: the result describes itself.
            asked = reader.describe_query("q", f"select id, v from public.{table}")
            assert asked.columns[1].type == type_, type_name
            # A row is found again by the literal of its key.
            if column.type.kind in EXACT:
                for row in reader.select(sql, schema).rows:
                    if row[1] is not None:
                        spelled = reader.literal(row[1], column)
                        found = reader.fetch(
                            f"select id from public.{table} where v::text = ({spelled})::text"
                        )
                        assert (row[0],) in found, type_name


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_every_type_of_mysql(kind, request, closing):
    for url in fresh_database(request.getfixturevalue(kind)):
        lab = closing(mysqllab.Lab(url))
        cases = supported(lab, test_mysql_types.CASES)
        mark = lab.read_all(cases)
        with connected(url) as reader:
            tables = {t.name: t for t in reader.tables() if t.schema == reader.database}
            schemas = [reader.describe(table) for table in tables.values()]
            by_values = {}
            for schema in schemas:
                name = reader.quote(schema.schema, schema.table)
                sql = f"select {reader.listed(schema)} from {name} order by id"
                by_values[schema.table] = (schema, [row[1] for row in reader.select(sql, schema).rows])
            assert len(by_values) == len(cases)
            for (type_name, read), (schema, values) in zip(
                mark.items(), sorted(by_values.values(), key=lambda p: int(p[0].table[1:])), strict=True
            ):
                assert schema.columns[1].type == read.column.type, type_name
                assert all(map(same, values, read.stream)) and len(values) == len(read.stream), type_name


def supported(lab: mysqllab.Lab, cases: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The cases whose type this server has; of the many decimals only those with three decimals."""
    out = {}
    for type_name, values in cases.items():
        if re.fullmatch(r"decimal\(\d+,[157]\)", type_name):
            continue
        try:
            lab.execute(f"create temporary table supported (v {type_name})")
        except Exception:
            continue
        lab.execute("drop temporary table supported")
        out[type_name] = values
    return out


def test_a_sample_database_is_the_same_by_log_and_by_query(database, tmp_path):
    """The log has its rows as a stream of inserts, the query source reads what is there."""
    folder = corpus("sakila", "postgres")
    psql(database, (folder / "postgres-sakila-schema.sql").read_text(), stop=False)
    with psycopg.connect(database, autocommit=True) as conn:
        for table in all_tables(conn):
            if table.key == table.columns:
                conn.execute(f'alter table "{table.name}" replica identity full'.encode())
    wal = PostgresWal("log", PostgresWal.Config(type="postgres-wal", url=database, tables=["public.*"]))
    wal.open(None)
    psql(database, (folder / "postgres-sakila-insert-data-using-copy.sql").read_text(), stop=False)
    logged = rows_of(wal)
    tables = sorted(name for name, (schema, _) in logged.items() if schema.key)
    options = {"type": "query", "url": database, "tables": tables, "mode": "bulk", "poll_interval": "1h"}
    asked = rows_of(QuerySource("log", QuerySource.Config(**options)), opened=False)
    assert len(tables) >= 14
    assert sorted(asked) == tables
    for name in tables:
        assert asked[name][0].columns == logged[name][0].columns
        assert asked[name][1] == logged[name][1], name


def rows_of(source, opened=True):
    """The last row of each key, with the schema, by table; reads until what is committed now was read."""
    target = source.current()
    if not opened:
        source.open(None)
    found: dict[str, tuple[Any, dict[Any, Any]]] = {}
    while True:
        batch = source.read()
        for event in batch.events:
            name = event.topic.removeprefix("log.")
            found.setdefault(name, (event.schema, {}))[1][event.key] = event.after
        if source.reached(batch.state, target) and not batch.open:
            source.close()
            return found


@pytest.mark.parametrize("zero_dates", ["null", "string", "error"])
@pytest.mark.parametrize("kind", ["query", "trigger"])
def test_zero_dates_become_what_the_option_says(mysqls_database: str, kind: str, zero_dates: str) -> None:
    """As with the source that reads the binlog; from a snapshot, and of a row that is written later."""
    with mysql_connected(mysqls_database) as db, db.cursor() as cursor:
        cursor.execute("set sql_mode = ''")
        cursor.execute("create table days (id int primary key, day date not null, at datetime(3) not null)")
        cursor.execute("insert into days values (1, '2024-02-29', '2024-02-29 12:00')")
        shared = {"type": kind, "url": mysqls_database, "zero_dates": zero_dates}
        if kind == "query":
            given = {**shared, "tables": ["*.days"], "mode": "incrementing", "incrementing_column": "id"}
            source: Any = QuerySource("q", QuerySource.Config(**given, poll_interval=0.01))
        else:
            given = {**shared, "tables": ["*.days"], "poll": 0.01}
            source = TriggerSource("t", TriggerSource.Config(**given))
        source.open(None)

        def read() -> list[Any]:
            target = source.current()
            events: list[Any] = []
            while True:
                batch = source.read()
                events += [e.after for e in batch.events if e.after is not None]
                if source.reached(batch.state, target):
                    return events

        try:
            assert read() == [(1, 19782, 1709208000000000)]
            cursor.execute("insert into days values (2, '0000-00-00', '2024-00-10 01:02:03.004')")
            if zero_dates == "error":
                with pytest.raises(LiberatorError, match="zero date in column 'day'") as caught:
                    read()
                assert "zero_dates" in caught.value.hint and not caught.value.retryable
            else:
                texts = ("0000-00-00", "2024-00-10 01:02:03.004")
                assert read() == [(2, *((None, None) if zero_dates == "null" else texts))]
        finally:
            source.close()
