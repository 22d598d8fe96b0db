"""What the outbox source does with tables: Debezium's, marked and cleaned ones, shared ones, wrong ones."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing, contextmanager

import psycopg
import pytest

from connectors.sql.outbox.rows import Known, pack, unpack
from connectors.sql.outbox.source import OutboxSource
from liberator.codec import Producer
from liberator.codec.avro import AvroCodec
from liberator.codec.decoder import RecordDecoder
from liberator.errors import ConfigError, PositionLost, SourceError
from liberator.log import Records
from liberator.message import Message
from liberator.outbox import Outbox, uuid7
from liberator.registry.memory import MemoryRegistry
from liberator.source import State
from tests.fix_mysql import connected

DEBEZIUM = {
    "postgresql": "create table outbox (id uuid primary key, aggregatetype varchar(255) not null,"
    " aggregateid varchar(255) not null, type varchar(255) not null, payload jsonb)",
    "mysql": "create table outbox (id char(36) primary key, aggregatetype varchar(255) not null,"
    " aggregateid varchar(255) not null, type varchar(255) not null, payload json)",
}
INSERT = (
    "insert into outbox (id, aggregatetype, aggregateid, type, payload)"
    " values (%s, 'order', %s, 'Placed', %s)"
)


@contextmanager
def opened(url, state=None, name="events", **options):
    config = OutboxSource.Config(type="outbox", url=url, **{"poll_interval": "20ms", **options})
    source = OutboxSource(name, config)
    try:
        source.open(state)
        yield source
    finally:
        source.close()


def drain(source, confirm=True):
    """The messages up to what is committed now, and the state behind them."""
    target = source.current()
    out = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        batch = source.read()
        out += [(event.topic, Message._make(event.after)) for event in batch.events]
        if confirm:
            source.confirm(batch.state.position)
        if not batch.open and source.reached(batch.state, target):
            return out, batch.state
    raise AssertionError("not there")


def publish(url, *ids, outbox=None, **event):
    with psycopg.connect(url) as db:
        for identity in ids:
            (outbox or Outbox()).publish(
                db,
                **{
                    "aggregate_type": "order",
                    "aggregate_id": identity,
                    "event_type": "E",
                    "payload": {},
                    **event,
                },
            )


def run(url, *statements):
    with psycopg.connect(url) as db:
        for statement in statements:
            db.execute(statement)


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
@pytest.mark.parametrize("options", [{"drain": "delete"}, {"capture": "log"}], ids=["polled", "log"])
def test_a_table_of_debeziums_works_as_it_is(request, kind, options):
    url = request.getfixturevalue("database" if kind == "postgresql" else "mysql_database")
    connect = psycopg.connect if kind == "postgresql" else lambda url: connected(url).thing
    with closing(connect(url)) as db:
        cursor = db.cursor()
        cursor.execute(DEBEZIUM[kind])
        ids = [uuid7() for _ in range(4)]
        cursor.execute(INSERT, [ids[0], "1", '{"n": 1}'])
        db.commit()
        with opened(url, topic="outbox.event.{aggregatetype}", **options) as source:
            found, _ = drain(source)
            cursor.execute(INSERT, [ids[1], "1", '{"n": 2}'])
            if options.get("capture") == "log":  # nothing of it ever stays in the table
                db.begin() if kind == "mysql" else db.commit()
                cursor.execute(INSERT, [ids[2], "2", '{"n": 3}'])
                cursor.execute("delete from outbox where id = %s", [ids[2]])
                cursor.execute("update outbox set type = 'Changed'")
            db.commit()
            found += drain(source)[0]
    expected = ids[:3] if options.get("capture") == "log" else ids[:2]
    assert [message.id for _, message in found] == expected
    assert {topic for topic, _ in found} == {"outbox.event.order"}
    assert [json.loads(m.payload)["n"] for _, m in found] == [1, 2, 3][: len(expected)]
    assert [(m.aggregate_type, m.aggregate_id, m.type) for _, m in found[:2]] == [
        ("order", "1", "Placed")
    ] * 2


def test_topic_headers_and_columns_are_as_the_options_say(database):
    run(
        database,
        "create table notes (no bigint generated always as identity primary key, uuid text, entity int,"
        " what text, body text, extra json, tenant text, goes_to text, sent timestamptz)",
        "insert into notes (uuid, entity, what, body, extra, tenant, goes_to)"
        """ values ('a', 7, 'Written', '{"b":  1}', '{"trace": "x", "n": 1}', 'acme', 'notes.eu')""",
    )
    columns = {"event_id": "uuid", "aggregate_id": "entity", "event_type": "what", "payload": "body"}
    columns |= {"headers": "extra", "published_at": "sent", "id": "no"}
    with opened(
        database, table="notes", columns=columns, headers={"tenant": "tenant"}, topic="{goes_to}"
    ) as s:
        ((topic, message),) = drain(s)[0]
    assert topic == "notes.eu"
    assert message == Message(
        "a", None, "7", "Written", None, '{"b":  1}', '{"trace":"x","n":"1","tenant":"acme"}', None
    )
    for wrong in ({"columns": {"payload": "nothing"}}, {"topic": "{nothing}"}, {"headers": {"x": "nothing"}}):
        given = {"table": "notes", "columns": columns, "topic": "t", **wrong}
        with pytest.raises(ConfigError, match="nothing"), opened(database, **given):
            pass


def test_a_table_that_cannot_be_drained_so_is_refused(database):
    run(database, DEBEZIUM["postgresql"])
    for drain_, hint in (("mark", "published_at"), ("cursor", "growing number")):
        with pytest.raises(ConfigError, match=hint), opened(database, drain=drain_):
            pass
    with pytest.raises(ConfigError, match="no table nowhere"), opened(database, table="nowhere"):
        pass
    run(database, "create table empty (id int)")
    with pytest.raises(ConfigError, match="no column for"), opened(database, table="empty"):
        pass


def test_numbers_of_which_a_session_has_some_in_stock_are_refused(database):
    """An event would come before the one of its aggregate that was published first."""
    run(database, Outbox().ddl("postgresql"), "alter sequence outbox_id_seq cache 10")
    for drain_ in ("mark", "delete", "cursor"):
        with (
            pytest.raises(SourceError, match="hands out 10 ids at once"),
            opened(database, drain=drain_, columns={"published_at": "created_at"}),
        ):
            pass


@pytest.mark.parametrize("drain_", ["delete", "cursor"])
def test_numbers_that_sqlite_gives_again_are_refused(tmp_path, drain_):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
        db.executescript(Outbox().ddl("sqlite", drain=drain_).replace("autoincrement", ""))
    with (
        pytest.raises(ConfigError, match="gives numbers of deleted rows again"),
        opened(f"sqlite:///{tmp_path / 'shop.db'}", drain=drain_),
    ):
        pass


@pytest.mark.parametrize("drain_", ["mark", "cursor"])
@pytest.mark.parametrize("kind", ["database", "mysql_database", "mariadb_database", "sqlite"])
def test_numbers_that_begin_again_are_a_lost_position(request, tmp_path, kind, drain_):
    """As in a database that was restored from a backup: a new event has the number of one that was read."""
    dialect = {"database": "postgresql", "sqlite": "sqlite"}.get(kind, "mysql")
    url = f"sqlite:///{tmp_path / 'shop.db'}" if kind == "sqlite" else request.getfixturevalue(kind)
    connect = {
        "postgresql": lambda: psycopg.connect(url),
        "mysql": lambda: connected(url).thing,
        "sqlite": lambda: sqlite3.connect(tmp_path / "shop.db"),
    }[dialect]
    restart = {
        "postgresql": "alter sequence outbox_id_seq restart",
        "mysql": "alter table outbox auto_increment = 1",
        "sqlite": "update sqlite_sequence set seq = 0",
    }[dialect]
    with closing(connect()) as db:
        if dialect == "mysql":
            db.autocommit(False)
        cursor = db.cursor()

        def event():
            Outbox().publish(db, aggregate_type="t", aggregate_id="1", event_type="E", payload={})
            db.commit()

        for statement in filter(str.strip, Outbox().ddl(dialect, drain=drain_).split(";\n")):
            cursor.execute(statement)
        event()
        event()
        with opened(url, drain=drain_) as source:
            found, state = drain(source, confirm=False)
        assert len(found) == 2
        cursor.execute("delete from outbox")
        db.commit()
        with opened(url, state, drain=drain_):
            pass  # that rows are gone says nothing
        cursor.execute(restart)
        event()
        with pytest.raises(PositionLost, match="numbers begin again"), opened(url, state, drain=drain_):
            pass
        with opened(url, source.recover(state), drain=drain_) as source:
            assert len(drain(source)[0]) == 1


def test_an_avro_event_goes_all_the_way(database):
    schema = {"type": "record", "name": "Placed", "fields": [{"name": "total", "type": "long"}]}
    outbox = Outbox(schemas={"Placed": schema})
    run(database, outbox.ddl("postgresql"))
    publish(database, "1", outbox=outbox, event_type="Placed", payload={"total": 5})
    registry, records = MemoryRegistry(), Records()
    with opened(database) as source:
        batch = source.read()
        AvroCodec(registry).encoder(Producer("events", "outbox", "1"))(batch.events, records)
    (version,) = registry.versions("order-Placed")
    assert json.loads(version.text) == schema
    assert records.values == [b"\0" + version.id.to_bytes(4, "big") + b"\x0a"]
    (event,) = RecordDecoder(registry).decode(records)
    assert Message._make(event.after).payload == '{"total":5}'


def test_a_logical_message_is_an_event_like_a_row(database):
    run(database, Outbox().ddl("postgresql", drain="log"))
    schema = {"type": "record", "name": "Avro", "fields": [{"name": "total", "type": "long"}]}
    publish(database, "before")
    with opened(database, capture="log", messages="shop.events") as source:
        found, state = drain(source)
    outbox = Outbox(transport="message", prefix="shop.events")
    publish(database, "1", outbox=outbox, payload={"a": "ä"}, headers={"trace": "x"})
    publish(database, "2")
    avro = Outbox(transport="message", prefix="shop.events", schemas={"Avro": schema})
    publish(database, "3", outbox=avro, event_type="Avro", payload={"total": 5})
    with opened(database, state, capture="log", messages="shop.events") as source:
        found += drain(source)[0]
    messages = [message for _, message in found]
    assert [m.aggregate_id for m in messages] == ["before", "1", "2", "3"]
    assert (messages[1].payload, messages[1].headers) == ('{"a":"ä"}', '{"trace":"x"}')
    assert messages[3].payload == b"\x0a"


def test_the_log_does_not_repeat_what_was_polled_and_marked(database):
    run(database, Outbox().ddl("postgresql"))
    publish(database, "polled")
    with opened(database) as source:
        assert len(drain(source)[0]) == 1
    publish(database, "waiting")
    with opened(database, capture="log") as source:
        assert [message.aggregate_id for _, message in drain(source)[0]] == ["waiting"]


def test_published_rows_are_deleted_after_their_time_and_no_others(database):
    run(database, Outbox().ddl("postgresql"))
    publish(database, *map(str, range(1500)))
    with opened(database, keep=3600) as source:
        drain(source)
        run(database, "update outbox set published_at = now() - interval '2 hours' where id % 3 = 0")
        publish(database, "fresh")
    with opened(database, keep=3600, part="1/1") as source:
        deadline = time.monotonic() + 30
        with psycopg.connect(database, autocommit=True) as db:
            # What is old is deleted, of the oldest thousand rows at a time.
            while db.execute("select count(*) from outbox where id % 3 = 0 and id <= 1000").fetchone()[0]:
                source.read()
                assert time.monotonic() < deadline
            assert db.execute("select count(*) from outbox where id % 3 > 0").fetchone() == (1001,)


def test_one_process_polls_and_parts_share_the_work(database):
    run(database, Outbox().ddl("postgresql"))
    publish(database, *(str(number % 100) for number in range(400)))
    with opened(database, name="first", part="1/2") as first:
        for other in ("1/2", "1/1", "2/3", "1/4"):
            with pytest.raises(SourceError, match="another process polls"), opened(database, part=other):
                pass
        with opened(database, name="second", part="2/2") as second:
            halves = [{m.aggregate_id for _, m in drain(source)[0]} for source in (first, second)]
    assert not halves[0] & halves[1]
    assert len(halves[0]) + len(halves[1]) == 100
    assert min(map(len, halves)) > 20
    with opened(database) as source:
        assert drain(source)[0] == []


def test_parts_share_the_work_on_mysql(mysqls_database):
    with connected(mysqls_database) as db:
        for statement in filter(str.strip, Outbox().ddl("mysql").split(";\n")):
            db.cursor().execute(statement)
        db.begin()
        for number in range(200):
            Outbox().publish(db, aggregate_type="order", aggregate_id=number % 50, event_type="E", payload={})
        db.commit()
    with opened(mysqls_database, part="1/2") as first, opened(mysqls_database, part="2/2") as second:
        with pytest.raises(SourceError, match="another process"), opened(mysqls_database, part="1/2"):
            pass
        found = [[m.aggregate_id for _, m in drain(source)[0]] for source in (first, second)]
    assert len(found[0]) + len(found[1]) == 200
    assert not set(found[0]) & set(found[1])


@pytest.mark.parametrize("together", [False, True], ids=["two transactions", "one transaction"])
@pytest.mark.parametrize("drain_", ["mark", "delete"])
@pytest.mark.parametrize("kind", ["database", "mysql_database", "mariadb_database"])
def test_an_aggregates_events_keep_their_order_when_they_are_committed_between_two_pages(
    request, kind, drain_, together
):
    url = request.getfixturevalue(kind)
    connect = psycopg.connect if kind == "database" else lambda url: connected(url).thing
    outbox = Outbox(versions=True)

    def event(connection, aggregate):
        outbox.publish(connection, aggregate_type="t", aggregate_id=aggregate, event_type="E", payload={})

    with closing(connect(url)) as slow, closing(connect(url)) as quick:
        dialect = "postgresql" if kind == "database" else "mysql"
        for statement in filter(str.strip, outbox.ddl(dialect, drain=drain_).split(";\n")):
            quick.cursor().execute(statement)
        quick.commit()
        for connection in (slow, quick):
            if kind != "database":
                connection.begin()
        event(slow, "A")  # with the lowest number
        for number in range(6):
            event(quick, f"other {number}")
        if together:
            event(slow, "A")
            event(quick, "the last one")
        quick.commit()
        with opened(url, batch=2, drain=drain_) as source:
            while not (first := source.read().events):
                pass
            slow.commit()  # a page has gone by it
            if kind != "database":
                quick.begin()
            event(quick, "A")
            quick.commit()
            found = [Message._make(e.after) for e in first] + [m for _, m in drain(source, confirm=False)[0]]
    assert [m.version for m in found if m.aggregate_id == "A"] == [1, 2, 3][: 3 if together else 2]
    assert len(found) == (10 if together else 8)


def test_a_notification_wakes_the_source(database):
    run(database, Outbox().ddl("postgresql", notify=True))
    with opened(database, poll_interval=3600) as source:
        source.read()
        publish(database, "1")
        deadline = time.monotonic() + 30
        while not (events := source.read().events):
            assert time.monotonic() < deadline, "it would have been found in an hour"
        assert len(events) == 1


def test_a_payload_that_is_no_json_stops_the_source_or_is_passed_on(database):
    run(
        database,
        Outbox(schemas={}).ddl("postgresql"),
        "insert into outbox (event_id, aggregate_type, aggregate_id, event_type, payload)"
        " values (gen_random_uuid(), 'order', '1', 'E', '\\x00ff')",
    )
    with opened(database) as source, pytest.raises(SourceError, match="no JSON") as caught:
        source.read()
    assert "00ff" not in str(caught.value)
    with opened(database, invalid="pass") as source:
        ((_, message),) = drain(source)[0]
    assert message.payload == b"\x00\xff"


def test_what_was_read_and_not_marked_is_marked_by_the_next_process(database):
    run(database, Outbox().ddl("postgresql"))
    publish(database, "1", "2")
    with opened(database) as source:
        found, state = drain(source, confirm=False)
    assert len(found) == 2
    assert state.snapshot == {"unmarked": "1-2"}
    publish(database, "3")
    with opened(database, state) as source:
        with psycopg.connect(database) as db:
            rows = db.execute("select id from outbox where published_at is not null order by id").fetchall()
        assert rows == [(1,), (2,)], "exactly the rows that were read"
        assert [m.aggregate_id for _, m in drain(source)[0]] == ["3"]


def test_the_state_of_another_database_is_refused(database, database2):
    for url in (database, database2):
        run(url, Outbox().ddl("postgresql"))
        publish(url, "1")
    with opened(database) as source:
        _, state = drain(source, confirm=False)
    with pytest.raises(PositionLost), opened(database2, state):
        pass
    source = OutboxSource("events", OutboxSource.Config(type="outbox", url=database2))
    recovered = source.recover(state)
    assert recovered.position > state.position
    with opened(database2, recovered) as source:
        assert len(drain(source)[0]) == 1


def test_a_check_and_a_status_tell_what_is_wrong_and_what_waits(database):
    source = OutboxSource("events", OutboxSource.Config(type="outbox", url=database))
    assert [finding.level for finding in source.check()] == ["error"]
    run(database, Outbox().ddl("postgresql"))
    assert [finding.level for finding in source.check()] == ["ok"]
    publish(database, "1", "2")
    assert source.status(None).details == {"waiting": 2}
    with opened(database) as open_source:
        _, state = drain(open_source)
    assert source.status(state).details == {"waiting": 0}
    assert source.describe(state.position).startswith("20")


@pytest.mark.parametrize(
    "identities",
    [[], ["1"], ["1", "2", "3", "7", "9", "10"], ["3", "2", "1"], ["-5", "1"], ["'a,b'::uuid", "2"]],
)
def test_rows_are_remembered_as_they_were(identities):
    assert unpack(pack(identities)) == identities
    known = Known()
    for identity in identities:
        known.add(identity)
    again = Known(known.pack())
    for candidate in [*identities, "0", "4", "8", "11", "'b'"]:
        assert (candidate in again) == (candidate in known) == (candidate in identities)


def test_states_are_plain_and_small(database):
    run(database, Outbox().ddl("postgresql"))
    publish(database, *map(str, range(300)))
    with opened(database, batch=100) as source:
        _, state = drain(source, confirm=False)
    assert state.snapshot == {"unmarked": "1-300"}
    assert State(state.position, state.identity, state.snapshot, state.schemas) == state


def test_rows_that_are_marked_while_the_next_page_is_on_its_way_come_once(database):
    run(database, Outbox().ddl("postgresql"))
    late = "insert into outbox (id, event_id, aggregate_type, aggregate_id, event_type, payload)"
    late += " overriding system value values (%s, gen_random_uuid(), 'order', %s, 'E', '{}')"
    with opened(database, topic="events", batch=2) as source, psycopg.connect(database) as db:
        with db.cursor() as cursor:
            cursor.executemany(late, [(n, str(n)) for n in (11, 12)])
        db.execute("select setval(pg_get_serial_sequence('outbox', 'id'), 20)")
        db.commit()
        found, state = drain(source, confirm=False)
        # Somebody's lock keeps them from being marked, while two come before them that were committed late.
        db.execute("select from outbox for update")
        with psycopg.connect(database) as other, other.cursor() as cursor:
            cursor.executemany(late, [(n, str(n)) for n in (1, 2)])
        source.confirm(state.position)
        batch = source.read()
        while not batch.events:
            batch = source.read()
        found += [(e.topic, Message._make(e.after)) for e in batch.events]
        assert [m.aggregate_id for _, m in found] == ["11", "12", "1", "2"], "the next page is on its way"
        db.rollback()
        source.confirm(batch.state.position)
        found += drain(source)[0]
    assert [m.aggregate_id for _, m in found] == ["11", "12", "1", "2"]
    with psycopg.connect(database) as db:
        assert db.execute("select count(*) from outbox where published_at is null").fetchone() == (0,)
