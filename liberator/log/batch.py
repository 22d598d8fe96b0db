"""How the embedded log lays many records out as one piece of bytes, and reads them back.

Column by column, because that is what pure Python does fast: the lengths of all keys as one array, then
all keys joined, and the same for values; reading them back is one ``map(stream.read, lengths)``. Columns
that are constant, as topic, headers and timestamp often are, are written once. Nothing here knows of
files or offsets: a record's place is its *delta* from the batch's base offset.

A packed batch, all integers little endian::

    version u8, count u32, topics u16, forms 5 letters, keys u64, values u64, headers u32
    five columns of integers     each as its form says: a letter of the struct module, or - for none
        topic numbers            none where there is only one topic
        deltas                   none where they are 0, 1, 2, …; else the log was compacted
        timestamps               none where all are equal: a single i64 follows instead
        lengths of keys          unsigned; or signed, with -1 for None
        lengths of values        likewise
    headers, keys, values        see liberator.log.headers; joined; joined

``keys``, ``values`` and ``headers`` are the sizes of these sections in bytes.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from liberator.errors import LogError
from liberator.log import Records
from liberator.log.headers import pack_headers, unpack_headers

VERSION = 1
#: A larger batch is split: readers take batches whole, and their memory is bounded.
MOST_BYTES = 4 << 20
MOST_RECORDS = 10_000
#: The largest record; SQLite's own limit for a row is a little higher.
LARGEST = 900 << 20

_HEAD = struct.Struct("<BIH5sQQI")
_NONE = "-"


class Tally(NamedTuple):
    """What a batch holds of one topic: how many ``records``, ``bytes`` of their keys and values, the
    ``last`` record's delta and ``timestamp``."""

    records: int
    bytes: int
    last: int
    timestamp: int


@dataclass(slots=True)
class Packed:
    """A batch ready to be stored. ``topics`` are the distinct topics in the order in which the data
    numbers them, ``tallies`` belong to them one by one."""

    topics: list[str]
    tallies: list[Tally]
    count: int
    data: bytes


def pack_all(records: Records) -> list[Packed]:
    """Pack any number of records into as many batches as their number and sizes ask for.

    Raises LogError for a record that is too large to be stored, ValueError for columns that do not belong
    together.
    """
    packed: list[Packed] = []
    count = len(records)
    columns = (records.keys, records.values, records.headers, records.timestamps)
    if any(len(column) != count for column in columns):
        raise ValueError("the columns of the records have different lengths")
    spans = [(0, count)] if count else []
    while spans:
        start, stop = spans.pop()
        if stop - start > MOST_RECORDS:
            middle = _seam(records, start, start + MOST_RECORDS)
            spans += [(middle, stop), (start, middle)]
            continue
        batch = pack(records if stop - start == count else records[start:stop])
        if len(batch.data) > MOST_BYTES and batch.count > 1:
            middle = _seam(records, start, (start + stop) // 2)
            spans += [(middle, stop), (start, middle)]
        else:
            packed.append(batch)
    return packed


def _seam(records: Records, start: int, at: int) -> int:
    """Where to cut, at ``at`` or a little before, but behind ``start``.

    Not before a record without a value, if that can be: it may be the tombstone of the delete before it,
    and a reader that goes on between the two would take it for a delete of its own.
    """
    seam = at
    while seam > start and records.values[seam] is None:
        seam -= 1
    return seam if seam > start else at


def pack(records: Records, deltas: Sequence[int] | None = None) -> Packed:
    """Pack at least one record as one batch; ``deltas`` None: they follow each other without a gap.

    Raises LogError for a record that is too large to be stored.
    """
    count = len(records)
    topics, numbers = _topics(records.topics)
    stamps = records.timestamps
    constant = stamps.count(stamps[0]) == count
    dense = deltas is None or deltas[-1] == count - 1
    key_lengths, value_lengths = _lengths(records.keys), _lengths(records.values)
    columns = (
        _column(numbers) if numbers else _Column(_NONE, b""),
        _Column(_NONE, b"") if dense else _column(deltas or ()),
        _Column(_NONE, struct.pack("<q", stamps[0])) if constant else _column(stamps, "q"),
        key_lengths,
        value_lengths,
    )
    keys = _join(records.keys, key_lengths.form)
    values = _join(records.values, value_lengths.form)
    headers = pack_headers(records.headers)
    if len(keys) + len(values) + len(headers) > LARGEST and count == 1:
        raise LogError(
            f"a record of {len(keys) + len(values) + len(headers):,} bytes in topic {topics[0]} is too "
            f"large for the embedded log, which stores up to {LARGEST:,}",
            hint="leave its largest column out at the source",
        )
    forms = "".join([column.form for column in columns]).encode()
    head = _HEAD.pack(VERSION, count, len(topics), forms, len(keys), len(values), len(headers))
    data = b"".join((head, *[column.data for column in columns], headers, keys, values))
    if numbers:
        sizes = _sizes(len(topics), numbers, key_lengths, value_lengths)
        counts, lasts = _counts(len(topics), numbers, columns[0])
    else:
        sizes, counts, lasts = [len(keys) + len(values)], [count], [count - 1]
    tallies = [
        Tally(records_, size, last if deltas is None else deltas[last], stamps[last])
        for records_, size, last in zip(counts, sizes, lasts, strict=True)
    ]
    return Packed(topics, tallies, count, data)


def unpack(data: bytes, topics: Sequence[str]) -> tuple[Records, Sequence[int]]:
    """The records of a packed batch whose topics are ``topics``, and their deltas.

    The caller has verified that ``data`` is what ``pack`` made. Raises LogError for a version that
    this program does not know.
    """
    if data[0] != VERSION:
        raise LogError(
            f"a batch has format version {data[0]}, and this program reads up to {VERSION}",
            hint="read the log with the version of liberator that wrote it, or a newer one",
        )
    stream = BytesIO(data)
    _, count, _, letters, _, _, header_bytes = _HEAD.unpack(stream.read(_HEAD.size))
    forms = letters.decode()
    records = Records()
    if forms[0] == _NONE:
        records.topics = [topics[0]] * count
    else:
        records.topics = list(map(topics.__getitem__, _read(stream, forms[0], count)))
    deltas: Sequence[int] = range(count) if forms[1] == _NONE else _read(stream, forms[1], count)
    if forms[2] == _NONE:
        records.timestamps = [*_read(stream, "q", 1)] * count
    else:
        records.timestamps = list(_read(stream, forms[2], count))
    key_lengths = _read(stream, forms[3], count)
    value_lengths = _read(stream, forms[4], count)
    records.headers = unpack_headers(stream.read(header_bytes), count)
    records.keys = _cut(stream, forms[3], key_lengths)
    records.values = _cut(stream, forms[4], value_lengths)
    return records, deltas


def _topics(topics: list[str]) -> tuple[list[str], list[int]]:
    """The distinct topics, and for each record the number of its topic; nothing where there is but one."""
    if topics.count(topics[0]) == len(topics):
        return topics[:1], []
    numbers = {topic: number for number, topic in enumerate(dict.fromkeys(topics))}
    return list(numbers), list(map(numbers.__getitem__, topics))


class _Column(NamedTuple):
    """Integers as they are stored: the form's letter, the bytes, and the integers themselves."""

    form: str
    data: bytes
    numbers: Sequence[int] = ()


def _lengths(column: list[bytes | None]) -> _Column:
    """The lengths of ``column``, in the smallest form that holds them."""
    try:
        return _column([*map(len, column)])  # type: ignore[arg-type]
    except TypeError:  # there is a None
        return _column([-1 if item is None else len(item) for item in column], "bhq")


def _column(numbers: Sequence[int], forms: str = "BHQ") -> _Column:
    count = len(numbers)
    for form in forms[:-1]:
        try:
            return _Column(form, struct.pack(f"<{count}{form}", *numbers), numbers)
        except struct.error:  # too large for this form
            continue
    return _Column(forms[-1], struct.pack(f"<{count}{forms[-1]}", *numbers), numbers)


def _read(stream: BytesIO, form: str, count: int) -> tuple[int, ...]:
    layout = f"<{count}{form}"
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))


def _join(column: list[bytes | None], form: str) -> bytes:
    return b"".join(column if form.isupper() else filter(None, column))  # type: ignore[arg-type]


def _cut(stream: BytesIO, form: str, lengths: Sequence[int]) -> list[bytes | None]:
    read = stream.read
    if form.isupper():
        return list(map(read, lengths))
    return [None if length < 0 else read(length) for length in lengths]


def _sizes(topics: int, numbers: list[int], keys: _Column, values: _Column) -> list[int]:
    """The bytes of each topic's keys and values."""
    sizes = [0] * topics
    key_lengths, value_lengths = (
        column.numbers if column.form.isupper() else [max(0, length) for length in column.numbers]
        for column in (keys, values)
    )
    for number, key, value in zip(numbers, key_lengths, value_lengths, strict=True):
        sizes[number] += key + value
    return sizes


def _counts(topics: int, numbers: list[int], column: _Column) -> tuple[list[int], list[int]]:
    """How many records each topic has, and the place of its last one."""
    if column.form == "B":  # as bytes, which are searched much faster
        data = column.data
        return [data.count(n) for n in range(topics)], [data.rindex(n) for n in range(topics)]
    counts = Counter(numbers)
    lasts = {number: place for place, number in enumerate(numbers)}
    return [counts[n] for n in range(topics)], [lasts[n] for n in range(topics)]
