"""Commands that look into the log: topics, tail, schemas, snapshot; and connectors, config-schema, demo."""

from __future__ import annotations

import json
import threading
import time

import pytest

from liberator.event import Position
from liberator.log import Cursor, Records
from liberator.log.embedded import EmbeddedLog
from liberator.schema import Kind, LogicalType
from liberator.source import State
from liberator.testing.events import create, delete, read, table, transaction, update
from tests.acting import act, desk  # noqa: F401

orders = table("orders", {"id": Kind.INT64, "price": LogicalType(Kind.DECIMAL, 10, 2)}, key=["id"])
plain = table("plain", {"note": Kind.STRING})

STORY = [
    transaction(1, create(orders, id=1, price=1230), create(plain, note="ä\n"), source="shop"),
    transaction(2, update(orders, id=1, price=99), source="shop"),
    transaction(3, delete(orders, id=1), source="shop"),
]


def tail(desk, *arguments):  # noqa: F811
    answer = desk("tail", *arguments)
    assert answer.code == 0, answer.err
    return [json.loads(line) for line in answer.lines]


# -- tail --------------------------------------------------------------------------------------------


def test_tail_prints_a_record_per_line_with_all_that_it_has(desk):  # noqa: F811
    desk.capture(*STORY)
    records = tail(desk, "shop.public.orders")
    assert [list(record) for record in records] == [
        ["topic", "offset", "timestamp", "key", "value", "headers"]
    ] * 4
    assert [(r["offset"], r["key"]) for r in records] == [
        (0, {"id": 1}),
        (2, {"id": 1}),
        (3, {"id": 1}),
        (4, {"id": 1}),
    ]
    assert [r["value"] and r["value"]["op"] for r in records] == ["c", "u", "d", None]
    assert records[0]["topic"] == "shop.public.orders"
    assert records[0]["value"]["after"] == {"id": 1, "price": "12.30"}
    assert records[0]["value"]["transaction"]["id"] == "1"
    assert abs(records[0]["timestamp"] / 1000 - time.time()) < 60


@pytest.mark.parametrize("codec", ["avro", "json"])
def test_tail_tells_where_a_change_came_from_with_the_names_that_its_source_gave(desk, codec):  # noqa: F811
    desk.capture(*STORY, codec=codec)
    record = tail(desk, "shop.public.orders")[0]
    source = record["value"]["source"]
    assert list(source)[:6] == ["version", "connector", "name", "db", "schema", "table"]
    assert (source["name"], source["schema"], source["table"]) == ("shop", "public", "orders")
    assert "origin" not in source
    assert abs(record["value"]["ts_ms"] - record["timestamp"]) <= 1000


def test_tail_keeps_letters_as_they_are_and_a_record_on_its_line(desk):  # noqa: F811
    desk.capture(*STORY)
    answer = desk("tail", "shop.public.plain")
    assert "ä\\n" in answer.out
    (record,) = map(json.loads, answer.lines)
    assert (record["key"], record["value"]["after"]) == (None, {"note": "ä\n"})


@pytest.mark.parametrize("codec", ["avro", "json"])
def test_tail_of_an_entity_topic_shows_the_row_and_the_headers(desk, codec):  # noqa: F811
    desk.capture(*STORY, codec=codec, envelope="entity")
    first, second, third = tail(desk, "shop.public.orders")
    assert first["value"] == {"id": 1, "price": "12.30"}
    assert (first["headers"]["op"], first["headers"]["source"], first["headers"]["tx"]) == ("c", "shop", "1")
    assert second["value"] == {"id": 1, "price": "0.99"}
    assert (third["key"], third["value"], third["headers"]["op"]) == ({"id": 1}, None, "d")


@pytest.mark.parametrize("codec", ["avro", "json"])
def test_a_tombstone_that_stands_alone_still_has_its_key(desk, codec):  # noqa: F811
    desk.capture(*STORY, codec=codec)
    (tombstone,) = tail(desk, "shop.public.orders", "--from", "4")
    assert (tombstone["offset"], tombstone["key"], tombstone["value"]) == (4, {"id": 1}, None)


def test_the_key_of_a_tombstone_is_read_by_the_schema_that_it_was_written_with(desk):  # noqa: F811
    desk.capture(*STORY)
    wider = table("orders", {"shop": Kind.STRING, "id": Kind.INT64}, key=["shop", "id"])
    desk.capture(transaction(9, create(wider, shop="a", id=1), delete(wider, shop="a", id=1), source="shop"))
    tombstones = [r for n in (4, 7) for r in tail(desk, "shop.public.orders", "--from", str(n), "-n", "1")]
    assert [t["key"] for t in tombstones] == [{"id": 1}, {"shop": "a", "id": 1}]


def test_tail_begins_where_it_is_told(desk):  # noqa: F811
    desk.capture(*STORY)
    assert [r["offset"] for r in tail(desk, "*", "--from", "earliest")] == [0, 1, 2, 3, 4]
    assert [r["offset"] for r in tail(desk, "*", "--from", "1")] == [1, 2, 3, 4]
    assert tail(desk, "*", "--from", "latest") == []
    assert tail(desk, "*", "--from", "99") == []


def test_tail_ends_after_the_limit(desk):  # noqa: F811
    desk.capture(*STORY)
    assert [r["offset"] for r in tail(desk, "*", "--from", "1", "--limit", "2")] == [1, 2]


def test_tail_takes_patterns_and_names_with_odd_characters(desk):  # noqa: F811
    odd = table("wild*card", {"id": Kind.INT64}, key=["id"])
    tame = table("wildercard", {"id": Kind.INT64}, key=["id"])
    desk.capture(transaction(1, create(odd, id=1), create(tame, id=2), source="shop"))
    assert [r["offset"] for r in tail(desk, "shop.public.wild*card")] == [0]  # that very name is there
    assert [r["offset"] for r in tail(desk, "shop.public.w*")] == [0, 1]
    assert [r["offset"] for r in tail(desk, "*.wildercard")] == [1]


def test_tail_of_a_topic_that_does_not_exist_suggests_one(desk):  # noqa: F811
    desk.capture(*STORY)
    answer = desk("tail", "shop.public.ordrs")
    assert answer.code == 2
    assert answer.err == (
        "error: no topic shop.public.ordrs in this log; did you mean 'shop.public.orders'?\n"
        "hint: `liberator topics` lists them\n"
    )


def test_tail_follows_what_is_appended_meanwhile(desk, monkeypatch):  # noqa: F811
    with desk.log():
        pass
    waiting, wait = threading.Event(), EmbeddedLog.wait
    monkeypatch.setattr(EmbeddedLog, "wait", lambda *given: waiting.set() or wait(*given))

    def write_later():
        assert waiting.wait(30)
        desk.capture(*STORY)

    writer = threading.Thread(target=write_later)
    writer.start()
    records = tail(desk, "shop.public.orders", "--from", "latest", "--follow", "--limit", "3")
    writer.join()
    assert [r["offset"] for r in records] == [0, 2, 3]


def test_tail_ends_although_the_log_grows(desk, monkeypatch):  # noqa: F811
    desk.capture(*STORY)
    from liberator.cli import tail as module

    monkeypatch.setattr(module, "_SLICE", 1)
    original = module.Printer.plain

    def grow(self, records):
        desk.capture(STORY[0])
        return original(self, records)

    monkeypatch.setattr(module.Printer, "plain", grow)
    assert len(tail(desk, "*")) < 12


# -- topics and schemas ------------------------------------------------------------------------------


def test_topics_lists_sizes(desk):  # noqa: F811
    desk.capture(*STORY)
    answer = desk("topics")
    assert [line.split()[:4] for line in answer.lines] == [
        ["topic", "records", "first", "last"],
        ["shop.public.orders", "4", "0", "4"],
        ["shop.public.plain", "1", "1", "1"],
    ]
    shown = desk("topics", "--json").json
    assert [(t["topic"], t["records"], t["first"], t["last"]) for t in shown] == [
        ("shop.public.orders", 4, 0, 4),
        ("shop.public.plain", 1, 1, 1),
    ]
    assert shown[0]["bytes"] > 100


def test_schemas_lists_subjects_and_shows_versions(desk):  # noqa: F811
    desk.capture(*STORY)
    wider = table("orders", {"id": Kind.INT64, "price": Kind.INT32}, key=["id"])
    desk.capture(transaction(4, create(wider, id=1, price=5), source="shop"))
    subjects = {row["subject"]: row for row in desk("schemas", "--json").json}
    assert subjects["shop.public.orders-value"]["versions"] == 2
    assert subjects["shop.public.orders-key"]["versions"] == 1
    assert subjects["shop.public.orders-value"]["type"] == "AVRO"
    assert "shop.public.plain-value" in desk("schemas").out
    shown = desk("schemas", "shop.public.orders-value")
    assert "shop.public.orders-value version 2, id " in shown.out
    first, second = desk("schemas", "shop.public.orders-value", "--json").json
    assert (first["version"], second["version"]) == (1, 2)
    assert first["schema"] != second["schema"]
    assert first["schema"]["type"] == "record"


def test_an_unknown_subject_is_told(desk):  # noqa: F811
    desk.capture(*STORY)
    answer = desk("schemas", "shop.public.order-value")
    assert answer.code == 2
    assert "did you mean 'shop.public.orders-value'?" in answer.err


@pytest.mark.parametrize(
    "command", [["topics"], ["schemas"], ["tail", "x"], ["snapshot", "shop", "public.x"]]
)
def test_looking_at_a_log_that_does_not_exist_makes_none(desk, command):  # noqa: F811
    answer = desk(*command)
    assert answer.code == 1
    assert answer.err.startswith("error: ")
    assert not (desk.directory / "shop.log").exists()


# -- snapshot ----------------------------------------------------------------------------------------


def test_a_request_for_a_snapshot_is_left_in_the_log(desk):  # noqa: F811
    with desk.log():
        pass
    answer = desk("snapshot", "shop", "public.orders", "public.a*")
    assert answer.code == 0
    assert answer.lines == [
        "request 1: source shop will read public.orders, public.a* again",
        f"nothing runs now; the next `liberator run --config {desk.config}` begins with it",
    ]
    with desk.log() as log:
        (signal,) = log.signals("shop", 0)
        assert (signal.id, signal.body) == (1, {"tables": ["public.orders", "public.a*"]})
        log.put_status("source:shop", {"phase": "streaming", "at": time.time()})
    assert "it begins in a moment" in desk("snapshot", "shop", "public.orders").out


def test_a_table_that_was_never_read_is_a_warning(desk):  # noqa: F811
    with desk.log() as log:
        tables = {"public.orders": {"state": "done"}, "public.items": {"state": "done"}}
        log.append("shop", Records(), State(Position(1, 1), snapshot={"tables": tables}))
    answer = desk("snapshot", "shop", "public.ordrs", "public.items")
    assert answer.code == 0
    assert answer.err == (
        "warning: source shop has read no table public.ordrs so far; did you mean 'public.orders'?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["shap", "public.x"], "no source shap in shop.yaml; did you mean 'shop'?; there are: shop"),
        (["shop", "audit.x"], "table audit.x is not among the tables of source shop"),
        (["shop", 'public."x'], 'table public."x: has an opening " without a closing one'),
        (
            ["shop", "!public.x"],
            "table !public.x: needs at least one pattern that takes something, such as '*'",
        ),
        (["shop"], "give either TABLE... or --recover"),
        (["shop", "public.x", "--recover"], "give either TABLE... or --recover"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(desk, arguments, problem):  # noqa: F811
    with desk.log():
        pass
    answer = desk("snapshot", *arguments)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {problem}\n")
    with desk.log() as log:
        assert list(log.signals("shop", 0)) == []


def test_recover_stores_the_state_behind_the_gap(desk):  # noqa: F811
    desk.capture(*STORY)
    answer = desk("snapshot", "shop", "--recover")
    assert answer.code == 0, answer.err
    with desk.log() as log:
        assert log.state("shop").position == Position(2, 0)
        assert log.end() == Cursor(log.identity, {"": 5})


def test_recover_waits_for_no_running_source(desk):  # noqa: F811
    desk.capture(*STORY)
    with desk.log() as log:
        log.claim("source:shop")
        answer = desk("snapshot", "shop", "--recover")
        assert answer.code == 1
        assert log.state("shop").position == Position(1, 3)


def test_there_is_nothing_to_recover_where_nothing_ran(desk):  # noqa: F811
    with desk.log():
        pass
    answer = desk("snapshot", "shop", "--recover")
    assert answer.code == 2
    assert "source shop has no state in this log: there is nothing to recover" in answer.err


# -- connectors and the schema for editors -----------------------------------------------------------


def test_connectors_lists_what_is_installed_and_what_is_missing(desk):  # noqa: F811
    answer = desk("connectors", config=False)
    assert answer.code == 0
    assert any(line.split()[:4] == ["source", "acting", "acting", "1.0"] for line in answer.lines)
    assert any("pip install 'acting[absent]'" in line for line in answer.lines)
    listed = desk("connectors", "--json", config=False).json
    (absent,) = [c for c in listed if c["name"] == "absent"]
    assert (absent["kind"], absent["missing"]) == ("source", "pip install 'acting[absent]'")


def test_connectors_shows_the_options_of_one(desk):  # noqa: F811
    answer = desk("connectors", "acting", config=False)
    assert answer.lines[:2] == ["source acting (acting 1.0)", "  Acts as a source. Does nothing by itself."]
    assert "  url: text (required)\n      The database.\n" in answer.out
    assert "  codec: avro | json (default: avro)" in answer.lines
    assert "  tables: list of text (default: ['*'])" in answer.lines
    assert "sink acting (acting 1.0)" in answer.lines
    assert "  batch: whole number >= 1 <= 1000000 (default: 5000)" in answer.lines


def test_an_unknown_connector_gets_a_suggestion(desk):  # noqa: F811
    answer = desk("connectors", "actin", config=False)
    assert answer.code == 2
    assert answer.err.startswith("error: no connector actin is installed; did you mean 'acting'?\n")


def test_the_schema_for_editors_knows_every_installed_connector(desk):  # noqa: F811
    import jsonschema

    schema = desk("config-schema", config=False).json
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)

    def wrong(**source):
        document = {
            "x-shared": {},
            "log": {"type": "embedded", "path": "x"},
            "sources": {"shop": {"type": "acting", "url": "x"} | source},
            "sinks": {"replica": {"type": "acting", "url": "x", "batch": "${BATCH}"}},
        }
        return [list(error.absolute_path) for error in validator.iter_errors(document)]

    assert wrong() == []
    assert wrong(tabels=["x"]) == [["sources", "shop"]]
    assert wrong(codec="xml") == [["sources", "shop", "codec"]]
    assert wrong(codec="${CODEC}") == []
    assert wrong(type="actor") == [["sources", "shop", "type"]]
    assert wrong(type="absent", anything=5) == []


def test_demo_runs_the_demo_that_is_named(desk, monkeypatch):  # noqa: F811
    monkeypatch.setattr("liberator.plugins.demo", lambda name: lambda: 7 if name == "shop" else 8)
    assert desk("demo", config=False).code == 7
    assert desk("demo", "other", config=False).code == 8


def test_an_unknown_demo_is_wrong_use(desk):  # noqa: F811
    answer = desk("demo", "shpo", config=False)
    assert answer.code == 2
    assert "unknown demo; did you mean 'shop'?" in answer.err


def test_acting_connectors_are_real_enough(desk):  # noqa: F811
    act("shop", status=1)
    desk.capture([*transaction(1, read(orders, id=1, price=5), source="shop")])
    assert tail(desk, "*")[0]["value"]["op"] == "r"
