"""Results of real servers, by query and by prepared statement."""

from __future__ import annotations

import pytest

from connectors.mysql.binary_rows import BinaryRows
from connectors.mysql.connection import connect, query
from connectors.mysql.result import from_result
from connectors.mysql.results import BinaryResult, TextResult
from connectors.mysql.text_rows import TextRows
from tests.binlog import reading, run
from tests.pipeline import wait_for

#: Rows that lie around the sizes at which packets and lengths change; the largest takes two packets.
SIZES = (0, 1, 250, 251, 65_400, 65_600, 70_000)
LARGE = 9_000_000
SQL = " union all ".join(
    [f"select {size} as n, repeat('a', {size}) as a, null as b" for size in SIZES]
    + [f"select 1, repeat('a', {LARGE}), repeat('b', {LARGE})", "select 2, 'x', 'y'"]
)


@pytest.mark.parametrize("size", [1, 1 << 40])
@pytest.mark.parametrize("kind", [TextResult, BinaryResult])
def test_rows_of_any_size_are_read_whole_and_the_connection_goes_on(mysqls_database, kind, size):
    conn = connect(mysqls_database)
    try:
        columns = [from_result(column) for column in BinaryResult(conn, f"{SQL} limit 0").definitions]
    finally:
        conn.close()
    with connect(mysqls_database) as conn:
        result = kind(conn, SQL)
        packets = BinaryRows(columns, result.definitions) if kind is BinaryResult else TextRows(columns)
        found, whole = [], False
        while not whole:
            result.gather(100_000)
            data, starts, whole = result.read(size, 1 if size == 1 else 100)
            rows = packets.decode_all(data)
            assert len(rows) == len(starts)
            found += rows
        assert [row[0] for row in found] == [*SIZES, 1, 2]
        assert [row[1] for row in found[:-1]] == ["a" * n for n in (*SIZES, LARGE)]
        assert [row[2] for row in found] == [None] * len(SIZES) + ["b" * LARGE, "y"]
        assert query(conn, "select 5") == [(5,)]


def test_what_has_come_is_taken_off_the_line_up_to_a_bound(mysqls_database):
    sql = "with recursive n (n) as (select 1 union all select n + 1 from n where n < 1000) "
    with connect(mysqls_database) as conn:
        result = BinaryResult(conn, f"{sql} select n, repeat('a', 1000) from n")

        def gathered():
            result.gather(300_000)
            return len(result._block)

        wait_for(lambda: gathered() >= 300_000, 30, lambda: f"{gathered()} bytes have come")
        # One reading from the socket beyond it at most, however often it is called.
        assert {gathered() for _ in range(5)} == {gathered()}
        assert gathered() < 300_000 + (1 << 18)
        _, starts, whole = result.read(1 << 40)
        assert (len(starts), whole) == (1000, True)


@pytest.fixture
def filled(mysqls_database):
    run(
        mysqls_database,
        "create table t (id int primary key, a decimal(20,3), b datetime)",
        "insert into t values (1, 1.5, '2024-01-01'), (2, null, null), (3, -0.001, '2024-01-01 00:00:01')",
        "create table u (b float, a varchar(9))",
        "insert into u values (0.1, 'x'), (null, 'y')",
    )
    return mysqls_database


def rows_of(binlog):
    return sorted((repr(event.after) for event in binlog.read()), key=len)


def test_where_no_statement_can_be_prepared_rows_are_read_by_query(filled):
    with reading(filled, chunk=2) as binlog:
        prepared = rows_of(binlog)
        assert len(prepared) == 5
    with connect(filled) as conn:
        ((most,),) = query(conn, "select @@global.max_prepared_stmt_count")
        query(conn, "set global max_prepared_stmt_count = 0")
        try:
            with reading(filled, chunk=2) as binlog:
                assert rows_of(binlog) == prepared
        finally:
            query(conn, f"set global max_prepared_stmt_count = {most}")


def test_a_snapshot_leaves_no_statement_behind_at_the_server(filled):
    with connect(filled) as conn, reading(filled, chunk=1) as binlog:
        counted = "show global status like 'prepared_stmt_count'"
        before = query(conn, counted)
        assert len(rows_of(binlog)) == 5
        assert query(conn, counted) == before
