"""What statements of the binlog do to which tables."""

from __future__ import annotations

import pytest

from connectors.mysql.wire.statements import Act, Statement, understand
from liberator.errors import DecodeError

T, U = ("d", "t"), ("d", "u")


def said(act, *tables, **more):
    return Statement(act, tables, **more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BEGIN", said(Act.BEGIN)),
        ("start transaction with consistent snapshot", said(Act.BEGIN)),
        ("start slave", said(Act.OTHER)),
        (" \n COMMIT", said(Act.COMMIT)),
        ("ROLLBACK", said(Act.ROLLBACK)),
        ("rollback work", said(Act.ROLLBACK)),
        ("ROLLBACK TO `s`", said(Act.ROLLBACK_TO)),
        ("rollback work to savepoint s", said(Act.ROLLBACK_TO)),
        ("SAVEPOINT `s`", said(Act.SAVEPOINT)),
        ("release savepoint s", said(Act.SAVEPOINT)),
        ("XA START X'61',X'',1", said(Act.XA)),
        ("", said(Act.OTHER)),
        ("# Dummy event replacing event type 160 that slave cannot handle.", said(Act.OTHER)),
        ("flush privileges", said(Act.OTHER)),
        ("grant select on t to u", said(Act.OTHER)),
        ("analyze table t", said(Act.OTHER)),
        ("DO RELEASE_LOCK('x')", said(Act.OTHER)),
        ("set password for u = 'x'", said(Act.OTHER)),
    ],
)
def test_what_frames_or_does_not_touch_rows(text, expected):
    assert understand(text, "d") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("create table t (a int)", said(Act.CREATE_TABLE, T)),
        ("CREATE TABLE IF NOT EXISTS `x`.`t``1` (a int)", said(Act.CREATE_TABLE, ("x", "t`1"))),
        ("create or replace table t(a int)", said(Act.CREATE_TABLE, T, replaces=True)),
        ("create or replace table t select 1", said(Act.CREATE_TABLE_AS, T, replaces=True)),
        ("create temporary table t(a int)", said(Act.CREATE_TABLE, T, temporary=True)),
        ("create table t like u", said(Act.CREATE_TABLE, T)),
        ("create table t (like u)", said(Act.CREATE_TABLE, T)),
        ("create table t select * from u", said(Act.CREATE_TABLE_AS, T)),
        ("create table t as select 1", said(Act.CREATE_TABLE_AS, T)),
        ("create table t(a int) engine=innodb ignore as (select 1)", said(Act.CREATE_TABLE_AS, T)),
        ("create table t (select 1)", said(Act.CREATE_TABLE_AS, T)),
        ("create table t table u", said(Act.CREATE_TABLE_AS, T)),
        ("create table t (a int) engine=innodb values row(1)", said(Act.CREATE_TABLE_AS, T)),
        ("create table t with x as (select 1) select * from x", said(Act.CREATE_TABLE_AS, T)),
        ("create table t (a int) with system versioning", said(Act.CREATE_TABLE, T)),
        ("create table t (a int, b int generated always as (a + 1))", said(Act.CREATE_TABLE, T)),
        ("create table t (a int default (select_x(1))) comment='as select'", said(Act.CREATE_TABLE, T)),
        (
            "CREATE TABLE `t` (\n  `a` int DEFAULT NULL\n) START TRANSACTION",
            said(Act.CREATE_TABLE, T, opens=True),
        ),
        (
            "create table t (a int) partition by range(a) (partition p values less than (1))",
            said(Act.CREATE_TABLE, T),
        ),
        ("create unique index i using btree on t (a)", said(Act.ALTER_TABLE, T)),
        ("create index `on` on `x`.`t` (a)", said(Act.ALTER_TABLE, ("x", "t"))),
        ("drop index i on t", said(Act.ALTER_TABLE, T)),
        ("alter table t add column c int", said(Act.ALTER_TABLE, T)),
        ("ALTER ONLINE TABLE IF EXISTS t ADD c int", said(Act.ALTER_TABLE, T)),
        ("alter ignore table t add unique (a)", said(Act.ALTER_TABLE, T, silent=True)),
        ("alter table t rename u", said(Act.ALTER_TABLE, T, U, renamed=True)),
        ("alter table t add c int, rename to `u`", said(Act.ALTER_TABLE, T, U, renamed=True)),
        ("alter table t rename = x.u", said(Act.ALTER_TABLE, T, ("x", "u"), renamed=True)),
        (
            "alter table t rename column a to b, rename index i to j, rename key k to l",
            said(Act.ALTER_TABLE, T),
        ),
        (
            "alter table t add c varchar(9) default ', rename u' comment \"rename to x\"",
            said(Act.ALTER_TABLE, T),
        ),
        ("alter table t drop partition p1", said(Act.ALTER_TABLE, T, silent=True)),
        ("alter table t truncate partition all", said(Act.ALTER_TABLE, T, silent=True)),
        ("alter table t exchange partition p with table u", said(Act.ALTER_TABLE, T, U, silent=True)),
        ("alter table t import tablespace", said(Act.ALTER_TABLE, T, silent=True)),
        ("alter table t discard partition p tablespace", said(Act.ALTER_TABLE, T, silent=True)),
        ("alter table t convert partition p to table u", said(Act.ALTER_TABLE, T, U, silent=True)),
        ("alter table t convert table x.u to partition p", said(Act.ALTER_TABLE, T, ("x", "u"), silent=True)),
        ("alter table t convert to character set utf8mb4", said(Act.ALTER_TABLE, T)),
        ("alter table t reorganize partition p into (partition q)", said(Act.ALTER_TABLE, T)),
        ("alter table t add partition (partition p values less than (9))", said(Act.ALTER_TABLE, T)),
        ("drop table t", said(Act.DROP_TABLE, T)),
        ("DROP TABLE IF EXISTS `t`,`x`.`y` /* generated by server */", said(Act.DROP_TABLE, T, ("x", "y"))),
        ("DROP TEMPORARY TABLE IF EXISTS t", said(Act.DROP_TABLE, T, temporary=True)),
        ("drop tables t, u cascade", said(Act.DROP_TABLE, T, U)),
        ("rename table t to u", said(Act.RENAME_TABLE, T, U)),
        (
            "rename tables if exists t wait 5 to x.u, `a b` nowait to t",
            said(Act.RENAME_TABLE, T, ("x", "u"), ("d", "a b"), T),
        ),
        ("rename user a to b", said(Act.OTHER)),
        ("truncate t", said(Act.TRUNCATE_TABLE, T)),
        ("TRUNCATE TABLE `x` . `t`", said(Act.TRUNCATE_TABLE, ("x", "t"))),
        ("create database if not exists `x-y`", said(Act.CREATE_DATABASE, ("x-y", ""))),
        ("create schema x", said(Act.CREATE_DATABASE, ("x", ""))),
        ("drop database if exists x", said(Act.DROP_DATABASE, ("x", ""))),
        ("alter database x charset utf8mb4", said(Act.ALTER_DATABASE, ("x", ""))),
        ("alter schema default character set utf8mb4", said(Act.ALTER_DATABASE, ("d", ""))),
        (
            "create algorithm=undefined definer=`r`@`h` sql security definer view t as select 1",
            said(Act.OTHER),
        ),
        ("create or replace view t as select 1", said(Act.OTHER)),
        ("CREATE DEFINER=`r`@`%` TRIGGER x before insert on t for each row delete from u", said(Act.OTHER)),
        ("create procedure p() begin drop table t; end", said(Act.OTHER)),
        ("create user u", said(Act.OTHER)),
        ("drop view t", said(Act.OTHER)),
        ("alter view t as select 1", said(Act.OTHER)),
    ],
)
def test_changes_of_tables(text, expected):
    assert understand(text, "d") == expected


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("insert into t values (1)", [T]),
        ("INSERT LOW_PRIORITY IGNORE INTO `x`.`t`(a) select 1", [("x", "t")]),
        ("insert t set a = 1", [T]),
        ("replace into t values (1)", [T]),
        ("update t set a = 1", [T]),
        ("update low_priority ignore t set a = 1", [T]),
        ("update t as x set a = 1", []),
        ("update t, u set t.a = 1", []),
        ("delete from t", [T]),
        ("delete quick from t where a = 1", [T]),
        ("delete from t limit 1", [T]),
        ("delete t from t join u", []),
        ("delete from t, u using t join u", []),
        ("LOAD DATA LOCAL INFILE '/tmp/x' REPLACE INTO TABLE `t` fields terminated by ','", [T]),
        ("load xml infile 'x' into table t", [T]),
        ("call p(1)", []),
        ("SELECT `d`.`f`(1)", []),
        ("with x as (select 1) update t set a = 1", []),
        ("set statement max_statement_time=1, sort_buffer_size=9 for delete from t", [T]),
    ],
)
def test_rows_changed_by_a_statement(text, tables):
    assert understand(text, "d") == said(Act.DML, *tables)


@pytest.mark.parametrize(
    "text",
    [
        "/* a comment */ drop /* another */ table /**/ t",
        "-- a line\n# another\n--\n\t drop table t",
        "/*!50000 drop */ table t",
        "drop table /*!50701 if exists */ t",
        "/*M!100100 drop table */ t",
        "/*!drop table t*/",
        "drop table/**/t;",
        "drop table t -- the end",
        "drop table t # the end",
        "drop table t /* unfinished",
        "\0drop table t",
        "/* ApplicationName=DBeaver 24.0 - Main */ DROP TABLE t",
        "/* drop table u */drop table t",
    ],
)
def test_comments_are_passed_over_and_versioned_ones_read(text):
    assert understand(text, "d") == said(Act.DROP_TABLE, T)


def test_the_swaps_of_online_schema_changes_are_read():
    ghost = "rename /* gh-ost */ table `s`.`t` to `s`.`_t_del`, `s`.`_t_gho` to `s`.`t`"
    assert understand(ghost).tables == (("s", "t"), ("s", "_t_del"), ("s", "_t_gho"), ("s", "t"))
    percona = "RENAME TABLE `shop`.`orders` TO `shop`.`_orders_old`, `shop`.`_orders_new` TO `shop`.`orders`"
    assert understand(percona).act is Act.RENAME_TABLE
    assert understand("create /* gh-ost */ table `shop`.`_orders_gho` like `shop`.`orders`").tables == (
        ("shop", "_orders_gho"),
    )


def test_quotes_mean_what_the_sessions_mode_says():
    assert understand('drop table "t"', "d", ansi_quotes=True) == said(Act.DROP_TABLE, T)
    assert understand('drop table "x"."a""b"', "d", ansi_quotes=True).tables == (("x", 'a"b'),)
    with pytest.raises(DecodeError):
        understand('drop table "t"', "d")
    text = "alter table t comment 'a\\' , rename u"
    assert understand(text, "d", no_backslash_escapes=True).renamed
    text = "alter table t comment 'a\\', rename u'"
    assert not understand(text, "d").renamed


def test_names_need_not_be_ascii_nor_begin_with_a_letter():
    assert understand("drop table 1день, `名 前`.$_x", "d").tables == (("d", "1день"), ("名 前", "$_x"))


@pytest.mark.parametrize(
    "text",
    [
        "drop table",
        "truncate table ;",
        "rename table t",
        "alter table 'x' add c int",
        "create table",
        "rename table t to",
        "create index i",
        "drop table t, 'x'",
        "alter table t rename",
        "alter table t exchange partition p with u",
    ],
)
def test_a_head_that_cannot_be_read_is_an_error_and_quotes_nothing(text):
    with pytest.raises(DecodeError) as caught:
        understand(text, "d")
    assert "'x'" not in str(caught.value)


def test_reading_stops_at_the_head():
    values = "(" + "1," * 200_000
    assert understand(f"insert into t values {values}", "d").tables == (T,)
    assert understand("/*" * 50_000 + "drop table t") == said(Act.OTHER)
