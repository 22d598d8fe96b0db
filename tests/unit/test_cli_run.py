"""``liberator run``: what it tells, and the look at the databases before the first start."""

from __future__ import annotations

import io
import re
import sys
import time

import click
import pytest
from rich.console import Console

from liberator import runner
from liberator.cli.live import Live
from liberator.cli.narration import Lines, Speed
from liberator.event import Position
from liberator.log import Record, Records
from liberator.preflight import Finding
from liberator.runner import Event
from liberator.source import State
from tests.acting import act, desk  # noqa: F401

UNREACHABLE = Finding("error", "connection", "cannot connect", "start it", option="url")
FORBIDDEN = Finding("error", "privilege", "may not read", "grant select")


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def told(events, clock=None, **how):
    """The lines about ``events``, without their times; a number among them moves the clock."""
    lines = []
    narrator = Lines(write=lambda line: lines.append(click.unstyle(line)), clock=clock or Clock(), **how)
    for event in events:
        if isinstance(event, (int, float)):
            clock.now += event
        else:
            narrator.tell(event)
    return [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in lines]


def status(worker, phase, events=0, rows=None, estimate=0, **more):
    snapshot = {"tables": {"public.orders": {"rows": rows, "estimate": estimate}}} if rows is not None else {}
    said = {"phase": phase, "events": events, "rate": 0.0, "snapshot": snapshot, "position": "0/63", **more}
    return Event(worker, "status", status=said)


# -- lines -------------------------------------------------------------------------------------------


def test_starts_and_ends_are_a_line_each():
    assert told(
        [
            Event("source:shop", "started", pid=7),
            status("source:shop", "streaming", 1200),
            Event("source:shop", "reached"),
            Event("sink:replica", "stopped"),
        ]
    ) == [
        "source shop: started (process 7)",
        "source shop: streaming from 0/63",
        "source shop: caught up, 1,200 events",
        "sink replica: stopped",
    ]


def test_trouble_is_told_with_reason_wait_and_hint():
    assert told(
        [
            Event("sink:replica", "retrying", "deadlock", hint="wait", delay=1.25),
            Event("source:shop", "restarting", "source shop: the server went away", delay=90),
            Event("source:shop", "failed", "slot is gone", hint="recover", details="  File x\n"),
        ]
    ) == [
        "sink replica: retrying in 1.2 s: deadlock",
        "sink replica: hint: wait",
        "source shop: restarting in 1 min 30 s: the server went away",
        "source shop: stopped for good: slot is gone",
        "source shop: hint: recover",
        "  File x",
    ]


def test_quiet_tells_only_trouble():
    assert told(
        [
            Event("source:shop", "started", pid=7),
            status("source:shop", "snapshot", 5, rows=5, estimate=10),
            Event("source:shop", "failed", "slot is gone"),
            Event("sink:replica", "reached"),
        ],
        quiet=True,
    ) == ["source shop: stopped for good: slot is gone"]


def test_upkeep_is_told_of_only_when_it_fails():
    assert told(
        [
            Event("upkeep", "started", pid=7),
            Event("upkeep", "failed", "the disk is full"),
            Event("upkeep", "stopped"),
        ]
    ) == ["upkeep: stopped for good: the disk is full"]


def test_a_snapshot_is_told_every_ten_seconds_with_rate_and_time_left(clock):
    story = [status("source:shop", "snapshot", rows=0, estimate=0)]
    for second in range(1, 25):
        story += [1, status("source:shop", "snapshot", second * 1000, rows=second * 1000, estimate=100_000)]
    story += [1, status("source:shop", "streaming", 25_000, rows=25_000, estimate=25_000)]
    assert told(story, clock) == [
        "source shop: snapshot: begins",
        "source shop: snapshot: 10,000 of about 100,000 rows, 1,000 a second, 1 min 30 s left",
        "source shop: snapshot: 20,000 of about 100,000 rows, 1,000 a second, 1 min 20 s left",
        "source shop: snapshot finished: 25,000 rows; streaming from 0/63",
    ]


def test_calm_streaming_is_told_once_a_minute_and_only_if_there_was_something(clock):
    story = [status("sink:replica", "applying", 0)]
    for second in range(1, 200):
        story += [1, status("sink:replica", "applying", min(second, 70), rate=1.0)]
    assert told(story, clock) == [
        "sink replica: applying: 60 events, 1 a second",
        "sink replica: applying: 70 events, 1 a second",
    ]


def test_a_sink_that_goes_on_after_retrying_says_so():
    lines = told([status("sink:replica", phase, 5) for phase in ("applying", "retrying", "applying")])
    assert lines == ["sink replica: applying: 5 events, 0 a second"]


def test_speed_is_that_of_the_last_seconds(clock):
    speed = Speed(clock)
    assert speed.rate() == 0
    for rows in (0, 100_000, 100_100, 100_200, 100_300):
        speed.note(rows)
        clock.now += 10
    assert speed.rate() == 10.0


# -- the live table ----------------------------------------------------------------------------------


def screen(*events, clock=None):
    """What a terminal shows after these events, as text without its control sequences; a number among
    them moves the clock."""
    out = io.StringIO()
    live = Live(Console(file=out, force_terminal=True, width=120, highlight=False), clock or Clock())
    with live:
        for event in events:
            if isinstance(event, int):
                clock.now += event
            else:
                live.tell(event)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


def test_the_table_shows_a_bar_and_the_time_left_while_a_snapshot_runs(clock):
    reading = [status("source:shop", "snapshot", n, rows=n, estimate=100_000) for n in (10_000, 30_000)]
    shown = screen(Event("source:shop", "started", pid=1), reading[0], 1, reading[1], clock=clock)
    last = shown.splitlines()[-1]
    assert last.split()[:3] == ["source", "shop", "snapshot"]
    assert "━" in last
    assert last.rstrip().endswith("30,000 of about 100,000 rows  20,000/s  3.5 s left")


def test_the_table_has_a_row_per_worker_and_lines_stay_above_it():
    shown = screen(
        Event("source:shop", "started", pid=1),
        Event("sink:replica", "started", pid=2),
        Event("upkeep", "started", pid=3),
        status("source:shop", "streaming", 7),
        status("sink:replica", "applying", 5, lag=2),
        Event("source:shop", "failed", "slot is gone", hint="recover"),
    )
    lines = [line.rstrip() for line in shown.splitlines()]
    assert any(line.endswith("source shop: stopped for good: slot is gone") for line in lines)
    source, sink = lines[-2:]
    assert source.split()[:3] == ["source", "shop", "failed"]
    assert sink.split() == ["sink", "replica", "applying", "2", "behind", "5", "events", "0/s"]
    assert "upkeep" not in shown


# -- the command -------------------------------------------------------------------------------------


@pytest.fixture
def supervised(monkeypatch):
    """Stands in for the supervisor; tells one event, ends with 0."""
    calls = []

    def run(settings, until_current=False, on_event=None):
        calls.append((settings.path.name, until_current))
        on_event(Event("source:shop", "started", pid=1))
        return 0

    monkeypatch.setattr(runner, "run", run)
    return calls


def test_run_tells_on_stderr_and_leaves_stdout_to_sinks(desk, supervised):  # noqa: F811
    answer = desk("run")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.endswith(" source shop: started (process 1)\n")
    assert supervised == [("shop.yaml", False)]


def test_a_transaction_that_nobody_here_completes_is_told_at_the_start(desk, supervised):  # noqa: F811
    record = Records.of([Record("old.public.t", b"k", b"v")])
    with desk.log() as log:
        log.append("shop", record, State(Position(1, 7)), open=True)
        log.append("old", record, State(Position(1, 7)), open=True)
    told = "warning: log: source old stopped in the middle of a transaction"
    assert [line[: len(told)] for line in desk("run").err.splitlines() if "warning" in line] == [told]
    with desk.log() as log:  # another configuration may run it
        log.put_status("source:old", {"phase": "streaming", "at": time.time()})
    assert "warning" not in desk("run").err


def test_run_until_current_and_quiet(desk, supervised):  # noqa: F811
    answer = desk("run", "--until-current", "--quiet")
    assert (answer.code, answer.err) == (0, "")
    assert supervised == [("shop.yaml", True)]


def test_the_exit_code_is_the_supervisors(desk, monkeypatch):  # noqa: F811
    monkeypatch.setattr(runner, "run", lambda *arguments: 1)
    assert desk("run").code == 1


def test_before_the_first_start_everything_wrong_is_told_at_once(desk, supervised):  # noqa: F811
    act("shop", check=[FORBIDDEN])
    act("replica", check=[UNREACHABLE, Finding("warning", "disk", "nearly full", "make room")])
    answer = desk("run")
    assert answer.code == 2
    assert answer.err == (
        "error: sources.shop: may not read\nhint: grant select\n"
        "error: sinks.replica.url: cannot connect\nhint: start it\n"
    )
    assert supervised == []
    assert not (desk.directory / "shop.log").exists()


def test_another_reason_than_the_configuration_ends_with_1(desk, supervised):  # noqa: F811
    act("shop", check=[FORBIDDEN])
    assert desk("run").code == 1


def test_the_look_before_the_first_start_can_be_left_out(desk, supervised):  # noqa: F811
    act("shop", check=[UNREACHABLE])
    assert desk("run", "--no-check").code == 0


def test_later_starts_wait_for_a_database_that_is_away(desk, supervised):  # noqa: F811
    with desk.log() as log:
        log.append("shop", Records(), State(Position(1, 1)))
    act("shop", check=[UNREACHABLE])
    assert desk("run").code == 0
    assert len(supervised) == 1


def test_a_sink_that_writes_to_the_terminal_itself_gets_it_alone(desk, supervised, monkeypatch):  # noqa: F811
    monkeypatch.setattr("liberator.cli.output.terminal", lambda stream=None: stream is sys.stderr)
    monkeypatch.setattr("tests.acting.ActingSink.keeps_cursor", False)
    assert "\x1b" not in desk("run").err


def test_settings_that_are_wrong_start_nothing(desk, supervised):  # noqa: F811
    desk.config.write_text(desk.config.read_text().replace("url:", "ulr:"))
    answer = desk("run")
    assert answer.code == 2
    assert answer.err.count("\n") == 4
    assert "sources.shop.ulr: unknown option; did you mean 'url'? (shop.yaml:3)" in answer.err
    assert supervised == []
