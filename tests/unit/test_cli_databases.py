"""Commands that ask databases: check, setup, teardown, status, init, on connectors that act."""

from __future__ import annotations

import threading
import time

import pytest

from liberator.errors import ConfigError, SinkError, SourceError
from liberator.event import Position
from liberator.log import Cursor, Record, Records
from liberator.preflight import Finding
from liberator.schema import Kind
from liberator.source import Managed, SourceStatus, State
from liberator.testing.events import create, table, transaction
from tests.acting import act, desk  # noqa: F401

OK = Finding("ok", "version", "good enough")
WARNING = Finding("warning", "disk", "nearly full", "make room")
ERROR = Finding("error", "privilege", "may not read", "grant select")
UNREACHABLE = Finding("error", "connection", "cannot connect", "start it", option="url")

SLOT = Managed("slot", "one", "missing", "create one", "drop one;")
TABLE = Managed("table", "two", "present", "create two", "drop two")
ODD = Managed("publication", "three", "different", "alter three", "drop three")

orders = table("orders", {"id": Kind.INT64}, key=["id"])


# -- check -------------------------------------------------------------------------------------------


def test_check_tells_all_findings_with_their_remedies(desk):  # noqa: F811
    act("shop", check=[OK, WARNING])
    act("replica", check=[OK])
    answer = desk("check")
    assert answer.code == 0
    assert answer.lines == [
        f"ok       log: file: {desk.directory}/shop.log will be created",
        "ok       sources.shop: version: good enough",
        "warning  sources.shop: disk: nearly full",
        "         remedy: make room",
        "ok       sinks.replica: version: good enough",
        "no errors, 1 warning",
    ]


def test_check_ends_with_1_if_a_run_would_fail(desk):  # noqa: F811
    act("shop", check=[ERROR, WARNING])
    act("replica", check=[WARNING, ERROR])
    answer = desk("check")
    assert answer.code == 1
    assert answer.lines[-1] == "2 errors, 2 warnings"


def test_check_ends_with_2_if_the_configuration_is_the_reason(desk):  # noqa: F811
    act("shop", check=[ERROR])
    act("replica", check=[UNREACHABLE])
    answer = desk("check")
    assert answer.code == 2
    assert "error    sinks.replica.url: connection: cannot connect" in answer.lines


@pytest.mark.parametrize(
    ("raised", "code", "lines"),
    [
        (
            SourceError("the server went away", hint="start it"),
            1,
            ["error    sources.shop: check: the server went away", "         remedy: start it"],
        ),
        (
            ConfigError(["sources.shop.tables: no table matches public.x", "other"]),
            2,
            [
                "error    sources.shop.tables: configuration: no table matches public.x",
                "error    sources.shop: configuration: other",
            ],
        ),
    ],
)
def test_a_check_that_could_not_look_is_a_finding_and_stops_no_other(desk, raised, code, lines):  # noqa: F811
    act("shop", check=raised)
    act("replica", check=[OK])
    answer = desk("check")
    assert answer.code == code
    assert answer.lines[1 : len(lines) + 1] == lines
    assert "ok       sinks.replica: version: good enough" in answer.lines


def test_check_looks_at_what_is_right_in_a_wrong_file(desk):  # noqa: F811
    desk.config.write_text(desk.config.read_text().replace("topics:", "topcis:"))
    act("shop", check=[WARNING])
    answer = desk("check")
    assert answer.code == 2
    assert answer.err == (
        "error: sinks.replica.topcis: unknown option; did you mean 'topics'? (shop.yaml:5)\n"
    )
    assert answer.lines[1] == "warning  sources.shop: disk: nearly full"
    assert answer.lines[-1] == "1 error, 1 warning"


def test_check_as_json(desk):  # noqa: F811
    act("shop", check=[UNREACHABLE])
    answer = desk("check", "--json")
    assert answer.code == 2
    assert answer.json == {
        "ok": False,
        "problems": [],
        "warnings": [],
        "findings": [
            {
                "place": "log",
                "level": "ok",
                "check": "file",
                "message": f"{desk.directory}/shop.log will be created",
                "remedy": "",
                "option": "",
            },
            {
                "place": "sources.shop.url",
                "level": "error",
                "check": "connection",
                "message": "cannot connect",
                "remedy": "start it",
                "option": "url",
            },
        ],
    }


def test_checks_are_made_at_the_same_time(desk, monkeypatch):  # noqa: F811
    together = threading.Barrier(9)

    def meets_the_others(self):
        together.wait(30)
        return []

    monkeypatch.setattr("tests.acting.ActingSource.check", meets_the_others)
    text = desk.config.read_text()
    more = "".join(f"  s{n}: {{type: acting, url: x}}\n" for n in range(8))
    desk.config.write_text(text.replace("sinks:", more + "sinks:"))
    assert desk("check").code == 0


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/dev/null/x/shop.log", "/dev/null is no directory"),
        (".", "{directory} cannot be written"),
    ],
)
def test_a_place_where_no_log_can_be_is_told(desk, path, message):  # noqa: F811
    desk.config.write_text(desk.config.read_text().replace("./shop.log", path))
    answer = desk("check")
    assert answer.code == 2
    assert answer.lines[0] == f"error    log.path: file: {message.format(directory=desk.directory)}"


# -- setup and teardown ------------------------------------------------------------------------------


def test_setup_tells_what_it_created(desk):  # noqa: F811
    act("shop", setup=[SLOT, ODD])
    assert desk("setup").lines == [
        "sources.shop: created slot one",
        "sources.shop: created publication three",
    ]


def test_setup_with_nothing_to_do_says_so(desk):  # noqa: F811
    answer = desk("setup")
    assert (answer.code, answer.out) == (0, "nothing to do\n")


def test_a_dry_run_prints_the_statements_and_does_nothing(desk):  # noqa: F811
    act("shop", objects=[SLOT, TABLE, ODD], setup=AssertionError("not now"), teardown=AssertionError("no"))
    act("replica", objects=[TABLE])
    assert desk("setup", "--dry-run").lines == [
        "-- sources.shop: slot one is missing",
        "create one;",
        "-- sources.shop: publication three is different",
        "alter three;",
    ]
    assert desk("teardown", "--dry-run").lines == [
        "-- sources.shop: table two is present",
        "drop two;",
        "-- sources.shop: publication three is different",
        "drop three;",
        "-- sinks.replica: table two is present",
        "drop two;",
    ]


def test_one_failure_does_not_keep_the_others_from_their_turn(desk):  # noqa: F811
    act("shop", teardown=SourceError("the slot is in use", hint="stop the run"))
    act("replica", teardown=[TABLE])
    answer = desk("teardown")
    assert answer.code == 1
    assert answer.err == "error: sources.shop: the slot is in use\nhint: stop the run\n"
    assert answer.lines == ["sinks.replica: removed table two"]


def test_names_restrict_it(desk):  # noqa: F811
    act("shop", teardown=AssertionError("not asked for"))
    act("replica", teardown=[TABLE])
    assert desk("teardown", "replica").lines == ["sinks.replica: removed table two"]


def test_a_source_that_is_gone_from_the_configuration_is_given_up_in_the_log(desk):  # noqa: F811
    act("shop", teardown=AssertionError("not asked for"))
    assert "no source or sink called old" in desk("teardown", "old").err  # and no log is made to look
    assert not (desk.directory / "shop.log").exists()
    with desk.log() as log:
        log.append("old", Records.of([Record("old.public.t", b"k", b"v")]), State(Position(1, 7)), open=True)
    told = desk("status")
    assert "source old stopped in the middle of a transaction" in told.err
    assert "`liberator teardown --config FILE old` gives it up" in told.err
    assert desk("status", "--json").json["log"]["unfinished"] == ["old"]
    assert desk("teardown", "old", "--dry-run").lines == ["-- log: source old would be given up"]
    with desk.log() as log:
        log.claim("source:old")
        answer = desk("teardown", "old")
        assert answer.code == 1
        assert "source:old" in answer.err
    assert desk("teardown", "old").lines == ["log: source old is given up"]
    assert desk("teardown", "old").code == 2
    with desk.log() as log:
        assert log.sources() == []
        assert log.end().offsets == {"": 1}
    assert desk("status").err == ""


# -- status ------------------------------------------------------------------------------------------


def test_status_before_anything_ran(desk):  # noqa: F811
    with desk.log():
        pass
    shown = desk("status", "--json").json
    (source,), (sink,) = shown["sources"], shown["sinks"]
    assert (source["name"], source["type"], source["phase"], source["running"]) == (
        "shop",
        "acting",
        "new",
        False,
    )
    assert source["position"] is None
    assert (sink["phase"], sink["cursor"], sink["lag_events"]) == ("new", None, None)


def test_status_needs_a_log(desk):  # noqa: F811
    answer = desk("status")
    assert answer.code == 1
    assert not (desk.directory / "shop.log").exists()


def fill(log, phase="streaming", at=None, **said):
    """A source that has read a snapshot, and works."""
    now = time.time()
    snapshot = {
        "tables": {"public.orders": {"state": "done", "rows": 1200, "estimate": 1200, "cursor": ["x"]}}
    }
    log.append("shop", Records(), State(Position(1, 99), snapshot=snapshot))
    body = {"phase": phase, "timestamp": int((now - 5) * 1_000_000), "at": now if at is None else at}
    log.put_status("source:shop", body | said)


def test_status_joins_what_log_workers_and_databases_know(desk):  # noqa: F811
    desk.capture(
        transaction(1, create(orders, id=1), source="shop"),
        transaction(2, create(orders, id=2), source="shop"),
    )
    with desk.log() as log:
        fill(log)
        act("replica", cursor=Cursor(log.identity, {"": 1}))
        log.put_status("sink:replica", {"phase": "applying", "at": time.time()})
    act("shop", status=SourceStatus("0/63", "0/70", 13, 64_000_000, {"wal_status": "reserved"}))
    answer = desk("status", "--json")
    assert answer.code == 0
    (source,), (sink,) = answer.json["sources"], answer.json["sinks"]
    assert 4.9 < source.pop("lag_seconds") < 60
    assert source == {
        "name": "shop",
        "type": "acting",
        "phase": "streaming",
        "running": True,
        "position": "0/63",
        "current": "0/70",
        "snapshot": {"public.orders": {"state": "done", "rows": 1200, "estimate": 1200}},
        "lag_bytes": 13,
        "retained_bytes": 64_000_000,
        "details": {"wal_status": "reserved"},
        "refused": {},
        "error": None,
        "hint": None,
    }
    assert sink.pop("lag_seconds") > 0
    assert sink == {
        "name": "replica",
        "type": "acting",
        "phase": "applying",
        "running": True,
        "cursor": {"": 1},
        "lag_events": 1,
        "error": None,
        "hint": None,
    }
    assert answer.json["log"]["end"] == {"": 2}
    plain = desk("status").out
    assert "done, 1,200 rows" in plain
    assert "64.0 MB" in plain


def test_a_database_that_cannot_be_asked_leaves_its_part_empty(desk):  # noqa: F811
    with desk.log() as log:
        fill(log)
    act("shop", status=SourceError("cannot connect", hint="start it"))
    act("replica", cursor=SinkError("cannot connect either"))
    answer = desk("status")
    assert answer.code == 0
    assert answer.err == (
        "error: sources.shop: cannot connect\nhint: start it\nerror: sinks.replica: cannot connect either\n"
    )
    (source,) = desk("status", "--json").json["sources"]
    assert (source["position"], source["lag_bytes"], source["error"]) == ("1/99/0", None, "cannot connect")


@pytest.mark.parametrize(
    ("phase", "age", "shown"),
    [
        ("streaming", 1, "streaming"),
        ("streaming", 60, "stopped"),
        ("restarting", 40, "restarting"),
        ("restarting", 90, "stopped"),
        ("stopped", 1, "stopped"),
        ("failed", 1, "failed"),
        ("failed", 600, "failed"),
    ],
)
def test_a_worker_that_is_silent_is_not_at_work(desk, phase, age, shown):  # noqa: F811
    with desk.log() as log:
        fill(log, phase, time.time() - age, error="broken" if phase == "failed" else None)
    (source,) = desk("status", "--json").json["sources"]
    assert source["phase"] == shown
    assert source["running"] is (shown in ("streaming", "restarting"))
    assert source["error"] == ("broken" if phase == "failed" else None)


def test_requests_that_came_to_nothing_and_troubles_of_the_log_are_told(desk):  # noqa: F811
    with desk.log() as log:
        fill(log, refused={"3": "no such table"})
        log.put_status("upkeep", {"phase": "failed", "error": "the disk is full", "hint": None})
    answer = desk("status")
    assert "warning: sources.shop: request 3 to read tables again: no such table\n" in answer.err
    assert "error: log: upkeep: the disk is full\n" in answer.err
    assert desk("status", "--json").json["log"]["error"] == "the disk is full"


def test_a_sink_that_was_filled_from_another_log_is_told(desk):  # noqa: F811
    with desk.log():
        pass
    act("replica", cursor=Cursor("another", {"": 5}))
    (sink,) = desk("status", "--json").json["sinks"]
    assert sink["error"] == "was filled from another log than this one, so its place means nothing here"


def test_the_lag_of_a_sink_counts_from_the_first_record_that_it_takes(desk):  # noqa: F811
    other = table("other", {"id": Kind.INT64}, key=["id"])
    desk.config.write_text(desk.config.read_text().replace("[shop.*]", "[shop.public.orders]"))
    desk.capture(transaction(1, create(other, id=1), source="shop"))
    with desk.log() as log:
        act("replica", cursor=Cursor(log.identity, {"": 0}))
    (sink,) = desk("status", "--json").json["sinks"]
    assert (sink["lag_events"], sink["lag_seconds"]) == (1, 0.0)


# -- init --------------------------------------------------------------------------------------------


def test_init_prints_what_the_connector_writes(desk):  # noqa: F811
    act("init", text="# for you\nlog: {}\n")
    answer = desk("init", "acting://app:hunter2@db/shop", config=False)
    assert (answer.code, answer.out) == (0, "# for you\nlog: {}\n")


def test_init_tells_which_urls_it_knows_and_repeats_none(desk):  # noqa: F811
    answer = desk("init", "oracle://app:hunter2@db/shop", config=False)
    assert answer.code == 2
    assert "no installed connector reads URLs of this kind; known are: acting://, " in answer.err


def test_init_of_a_connector_that_cannot_describe(desk):  # noqa: F811
    act("init", text=NotImplementedError("ActingSource cannot describe a database"))
    answer = desk("init", "acting://x", config=False)
    assert answer.code == 2
    assert "ActingSource cannot describe a database" in answer.err
