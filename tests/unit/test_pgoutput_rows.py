"""Row changes: handmade tuples through the compiled decoders."""

from __future__ import annotations

import itertools

import pytest

from connectors.postgres.types.copying import compile_block_decoder, compile_copy_decoder
from connectors.postgres.types.values import UnknownLabel
from connectors.postgres.wal.rows import RelationDecoder
from connectors.postgres.wal.tuples import KEY, OLD, TupleReader
from liberator.errors import DecodeError
from liberator.event import ABSENT
from liberator.schema import Kind, LogicalType
from tests import wire

ORDERS = wire.schema(
    Kind.INT64,
    Kind.INT32,
    Kind.STRING,
    LogicalType(Kind.DECIMAL, 10, 2),
    Kind.TIMESTAMPTZ,
    Kind.STRING,
    Kind.BOOL,
)
IDENTITY = [True] + [False] * 6
WIRE = [b"7", b"-12", "größe".encode(), b"-1234.05", b"2024-02-29 23:59:59.9+00", b"", b"t"]
ROW = (7, -12, "größe", -123405, 1_709_251_199_900_000, "", True)
KEY_ROW = (7, *[ABSENT] * 6)
KEY_WIRE = [b"7", *[None] * 6]


@pytest.fixture
def orders() -> RelationDecoder:
    return RelationDecoder(ORDERS, IDENTITY)


def test_an_insert_gives_its_row(orders: RelationDecoder) -> None:
    assert orders.insert(wire.insert(WIRE), 0) == ROW
    assert orders.insert(b"header" + wire.insert(WIRE), 6) == ROW


def test_the_header_may_hold_any_bytes(orders: RelationDecoder) -> None:
    # Such as the ones that the quick way looks for.
    header = b"w" + b"t\0\0\0" * 6
    assert orders.insert(header + wire.insert(WIRE), len(header)) == ROW
    nulls = [*WIRE[:5], None, b"f"]
    assert orders.insert(header[:5] + wire.insert(nulls), 5) == (*ROW[:5], None, False)


@pytest.mark.parametrize("index", range(7))
def test_null_is_none_and_unchanged_toast_is_absent(orders: RelationDecoder, index: int) -> None:
    for sent, expected in ((None, None), (ABSENT, ABSENT)):
        values, row = list(WIRE), list(ROW)
        values[index], row[index] = sent, expected
        assert orders.insert(wire.insert(values), 0) == tuple(row)


@pytest.mark.parametrize("length", [0, 1, 116, 255, 256, 257, 65_535, 65_536, 70_000])
def test_values_of_any_length_are_read_whole(orders: RelationDecoder, length: int) -> None:
    values = [*WIRE[:5], b"t" * length, b"t"]
    assert orders.insert(wire.insert(values), 0)[5] == "t" * length


def test_an_update_without_old_row(orders: RelationDecoder) -> None:
    assert orders.update(wire.update(WIRE), 0) == (None, ROW, None)
    toast = [*WIRE[:5], ABSENT, b"t"]
    assert orders.update(wire.update(toast), 0) == (None, (*ROW[:5], ABSENT, True), None)


def test_an_update_with_the_old_key_has_only_that(orders: RelationDecoder) -> None:
    message = wire.update([b"8", *WIRE[1:]], KEY_WIRE, b"K")
    assert orders.update(message, 0) == (KEY_ROW, (8, *ROW[1:]), KEY)


def test_an_update_with_the_whole_old_row(orders: RelationDecoder) -> None:
    old = [*WIRE[:6], b"f"]
    assert orders.update(wire.update(WIRE, old), 0) == ((*ROW[:6], False), ROW, OLD)
    old[5] = None
    assert orders.update(wire.update(WIRE, old), 0) == ((*ROW[:5], None, False), ROW, OLD)


def test_unchanged_toast_is_taken_from_the_whole_old_row(orders: RelationDecoder) -> None:
    new = [*WIRE[:2], ABSENT, *WIRE[3:6], b"f"]
    assert orders.update(wire.update(new, WIRE), 0) == (ROW, (*ROW[:6], False), OLD)


def test_an_unchanged_toasted_key_is_taken_from_the_old_key() -> None:
    texts = RelationDecoder(wire.schema(Kind.STRING, Kind.STRING), [True, False])
    message = wire.update([ABSENT, ABSENT], [b"key", None], b"K")
    assert texts.update(message, 0) == (("key", ABSENT), ("key", ABSENT), KEY)


def test_deletes(orders: RelationDecoder) -> None:
    assert orders.delete(wire.delete(KEY_WIRE, b"K"), 0) == (KEY_ROW, KEY)
    assert orders.delete(wire.delete(WIRE), 0) == (ROW, OLD)
    nulls = [*WIRE[:5], None, b"t"]
    assert orders.delete(wire.delete(nulls), 0) == ((*ROW[:5], None, True), OLD)


def test_the_identity_need_not_be_the_primary_key() -> None:
    decoder = RelationDecoder(ORDERS, [False, True, True, False, False, True, False])
    old = [None, b"-12", b"x", None, None, b"y", None]
    row = (ABSENT, -12, "x", ABSENT, ABSENT, "y", ABSENT)
    assert decoder.delete(wire.delete(old, b"K"), 0) == (row, KEY)
    assert decoder.update(wire.update(WIRE, old, b"K"), 0) == (row, ROW, KEY)


def test_an_old_key_with_other_columns_in_it_is_refused(orders: RelationDecoder) -> None:
    old = [b"7", b"-12", *[None] * 5]
    with pytest.raises(DecodeError, match="not of the replica identity"):
        orders.delete(wire.delete(old, b"K"), 0)


def test_a_table_without_columns() -> None:
    decoder = RelationDecoder(wire.schema(key=()), [])
    assert decoder.insert(wire.insert([]), 0) == ()
    assert decoder.update(wire.update([], []), 0) == ((), (), OLD)
    assert decoder.delete(wire.delete([], b"K"), 0) == ((), KEY)
    with pytest.raises(DecodeError):
        decoder.insert(wire.insert([]) + b"n", 0)
    assert compile_copy_decoder(wire.schema(key=()))(b"\n") == ()
    assert compile_block_decoder(wire.schema(key=()))(b"\n\n") == [(), ()]


def test_a_table_as_wide_as_postgres_allows() -> None:
    table = wire.schema(*[Kind.INT32, Kind.STRING] * 800)
    decoder = RelationDecoder(table, [True] + [False] * 1599)
    values = [b"1", b"x"] * 800
    assert decoder.insert(wire.insert(values), 0) == (1, "x") * 800
    assert decoder.update(wire.update(values, values), 0) == ((1, "x") * 800, (1, "x") * 800, OLD)
    values[1] = None
    assert decoder.insert(wire.insert(values), 0)[:4] == (1, None, 1, "x")
    assert compile_copy_decoder(table)(wire.copy_line(values))[:4] == (1, None, 1, "x")


MESSAGES = {
    "insert": wire.insert(WIRE),
    "insert with nulls": wire.insert([b"1", None, b"x", None, None, ABSENT, None]),
    "insert of a long value": wire.insert([*WIRE[:5], b"x" * 300, b"t"]),
    "update": wire.update(WIRE),
    "update with key": wire.update(WIRE, KEY_WIRE, b"K"),
    "update with row": wire.update(WIRE, WIRE),
    "update with nulls": wire.update([b"1", *[None] * 6], [b"1", *[None] * 6]),
    "delete by key": wire.delete(KEY_WIRE, b"K"),
    "delete by row": wire.delete(WIRE),
}


def decode(decoder: RelationDecoder | TupleReader, data: bytes) -> object:
    return {b"I": decoder.insert, b"U": decoder.update, b"D": decoder.delete}[data[:1]](data, 0)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_row_change_cut_short_anywhere_is_refused(orders: RelationDecoder, name: str) -> None:
    data = MESSAGES[name]
    decode(orders, data)
    for end in range(1, len(data)):
        with pytest.raises(DecodeError, match=r"public\.orders"):
            decode(orders, data[:end])


@pytest.mark.parametrize("name", MESSAGES)
def test_a_byte_taken_out_or_put_in_anywhere_is_refused(orders: RelationDecoder, name: str) -> None:
    data = MESSAGES[name]
    for at in range(5, len(data)):
        for damaged in (data[:at] + data[at + 1 :], data[:at] + b"1" + data[at:]):
            with pytest.raises(DecodeError):
                decode(orders, damaged)


@pytest.mark.parametrize("name", MESSAGES)
def test_something_behind_the_row_is_refused(orders: RelationDecoder, name: str) -> None:
    for rest in (b"n", b"\0", b"t\0\0\0\x01x", MESSAGES[name]):
        with pytest.raises(DecodeError):
            decode(orders, MESSAGES[name] + rest)


def test_another_number_of_columns_is_refused(orders: RelationDecoder) -> None:
    for values in (WIRE[:6], [*WIRE, b"x"], [*WIRE, None], []):
        with pytest.raises(DecodeError, match="columns, the table 7"):
            orders.insert(wire.insert(values), 0)


def test_a_column_count_that_contradicts_the_columns_is_refused(orders: RelationDecoder) -> None:
    # Seven pieces, but of eight columns.
    with pytest.raises(DecodeError):
        orders.insert(wire.insert([*WIRE, None]), 0)
    with pytest.raises(DecodeError):
        orders.insert(wire.insert([*WIRE[:3], None, *WIRE[3:]]), 0)


def test_binary_columns_and_unknown_kinds_are_refused(orders: RelationDecoder) -> None:
    data = wire.insert(WIRE)
    with pytest.raises(DecodeError, match="binary"):
        orders.insert(data[:8] + b"b" + data[9:], 0)
    with pytest.raises(DecodeError, match="unknown kind"):
        orders.insert(data[:8] + b"x" + data[9:], 0)
    with pytest.raises(DecodeError, match="unknown kind"):
        orders.update(b"U" + data[1:5] + b"Z" + data[6:], 0)
    with pytest.raises(DecodeError, match="unknown kind"):
        orders.delete(b"D" + data[1:], 0)


def test_lengths_that_point_outside_are_refused(orders: RelationDecoder) -> None:
    data = wire.insert(WIRE)
    for length in (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\1\0"):
        with pytest.raises(DecodeError):
            orders.insert(data[:9] + length + data[13:], 0)


def test_an_error_names_table_column_and_type_and_never_the_value(orders: RelationDecoder) -> None:
    for index, wrong in (
        (0, b"sesame"),
        (2, b"sesame\xff"),
        (3, b"1.sesame"),
        (4, b"sesame"),
        (6, b"sesame"),
    ):
        values = [*WIRE[:index], wrong, *WIRE[index + 1 :]]
        for fail in (
            lambda values=values: orders.insert(wire.insert(values), 0),
            lambda values=values: compile_copy_decoder(ORDERS)(wire.copy_line(values)),
        ):
            with pytest.raises(DecodeError) as raised:
                fail()
            message = str(raised.value)
            assert f"'c{index}'" in message and "public.orders" in message
            assert str(ORDERS.columns[index].type) in message
            assert "sesame" not in message
            assert raised.value.hint and ("SQL_ASCII" in raised.value.hint) == (wrong[-1] == 0xFF)
            assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_new_label_says_so_and_keeps_the_label_out_of_the_message() -> None:
    mood = LogicalType(Kind.ENUM, values=("sad", "ok"))
    table = wire.schema(mood, LogicalType(Kind.ARRAY, item=mood))
    decoder, copied = RelationDecoder(table, [True, False]), compile_copy_decoder(table)
    assert decoder.insert(wire.insert([b"ok", b"{sad,NULL}"]), 0) == ("ok", ("sad", None))
    assert copied(b"ok\t{sad}") == ("ok", ("sad",))
    for values in ([b"elated", b"{}"], [b"ok", b"{sad,elated}"], [b"elated", None]):
        for fail in (
            lambda values=values: decoder.insert(wire.insert(values), 0),
            lambda values=values: copied(wire.copy_line(values)),
            lambda values=values: compile_block_decoder(table)(b"ok\t{sad}\n" + wire.copy_line(values)),
        ):
            with pytest.raises(UnknownLabel) as raised:
                fail()
            assert raised.value.label == "elated"
            assert "elated" not in str(raised.value) and "public.orders" in str(raised.value)


def test_a_label_may_look_like_another_with_its_length_before_it() -> None:
    table = wire.schema(LogicalType(Kind.ENUM, values=("abc", "\x03abc")), Kind.STRING)
    decoder = RelationDecoder(table, [True, False])
    for label in ("abc", "\x03abc"):
        for note in (b"x", None):
            assert decoder.insert(wire.insert([label.encode(), note]), 0)[0] == label


def test_copy_lines_with_and_without_newline_nulls_and_escapes() -> None:
    copied = compile_copy_decoder(ORDERS)
    assert copied(wire.copy_line(WIRE)) == copied(wire.copy_line(WIRE)[:-1]) == ROW
    values = [b"7", None, b"tab\t back\\ line\n \\N \r\x08\x0c\x0b", None, None, b"\\N", None]
    assert copied(wire.copy_line(values)) == (
        7, None, "tab\t back\\ line\n \\N \r\b\f\v", None, None, "\\N", None,
    )  # fmt: skip


def test_damaged_copy_lines_are_refused() -> None:
    copied = compile_copy_decoder(ORDERS)
    line = wire.copy_line(WIRE)
    for damaged in (b"", b"\n", line[:-5], b"1\t" + line, line + line, line.replace(b"t\n", b"\\q\n"),
                    line.replace(b"t\n", b"t\\\n"), b"\xff" + line, b"\\."):  # fmt: skip
        with pytest.raises(DecodeError, match=r"public\.orders"):
            copied(damaged)
        if damaged and damaged != line + line:
            with pytest.raises(DecodeError, match=r"public\.orders"):
                compile_block_decoder(ORDERS)(line + damaged.removesuffix(b"\n") + b"\n" + line)


def test_lines_of_a_block_that_have_the_right_number_of_fields_only_together_are_refused() -> None:
    table = wire.schema(Kind.STRING, Kind.STRING)
    with pytest.raises(DecodeError, match=r"public\.orders"):
        compile_block_decoder(table)(b"a\tb\tc\nd\n")


def test_blocks_with_what_is_not_usual_are_read_as_their_lines_are() -> None:
    table = wire.schema(
        Kind.INT64, LogicalType(Kind.DECIMAL, 9, 2), Kind.TIMESTAMPTZ, Kind.TIMESTAMP, Kind.DATE, Kind.BOOL,
        Kind.STRING, LogicalType(Kind.ENUM, values=("a\\b", "a\\\\b")), Kind.UUID, Kind.FLOAT64,
    )  # fmt: skip
    usual = [
        b"1", b"-1.50", b"2024-05-17 12:34:56.7+00", b"0001-01-01 00:00:00", b"2024-05-17", b"t",
        b"x", b"a\\\\b", b"00000000-0000-0000-0000-000000000001", b"1.5e-7",
    ]  # fmt: skip
    odd = [
        b"-9223372036854775808", b"NaN", b"-infinity", b"0044-03-15 00:00:00 BC", b"10000-01-01", b"f",
        b"\\N", b"a\\b", b"ffffffff-ffff-ffff-ffff-ffffffffffff", b"Infinity",
    ]  # fmt: skip
    line = compile_copy_decoder(table)
    rows = [usual, odd, [None] * 10, [b"2", *odd[1:]], usual]
    rows += [[odd[i] if i == n else text for i, text in enumerate(usual)] for n in range(10)]
    rows += [[None if i == n else text for i, text in enumerate(usual)] for n in range(10)]
    lines = [wire.copy_line(row) for row in rows]
    assert compile_block_decoder(table)(b"".join(lines)) == list(map(line, lines))
    for one in lines:
        block = wire.copy_line(usual) + one
        assert compile_block_decoder(table)(block) == [line(lines[0]), line(one)]
    assert compile_block_decoder(table)(b"") == []


def test_a_block_may_be_long_and_its_lines_too() -> None:
    table = wire.schema(Kind.INT64, Kind.STRING)
    rows = [(n, letter * size) for n, (letter, size) in enumerate([("a", 3_000_000), ("\\", 70_000)] * 9)]
    block = b"".join(wire.copy_line([b"%d" % n, text.encode()]) for n, text in rows)
    assert compile_block_decoder(table)(block) == rows


def test_timestamps_of_a_block_may_be_years_apart() -> None:
    table = wire.schema(Kind.INT64, Kind.TIMESTAMP)
    line = compile_copy_decoder(table)
    lines = [b"%d\t%04d-02-28 23:59:59.%06d\n" % (n, 1 + n * 7, n * 997) for n in range(1_000)]
    assert compile_block_decoder(table)(b"".join(lines)) == list(map(line, lines))


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (Kind.TIMESTAMPTZ, ["2024-05-17 12:34:56+02", "2024-05-17 12:34:56.7-05", "2024-05-17 12:34:56",
                            "2024-05-17 12:34:56+05:30", "Fri May 17 12:34:56 2024 UTC"]),
        (Kind.TIMESTAMP, ["Fri May 17 12:34:56 2024", "05/17/2024 12:34:56", "2024-05-17 12:34:56+00",
                          "2024-05-17T12:34:56"]),
        (Kind.DATE, ["05/17/2024", "17.05.2024", "05-17-2024"]),
        (Kind.INTERVAL, ["P1DT2H", "@ 1 day 2 hours ago", "+1-2 +3 +4:05:06"]),
        (Kind.BYTES, ["abc\\000", ""]),
    ],
    ids=lambda value: str(value)[:14],
)  # fmt: skip
def test_what_a_session_with_other_settings_prints_is_refused(kind: Kind, texts: list[str]) -> None:
    table = wire.schema(Kind.INT32, kind, Kind.STRING)
    decoder = RelationDecoder(table, [True, False, False])
    for text in texts:
        for note in (b"x", None):
            values = [b"1", text.encode(), note]
            with pytest.raises(DecodeError, match="'c1'"):
                decoder.insert(wire.insert(values), 0)
            with pytest.raises(DecodeError, match="'c1'"):
                compile_copy_decoder(table)(wire.copy_line(values))
            with pytest.raises(DecodeError, match="'c1'"):
                compile_block_decoder(table)(wire.copy_line(values) * 2)


NARROW = wire.schema(Kind.INT32, Kind.STRING, Kind.STRING, Kind.TIMESTAMP, name="narrow")
SENT = {"t": [b"1", b"a", b"b", b"2024-01-01 00:00:00"], "n": [None] * 4, "u": [ABSENT] * 4}
SENT["T"] = [b"1" * 300, b"x" * 256, "ü".encode() * 400, b"2024-01-01 00:00:00"]


def shaped(letters: str, turn: int) -> list[object]:
    """Values of the shape, others at every turn but of the same lengths."""
    row = [SENT[letter][i] for i, letter in enumerate(letters)]
    return [v.replace(b"2024", b"%d" % (1000 + turn)) if isinstance(v, bytes) else v for v in row]


def change(form: str, before: list[object], after: list[object]) -> bytes:
    key = [before[0], None, None, None]
    return {
        "insert": lambda: wire.insert(after),
        "update": lambda: wire.update(after),
        "update by key": lambda: wire.update(after, key, b"K"),
        "update by row": lambda: wire.update(after, before),
        "delete by key": lambda: wire.delete(key, b"K"),
        "delete by row": lambda: wire.delete(before),
    }[form]()


@pytest.mark.parametrize(
    "form", ["insert", "update", "update by key", "update by row", "delete by key", "delete by row"]
)
def test_rows_of_every_shape_are_read_alike_before_and_after_the_shape_is_learned(form: str) -> None:
    reader = TupleReader(NARROW, [True, False, False, False])
    shapes = ["".join(letters) for letters in itertools.product("tnuT", repeat=4)]
    # Shapes that agree in their number of pieces are learned together: each must refuse the others.
    for number in range(0, len(shapes), 12):
        decoder = RelationDecoder(NARROW, reader.identity)
        group = shapes[number : number + 12]
        for turn in range(24):
            for letters in group:
                before, after = shaped(letters.replace("u", "n"), turn), shaped(letters, turn)
                data = change(form, before, after)
                assert decode(decoder, data) == decode(reader, data)
        for letters in group:
            data = change(form, shaped(letters.replace("u", "n"), 0), shaped(letters, 0))
            for damaged in (data[:-1], data + b"n", data[:20] + data[21:], data[:14] + b"1" + data[14:]):
                outcomes = []
                for either in (decoder, reader):
                    try:
                        outcomes.append(decode(either, damaged))
                    except DecodeError:
                        outcomes.append(DecodeError)
                assert outcomes[0] == outcomes[1]


def test_columns_of_few_and_of_many_values_are_read_alike() -> None:
    table = wire.schema(
        Kind.INT64, Kind.STRING, Kind.INT32, Kind.TIMESTAMPTZ, LogicalType(Kind.DECIMAL, 9, 2)
    )
    decoder, reader = RelationDecoder(table, [True] + [False] * 4), TupleReader(table, [True] + [False] * 4)
    for number in range(3_000):
        values = [
            b"%d" % number,
            b"status %d" % (number % 5),
            b"%d" % (number * 7 if number < 2_000 else 3),
            b"2024-01-01 00:%02d:%02d+00" % (number // 60 % 60, number % 60),
            b"%d.50" % (number // 100),
        ]
        values[number % 5 or 1] = values[number % 5 or 1] if number % 11 else None
        for data in (wire.insert(values), wire.update(values, values)):
            assert decode(decoder, data) == getattr(reader, "insert" if data[:1] == b"I" else "update")(
                data, 0
            )
        # Asked for once per chunk, a decoder of copy lines becomes another on the way.
        row, line = reader.insert(wire.insert(values), 0), wire.copy_line(values)
        assert compile_copy_decoder(table)(line) == row
        assert compile_block_decoder(table)(line + line) == [row, row]


def test_a_value_remembered_is_not_taken_for_one_of_another_length() -> None:
    table = wire.schema(Kind.INT64, Kind.STRING, Kind.STRING)
    decoder = RelationDecoder(table, [True, False, False])
    for _ in range(20):
        assert decoder.insert(wire.insert([b"1", b"a", b"bb"]), 0) == (1, "a", "bb")
        data = wire.insert([b"1", b"a", b"bb"])
        # Lengths that contradict what follows, in sum the same.
        damaged = data.replace(b"t\0\0\0\x01a", b"t\0\0\0\x02a").replace(b"t\0\0\0\x02bb", b"t\0\0\0\x01bb")
        with pytest.raises(DecodeError):
            decoder.insert(damaged, 0)
