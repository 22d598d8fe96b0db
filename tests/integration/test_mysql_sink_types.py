"""Every type of MySQL and MariaDB arrives again as it was, in both of them and in Postgres and SQLite; every
logical type with its extreme values arrives in MySQL and MariaDB; what a target cannot hold is refused."""

from __future__ import annotations

import json

import pytest

from connectors.mysql.native import NativeType, TypeOptions
from connectors.mysql.sink.column_types import Flavour
from connectors.sql import spelling
from liberator.errors import SinkError
from liberator.event import Operation
from liberator.schema import Column, Kind, LogicalType, TableSchema
from liberator.testing.events import create, delete, table, transaction, update
from tests.integration.test_mysql_types import CASES, ONLY
from tests.mysqllab import Lab
from tests.targets import MySqlTarget, PostgresTarget, SqliteTarget

KINDS = ("mysql", "mariadb")
#: Columns in one table: the rows of more would be too long for a page.
WIDTH = 8


@pytest.fixture(params=KINDS)
def target(request):
    return MySqlTarget(request.getfixturevalue(f"{request.param}_database"), request.param)


def lab_of(target):
    return Lab(target.url, TypeOptions(zero_dates="string"))


def odd(literal):
    """Literals that make long rows, or fail, are left to the tests of reading; so is what an enum has for a
    wrong label, which strict servers do not take again."""
    long = "70000" in literal or "60000" in literal or "65535" in literal
    return long or ("12:34:56" in literal and "json" in literal) or literal == "'nope'"


class Source:
    """Tables with every type of a server, each with a column per type, read as a snapshot reads them."""

    def __init__(self, lab, kind):
        self.lab, self.kind = lab, kind
        cases = {**CASES, **ONLY[kind]}
        names = [n for n in cases if "uca1400" not in n]
        self.tables = [self._make(names[i : i + WIDTH], cases) for i in range(0, len(names), WIDTH)]

    def _make(self, types, cases):
        name = self.lab.table(*(f"c{i} {type_}" for i, type_ in enumerate(types)))
        values = [[v for v in cases[t] if not (odd(v) or (t.startswith("enum") and v == "0"))] for t in types]
        for row in range(max(map(len, values))):
            literals = ", ".join(v[row] if row < len(v) else "null" for v in values)
            names = ", ".join(f"c{i}" for i in range(len(types)))
            self.lab.execute(f"insert into {name} ({names}) values ({literals})")
        columns = self.lab.catalog(name, json=[f"c{i}" for i, t in enumerate(types) if t == "json"])
        schema = TableSchema(self.kind, "d", "d", name, columns)
        return schema, self.lab.select(name, columns)


@pytest.fixture(params=KINDS)
def source(request):
    for url in request.getfixturevalue("_fresh")(request.param):
        lab = Lab(url, TypeOptions(zero_dates="string"))
        yield Source(lab, request.param)
        lab.close()


@pytest.fixture
def _fresh(request):
    from tests.fix_mysql import fresh_database

    return lambda kind: fresh_database(request.getfixturevalue(kind))


def rows_as_events(schema, rows):
    """Written, taken away by their whole images where there is no key, and written again."""
    return transaction(1, *(create(schema, **dict(zip(schema.names, row, strict=True))) for row in rows))


def test_every_type_of_the_family_arrives_again_in_the_family(source, target):
    with_lab = lab_of(target)
    for schema, rows in source.tables:
        target.apply(rows_as_events(schema, rows))
        columns = with_lab.catalog(
            schema.table, json=[c.name for c in schema.columns if c.type.kind is Kind.JSON]
        )
        found = with_lab.select(schema.table, columns)
        assert len(found) == len(rows)
        for i, (was, now) in enumerate(zip(schema.columns, columns, strict=True)):
            same = source.kind == target.kind
            if same:
                assert now.type == was.type, (was, now)
            for one, other in zip((r[i] for r in rows), (r[i] for r in found), strict=True):
                assert equal(was.type, one, now.type, other), (was.native, now.native, one, other)
    with_lab.close()


def equal(type_, one, became, other):
    """Whether ``other``, a value of type ``became``, is what ``one`` has to become."""
    if one is None or other is None:
        return one is other
    if type_.kind is Kind.JSON:
        return json.loads(one) == json.loads(other)
    if type_.kind is Kind.TIME and isinstance(one, str):
        return one.removesuffix(".000000") == other.removesuffix(
            ".000000"
        )  # with as many digits as the type has
    if type_.kind is became.kind:
        return one == other  # MariaDB has no zero below zero
    if became.kind in (Kind.STRING, Kind.UUID):
        return (one if isinstance(one, str) else spelling.text(type_)(one)) == other
    if type_.kind is Kind.DECIMAL and became.kind is Kind.DECIMAL:
        return type_.scale == became.scale and one == other
    return int(one) == other


def test_every_type_of_the_family_arrives_in_sqlite(source, tmp_path):
    lite = SqliteTarget(tmp_path / "copy.db")
    for schema, rows in source.tables:
        lite.apply(rows_as_events(schema, rows))
        found = sorted(lite.query(f'select * from "{schema.table}"'))
        for was, row in zip(sorted(rows), found, strict=True):
            for column, one, other in zip(schema.columns, was, row, strict=True):
                assert stored(column.type, one) == other, (column.native, one, other)


def stored(type_, value):
    """What SQLite stores of a value, as its types promise."""
    numbers = (Kind.INT16, Kind.INT32, Kind.INT64, Kind.FLOAT32, Kind.FLOAT64, Kind.BOOL, Kind.BYTES)
    if value is None or isinstance(value, str) or type_.kind in numbers:
        return value
    return spelling.ewkb(value) if type_.kind is Kind.GEOMETRY else spelling.text(type_)(value)


def test_every_type_of_the_family_arrives_in_postgres(source, database):
    postgres = PostgresTarget(database)
    lossy = []
    for schema, sent in source.tables:
        rows = sent
        try:
            postgres.apply(rows_as_events(schema, rows))
        except SinkError as exc:
            # Dates that are none, times beyond a day, NUL in a text: Postgres has no place for them.
            assert not exc.retryable
            lossy.append(schema.table)
            rows = [tuple(map(placed, schema.columns, row)) for row in rows]
            postgres.apply(rows_as_events(schema, rows))
        casts = ", ".join(text_in_postgres(c) for c in schema.columns)
        found = postgres.query(f'select {casts} from "{schema.table}" order by id')
        for was, row in zip(rows, found, strict=True):
            for column, one, other in zip(schema.columns, was, row, strict=True):
                assert in_postgres(column.type, one) == other, (column.native, one, other)
    assert lossy


def placed(column, value):
    """None for what Postgres has no place for."""
    escaped = column.type.kind in (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ)
    return None if isinstance(value, str) and ("\0" in value or escaped) else value


def text_in_postgres(column):
    name = f'"{column.name}"'
    if column.type.kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.DATE):
        return f"extract(epoch from {name}) * 1000000"
    if column.type.kind is Kind.FLOAT32:
        return f"{name}::float8"
    if column.type.kind is Kind.ARRAY:
        return f"{name}::float8[]"
    return f"extract(epoch from {name}) * 1000000" if column.type.kind is Kind.TIME else name


def in_postgres(type_, value):
    from decimal import Decimal

    if value is None:
        return None
    match type_.kind:
        case Kind.DECIMAL:
            return Decimal(spelling.decimal(value, type_.scale))
        case Kind.DATE:
            return Decimal(value * 86_400_000_000)
        case Kind.TIME | Kind.TIMESTAMP | Kind.TIMESTAMPTZ | Kind.UINT64:
            return Decimal(value)
        case Kind.JSON:
            return json.loads(value)
        case Kind.GEOMETRY:
            return spelling.ewkb(value)
        case Kind.UUID:
            import uuid

            return uuid.UUID(value)
        case Kind.ARRAY:
            return list(value)
        case _:
            return value


WKB = bytes.fromhex("0101000000000000000000f03f0000000000000040")
BIG_ENDIAN = bytes.fromhex("00000000013ff00000000000004000000000000000")
DAY = 86_400_000_000
#: Logical types with values that every kind of database can have, extremes first.
PORTABLE = {
    LogicalType(Kind.BOOL): [True, False],
    LogicalType(Kind.INT16): [-(2**15), 2**15 - 1],
    LogicalType(Kind.INT32): [-(2**31), 2**31 - 1],
    LogicalType(Kind.INT64): [-(2**63), 2**63 - 1],
    LogicalType(Kind.UINT64): [0, 2**64 - 1],
    LogicalType(Kind.FLOAT32): [0.10000000149011612, 3.4028234663852886e38, 1.401298464324817e-45, -0.0],
    LogicalType(Kind.FLOAT64): [0.1, 1.7976931348623157e308, 5e-324, -0.0, 1e22],
    LogicalType(Kind.DECIMAL, 65, 30): [10**65 - 1, -(10**65) + 1, 1],
    LogicalType(Kind.DECIMAL, 5, 0): [-99999, 0],
    LogicalType(Kind.DECIMAL, 3, -2): [123, -999],
    LogicalType(Kind.DECIMAL, 100, 50): [10**100 - 1, 1, "NaN"],
    LogicalType(Kind.DECIMAL): [(1230, 2), (-1, 40), (5, -3), "NaN", "Infinity"],
    LogicalType(Kind.STRING): [
        "", " ", "a ", "it's", "back\\slash \\' \\0", "日本 😀", "%s \x00 \x1a\n", "x" * 70_000,
    ],
    LogicalType(Kind.BYTES): [b"", bytes(range(256)), b"'\\"],
    LogicalType(Kind.DATE): [-719162, 0, 2932896],
    LogicalType(Kind.TIME): [0, DAY - 1, "24:00:00"],
    LogicalType(Kind.TIMESTAMP): [-62_135_596_800_000_000, -1, 253_402_300_799_999_999],
    LogicalType(Kind.TIMESTAMPTZ): [-62_135_596_800_000_000, 1, 253_402_300_799_999_999],
    LogicalType(Kind.INTERVAL): [(14, -3, -14_706_000_007), "infinity"],
    LogicalType(Kind.UUID): ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    LogicalType(Kind.JSON): [
        '{"b": [1, null, "it\'s \\"x\\" 12345678901234567890123"], "a": 1.5}', "null", "18446744073709551615",
    ],
    LogicalType(Kind.ENUM, values=("sad", "it's")): ["sad", "it's"],
    LogicalType(Kind.ARRAY, item=LogicalType(Kind.FLOAT64)): [(), (0.5, None, float("inf")), "{{1,2},{3,4}}"],
    LogicalType(Kind.ARRAY, item=LogicalType(Kind.STRING)): [('a"b', None, "")],
    LogicalType(Kind.BITS): ["", "0110", "1" * 100],
    LogicalType(Kind.GEOMETRY): [(WKB, 4326), (WKB, None), (BIG_ENDIAN, 4326)],
    LogicalType(Kind.NATIVE, name="tsvector"): ["'a':1 'b':2"],
}  # fmt: skip


@pytest.mark.parametrize("origin", ["postgresql", "sqlite"])
def test_every_logical_type_arrives_with_its_extreme_values(target, origin):
    columns = {f"c{i}": type_ for i, type_ in enumerate(PORTABLE)}
    schema = table("portable", {"id": Kind.INT64, **columns}, key=["id"], dialect=origin)
    height = max(map(len, PORTABLE.values()))
    rows = [
        (n, *(values[n] if n < len(values) else None for values in PORTABLE.values())) for n in range(height)
    ]
    halves = transaction(2, *(update(schema, **dict(zip(schema.names, row, strict=True))) for row in rows))
    target.apply(rows_as_events(schema, rows), halves)
    lab = lab_of(target)
    made = lab.catalog("portable", json=[c for c, t in columns.items() if t.kind is Kind.JSON])
    found = lab.select("portable", made)
    lab.close()
    for i, (was, now) in enumerate(zip(schema.columns, made, strict=True)):
        for one, other in zip((r[i] for r in rows), (r[i] for r in found), strict=True):
            assert arrived(was.type, one, now.type, other), (str(was.type), now.native, one, other)


def arrived(type_, one, became, other):
    if one is None or other is None:
        return one is other
    match type_.kind:
        case Kind.GEOMETRY:
            return other == (WKB, one[1] or 0)
        case Kind.DECIMAL if became.kind is Kind.DECIMAL and type_.scale < 0:
            return other == one * 10**-type_.scale
        case Kind.BOOL:
            return other == int(one)
        case Kind.TIMESTAMPTZ:
            return became.kind is Kind.TIMESTAMP and one == other
    return equal(type_, one, became, other)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (LogicalType(Kind.FLOAT64), float("nan")),
        (LogicalType(Kind.FLOAT32), float("-inf")),
        (LogicalType(Kind.DECIMAL, 10, 2), "NaN"),
        (LogicalType(Kind.DATE), "infinity"),
        (LogicalType(Kind.DATE), 2932897),
        (LogicalType(Kind.TIMESTAMP), "0044-03-15 12:00:00 BC"),
        (LogicalType(Kind.TIMESTAMPTZ), 253_402_300_800_000_000),
        (LogicalType(Kind.GEOMETRY), (bytes.fromhex("01e9030000") + bytes(24), None)),
    ],
    ids=str,
)
def test_a_value_that_has_no_place_is_refused_or_null(target, type_, value):
    schema = table("refused", {"id": Kind.INT64, "v": type_}, key=["id"], dialect="postgresql")
    with pytest.raises(SinkError, match=r"table .*refused, column v: \w+ has no place") as caught:
        target.apply(transaction(1, create(schema, id=1, v=value)))
    assert "allow_lossy" in caught.value.hint and not caught.value.retryable
    target.apply(transaction(1, create(schema, id=1, v=value)), allow_lossy=True)
    assert target.rows("refused") == {(1, None)}


@pytest.mark.parametrize(
    "document", ["[12345678901234567890123]", "0.1234567890123456789", "1e400", "[-9223372036854775809]"]
)
def test_a_number_that_json_would_round_is_refused_where_it_would(target, document):
    schema = table("documents", {"id": Kind.INT64, "v": Kind.JSON}, key=["id"], dialect="postgresql")
    events = transaction(1, create(schema, id=1, v=document))
    if target.kind == "mariadb":
        target.apply(events)
        assert target.rows("documents") == {(1, document)}
        return
    with pytest.raises(SinkError, match="column v"):
        target.apply(events)
    target.apply(transaction(1, create(schema, id=1, v="[0.1, 1.50, 1e5, 12345678901234567890]")))


def test_what_an_enum_has_for_a_wrong_label_is_refused_or_null(target):
    label = Column("v", LogicalType(Kind.ENUM, values=("a", "b")), native="enum('a','b')")
    key = Column("id", LogicalType(Kind.INT64), False, 0, "bigint")
    schema = table("labels", {"id": key, "v": label}, key=["id"], dialect="mysql")
    with pytest.raises(SinkError, match="column v: enum has no place"):
        target.apply(transaction(1, create(schema, id=1, v="")))
    target.apply(transaction(1, create(schema, id=1, v=""), create(schema, id=2, v="b")), allow_lossy=True)
    assert target.rows("labels") == {(1, None), (2, "b")}


def test_dates_that_are_none_are_again_what_they_were(target):
    types = {"d": "date", "m": "datetime(6)", "t": "time(6)"}
    kinds = {"d": Kind.DATE, "m": Kind.TIMESTAMP, "t": Kind.TIME}
    columns = {n: Column(n, LogicalType(kinds[n]), native=native) for n, native in types.items()}
    key = Column("id", LogicalType(Kind.INT64), False, 0, "bigint")
    schema = table("zero", {"id": key, **columns}, key=["id"], dialect="mysql")
    rows = [
        (1, "0000-00-00", "0000-00-00 00:00:00.000000", "-838:59:59.000000"),
        (2, "2024-02-31", "2024-00-10 01:02:03.450000", "838:59:59.000000"),
    ]
    target.apply(rows_as_events(schema, rows))
    found = target.query("select cast(d as char), cast(m as char), cast(t as char) from zero order by id")
    assert found == [row[1:] for row in rows]


def test_rows_of_every_type_without_a_key_are_found_and_taken_away(request, source):
    target = MySqlTarget(request.getfixturevalue(f"{source.kind}_database"), source.kind)
    for schema, rows in source.tables:
        columns = tuple(Column(c.name, c.type, True, None, c.native) for c in schema.columns)
        bag = TableSchema(schema.dialect, "d", "d", schema.table, columns)
        written = rows_as_events(bag, rows)
        gone = transaction(2, *(delete(bag, **dict(zip(bag.names, row, strict=True))) for row in rows))
        assert {e.operation for e in gone} == {Operation.DELETE}
        target.apply(written, gone)
        assert target.query(f'select count(*) from "{schema.table}"') == [(0,)], schema


BIN = " character set utf8mb4 collate utf8mb4_0900_bin"
NOPAD = " character set utf8mb4 collate utf8mb4_nopad_bin"


@pytest.mark.parametrize(
    ("native", "flavour", "spelled"),
    [
        ("uuid", Flavour("mysql", (9, 7)), "char(36) character set ascii collate ascii_bin"),
        ("uuid", Flavour("mariadb", (10, 6)), "char(36) character set ascii collate ascii_bin"),
        ("uuid", Flavour("mariadb", (10, 11)), "uuid"),
        ("vector(3)", Flavour("mysql", (8, 4)), "longtext" + BIN),
        ("vector(3)", Flavour("mysql", (9, 0)), "vector(3)"),
        ("inet6", Flavour("mysql", (9, 0)), "longtext" + BIN),
        ("decimal(38,38)", Flavour("mysql", (9, 0)), "longtext" + BIN),
        ("decimal(38,38)", Flavour("mariadb", (11, 4)), "decimal(38,38)"),
        ("text character set latin1", Flavour("mariadb", (11, 4)), "mediumtext" + NOPAD),
        ("varchar(2000)", Flavour("mysql", (8, 0)), "text" + BIN),
        ("enum('a\\\\b','it''s')", Flavour("mysql", (8, 0)), "enum('a\\b','it''s')" + BIN),
    ],
)  # fmt: skip
def test_a_type_that_a_server_lacks_becomes_what_holds_it(native, flavour, spelled):
    from connectors.mysql.sink.column_types import type_of

    column = Column("v", NativeType.parse(native).logical(), native=native)
    assert type_of(column, "mariadb", flavour) == spelled


def test_times_beyond_a_day_may_be_intervals_in_postgres(database):
    postgres = PostgresTarget(database)
    postgres.execute("create table spans (id bigint primary key, v interval)")
    key = Column("id", LogicalType(Kind.INT64), False, 0, "bigint")
    span = Column("v", LogicalType(Kind.TIME), native="time(6)")
    schema = table("spans", {"id": key, "v": span}, key=["id"], dialect="mysql")
    values = ["-838:59:59.000000", "838:59:59.000000", 45_296_000_001]
    postgres.apply(transaction(1, *(create(schema, id=i, v=v) for i, v in enumerate(values))))
    assert postgres.query("select v::text from spans order by id") == [
        ("-838:59:59",), ("838:59:59",), ("12:34:56.000001",),
    ]  # fmt: skip
