"""Every type of a Postgres source arrives in Postgres with its native type and the very same text, and in
SQLite with nothing lost; what one target cannot hold is refused with a remedy."""

from __future__ import annotations

import pytest

from connectors.postgres.connection import connect
from connectors.postgres.types.native import TypeCatalog
from connectors.postgres.types.values import parser
from liberator.errors import SinkError
from liberator.schema import Column, Kind, LogicalType, TableSchema
from liberator.testing.events import create, table, transaction, update
from tests.targets import PostgresTarget, SqliteTarget

SETUP = """
create type mood as enum ('sad', 'it''s ok', 'ha"ppy\\', 'a b');
create schema "Odd schema";
create type "Odd schema"."Colour" as enum ('red', 'blue');
create domain posint as integer check (value > 0);
create domain shortlist as text[];
create type pair as (a integer, b text);
create extension if not exists hstore;
create extension if not exists citext;
create extension if not exists ltree;
"""

#: Types with literals of them; each pair becomes a table of its own kind of column.
VALUES = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "xid8": ["18446744073709551615"],
    "real": ["1.5", "0.1", "-0", "NaN", "Infinity", "-Infinity", "3.4028235e38", "1e-45"],
    "double precision": ["0.1", "1e308", "5e-324", "NaN", "Infinity", "-Infinity", "123456789.123456789"],
    "numeric(10,2)": ["12.30", "-0.01", "0", "99999999.99", "NaN"],
    "numeric(3,0)": ["-999", "7"],
    "numeric": ["1.20", "1.2", "0.000", "-123456789012345678901234567890.5", "1e-40", "NaN", "Infinity"],
    "text": ["", "plain", "tab\there", "back\\slash", "new\nline\r", "\\N", "\\.", "日本 😀", "null"],
    "character varying(20)": ["abc", "trailing  "],
    "character(5)": ["ab", "abcde"],
    '"char"': ["a"],
    "name": ["a_name"],
    "bytea": ["\\x", "\\x00ff5c09", "\\xdeadbeef"],
    "date": [
        "2024-02-29",
        "0001-01-01",
        "9999-12-31",
        "0044-03-15 BC",
        "10000-01-01",
        "infinity",
        "-infinity",
    ],
    "time": ["00:00:00", "12:34:56.000001", "23:59:59.999999", "24:00:00"],
    "time(3)": ["12:34:56.789"],
    "time with time zone": ["12:34:56.5+05:30"],
    "timestamp": [
        "2024-02-29 12:34:56.123456",
        "1969-12-31 23:59:59.999999",
        "0001-01-01",
        "infinity",
        "-infinity",
        "0044-03-15 12:00:00 BC",
        "294276-12-31 23:59:59.999999",
    ],
    "timestamp(3)": ["2024-02-29 12:34:56.123"],
    "timestamptz": [
        "2024-02-29 12:34:56.5+05:30",
        "1900-01-01 00:00+00",
        "infinity",
        "0044-03-15 12:00:00+00 BC",
    ],
    "interval": [
        "1 year 2 mons -3 days 04:05:06.000007",
        "-00:00:00.5",
        "0",
        "178000000 years",
        "999999:00:00",
    ],
    "interval day to second(3)": ["1 day 02:03:04.567"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "json": ['{"a": 1,   "a":2}', "null", '"\\u00e9\\n"'],
    "jsonb": ['{"b": 1.50, "a": [null, "x\\\\y"]}', "null"],
    "bit(3)": ["101"],
    "bit varying": ["", "0110"],
    "bit varying(8)": ["10"],
    "mood": ["sad", "it's ok", 'ha"ppy\\'],
    "mood[]": ['{sad,"it\'s ok",NULL,"ha\\"ppy\\\\"}'],
    '"Odd schema"."Colour"': ["red", "blue"],
    "posint": ["7"],
    "shortlist": ["{a,b}"],
    "pair": ['(1,"x y")', "(,)"],
    "pair[]": ['{"(1,x)"}'],
    "hstore": ['"a"=>"1", "b"=>NULL'],
    "citext": ["MiXed"],
    "ltree": ["top.sub"],
    "int4range": ["[1,5)", "empty"],
    "tstzrange": ['["2024-01-01 00:00:00+00",)'],
    "int8multirange": ["{[1,5),[7,9)}"],
    "integer[]": ["{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[2:3]={5,6}"],
    "text[]": ['{"",NULL,"NULL","a,b","q\\"q","back\\\\slash","{}","tab\there"}'],
    "numeric(5,1)[]": ["{1.5,NULL}"],
    "numeric[]": ["{1.50,NaN}"],
    "timestamptz[]": ['{"2024-01-01 00:00:00.5+00",infinity}'],
    "date[]": ["{2024-01-01,-infinity}"],
    "bytea[]": ['{"\\\\x00ff"}'],
    "boolean[]": ["{t,f,NULL}"],
    "double precision[]": ["{0.1,NaN,Infinity}"],
    "uuid[]": ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"],
    "box[]": ["{(1,1),(0,0);(2,2),(1,1)}"],
    "point": ["(1,2.5)"],
    "box": ["(1,1),(0,0)"],
    "polygon": ["((0,0),(1,1),(1,0))"],
    "inet": ["10.0.0.1/8", "::1"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "money": ["$1,234.50"],
    "tsvector": ["'a':1 'b':2"],
    "tsquery": ["'a' & 'b'"],
    "jsonpath": ['$."a"'],
    "pg_lsn": ["16/B374D848"],
    "regclass": ["pg_class"],
    "int2vector": ["1 2 3"],
}
#: What is created in place of types that mean something at their server only, of domains and row types.
EXPECTED = {
    "money": "text",
    "regclass": "text",
    "pair": "text",
    "pair[]": "text[]",
    "posint": "integer",
    "shortlist": "text[]",
}


class Source:
    """A source database: what its types are, and what the stream would carry of its values."""

    def __init__(self, url):
        self.conn = connect(url)
        self.conn.execute(SETUP)
        self.types = TypeCatalog.load(self.conn)

    def read(self, native, literals, name="probe"):
        """The schema of a table with a column of type ``native``, its rows, and the texts of their values
        as a cast and as copy write them."""
        self.conn.execute(
            f"drop table if exists {name}; create table {name} (id serial primary key, v {native})"
        )
        for literal in [*literals, None]:
            self.conn.execute(f"insert into {name} (v) values (%s::{native})", [literal])
        oid, typmod = self.conn.execute(
            "select atttypid, atttypmod from pg_attribute where attrelid = %s::regclass and attname = 'v'",
            [name],
        ).fetchone()
        type_, spelling = self.types.resolve(self.conn, oid, typmod)
        casts = self.conn.execute(f"select id, v::text from {name} order by id").fetchall()
        query = f"copy (select v from {name} order by id) to stdout"
        with self.conn.cursor() as cursor, cursor.copy(query) as copy:
            raw = [row[0] for row in copy.rows()]
        parse = parser(type_)
        schema = TableSchema(
            "postgresql", "source", "public", name,
            (Column("id", LogicalType(Kind.INT32), False, 0, "integer"), Column("v", type_, native=spelling)),
        )  # fmt: skip
        rows = [(number, None if text is None else parse(text)) for number, text in enumerate(raw, 1)]
        return schema, rows, casts, raw

    def read_all(self):
        """All of VALUES, by native type, each in a table of its own."""
        return {n: self.read(n, v, f"probe{i}") for i, (n, v) in enumerate(VALUES.items())}


@pytest.fixture
def source(database):
    source = Source(database)
    yield source
    source.conn.close()


def events(schema, rows):
    return transaction(1, *(create(schema, id=id_, v=value) for id_, value in rows))


@pytest.mark.parametrize("staged", [False, True], ids=["few", "staged"])
def test_every_type_is_recreated_and_its_values_are_the_same_text(source, database2, staged, monkeypatch):
    if staged:
        monkeypatch.setattr("connectors.postgres.sink.writer.FEW", 0)
    target = PostgresTarget(database2)
    target.execute("create extension hstore; create extension citext; create schema ext")
    target.execute("create extension ltree schema ext")
    sent = source.read_all()
    target.apply([event for schema, rows, _, _ in sent.values() for event in events(schema, rows)])
    with connect(database2) as reader:
        for native, (schema, _, casts, _) in sent.items():
            name = schema.table
            assert reader.execute(f"select id, v::text from {name} order by id").fetchall() == casts
            (type_,) = reader.execute(
                "select format_type(atttypid, atttypmod) from pg_attribute "
                f"where attrelid = '{name}'::regclass and attname = 'v'"
            ).fetchone()
            assert type_.split(".")[-1] == EXPECTED.get(native, schema.columns[1].native.split(".")[-1])


def test_an_extension_that_the_target_lacks_becomes_text(source, database2):
    target = PostgresTarget(database2)
    schema, rows, texts, _ = source.read("hstore", VALUES["hstore"])
    target.apply(events(schema, rows))
    assert target.query("select id, v from probe order by id") == texts
    assert target.query("select pg_typeof(v)::text from probe limit 1") == [("text",)]


def test_every_type_arrives_in_sqlite_with_nothing_lost(source, tmp_path):
    target = SqliteTarget(tmp_path / "t.db")
    sent = source.read_all()
    target.apply([event for schema, rows, _, _ in sent.values() for event in events(schema, rows)])
    for schema, rows, casts, raw in sent.values():
        stored = target.query(f"select v from {schema.table} order by id")
        kind = schema.columns[1].type.kind
        for (_, physical), (_, cast), text, (value,) in zip(rows, casts, raw, stored, strict=True):
            if text is None:
                assert value is None
            elif kind in (Kind.INT16, Kind.INT32, Kind.INT64, Kind.BOOL, Kind.BYTES):
                assert value == physical
            elif kind in (Kind.FLOAT32, Kind.FLOAT64):
                assert value == physical or value == text == "NaN"
            elif kind is Kind.ARRAY:
                assert isinstance(value, str)
            elif kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME, Kind.INTERVAL):
                # The spelling may differ; what Postgres reads it as may not.
                back = source.conn.execute(f"select %s::{schema.columns[1].native}::text", [value]).fetchone()
                assert back == (cast,)
            else:
                assert value == text


def test_a_label_that_is_added_to_an_enum_can_be_used_at_once(source, database2):
    target = PostgresTarget(database2)
    schema, rows, _, _ = source.read("mood", ["sad"])
    target.apply(events(schema, rows))
    source.conn.execute("alter type mood add value 'calm' after 'sad'")
    source.types.refresh(source.conn)
    wider, *_ = source.read("mood", ["calm", "sad"])
    assert wider != schema
    target.apply(
        transaction(
            2, create(schema, id=8, v="sad"), create(wider, id=9, v="calm"), update(wider, id=1, v="calm")
        )
    )
    assert target.query("select id, v::text from probe where id in (1, 8, 9) order by id") == [
        (1, "calm"), (8, "sad"), (9, "calm")
    ]  # fmt: skip
    assert target.query("select enum_range(null::mood)::text[]") == [
        (["sad", "calm", "it's ok", 'ha"ppy\\', "a b"],)
    ]


def test_what_no_column_of_postgres_holds_is_refused_and_with_allow_lossy_null(database):
    target = PostgresTarget(database)
    days = table("days", {"id": Kind.INT64, "day": Kind.DATE}, key=["id"], dialect="mysql")
    zero = transaction(1, create(days, id=1, day="0000-00-00"), create(days, id=2, day=0))
    with pytest.raises(SinkError, match=r"column day.*date") as caught:
        target.apply(zero)
    assert "allow_lossy" in caught.value.hint
    assert "0000" not in str(caught.value)
    target.apply(zero, allow_lossy=True)
    assert target.query("select id, day::text from days order by id") == [(1, None), (2, "1970-01-01")]


def test_an_escape_fits_an_existing_text_column_as_it_is(database):
    target = PostgresTarget(database)
    target.execute("create table days (id bigint primary key, day text)")
    days = table("days", {"id": Kind.INT64, "day": Kind.DATE}, key=["id"], dialect="mysql")
    target.apply(transaction(1, create(days, id=1, day="0000-00-00"), create(days, id=2, day=0)))
    assert target.rows("days") == {(1, "0000-00-00"), (2, "1970-01-01")}


LOGICAL = {
    "uint64": (LogicalType(Kind.UINT64), 2**64 - 1, "18446744073709551615"),
    "decimal": (LogicalType(Kind.DECIMAL, 65, 30), 123 * 10**30, "123." + "0" * 30),
    "unbounded": (LogicalType(Kind.DECIMAL), (150, 2), "1.50"),
    "enum": (LogicalType(Kind.ENUM, values=("a", "b")), "a", "a"),
    "json": (LogicalType(Kind.JSON), '{"a": 1}', '{"a": 1}'),
    "bits": (LogicalType(Kind.BITS), "0101", "0101"),
    "geometry": (LogicalType(Kind.GEOMETRY), (b"\x01\x01\x00\x00\x00" + b"\0" * 16, 4326), None),
    "native": (LogicalType(Kind.NATIVE, name="year"), "2024", "2024"),
    "ints": (LogicalType(Kind.ARRAY, item=LogicalType(Kind.INT32)), (1, None), None),
    "uuid": (LogicalType(Kind.UUID), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",) * 2,
    "float": (LogicalType(Kind.FLOAT32), 1.5, "1.5"),
    "time": (LogicalType(Kind.TIME), 1, "00:00:00.000001"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_types_of_another_database_get_the_best_equivalent(kind, tmp_path, request):
    target = (
        SqliteTarget(tmp_path / "t.db")
        if kind == "sqlite"
        else PostgresTarget(request.getfixturevalue("database"))
    )
    wide = {name: v[0] if isinstance(v[0], LogicalType) else v[0][0] for name, v in LOGICAL.items()}
    values = {"uuid": LOGICAL["uuid"][1]} | {n: v[1] for n, v in LOGICAL.items() if n != "uuid"}
    schema = table("wide", {"id": Kind.INT64, **wide}, key=["id"], dialect="other")
    target.apply(transaction(1, create(schema, id=1, **values), create(schema, id=2)))
    if kind == "postgres":
        found = target.query(
            "select uint64::text, decimal::text, unbounded::text, enum, json::text, bits::text, "
            "encode(geometry, 'hex'), native, ints, uuid::text, float::text, time::text from wide "
            "where id = 1"
        )[0]
        assert found[6].startswith("0101000020e6100000")
        assert found[8] == [1, None]
    else:
        found = target.query(f"select {', '.join(LOGICAL)} from wide where id = 1")[0]
        assert found[6].hex().startswith("0101000020e6100000")
        assert found[8] == "[1, null]"
    for (name, value), got in zip(LOGICAL.items(), found, strict=True):
        if value[2] is not None and name not in ("uuid",):
            assert str(got) == value[2], name
    assert found[9] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


def test_a_value_that_the_server_refuses_is_reported_by_column_and_never_quoted(database, monkeypatch):
    monkeypatch.setattr("connectors.postgres.sink.writer.FEW", 0)
    target = PostgresTarget(database)
    notes = table("t", {"id": Kind.INT64, "note": Kind.JSON}, key=["id"], dialect="other")
    with pytest.raises(SinkError) as caught:
        target.apply(transaction(1, create(notes, id=1, note="secret value")))
    message = f"{caught.value} {caught.value.hint}"
    assert "column note" in message and "table public.t" in message
    assert "secret" not in message
