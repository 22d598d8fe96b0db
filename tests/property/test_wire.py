"""Binlog bytes of any kind, and recorded ones damaged: a typed error or the right answer, and an end."""

from __future__ import annotations

import contextlib
import gzip
import io
import socket
import struct
from functools import cache

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.mysql.wire import events, gtid_events, kinds
from connectors.mysql.wire.blocks import Splitter
from connectors.mysql.wire.compressed import uncompress_query, uncompress_rows
from connectors.mysql.wire.files import read_stream
from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.maria_gtid import MariaPosition
from connectors.mysql.wire.packets import Packets
from connectors.mysql.wire.payload import payload_blocks
from connectors.mysql.wire.query import is_begin, parse_query
from connectors.mysql.wire.statements import understand
from liberator.errors import DecodeError, LiberatorError
from tests import binlogs
from tests.corpora import corpus

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
SIDS = [UUID, UUID + ":tag", UUID.replace("3", "4")]


def on_rows(kind):
    return lambda data, start, end: uncompress_rows(kind, data, start, end, 1 << 20)


def on_payload(data, start, end):
    event = (kinds.TRANSACTION_PAYLOAD, start, end, end - start + 19, 4, 0, 0, 0)
    return [parse_all(block) for block in payload_blocks(data, event, 1 << 22)]


PARSERS = {
    kinds.FORMAT_DESCRIPTION: events.parse_format_description,
    kinds.ROTATE: events.parse_rotate,
    kinds.XID: events.parse_xid,
    kinds.XA_PREPARE: events.parse_xa_prepare,
    kinds.INCIDENT: events.parse_incident,
    kinds.ROWS_QUERY: events.parse_rows_query,
    kinds.ANNOTATE_ROWS: events.parse_annotate_rows,
    kinds.HEARTBEAT: lambda *args: events.parse_heartbeat(kinds.HEARTBEAT, *args, 4),
    kinds.HEARTBEAT_V2: lambda *args: events.parse_heartbeat(kinds.HEARTBEAT_V2, *args, 4),
    kinds.GTID: gtid_events.parse_gtid,
    kinds.ANONYMOUS_GTID: gtid_events.parse_gtid,
    kinds.TAGGED_GTID: gtid_events.parse_tagged_gtid,
    kinds.PREVIOUS_GTIDS: gtid_events.parse_previous_gtids,
    kinds.MARIA_GTID: lambda *args: gtid_events.parse_maria_gtid(*args, 7),
    kinds.MARIA_GTID_LIST: gtid_events.parse_maria_gtid_list,
    kinds.QUERY: parse_query,
    kinds.QUERY_COMPRESSED: lambda *args: uncompress_query(*args, 1 << 20),
    kinds.TRANSACTION_PAYLOAD: on_payload,
    **{kind: on_rows(kind) for kind in kinds.COMPRESSED_ROWS},
}


def parse(kind, data, start, end):
    """What an event says; also a statement's head."""
    found = PARSERS[kind](data, start, end) if kind in PARSERS else None
    if kind == kinds.QUERY:
        assert is_begin(data, start, end) == (found.statement == "BEGIN")
        understand(found.statement, found.database, ansi_quotes=found.ansi_quotes)
    return found


def parse_all(block):
    return [parse(e[0], block.data, e[1], e[2]) for e in block.events]


@cache
def recorded():
    """Binlog files of several servers."""
    folder = corpus("mysql-binlog-files")
    sakila = gzip.decompress(corpus("sakila", "mysql-binlog", "mysql-bin.sakila.gz").read_bytes())
    files = [(folder / f"mysql-bin.{name}").read_bytes() for name in ("checksum-crc32", "compressed")]
    # The end of the long one says nothing new.
    return [*files, sakila[:60_000]]


def read(data, block=1 << 18):
    return list(read_stream(io.BytesIO(data), "f", block))


@cache
def recorded_bodies():
    """Kinds and bodies of the recorded events, each kind's first few."""
    found = {}
    for data in (*recorded()[:2], uncut(recorded()[2])):
        for block in read(data):
            for seen in binlogs.seen(block):
                found.setdefault(seen.kind, []).append(seen.body)
    return [(kind, body) for kind, bodies in found.items() if kind in PARSERS for body in bodies[:5]]


def uncut(data):
    """The whole events that a file begins with."""
    found = []
    return data[: 4 + Splitter("f").bare(data[4:], 0, found)]


@st.composite
def damaged(draw, data):
    """Some bytes changed, cut out, put in, or cut off."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(out)))
        how = draw(st.integers(0, 3))
        if how == 0 and at < len(out):
            out[at] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFC, 0xFE, 0xFF, out[at] ^ 1)))
        elif how == 1:
            del out[at : at + draw(st.integers(1, 20))]
        elif how == 2:
            out[at:at] = draw(st.binary(min_size=1, max_size=20))
        else:
            del out[at:]
    return bytes(out)


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=200), st.integers(0, 5))
@settings(max_examples=1000)
def test_any_bytes_are_an_event_or_an_error(kind, body, before):
    data = bytes(before) + body
    with contextlib.suppress(DecodeError):
        parse(kind, data, before, len(data))


@given(st.data())
@settings(max_examples=400)
def test_damaged_events_are_read_or_refused(data):
    kind, body = data.draw(st.sampled_from(recorded_bodies()))
    wrong = data.draw(damaged(body))
    with contextlib.suppress(DecodeError):
        parse(kind, wrong, 0, len(wrong))


@given(st.data())
@settings(max_examples=60)
def test_damaged_files_are_read_or_refused(data):
    wrong = data.draw(damaged(data.draw(st.sampled_from([f[:20_000] for f in recorded()]))))
    try:
        for block in read(wrong):
            parse_all(block)
    except DecodeError:
        pass


@given(st.data())
@settings(max_examples=60)
def test_a_file_with_checksums_is_never_read_wrongly(data):
    """Whatever is damaged behind the begin, which says that there are checksums: the events before it come
    out as they were, and then there is an error or the end."""
    whole = recorded()[0][:8000]
    right = [seen for block in read(uncut(whole)) for seen in binlogs.seen(block)]
    wrong = whole[:200] + data.draw(damaged(whole[200:]))
    found = []
    with contextlib.suppress(DecodeError):
        for block in read_stream(io.BytesIO(wrong), "f", 500):
            found += binlogs.seen(block)
    same = next((i for i, (a, b) in enumerate(zip(found, right, strict=False)) if a != b), len(found))
    assert [seen.body for seen in found[same:]] == []


def test_recorded_files_are_read_to_their_end():
    counts = [sum(len(block.events) for block in read(uncut(data))) for data in recorded()]
    assert counts[:2] == [303, 5]
    assert counts[2] > 20
    for data in recorded():
        for block in read(uncut(data)):
            parse_all(block)


@given(st.integers(1, 3000))
@settings(max_examples=30)
def test_the_size_of_blocks_makes_no_difference(block):
    data = uncut(recorded()[0])
    whole = [seen for one in read(data) for seen in binlogs.seen(one)]
    assert [seen for one in read(data, block) for seen in binlogs.seen(one)] == whole


BODIES = st.lists(
    st.tuples(st.sampled_from((2, 16, 19, 30)), st.binary(max_size=300)), min_size=1, max_size=20
)


@given(BODIES, st.booleans(), st.integers(0, 255), st.lists(st.integers(1, 400), min_size=1, max_size=30))
@settings(max_examples=100)
def test_packets_cut_anywhere_bring_the_same_events(bodies, checksum, sequence, cuts):
    data = binlogs.packets(binlogs.chain(*bodies, checksum=checksum), sequence)
    near, far = socket.socketpair()
    with near, far:
        splitter = Splitter("f", checksum=checksum)
        splitter.sequence = sequence
        reader = Packets(far, splitter)
        found, at = [], 0
        while at < len(data):
            size = cuts[at % len(cuts)]
            near.sendall(data[at : at + size])
            at += size
            while block := reader.read(0):
                found += [(seen.kind, seen.body) for seen in binlogs.seen(block)]
    assert found == bodies


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_any_packets_are_events_or_an_error(data):
    near, far = socket.socketpair()
    with near, far:
        reader = Packets(far, Splitter("f"))
        near.sendall(data)
        near.close()
        with pytest.raises(LiberatorError):  # at least that the connection was closed
            while reader.read(0) is not None or not reader.ended:
                pass
            raise DecodeError("ended")


@given(BODIES, st.data())
@settings(max_examples=150)
def test_compressed_transactions_come_out_as_they_went_in(bodies, data):
    inner = b"".join(binlogs.chain(*bodies, checksum=False))
    packed = zstandard.ZstdCompressor().compress(inner)
    head = b"\x02\x01\x00" + b"\x03\x09\xfe" + struct.pack("<Q", len(inner))
    body = head + b"\x01\x09\xfe" + struct.pack("<Q", len(packed)) + b"\0" + packed

    def unpack(body):
        event = (kinds.TRANSACTION_PAYLOAD, 0, len(body), 0, 4, 0, 0, 0)
        return [
            (s.kind, s.body) for block in payload_blocks(body, event, 1 << 22) for s in binlogs.seen(block)
        ]

    assert unpack(body) == bodies
    wrong = data.draw(damaged(body))
    with contextlib.suppress(DecodeError):
        unpack(wrong)


NUMBERS = st.integers(1, 40)
CHANGES = st.lists(st.tuples(st.sampled_from(SIDS), NUMBERS, NUMBERS), max_size=25)


def model(changes):
    return {(sid, n) for sid, first, more in changes for n in range(first, first + more)}


def made(changes):
    return GtidSet(",".join(f"{sid}:{first}-{first + more - 1}" for sid, first, more in changes))


def members(found):
    return {
        (sid, n)
        for sid in found.sids()
        for first, last in found.intervals(sid)
        for n in range(first, last + 1)
    }


@given(CHANGES, CHANGES)
@settings(max_examples=200)
def test_gtid_sets_are_sets(left, right):
    a, b, x, y = made(left), made(right), model(left), model(right)
    assert members(a) == x
    assert members(a.union(b)) == x | y
    assert members(a.subtract(b)) == x - y
    assert members(a.intersect(b)) == x & y
    assert a.contains(b) == (x >= y)
    assert (a == b) == (x == y)
    assert a.count() == len(x)
    assert bool(a) == bool(x)
    for sid, n in list(y)[:20]:
        assert a.has(sid, n) == ((sid, n) in x)
        a.add(sid, n)
        x.add((sid, n))
    assert members(a) == x
    assert GtidSet(str(a)) == a == GtidSet.decode(a.encode())
    assert str(GtidSet.decode(a.encode())) == str(a)
    for sid in a.sids():
        edges = [edge for interval in a.intervals(sid) for edge in interval]
        assert all(second - first >= 2 for first, second in zip(edges[1::2], edges[2::2], strict=False))


@given(CHANGES, st.data())
@settings(max_examples=200)
def test_damaged_gtid_sets_are_read_or_refused(changes, data):
    wrong = data.draw(damaged(made(changes).encode()))
    try:
        found = GtidSet.decode(wrong)
    except DecodeError:
        return
    assert GtidSet(str(found)) == found


@given(st.text(alphabet="0123456789-,:abct \n" + "é", max_size=60))
@settings(max_examples=300)
def test_any_text_is_a_set_or_an_error(text):
    for kind in (GtidSet, MariaPosition):
        try:
            found = kind(text)
        except DecodeError:
            continue
        assert kind(str(found)) == found


@given(
    st.dictionaries(
        st.integers(0, 2**32 - 1), st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
    )
)
@settings(max_examples=100)
def test_positions_of_mariadb_are_spelled_and_read(domains):
    position = MariaPosition()
    for domain, (server, number) in domains.items():
        position.add(domain, server, number)
    assert MariaPosition(str(position)) == position


def varying(number):
    """An integer of 1 to 9 bytes, as MySQL's serialization library writes it."""
    for more in range(8):
        if number < 1 << 7 * (more + 1):
            return (number << more + 1 | (1 << more) - 1).to_bytes(more + 1, "little")
    return b"\xff" + struct.pack("<Q", number)


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3),
    st.integers(1, 2**62),
    st.binary(min_size=16, max_size=16),
)
@settings(max_examples=200)
def test_tagged_gtids_hold_integers_of_any_size(numbers, number, uuid):
    committed, original, length = numbers
    fields = varying(0) + varying(1)
    fields += varying(1) + b"".join(map(varying, uuid)) + varying(2) + varying(number << 1)
    fields += varying(3) + varying(3) + b"tag" + varying(4) + varying(0) + varying(5) + varying(2)
    for field, value in ((6, committed), (7, original), (8, length)):
        fields += varying(field) + varying(value)
    for size in range(1, 3):  # of the size itself
        body = varying(1) + varying(1 + size + 1 + len(fields)) + varying(0) + fields
        if len(body) == 1 + size + 1 + len(fields):
            break
    found = gtid_events.parse_tagged_gtid(body, 0, len(body))
    assert (found.committed, found.original, found.length) == (committed, original, length)
    assert (found.number, found.flags, found.sid.endswith(":tag")) == (number, 1, True)


TEXT = """
    create drop alter rename truncate table tables database index unique if not exists or replace temporary to
    from on as select like insert into update delete set statement for load data infile start transaction
    partition exchange with import tablespace begin commit xa savepoint
    t `a` `a``b` "x" 'it' ( ) , . = ; /* */ /*! /*!50000 /*M! -- # \\ ` " ' 1 é
"""
WORDS = st.sampled_from(TEXT.split())


@given(st.lists(WORDS, max_size=14), st.booleans(), st.booleans())
@settings(max_examples=500)
def test_any_statement_is_understood_or_refused(words, ansi_quotes, no_backslash_escapes):
    text = " ".join(words)
    try:
        found = understand(text, "d", ansi_quotes=ansi_quotes, no_backslash_escapes=no_backslash_escapes)
    except DecodeError:
        return
    assert all(isinstance(part, str) for name in found.tables for part in name)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(NAMES, NAMES, st.booleans())
@settings(max_examples=300)
def test_names_come_out_as_they_were_quoted(database, table, ansi_quotes):
    quote = '"' if ansi_quotes else "`"
    name = ".".join(quote + part.replace(quote, quote * 2) + quote for part in (database, table))
    found = understand(f"drop table /* {{}} */ if exists {name} cascade", "d", ansi_quotes=ansi_quotes)
    assert found.tables == ((database, table),)
