"""What every sink promises, as tests. A connector's own test file begins with three lines of it:

    class TestMySink(MirrorContract):
        def make(self, name="sink"):
            return MySink(name, MySink.Config(type="mine", url=self.url))

        def rows(self, table):
            return query(self.url, f'select * from "{table.table}"')  # a list of dicts

``make`` gives a new, unopened sink each time; equal names are one sink in two processes, one after the
other. All sinks of one test write the same target, which is empty when the test begins: make it in an
autouse fixture. ``rows`` gives the committed rows of a table, in any order, read past the sink. Text and
integers only are written here; the types are each connector's own matter.

A sink that does not mirror its source's tables (it appends, or prints) subclasses ``SinkContract``, the
part that all sinks share; for one that keeps no cursor the tests of cursors are skipped. Needs pytest.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from liberator.errors import SinkError
from liberator.event import ChangeEvent, Row
from liberator.log import Cursor
from liberator.schema import Kind, TableSchema
from liberator.sink import Sink
from liberator.testing.events import create, delete, read, rekey, table, transaction, truncate, update

#: The tables that the suite writes: topics ``test.public.contract_orders`` and so on.
ORDERS = table("contract_orders", {"id": Kind.INT64, "note": Kind.STRING, "amount": Kind.INT32}, key=["id"])
ITEMS = table(
    "contract_items", {"order": Kind.INT64, "line": Kind.INT32, "text": Kind.STRING}, key=["order", "line"]
)
#: ORDERS as it looks after ``alter table … add column``.
WIDER = table(
    "contract_orders",
    {"id": Kind.INT64, "note": Kind.STRING, "amount": Kind.INT32, "extra": Kind.STRING},
    key=["id"],
)
LOG = "contract-log"


def cursor(offset: int) -> Cursor:
    """A place in an ordered log."""
    return Cursor(LOG, {"": offset})


def _named(schema: TableSchema, row: Row | None) -> Row | None:
    """The row as a named tuple."""
    return None if row is None else namedtuple("Named", schema.names)(*row)


class Writing:
    """What the suite asks of a connector's test, and the ways in which the tests write."""

    #: Whether the target's tables equal the source's; MirrorContract says so.
    mirrors = False

    def make(self, name: str = "sink") -> Sink:
        """A new sink on this test's target, not opened."""
        raise NotImplementedError

    def rows(self, table: TableSchema) -> list[dict[str, Any]]:
        """The rows of ``table`` that others can see, by column name."""
        raise NotImplementedError

    def orders(self) -> dict[int, tuple[Any, Any]]:
        """``{id: (note, amount)}`` of what the target shows."""
        return {row["id"]: (row["note"], row["amount"]) for row in self.rows(ORDERS)}

    def apply(self, *batches: Sequence[ChangeEvent], name: str = "sink", offset: int = 10) -> None:
        """Open, write each batch and commit it, close."""
        sink = self.make(name)
        try:
            sink.open()
            for number, events in enumerate(batches):
                sink.write(events)
                sink.commit(cursor(offset + number))
        finally:
            sink.close()

    @pytest.fixture
    def keeper(self) -> None:
        """Skips what is promised only by a sink that keeps its cursor."""
        if not self.make().keeps_cursor:
            pytest.skip("this sink keeps no cursor")


class CursorContract(Writing):
    """Rows and cursor: visible together, lost together."""

    def test_a_new_sink_has_no_cursor(self) -> None:
        sink = self.make()
        try:
            assert sink.open() is None
        finally:
            sink.close()

    @pytest.mark.usefixtures("keeper")
    def test_the_committed_cursor_is_found_by_the_next_instance(self) -> None:
        self.apply(transaction(1, create(ORDERS, id=1, note="a")), offset=7)
        sink = self.make()
        try:
            assert sink.open() == cursor(7)
        finally:
            sink.close()

    @pytest.mark.usefixtures("keeper")
    def test_a_cursor_of_several_partitions_is_found_whole(self) -> None:
        place = Cursor(LOG, {"shop.orders/0": 3, "shop.orders/1": 9_000_000_000, 'odd "name"/0': 1})
        sink = self.make()
        sink.open()
        sink.commit(place)
        sink.close()
        again = self.make()
        try:
            assert again.open() == place
        finally:
            again.close()

    @pytest.mark.usefixtures("keeper")
    def test_a_commit_of_nothing_moves_the_cursor(self) -> None:
        self.apply([], [], offset=41)
        assert self.make().cursor() == cursor(42)

    @pytest.mark.usefixtures("keeper")
    def test_the_cursor_can_be_read_without_disturbing_the_running_sink(self) -> None:
        sink = self.make()
        try:
            sink.open()
            sink.commit(cursor(1))
            assert self.make().cursor() == cursor(1)
            sink.write(transaction(1, create(ORDERS, id=1, note="a")))
            sink.commit(cursor(2))
        finally:
            sink.close()
        assert self.make().cursor() == cursor(2)

    def test_a_sink_that_was_never_used_shows_no_cursor(self) -> None:
        assert self.make("never").cursor() is None

    @pytest.mark.usefixtures("keeper")
    def test_what_was_not_committed_is_gone_after_close(self) -> None:
        self.apply(transaction(1, create(ORDERS, id=1, note="kept")), offset=1)
        sink = self.make()
        sink.open()
        sink.write(transaction(2, create(ORDERS, id=2, note="lost"), create(ITEMS, order=2, line=1)))
        sink.close()
        again = self.make()
        try:
            assert again.open() == cursor(1)
        finally:
            again.close()
        if self.mirrors:
            assert self.orders() == {1: ("kept", None)}

    @pytest.mark.usefixtures("keeper")
    def test_several_writes_become_visible_in_one_commit(self) -> None:
        sink = self.make()
        try:
            sink.open()
            sink.write(transaction(1, create(ORDERS, id=1, note="a")))
            sink.commit(cursor(1))
            before = len(self.rows(ORDERS))
            sink.write(transaction(2, create(ORDERS, id=2, note="b")))
            sink.write(transaction(3, create(ORDERS, id=3, note="c")))
            assert len(self.rows(ORDERS)) == before
            sink.commit(cursor(3))
            assert len(self.rows(ORDERS)) == before + 2
        finally:
            sink.close()

    @pytest.mark.usefixtures("keeper")
    def test_sinks_of_two_names_have_each_their_own_cursor(self) -> None:
        self.apply([], name="one", offset=1)
        self.apply([], name="two", offset=2)
        assert self.make("one").cursor() == cursor(1)
        assert self.make("two").cursor() == cursor(2)

    @pytest.mark.usefixtures("keeper")
    def test_an_instance_that_was_overtaken_can_write_no_more(self) -> None:
        old, new = self.make(), self.make()
        try:
            old.open()
            old.commit(cursor(1))
            assert new.open() == cursor(1)
            with pytest.raises(SinkError) as caught:
                old.write(transaction(1, create(ORDERS, id=1, note="old")))
                old.commit(cursor(2))
            assert not caught.value.retryable, "the older process would fence out the newer one in turn"
            old.close()
            new.write(transaction(1, create(ORDERS, id=1, note="new")))
            new.commit(cursor(3))
        finally:
            old.close()
            new.close()
        assert self.make().cursor() == cursor(3)
        if self.mirrors:
            assert self.orders() == {1: ("new", None)}


class LifeContract(Writing):
    """Opening, closing, looking."""

    def test_closing_twice_is_fine(self) -> None:
        sink = self.make()
        sink.open()
        sink.close()
        sink.close()

    def test_closing_what_was_never_opened_is_fine(self) -> None:
        self.make().close()

    def test_a_check_finds_no_error_at_a_healthy_target(self) -> None:
        assert [finding for finding in self.make().check() if finding.level == "error"] == []

    def test_set_up_twice_creates_once_and_teardown_removes_it(self) -> None:
        self.make().setup()
        assert self.make().setup() == []
        assert "missing" not in {managed.state for managed in self.make().objects()}
        self.make().teardown()
        assert self.make().teardown() == []
        assert {managed.state for managed in self.make().objects()} <= {"missing"}

    @pytest.mark.usefixtures("keeper")
    def test_teardown_forgets_the_place_and_leaves_the_data(self) -> None:
        self.apply(transaction(1, create(ORDERS, id=1, note="a")))
        before = self.rows(ORDERS)
        self.make().teardown()
        assert self.make().cursor() is None
        assert self.rows(ORDERS) == before


class SinkContract(CursorContract, LifeContract):
    """What every sink promises; subclass this one, or MirrorContract."""


class MirrorContract(SinkContract):
    """The target's tables equal the source's, whatever the order and the size of the batches."""

    mirrors = True

    def test_inserts_updates_and_deletes_arrive(self) -> None:
        self.apply(
            transaction(1, create(ORDERS, id=1, note="a", amount=1), create(ORDERS, id=2, note="b")),
            transaction(2, update(ORDERS, id=1, note="c", amount=2), delete(ORDERS, id=2)),
        )
        assert self.orders() == {1: ("c", 2)}

    def test_a_batch_is_folded_in_order(self) -> None:
        self.apply(
            transaction(
                1,
                create(ORDERS, id=1, note="a"),
                update(ORDERS, id=1, note="b", amount=1),
                delete(ORDERS, id=1),
                create(ORDERS, id=1, note="c", amount=2),
                create(ORDERS, id=2, note="d"),
                delete(ORDERS, id=2),
            )
        )
        assert self.orders() == {1: ("c", 2)}

    def test_a_replay_of_what_is_already_there_changes_nothing(self) -> None:
        events = transaction(
            1,
            read(ORDERS, id=1, note="a"),
            create(ORDERS, id=2, note="b"),
            update(ORDERS, id=2, note="c", amount=5),
            create(ORDERS, id=3, note="d"),
            delete(ORDERS, id=3),
        )
        self.apply(events, events)
        assert self.orders() == {1: ("a", None), 2: ("c", 5)}

    def test_deleting_a_row_that_is_not_there_is_fine(self) -> None:
        self.apply(transaction(1, delete(ORDERS, id=99), create(ORDERS, id=1, note="a")))
        self.apply(transaction(2, delete(ORDERS, id=98)), offset=20)
        assert self.orders() == {1: ("a", None)}

    def test_a_whole_update_of_a_row_that_is_not_there_creates_it(self) -> None:
        self.apply(transaction(1, update(ORDERS, id=1, note="a", amount=3)))
        assert self.orders() == {1: ("a", 3)}

    def test_columns_that_were_not_sent_keep_their_value(self) -> None:
        self.apply(
            transaction(1, create(ORDERS, id=1, note="kept", amount=1), create(ORDERS, id=2, note="x")),
            transaction(2, update(ORDERS, id=1, amount=2), update(ORDERS, id=2, note="y")),
        )
        assert self.orders() == {1: ("kept", 2), 2: ("y", None)}

    def test_columns_that_were_not_sent_keep_the_value_of_earlier_in_the_batch(self) -> None:
        self.apply(
            transaction(
                1,
                create(ORDERS, id=1, note="kept", amount=1),
                update(ORDERS, id=1, amount=2),
                update(ORDERS, id=1, amount=3),
            )
        )
        assert self.orders() == {1: ("kept", 3)}

    def test_absent_columns_of_several_updates_in_a_batch_are_merged(self) -> None:
        self.apply(
            transaction(1, create(ORDERS, id=1, note="a", amount=1)),
            transaction(2, update(ORDERS, id=1, note="b"), update(ORDERS, id=1, amount=2)),
        )
        assert self.orders() == {1: ("b", 2)}

    def test_null_is_not_absent(self) -> None:
        self.apply(
            transaction(1, create(ORDERS, id=1, note="a", amount=1)),
            transaction(2, update(ORDERS, id=1, note=None)),
        )
        assert self.orders() == {1: (None, 1)}

    def test_a_row_read_by_a_snapshot_replaces_the_row_that_is_there(self) -> None:
        self.apply(transaction(1, create(ORDERS, id=1, note="old", amount=1)))
        self.apply(transaction(2, read(ORDERS, id=1, note="new")), offset=20)
        assert self.orders() == {1: ("new", None)}

    def test_a_key_that_changes_moves_the_row(self) -> None:
        self.apply(transaction(1, create(ORDERS, id=1, note="a", amount=1)))
        self.apply(transaction(2, *rekey(ORDERS, {"id": 1}, id=2, note="a", amount=1)), offset=20)
        assert self.orders() == {2: ("a", 1)}

    def test_keys_that_are_swapped_in_a_batch_end_swapped(self) -> None:
        self.apply(transaction(1, create(ORDERS, id=1, note="one"), create(ORDERS, id=2, note="two")))
        swap = [
            *rekey(ORDERS, {"id": 1}, id=3, note="one"),
            *rekey(ORDERS, {"id": 2}, id=1, note="two"),
            *rekey(ORDERS, {"id": 3}, id=2, note="one"),
        ]
        self.apply(transaction(2, *swap), offset=20)
        assert self.orders() == {1: ("two", None), 2: ("one", None)}

    def test_a_chain_of_keys_moves_as_a_whole(self) -> None:
        self.apply(transaction(1, *(create(ORDERS, id=n, note=str(n)) for n in (1, 2, 3))))
        chain = [rekey(ORDERS, {"id": n}, id=n + 1, note=str(n)) for n in (3, 2, 1)]
        self.apply(transaction(2, *chain), offset=20)
        assert self.orders() == {2: ("1", None), 3: ("2", None), 4: ("3", None)}

    def test_a_truncate_removes_what_came_before_it_and_only_that(self) -> None:
        self.apply(transaction(1, create(ORDERS, id=1, note="old"), create(ITEMS, order=1, line=1)))
        self.apply(
            transaction(
                2,
                create(ORDERS, id=2, note="in the batch"),
                truncate(ORDERS),
                create(ORDERS, id=3, note="new"),
            ),
            offset=20,
        )
        assert self.orders() == {3: ("new", None)}
        assert len(self.rows(ITEMS)) == 1

    def test_a_truncate_of_a_table_that_nobody_wrote_yet_is_fine(self) -> None:
        self.apply(transaction(1, truncate(ORDERS)), transaction(2, create(ORDERS, id=1, note="a")))
        assert self.orders() == {1: ("a", None)}

    def test_a_column_gained_in_mid_batch_takes_effect_at_that_event(self) -> None:
        self.apply(
            transaction(1, create(ORDERS, id=1, note="before"), create(ORDERS, id=2, note="before")),
            transaction(
                2,
                update(ORDERS, id=2, note="still before", amount=1),
                create(WIDER, id=3, note="after", extra="new"),
                update(WIDER, id=1, note="after", amount=2, extra="set"),
            ),
        )
        extras = {row["id"]: (row["note"], row["extra"]) for row in self.rows(WIDER)}
        assert extras == {1: ("after", "set"), 2: ("still before", None), 3: ("after", "new")}

    def test_rows_of_an_older_schema_version_still_arrive_after_a_newer_one(self) -> None:
        self.apply(
            transaction(1, create(WIDER, id=1, note="a", extra="x")),
            transaction(2, create(ORDERS, id=2, note="b", amount=1)),
        )
        extras = {row["id"]: (row["note"], row["extra"]) for row in self.rows(WIDER)}
        assert extras == {1: ("a", "x"), 2: ("b", None)}

    def test_tables_in_one_batch_are_kept_apart(self) -> None:
        self.apply(
            transaction(
                1,
                create(ORDERS, id=1, note="a"),
                create(ITEMS, order=1, line=1, text="x"),
                create(ITEMS, order=1, line=2, text="y"),
                update(ORDERS, id=1, note="b", amount=2),
                delete(ITEMS, order=1, line=1),
            )
        )
        assert self.orders() == {1: ("b", 2)}
        assert [(r["order"], r["line"], r["text"]) for r in self.rows(ITEMS)] == [(1, 2, "y")]

    def test_text_of_any_kind_arrives_as_it_was_sent(self) -> None:
        texts = [
            "",
            " ",
            "'quoted' \"twice\"",
            "back\\slash \\N \\.",
            "a\tb\nc\rd",
            "日本語 😀",
            "%s {} :x $1 ?",
        ]
        self.apply(transaction(1, *(create(ORDERS, id=n, note=text) for n, text in enumerate(texts))))
        assert {key: note for key, (note, _) in self.orders().items()} == dict(enumerate(texts))

    def test_rows_of_a_class_of_their_own_arrive_like_plain_ones(self) -> None:
        """A transform may make named tuples."""
        events = [
            *transaction(1, create(ORDERS, id=1, note="a", amount=1), create(ORDERS, id=2, note="b")),
            *transaction(
                2,
                update(ORDERS, id=1, amount=2),
                rekey(ORDERS, {"id": 2}, id=3, note="b"),
                create(ORDERS, id=4),
                delete(ORDERS, id=4),
            ),
            *transaction(3, update(ORDERS, id=3, note="c"), create(ITEMS, order=1, line=1, text="x")),
        ]
        named = [
            replace(e, before=_named(e.schema, e.before), after=_named(e.schema, e.after)) for e in events
        ]
        self.apply(named)
        assert self.orders() == {1: ("a", 2), 3: ("c", None)}
        self.apply(transaction(4, update(ORDERS, id=1, note="z")), named[:1], offset=20)
        assert self.orders()[1] == ("a", 1)
        assert [(r["order"], r["line"], r["text"]) for r in self.rows(ITEMS)] == [(1, 1, "x")]

    def test_thousands_of_rows_in_one_batch_arrive(self) -> None:
        count = 3000
        self.apply(
            transaction(1, *(create(ORDERS, id=n, note=f"row {n}", amount=n) for n in range(count))),
            transaction(
                2,
                *(update(ORDERS, id=n, amount=-n) for n in range(0, count, 3)),
                *(delete(ORDERS, id=n) for n in range(1, count, 3)),
            ),
        )
        expected = {n: (f"row {n}", -n if n % 3 == 0 else n) for n in range(count) if n % 3 != 1}
        assert self.orders() == expected
