"""GTID sets of MySQL and positions of MariaDB."""

from __future__ import annotations

import pytest

from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.maria_gtid import MariaPosition
from liberator.errors import DecodeError

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
B = "aaaaaaaa-71ca-11e1-9e33-c80aa9429562"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        (f"{A}:1", f"{A}:1"),
        (f"{A}:1-5", f"{A}:1-5"),
        (f"{A.upper()} : 1 - 5 ,\n {B}:7", f"{A}:1-5,{B}:7"),
        (f"{A}:5:1-3:4", f"{A}:1-5"),
        (f"{A}:1-3:10-20:5-7", f"{A}:1-3:5-7:10-20"),
        (f"{A}:1-3:2-9", f"{A}:1-9"),
        (f"{B}:1,{A}:1", f"{A}:1,{B}:1"),
        (f"{A}:1,{A}:2", f"{A}:1-2"),
        (f"{A}:1-2:sales:3:5-6:_x:1", f"{A}:1-2:_x:1:sales:3:5-6"),
        (f"{A}:sales:3", f"{A}:sales:3"),
        (f"{A}:9-3", ""),
        (f"{A}:9223372036854775806", f"{A}:9223372036854775806"),
    ],
)
def test_a_set_is_read_and_spelled_as_mysql_does(text, canonical):
    assert str(GtidSet(text)) == canonical
    assert GtidSet(canonical) == GtidSet(text)


@pytest.mark.parametrize(
    "text",
    ["x", A, f"{A}:", f"{A}:1;{B}:1", f"{A}:0", f"{A}:1-", f"{A}:-1", f"{A}:1-9223372036854775807",
     f"{A}:1:9tag:1",
     f"{A}:1 2",     "0-1-5", f"{A}:" + "t" * 33 + ":1", f"{A}:١"],
)  # fmt: skip
def test_what_is_no_set_is_refused_with_a_hint(text):
    with pytest.raises(DecodeError, match="as a GTID set") as caught:
        GtidSet(text)
    assert "uuid:1-5" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", f"{A}:1", f"{A}:1-5:7,{B}:9", f"{A}:1:tag_1:4-5,{B}:x:2", f"{A}:" + "t" * 32 + ":1"]
)
def test_the_binary_encodings_hold_what_the_text_holds(text):
    assert GtidSet.decode(GtidSet(text).encode()) == GtidSet(text)


def test_binary_sets_are_as_servers_write_them():
    plain = bytes.fromhex(
        "01000000000000000aa4cd08e5a011f1be4d02fc00000001010000000000000001000000000000000a00000000000000"
    )
    tagged = bytes.fromhex(
        "01020000000000010aa4cd08e5a011f1be4d02fc0000000100010000000000000001000000000000000b00000000000000"
        "0aa4cd08e5a011f1be4d02fc000000010a6162635f31010000000000000001000000000000000200000000000000"
    )
    uuid = "0aa4cd08-e5a0-11f1-be4d-02fc00000001"
    assert str(GtidSet.decode(plain)) == f"{uuid}:1-9"
    assert str(GtidSet.decode(tagged)) == f"{uuid}:1-10:abc_1:1"
    assert GtidSet(f"{uuid}:1-9").encode() == plain
    assert GtidSet(f"{uuid}:1-10:abc_1:1").encode() == tagged


def test_damaged_binary_sets_are_refused():
    data = GtidSet(f"{A}:1-5:7:tag:4,{B}:9").encode()
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            GtidSet.decode(data[:size])
    for wrong in (data + b"\0", b"\xff" * 8, data[:7] + b"\x02" + data[8:]):
        with pytest.raises(DecodeError):
            GtidSet.decode(wrong)


def test_intervals_that_overlap_or_go_back_are_refused():
    data = bytearray(GtidSet(f"{A}:1-5:7").encode())
    data[-16:-8] = (3).to_bytes(8, "little")
    with pytest.raises(DecodeError):
        GtidSet.decode(bytes(data))


def test_adding_in_any_order_joins_neighbours():
    have = GtidSet()
    for number in (5, 7, 1, 6, 3, 2, 4, 7):
        have.add(A, number)
    assert str(have) == f"{A}:1-7"
    have.add(f"{A}:tag", 9)
    assert str(have) == f"{A}:1-7:tag:9"
    assert have.has(A, 7)
    assert not have.has(A, 8)
    assert not have.has(A, 0)
    assert not have.has(B, 1)
    assert have.intervals(A) == [(1, 7)]
    assert have.intervals(B) == []
    assert have.count() == 8


def test_sets_are_combined():
    left, right = GtidSet(f"{A}:1-10:20,{B}:1"), GtidSet(f"{A}:3-4:10-15,{A}:t:1")
    assert str(left.union(right)) == f"{A}:1-15:20:t:1,{B}:1"
    assert str(left.subtract(right)) == f"{A}:1-2:5-9:20,{B}:1"
    assert str(left.intersect(right)) == f"{A}:3-4:10"
    assert left.contains(GtidSet(f"{A}:2-3:20"))
    assert not left.contains(right)
    assert left.contains(GtidSet())
    assert not GtidSet().contains(left)
    assert str(left) == f"{A}:1-10:20,{B}:1"
    assert list(left.sids()) == [A, B]


def test_a_copy_changes_by_itself():
    have = GtidSet(f"{A}:1-3")
    copy = have.copy()
    copy.add(A, 4)
    assert (str(have), str(copy)) == (f"{A}:1-3", f"{A}:1-4")
    joined = GtidSet()
    joined.update(have)
    joined.add(A, 4)
    assert str(have) == f"{A}:1-3"


def test_a_position_of_mariadb_is_read_and_spelled():
    position = MariaPosition(" 2-7-50, 0-1-100")
    assert str(position) == "0-1-100,2-7-50"
    assert MariaPosition(str(position)) == position
    assert not MariaPosition("")
    assert position.has(0, 100)
    assert not position.has(0, 101)
    assert not position.has(1, 0)


@pytest.mark.parametrize("text", ["1", "0-1", "0-1-2,", "0-1-2,0-2-3", "4294967296-1-1", "0-1--1", f"{A}:1"])
def test_what_is_no_position_of_mariadb_is_refused(text):
    with pytest.raises(DecodeError):
        MariaPosition(text)


def test_positions_of_mariadb_go_on_per_domain():
    position = MariaPosition("0-1-100")
    copy = position.copy()
    position.add(0, 2, 101)
    position.add(5, 1, 1)
    assert str(position) == "0-2-101,5-1-1"
    assert str(copy) == "0-1-100"
    assert position.contains(copy)
    assert not copy.contains(position)
    copy.update(MariaPosition("0-9-7,5-1-4"))
    assert str(copy) == "0-1-100,5-1-4"
