"""The oracle's check can fail: it sees what is missing, doubled, out of order, or of another transaction."""

from __future__ import annotations

import pytest

from liberator.event import ChangeEvent, Operation, Position, Transaction
from liberator.schema import Column, Kind, LogicalType, TableSchema
from tests.oracle import Change, Committed, assert_exactly_once_in_order

SCHEMA = TableSchema(
    "any",
    "db",
    "public",
    "t",
    (Column("id", LogicalType(Kind.INT64), key=0), Column("version", LogicalType(Kind.INT32))),
)


def event(transaction, ordinal, id_, version):
    at = Transaction(str(transaction), Position(0, transaction * 100), 0)
    return ChangeEvent(Operation.CREATE, "s.public.t", SCHEMA, None, (id_, version), at, ordinal)


def committed(xid, *rows):
    return Committed(xid, tuple(Change("public.t", Operation.CREATE, *row) for row in rows))


TRUTH = [committed(1, (1, 1)), committed(2, (2, 1), (2, 2)), committed(3, (3, 1))]
EVENTS = [event(1, 1, 1, 1), event(2, 1, 2, 1), event(2, 2, 2, 2), event(3, 1, 3, 1)]


def test_the_truth_is_accepted():
    assert assert_exactly_once_in_order(EVENTS, TRUTH) == 3


def test_transactions_before_the_first_streamed_one_belong_to_the_snapshot():
    assert assert_exactly_once_in_order(EVENTS[1:], TRUTH) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param([EVENTS[0], *EVENTS[2:]], id="a change is missing"),
        pytest.param(EVENTS[:-1], id="the last transaction is missing"),
        pytest.param([EVENTS[0], EVENTS[3]], id="a transaction is missing"),
        pytest.param([EVENTS[0], *EVENTS], id="a change comes twice"),
        pytest.param([*EVENTS[1:3], EVENTS[0], EVENTS[3]], id="out of commit order"),
        pytest.param([EVENTS[0], event(2, 1, 2, 2), event(2, 2, 2, 1), EVENTS[3]], id="out of order within"),
        pytest.param([*EVENTS[:3], event(3, 1, 4, 1)], id="another row"),
        pytest.param([*EVENTS, event(4, 1, 9, 1)], id="never committed"),
    ],
)
def test_anything_else_is_refused(wrong):
    with pytest.raises(AssertionError):
        assert_exactly_once_in_order(wrong, TRUTH)
