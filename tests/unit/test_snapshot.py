"""Progress as data, and what a window makes of a chunk."""

from __future__ import annotations

import json
import time

from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.wal.chunks import Visibility
from liberator.event import ABSENT, ChangeEvent, Operation, Position, Transaction
from liberator.snapshot import Chunk, Progress, Window, retry_at
from tests.frames import SCHEMA

#: What the chunk's snapshot sees of the transactions in these tests.
VISIBLE = (7).__gt__
TX = Transaction("1", Position(1, 10), 0)


def event(operation, row, moved=None):
    before, after = (row, None) if operation is Operation.DELETE else (None, row)
    return ChangeEvent(operation, "t", SCHEMA, before, after, TX, moved=moved)


def chunk(rows, window):
    lines = [b"%d\t%s" % (row[0], row[1].encode()) for row in rows]

    def decode(lines):
        return [(int(key), note.decode()) for key, note in (line.split(b"\t") for line in lines)]

    return Chunk("t", SCHEMA, lines, decode, lambda line: (line.split(b"\t")[0].decode(),), window, 0, True)


def everything(made, step=2):
    out = []
    while not made.empty:
        rows, _ = made.take(step)
        out += rows
    return out


def test_the_longer_a_try_has_waited_the_later_is_the_next():
    now = time.monotonic()
    assert 0.015 < retry_at() - now < 0.5
    assert 8 < retry_at(now - 1) - now < 10
    assert 9 < retry_at(now - 1000) - now < 11


def test_a_newer_change_replaces_the_chunks_row_and_an_older_one_does_not():
    window = Window(VISIBLE)
    window.observe(5, event(Operation.UPDATE, (1, "older")))
    window.observe(9, event(Operation.UPDATE, (2, "newer")))
    window.observe(9, event(Operation.DELETE, (3, ABSENT)))
    rows = everything(chunk([(1, "a"), (2, "b"), (3, "c"), (4, "d")], window))
    assert rows == [(1, "a"), (4, "d")]


def test_columns_that_a_newer_change_did_not_send_come_from_the_chunk():
    window = Window(VISIBLE)
    window.observe(9, event(Operation.UPDATE, (1, ABSENT)))
    assert everything(chunk([(1, "a")], window)) == [(1, "a")]


def test_a_newer_truncate_leaves_nothing_of_the_chunk():
    window = Window(VISIBLE)
    window.observe(9, event(Operation.UPDATE, (1, ABSENT)))
    window.observe(9, ChangeEvent(Operation.TRUNCATE, "t", SCHEMA, None, None, TX))
    window.observe(9, event(Operation.CREATE, (2, "new")))
    assert everything(chunk([(1, "a"), (2, "b"), (3, "c")], window)) == []


def test_a_window_that_holds_too_much_gives_its_chunk_up():
    window = Window(VISIBLE, limit=10)
    for key in range(10):
        window.observe(9, event(Operation.UPDATE, (key, "x")))
        window.observe(5, event(Operation.UPDATE, (key + 100, "seen anyway")))
    assert not window.broken
    window.observe(9, event(Operation.UPDATE, (10, "x")))
    assert window.broken


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "partial", "delete"]),
        st.integers(1, 5),
        st.text("ab", max_size=2),
        st.booleans(),
    ),
    max_size=20,
)


@given(CHANGES)
def test_stream_then_chunk_gives_what_the_table_holds(changes):
    """A model table lives through the changes; those marked seen come first and are in the chunk."""
    changes = sorted(changes, key=lambda change: not change[3])
    table, sink, window = {}, {}, Window(VISIBLE)
    seen_state = None
    for wanted, key, note, seen in changes:
        if not seen and seen_state is None:
            seen_state = dict(table)
        exists = key in table
        kind = wanted
        if (wanted == "create") == exists and wanted != "delete":
            kind = "update" if exists else "create"
        if kind == "delete" and not exists:
            continue
        if kind == "delete":
            change = event(Operation.DELETE, (key, ABSENT))
            table.pop(key)
            sink.pop(key, None)
        elif kind == "partial":
            change = event(Operation.UPDATE, (key, ABSENT))
        else:
            operation = Operation.CREATE if kind == "create" else Operation.UPDATE
            change = event(operation, (key, note))
            table[key] = sink[key] = note
        window.observe(1 if seen else 9, change)
    held = table if seen_state is None else seen_state
    rows = everything(chunk(sorted(held.items()), window))
    sink.update(rows)
    assert sink == table


def test_progress_is_plain_data_that_keeps_its_identity_until_it_changes():
    progress = Progress()
    progress.request("a", 10, settle=7)
    progress.advance("a", 4, ("4",))
    one = progress.to_json()
    assert progress.to_json() is one
    assert Progress(json.loads(json.dumps(one))).to_json() == one
    progress.advance("a", 4, ("8",))
    assert progress.to_json() is not one
    assert one["tables"]["a"]["cursor"] == ["4"]


def test_a_table_asked_for_while_it_is_read_is_read_once_more_afterwards():
    progress = Progress()
    progress.request("a", 10)
    progress.advance("a", 4, ("4",))
    progress.request("a", 10)
    progress.finish("a")
    assert progress.pending == ["a"]
    assert progress["a"].cursor is None
    progress.finish("a")
    assert progress.pending == []


def test_an_emptied_table_is_new_again():
    progress = Progress()
    progress.request("a", 10)
    progress.finish("a")
    assert progress["a"].complete
    progress.request("a", 10, empty=True)
    assert progress["a"].replace
    assert not progress["a"].complete


def test_after_a_loss_every_table_is_new_again_and_keeps_only_what_it_is():
    progress = Progress()
    for name in ("a", "b"):
        progress.request(name, 10)
        progress.update(name, id="4711", cut="1:2:@3", strays=(("7",),), again=True)
    progress.finish("b")
    before = progress.to_json()
    progress.anew()
    assert progress.pending == ["a", "b"]
    assert progress.to_json() is not before
    table = {"state": "pending", "rows": 0, "estimate": 10, "id": "4711", "replace": True}
    assert progress.to_json()["tables"] == {"a": table, "b": table}


def test_visibility_follows_the_transaction_ids_around_their_wrap():
    low = Visibility.parse("100:110:103,105")
    assert [xid for xid in range(98, 113) if low(xid)] == [98, 99, 100, 101, 102, 104, 106, 107, 108, 109]
    epoch = 3 << 32
    wrapped = Visibility.parse(f"{epoch - 2}:{epoch + 5}:{epoch - 1},{epoch + 2}")
    assert wrapped(0xFFFFFFFE) and not wrapped(0xFFFFFFFF)
    assert wrapped(0) and wrapped(1) and not wrapped(2) and wrapped(3) and not wrapped(5)
