"""The fold says what a batch does to each key; the rules one by one. That its outcome is right for any
sequence of events is in tests/property."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace
from operator import itemgetter

import pytest

from connectors.sql.sink.fold import Gone, Lost, Patch, fold, fold_bag
from connectors.sql.sink.history import fold_versions
from liberator.event import ABSENT, Phase
from liberator.schema import Kind
from liberator.testing.events import create, delete, read, rekey, table, transaction, truncate, update

T = table("t", {"id": Kind.INT64, "a": Kind.STRING, "b": Kind.STRING}, key=["id"])
BAG = table("bag", {"a": Kind.STRING, "b": Kind.STRING})


def folded(*changes, **options):
    return fold(transaction(1, *changes), itemgetter(0), **options)


def test_the_last_whole_row_of_a_key_wins():
    out = folded(create(T, id=1, a="x"), update(T, id=1, a="y", b="z"), read(T, id=2, a="r"))
    assert out.rows == [(1, "y", "z"), (2, "r", None)]
    assert (out.gone, out.patches, out.truncate, out.ordered) == ([], [], None, False)


def test_what_was_not_sent_is_taken_from_earlier_in_the_batch():
    assert folded(create(T, id=1, a="x", b="y"), update(T, id=1, b=None)).rows == [(1, "x", None)]


def test_a_row_of_any_class_is_a_row():
    named = namedtuple("named", "id a b")
    for cls in (named._make, list):
        made = replace(create(T, id=1), after=cls((1, "x", "y")))
        out = folded(made, update(T, id=1, b="z"), replace(create(T, id=2), after=cls((2, "r", None))))
        assert [tuple(row) for row in out.rows] == [(1, "x", "z"), (2, "r", None)]
        assert folded(made, delete(T, id=1)).gone[0].row == made.after


def test_what_is_nowhere_in_the_batch_is_a_patch_and_patches_are_merged():
    out = folded(update(T, id=1, a="x"), update(T, id=1, b="y"), update(T, id=1, a="z"))
    assert [patch.row for patch in out.patches] == [(1, "z", "y")]
    out = folded(update(T, id=1, a="x"), update(T, id=2, b="y"))
    assert [patch.row for patch in out.patches] == [(1, "x", ABSENT), (2, ABSENT, "y")]


def test_a_whole_row_replaces_a_patch():
    out = folded(update(T, id=1, a="x"), update(T, id=1, a="y", b="z"))
    assert out.rows == [(1, "y", "z")] and out.patches == []


def test_a_deleted_key_is_gone_and_remembers_its_row_of_this_batch():
    out = folded(create(T, id=1, a="x"), delete(T, id=1), delete(T, id=2))
    assert [(g.event.before[0], g.row) for g in out.gone] == [(1, (1, "x", None)), (2, None)]
    assert isinstance(out.gone[0], Gone)


def test_a_truncate_forgets_what_was_before_it():
    out = folded(create(T, id=1, a="x"), update(T, id=2, a="y"), truncate(T), create(T, id=3, a="z"))
    assert out.truncate is not None and out.rows == [(3, "z", None)]
    assert out.patches == [] and out.gone == []
    kept = folded(create(T, id=1, a="x"), update(T, id=2, a="y"), truncate(T), keep_dead=True)
    assert [g.row for g in kept.gone] == [(1, "x", None)]


def test_a_change_in_part_of_what_the_batch_has_removed_is_lost():
    for change in (delete(T, id=1), truncate(T)):
        with pytest.raises(Lost) as caught:
            folded(create(T, id=1), change, update(T, id=1, a="x"))
        assert caught.value.event.ordinal == 3


def test_ahead_of_a_snapshot_nothing_is_lost_and_patches_say_so():
    events = transaction(1, delete(T, id=1), update(T, id=1, a="x"), update(T, id=2, a="y"))
    out = fold([replace(e, phase=Phase.AHEAD) for e in events], itemgetter(0))
    assert [g.event.before[0] for g in out.gone] == [1]
    assert [patch.ahead for patch in out.patches] == [True]
    mixed = fold([replace(events[2], phase=Phase.AHEAD), events[2]], itemgetter(0))
    assert [patch.ahead for patch in mixed.patches] == [False]
    assert isinstance(mixed.patches[0], Patch)


def test_a_moved_row_takes_what_was_not_sent_along():
    gone, come = rekey(T, {"id": 1}, id=2, a="new")
    come.after = (2, "new", ABSENT)
    out = folded(create(T, id=1, a="old", b="kept"), [gone, come])
    assert out.rows == [(2, "new", "kept")]
    assert out.moved and len(out.gone) == 1


def test_a_moved_row_that_only_the_target_knows_needs_exact_order():
    gone, come = rekey(T, {"id": 1}, id=2, a="new")
    come.after = (2, "new", ABSENT)
    assert folded([gone, come]).ordered
    assert not folded(rekey(T, {"id": 1}, id=2, a="new", b="b")).ordered


def test_fresh_are_rows_that_were_made_and_nothing_else():
    assert folded(create(T, id=1), read(T, id=2)).fresh
    assert not folded(create(T, id=1), update(T, id=1, a="x", b="y")).fresh
    assert not folded(create(T, id=1), delete(T, id=2)).fresh


def test_deletes_and_truncates_can_be_left_out():
    out = folded(create(T, id=1), delete(T, id=1), truncate(T), deletes=False, truncates=lambda _: False)
    assert out.rows == [(1, None, None)] and out.truncate is None and out.gone == []


def bag(*changes, **options):
    return fold_bag(transaction(1, *changes), **options)


def test_rows_without_a_key_are_counted():
    out = bag(
        create(BAG, a="x"), create(BAG, a="x"), delete(BAG, a="x", b=None), delete(BAG, a="y", b=None),
        update(BAG, before={"a": "z", "b": "1"}, a="w"),
    )  # fmt: skip
    assert out.plus == [("x", None), ("w", "1")]
    assert [e.before for e in out.minus] == [("y", None), ("z", "1")]


def test_a_change_without_its_old_row_is_told():
    assert bag(update(BAG, a="x")).imageless is not None
    assert bag(delete(BAG, a="x")).imageless is not None
    assert bag(delete(BAG, a="x", b="y")).imageless is None


def versions(*changes):
    chains = fold_versions(transaction(1, *changes), itemgetter(0))
    return {k: (c.closed is not None, [v.row for v in c.versions]) for k, c in chains.items()}


def test_every_change_of_a_key_is_a_version():
    assert versions(create(T, id=1, a="x", b="x"), update(T, id=1, a="y"), delete(T, id=1)) == {
        1: (True, [(1, "x", "x"), (1, "y", "x")])
    }


def test_a_version_that_the_target_has_to_complete_names_the_row():
    chains = fold_versions(transaction(1, update(T, id=1, a="y"), update(T, id=1, b="z")), itemgetter(0))
    (first, second) = chains[1].versions
    assert (first.row, first.base) == ((1, "y", ABSENT), (1, "y", ABSENT))
    assert (second.row, second.base) == ((1, "y", "z"), first.base)
    assert first.end is not None and second.end is None


def test_a_snapshot_row_is_looked_at_before_it_becomes_a_version():
    chains = fold_versions(transaction(1, read(T, id=1, a="x"), read(T, id=1, a="x")), itemgetter(0))
    assert chains[1].read.row == (1, "x", None) and chains[1].versions == []
