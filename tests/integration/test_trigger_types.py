"""A trigger's image of a row decodes to the values that the log and a snapshot give, for every type."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import psycopg
import pymysql
import pytest

from connectors.mysql.native import TypeOptions
from connectors.mysql.text_rows import TextRows
from connectors.mysql.trigger_images import parse, payload
from liberator.event import Operation
from tests.fix_mysql import fresh_database as fresh_mysql
from tests.integration.test_mysql_types import CASES as MYSQL_CASES
from tests.integration.test_mysql_types import ONLY as MYSQL_ONLY
from tests.integration.test_postgres_types import CASES as POSTGRES_CASES
from tests.integration.test_postgres_types import SETUP
from tests.mysqllab import Lab as MysqlLab
from tests.triggers import Reading, make
from tests.typelab import EXTENSIONS, Lab
from tests.typetext import same


def test_on_postgres_the_image_is_what_the_log_says(database):
    url = database
    with closing(Lab(url, EXTENSIONS)) as lab:
        for statement in SETUP:
            lab.execute(statement)
        known = [t for t in POSTGRES_CASES if lab.execute("select to_regtype(%s) is not null", [t])[0][0]]
        tables = {}
        for type_name in known:
            try:
                tables[lab.table(type_name)] = type_name
            except psycopg.errors.FeatureNotSupported:
                continue
        # the change table must not be in the slot's stream
        lab.execute(f"drop publication p; create publication p for table {', '.join(tables)}")
        lab.messages()
        make(url, "public.t*").setup()
        logged = {}
        for table, type_name in tables.items():
            try:
                logged[table] = lab.read(type_name, POSTGRES_CASES[type_name]).stream
            except psycopg.errors.FeatureNotSupported:
                continue  # not built into this server
    found: dict[str, list] = {}
    with Reading(url, "public.t*", snapshot="none", batch=5000) as reading:
        for event in reading.read(60):
            if event.operation is Operation.CREATE:
                found.setdefault(event.schema.table, []).append(event.after)
    assert len(logged) > 100
    wrong = [
        tables[t] for t, values in logged.items() if not same(tuple(v for _, v in found[t]), tuple(values))
    ]
    assert not wrong


def test_on_postgres_a_writers_settings_do_not_show(database):
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(
            "create table t (id int primary key, d date, ts timestamp, tz timestamptz, i interval, f float8,"
            " r real, b bytea, x xml, a timestamptz[], g tstzrange, rc regclass)"
        )
        with Reading(database, "public.t") as reading:
            reading.read()
            for setting in (
                "datestyle = 'German, DMY'", "intervalstyle = 'iso_8601'", "timezone = 'Asia/Kathmandu'",
                "extra_float_digits = -10", "bytea_output = 'escape'", "search_path = ''",
                "lc_numeric = 'C'", "row_security = on",
            ):  # fmt: skip
                db.execute(f"set {setting}")
            db.execute(
                "insert into public.t values (1, '2024-02-03', '2024-02-03 04:05:06.7',"
                " '2024-02-03 04:05:06+00',"
                " '1 mon 2 days 3.5 s', 0.1::float8 + 0.2::float8, 0.1, '\\x00ff41', null,"
                " array['2024-01-01 00:00+00'::timestamptz], tstzrange('2024-01-01 00:00+00', null),"
                " 'public.t')"
            )
            (streamed,) = reading.read()
            reading.source.snapshot(1, ["public.t"])
            (read,) = reading.until(bool)
    assert read.operation is Operation.READ
    assert streamed.after == read.after
    assert streamed.schema == read.schema


@pytest.mark.parametrize("fixture", ["mysql", "mariadb"])
def test_on_mysql_and_mariadb_the_image_is_what_a_select_says(request, fixture):
    """Which is what the binlog says: see test_mysql_types."""
    for url in fresh_mysql(request.getfixturevalue(fixture)):
        with closing(MysqlLab(url, TypeOptions(zero_dates="string"))) as lab:
            cases = list((MYSQL_CASES | MYSQL_ONLY[fixture]).items())
            groups = [cases[i : i + WIDTH] for i in range(0, len(cases), WIDTH)]
            tables = {t: group for g in groups for t, group in mysql_tables(lab, g)}
            make(url, "*.t*").setup()
            lab.execute("set sql_mode = ''")
            wrong = [w for table, group in tables.items() for w in mysql_differences(lab, table, group)]
            assert not wrong, "\n".join(wrong)


#: How many types share a table.
WIDTH = 12


def mysql_tables(lab, group):
    """A table for these types; where they are too many for a row, one for each."""
    try:
        return [(lab.table(*(f"v{i} {name} null" for i, (name, _) in enumerate(group))), group)]
    except pymysql.Error:
        return [(lab.table(f"v0 {name}"), [(name, values)]) for name, values in group]


def mysql_differences(lab, table, group):
    """What images and select do not agree about. The writer's session is in another time zone."""
    lab.execute("delete from liberator_shop_changes")
    lab.execute("set time_zone = '+00:00'")
    for i, (_, values) in enumerate(group):
        rows = ", ".join(f"({value})" for value in values)
        lab.execute(f"insert into {table} (v{i}) values {rows}")
    lab.execute("set time_zone = '+05:45', character_set_results = latin1")
    lab.execute(f"update {table} set id = id + 1000 order by id desc")
    lab.execute("set time_zone = '+00:00', character_set_results = utf8mb4")
    images = lab.execute("select old, new from liberator_shop_changes where op = 'u' order by id desc")
    columns = lab.catalog(table)
    decode = TextRows(columns, lab.options).row
    rows = lab.select(table, columns)
    assert len(rows) == len(images) >= sum(len(values) for _, values in group)
    for (old, new), row in zip(images, rows, strict=True):
        was, now = (decode(payload(parse(image), columns)) for image in (old, new))
        for i, (name, _) in enumerate(group, 1):
            if not repr(was[i]) == repr(now[i]) == repr(row[i]):
                yield f"{name}: {was[i]!r} {now[i]!r} {row[i]!r}"[:300]


def test_in_sqlite_every_value_keeps_its_class(tmp_path):
    path = tmp_path / "types.db"
    url = f"sqlite:///{path}"
    values = [
        None, 0, -1, 2**63 - 1, -(2**63), 0.1 + 0.2, 1.0, -0.0, 1e308, float("inf"), "", "text",
        "nul\0inside", "ü€😀", "1.50", b"", b"\x00\xff", "2024-02-29 12:34:56.789", "2024-02-29", "true",
        1e-7, 12345678901234567,
    ]  # fmt: skip
    natives = [
        "integer", "real", "text", "blob", "numeric", "", "decimal(10,2)", "boolean", "date", "timestamp",
        "json",
        "varchar(5)",
    ]  # fmt: skip
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for number, native in enumerate(natives):
            db.execute(f"create table t{number} (id integer primary key, v {native})")
        make(url, "t*").setup()
        rows = 0
        with Reading(url, "t*", batch=500) as reading:
            reading.read()
            for number in range(len(natives)):
                db.executemany(f"insert into t{number} (v) values (?)", [(v,) for v in values])
            failed = []
            for number, native in enumerate(natives):
                # values that the declared type has no place for are refused, in image and snapshot alike
                for (identity,) in db.execute(f"select id from t{number}").fetchall():
                    if not decodable(native, db.execute(f"select v from t{number} where id = {identity}")):
                        db.execute("delete from liberator_shop_changes where version = ? and n0 = ?",
                                   (version(db, number), identity))  # fmt: skip
                        db.execute(f"drop trigger if exists {trigger(db, number)}")
                        db.execute(f"delete from t{number} where id = {identity}")
            reading.source._shaped = 0.0
            streamed = [e for e in reading.read() if e.operation is Operation.CREATE]
            images = {(e.topic, e.after[0]): e.after[1] for e in streamed}
            reading.source.snapshot(1, ["main.t*"])
            again = reading.read()
            read = {(e.topic, e.after[0]): e.after[1] for e in again if e.operation is Operation.READ}
            rows = len(read)
        assert not failed
        assert rows > 150
        different = [k for k in read if repr(read[k]) != repr(images[k])]
        assert not different


def decodable(native, cursor):
    from connectors.sqlite import values
    from liberator.errors import DecodeError
    from liberator.schema import Column

    (value,) = cursor.fetchone()
    decode = values.decoder(Column("v", values.logical(native), native=native))
    try:
        if decode is not None and value is not None:
            decode(value)
    except DecodeError:
        return False
    return True


def version(db, number):
    (found,) = db.execute(
        "select max(id) from liberator_shop_versions where relation = ?", [f"t{number}"]
    ).fetchone()
    return found


def trigger(db, number):
    names = [
        name
        for (name,) in db.execute("select name from sqlite_master where type = 'trigger' and tbl_name = ?",
                                  [f"t{number}"])
        if re.search(r"_delete$", name)
    ]  # fmt: skip
    return f'"{names[0]}"' if names else '"none"'
