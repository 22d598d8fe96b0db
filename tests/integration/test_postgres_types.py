"""Every type of a real Postgres, through the stream and through copy: equal, and what the database says."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from connectors.postgres.types.builtin import BUILTIN
from connectors.postgres.types.native import with_label
from connectors.postgres.types.values import UnknownLabel
from connectors.postgres.wal import pgoutput
from connectors.postgres.wal.rows import RelationDecoder
from liberator.schema import Kind, LogicalType
from tests.fix_postgres import fresh_database
from tests.typelab import EXTENSIONS, Lab, Read
from tests.typetext import agrees, same

PROVIDERS = ("postgres", "postgres15")


@pytest.fixture(scope="module", params=PROVIDERS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    server = request.getfixturevalue(request.param)
    for url in fresh_database(server):
        lab = Lab(url, EXTENSIONS)
        for statement in SETUP:
            lab.execute(statement)
        yield lab
        lab.close()


SETUP = (
    "create type mood as enum ('sad', 'ok', 'happy', 'it''s \"odd\"', 'übel', 'comma, brace}', 'NULL')",
    "create type pair as (x int, y text)",
    "create type nested as (p pair, m mood[])",
    "create type floatrange as range (subtype = float8)",
    "create domain positive as numeric(12,3) check (value > 0)",
    "create domain small as positive check (value < 1000)",
    "create domain moods as mood[]",
    "create domain ints as int[]",
    "create schema other",
    "create type other.mood as enum ('low', 'high')",
    "create type other.\"Odd Name\" as enum ('a')",
    "create domain other.label as varchar(20)",
    'create type "public"."MiXed" as (a int)',
)

CASES: dict[str, list[str | None]] = {
    "boolean": ["true", "false", None],
    "smallint": ["-32768", "0", "32767", None],
    "integer": ["-2147483648", "-1", "2147483647", None],
    "bigint": ["-9223372036854775808", "0", "9223372036854775807", None],
    "oid": ["0", "4294967295"],
    "xid": ["0", "4294967295"],
    "cid": ["4294967295"],
    "xid8": ["0", "18446744073709551615", None],
    "real": ["0", "-0", "1.5", "0.1", "3.4028235e38", "1e-45", "1.17549435e-38", "NaN", "Infinity",
             "-Infinity", "16777216", "0.30000001", None],
    "double precision": ["0", "-0", "0.1", "0.30000000000000004", "1.7976931348623157e308", "5e-324",
                         "NaN", "Infinity", "-Infinity", "1e22", "123456789012345680", None],
    "numeric": ["0", "-0.00", "1", "1.20", "-1.20", "NaN", "1e-16383", "-" + "9" * 4300, "1" + "0" * 131071,
                "9" * 131072 + "." + "9" * 16383, "0.000001", "1e10", None],
    "numeric(10,2)": ["0", "0.01", "-0.01", "12345678.90", "-99999999.99", "NaN", "100", None],
    "numeric(5)": ["0", "99999", "-99999", "NaN", None],
    "numeric(1000,500)": ["1." + "9" * 499, "-" + "9" * 499 + ".5", "NaN"],
    "numeric(30,20)": ["1234567890.12345678901234567890", "-0.00000000000000000001", "NaN"],
    "text": ["", "a", " ", "NULL", "null", "\\N", "\\.", "\\", "\t", "\n", "\r\n", "\x01\x7f\x1b",
             "tab\tquote\"'", "ü", "日本語", "\U0001f600", "e\u0301", "\ufeff", "x" * 255, "x" * 256,
             "x" * 100_000, "ü" * 128, "n", "t", "u", "\\\\N", "ends with \\", "\u2028\u0085", None],
    "varchar": ["", "abc", None],
    "varchar(5)": ["abcde", " a "],
    "char(5)": ["", "a", "abcde", " a", None],
    "char": ["", "x"],
    "bpchar": ["a  ", ""],
    '"char"': ["", "x", "ü", None],
    "name": ["", "a_name", "n" * 63],
    "bytea": ["", "\\x00", "\\xdeadbeef", "\\x" + "00ff" * 1000, "\\x5c", None],
    "date": ["0001-01-01", "9999-12-31", "1970-01-01", "1969-12-31", "2000-02-29", "10000-01-01",
             "5874897-12-31", "4714-11-24 BC", "0001-12-31 BC", "infinity", "-infinity", None],
    "time": ["00:00:00", "23:59:59.999999", "12:34:56.7", "24:00:00", "00:00:00.000001", None],
    "time(3)": ["12:34:56.7891", "23:59:59.9999"],
    "timestamp": ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1970-01-01 00:00:00",
                  "1969-12-31 23:59:59.999999", "2024-02-29 12:34:56.789", "10000-01-01 00:00:00",
                  "294276-12-31 23:59:59.999999", "4714-11-24 00:00:00 BC", "0044-03-15 12:00:00.5 BC",
                  "infinity", "-infinity", None],
    "timestamp(0)": ["2024-02-29 12:34:56.789"],
    "timestamptz": ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00", "1970-01-01 00:00:00+00",
                    "1969-12-31 23:59:59.999999+00", "2024-02-29 12:34:56.789+02", "10000-01-01 00:00:00+00",
                    "294276-12-31 23:59:59.999999+00", "4714-11-24 00:00:00+00 BC",
                    "0044-03-15 12:00:00.5+00 BC", "infinity", "-infinity",
                    "2024-01-01 00:00:00-15:59", None],
    "timestamptz(3)": ["2024-02-29 12:34:56.7894+02"],
    "timetz": ["12:34:56.789+02", "24:00:00-15:59", "00:00:00+00"],
    "interval": ["0", "1 year", "-1 year", "1 mon", "13 mons", "-13 mons", "1 day", "-1 day", "1 second",
                 "-00:00:01", "00:00:00.000001", "-00:00:00.000001", "1 year -2 mons 3 days -04:05:06.789",
                 "-1 mons +3 days", "178000000 years", "-178000000 years", "2147483647 days",
                 "1 day -00:00:00.5", "-1 day +02:00:00", "11 mons", "-11 mons", "1 year 1 mon",
                 "9223372036854.775807 seconds", "-9223372036854.775808 seconds",
                 "2562047788:00:54.775807", None],
    "interval year to month": ["1 year 2 mons"],
    "interval second(2)": ["12.345 seconds"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", None],
    "json": ['{"b": 1,  "a": "\\u00fc\\n"}', "null", '"x"', "[1,2]", None],
    "jsonb": ['{"b": 1,  "a": "\\u00fc\\n"}', "null", "1.10", '{"k": "\\\\N"}', None],
    "xml": ["<a>ü</a>", None],
    "bit(3)": ["101", "000"],
    "bit": ["1"],
    "varbit": ["", "1" * 100, None],
    "varbit(9)": ["10"],
    "money": ["-1.50", "92233720368547758.07", None],
    "inet": ["127.0.0.1", "10.0.0.0/8", "::1", "::/0"],
    "cidr": ["10.0.0.0/8", "10.1.2.3/32", "::/0"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "tsvector": ["'a':1A 'it''s' 'b\\\\c'"],
    "tsquery": ["'a' & !'b'"],
    "point": ["(1,2)", "(NaN,Infinity)", "(0.1,-0)"],
    "line": ["{1,2,3}"],
    "lseg": ["[(1,2),(3,4)]"],
    "box": ["(3,4),(1,2)"],
    "path": ["((1,2),(3,4))", "[(1,2)]"],
    "polygon": ["((1,2),(3,4))"],
    "circle": ["<(1,2),3>"],
    "int4range": ["empty", "[1,10)", "(,)", None],
    "int8range": ["[1,)"],
    "numrange": ["[1.10,2.20]", "[NaN,]"],
    "tsrange": ['["2024-01-01 00:00:00",infinity)'],
    "tstzrange": ['["2024-01-01 00:00:00+00",)', '["0044-03-15 00:00:00+00 BC",infinity)', "empty"],
    "daterange": ["[2024-01-01,2024-02-01)"],
    "floatrange": ["[0.1,0.30000000000000004]"],
    "int4multirange": ["{}", "{[1,2),[5,6)}", None],
    "nummultirange": ["{[1.1,2.2],(3,)}"],
    "tstzmultirange": ['{["2024-01-01 00:00:00+00",)}'],
    "datemultirange": ["{[2024-01-01,2024-02-01)}"],
    "int2vector": ["", "1 2 -3"],
    "oidvector": ["", "1 2 4294967295"],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "pg_snapshot": ["10:20:10,14"],
    "txid_snapshot": ["10:20:10,14"],
    "jsonpath": ["$.\"a\"[*]?(@ > 1)"],
    "tid": ["(0,1)"],
    "regclass": ["pg_class", "t0"],
    "regtype": ["integer"],
    "regproc": ["pg_backend_pid"],
    "regnamespace": ["pg_catalog"],
    "regrole": ["postgres"],
    "aclitem": ["postgres=r/postgres"],
    "refcursor": ["c1"],
    "mood": ["sad", "it's \"odd\"", "übel", "comma, brace}", "NULL", None],
    "other.mood": ["low", "high"],
    'other."Odd Name"': ["a"],
    "other.label": ["abc", None],
    "positive": ["1.5", "999999999.999", None],
    "small": ["1.5"],
    "moods": ["{sad,NULL}", None],
    "ints": ["{1,2}", "{{1},{2}}"],
    "pair": ["(1,a)", '(,"x y\\\\")', '(1,"")', "(,)", None],
    "nested": ['("(1,a)","{sad,ok}")'],
    '"MiXed"': ["(1)"],
    "hstore": ['"a"=>"1", "b"=>NULL, "q\\"uote"=>"back\\\\slash"', "", None],
    "citext": ["MiXed", "", None],
    "ltree": ["Top.Science", ""],
    "lquery": ["*.a{1,2}.!b"],
    "ltxtquery": ["a & b*"],
    "vector": ["[1,2,3]", "[0.1]", None],
    "vector(3)": ["[1,2.5,-3]"],
    "halfvec(2)": ["[1,2.5]"],
    "sparsevec(5)": ["{1:1,3:2}/5"],
    "cube": ["(1, 2),(3, 4)"],
    "seg": ["1 .. 2", "~6.5"],
    "isbn": ["978-0-393-04002-9"],
    "boolean[]": ["{t,f,NULL}"],
    "integer[]": ["{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[0:1]={7,8}", "[-2:-2][1:2]={{1,2}}", None],
    "bigint[][]": ["{{1,2},{3,NULL}}", "{1}"],
    "numeric[]": ["{1.20,NaN,NULL,-3}"],
    "numeric(10,2)[]": ["{1.20,NaN,3}"],
    "real[]": ["{0.1,NaN,NULL}"],
    "double precision[]": ["{0.1,-Infinity,NULL}"],
    "text[]": ['{a,"",NULL,"NULL","null","a,b","a\\"b","a\\\\b","{x}"," lead","trail ","\t","\n","ü"}',
               '{"{{"}', '{"[1:2]={3}"}', '{"\\\\N"}', '{";"}', "{a;b}"],
    "varchar(3)[]": ["{abc,NULL}"],
    "char(3)[]": ['{"a","abc"}'],
    "bytea[]": ['{"\\\\x00ff",NULL,"\\\\x"}'],
    "date[]": ["{2024-01-01,infinity,NULL,\"0044-03-15 BC\"}"],
    "time[]": ["{12:00:00,24:00:00}"],
    "timestamp[]": ['{"2024-01-01 00:00:00",infinity}'],
    "timestamptz[]": ['{"2024-01-01 00:00:00.5+00",NULL}'],
    "interval[]": ['{"1 day","-1 mons +00:00:01"}'],
    "uuid[]": ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"],
    "jsonb[]": ['{"{\\"a\\": [1, 2]}",null,"null"}'],
    "inet[]": ["{10.0.0.1,::1}"],
    "box[]": ["{(3,4),(1,2);(1,1),(0,0)}", "{NULL;(1,1),(0,0)}", "{{(1,1),(0,0)};{(1,1),(0,0)}}"],
    "point[]": ['{"(1,2)",NULL}'],
    "bit(2)[]": ["{01,11}"],
    "mood[]": ['{sad,"comma, brace}","it\'s \\"odd\\"",NULL,"NULL"}'],
    "pair[]": ['{"(1,\\"a b\\")",NULL,"(,)"}'],
    "positive[]": ["{1.5,NULL}"],
    "moods[]": ['{"{sad,NULL}",NULL}'],
    "int4range[]": ['{"[1,2)",empty}'],
    "int4multirange[]": ['{"{[1,2)}","{}"}'],
    "hstore[]": ['{"\\"a\\"=>\\"1\\""}'],
    "citext[]": ["{A,b}"],
    "vector(3)[]": ['{"[1,2,3]"}'],
    "int2vector[]": ['{"1 2",NULL}'],
    "xid8[]": ["{18446744073709551615}"],
}  # fmt: skip

#: Types and values that a server's version must have.
SINCE = {"interval": (170000, ["infinity", "-infinity"]), "numeric": (140000, ["Infinity", "-Infinity"]),
         "numeric(4,-3)": (150000, ["1234000", "-999", "0", "NaN"]),
         "numeric(3,6)": (150000, ["0.000999", "-0.000001", "NaN"]),
         "interval[]": (170000, ["{infinity}"])}  # fmt: skip


@pytest.mark.parametrize("type_name", [*CASES, *(name for name in SINCE if name not in CASES)])
def test_stream_and_copy_give_the_value_that_the_database_has(lab: Lab, type_name: str) -> None:
    values = list(CASES.get(type_name, []))
    since, more = SINCE.get(type_name, (0, []))
    if lab.version >= since:
        values += more
    if not values or not _exists(lab, type_name):
        pytest.skip("not in this version")
    try:
        read = lab.read(type_name, values)
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("not built into this server")
    assert len(read.stream) == len(values)
    check(read)


def _exists(lab: Lab, type_name: str) -> bool:
    return lab.execute("select to_regtype(%s) is not null", [type_name])[0][0]


def check(read: Read) -> None:
    """Stream equals copy, and both are what the database's text says."""
    for text, streamed, copied in zip(read.texts, read.stream, read.copied, strict=True):
        assert same(streamed, copied)
        if text is None:
            assert streamed is None
        else:
            agrees(read.type, text, streamed)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_built_in_types_are_as_the_server_has_them(request: pytest.FixtureRequest, provider: str) -> None:
    with psycopg.connect(request.getfixturevalue(provider).url()) as connection:
        found = connection.execute(
            "select oid::int8, typarray::int8, typname, format_type(oid, -1) from pg_type"
            " where oid < 10000 and typnamespace = 'pg_catalog'::regnamespace"
            " and typtype in ('b', 'r', 'm') and (typcategory <> 'A' or typname ~ 'vector$')"
        ).fetchall()
    ours = {oid: (oid, *rest) for oid, *rest in BUILTIN}
    # A newer server may have more, which are then read from its catalog; none may be another.
    assert [row for row in found if row[0] in ours and row != ours[row[0]]] == []
    assert {row[2] for row in found} >= {name for _, _, name, _ in BUILTIN}


MODIFIED = (
    "char", "char(7)", "bpchar", "varchar", "varchar(7)", "numeric", "numeric(10,2)", "numeric(5)",
    "time(0)", "time(6)", "timetz(3)", "timestamp(0)", "timestamptz(3)", "bit", "bit(7)", "varbit",
    "varbit(7)", "interval", "interval(0)", "interval year", "interval month", "interval day",
    "interval hour", "interval minute", "interval second", "interval second(3)",
    "interval year to month", "interval day to hour", "interval day to minute",
    "interval day to second", "interval day to second(2)", "interval hour to minute",
    "interval hour to second(1)", "interval minute to second", '"char"', "name", "int4[]",
    "numeric(10,2)[]", "varchar(3)[][]", "vector(3)", "vector(3)[]", "halfvec(7)", "mood", "mood[]",
    "other.mood", "other.mood[]", 'other."Odd Name"', '"MiXed"', "positive", "hstore", "int4range",
)  # fmt: skip


def test_types_are_spelled_as_the_server_spells_them(lab: Lab) -> None:
    names = [name for name in MODIFIED if _exists(lab, name)]
    if lab.version >= 150000:
        names += ["numeric(3,-2)", "numeric(2,5)", "numeric(1000,-1000)", "numeric(1,1000)"]
    columns = ", ".join(f"c{i} {name}" for i, name in enumerate(names))
    lab.execute(f"create table spelled ({columns})")
    rows = lab.execute(
        "select atttypid::int8, atttypmod, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = 'spelled'::regclass and attnum > 0 order by attnum"
    )
    lab.execute("drop table spelled")
    spelled = [lab.catalog.resolve(lab.connection, oid, typmod)[1] for oid, typmod, _ in rows]
    assert spelled == [spelling for _, _, spelling in rows]


def test_a_type_made_after_the_catalog_was_read_is_found(lab: Lab) -> None:
    lab.execute("create type late as enum ('a')")
    lab.execute("create domain later as late")
    assert lab.read("later[]", ["{a,NULL}"]).stream == [("a", None)]


def test_a_tables_row_type_is_native_and_so_is_a_domain_over_it(lab: Lab) -> None:
    lab.execute("create table as_type (x int, y text)")
    lab.execute("create domain over_it as as_type")
    for name in ("as_type", "over_it"):
        read = lab.read(name, ['(1,"a b")'])
        assert (str(read.type), read.stream) == ("native(as_type)", ['(1,"a b")'])
    assert lab.read("as_type[]", ['{"(1,a)"}']).stream == [("(1,a)",)]


def test_domains_of_the_information_schema_have_their_bases_type(lab: Lab) -> None:
    read = lab.read("information_schema.cardinal_number", ["1", None])
    assert (str(read.type), read.native) == ("int32", "information_schema.cardinal_number")
    assert read.stream == [1, None]


def test_a_type_that_is_gone_from_the_catalog_is_native(lab: Lab) -> None:
    type_, native = lab.catalog.resolve(lab.connection, 4_000_000_000, 7)
    assert (type_, native) == (LogicalType(Kind.NATIVE, name="oid 4000000000"), "oid 4000000000")


def test_a_label_added_later_is_unknown_until_the_catalog_is_read_again(lab: Lab) -> None:
    lab.execute("create type growing as enum ('b')")
    before = lab.read("growing", ["b"])
    lab.execute("alter type growing add value 'a' before 'b'")
    lab.execute("alter type growing add value 'c'")
    with pytest.raises(UnknownLabel) as raised:
        lab.read("growing", ["c"])
    assert raised.value.label == "c"
    assert "growing" in str(raised.value) and "'v'" in str(raised.value)
    lab.catalog.refresh(lab.connection)
    after = lab.read("growing", ["a", "b", "c"])
    assert (before.type.values, after.type.values) == (("b",), ("a", "b", "c"))
    assert after.stream == after.copied == ["a", "b", "c"]


def test_a_label_renamed_since_the_row_was_written_can_still_be_learned(lab: Lab) -> None:
    lab.execute("create type renamed as enum ('old', 'other')")
    table = lab.table("renamed[]")
    lab.messages()
    lab.execute(f"insert into {table} values (1, '{{old}}')")
    lab.execute("alter type renamed rename value 'old' to 'new'")
    relation, row = (data for data in lab.messages() if data[:1] in b"RI")
    message = pgoutput.parse(relation)
    assert isinstance(message, pgoutput.Relation)
    schema = lab.schema(message)
    assert schema.columns[1].type.item == LogicalType(Kind.ENUM, values=("new", "other"))
    # The stream speaks as of then, the catalog as of now.
    with pytest.raises(UnknownLabel) as raised:
        RelationDecoder(schema, [True, False]).insert(row, 0)
    learned = with_label(schema, raised.value)
    assert learned.columns[1].type.item == LogicalType(Kind.ENUM, values=("new", "other", "old"))
    assert RelationDecoder(learned, [True, False]).insert(row, 0) == (1, ("old",))
