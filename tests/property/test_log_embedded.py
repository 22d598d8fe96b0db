"""Any history of appends, upkeep and restarts leaves in the embedded log what a simple model says."""

from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liberator.log import (
    Cursor,
    Record,
    Records,
    batch,
    embedded_compaction,
    embedded_pack,
    embedded_read,
    embedded_upkeep,
    embedded_write,
)
from liberator.log.embedded import EmbeddedLog
from liberator.log.embedded_upkeep import Policy
from liberator.testing.log_records import read_all, state

DELAY, AGE, SETTLE = 500, 1000, 60


@pytest.fixture(autouse=True, scope="module")
def _small():
    """Small limits, so that small histories meet them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "MOST_RECORDS", 7)
        patch.setattr(embedded_compaction, "FEWEST", 3)
        patch.setattr(embedded_compaction, "READ", 300)
        patch.setattr(embedded_pack, "FULL", 12)
        patch.setattr(embedded_pack, "LARGE", 4)
        patch.setattr(embedded_read, "MANY_PASSED", 2)
        patch.setattr(embedded_read, "MOST_PASSED", 5)
        for module in (embedded_read, embedded_write, embedded_compaction, embedded_upkeep):
            patch.setattr(module, "SPAN", 16)
        yield


class History:
    """A log, and what a simple model says of it."""

    def __init__(self, path: Path):
        self.path = path
        self.now = 1_700_000_000
        self.appended: list[tuple[int, Record]] = []  # when, and what
        self.open: dict[str, set[str]] = {}  # topics of each source's transaction that goes on
        self.standing: dict[int, set[str]] = {0: set()}  # all of them, by the offset at which they did
        self.states: dict[str, object] = {}
        self.compacted = False
        self.log = self.reopen()

    def reopen(self) -> EmbeddedLog:
        policy = Policy(AGE, None, lambda topic: topic.startswith("c"), DELAY, SETTLE)
        return EmbeddedLog(self.path, policy, clock=lambda: self.now)

    def append(self, source: str, kinds: list[tuple[str, int, bool]], goes_on: bool) -> None:
        start = len(self.appended)
        made = [
            Record(topic, b"%d" % key if key else None, None if gone else b"v%d" % (start + n), (), n)
            for n, (topic, key, gone) in enumerate(kinds)
        ]
        self.states[source] = state(start, schemas={"at": start})
        assert self.log.append(source, Records.of(made), self.states[source], open=goes_on) == start + len(
            made
        )
        self.appended += [(self.now, record) for record in made]
        before = self.open.pop(source, set())
        if goes_on:
            self.open[source] = before | {record.topic for record in made}
        self.standing[len(self.appended)] = set().union(*self.open.values())

    def check(self, topics: set[str] | None, start: int, limit: int) -> None:
        log, trimmed = self.log, self.log.begin().offsets[""]
        assert log.end().offsets[""] == len(self.appended)
        start = max(trimmed, min(start, len(self.appended)))
        predicate = None if topics is None else topics.__contains__
        slices = read_all(log, Cursor(log.identity, {"": start}), predicate, limit)
        found = {r.offset: r._replace(offset=-1) for part in slices for r in part.records}
        offsets = [r.offset for part in slices for r in part.records]
        assert offsets == sorted(set(offsets))
        settled = [(n, r) for n, (when, r) in enumerate(self.appended) if when <= self.now - SETTLE]
        last = {(r.topic, r.key): n for n, r in settled}
        for offset, (when, record) in enumerate(self.appended):
            if offset < start or (topics is not None and record.topic not in topics):
                assert offset not in found
                continue
            superseded = last.get((record.topic, record.key), -1) > offset
            old = record.value is None and when <= self.now - DELAY
            may_go = record.topic.startswith("c") and record.key is not None and (superseded or old)
            assert offset in found or (may_go and self.compacted), (offset, record)
            assert found.get(offset, record) == record
        for part in slices:
            self.check_cut(part.cursor.offsets[""], part.complete, topics)
        assert {name: log.state(name) for name in log.sources()} == self.states
        for info in log.topics():
            if topics is None and start == trimmed:
                mine = [o for o, r in found.items() if r.topic == info.topic]
                assert (info.records, info.first) == (len(mine), min(mine, default=-1))

    def check_cut(self, place: int, complete: bool, topics: set[str] | None) -> None:
        """Whether a source transaction is cut at ``place``."""
        standing = self.standing.get(place)
        if standing is None:  # inside of what was appended together
            assert not complete or self.compacted or topics is not None
            return
        cut = bool(standing) if topics is None else bool(standing & topics)
        assert complete or cut
        # a cut is no longer one when compaction has removed all that was before it
        assert not (complete and cut) or self.compacted


kinds = st.tuples(st.sampled_from(["c1", "c2", "d"]), st.integers(0, 3), st.booleans())
steps = st.one_of(
    st.tuples(st.just("append"), st.sampled_from("ab"), st.lists(kinds, max_size=20), st.booleans()),
    st.tuples(st.just("append"), st.sampled_from("ab"), st.lists(kinds, max_size=2), st.just(False)),
    st.tuples(st.just("sleep"), st.sampled_from([1, SETTLE + 1, DELAY, AGE])),
    st.tuples(st.just("upkeep"), st.integers(1, 30)),
    st.tuples(st.just("reopen")),
    st.tuples(
        st.just("check"),
        st.one_of(st.none(), st.sets(st.sampled_from(["c1", "c2", "d", "e"]))),
        st.integers(0, 200),
        st.integers(1, 30),
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=30))
def test_the_log_holds_what_was_appended_but_for_what_may_go(given_steps):
    with TemporaryDirectory() as directory:
        history = History(Path(directory) / "shop.log")
        for step in itertools.chain(
            given_steps, [("check", None, 0, 5), ("upkeep", 200), ("check", None, 0, 5)]
        ):
            match step:
                case "append", source, made, goes_on:
                    history.append(source, made, goes_on)
                case "sleep", seconds:
                    history.now += seconds
                case "upkeep", count:
                    history.compacted = True
                    for _ in range(count):
                        if not history.log.upkeep():
                            break
                case ("reopen",):
                    history.log.close()
                    history.log = history.reopen()
                case "check", topics, start, limit:
                    history.check(topics, start, limit)
        history.log.close()
