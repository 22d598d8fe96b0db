"""Row images of a real MySQL and MariaDB: what an event leaves out is absent, and never null."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.mysql.native import TypeOptions
from connectors.mysql.rows import RowsDecoder, end_of_statement
from connectors.mysql.table_map import TableMap
from connectors.mysql.types import from_table_map
from connectors.mysql.wire import kinds
from liberator.errors import SchemaError
from liberator.event import ABSENT
from tests.fix_mysql import fresh_database
from tests.mysqllab import UPDATES, Lab


@pytest.fixture(scope="module", params=("mysql", "mariadb"))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    for url in fresh_database(request.getfixturevalue(request.param)):
        lab = Lab(url)
        yield lab
        lab.close()


def decoded(lab: Lab, *statements: str) -> list[tuple[int, list[Any]]]:
    """Kind and rows of what the statements write."""
    mark = lab.mark()
    for statement in statements:
        lab.execute(statement)
    return [(kind, rows) for kind, _, rows in lab.changes(mark)]


def test_images_full_minimal_and_noblob_hold_what_the_server_put_into_them(lab: Lab) -> None:
    table = lab.table("a int", "b varchar(10)", "c text", "d int default 7")
    statements = (
        f"insert into {table} (a, b, c) values (1, 'x', 'long'), (2, null, null)",
        f"update {table} set b = 'y' where id = 1",
        f"update {table} set c = 'other', a = null where id = 2",
        f"delete from {table} where id = 1",
    )
    seen = {}
    for image in ("full", "noblob", "minimal"):
        lab.execute(f"truncate {table}")
        lab.execute(f"set binlog_row_image = {image}")
        seen[image] = [rows for _, rows in decoded(lab, *statements)]
    lab.execute("set binlog_row_image = full")
    assert seen["full"] == [
        [(1, 1, "x", "long", 7), (2, 2, None, None, 7)],
        [((1, 1, "x", "long", 7), (1, 1, "y", "long", 7))],
        [((2, 2, None, None, 7), (2, None, None, "other", 7))],
        [(1, 1, "y", "long", 7)],
    ]
    A = ABSENT
    assert seen["noblob"][1] == [((1, 1, "x", A, 7), (1, 1, "y", A, 7))]
    assert seen["noblob"][3] == [(1, 1, "y", A, 7)]
    assert seen["minimal"][1:] == [
        [((1, A, A, A, A), (A, A, "y", A, A))],
        [((2, A, A, A, A), (A, None, A, "other", A))],
        [(1, A, A, A, A)],
    ]


def test_rows_with_whatever_nulls_are_read_right_however_many_patterns_there_are(lab: Lab) -> None:
    table = lab.table(*(f"c{i} {('int', 'varchar(20)', 'datetime(3)')[i % 3]}" for i in range(9)))
    rows = [
        (
            i + 1,
            *(
                (i, f"text {i}", f"2024-01-01 00:00:{i % 60:02}.5")[k % 3] if i >> k & 1 else None
                for k in range(9)
            ),
        )
        for i in range(512)
    ]
    mark = lab.mark()
    with lab.connection.cursor() as cursor:
        cursor.executemany(f"insert into {table} values ({', '.join(['%s'] * 10)})", rows)
        cursor.execute(f"update {table} set c0 = c0 + 1 where id > 250")
    begin = 1_704_067_200_000_000
    expected = [
        tuple(begin + i % 60 * 1_000_000 + 500_000 if k in (3, 6, 9) and v is not None else v
              for k, v in enumerate(row))
        for i, row in enumerate(rows)
    ]  # fmt: skip
    written, changed = [], []
    for kind, _, found in lab.changes(mark):
        (changed if kind in UPDATES else written).extend(found)
    assert written == expected
    assert [before for before, _ in changed] == [row for row in expected[250:] if row[1] is not None]
    assert all(after == (before[0], before[1] + 1, *before[2:]) for before, after in changed)
    assert lab.select(table, lab.catalog(table))[:250] == expected[:250]


def test_many_columns_and_no_key_make_no_difference(lab: Lab) -> None:
    table = lab.table(*(f"c{i} tinyint" for i in range(300)))
    (_, rows), (_, gone) = decoded(
        lab,
        f"insert into {table} (c0, c299) values (1, 2)",
        f"delete from {table}",
    )
    assert rows == gone == [(1, 1, *[None] * 298, 2)]


def test_without_full_metadata_columns_come_from_the_catalog_or_not_at_all(lab: Lab) -> None:
    table = lab.table(
        "a int unsigned", "b varchar(10) character set latin1", "e enum('x', 'y')", "s set('p')"
    )
    other = Lab(lab.url)
    try:
        level = "no_log" if lab.mariadb else "minimal"
        other.execute(f"set global binlog_row_metadata = {level}")
        mark = other.mark()
        other.execute(f"insert into {table} (a, b, e, s) values (4294967295, 'ü', 'y', 'p')")
    finally:
        other.execute("set global binlog_row_metadata = full")
        other.close()
    known = lab.catalog(table)
    assert [rows for _, _, rows in lab.changes(mark, {table: known})] == [[(1, 4294967295, "ü", "y", "p")]]
    with pytest.raises(SchemaError, match="the catalog has none"):
        list(lab.changes(mark))
    with pytest.raises(SchemaError, match="had 5 columns in the binlog, and has 4 now"):
        list(lab.changes(mark, {table: known[:4]}))
    swapped = (known[0], known[2], known[1], *known[3:])
    with pytest.raises(
        SchemaError, match=r"column b, now varchar\(10\) character set latin1, was of another"
    ):
        list(lab.changes(mark, {table: swapped}))


def test_the_key_generated_and_invisible_columns_come_from_map_and_catalog(lab: Lab) -> None:
    table = "keyed"
    lab.execute(
        f"create table {table} (b int, a varchar(20), g int generated always as (b + 1) stored,"
        " v int generated always as (b + 2) virtual, i int invisible default 5, t text,"
        " primary key (a(3), b))"
    )
    mark = lab.mark()
    lab.execute(f"insert into {table} (b, a, t) values (1, 'key', 'x')")
    known = lab.catalog(table)
    ((_, mapped, rows),) = lab.changes(mark, {table: known})
    columns = from_table_map(mapped, known)
    assert rows == [(1, "key", 2, 3, 5, "x")]
    assert [c.key for c in columns] == [1, 0, None, None, None, None]
    assert (mapped.key, mapped.key_prefixes) == ((1, 0), (3, 0))
    assert [c.generated for c in columns] == [False, False, True, True, False, False]
    assert columns[4].default == "5"
    if not lab.mariadb:
        assert [c.visible for c in mapped.columns] == [True, True, True, True, False, True]


def test_diffs_of_json_documents_are_applied_or_the_document_is_absent(lab: Lab) -> None:
    if lab.mariadb:
        pytest.skip("documents of MariaDB are text")
    table = lab.table("j json", "n int", "k json", "t text")
    document = '{"a": {"b": [1, 2, {"c": "x"}]}, "long key é": "' + "y" * 100 + '", "z": null}'
    lab.execute(f"insert into {table} (j, n, k) values (%s, 1, %s)", [document, document])
    lab.execute("set binlog_row_value_options = partial_json")
    for image in ("full", "minimal"):
        lab.execute(f"set binlog_row_image = {image}")
        before = lab.select(table, lab.catalog(table))[0]
        for assignment in (
            "j = json_set(j, '$.a.b[2].c', 'new', '$.added', json_array(1, 2))",
            "k = json_remove(k, '$.a.b[0]'), n = n + 1",
            "j = json_replace(j, '$.\"long key é\"', 1.5), k = json_set(k, '$.z', json_object('q', 1))",
            "j = json_array_insert(j, '$.a.b[1]', 'in')",
            "k = json_remove(k, '$.\"long key é\"'), t = 'plain'",
            "j = '[1, 2, 3]'",
            "j = json_array_append(j, '$', 4), k = null",
            f"j = '{document}', k = '{document}', t = null",
        ):
            ((kind, ((old, new),)),) = decoded(lab, f"update {table} set {assignment}")
            after = lab.select(table, lab.catalog(table))[0]
            assert kind == kinds.PARTIAL_UPDATE_ROWS
            if image == "full":
                assert (old, new) == (before, after), assignment
            else:
                assert all(b in (ABSENT, a) for a, b in zip(after, new, strict=True)), assignment
            before = after
    lab.execute("set binlog_row_image = full, binlog_row_value_options = ''")


def test_mariadb_s_older_forms_of_times_are_read_too(lab: Lab) -> None:
    if not lab.mariadb:
        pytest.skip("MySQL has them no longer")
    other = Lab(lab.url, TypeOptions(zero_dates="string"))
    other.execute("set global mysql56_temporal_format = off")
    fraction = "123456"
    fine = {}
    for n in range(1, 7):
        most, some = "9" * n, fraction[:n]
        fine |= {
            f"datetime({n})": [
                f"'2024-02-29 12:34:56.{some}'", f"'9999-12-31 23:59:59.{most}'",
                f"'0001-01-01 00:00:00.{some}'", "0", f"'2024-00-01 01:02:03.{some}'", "null",
            ],
            f"timestamp({n}) null": [
                f"'2024-02-29 12:34:56.{some}'", f"'2038-01-19 03:14:07.{most}'", "'1970-01-01 00:00:01'",
                "0", "null",
            ],
            f"time({n})": [
                f"'12:34:56.{some}'", f"'-00:00:00.{some}'", f"'-838:59:59.{most}'", f"'838:59:59.{most}'",
                "0", "null",
            ],
        }  # fmt: skip
    try:
        read = other.read_all(
            fine
            | {
                "datetime": ["'2024-02-29 12:34:56'", "0", "'2024-00-01 00:00:00'", "null"],
                "timestamp null": ["'2024-02-29 12:34:56'", "0", "null"],
                "time": ["'12:34:56'", "'-838:59:59'", "'838:59:59'", "null"],
            }
        )
    finally:
        other.execute("set global mysql56_temporal_format = on")
        other.close()
    assert all(values.stream == values.selected for values in read.values())
    assert read["time"].stream == [45_296_000_000, "-838:59:59", "838:59:59", None]
    assert read["datetime"].stream[1:] == ["0000-00-00 00:00:00", "2024-00-01 00:00:00", None]
    assert read["time(2)"].stream[:3] == [45_296_120_000, "-00:00:00.12", "-838:59:59.99"]
    assert read["datetime(3)"].stream[3:] == ["0000-00-00 00:00:00.000", "2024-00-01 01:02:03.123", None]


def test_the_end_of_a_statement_is_told(lab: Lab) -> None:
    table = lab.table("b longblob")
    mark = lab.mark()
    lab.execute(f"insert into {table} (b) values " + ",".join(["(repeat('x', 6000))"] * 4))
    ends = [end_of_statement(body, 0) for kind, body in lab.events(mark) if kind in (30, 23)]
    assert len(ends) > 1
    assert ends == [False] * (len(ends) - 1) + [True]


def test_a_decoder_is_made_for_one_version_of_a_table(lab: Lab) -> None:
    table = lab.table("a int")
    mark = lab.mark()
    lab.execute(f"insert into {table} (a) values (1)")
    lab.execute(f"alter table {table} add b int default 2")
    lab.execute(f"insert into {table} (a) values (2)")
    bodies = [body for kind, body in lab.events(mark) if kind == kinds.TABLE_MAP]
    old, new = map(TableMap.parse, bodies)
    assert old.layout != new.layout
    event = next(body for kind, body in reversed(list(lab.events(mark))) if kind in (30, 23))
    kind = kinds.WRITE_ROWS_V1 if lab.mariadb else kinds.WRITE_ROWS
    with pytest.raises(SchemaError, match="it has 3 columns, the table map 2"):
        RowsDecoder(old, from_table_map(old)).rows(kind, event, 0, len(event))
    assert RowsDecoder(new, from_table_map(new)).rows(kind, event, 0, len(event)) == [(2, 2, 2)]
