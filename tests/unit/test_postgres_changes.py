"""Frames to events: transactions, positions, what is passed over after a restart."""

from __future__ import annotations

import pytest

from connectors.postgres.wal.changes import Captured, NotData, message_schema
from connectors.postgres.wal.pgoutput import Relation, RelationColumn
from liberator.errors import DecodeError
from liberator.event import ABSENT, Events, Operation, Phase, Position
from tests.frames import (
    begin,
    commit,
    data,
    decoder,
    delete,
    frame,
    insert,
    keepalive,
    message,
    relation,
    transaction,
    truncate,
    update,
)

ROWS = [insert(str(n), "x") for n in range(1, 6)]


def with_messages(made):
    schema = message_schema("db")
    columns = tuple(RelationColumn(c.name, 0, -1, False) for c in schema.columns)
    made.messages = {"outbox": Captured(Relation(0, "pg_logical", "message", "n", columns), schema, "m")}
    return made


def decode(made, block, limit=1000):
    events = Events()
    end = made.decode(block, 0, events, limit)
    return events, end


def test_rows_carry_their_place_in_the_transaction_and_the_position_follows():
    made = decoder()
    block = relation() + transaction(1000, *ROWS, delete("3", None), truncate())
    events, end = decode(made, block)
    assert end == len(block)
    assert [e.ordinal for e in events] == [e.table_ordinal for e in events] == list(range(1, 8))
    assert [e.position for e in events] == [Position(1, 1000, n) for n in range(1, 8)]
    assert made.position == Position(1, 1048)
    assert not made.open
    assert events[5].before == (3, ABSENT)
    assert events[6].operation is Operation.TRUNCATE


def test_the_end_of_a_block_may_fall_anywhere():
    block = relation() + transaction(1000, *ROWS) + keepalive(2000) + transaction(3000, *ROWS)
    whole, _ = decode(decoder(), block)
    for cut in range(len(block)):
        made = decoder()
        events, end = decode(made, block[:cut])
        more, rest = decode(made, block[end:])
        assert [e.position for e in [*events, *more]] == [e.position for e in whole]
        assert rest == len(block) - end
        assert made.position == Position(1, 3048)


def test_inside_a_transaction_the_position_counts_the_rows():
    made = decoder()
    decode(made, relation() + begin(1000) + ROWS[0] + ROWS[1])
    assert made.open
    assert made.position == Position(1, 1000, 2)


@pytest.mark.parametrize("taken", range(6))
def test_what_the_log_has_of_a_transaction_is_passed_over(taken):
    made = decoder(Position(1, 1000, taken))
    events, _ = decode(made, relation() + transaction(1000, *ROWS))
    assert [e.after[0] for e in events] == [1, 2, 3, 4, 5][taken:]
    assert [e.ordinal for e in events] == list(range(taken + 1, 6))
    assert made.position == Position(1, 1048)


def test_a_message_outside_transactions_has_a_place_that_no_commit_has():
    end = 500
    alone = message(end, b"x")
    made = with_messages(decoder())
    (told,), _ = decode(made, relation() + alone)
    assert told.transaction.origin == (0, end) and made.position.major < end
    again = with_messages(decoder(resume=made.position))
    assert decode(again, relation() + alone)[0] == []
    events, _ = decode(again, transaction(end, ROWS[0], ROWS[1]))
    assert [e.after[0] for e in events] == [1, 2]
    assert told.position < events[0].position


def test_a_transaction_before_the_resume_point_is_passed_over_without_moving_back():
    made = decoder(Position(1, 1048, 3))
    events, _ = decode(made, relation() + transaction(1000, *ROWS))
    assert events == []
    assert made.position == Position(1, 1048, 3)


def test_a_key_change_counts_as_two_rows_even_when_the_restart_falls_between_them():
    block = relation() + transaction(1000, ROWS[0], update("9", "absent", old=("1", None)), ROWS[1])
    for taken in range(5):
        made = decoder(Position(1, 1000, taken))
        events, _ = decode(made, block)
        names = [e.operation.name for e in events]
        assert names == ["CREATE", "DELETE", "CREATE", "CREATE"][taken:]
        assert made.position == Position(1, 1048)


def test_a_row_that_moves_without_its_columns_while_its_table_is_read_is_reported():
    made = decoder()
    decode(made, relation())
    moving = transaction(1000, update("9", "absent", old=("1", None)))
    decode(made, moving)
    assert made.moved == []
    (captured,) = made.relations.values()
    captured.phase = Phase.AHEAD
    decode(made, transaction(2000, update("9", "absent", old=("1", None))))
    assert made.moved == [(9, ABSENT)]


def test_decoding_stops_behind_a_commit_once_there_are_enough_events():
    made = decoder()
    block = relation() + transaction(1000, *ROWS) + transaction(2000, *ROWS)
    events, end = decode(made, block, limit=3)
    assert len(events) == 5
    assert made.position == Position(1, 1048)
    made.decode(block, end, events, 1000)
    assert len(events) == 10


def test_keepalives_move_the_position_only_between_transactions():
    made = decoder()
    decode(made, relation() + begin(1000) + keepalive(9000, reply=1))
    assert made.position == Position(1, 0)
    assert made.reply
    decode(made, ROWS[0] + commit(1000, 1048) + keepalive(9000))
    assert made.position == Position(1, 9000)
    decode(made, keepalive(500))
    assert made.position == Position(1, 9000)


def test_a_hook_sees_each_event_and_may_withhold_it():
    made = decoder()
    decode(made, relation())
    (captured,) = made.relations.values()
    seen = []
    captured.hook = lambda xid, event: seen.append((xid, event.after[0])) or event.after[0] != 2
    events, _ = decode(made, transaction(1000, *ROWS))
    assert seen == [(5, n) for n in range(1, 6)]
    assert [e.ordinal for e in events] == [1, 3, 4, 5]


def test_a_frame_that_is_not_data_is_handed_back():
    made = decoder()
    block = relation() + b"E" + (12).to_bytes(4, "big") + b"SFATAL\0\0"
    with pytest.raises(NotData) as caught:
        decode(made, block)
    assert (caught.value.kind, caught.value.after) == (b"E", len(block))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(insert("1", "x"), id="row of an undescribed relation"),
        pytest.param(data(b"?"), id="unknown message"),
        pytest.param(data(b"S" + bytes(5)), id="streamed transaction"),
        pytest.param(frame(b"z" + bytes(30)), id="unknown replication message"),
        pytest.param(frame(b"w" + bytes(10)), id="short header"),
        pytest.param(frame(b""), id="empty frame"),
        pytest.param(data(b"B" + bytes(5)), id="short begin"),
        pytest.param(begin(1000) + commit(999, 1048), id="foreign commit"),
        pytest.param(commit(1000, 1048), id="commit without begin"),
        pytest.param(frame(b"k" + bytes(3)), id="short keepalive"),
        pytest.param(relation() + begin(1) + insert("1"), id="too few columns"),
        pytest.param(relation() + begin(1) + insert("one", "x"), id="not a number"),
        pytest.param(b"d\0\0\0\1" + bytes(60), id="a length below its own"),
    ],
)
def test_what_cannot_be_understood_stops_the_stream(block):
    with pytest.raises(DecodeError):
        decode(decoder(), block + bytes(0))
