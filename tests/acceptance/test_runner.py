"""The supervisor with real worker processes: kills, failures, stops, ends; nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from liberator.log.embedded import EmbeddedLog

PLUGINS = Path(__file__).parent / "plugins"
ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(PLUGINS))

import scripted  # noqa: E402

sys.path.remove(str(PLUGINS))  # its connectors are for the processes here, not for the other tests

PATIENCE = 60


class Run:
    """A supervisor process, and what its events said so far."""

    def __init__(self, config, *arguments):
        path = os.pathsep.join([str(PLUGINS), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-W", "error", str(PLUGINS / "drive.py"), str(config), *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.events = []
        self.noise = []
        self.output = []
        self.children = {}
        self._threads = [
            threading.Thread(target=self._listen, args=(self.process.stderr, self._hear), daemon=True),
            threading.Thread(
                target=self._listen, args=(self.process.stdout, self.output.append), daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()

    def _listen(self, stream, take):
        with stream:
            for line in stream:
                take(line.rstrip("\n"))

    def _hear(self, line):
        try:
            event = json.loads(line)
        except ValueError:
            self.noise.append(line)
            return
        if event["kind"] == "started":
            self.children[event["worker"]] = event["pid"]
        self.events.append(event)

    def told(self, worker, kind):
        return [e for e in list(self.events) if e["worker"] == worker and e["kind"] == kind]

    def until(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if condition():
                return
            time.sleep(0.005)
        raise AssertionError(f"{what}: not within {PATIENCE} s; told {self.brief()}, noise {self.noise}")

    def kill(self, worker, number=signal.SIGKILL):
        os.kill(self.children[worker], number)

    def end(self):
        """Wait for the end; returns the exit code."""
        code = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        assert self.noise == []
        return code

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.end()

    def brief(self):
        return [(e["worker"], e["kind"], e["message"]) for e in self.events if e["kind"] != "status"]

    def processes(self):
        return [self.process.pid, *self.children.values()]


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Place:
    """A directory with a script, a configuration and what comes of them."""

    def __init__(self, path):
        self.path = path
        self.script = path / "script"
        self.script.touch()
        self.recording = path / "recording.db"
        self.config = path / "config.yaml"
        self.runs = []
        self.configure()

    def configure(self, sources=None, sinks=None, log="var/test.log"):
        options = {
            "log": {"type": "embedded", "path": log},
            "sources": sources or {"list": {"type": "scripted", "path": str(self.script)}},
            "sinks": {"copy": {"type": "recording", "path": str(self.recording)}} if sinks is None else sinks,
        }
        self.config.write_text(json.dumps(options))

    def start(self, *arguments):
        run = Run(self.config, *arguments)
        self.runs.append(run)
        return run

    def recorded(self):
        return scripted.recorded(self.recording)


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    for run in place.runs:
        for pid in run.processes():
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        run.process.wait(PATIENCE)


def test_until_current_carries_what_is_committed_and_the_next_run_goes_on(place):
    scripted.write(place.script, 1, 200, size=3)
    run = place.start("--until-current")
    assert run.end() == 0
    assert place.recorded() == scripted.expected(1, 200, size=3)
    assert run.told("source:list", "reached") and run.told("sink:copy", "reached")
    assert run.told("upkeep", "stopped")
    assert not [pid for pid in run.processes() if alive(pid)]
    scripted.write(place.script, 201, 210, size=3)
    assert place.start("--until-current").end() == 0
    assert place.recorded() == scripted.expected(1, 210, size=3)


def test_until_current_without_sinks_only_captures_and_with_nothing_new_ends_too(place):
    scripted.write(place.script, 1, 10)
    place.configure(sinks={})
    assert place.start("--until-current").end() == 0
    place.script.write_text("")
    nothing = place.path / "nothing.db"
    place.configure(
        sinks={
            "copy": {"type": "recording", "path": str(place.recording)},
            "nothing": {"type": "recording", "path": str(nothing), "topics": ["other.*"]},
        }
    )
    assert place.start("--until-current").end() == 0
    assert place.recorded() == scripted.expected(1, 10)
    # What a sink does not take moves its cursor all the same.
    assert scripted.recorded(nothing) == []
    with contextlib.closing(sqlite3.connect(nothing)) as db:
        ((cursor,),) = db.execute("select cursor from place").fetchall()
    assert sum(json.loads(cursor)["offsets"].values()) == 10


def test_a_signal_lets_all_finish_and_ends_with_zero(place):
    scripted.write(place.script, 1, 50)
    run = place.start()
    run.until(lambda: len(place.recorded()) == 50, "all applied")
    assert run.stop(signal.SIGHUP) == 0
    assert {event["kind"] for event in run.events if event["worker"] == "sink:copy"} >= {"started", "stopped"}
    assert not [pid for pid in run.processes() if alive(pid)]


def test_a_signal_to_the_whole_group_as_from_a_terminal_ends_with_zero(place):
    scripted.write(place.script, 1, 50)
    run = place.start()
    run.until(lambda: len(place.recorded()) == 50, "all applied")
    for worker in list(run.children):
        run.kill(worker, signal.SIGINT)
    assert run.stop(signal.SIGINT) == 0


def test_a_stop_right_after_the_start_leaves_nothing_behind(place):
    scripted.write(place.script, 1, 50)
    for wait in (0, 0.3):
        run = place.start()
        run.until(lambda: len(run.children) == 3, "workers started")  # noqa: B023
        time.sleep(wait)
        assert run.stop() == 0
        assert not [pid for pid in run.processes() if alive(pid)]
    assert place.start("--until-current").end() == 0
    assert place.recorded() == scripted.expected(1, 50)


def test_workers_killed_again_and_again_lose_nothing_and_double_nothing(place):
    place.configure(
        sources={"list": {"type": "scripted", "path": str(place.script), "batch": 7, "pace": 0.002}},
        sinks={"copy": {"type": "recording", "path": str(place.recording), "batch": 20}},
    )
    run = place.start()
    written = 0
    for victim in ["source:list", "sink:copy", "source:list", "upkeep", "sink:copy", "source:list"]:
        scripted.write(place.script, written + 1, written + 100, size=3)
        written += 100
        before = len(run.told(victim, "started"))
        some = len(place.recorded()) + 20
        run.until(lambda: len(place.recorded()) >= some, "progress")  # noqa: B023
        run.kill(victim)
        run.until(lambda: len(run.told(victim, "started")) > before, f"{victim} again")  # noqa: B023
    run.until(lambda: len(place.recorded()) >= written * 3, "all applied")
    assert run.stop() == 0
    assert place.recorded() == scripted.expected(1, written, size=3)
    told = run.told("source:list", "restarting")
    assert [event["message"] for event in told] == ["the worker was killed by SIGKILL"] * 3
    assert all(event["delay"] >= 0 for event in told)


def test_a_transaction_larger_than_a_batch_survives_kills_in_its_middle(place):
    place.configure(
        sources={"list": {"type": "scripted", "path": str(place.script), "batch": 10, "pace": 0.005}},
    )
    scripted.write(place.script, 1, 1, size=900)
    run = place.start("--until-current")
    for victim in ["source:list", "sink:copy"]:
        run.until(lambda: run.told(victim, "status"), f"{victim} at work")  # noqa: B023
        run.kill(victim)
        run.until(lambda: len(run.told(victim, "started")) == 2, f"{victim} again")  # noqa: B023
        assert place.recorded() in ([], scripted.expected(1, 1, size=900))
    assert run.end() == 0
    assert place.recorded() == scripted.expected(1, 1, size=900)


def test_when_the_supervisor_is_killed_its_workers_finish_and_the_next_run_goes_on(place):
    scripted.write(place.script, 1, 100)
    run = place.start()
    run.until(lambda: len(place.recorded()) == 100, "all applied")
    run.process.kill()
    run.process.wait(PATIENCE)
    run.until(lambda: not [pid for pid in run.processes() if alive(pid)], "workers gone")
    scripted.write(place.script, 101, 150)
    assert place.start("--until-current").end() == 0
    assert place.recorded() == scripted.expected(1, 150)


def test_a_retryable_failure_restarts_a_source_and_a_sink_retries_by_itself(place):
    scripted.write(place.script, 1, 10)
    scripted.trip(place.script, "retryable")
    scripted.trip(place.recording, "retryable")
    run = place.start("--until-current")
    assert run.end() == 0
    (told,) = run.told("source:list", "restarting")
    assert told["message"] == "the test says to fail"
    assert told["hint"] == "ask the test"
    assert told["delay"] >= 0
    assert len(run.told("source:list", "started")) == 2
    (told,) = run.told("sink:copy", "retrying")
    assert told["message"] == "the test says to fail"
    assert len(run.told("sink:copy", "started")) == 1
    assert place.recorded() == scripted.expected(1, 10)


def test_a_failure_for_good_stops_one_worker_and_the_others_go_on(place):
    other = place.path / "other.db"
    place.configure(
        sinks={
            "copy": {"type": "recording", "path": str(place.recording)},
            "other": {"type": "recording", "path": str(other)},
        }
    )
    scripted.write(place.script, 1, 10)
    scripted.trip(other, "fatal")
    run = place.start()
    run.until(lambda: run.told("sink:other", "failed"), "the failure is told")
    (told,) = run.told("sink:other", "failed")
    assert (told["message"], told["hint"]) == ("the test says to fail", "ask the test")
    scripted.write(place.script, 11, 20)
    run.until(lambda: len(place.recorded()) == 20, "the other sink goes on")
    assert len(run.told("sink:other", "started")) == 1
    assert run.stop() == 1
    assert scripted.recorded(other) == []
    assert place.start("--until-current").end() == 0
    assert scripted.recorded(other) == scripted.expected(1, 20)


def test_every_way_to_fail_for_good_is_told_and_the_run_ends_with_one_when_no_worker_is_left(place):
    ways = {"fatal": place.script, "defect": place.path / "defect", "exit": place.path / "exit"}
    place.configure(
        sources={way: {"type": "scripted", "path": str(script)} for way, script in ways.items()},
    )
    for way, script in ways.items():
        script.touch()
        scripted.trip(script, way)
    scripted.trip(place.recording, "fatal")
    run = place.start()
    assert run.end() == 1
    assert run.told("upkeep", "stopped")
    for worker in ("source:fatal", "sink:copy"):
        assert [told["message"] for told in run.told(worker, "failed")] == ["the test says to fail"]
    (defect,) = run.told("source:defect", "failed")
    assert "unexpected ValueError" in defect["message"]
    assert "scripted.py" in defect["message"]
    assert "12345" not in json.dumps(run.events)  # what it says may hold a value
    (silent,) = run.told("source:exit", "failed")
    assert silent["message"] == "the worker ended without a word, with exit code 3"


def test_until_current_ends_with_one_if_a_source_fails_but_applies_what_there_is(place):
    scripted.write(place.script, 1, 10)
    second = place.path / "second"
    scripted.write(second, 1, 10)
    scripted.trip(second, "fatal")
    place.configure(
        sources={
            "list": {"type": "scripted", "path": str(place.script)},
            "second": {"type": "scripted", "path": str(second)},
        }
    )
    run = place.start("--until-current")
    assert run.end() == 1
    assert place.recorded() == scripted.expected(1, 10)
    assert run.told("sink:copy", "reached")


def test_a_second_signal_kills_a_worker_that_hangs(place):
    run = place.start()
    run.until(lambda: run.told("source:list", "status"), "source at work")
    scripted.trip(place.script, "hang")
    run.until(lambda: not Path(f"{place.script}.trip").exists(), "source hangs")
    run.process.send_signal(signal.SIGTERM)
    run.until(lambda: run.told("sink:copy", "stopped"), "the others stop")
    assert run.process.poll() is None
    assert run.stop() == 1
    assert not [pid for pid in run.processes() if alive(pid)]


def test_a_second_run_on_the_same_log_waits_for_the_first_and_says_why(place):
    scripted.write(place.script, 1, 10)
    first = place.start()
    first.until(lambda: len(place.recorded()) == 10, "the first is at work")
    second = place.start()
    second.until(lambda: second.told("source:list", "restarting"), "the second says why")
    told = second.told("source:list", "restarting")[0]
    assert "source:list" in told["message"] and str(first.children["source:list"]) in told["message"]
    assert told["hint"]
    assert first.stop() == 0
    scripted.write(place.script, 11, 20)
    second.until(lambda: len(place.recorded()) == 20, "the second has taken over")
    assert second.stop() == 0
    assert place.recorded() == scripted.expected(1, 20)


def test_a_sink_of_another_log_is_refused(place):
    scripted.write(place.script, 1, 10)
    assert place.start("--until-current").end() == 0
    place.configure(log="var/other.log")
    run = place.start("--until-current")
    assert run.end() == 1
    (told,) = run.told("sink:copy", "failed")
    assert "another log" in told["message"]
    assert "teardown" in told["hint"]
    assert place.recorded() == scripted.expected(1, 10)


def test_a_sink_without_a_cursor_of_its_own_gets_each_event(place):
    place.configure(sinks={"paper": {"type": "printing"}})
    scripted.write(place.script, 1, 5)
    run = place.start("--until-current")
    assert run.end() == 0
    scripted.write(place.script, 6, 8)
    again = place.start("--until-current")
    assert again.end() == 0
    assert [tuple(map(int, line.split())) for line in run.output] == scripted.expected(1, 5)
    assert [tuple(map(int, line.split())) for line in again.output] == scripted.expected(6, 8)


def test_statuses_say_what_every_worker_does_and_workers_stay_small(place):
    scripted.write(place.script, 1, 2000)
    run = place.start()
    with EmbeddedLog.from_config(
        EmbeddedLog.Config(type="embedded", path=place.path / "var/test.log")
    ) as log:

        def said():
            return [log.statuses().get(name, {}) for name in ("source:list", "sink:copy")]

        run.until(lambda: said()[0].get("position") == "0/20001/0", "the source's status")
        run.until(lambda: (said()[1].get("cursor") or {}).get("offsets") == {"": 2000}, "the sink's status")
        source, sink = said()
    sizes = {worker: psutil.Process(pid).memory_info().rss >> 20 for worker, pid in run.children.items()}
    assert source["phase"] == "streaming"
    assert source["pid"] == run.children["source:list"]
    assert sink["phase"] == "applying"
    assert sink["lag"] == 0
    assert sink["timestamp"] > 1_000_000_000_000_000
    assert time.time() - 60 < sink["at"] <= time.time()
    assert run.stop() == 0
    assert len(sizes) == 3
    assert all(size < 60 for size in sizes.values()), sizes
