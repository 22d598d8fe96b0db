"""The embedded log's file: what is refused, and what the errors say."""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from liberator.errors import LogError
from liberator.log import Cursor, Records, embedded, embedded_read
from liberator.log import storage as storage_
from liberator.log.embedded import EmbeddedLog, EmbeddedOptions
from liberator.log.storage import Storage
from liberator.testing.log_records import joined, numbers, read_all, record, records, state


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.log"


def config(path, **options):
    return EmbeddedOptions.model_validate({"type": "embedded", "path": str(path), **options})


def edit(path, *statements):
    """Change the file behind the log's back."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement)
    finally:
        connection.close()


def test_a_log_is_opened_from_its_options(path):
    options = config(
        path.parent / "deep" / "er" / "shop.log",
        retention={"age": "7d", "size": "10GB"},
        compact=["shop.*"],
        tombstone_delay="12h",
    )
    with EmbeddedLog.from_config(options) as log:
        log.append("shop", records(1), state(1))
    policy = log._upkeep._policy
    assert (policy.retention_age, policy.retention_bytes, policy.tombstone_delay) == (604_800, 10**10, 43_200)
    assert policy.compact("shop.public.orders")
    assert not policy.compact("crm.public.orders")
    with EmbeddedLog.from_config(options, create=False) as log:
        assert log.state("shop") == state(1)


@pytest.mark.parametrize(
    "options",
    [
        {"retention": {"age": "soon"}},
        {"retention": {"size": "10 apples"}},
        {"retention": {"size": -1}},
        {"compact": []},
        {"tombstone_delay": "-1d"},
        {"compression": "zstd"},
    ],
)
def test_wrong_options_are_refused(path, options):
    with pytest.raises(ValidationError):
        config(path, **options)


def test_looking_at_a_log_that_does_not_exist_makes_nothing(path):
    with pytest.raises(LogError, match="there is no log at") as missing:
        EmbeddedLog(path, create=False)
    assert "liberator run" in missing.value.hint
    assert list(path.parent.iterdir()) == []


def test_logs_have_different_identities(tmp_path):
    with EmbeddedLog(tmp_path / "a") as a, EmbeddedLog(tmp_path / "b") as b:
        assert a.identity != b.identity


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000, b"SQLite format 3\x00"])
def test_a_file_that_is_not_a_log_is_refused_and_kept(path, content):
    path.write_bytes(content)
    with pytest.raises(LogError, match="is not a log of liberator"):
        EmbeddedLog(path)
    assert path.read_bytes() == content


def test_another_database_is_refused_and_kept(path):
    edit(path, "create table precious (id integer)")
    before = path.read_bytes()
    with pytest.raises(LogError, match="is not a log of liberator"):
        EmbeddedLog(path)
    assert path.read_bytes() == before


def test_a_directory_is_refused(path):
    path.mkdir()
    with pytest.raises(LogError, match="is a directory"):
        EmbeddedLog(path)


def test_a_directory_that_cannot_be_made_is_an_error(path):
    path.write_bytes(b"a file where a directory should be")
    with pytest.raises(LogError, match="cannot make the directory"):
        EmbeddedLog(path / "shop.log")


def test_a_log_of_a_newer_format_is_refused(path):
    EmbeddedLog(path).close()
    edit(path, "pragma user_version = 99")
    with pytest.raises(LogError, match="format 99") as newer:
        EmbeddedLog(path)
    assert "newer" in newer.value.hint


def test_a_write_ahead_file_without_its_log_is_not_mixed_into_a_new_one(path):
    log = EmbeddedLog(path)
    log.append("shop", records(1), state(1))
    path.unlink()
    with pytest.raises(LogError, match="write-ahead file"):
        EmbeddedLog(path)
    log.close()


def test_many_processes_may_create_the_log_at_the_same_time(path):
    start = threading.Barrier(8)

    def make(_):
        start.wait()
        with EmbeddedLog(path) as log:
            return log.identity

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 1
    assert not (path.parent / "shop.log.d" / "draft").exists()


def test_what_a_killed_creation_left_is_no_obstacle(path):
    beside = path.parent / "shop.log.d"
    beside.mkdir()
    (beside / "draft").write_bytes(b"torn")
    (beside / "draft-wal").write_bytes(b"torn too")
    with EmbeddedLog(path) as log:
        log.append("shop", records(1), state(1))
        assert numbers(joined(read_all(log))) == [1]


def test_the_directory_beside_the_log_may_be_lost(path):
    with EmbeddedLog(path) as log:
        log.append("shop", records(1), state(1))
    for file in sorted((path.parent / "shop.log.d").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    with EmbeddedLog(path, create=False) as log:
        log.append("shop", records(2), state(2))
        assert numbers(joined(read_all(log))) == [1, 2]


@pytest.mark.parametrize(
    "damage",
    [
        "update batches set data = cast(substr(data, 1, 60) || x'00' || substr(data, 62) as blob) "
        "where next = 4",
        "update batches set base = 3 where next = 4",
        "update batches set topics = '1' where next = 4",
        "update batches set crc = crc + 1 where next = 4",
    ],
)
def test_a_damaged_batch_is_named_and_never_delivered(path, damage):
    with EmbeddedLog(path) as log:
        log.append("shop", records(0, 1, topic="a"), state(1))
        log.append("shop", records(2, 3, topic="b"), state(2))
        log.append("shop", records(4, 5, topic="b"), state(3))
    edit(path, damage)
    with EmbeddedLog(path) as log:
        assert numbers(log.read(log.begin(), None, 1).records) == [0, 1]
        with pytest.raises(LogError, match="damaged") as damaged:
            read_all(log, Cursor(log.identity, {"": 2}))
        assert "restore" in damaged.value.hint
        assert numbers(joined(read_all(log, Cursor(log.identity, {"": 4})))) == [4, 5]


def test_the_damaged_offsets_are_told(path):
    with EmbeddedLog(path) as log:
        log.append("shop", records(0, 1), state(1))
        edit(path, "update batches set crc = 0")
        with pytest.raises(LogError, match=r"offsets 0 to 1 of log .*shop.log is damaged"):
            log.read(log.begin(), None, 10)


def test_a_damaged_page_is_an_error_with_a_hint(path):
    with EmbeddedLog(path) as log:
        log.append("shop", records(*range(5000)), state(1))
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(2, size // storage_.PAGE):
            file.seek(page * storage_.PAGE)
            file.write(b"\xff" * 200)
    with pytest.raises(LogError) as damaged, EmbeddedLog(path) as log:
        read_all(log)
    assert "backup" in damaged.value.hint


def test_a_full_disk_is_an_error_that_passes_and_changes_nothing(path):
    with EmbeddedLog(path) as log:
        log.append("shop", records(1), state(1))
        # room for the first of the batches that this append is split into
        log._storage.connection.execute("pragma max_page_count = 2000")
        with pytest.raises(LogError, match=r"cannot append records of source shop .* disk is full") as full:
            log.append(
                "shop", Records(["t"] * 12, [b"k"] * 12, [bytes(10**6)] * 12, [()] * 12, [0] * 12), state(2)
            )
        assert full.value.retryable
        assert full.value.hint
        assert (log.state("shop"), log.end().offsets) == (state(1), {"": 1})
        log._storage.connection.execute("pragma max_page_count = 1000000")
        log.append("shop", records(2), state(2, schemas={"t": 1}))
        assert numbers(joined(read_all(log))) == [1, 2]
        assert log.state("shop") == state(2, schemas={"t": 1})


def test_trouble_after_the_commit_does_not_look_like_a_failed_append(path):
    with EmbeddedLog(path) as log:
        log._storage._wal = str(path / "below a file")  # so that its size cannot be found out
        log.append("shop", records(1), state(1))
        assert numbers(joined(read_all(log))) == [1]


def test_a_log_that_is_removed_while_in_use_does_not_swallow_records(path):
    with EmbeddedLog(path) as log:
        log.append("shop", records(1), state(1))
        path.rename(path.with_name("elsewhere"))
        for attempt in (lambda: log.append("shop", records(2), state(2)), lambda: log.wait(log.end(), 0)):
            with pytest.raises(LogError, match="removed or replaced") as gone:
                attempt()
            assert not gone.value.retryable
        path.with_name("elsewhere").rename(path)
        log.append("shop", records(2), state(2))
        assert numbers(joined(read_all(log))) == [1, 2]


def test_columns_that_do_not_belong_together_are_refused(path):
    with EmbeddedLog(path) as log:
        with pytest.raises(ValueError, match="different lengths"):
            log.append("shop", Records(["t", "t"], [b"k"], [b"v"], [(), ()], [0, 0]), state(1))
        assert log.state("shop") is None


def test_a_killed_workers_draft_of_its_status_is_cleared_away(path):
    with EmbeddedLog(path) as log:
        log.put_status("source:shop", {"phase": "streaming"})
        place = path.parent / "shop.log.d" / "status"
        (place / "source%3Ashop.1.draft").write_text("torn")
        (place / "source%3Ashop.2.draft").write_text("being written")
        (place / "source%3Ashop2.1.draft").write_text("of another worker")
        for name in ("source%3Ashop.1.draft", "source%3Ashop2.1.draft"):
            os.utime(place / name, (0, 0))
    with EmbeddedLog(path) as log:
        log.put_status("source:shop", {"phase": "again"})
        assert log.statuses() == {"source:shop": {"phase": "again"}}
        left = ["source%3Ashop.2.draft", "source%3Ashop.json", "source%3Ashop2.1.draft"]
        assert sorted(file.name for file in place.iterdir()) == left


def test_an_old_sqlite_is_refused(path, monkeypatch):
    monkeypatch.setattr(storage_.sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(LogError, match=r"needs SQLite 3\.35\.0"):
        EmbeddedLog(path)


def test_commits_are_synced(path):
    with EmbeddedLog(path) as log:
        pragma = log._storage.connection.execute
        assert pragma("pragma synchronous").fetchone() == (2,)  # full
        assert pragma("pragma journal_mode").fetchone() == ("wal",)


def test_a_failed_append_leaves_no_trace_in_what_the_instance_remembers(path):
    parts = {"schemas": {"t": "x"}}
    with EmbeddedLog(path) as log:
        log.append("shop", records(1), state(1))
        log._storage.connection.execute("pragma max_page_count = 60")
        after = state(2, **parts)
        with pytest.raises(LogError):
            log.append("shop", Records(["new topic"], [b"k"], [b"v" * 1_000_000], [()], [0]), after)
        log._storage.connection.execute("pragma max_page_count = 1000000")
        assert [topic.topic for topic in log.topics()] == ["shop.public.orders"]
        log.append("shop", records(2, topic="another topic"), after)
        log.append("shop", records(3, topic="new topic"), after)
    with EmbeddedLog(path) as log:
        assert log.state("shop") == after
        assert [(t.topic, t.records, t.first) for t in log.topics()] == [
            ("another topic", 1, 1),
            ("new topic", 1, 2),
            ("shop.public.orders", 1, 0),
        ]


def test_a_log_that_cannot_be_written_is_an_error_that_does_not_pass(path):
    with EmbeddedLog(path) as log:
        log._storage.connection.execute("pragma query_only = 1")
        with pytest.raises(LogError, match="cannot append records of source shop") as refused:
            log.append("shop", records(1), state(1))
        assert not refused.value.retryable
        assert "write" in refused.value.hint


def test_a_writer_that_never_ends_is_an_error_after_a_while(path):
    log, other = EmbeddedLog(path), EmbeddedLog(path)
    log._storage.timeout = 0.2
    other._storage.connection.execute("begin immediate")
    started = time.monotonic()
    with pytest.raises(LogError, match="written by another process") as busy:
        log.append("shop", records(1), state(1))
    assert 0.2 <= time.monotonic() - started < 5
    assert busy.value.retryable
    other._storage.connection.execute("rollback")
    log.append("shop", records(1), state(1))
    log.close()
    other.close()


def test_writers_without_pause_take_turns(path):
    EmbeddedLog(path).close()
    order = []
    start = threading.Barrier(3)

    def write(name):
        mine = Storage(path, create=False)
        start.wait()
        for _ in range(30):
            with mine.write("take turns"):
                order.append(name)
                time.sleep(0.005)
        mine.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, "abc"))
    together = order[:45]  # towards the end, some have finished
    # one that got no processor misses its turn; without turns one alone does all thirty
    assert max(len(list(run)) for _, run in itertools.groupby(together)) <= 10
    assert {name: together.count(name) >= 5 for name in "abc"} == {"a": True, "b": True, "c": True}


def test_the_write_ahead_file_stays_small_while_there_is_always_a_reader(path, monkeypatch):
    """It begins anew only at a moment without a reader; four that overlap leave none by chance."""
    monkeypatch.setattr(storage_, "MOST_WAL", 2 << 20)
    monkeypatch.setattr(storage_, "CHECKPOINT", 50)
    monkeypatch.setattr(storage_, "PATIENCE", 0.1)
    stop = threading.Event()
    EmbeddedLog(path).close()

    def read():
        mine = Storage(path, create=False)
        while not stop.is_set():
            with mine.read("hold") as connection:
                connection.execute("select next from log").fetchone()
                time.sleep(0.01)
        mine.close()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        with EmbeddedLog(path) as log:
            most = 0
            blob = Records(["t"] * 10, [b"k"] * 10, [os.urandom(10_000)] * 10, [()] * 10, [0] * 10)
            for _ in range(400):
                log.append("shop", blob, state(1))
                most = max(most, (path.parent / "shop.log-wal").stat().st_size)
            assert most < 20 << 20  # of 40 MB that were written
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def test_long_stretches_of_other_topics_are_passed_over_and_nothing_else(path, monkeypatch):
    monkeypatch.setattr(embedded_read, "MANY_PASSED", 2)
    with EmbeddedLog(path) as log:
        where = []
        for n in range(70):
            filler = Records(["filler"] * 3000, [None] * 3000, [b"v0"] * 3000, [()] * 3000, [0] * 3000)
            # this batch lies across the border of a span, with the wanted record behind it
            if n in (21, 43):
                filler.add(record(n, "wanted"))
            where.append(log.append("shop", filler, state(n)))
        spans = {
            (where[n] - 3001) // embedded_read.SPAN != (where[n] - 1) // embedded_read.SPAN for n in (21, 43)
        }
        assert spans == {True}
        slices = read_all(log, topics=lambda topic: topic == "wanted")
        assert numbers(joined(slices)) == [21, 43]
        assert slices[-1].cursor == log.end()


def test_a_reader_of_a_rare_topic_does_not_look_at_every_batch(path, monkeypatch):
    monkeypatch.setattr(embedded_read, "MANY_PASSED", 2)
    with EmbeddedLog(path) as log:
        log.append("shop", records(1, topic="rare"), state(1))
        filler = Records(["filler"] * 5000, [None] * 5000, [b"v0"] * 5000, [()] * 5000, [0] * 5000)
        for n in range(60):
            log.append("shop", filler, state(n))
        looked = []
        log._storage.connection.set_trace_callback(looked.append)
        assert numbers(joined(read_all(log, topics=lambda topic: topic == "rare"))) == [1]
        assert not [statement for statement in looked if statement.startswith("select data")][1:]
        log._storage.connection.set_trace_callback(None)


class Naps:
    """Stands for the module time: sleeping takes none, and is written down."""

    def __init__(self):
        self.now, self.naps = 1000.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def naps(monkeypatch):
    stand_in = Naps()
    monkeypatch.setattr(embedded, "time", stand_in)
    return stand_in


def looks(log, cursor, timeout):
    """The statements that one wait executes."""
    statements = []
    log._storage.connection.set_trace_callback(statements.append)
    assert not log.wait(cursor, timeout)
    log._storage.connection.set_trace_callback(None)
    return statements


def test_waiting_looks_at_one_number_now_and_then(path, naps):
    """Cheap for whoever waits, and still within milliseconds of the news."""
    with EmbeddedLog(path) as log:
        log.append("shop", records(1), state(1))
        statements = looks(log, log.end(), 10.0)
    assert naps.now == pytest.approx(1010)
    assert max(naps.naps) == 0.007
    assert len(naps.naps) <= 10 / 0.007 + 1
    versions = [text for text in statements if text == "pragma data_version"]
    assert len(versions) <= len(naps.naps) + 1
    assert len(statements) - len(versions) <= 5, "tables are read once, as nothing has changed since"


def test_waiting_looks_more_often_while_news_are_recent(path, naps):
    with EmbeddedLog(path) as log:
        log.append("shop", records(1), state(1))
        assert log.wait(log.begin(), 1.0)
        looks(log, log.end(), 1.0)
    assert naps.naps[:200] == [0.001] * 200
    assert set(naps.naps[260:-1]) == {0.007}
