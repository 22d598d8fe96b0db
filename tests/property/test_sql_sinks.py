"""Whatever a source does to its tables, and however its events are cut into batches, the target's tables
are equal to it afterwards.

A small table is played with: inserts, updates that send some of the columns, deletes, key changes,
truncates; its column ``code`` is unique at the source and at the target. The model is a dict to which the
same steps are done one by one.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.postgres.sink import writer
from liberator.event import ABSENT, Operation
from liberator.schema import Kind
from liberator.testing.events import create, delete, read, rekey, table, transaction, truncate, update
from tests.targets import PostgresTarget, SqliteTarget, at, mysql_target

PLAY = table(
    "play", {"id": Kind.INT64, "code": Kind.STRING, "note": Kind.STRING, "n": Kind.INT32}, key=["id"]
)
COLUMNS = ("id", "code", "note", "n")
BAG = table("bag", {"a": Kind.INT64, "b": Kind.STRING})

SETTINGS = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
KEYS = st.integers(1, 5)
CODES = st.one_of(st.none(), st.sampled_from(["x", "y", "z"]))
NOTES = st.one_of(st.none(), st.sampled_from(["p", "q\t\\N\n"]))
NUMBERS = st.one_of(st.none(), st.integers(-3, 3))


#: DDL costs much there: each play is played on one of the two.
FAMILY = {
    "test_a_mirror_equals_its_source_after_every_batch": "mysql staged",
    "test_softly_deleted_rows_stay_and_are_marked": "mariadb staged",
    "test_deletes_that_are_ignored_leave_the_last_row": "mysql",
    "test_a_history_has_a_version_for_every_change_and_its_last_ones_are_the_source": "mysql staged",
    "test_a_table_without_a_key_is_mirrored_with_its_duplicates": "mariadb",
}


@pytest.fixture(params=["sqlite", "postgres", "postgres staged", "mysql or mariadb"])
def target(request, tmp_path, monkeypatch):
    if request.param == "sqlite":
        return SqliteTarget(tmp_path / "target.db")
    if request.param == "mysql or mariadb":
        return mysql_target(request, FAMILY[request.function.__name__], monkeypatch)
    if request.param == "postgres staged":
        monkeypatch.setattr(writer, "FEW", 0)
    return PostgresTarget(request.getfixturevalue("database"))


class Player:
    """A source's table, its events, and its versions as a history would tell them."""

    def __init__(self, draw):
        self.draw = draw
        self.rows = {}
        self.seen = {}  # every key that was ever there, with its last row
        self.events = []
        self.ends = []

    def free_code(self, key):
        code = self.draw(CODES)
        taken = {row[1] for k, row in self.rows.items() if k != key}
        return None if code in taken else code

    def step(self):
        kinds = ["create", "update", "update", "delete", "move", "swap", "truncate", "read"]
        getattr(self, self.draw(st.sampled_from(kinds)))()

    def put(self, key, row):
        self.rows[key] = row
        self.seen[key] = row

    def create(self):
        key = self.draw(KEYS)
        if key not in self.rows:
            row = (key, self.free_code(key), self.draw(NOTES), self.draw(NUMBERS))
            self.put(key, row)
            self.events.append(create(PLAY, **dict(zip(COLUMNS, row, strict=True))))

    def read(self):
        if self.rows:
            row = self.rows[self.draw(st.sampled_from(sorted(self.rows)))]
            self.events.append(read(PLAY, **dict(zip(COLUMNS, row, strict=True))))

    def update(self):
        if self.rows:
            key = self.draw(st.sampled_from(sorted(self.rows)))
            new = {"code": self.free_code(key), "note": self.draw(NOTES), "n": self.draw(NUMBERS)}
            sent = self.draw(st.sets(st.sampled_from(COLUMNS[1:])))
            values = {name: new[name] for name in COLUMNS[1:] if name in sent}
            old = dict(zip(COLUMNS, self.rows[key], strict=True))
            self.put(key, tuple((old | values).values()))
            self.events.append(update(PLAY, id=key, **values))

    def delete(self):
        if self.rows:
            key = self.draw(st.sampled_from(sorted(self.rows)))
            del self.rows[key]
            self.events.append(delete(PLAY, id=key))

    def move(self, old=None, new=None):
        if self.rows:
            old = old or self.draw(st.sampled_from(sorted(self.rows)))
            new = new or self.draw(KEYS)
            if new in self.rows:
                return
            row = (new, *self.rows.pop(old)[1:])
            self.put(new, row)
            values = dict(zip(COLUMNS, row, strict=True))
            kept = self.draw(st.sets(st.sampled_from(COLUMNS[1:])))
            gone, come = rekey(PLAY, {"id": old}, **values)
            come.after = tuple(ABSENT if c in kept else v for c, v in zip(COLUMNS, come.after, strict=True))
            self.events += [gone, come]

    def swap(self):
        if len(self.rows) > 1:
            one, two = sorted(self.rows)[:2]
            for old, new in ((one, 9), (two, one), (9, two)):
                self.move(old, new)

    def truncate(self):
        if self.draw(st.integers(0, 3)) == 0:
            self.rows.clear()
            self.events.append(truncate(PLAY))


@st.composite
def plays(draw):
    player = Player(draw)
    batches = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        for _ in range(draw(st.integers(0, 8))):
            player.step()
        # A snapshot's row stands between transactions.
        runs = [list(run) for _, run in groupby(player.events, lambda e: e.operation is Operation.READ)]
        events = [e for i, run in enumerate(runs) for e in transaction(100 * number + i, *run)]
        batches.append((events, dict(player.rows), dict(player.seen)))
        player.events = []
    return batches


def forget(target):
    """Make the target as if no sink had ever been there."""
    target.sink().teardown()
    target.execute("drop table if exists play; drop table if exists bag")


@SETTINGS
@given(plays())
def test_a_mirror_equals_its_source_after_every_batch(target, batches):
    forget(target)
    target.execute(
        "create table play (id bigint not null primary key, code varchar(20) unique, note text, n integer)"
    )
    sink = target.sink()
    sink.open()
    try:
        for number, (events, rows, _) in enumerate(batches):
            half = len(events) // 2
            sink.write(events[:half])  # a transaction may arrive in parts
            sink.write(events[half:])
            sink.commit(at(number))
            assert target.rows("play", ", ".join(COLUMNS)) == set(rows.values())
    finally:
        sink.close()


@SETTINGS
@given(plays())
def test_softly_deleted_rows_stay_and_are_marked(target, batches):
    forget(target)
    # A key change leaves its old key behind as deleted, with whatever it had.
    target.apply(*(events for events, _, _ in batches), delete="soft")
    if not any(events for events, _, _ in batches):
        return
    _, rows, seen = batches[-1]
    found = target.rows("play", ", ".join(COLUMNS) + ", _deleted_at")
    assert {row[:4] for row in found if row[4] is None} == set(rows.values())
    assert {row[0] for row in found if row[4] is not None} == set(seen) - set(rows)


@SETTINGS
@given(plays())
def test_deletes_that_are_ignored_leave_the_last_row(target, batches):
    forget(target)
    target.apply(*(events for events, _, _ in batches), delete="ignore", truncate="ignore")
    if any(events for events, _, _ in batches):
        assert target.rows("play", ", ".join(COLUMNS)) == set(batches[-1][2].values())


@SETTINGS
@given(plays())
def test_a_history_has_a_version_for_every_change_and_its_last_ones_are_the_source(target, batches):
    forget(target)
    target.apply(*(events for events, _, _ in batches), mode="history")
    if not any(events for events, _, _ in batches):
        return
    names = ", ".join(COLUMNS) + ", valid_from, valid_to, is_current, _position"
    versions = sorted(target.rows("play", names), key=lambda v: (v[0], v[7]))
    assert {v[:4] for v in versions if v[6]} == set(batches[-1][1].values())
    assert all((v[5] is None) == bool(v[6]) for v in versions)
    for before, after in pairwise(versions):
        if before[0] == after[0]:
            assert before[5] is not None and before[4] <= before[5] <= after[4]
    count = Counter(e.operation for events, _, _ in batches for e in events)
    changes = count[Operation.CREATE] + count[Operation.UPDATE]
    # A row read behind a change that was sent in part, in one batch, may be one version too many.
    assert changes <= len(versions) <= changes + count[Operation.READ]


@st.composite
def bags(draw):
    """Rows without a key: every change says which row it was."""
    rows, batches = [], []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        events = []
        for _ in range(draw(st.integers(0, 8))):
            row = (draw(st.integers(1, 2)), draw(st.one_of(st.none(), st.sampled_from("pq"))))
            values = dict(zip("ab", row, strict=True))
            match draw(st.sampled_from(["create", "create", "update", "delete", "truncate"])):
                case "create":
                    rows.append(row)
                    events.append(create(BAG, **values))
                case "update" if rows:
                    old = rows.pop(draw(st.integers(0, len(rows) - 1)))
                    rows.append((row[0], old[1]))
                    events.append(update(BAG, before=dict(zip("ab", old, strict=True)), a=row[0]))
                case "delete" if rows:
                    old = rows.pop(draw(st.integers(0, len(rows) - 1)))
                    events.append(delete(BAG, **dict(zip("ab", old, strict=True))))
                case "truncate" if draw(st.integers(0, 3)) == 0:
                    rows.clear()
                    events.append(truncate(BAG))
        batches.append((transaction(number, *events), list(rows)))
    return batches


@SETTINGS
@given(bags())
def test_a_table_without_a_key_is_mirrored_with_its_duplicates(target, batches):
    forget(target)
    target.apply(*(events for events, _ in batches))
    if any(events for events, _ in batches):
        found = target.query("select a, b from bag")
        assert sorted(found, key=repr) == sorted(batches[-1][1], key=repr)
