"""Noise into the frame loop: a typed error or events, never anything else, never a hang."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.wal.changes import NotData
from liberator.errors import DecodeError
from liberator.event import Events
from tests.frames import SCHEMA, decoder, delete, insert, keepalive, relation, transaction, truncate, update

BLOCK = relation() + b"".join(
    transaction(
        lsn,
        insert("1", "a"),
        update("1", "absent"),
        update("2", "b", old=("1", None)),
        delete("2", None),
        truncate(),
    )
    + keepalive(lsn + 100)
    for lsn in (1000, 2000)
)


def consume(block):
    made = decoder()
    events = Events()
    pos = 0
    with contextlib.suppress(DecodeError, NotData):
        end = made.decode(block, pos, events, 10_000)
        assert pos <= end <= len(block)
    for event in events:
        for row in (event.before, event.after):
            assert row is None or len(row) == len(SCHEMA.columns)
    return events


@given(st.binary(max_size=400))
def test_random_bytes(noise):
    consume(noise)


@given(st.data())
def test_damaged_streams(draw):
    block = bytearray(BLOCK)
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, len(block) - 1))
        how = draw.draw(st.integers(0, 2))
        if how == 0:
            block[place] = draw.draw(st.integers(0, 255))
        elif how == 1:
            del block[place : place + draw.draw(st.integers(1, 20))]
        else:
            block[place:place] = draw.draw(st.binary(min_size=1, max_size=20))
    consume(bytes(block))


def test_the_undamaged_stream_is_read_whole():
    assert len(consume(BLOCK)) == 12
