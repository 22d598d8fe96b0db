"""How the embedded log lays out the headers of a batch's records; see :mod:`liberator.log.batch`.

Headers are mostly the same for all records, or at least have the same names in the same order. So they
are stored by *shape*, the tuple of their names: for each shape one column per name. A column with few
different values, such as what the events of a transaction share, is stored as these and a byte for each
record. No header at all is an empty section.

Layout, integers little endian: the size of a JSON document as u32, the document (a list of shapes, each
with the number of its records and its names); where there are several shapes, the shape of each record
as u32; then for each shape and each of its names a column: how many values follow as u32, their lengths
as u32, the values joined; and where there are fewer values than records, and not one for all, the number
of its value for each record as u8.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from itertools import repeat

from liberator.log import Headers

_SIZE = struct.Struct("<I")
Names = tuple[str, ...]
#: A column of more different values is stored as it is.
MOST_DIFFERENT = 256


def pack_headers(headers: Sequence[Headers]) -> bytes:
    """The section for ``headers``, of at least one record."""
    count = len(headers)
    if not headers[0] and headers.count(()) == count:
        return b""
    index: list[int] = []
    columns = _columns(headers)
    if columns is None:
        shapes: dict[Names, list[Headers]] = {}
        for item in headers:
            shapes.setdefault(tuple([name for name, _ in item]), []).append(item)
        numbers = {names: number for number, names in enumerate(shapes)}
        index = [numbers[tuple([name for name, _ in item])] for item in headers]
        head = [[len(members), names] for names, members in shapes.items()]
        columns = [column for members in shapes.values() for column in _columns(members) or ()]
    else:
        head = [[count, [name for name, _ in headers[0]]]]
    document = json.dumps(head).encode()
    parts = [_SIZE.pack(len(document)), document, struct.pack(f"<{len(index)}I", *index)]
    for values in columns:
        parts += _pack_column(values)
    return b"".join(parts)


def unpack_headers(data: bytes, count: int) -> list[Headers]:
    """The inverse of :func:`pack_headers` for ``count`` records."""
    if not data:
        return [()] * count
    stream = BytesIO(data)
    shapes = json.loads(stream.read(_integers(stream, 1)[0]))
    index = _integers(stream, count) if len(shapes) > 1 else ()
    members = [_members(stream, number, names) for number, names in shapes]
    if not index:
        return list(members[0])
    return [next(members[shape]) for shape in index]


def _columns(headers: Sequence[Headers]) -> list[tuple[bytes, ...]] | None:
    """The values, name by name, of headers that all have the same shape; None where they do not."""
    columns = []
    try:
        for column in zip(*headers, strict=True):
            names, values = zip(*column, strict=True)
            if names.count(names[0]) != len(names):
                return None
            columns.append(values)
    except ValueError:  # not all have the same number of headers
        return None
    return columns


def _pack_column(values: tuple[bytes, ...]) -> Iterator[bytes]:
    """One column: its different values, if they are few, else all of them."""
    different = dict.fromkeys(values)
    few = len(different) <= MOST_DIFFERENT and len(different) < len(values)
    kept = [*different] if few else values
    yield struct.pack(f"<{len(kept) + 1}I", len(kept), *map(len, kept))
    yield b"".join(kept)
    if few and len(kept) > 1:
        numbers = {value: number for number, value in enumerate(kept)}
        yield bytes(map(numbers.__getitem__, values))


def _read_values(stream: BytesIO) -> list[bytes]:
    (count,) = _integers(stream, 1)
    return list(map(stream.read, _integers(stream, count)))


def _members(stream: BytesIO, count: int, names: Sequence[str]) -> Iterator[Headers]:
    """The headers of one shape's records, in order."""
    if not names:
        return repeat((), count)
    columns: list[Iterable[tuple[str, bytes]]] = []
    constant = True
    for name in names:
        pairs = [(name, value) for value in _read_values(stream)]
        constant = constant and len(pairs) == 1
        if len(pairs) == 1:
            columns.append(repeat(pairs[0], count))
        elif len(pairs) < count:
            columns.append(map(pairs.__getitem__, stream.read(count)))
        else:
            columns.append(pairs)
    if constant:  # one object for all
        return repeat(tuple([next(iter(column)) for column in columns]), count)
    return zip(*columns, strict=True)


def _integers(stream: BytesIO, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}I", stream.read(4 * count))
