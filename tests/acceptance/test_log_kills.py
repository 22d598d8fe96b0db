"""The embedded log and its processes: killed at any moment it is whole, and news travel fast."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import shutil
import sqlite3
import time

import pytest

from liberator.log import Cursor
from liberator.log.embedded import EmbeddedLog
from liberator.testing.log_records import NOTHING, read_all, records, state
from tests.acceptance import log_child

# a process that has imported everything and forks those that are to be killed: they start at once
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([log_child.__name__])


@contextlib.contextmanager
def child(work, *arguments):
    """A process that is killed, without any warning, when the block ends; gives what it sends."""
    here, there = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=work, args=(there, *arguments), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.kill()
        process.join()
        process.close()
        here.close()


def ready(process):
    assert process.recv() == "ready"


def numbers(found):
    """The number at the beginning of each value."""
    return [int(value[: value.index(b":")]) for value in found.values]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.log"


def test_records_and_state_agree_after_every_kill(path):
    reached = {"a": 0, "b": 0}
    cursor = None
    for _ in range(25):
        with child(log_child.append, path, "a") as a, child(log_child.append, path, "b") as b:
            ready(a)
            ready(b)
            time.sleep(random.uniform(0.01, 0.25))
        with EmbeddedLog(path, create=False) as log:
            cursor = cursor or log.begin()
            slices = read_all(log, cursor, limit=5000)
            for part in slices:
                for topic, number in zip(part.records.topics, numbers(part.records), strict=True):
                    source = topic[0]
                    assert number == reached[source], "a record is missing, or there twice"
                    reached[source] += 1
            for source in ("a", "b"):
                now = log.state(source)
                if now is None:  # killed before its first append
                    assert reached[source] == 0
                    continue
                assert now.position.major == now.snapshot["count"] == reached[source]
                assert now.identity == {"source": source}
            cursor = slices[-1].cursor if slices else cursor
            assert cursor == log.end()
            assert sum(info.records for info in log.topics()) == sum(reached.values())
    assert min(reached.values()) > 0
    with EmbeddedLog(path) as log:
        assert log._storage.connection.execute("pragma integrity_check").fetchall() == [("ok",)]


class Filled:
    """A log with two sources' records, of which upkeep has something to remove; and what it held."""

    upkeep = (3600, 4_000_000)  # an hour later, and so many bytes are kept

    def __init__(self, path):
        self.path = path
        with child(log_child.append, path, "a") as a, child(log_child.append, path, "b") as b:
            ready(a)
            ready(b)
            while path.stat().st_size < 6_000_000:
                time.sleep(0.02)
        with EmbeddedLog(path) as log:
            for source in ("a", "b"):
                log.append(source, NOTHING, log.state(source))  # ends the transaction that went on
            self.end = log.end()
        self.before = self.records(path)
        self.last = {(r.topic, r.key): offset for offset, r in self.before.items()}

    @staticmethod
    def records(path):
        with EmbeddedLog(path, create=False) as log:
            return {r.offset: r for part in read_all(log, limit=5000) for r in part.records}

    def copy(self, path):
        shutil.copy(self.path, path)  # nobody has it open
        return path

    def superseded(self, path):
        """How many records of ``a`` upkeep may still remove, once it is sure that nothing else is gone."""
        after = self.records(path)
        assert all(self.before[offset] == r for offset, r in after.items())
        with EmbeddedLog(path, create=False) as log:
            assert log.end() == self.end
            trimmed = log.begin().offsets[""]
            for info in log.topics():
                assert info.records == sum(r.topic == info.topic for r in after.values())
            assert log._storage.connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        for offset, r in self.before.items():
            if offset >= trimmed and offset not in after:
                assert r.topic.startswith("a.")
                assert self.last[r.topic, r.key] > offset
        return sum(self.last[r.topic, r.key] > offset for offset, r in after.items() if r.topic[0] == "a")


def test_killed_upkeep_takes_away_nothing_that_should_stay(path, tmp_path):
    filled = Filled(path)
    whole = filled.copy(tmp_path / "whole.log")
    started = time.monotonic()
    with child(log_child.upkeep, whole, *filled.upkeep) as process:
        ready(process)
        assert process.recv() == "idle"
    duration = time.monotonic() - started
    assert filled.superseded(whole) == 0
    unfinished, attempts = 0, 12
    for attempt in range(attempts):
        killed = filled.copy(tmp_path / f"killed{attempt}.log")
        with child(log_child.upkeep, killed, *filled.upkeep) as process:
            ready(process)
            time.sleep(duration * (attempt + random.random()) / attempts)  # spread over all of it
        unfinished += filled.superseded(killed) > 0
        if attempt % 5 == 0:
            with child(log_child.upkeep, killed, *filled.upkeep) as process:
                ready(process)
                assert process.recv() == "idle"
            assert filled.superseded(killed) == 0
    assert unfinished > 0, "every kill came after the work was done"


def test_a_torn_write_ahead_file_costs_whole_appends_only(path, tmp_path):
    """What a machine's crash may leave of the newest bytes: a part of them, or garbage."""
    log = EmbeddedLog(path)
    log._storage.connection.execute("pragma wal_autocheckpoint = 0")
    for n in range(60):
        log.append("shop", records(*range(20 * n, 20 * n + 20)), state(20 * n + 20, snapshot={"n": n}))
    whole = (tmp_path / "shop.log-wal").read_bytes()
    main = path.read_bytes()
    log.close()
    lengths = set()
    for attempt in range(40):
        place = tmp_path / f"torn{attempt}"
        place.mkdir()
        cut = random.randrange(len(whole))
        rest = b"" if attempt % 2 else random.randbytes(min(4096, len(whole) - cut))
        (place / "shop.log").write_bytes(main)
        (place / "shop.log-wal").write_bytes(
            whole[:cut] + rest + (b"" if attempt % 2 else whole[cut + len(rest) :])
        )
        with EmbeddedLog(place / "shop.log", create=False) as torn:
            found = [r for part in read_all(torn) for r in part.records]
            assert [int(r.value[1:]) for r in found] == list(range(len(found)))
            reached = torn.state("shop")
            assert (reached.position.major if reached else 0) == len(found)
            torn.append("shop", records(7), state(9))
        lengths.add(len(found))
        shutil.rmtree(place)
    assert len(lengths) > 5


def test_a_copy_that_sqlite_makes_of_a_running_log_is_a_log(path, tmp_path):
    with child(log_child.append, path, "a") as process:
        ready(process)
        with EmbeddedLog(path, create=False) as log:
            assert log.wait(log.begin(), 30)
        for attempt in range(3):
            copy = tmp_path / f"backup{attempt}.log"
            with (
                contextlib.closing(sqlite3.connect(path)) as running,
                contextlib.closing(sqlite3.connect(copy)) as backup,
            ):
                running.backup(backup)
            with EmbeddedLog(copy, create=False) as log:
                found = [n for part in read_all(log, limit=5000) for n in numbers(part.records)]
                assert found == list(range(log.state("a").position.major))
                assert found


def test_a_record_reaches_a_waiting_process_soon(path):
    """How often it looks is in tests/unit/test_log_file.py; this is what a busy machine makes of it."""
    median = min(measure(path, 100)[50] for _ in range(2))
    assert median < 50


def measure(path, count):
    """Milliseconds from when each append returned to when its record was read elsewhere, sorted."""
    with EmbeddedLog(path) as log, child(log_child.beat, path, count) as process:
        cursor, arrived = log.end(), []
        while len(arrived) < count:
            assert log.wait(cursor, 30)
            found = log.read(cursor, None, 100)
            arrived += [time.monotonic_ns()] * len(found.records)
            cursor = found.cursor
        durable = [process.recv() for _ in range(count)]
        return sorted((there - here) / 1e6 for here, there in zip(durable, arrived, strict=True))


def test_a_reader_may_begin_while_the_log_grows(path):
    with child(log_child.append, path, "a") as process:
        ready(process)
        with EmbeddedLog(path, create=False) as log:
            cursor, seen = Cursor(log.identity, {}), 0
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                part = log.read(cursor, None, 5000)
                assert numbers(part.records) == list(range(seen, seen + len(part.records)))
                seen += len(part.records)
                cursor = part.cursor
                if not part.records:
                    log.wait(cursor, 0.1)
            assert seen > 1000


def test_a_reader_gets_everything_in_order_while_batches_are_rewritten_under_it(path):
    with (
        child(log_child.append, path, "a") as a,
        child(log_child.append, path, "b") as b,
        EmbeddedLog(path) as log,
    ):
        ready(a)
        ready(b)
        with child(log_child.upkeep, path, 3600, 10**12) as upkeep:
            ready(upkeep)
            cursor, next_b, last, rounds = log.begin(), 0, -1, 0
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                part = log.read(cursor, None, 3000)
                assert part.records.offsets == sorted(set(part.records.offsets))
                if part.records:
                    assert part.records.offsets[0] > last
                    last = part.records.offsets[-1]
                of_b = [
                    n for t, n in zip(part.records.topics, numbers(part.records), strict=True) if t[0] == "b"
                ]
                assert of_b == list(range(next_b, next_b + len(of_b)))
                next_b += len(of_b)
                cursor = part.cursor
                if not part.records:  # at the end: once more, through what was rewritten meanwhile
                    cursor, next_b, last, rounds = log.begin(), 0, -1, rounds + 1
            assert rounds > 0
        (rewritten,) = log._storage.connection.execute(
            "select max(cleaned) + (select packed from log) from topics"
        )
        assert rewritten[0] > 0
