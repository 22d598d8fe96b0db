"""Every type of a real MySQL and MariaDB, through the binlog and through a select: equal, and what the
server says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.mysql.native import TypeOptions
from liberator.errors import DecodeError
from liberator.schema import Kind
from tests.fix_mysql import fresh_database
from tests.mysqllab import Lab, Read
from tests.mysqltext import agrees

PROVIDERS = ("mysql", "mariadb")


NULL = "null"
CASES: dict[str, list[str]] = {
    "tinyint": ["-128", "0", "127", NULL],
    "tinyint unsigned": ["0", "255"],
    "tinyint(1)": ["0", "1", "-5", NULL],
    "bool": ["true", "false"],
    "smallint": ["-32768", "32767", NULL],
    "smallint unsigned": ["65535"],
    "mediumint": ["-8388608", "-1", "8388607", NULL],
    "mediumint unsigned": ["0", "16777215"],
    "int": ["-2147483648", "2147483647", NULL],
    "int unsigned": ["0", "4294967295"],
    "int(7) zerofill": ["42", "0"],
    "bigint(20) zerofill": ["0", "18446744073709551615"],
    "bigint": ["-9223372036854775808", "9223372036854775807", NULL],
    "bigint unsigned": ["0", "18446744073709551615", NULL],
    "decimal(12,2)": ["0", "0.01", "-0.01", "9999999999.99", "-9999999999.99", "-1000000000",
                      "123456789.12", NULL],
    "decimal(5)": ["0", "-99999", "99999"],
    "decimal(65,30)": ["-" + "9" * 35 + "." + "9" * 30, "0." + "0" * 29 + "1", "1"],
    "decimal(65)": ["9" * 65],
    "decimal(30,30)": ["0." + "9" * 30, "-0." + "0" * 29 + "1"],
    "decimal(9,9)": ["-0.999999999", "0.000000001"],
    "decimal(18,9)": ["-999999999.999999999", "1.5"],
    "decimal(10,4) unsigned zerofill": ["1.5"],
    **{f"decimal({p},{s})": ["0", "9" * (p - s) + "." + "9" * s if s else "9" * p,
                             "-" + "9" * (p - s) + "." + "9" * s if s else "-" + "9" * p]
       for p in range(1, 20) for s in (1, 3, 5, 7) if s < p},
    "float": ["0", "-0e0", "1.5", "0.1", "3.4028234663852886e38", "1e-45", "16777216", "1.17549435e-38",
              "0.30000001", "123456.789", NULL],
    "float(7,2)": ["12345.67", "-0.1"],
    "float unsigned": ["0.1"],
    "float zerofill": ["0", "1.5"],
    "double": ["0", "-0e0", "0.1", "0.30000000000000004", "1.7976931348623157e308", "5e-324", "1e22",
               "123456789012345680", "-1.5e-10", "2.2250738585072014e-308", NULL],
    "double(10,3)": ["1234567.891"],
    "double zerofill": ["0", "0.5"],
    "bit": ["b'0'", "b'1'", NULL],
    "bit(9)": ["b'0'", "b'101010101'", "b'1'"],
    "bit(64)": ["b'" + "1" * 64 + "'", "b'1'", NULL],
    "year": ["1901", "2155", "2024", "0", NULL],
    "date": ["'1970-01-01'", "'0001-01-01'", "'9999-12-31'", "'2000-02-29'", "'0000-00-00'", "'2024-00-00'",
             "'2024-05-00'", "'0000-05-05'", NULL],
    **{f"datetime({n})": ["'1970-01-01 00:00:00'", "'2024-02-29 12:34:56.789012'",
                          "'9999-12-31 23:59:59.999'",
                          "'1000-01-01 00:00:00.000001'", "'0000-00-00 00:00:00'", "'2024-00-10 01:02:03.45'",
                          "'0000-03-04 05:06:07'", NULL] for n in range(7)},
    **{f"timestamp({n}) null": ["'1970-01-01 00:00:01'", "'2024-02-29 12:34:56.789012'",
                                "'2038-01-19 03:14:07'",
                                "'0000-00-00 00:00:00'", NULL] for n in range(7)},
    **{f"time({n})": ["'00:00:00'", "'23:59:59.999999'", "'838:59:59'", "'-838:59:59'", "'-00:00:00.5'",
                      "'-00:00:01'", "'24:00:00'", "'12:34:56.123456'", "'-12:34:56.123456'",
                      "'-00:00:00.000001'",
                      NULL] for n in range(7)},
    "char(5)": ["''", "'a'", "'abcde'", "'a '", "' a'", "'äöü'", NULL],
    "char(255) character set utf8mb4": ["repeat('x', 255)", "repeat('😀', 255)", "''"],
    "varchar(20)": ["''", "'a '", "'a\\\\b\\0\\n'", NULL],
    "varchar(300) character set utf8mb4": ["repeat('€', 300)", "repeat('a', 251)", "repeat('a', 250)", "'x'"],
    "varchar(63) character set utf8mb4": ["repeat('😀', 63)"],
    "varchar(64) character set utf8mb4": ["repeat('😀', 64)"],
    "tinytext": ["'abc'", "''", NULL],
    "text": ["repeat('a', 65535)", "''"],
    "mediumtext": ["repeat('a', 70000)"],
    "longtext": ["repeat('a', 70000)", "'z'", NULL],
    "binary(4)": ["'a'", "x'61000000'", "x'00000000'", "x'00ff0001'", NULL],
    "binary": ["x'00'"],
    "varbinary(10)": ["x'6100'", "''", "x'ff00fe'", NULL],
    "tinyblob": ["x'00'", "''"],
    "blob": ["repeat(x'ff', 300)", NULL],
    "mediumblob": ["repeat(x'00', 70000)"],
    "longblob": ["x'fb'", "repeat(x'fe', 260)"],
    "enum('a','b','c,d','it''s','','ü','x\\\\y')": ["'a'", "'c,d'", "'it''s'", "'ü'", "'nope'", "0", "5",
                                                    NULL, "7"],
    "enum(" + ",".join(f"'l{i}'" for i in range(300)) + ")": ["'l0'", "'l299'", "0"],
    "set('a','b','ü')": ["''", "'a'", "'b,a'", "'a,b,ü'", "'nope'", NULL],
    "set(" + ",".join(f"'s{i}'" for i in range(64)) + ")": ["'s0,s63'", "''", "18446744073709551615"],
    "set(" + ",".join(f"'s{i}'" for i in range(20)) + ")": ["'s0,s19'"],
    "geometry": ["st_geomfromtext('point(1 2)')", "st_geomfromtext('linestring(0 0,1 1)', 4326)",
                 "st_geomfromtext('geometrycollection(point(1 1))')", NULL],
    "point": ["st_geomfromtext('point(-1.5 1e300)', 0)"],
    "multipolygon": ["st_geomfromtext('multipolygon(((0 0,0 1,1 1,0 0)))')"],
}  # fmt: skip
#: Types that only one of the two has.
ONLY: dict[str, dict[str, list[str]]] = {
    "mysql": {
        "json": ['\'{"b": 1, "a": [null, true, 1.5, "x", {}], "ü": "€"}\'', "'null'", "'[]'",
                 "'18446744073709551615'",
                 "cast(cast('2024-02-29 12:34:56.789' as datetime(6)) as json)", "cast(-1.50 as json)",
                 "cast(cast('12:34:56' as time) as json)", "cast(cast('-12:34:56.7' as time(1)) as json)",
                 "cast(x'00ff' as json)",
                 "json_array(repeat('x', 70000), 70000, -70000, 1)", "cast(1e15 as json)",
                 "cast(1e16 as json)",
                 "cast(0.1e0 as json)", "cast(1e0 as json)", "cast(-1e-15 as json)", "cast(1e-16 as json)",
                 NULL],
        "vector(3)": ["string_to_vector('[1,2.5,-3]')", "string_to_vector('[0.1]')", NULL],
        "point srid 4326": ["st_geomfromtext('point(10 20)', 4326)"],
    },
    "mariadb": {
        "uuid": ["'00112233-4455-1677-8899-AABBCCDDEEFF'", "'00112233-4455-4677-8899-aabbccdd0000'",
                 "'00000000-0000-0000-0000-000000000000'", NULL],
        "inet4": ["'1.2.3.4'", "'0.0.0.0'", "'10.0.0.0'", NULL],
        "inet6": ["'::'", "'::1'", "'2001:db8::'", "'1:0:0:2:0:0:0:3'", "'::ffff:1.2.3.4'", "'::1.2.3.4'",
                  "'1:2:3:4:5:6:7:8'", "'1:0:3:4:5:6:7:8'", "'0:0:1::'", "'::1:0:0'", "'1::8:0:0'",
                  "'::0.0.1.0'",
                  "'::1:2'", "'fe80::'", "'::ffff:0:0'", "'64:ff9b::1.2.3.4'", "'::5:1.2.3.4'", NULL],
        "varchar(100) compressed": ["''", "'abc'", "repeat('x', 100)", NULL],
        "varchar(1000) compressed": ["repeat('xy', 500)", "'a'"],
        "text compressed": ["repeat('y', 60000)", "''"],
        "longtext compressed": ["repeat('y', 70000)"],
        "blob compressed": ["repeat(x'00', 1000)", "x'00'", NULL],
        "varbinary(200) compressed": ["repeat(x'01', 200)"],
        "json": ['\'{"b":1,  "a":[]}\'', NULL],
        "varchar(20) character set utf8mb4 collate uca1400_ai_ci": ["'x'"],
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=PROVIDERS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    for url in fresh_database(request.getfixturevalue(request.param)):
        lab = Lab(url, TypeOptions(zero_dates="string"))
        yield lab
        lab.close()


def test_stream_and_select_give_the_values_that_the_server_has(lab: Lab) -> None:
    cases = CASES | ONLY["mariadb" if lab.mariadb else "mysql"]
    wrong = {}
    for type_name, read in lab.read_all(cases).items():
        try:
            check(read)
        except AssertionError as exc:
            wrong[type_name[:60]] = (
                f"{read.column} {read.mapped} {read.texts} {read.stream} {read.selected} {exc}"[:900]
            )
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())


def check(read: Read) -> None:
    """Stream equals select, and both are what the server's text says; map and catalog agree."""
    for text, streamed, selected in zip(read.texts, read.stream, read.selected, strict=True):
        assert repr(streamed) == repr(selected)
        if text is None:
            assert streamed is None
        else:
            agrees(read.column.type, text, streamed)
    if read.column.type.kind in (Kind.UUID, Kind.NATIVE) or (
        read.column.native == "json" != read.mapped.native
    ):
        return  # what only the catalog knows
    assert read.mapped.type == read.column.type
    assert read.mapped.nullable == read.column.nullable
    if "(7,2)" not in read.column.native and "(10,3)" not in read.column.native:
        assert read.mapped.native == read.column.native.replace("tinyint(1)", "tinyint")


def test_zero_dates_become_null_or_an_error_as_the_user_says(lab: Lab) -> None:
    for zero_dates in ("null", "error"):
        other = Lab(lab.url, TypeOptions(zero_dates=zero_dates))
        for type_name, value in (
            ("date", "'0000-00-00'"), ("date", "'2024-00-01'"), ("datetime(3)", "'2024-01-00 10:00:00'"),
            ("timestamp(2) null", "0"), ("datetime", "0"), ("timestamp(6) null", "0"),
        ):  # fmt: skip
            if zero_dates == "null":
                read = other.read(f"{type_name}", [value])
                assert read.stream == read.selected == [None]
                assert read.column.nullable and read.mapped.nullable
                continue
            table = other.table(f"v {type_name}")
            mark = other.mark()
            other.execute(f"insert ignore into {table} (v) values ({value})")
            with pytest.raises(DecodeError, match="a zero date in column 'v'"):
                list(other.changes(mark))
            for select in (other.printed, other.prepared):
                with pytest.raises(DecodeError, match="a zero date in column 'v'"):
                    select(table, other.catalog(table))
        other.close()


def test_a_tinyint_of_one_digit_is_a_bool_if_the_user_says_so(lab: Lab) -> None:
    other = Lab(lab.url, TypeOptions(tinyint1="bool"))
    read = other.read("tinyint(1)", ["0", "1", "-3", "null"])
    assert read.stream == read.selected == [False, True, True, None]
    assert (read.column.type.kind, read.column.native) == (Kind.BOOL, "tinyint(1)")
    assert other.read("tinyint", ["1"]).stream == [1]
    other.close()
