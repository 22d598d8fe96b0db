"""SQL sinks on real targets: how tables are made, suited and named, what constraints do, what is refused.

What every mirror does is in tests/contract, whether it is right in tests/property.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from connectors.sql.dialect import TableName
from liberator.errors import SinkError
from liberator.event import ABSENT, Phase
from liberator.schema import Column, Kind, LogicalType
from liberator.testing.events import create, delete, read, rekey, table, transaction, truncate, update
from tests.targets import PostgresTarget, SqliteTarget, at, mysql_target

ORDERS = table("orders", {"id": Kind.INT64, "note": Kind.STRING, "n": Kind.INT32}, key=["id"])


MYSQLS = ("mysql", "mariadb")


@pytest.fixture(params=["sqlite", "postgres", "postgres staged", "mysql", "mariadb staged"])
def target(request, tmp_path, monkeypatch):
    if request.param == "sqlite":
        return SqliteTarget(tmp_path / "target.db")
    if request.param.startswith("m"):
        return mysql_target(request, request.param, monkeypatch)
    if request.param == "postgres staged":
        monkeypatch.setattr("connectors.postgres.sink.writer.FEW", 0)
    return PostgresTarget(request.getfixturevalue("database"))


@pytest.fixture
def sqlite_target(tmp_path):
    return SqliteTarget(tmp_path / "target.db")


@pytest.fixture
def postgres_target(database):
    return PostgresTarget(database)


def columns_of(target, name):
    """``{column: (type, not null)}`` as the target has them."""
    dialect = target.sink().dialect()
    dialect.connect(reading=True)
    try:
        existing = dialect.describe(TableName(dialect.home, name))
        return {c.name: (c.type, c.not_null) for c in existing.columns.values()}
    finally:
        dialect.close()


def typed(name, changes, key=("id",), **more):
    """A version of a table whose columns are given as types or whole columns."""
    return table(name, {"id": Kind.INT64, **changes}, key=list(key), **more)


# Columns that come, go and change.


def test_a_column_that_is_not_sent_any_more_stays_and_may_be_null(target):
    target.execute(
        "create table orders (id bigint not null primary key, note text not null, n integer not null);"
        "insert into orders values (1, 'old', 5)"
    )
    narrow = typed("orders", {"note": Kind.STRING})
    target.apply(transaction(1, create(narrow, id=2, note=None), update(narrow, id=1, note="new")))
    assert target.rows("orders", "id, note, n") == {(1, "new", 5), (2, None, None)}


def test_a_renamed_column_is_a_new_one_beside_the_old(target):
    renamed = typed("orders", {"remark": Kind.STRING, "n": Kind.INT32})
    target.apply(
        transaction(1, create(ORDERS, id=1, note="a", n=1)),
        transaction(2, update(renamed, id=1, remark="b", n=2)),
    )
    assert target.rows("orders", "id, note, n, remark") == {(1, "a", 2, "b")}


@pytest.mark.parametrize(
    ("old", "value", "new", "later", "expected"),
    [
        (Kind.INT16, 7, Kind.INT64, 2**40, ["7", str(2**40)]),
        (Kind.INT32, 7, LogicalType(Kind.DECIMAL, 12, 2), 150, ["7.00", "1.50"]),
        (Kind.INT32, 7, Kind.STRING, "x", ["7", "x"]),
        (LogicalType(Kind.DECIMAL, 5, 1), 15, LogicalType(Kind.DECIMAL, 10, 3), 1, ["1.500", "0.001"]),
        (LogicalType(Kind.DECIMAL, 5, 1), 15, LogicalType(Kind.DECIMAL), (25, 2), ["1.5", "0.25"]),
        (Kind.DATE, 0, Kind.TIMESTAMP, 1_000_000, ["1970-01-01 00:00:00", "1970-01-01 00:00:01"]),
        (Kind.FLOAT32, 1.5, Kind.FLOAT64, 0.1, ["1.5", "0.1"]),
    ],
    ids=lambda v: str(v) if isinstance(v, (Kind, LogicalType)) else "",
)
def test_a_type_that_is_widened_at_the_source_is_widened_here(target, old, value, new, later, expected):
    before, after = typed("wide", {"v": old}), typed("wide", {"v": new})
    target.apply(
        transaction(1, create(before, id=1, v=value), create(before, id=0)),
        transaction(2, create(after, id=2, v=later)),
    )
    texts = [text for (text,) in target.query("select cast(v as text) from wide where id > 0 order by id")]
    assert [text.removesuffix(".000000") for text in texts] == expected


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [(Kind.BOOL, True, Kind.INT32), (Kind.BYTES, b"x", Kind.DATE), (Kind.FLOAT64, 0.5, Kind.INT64)],
    ids=lambda v: str(v) if isinstance(v, Kind) else "",
)
def test_a_type_that_the_column_cannot_become_is_refused_with_the_remedy(target, old, value, new):
    if target.kind == "sqlite" and old in (Kind.BOOL, Kind.BYTES):
        pytest.skip("such a column of SQLite takes the new values as they are")
    if target.kind in MYSQLS and old is Kind.BOOL:
        pytest.skip("a boolean is a small integer there")
    target.apply(transaction(1, create(typed("changed", {"v": old}), id=1, v=value)))
    with pytest.raises(SinkError, match=r"table .*changed does not fit its stream: column v is") as caught:
        target.apply(transaction(2, create(typed("changed", {"v": new}), id=2)))
    assert "alter the table" in caught.value.hint
    assert not caught.value.retryable


# Tables that are there already.


def test_a_table_that_is_there_and_fits_is_used_as_it_is(target):
    target.execute(
        "create table orders (id bigint not null primary key, extra varchar(5) default 'x', note text, "
        "n bigint)"
    )
    before = columns_of(target, "orders")
    target.apply(transaction(1, create(ORDERS, id=1, note="a", n=2)))
    assert columns_of(target, "orders") == before
    assert target.rows("orders") == {(1, "x", "a", 2)}


def test_everything_that_does_not_fit_is_reported_at_once(target):
    target.execute("create table orders (id bigint, note integer, other text not null)")
    with pytest.raises(SinkError) as caught:
        target.apply(transaction(1, create(ORDERS, id=1)), create=False)
    message = str(caught.value)
    assert "table" in message and "does not fit" in message
    for part in ("column n (", "is missing", "column note is int", "column other is not null"):
        assert part.lower() in message.lower()
    assert "create unique index" in message


def test_create_false_reports_the_table_that_is_missing(target):
    with pytest.raises(SinkError, match=r"table .*orders does not exist") as caught:
        target.apply(transaction(1, create(ORDERS, id=1)), create=False)
    assert "create table" in caught.value.hint
    assert "primary key" in caught.value.hint


def test_a_table_without_an_index_on_the_key_gets_one(target):
    target.execute("create table orders (id bigint not null, note text, n integer)")
    target.apply(
        transaction(1, create(ORDERS, id=1, note="a")), transaction(2, update(ORDERS, id=1, note="b", n=1))
    )
    assert target.rows("orders") == {(1, "b", 1)}


def test_columns_that_the_target_computes_are_left_to_it(target):
    target.execute(
        "create table orders (id bigint not null primary key, note text, n integer, "
        "twice integer generated always as (n * 2) stored)"
    )
    schema = typed("orders", {"note": Kind.STRING, "n": Kind.INT32, "twice": Kind.INT32})
    target.apply(
        transaction(1, create(schema, id=1, n=2, twice=99)), transaction(2, update(schema, id=1, n=3))
    )
    assert target.rows("orders") == {(1, None, 3, 6)}


def test_what_the_source_computes_is_an_ordinary_column_here(target):
    schema = typed(
        "orders", {"n": Kind.INT32, "twice": Column("twice", LogicalType(Kind.INT32), generated=True)}
    )
    target.apply(transaction(1, create(schema, id=1, n=2, twice=4)))
    assert target.rows("orders") == {(1, 2, 4)}


def test_a_table_with_nothing_but_its_key_is_mirrored(target):
    pairs = table("pairs", {"a": Kind.INT64, "b": Kind.STRING}, key=["b", "a"])
    target.apply(
        transaction(1, create(pairs, a=1, b="x"), create(pairs, a=2, b="x"), create(pairs, a=1, b="x")),
        transaction(2, update(pairs, a=1, b="x"), delete(pairs, a=2, b="x")),
    )
    assert target.rows("pairs") == {(1, "x")}


# Names.

HOSTILE = [
    'a "quoted" name',
    "select",
    "semi;colon--",
    "100%s {} $1 ?",
    "ünï 日本",
    "back\\slash",
    "a.b",
    "UPPER",
]


def test_hostile_names_are_names(target):
    columns = {f"c {name}": Kind.STRING for name in HOSTILE}
    schemas = [table(name, {"id": Kind.INT64, **columns}, key=["id"]) for name in HOSTILE]
    values = {name: str(i) for i, name in enumerate(columns)}
    target.apply(
        [
            e
            for i, s in enumerate(schemas)
            for e in transaction(i, create(s, id=i, **values), create(s, id=-1))
        ],
        [e for i, s in enumerate(schemas) for e in transaction(i, update(s, id=i), delete(s, id=-1))],
    )
    for number, name in enumerate(HOSTILE):
        quoted = name.replace('"', '""')
        assert target.query(f'select * from "{quoted}"') == [(number, *values.values())]


def test_names_longer_than_the_target_allows_are_told_apart(postgres_target):
    target = postgres_target
    longest = "é" * 31 + "x"  # 63 bytes
    names = [longest, longest + "1", longest + "2"]
    long_columns = {longest + "a": Kind.INT32, longest + "b": Kind.INT32}
    schemas = [table(name, {"id": Kind.INT64, **long_columns}, key=["id"]) for name in names]
    for _ in range(2):  # the same names in another run
        target.apply(
            [e for i, s in enumerate(schemas) for e in transaction(i, create(s, id=i, **{longest + "b": i}))]
        )
    found = [
        name
        for (name,) in target.query("select tablename from pg_tables where tablename like 'é%' order by 1")
    ]
    assert len(found) == 3 and longest in found
    assert all(len(name.encode()) <= 63 for name in found)
    for name in found:
        assert len(target.query(f'select * from "{name}"')) == 1


def test_columns_that_differ_in_case_only_are_told_apart_where_case_does_not_count(target):
    schema = table("cases", {"id": Kind.INT64, "Note": Kind.STRING, "note": Kind.STRING}, key=["id"])
    target.apply(transaction(1, create(schema, id=1, Note="big", note="small")))
    assert target.query("select * from cases") == [(1, "big", "small")]


def test_the_template_names_tables(target):
    target.apply(transaction(1, create(ORDERS, id=1), source="shop"), table="{source}_{schema}_{table}")
    assert target.query("select id from shop_public_orders") == [(1,)]


def test_a_dot_in_the_template_parts_schema_and_table(postgres_target):
    sales = table("orders", {"id": Kind.INT64}, key=["id"], schema="odd.sales")
    postgres_target.apply(transaction(1, create(sales, id=1)), table="{schema}.{table}")
    assert postgres_target.query('select id from "odd.sales".orders') == [(1,)]


def test_the_option_schema_is_where_tables_and_cursor_are(postgres_target):
    postgres_target.apply(transaction(1, create(ORDERS, id=1)), schema="mirror")
    assert postgres_target.query("select id from mirror.orders") == [(1,)]
    assert postgres_target.query("select count(*) from mirror.liberator_cursors") == [(1,)]
    assert postgres_target.sink(schema="mirror").cursor() == at(1)


@pytest.mark.parametrize("runs", ["one run", "two runs"])
def test_two_streams_in_one_table_are_an_error_that_names_both(target, runs):
    other = table("orders", {"id": Kind.INT64}, key=["id"], schema="sales")
    first, second = transaction(1, create(ORDERS, id=1)), transaction(2, create(other, id=1))
    batches = [first + second] if runs == "one run" else [first, second]
    with pytest.raises(SinkError, match="two streams meet") as caught:
        for events in batches:
            target.apply(events)
    assert "test.public.orders" in str(caught.value) and "test.sales.orders" in str(caught.value)
    assert "{schema}_{table}" in caught.value.hint


def test_a_stream_cannot_overwrite_the_bookkeeping(target):
    ours = table("liberator_cursors", {"sink": Kind.STRING}, key=["sink"])
    with pytest.raises(SinkError, match="liberator's own"):
        target.apply(transaction(1, create(ours, sink="sink")))


# Constraints at the target.

PARENTS = table("parents", {"id": Kind.INT64, "name": Kind.STRING}, key=["id"])
CHILDREN = table("children", {"id": Kind.INT64, "parent": Kind.INT64, "big": Kind.STRING}, key=["id"])
FAMILY = (
    "create table parents (id bigint not null primary key, name varchar(50) unique);"
    "create table children (id bigint not null primary key, parent bigint, big text, "
    "foreign key (parent) references parents (id){action})"
)


@pytest.mark.parametrize(
    "action", ["", " on delete cascade on update cascade", " deferrable initially deferred"]
)
def test_foreign_keys_hold_whatever_the_order_in_a_batch(target, action):
    if "deferrable" in action and target.kind in MYSQLS:
        pytest.skip("foreign keys are checked at once there")
    target.execute(FAMILY.format(action=action))
    many = range(30)
    target.apply(
        # Children are named first, so only the foreign keys can tell which table comes first.
        transaction(1, *(create(CHILDREN, id=-n) for n in many)),
        transaction(
            2,
            *(create(PARENTS, id=n, name=f"p{n}") for n in many),
            *(update(CHILDREN, id=-n, parent=n, big="b") for n in many),
        ),
        # A parent goes, its child has moved on: the children have to be written before, here.
        transaction(3, *(update(CHILDREN, id=-n, parent=0) for n in range(1, 10))),
        transaction(
            4,
            *(update(CHILDREN, id=-n, parent=1) for n in range(20, 30)),
            *(delete(PARENTS, id=n) for n in range(20, 30)),
            *(delete(CHILDREN, id=-n) for n in range(10, 20)),
            *(delete(PARENTS, id=n) for n in range(10, 20)),
        ),
    )
    expected = {(0, 0)} | {(-n, 0) for n in range(1, 10)} | {(-n, 1) for n in range(20, 30)}
    assert target.rows("children", "id, parent") == expected
    assert target.rows("parents", "id") == {(n,) for n in range(10)}
    assert target.query("select count(*) from children where big = 'b'") == [(20,)]


def test_a_key_of_a_referenced_row_changes_without_its_children_being_deleted(target):
    target.execute(FAMILY.format(action=" on delete cascade on update cascade"))
    target.apply(
        transaction(1, create(PARENTS, id=1, name="p"), create(CHILDREN, id=1, parent=1, big="kept")),
        # The source cascades the new key to the child; its big column was not sent.
        transaction(2, rekey(PARENTS, {"id": 1}, id=2, name="p"), update(CHILDREN, id=1, parent=2)),
    )
    assert target.rows("parents") == {(2, "p")}
    assert target.rows("children") == {(1, 2, "kept")}


def test_tables_whose_foreign_keys_form_a_circle_are_written_in_order(target):
    target.execute(
        "create table left_side (id bigint not null primary key, other bigint);"
        "create table right_side (id bigint not null primary key, other bigint, "
        "foreign key (other) references left_side (id));"
    )
    if target.kind != "sqlite":
        target.execute("alter table left_side add foreign key (other) references right_side (id)")
    left = table("left_side", {"id": Kind.INT64, "other": Kind.INT64}, key=["id"])
    right = table("right_side", {"id": Kind.INT64, "other": Kind.INT64}, key=["id"])
    target.apply(
        transaction(1, create(left, id=1), create(right, id=1, other=1), update(left, id=1, other=1)),
        transaction(2, update(left, id=1, other=None), delete(right, id=1), delete(left, id=1)),
        transaction(3, create(left, id=2)),
    )
    assert target.rows("left_side") == {(2, None)}
    assert target.rows("right_side") == set()


def test_a_foreign_key_that_does_not_hold_is_an_error_with_a_hint(target):
    target.execute(FAMILY.format(action=""))
    with pytest.raises(SinkError) as caught:
        target.apply(transaction(1, create(CHILDREN, id=1, parent=4711)))
    assert "4711" not in str(caught.value)
    assert "foreign keys" in caught.value.hint
    assert not caught.value.retryable
    assert target.rows("children") == set()


def test_unique_values_that_rows_exchange_in_a_batch_are_exchanged(target):
    target.execute(FAMILY.format(action=""))
    target.apply(transaction(1, *(create(PARENTS, id=n, name=f"p{n}") for n in range(1, 4))))
    target.apply(
        transaction(
            2,
            update(PARENTS, id=1, name="spare"),
            update(PARENTS, id=2, name="p1"),
            update(PARENTS, id=1, name="p2"),
            delete(PARENTS, id=3),
            create(PARENTS, id=4, name="p3"),
        )
    )
    assert target.rows("parents") == {(1, "p2"), (2, "p1"), (4, "p3")}


def test_a_unique_index_that_the_source_does_not_have_is_an_error_with_a_hint(target):
    target.execute(FAMILY.format(action=""))
    with pytest.raises(SinkError) as caught:
        target.apply(transaction(1, create(PARENTS, id=1, name="same"), create(PARENTS, id=2, name="same")))
    assert "same" not in str(caught.value)
    assert "unique" in caught.value.hint or "constraint" in caught.value.hint
    assert not caught.value.retryable


def test_a_deferrable_key_cannot_be_inserted_or_updated_and_still_works(postgres_target, monkeypatch):
    target = postgres_target
    target.execute(
        "create table orders (id bigint primary key deferrable initially deferred, note text, n integer)"
    )
    for few in (20, 0):
        monkeypatch.setattr("connectors.postgres.sink.writer.FEW", few)
        target.apply(
            transaction(1, create(ORDERS, id=1, note="a"), create(ORDERS, id=2, note="b")),
            transaction(2, update(ORDERS, id=1, note="c", n=3), delete(ORDERS, id=2)),
        )
        assert target.rows("orders") == {(1, "c", 3)}


def test_an_identity_that_is_always_generated_takes_the_keys_of_the_source(postgres_target, monkeypatch):
    target = postgres_target
    target.execute(
        "create table orders (id bigint generated always as identity primary key, note text, n integer)"
    )
    for few, key in ((20, 7), (0, 8)):
        monkeypatch.setattr("connectors.postgres.sink.writer.FEW", few)
        target.apply(
            transaction(1, create(ORDERS, id=key)), transaction(2, update(ORDERS, id=key, note="x", n=1))
        )
    assert target.rows("orders") == {(7, "x", 1), (8, "x", 1)}


def test_a_truncate_of_referenced_tables_empties_them(target):
    target.execute(FAMILY.format(action=""))
    target.apply(
        transaction(1, create(PARENTS, id=1, name="p"), create(CHILDREN, id=1, parent=1)),
        transaction(2, truncate(PARENTS), truncate(CHILDREN), create(PARENTS, id=2, name="q")),
    )
    assert target.rows("children") == set()
    assert target.rows("parents") == {(2, "q")}


# Rows that are missing.


def test_a_partial_update_of_a_missing_row_says_where_it_happened(target):
    events = transaction(7, update(ORDERS, id=1, note="x"))
    with pytest.raises(SinkError) as caught:
        target.apply(transaction(1, create(ORDERS, id=9)), events)
    assert "orders" in str(caught.value) and "position 0/7/1" in str(caught.value)
    assert "liberator teardown" in caught.value.hint
    assert not caught.value.retryable


def test_ahead_of_its_snapshot_a_partial_update_may_find_nothing(target):
    ahead = [
        replace(e, phase=Phase.AHEAD)
        for e in transaction(2, update(ORDERS, id=1, note="x"), update(ORDERS, id=2, n=5))
    ]
    target.apply(
        transaction(1, read(ORDERS, id=2, note="here")),
        ahead,
        transaction(3, read(ORDERS, id=1, note="x", n=1)),
    )
    assert target.rows("orders") == {(1, "x", 1), (2, "here", 5)}


def test_an_update_in_part_of_a_row_deleted_before_is_an_error_and_ahead_of_a_snapshot_not(target):
    gone = [delete(ORDERS, id=1), update(ORDERS, id=1, note="x")]
    target.apply([replace(e, phase=Phase.AHEAD) for e in transaction(1, create(ORDERS, id=1), *gone)])
    assert target.rows("orders") == set()
    with pytest.raises(SinkError, match="lacks the row"):
        target.apply(transaction(2, create(ORDERS, id=1), *gone))


def test_a_table_that_somebody_else_changed_is_mended_by_what_the_error_says(sqlite_target):
    made = transaction(1, create(ORDERS, id=1, note="a", n=1), create(ORDERS, id=2, note="b", n=2))
    part = transaction(2, update(ORDERS, id=1, n=7))
    sqlite_target.apply(made)
    sqlite_target.execute("delete from orders where id = 1")
    with pytest.raises(SinkError, match="lacks the row") as caught:
        sqlite_target.apply(part)
    assert "`liberator teardown --config FILE SINK`" in caught.value.hint
    sqlite_target.sink().teardown()
    assert sqlite_target.sink().cursor() is None
    sqlite_target.apply(made, part)
    assert sqlite_target.rows("orders") == {(1, "a", 7), (2, "b", 2)}


def test_the_halves_of_a_key_change_may_come_in_two_writes(target):
    target.apply(transaction(1, create(ORDERS, id=1, note="kept", n=1)))
    gone, come = transaction(2, *rekey(ORDERS, {"id": 1}, id=2, n=2))
    come.after = (2, ABSENT, 2)
    sink = target.sink()
    sink.open()
    sink.write([gone])
    sink.write([come])
    sink.commit(at(2))
    sink.close()
    assert target.rows("orders") == {(2, "kept", 2)}


def test_a_key_change_that_is_cut_off_by_a_commit_still_deletes(target):
    target.apply(transaction(1, create(ORDERS, id=1, note="a", n=1)))
    gone, come = transaction(2, *rekey(ORDERS, {"id": 1}, id=2, note="a", n=1))
    target.apply([gone])
    assert target.rows("orders") == set()
    target.apply([come])
    assert target.rows("orders") == {(2, "a", 1)}


# Tables without a key.

BAG = table("bag", {"a": Kind.FLOAT64, "b": Kind.JSON})


def test_a_change_that_does_not_say_which_row_is_refused_with_the_remedy(target):
    for change in (update(BAG, a=1.0), delete(BAG, a=1.0)):
        with pytest.raises(SinkError, match="has no key") as caught:
            target.apply(transaction(1, change))
        assert "replica identity full" in caught.value.hint and "append" in caught.value.hint


def test_a_row_that_is_to_be_taken_away_and_is_not_there_is_an_error(target):
    with pytest.raises(SinkError, match="lacks the row"):
        target.apply(transaction(1, create(BAG, a=1.0, b="1"), delete(BAG, a=2.0, b=None)))


def test_rows_with_odd_values_are_found_again(target):
    odd = 0.1 if target.kind in MYSQLS else float("nan")
    rows = [{"a": odd, "b": None}, {"a": -0.5, "b": '{"x":  1}'}, {"a": None, "b": None}]
    target.apply(transaction(1, *(create(BAG, **row) for row in rows + rows)))
    target.apply(transaction(2, *(delete(BAG, **row) for row in rows)))
    assert len(target.query("select * from bag")) == 3
    target.apply(transaction(3, *(delete(BAG, **row) for row in rows)))
    assert target.query("select * from bag") == []


# Modes.


def test_append_keeps_every_event_with_what_happened(target):
    target.apply(
        transaction(
            3,
            create(ORDERS, id=1, note="a", n=1),
            update(ORDERS, id=1, n=2),
            delete(ORDERS, id=1),
            truncate(ORDERS),
        ),
        mode="append",
    )
    names = "id, note, n, _op, _ordinal, _transaction, _topic, _unavailable, _position"
    position = "00000000.00000000000000000003"
    topic = "test.public.orders"
    assert target.query(f"select {names} from orders order by _ordinal") == [
        (1, "a", 1, "create", 1, "3", topic, None, position),
        (1, None, 2, "update", 2, "3", topic, '["note"]', position),
        (1, None, None, "delete", 3, "3", topic, '["note", "n"]', position),
        (None, None, None, "truncate", 4, "3", topic, None, position),
    ]


def test_history_tells_from_when_to_when(target):
    target.apply(
        transaction(1, create(ORDERS, id=1, note="a", n=1)),
        transaction(2, update(ORDERS, id=1, n=2), update(ORDERS, id=1, n=3)),
        transaction(3, delete(ORDERS, id=1)),
        transaction(4, create(ORDERS, id=1, note="again")),
        mode="history",
    )
    stamp = "substr(cast(valid_from as text), 18, 2), substr(cast(valid_to as text), 18, 2)"
    rows = target.query(f"select id, note, n, {stamp}, is_current from orders order by _position")
    assert [(*row[:5], bool(row[5])) for row in rows] == [
        (1, "a", 1, "21", "22", False),
        (1, "a", 2, "22", "22", False),
        (1, "a", 3, "22", "23", False),
        (1, "again", None, "24", None, True),
    ]


def versions(target):
    """Per version: id, note, the seconds from and to which it was valid, is_current."""
    stamps = ", ".join(f"substr(cast({name} as text), 18, 2)" for name in ("valid_from", "valid_to"))
    rows = target.query(f"select id, note, {stamps}, is_current from orders order by id, _position")
    return [(*row[:4], None if row[4] is None else bool(row[4])) for row in rows]


def test_a_history_that_is_read_anew_goes_on_where_nothing_has_changed(target):
    anew = replace(truncate(ORDERS), phase=Phase.SNAPSHOT)
    target.apply(transaction(1, *(read(ORDERS, id=n, note="a") for n in range(1, 7))), mode="history")
    target.apply(
        transaction(11, anew, read(ORDERS, id=1, note="a")),
        transaction(12, read(ORDERS, id=2, note="b"), read(ORDERS, id=7, note="new")),
        transaction(13, replace(update(ORDERS, id=3, n=3), phase=Phase.AHEAD), delete(ORDERS, id=4)),
        transaction(14, update(ORDERS, id=5, note="c", n=1), read(ORDERS, id=3, note="a", n=3)),
        mode="history",
    )
    expected = [
        (1, "a", "21", None, True),
        (2, "a", "21", "32", False),
        (2, "b", "32", None, True),
        (3, "a", "21", "33", False),
        (3, "a", "34", None, True),
        (4, "a", "21", "33", False),
        (5, "a", "21", "34", False),
        (5, "c", "34", None, True),
        (6, "a", "21", "31", None),  # gone while nobody looked
        (7, "new", "32", None, True),
    ]
    assert versions(target) == expected
    # Once more, with a new process in its middle: every version is there once, and one of a key is open.
    target.apply(transaction(15, anew), mode="history")
    now = [row for row in expected if row[4]]
    target.apply(
        transaction(16, *(read(ORDERS, id=row[0], note=row[1], n={3: 3, 5: 1}.get(row[0])) for row in now)),
        transaction(17, read(ORDERS, id=6, note="a")),
        mode="history",
    )
    settled = [(*row[:4], bool(row[4])) for row in expected]
    settled.insert(9, (6, "a", "37", None, True))
    assert versions(target) == settled


def test_history_refuses_a_table_without_a_key(target):
    with pytest.raises(SinkError, match="has no key") as caught:
        target.apply(transaction(1, create(BAG, a=1.0)), mode="history")
    assert "append" in caught.value.hint


def test_a_column_that_a_mode_adds_and_the_source_has_is_refused(target):
    schema = typed("orders", {"valid_from": Kind.STRING})
    with pytest.raises(SinkError, match="valid_from"):
        target.apply(transaction(1, create(schema, id=1)), mode="history")


def test_a_row_that_comes_back_is_no_longer_marked_as_deleted(target):
    target.apply(
        transaction(1, create(ORDERS, id=1, note="a"), create(ORDERS, id=2)),
        transaction(2, delete(ORDERS, id=1), delete(ORDERS, id=2), delete(ORDERS, id=3)),
        transaction(3, create(ORDERS, id=1, note="b")),
        delete="soft",
    )
    rows = target.query("select id, note, _deleted_at is null from orders order by id")
    assert [(i, note, bool(alive)) for i, note, alive in rows] == [(1, "b", True), (2, None, False)]


@pytest.mark.parametrize("delete_", ["hard", "soft", "ignore"])
def test_a_snapshot_that_begins_anew_empties_the_table_whatever_the_option_truncate(target, delete_):
    anew = replace(truncate(ORDERS), phase=Phase.SNAPSHOT)
    bag = replace(truncate(BAG), phase=Phase.SNAPSHOT)
    target.apply(
        transaction(1, read(ORDERS, id=1), read(ORDERS, id=2)),
        transaction(2, anew, read(ORDERS, id=2, note="again")),
        delete=delete_,
        truncate="ignore",
    )
    gone = {"hard": [], "soft": [1], "ignore": []}[delete_]
    dead = target.query("select id from orders where _deleted_at is not null") if delete_ == "soft" else []
    assert [row[0] for row in dead] == gone
    assert {row[0] for row in target.query("select id from orders")} == ({2} if delete_ == "hard" else {1, 2})
    if delete_ != "soft":
        target.apply(
            transaction(1, read(BAG, a=1.0)),
            transaction(2, bag, read(BAG, a=1.0)),
            delete=delete_,
            truncate="ignore",
        )
        assert target.query("select a from bag") == [(1.0,)]


# Decimals, and what a target cannot hold.


def test_sqlite_keeps_decimals_exact(sqlite_target):
    money = typed("money", {"v": LogicalType(Kind.DECIMAL, 30, 4), "u": LogicalType(Kind.DECIMAL)})
    sqlite_target.apply(transaction(1, create(money, id=1, v=10**29 + 1000, u=(10, 1))))
    assert sqlite_target.rows("money") == {(1, "10000000000000000000000000.1000", "1.0")}
    assert columns_of(sqlite_target, "money")["v"] == ("DECIMAL_TEXT(30,4)", False)


@pytest.mark.parametrize(
    ("declared", "type_"),
    [("numeric(10,2)", LogicalType(Kind.DECIMAL, 10, 2)), ("integer", Kind.UINT64), ("real", Kind.INT64)],
)
def test_sqlite_refuses_a_column_that_would_change_values(sqlite_target, declared, type_):
    sqlite_target.execute(f"create table t (id integer not null primary key, v {declared}, k text unique)")
    sqlite_target.execute("create index by_v on t (v)")
    schema = typed("t", {"v": type_})
    with pytest.raises(SinkError, match="column v") as caught:
        sqlite_target.apply(transaction(1, create(schema, id=1, v=1)))
    assert caught.value.hint


def test_postgres_refuses_a_column_that_is_too_narrow_and_cannot_be_widened(postgres_target):
    postgres_target.execute("create table t (id bigint primary key, v boolean)")
    with pytest.raises(SinkError, match="column v is boolean") as caught:
        postgres_target.apply(transaction(1, create(typed("t", {"v": Kind.INT64}), id=1, v=1)))
    assert "alter the table" in caught.value.hint


def test_a_text_that_the_target_cannot_hold_is_an_error_without_the_text(target):
    for text in ("secret\ud800", "secret\x00") if target.kind == "postgres" else ("secret\ud800",):
        with pytest.raises(SinkError) as caught:
            target.apply(transaction(1, create(ORDERS, id=1, note=text)))
        assert "secret" not in str(caught.value)


# Sinks beside each other.


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql", "mariadb"])
def test_sinks_that_start_at_the_same_moment_find_one_bookkeeping(kind, request, tmp_path, monkeypatch):
    """As the workers of one run do on a fresh database."""
    fresh = {
        "sqlite": lambda: SqliteTarget(tmp_path / "target.db"),
        "postgres": lambda: PostgresTarget(request.getfixturevalue("database")),
    }
    target = fresh.get(kind, lambda: mysql_target(request, kind, monkeypatch))()
    together = threading.Barrier(3)

    def start(name):
        sink = target.sink(name)
        together.wait(10)
        try:
            return sink.open()
        finally:
            sink.close()

    with ThreadPoolExecutor(3) as pool:
        for _ in range(4):
            assert list(pool.map(start, ["a", "b", "c"])) == [None, None, None]
            assert target.rows("liberator_cursors", "sink") == {("a",), ("b",), ("c",)}
            target.execute("drop table liberator_cursors; drop table liberator_tables")
