"""The parts of the query source that need no database: options, schedule, clocks, file of keys, horizons."""

from __future__ import annotations

import datetime
import sqlite3

import pytest
from pydantic import ValidationError

from connectors.sql.clock import wall
from connectors.sql.horizon import Holder, Probe, Waiting
from connectors.sql.query.keyfile import LOWEST, KeyFile, key_row, key_text
from connectors.sql.query.options import QueryOptions
from connectors.sql.query.schedule import Schedule
from connectors.sqlite import values
from liberator.errors import DecodeError, PositionLost
from liberator.schema import Column, Kind, LogicalType

UTC = datetime.UTC


def options(**given):
    return QueryOptions(
        **{"type": "query", "url": "sqlite:///a.db", "tables": ["*"], "mode": "bulk", **given}
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"tables": []}, "needs tables or queries"),
        ({"mode": "incrementing"}, "needs incrementing_column"),
        ({"mode": "timestamp+incrementing", "incrementing_column": "id"}, "needs timestamp_column"),
        ({"deletes": {"reconcile": "1h"}}, "bulk sees none"),
        ({"mode": "diff", "deletes": {"reconcile": "1h"}}, "diff sees them anyway"),
        ({"horizon": "delay"}, "must be auto"),
        ({"horizon": "delay(soon)"}, "must be a duration"),
        ({"cron": "61 * * * *"}, "five fields of cron"),
        ({"time_zone": "Mars/Olympus"}, "not a time zone"),
    ],
)
def test_options_that_do_not_fit_are_refused(given, complaint):
    with pytest.raises(ValidationError, match=complaint):
        options(**given)


def test_a_delay_is_a_duration():
    assert options(horizon="delay(1m)").delay == 60
    assert options().delay is None


def test_an_interval_is_counted_from_the_beginning_of_a_poll():
    now = 100.0
    schedule = Schedule(5, None, monotonic=lambda: now)
    assert schedule.wait() == 0
    schedule.begin()
    assert schedule.wait() == 5
    now = 107.0
    assert schedule.wait() == 0


def test_cron_polls_at_its_times_and_makes_nothing_up():
    now = datetime.datetime(2024, 2, 29, 12, 7, 30, tzinfo=UTC)
    schedule = Schedule(5, "*/15 * * * *", utc=lambda: now)
    assert schedule.wait() == 0, "the first poll is due at once"
    schedule.begin()
    assert schedule.wait() == 450
    now = datetime.datetime(2024, 2, 29, 13, 1, tzinfo=UTC)
    assert schedule.wait() == 0
    schedule.begin()
    assert schedule.wait() == 14 * 60


def moment(*parts):
    return round(datetime.datetime(*parts, tzinfo=UTC).timestamp() * 1_000_000)


def test_a_clock_on_the_wall_is_not_ahead_of_what_it_will_show_again():
    # On 27 October 2024 at 01:00 UTC clocks in Berlin go from 03:00 to 02:00.
    assert wall(moment(2024, 7, 1, 12), "Europe/Berlin") == moment(2024, 7, 1, 14)
    assert wall(moment(2024, 10, 26, 18), "Europe/Berlin") == moment(2024, 10, 26, 20)
    for minute in (0, 20, 59):
        assert wall(moment(2024, 10, 27, 0, minute), "Europe/Berlin") == moment(2024, 10, 27, 2)
    assert wall(moment(2024, 10, 27, 1, 30), "Europe/Berlin") == moment(2024, 10, 27, 2, 30)
    # In spring the clock only jumps ahead.
    assert wall(moment(2024, 3, 31, 0, 59), "Europe/Berlin") == moment(2024, 3, 31, 1, 59)
    assert wall(moment(2024, 3, 31, 1), "Europe/Berlin") == moment(2024, 3, 31, 3)


def probe(time, *active):
    return Probe(time, None, {name: Holder(name) for name in active})


def test_a_probe_is_settled_once_all_who_were_active_have_ended():
    waiting = Waiting()
    waiting.add(probe(1, "a", "b"))
    waiting.update(probe(1, "a", "b").active)
    assert waiting.settled is None
    waiting.add(probe(2, "b", "c"))
    waiting.update(probe(2, "b", "c").active)
    assert waiting.settled is None
    waiting.update(probe(3, "c").active)
    assert waiting.settled.time == 1
    waiting.update(probe(4, "d").active)
    assert waiting.settled.time == 2


def test_a_prepared_transaction_may_be_anybody_who_was_active():
    waiting = Waiting()
    waiting.add(probe(1, "a"))
    waiting.update({"prepared": Holder("prepared", anybody=True)})
    assert waiting.settled is None
    waiting.update({})
    assert waiting.settled.time == 1


def test_waiting_probes_are_thinned_out_and_the_oldest_stays():
    waiting = Waiting()
    for number in range(1, 500):
        waiting.add(probe(number, "forever" if number > 1 else "first"))
    assert len(waiting._probes) <= 40
    waiting.update(probe(0, "forever").active)
    assert waiting.settled.time == 1


@pytest.mark.parametrize("key", [(5,), (-3,), (1 << 63,), ("a'b",), (1, "x"), (b"\0\xff",), (1.5, None)])
def test_a_key_survives_the_file(key):
    assert key_row(key_text(key)) == key


@pytest.fixture
def keys(tmp_path):
    file = KeyFile(tmp_path / "deep" / "shop.keys", "shop")
    file.open(None)
    yield file
    file.close()


def content(file):
    return dict(file.conn.execute("select key, hash from rows order by key").fetchall())


def reopened(file, version):
    file.close()
    file.open(version)
    return content(file)


def test_the_file_goes_back_to_any_version_that_was_not_confirmed(keys):
    versions = [(list(keys.version), content(keys))]
    for number, (rows, gone) in enumerate(
        [([1, 2, 3], []), ([2], [3]), ([3, 4], [1]), ([], [2, 4]), ([1, "text"], [3])]
    ):
        keys.change(0, [(key, number, bytes([number])) for key in rows], gone)
        versions.append((list(keys.version), content(keys)))
    keys.empty(0)
    assert content(keys) == {}
    for version, expected in versions[::-1]:
        assert reopened(keys, version) == expected


def test_the_file_keeps_what_the_log_has_confirmed(keys):
    for number in range(1, 6):
        keys.change(0, [(number, number, None)])
        keys.give((1, number))
        if number == 3:
            third = list(keys.version)
    keys.confirm((1, 4))
    assert reopened(keys, third) == {1: None, 2: None, 3: None}
    keys.close()
    with pytest.raises(PositionLost, match="not of the same time"):
        keys.open([third[0], 2])


def test_a_file_that_begins_anew_has_nothing_left_of_its_former_life(keys):
    for number in range(1, 6):
        keys.change(0, [(number, number, None)])
        keys.give((1, number))
    keys.confirm((1, 5))
    keys.close()
    keys.open(None)
    keys.change(0, [(7, 7, None)])
    version = list(keys.version)
    keys.change(0, [(8, 8, None)])
    assert reopened(keys, version) == {7: None}


def test_another_file_or_an_older_one_is_refused(keys, tmp_path):
    keys.change(0, [(1, 1, None)])
    version = list(keys.version)
    with sqlite3.connect(tmp_path / "old.keys") as copy:
        keys.conn.backup(copy)
    copy.close()
    keys.change(0, [(2, 1, None)])
    for path, wanted in [(tmp_path / "old.keys", keys.version), (tmp_path / "none.keys", version)]:
        other = KeyFile(path, "shop")
        with pytest.raises(PositionLost):
            other.open(wanted)
        other.close()


def test_ranges_and_sums(keys):
    keys.change(0, [(key, key * 10, None) for key in range(1, 11)])
    keys.change(1, [(99, 1, None)])
    assert keys.range(0, LOWEST, 4) == (4, 4)
    assert keys.range(0, 8, 4) == (10, 2)
    assert keys.range(0, 10, 4) == (None, 0)
    assert keys.sum(0, 4, 6) == (2, 110)
    assert keys.keys(0, 8, 10) == [9, 10]
    keys.see([9])
    keys.look()
    keys.see([1, 2, 3])
    keys.see([3])
    assert keys.unseen(0, LOWEST, 4) == [4, 5, 6, 7]
    assert keys.unseen(0, 7, 9) == [8, 9, 10]


@pytest.mark.parametrize(
    ("declared", "stored", "expected"),
    [
        ("INTEGER", 5, 5), ("bigint", -5, -5), ("varchar(20)", "x", "x"), ("double precision", 2, 2.0),
        ("BOOLEAN", 1, True), ("decimal(10,2)", 12.5, 1250), ("decimal(10,2)", "-0.05", -5),
        ("decimal(10,2)", "12.345", "12.345"), ("decimal(10,2)", 7, 700), ("numeric", "1e3", (1000, 0)),
        ("numeric", 1.25, (125, 2)), ("date", "1970-01-02", 1), ("date", "0000-00-00", "0000-00-00"),
        ("time", "00:00:01.5", 1_500_000), ("datetime", "1970-01-01 00:00:01", 1_000_000),
        ("datetime", "1970-01-01T00:00:01.25", 1_250_000), ("timestamp", 17, "17"),
        ("timestamp with time zone", "1970-01-01 00:00:01+00:00", 1_000_000), ("blob", b"\0", b"\0"),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("", "it's", "'it''s'"), ("", b"\xff", "X'ff'"), ("", 1.5, "1.5"), ("anything", None, None),
    ],
)  # fmt: skip
def test_what_sqlite_holds_is_read_by_what_is_declared(declared, stored, expected):
    decode = values.decoder(Column("v", values.logical(declared), native=declared))
    assert (None if stored is None else decode(stored)) == expected


@pytest.mark.parametrize(("declared", "stored"), [("int", "x"), ("text", b"x"), ("bool", 2), ("date", b"x")])
def test_a_value_without_a_place_in_its_type_is_refused_without_being_told(declared, stored):
    decode = values.decoder(Column("v", values.logical(declared), native=declared))
    with pytest.raises(DecodeError, match="column 'v' is declared") as refused:
        decode(stored)
    assert "x" not in str(refused.value).replace("text", "")


def test_a_declared_type_of_ours_is_the_logical_type_again():
    assert values.logical("DECIMAL_TEXT(5,1)") == LogicalType(Kind.DECIMAL, 5, 1)
    assert values.logical("TIMESTAMPTZ_TEXT").kind is Kind.TIMESTAMPTZ
    assert values.logical("UNSIGNED_TEXT").kind is Kind.UINT64
