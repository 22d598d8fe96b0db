"""What the decoder of the binlog makes of events that are rare, or must not be: never a guess."""

from __future__ import annotations

import struct
import uuid

import pytest

from connectors.mysql.binlog.changes import ChangeDecoder
from connectors.mysql.binlog.transactions import Transactions, major_of
from connectors.mysql.wire import kinds
from connectors.mysql.wire.blocks import Block, Splitter
from connectors.mysql.wire.gtid import GtidSet
from liberator.errors import DecodeError, PositionLost, SourceError
from liberator.event import Events, Position
from tests import binlogs

SERVER = uuid.UUID("3e11fa47-71ca-11e1-9e33-c80aa9429562")
BEGIN = (kinds.QUERY, binlogs.query(b"BEGIN"))
COMMIT = (kinds.XID, struct.pack("<Q", 1))
DESCRIPTION = (kinds.FORMAT_DESCRIPTION, binlogs.description())


def gtid(number):
    return kinds.GTID, struct.pack("<B16sqBqq", 1, SERVER.bytes, number, 2, 0, 0)


def rows(table, kind=kinds.WRITE_ROWS):
    """The head of a rows event; nobody comes to read what is behind it."""
    return kind, struct.pack("<Q", table)[:6] + bytes(8)


class Reader:
    """A decoder at the begin of a file; there are no tables, for no event gets so far."""

    def __init__(self, position=None):
        self.place = Transactions(position or Position(1, 0), "binlog.000007", GtidSet())
        self.decoder = ChangeDecoder(self.place, None, None)
        self.splitter = Splitter("binlog.000007", 4, checksum=True)

    def read(self, *events, flags=0):
        """Each event of kind and body."""
        out = Events()
        for kind, body in events:
            found = []
            data = binlogs.event(kind, body, self.splitter.position, flags=flags)
            assert self.splitter.bare(data, 0, found) == len(data)
            self.decoder.feed(Block(data, found))
            self.decoder.decode(out, 1000)
        return list(out)


def test_the_place_moves_behind_what_says_nothing_about_rows():
    reader = Reader()
    silent = [(kind, b"x" * 30) for kind in (*sorted(kinds.SILENT), kinds.ROWS_QUERY, kinds.ANNOTATE_ROWS)
              if kind not in (kinds.HEARTBEAT, kinds.HEARTBEAT_V2)]  # fmt: skip
    assert reader.read(DESCRIPTION, gtid(1), BEGIN, COMMIT, *silent) == []
    assert reader.place.position == Position(1, major_of("binlog.000007", reader.splitter.position))
    assert str(reader.place.gtids) == f"{SERVER}:1"


@pytest.mark.parametrize("kind", [99, 200, kinds.PARTIAL_ROW_DATA, kinds.START_ENCRYPTION, kinds.START_V3])
def test_an_event_that_nobody_knows_is_an_error_unless_it_says_that_it_may_be_ignored(kind):
    reader = Reader()
    with pytest.raises(DecodeError, match=r"cannot go on at binlog\.000007: .* is of kind") as stopped:
        reader.read(DESCRIPTION, (kind, b"secret"))
    assert stopped.value.hint and "secret" not in str(stopped.value)
    assert Reader().read(DESCRIPTION, (kind, b"x"), flags=kinds.FLAG_IGNORABLE) == []


def test_an_incident_stops_the_source_with_what_the_server_says_of_it():
    with pytest.raises(SourceError, match=r"lost events before binlog\.000007:\d+: cache gone") as stopped:
        Reader().read(DESCRIPTION, (kinds.INCIDENT, b"\1\0\x0acache gone"))
    assert "--recover" in stopped.value.hint and not stopped.value.retryable


@pytest.mark.parametrize("kind", sorted(kinds.ROWS))
def test_rows_of_a_table_that_the_stream_has_not_described_are_an_error(kind):
    with pytest.raises(DecodeError, match="has not described"):
        Reader().read(DESCRIPTION, gtid(1), BEGIN, rows(77, kind))
    # What only ends a statement changes nothing.
    assert Reader().read(DESCRIPTION, gtid(1), BEGIN, rows(0xFFFFFF, kind), COMMIT) == []


def test_transactions_that_do_not_fit_together_are_an_error():
    with pytest.raises(DecodeError, match="a transaction begins within another"):
        Reader().read(DESCRIPTION, gtid(1), BEGIN, gtid(2))
    with pytest.raises(DecodeError, match="a commit without a transaction"):
        Reader().read(DESCRIPTION, COMMIT)


def test_a_file_before_the_present_one_is_another_binlog():
    rotate = (kinds.ROTATE, struct.pack("<Q", 4) + b"binlog.000006")
    with pytest.raises(SourceError, match=r"went from binlog file binlog\.000007 back to") as stopped:
        Reader().read(DESCRIPTION, rotate)
    assert stopped.value.retryable


@pytest.mark.parametrize("end", [DESCRIPTION, (kinds.ROTATE, struct.pack("<Q", 4) + b"binlog.000008")])
def test_what_a_killed_server_could_not_end_never_was_unless_rows_of_it_are_in_the_log(end):
    reader = Reader()
    reader.read(DESCRIPTION, gtid(1), BEGIN, end, gtid(1), BEGIN, COMMIT)
    assert str(reader.place.gtids) == f"{SERVER}:1"
    reader = Reader()
    reader.read(DESCRIPTION, gtid(1), BEGIN)
    reader.place.ordinal = 3
    reader.place.pause()
    with pytest.raises(PositionLost, match="was never finished") as lost:
        reader.read(end)
    assert "--recover" in lost.value.hint
