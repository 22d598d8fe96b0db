"""What a real server sends for a real change, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.postgres.wal import pgoutput
from connectors.postgres.wal.rows import RelationDecoder
from connectors.postgres.wal.tuples import KEY, OLD
from liberator.event import ABSENT
from tests.fix_postgres import fresh_database
from tests.typelab import Lab

#: Too long to be stored in line, and not to be compressed below that.
LONG = "(select string_agg(md5(g::text), '') from generate_series(1, 500) g)"


@pytest.fixture(params=["postgres", "postgres15"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    for url in fresh_database(request.getfixturevalue(request.param)):
        lab = Lab(url)
        yield lab
        lab.close()


def changes(lab: Lab) -> list[Any]:
    """Messages but for begin, commit and types; rows as the relation's decoder gives them."""
    out: list[Any] = []
    decoders: dict[int, RelationDecoder] = {}
    for data in lab.messages():
        kind = data[:1].decode()
        if kind in "IUD":
            decoder = decoders[pgoutput.relation_oid(data, 1)[0]]
            function = {"I": decoder.insert, "U": decoder.update, "D": decoder.delete}[kind]
            out.append((kind, function(data, 0)))
            continue
        message = pgoutput.parse(data)
        if isinstance(message, pgoutput.Relation):
            decoders[message.oid] = RelationDecoder(lab.schema(message), [c.key for c in message.columns])
        if not isinstance(message, pgoutput.Begin | pgoutput.Commit | pgoutput.Type):
            out.append(message)
    return out


def rows(lab: Lab) -> list[Any]:
    return [change for change in changes(lab) if isinstance(change, tuple)]


def test_inserts_updates_and_deletes_under_the_primary_key(lab: Lab) -> None:
    lab.execute("create table t (a int, b text, c text, primary key (a, c))")
    lab.execute("insert into t values (1, 'x', 'k'), (2, null, '')")
    lab.execute("update t set b = 'y' where a = 1")
    lab.execute("update t set a = 3 where a = 1")
    lab.execute("delete from t where a = 2")
    assert rows(lab) == [
        ("I", (1, "x", "k")),
        ("I", (2, None, "")),
        ("U", (None, (1, "y", "k"), None)),
        ("U", ((1, ABSENT, "k"), (3, "y", "k"), KEY)),
        ("D", ((2, ABSENT, ""), KEY)),
    ]


def test_the_whole_old_row_under_replica_identity_full(lab: Lab) -> None:
    lab.execute("create table t (a int primary key, b text, c text)")
    lab.execute("alter table t replica identity full")
    lab.execute("insert into t values (1, 'x', null)")
    lab.execute("update t set b = null where a = 1")
    lab.execute("delete from t where a = 1")
    assert rows(lab) == [
        ("I", (1, "x", None)),
        ("U", ((1, "x", None), (1, None, None), OLD)),
        ("D", ((1, None, None), OLD)),
    ]


def test_the_columns_of_a_chosen_index(lab: Lab) -> None:
    lab.execute("create table t (a int primary key, b text not null unique, c text)")
    lab.execute("alter table t replica identity using index t_b_key")
    lab.execute("insert into t values (1, 'x', 'y')")
    lab.execute("update t set b = 'z'")
    lab.execute("delete from t")
    assert rows(lab)[1:] == [
        ("U", ((ABSENT, "x", ABSENT), (1, "z", "y"), KEY)),
        ("D", ((ABSENT, "z", ABSENT), KEY)),
    ]


def test_unchanged_toast_is_absent_unless_the_old_row_holds_it(lab: Lab) -> None:
    lab.execute("create table t (a int primary key, long text, b int)")
    lab.execute("alter table t alter long set storage external")
    lab.execute(f"insert into t values (1, {LONG}, 1)")
    [(_, (_, long, _))] = rows(lab)
    assert len(long) == 16_000
    lab.execute("update t set b = 2")
    lab.execute("update t set a = 7")
    lab.execute("alter table t replica identity full")
    lab.execute("update t set b = 3")
    assert rows(lab) == [
        ("U", (None, (1, ABSENT, 2), None)),
        ("U", ((1, ABSENT, ABSENT), (7, ABSENT, 2), KEY)),
        ("U", ((7, long, 2), (7, long, 3), OLD)),
    ]


def test_an_unchanged_toasted_key_is_known(lab: Lab) -> None:
    lab.execute("create table t (k text primary key, b int)")
    lab.execute("alter table t alter k set storage external")
    # Short enough for an index, long enough to be stored out of line.
    lab.execute("insert into t select string_agg(md5(g::text), ''), 1 from generate_series(1, 75) g")
    [(_, (key, _))] = rows(lab)
    assert len(key) == 2_400
    lab.execute("update t set b = 2")
    assert rows(lab) == [("U", ((key, ABSENT), (key, 2), KEY))]


def test_the_relation_is_sent_again_when_the_table_has_changed(lab: Lab) -> None:
    lab.execute("create table t (a int primary key, b text)")
    lab.execute("insert into t values (1, 'x')")
    lab.execute("alter table t add c numeric(5,1) default 2.5, drop b")
    lab.execute("update t set a = 2")
    lab.execute("alter table t alter c type text, alter a type int8")
    lab.execute("update t set a = 3")
    found = changes(lab)
    relations = [m for m in found if isinstance(m, pgoutput.Relation)]
    assert [[c.name for c in r.columns] for r in relations] == [["a", "b"], ["a", "c"], ["a", "c"]]
    assert [m for m in found if isinstance(m, tuple)] == [
        ("I", (1, "x")),
        ("U", ((1, ABSENT), (2, 25), KEY)),
        ("U", ((2, ABSENT), (3, "2.5"), KEY)),
    ]


def test_truncate_names_every_table_and_its_options(lab: Lab) -> None:
    lab.execute("create table parent (a int primary key)")
    lab.execute("create table child (a int references parent)")
    lab.execute("insert into parent values (1)")
    lab.execute("insert into child values (1)")
    changes(lab)
    lab.execute("truncate parent cascade")
    lab.execute("truncate child restart identity")
    oids = dict(lab.execute("select relname, oid::int8 from pg_class"))
    assert [m for m in changes(lab) if isinstance(m, pgoutput.Truncate)] == [
        pgoutput.Truncate((oids["parent"], oids["child"]), True, False),
        pgoutput.Truncate((oids["child"],), False, True),
    ]


def test_logical_messages_come_with_prefix_and_content(lab: Lab) -> None:
    # One outside of transactions is flushed with the next commit only.
    lab.execute("select pg_logical_emit_message(false, '', 'ü')")
    lab.execute("select pg_logical_emit_message(true, 'outbox', '\\x00ff74000000'::bytea)")
    messages = [m for m in changes(lab) if isinstance(m, pgoutput.Message)]
    assert [(m.transactional, m.prefix, m.content) for m in messages] == [
        (False, "", "ü".encode()),
        (True, "outbox", b"\x00\xfft\0\0\0"),
    ]
    assert all(m.lsn > 0 for m in messages)


def test_the_origin_of_a_transaction_is_told(lab: Lab) -> None:
    lab.execute("create table t (a int primary key)")
    name = lab.execute("select 'node ' || current_database()")[0][0]
    lab.execute("select pg_replication_origin_create(%s)", [name])
    lab.execute("select pg_replication_origin_session_setup(%s)", [name])
    lab.execute("begin")
    lab.execute("select pg_replication_origin_xact_setup('1/2345', '2024-01-01 00:00:00+00')")
    lab.execute("insert into t values (1)")
    lab.execute("commit")
    found = changes(lab)
    lab.execute("select pg_replication_origin_session_reset()")
    lab.execute("select pg_replication_origin_drop(%s)", [name])
    assert [m for m in found if isinstance(m, pgoutput.Origin)] == [pgoutput.Origin(0x100002345, name)]


def test_begin_and_commit_agree_with_the_servers_clock_and_positions(lab: Lab) -> None:
    lab.execute("create table t (a int primary key)")
    [(before,)] = lab.execute("select (extract(epoch from clock_timestamp()) * 1000000)::int8")
    lab.execute("insert into t values (1)")
    [(after, xid)] = lab.execute(
        "select (extract(epoch from clock_timestamp()) * 1000000)::int8, (select xmin::text::int8 from t)"
    )
    messages = [pgoutput.parse(data) for data in lab.messages() if data[:1] in b"BC"]
    begin = [m for m in messages if isinstance(m, pgoutput.Begin)][-1]
    commit = [m for m in messages if isinstance(m, pgoutput.Commit)][-1]
    assert begin.xid == xid
    assert before <= begin.timestamp == commit.timestamp <= after
    assert begin.final_lsn == commit.commit_lsn < commit.end_lsn


def test_hostile_names_of_tables_columns_and_types(lab: Lab) -> None:
    names = ['"', "'; drop table x; --", "a\\b\nc\td", "ü日本語\U0001f600", "select", "n" * 63, "{}", " "]
    for number, name in enumerate(names):
        quoted = '"' + name.replace('"', '""') + '"'
        # A table has a type of its name: they need two schemas.
        lab.execute(f"create schema {quoted}")
        lab.execute(f"create schema types{number}")
        lab.execute(f"create type types{number}.{quoted} as enum ({_literal(name)}, 'ok')")
        lab.execute(f"create table {quoted}.{quoted} ({quoted} types{number}.{quoted} primary key)")
        lab.execute(f"insert into {quoted}.{quoted} values ({_literal(name)})")
        found = changes(lab)
        relation = next(m for m in found if isinstance(m, pgoutput.Relation))
        assert (relation.namespace, relation.name, relation.columns[0].name) == (name, name, name), number
        assert [m for m in found if isinstance(m, tuple)] == [("I", (name,))]
        column = lab.schema(relation).columns[0]
        [(spelled,)] = lab.execute(
            "select format_type(atttypid, atttypmod) from pg_attribute where attnum = 1 and attrelid = %s",
            [relation.oid],
        )
        assert column.native == spelled


def _literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
