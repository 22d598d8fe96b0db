"""Sets of MySQL's global transaction ids: ``uuid:1-5:7, uuid:tag:3``.

A set is kept per source id (a server's uuid, with a tag since 8.4) as sorted disjoint intervals; adding the
next transaction widens the last of them. Text is as ``@@gtid_executed`` shows it, binary as the events and
COM_BINLOG_DUMP_GTID have it (two encodings: the older has no tags).

https://dev.mysql.com/doc/refman/8.4/en/replication-gtids-concepts.html, encodings:
``Gtid_set::encode`` in sql/rpl_gtid_set.cc
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from liberator.errors import DecodeError

_uint64 = struct.Struct("<Q")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TAG: Final = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL: Final = re.compile(r"(\d{1,19})(?:\s*-\s*(\d{1,19}))?", re.ASCII)
#: Numbers are below this.
_END: Final = (1 << 63) - 1

#: Begins and ends of intervals in turn, each end behind its interval: 1-5,7 is [1, 6, 7, 8].
Edges = list[int]


class GtidSet:
    """A mutable set of GTIDs. A source id ("sid") is ``uuid`` or ``uuid:tag``, in lower case."""

    __slots__ = ("_sets",)

    def __init__(self, text: str = ""):
        """Raises DecodeError for what is no GTID set."""
        self._sets: dict[str, Edges] = {}
        for part in text.split(","):
            if part.strip():
                self._read(part)

    def _read(self, part: str) -> None:
        """One source's part: ``uuid:1-5:7:tag:3``."""
        uuid, *pieces = (piece.strip().lower() for piece in part.split(":"))
        if not _UUID.fullmatch(uuid) or not pieces:
            raise _unreadable(part)
        sid = uuid
        for piece in pieces:
            if found := _INTERVAL.fullmatch(piece):
                first = int(found[1])
                last = int(found[2] or first)
                if not 0 < first < _END or last >= _END:
                    raise _unreadable(part)
                if first <= last:  # MySQL takes 5-3 for nothing, too
                    self._put(sid, first, last + 1)
            elif _TAG.fullmatch(piece):
                sid = f"{uuid}:{piece}"
            else:
                raise _unreadable(part)

    @classmethod
    def decode(cls, data: bytes, start: int = 0, end: int | None = None) -> GtidSet:
        """From either binary encoding, which must fill the bytes. Raises DecodeError."""
        end = len(data) if end is None else end
        new = cls()
        try:
            count, tagged, at = _decode_head(data, start)
            for _ in range(count):
                sid, at = _decode_sid(data, at, end, tagged)
                at = new._decode_intervals(sid, data, at, end)
        except (struct.error, IndexError):
            raise _damaged() from None
        if at != end:
            raise _damaged()
        return new

    def _decode_intervals(self, sid: str, data: bytes, at: int, end: int) -> int:
        count: int = _uint64.unpack_from(data, at)[0]
        at += 8
        if count > (end - at) // 16:
            raise _damaged()
        edges = list(struct.unpack_from(f"<{2 * count}Q", data, at))
        if edges:
            # Strictly growing, or else they are no sorted, disjoint and not empty intervals.
            if edges[0] < 1 or edges[-1] > _END or any(a >= b for a, b in pairwise(edges)):
                raise _damaged()
            if sid in self._sets:
                raise _damaged()
            self._sets[sid] = edges
        return at + 16 * count

    def encode(self) -> bytes:
        """Binary: the older encoding where there are no tags."""
        tagged = any(":" in sid for sid in self._sets)
        count = len(self._sets)
        out = [_uint64.pack(1 << 56 | count << 8 | 1 if tagged else count)]
        for sid, edges in sorted(self._sets.items()):
            uuid, _, tag = sid.partition(":")
            out.append(bytes.fromhex(uuid.replace("-", "")))
            if tagged:
                out.append(bytes([len(tag) << 1]) + tag.encode())
            out.append(_uint64.pack(len(edges) // 2) + struct.pack(f"<{len(edges)}Q", *edges))
        return b"".join(out)

    def __str__(self) -> str:
        """As MySQL spells it, on one line: ``uuid:1-5:7:tag:3,uuid:1``."""
        parts: list[str] = []
        before = ""
        for sid, edges in sorted(self._sets.items()):
            uuid, _, tag = sid.partition(":")
            spans = ":".join(
                str(first) if end == first + 1 else f"{first}-{end - 1}"
                for first, end in zip(edges[::2], edges[1::2], strict=True)
            )
            if uuid == before:
                parts.append(f":{tag}:{spans}")
            else:
                parts.append(f"{',' if parts else ''}{sid}:{spans}")
            before = uuid
        return "".join(parts)

    def __repr__(self) -> str:
        return f"GtidSet({str(self)!r})"

    def __bool__(self) -> bool:
        return bool(self._sets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GtidSet) and self._sets == other._sets

    __hash__ = None  # type: ignore[assignment]  # it changes

    def copy(self) -> GtidSet:
        """One that changes by itself."""
        new = GtidSet()
        new._sets = {sid: list(edges) for sid, edges in self._sets.items()}
        return new

    def add(self, sid: str, number: int) -> None:
        """Put one transaction in. The hot path: a fraction of a microsecond if it is the sid's next."""
        edges = self._sets.get(sid)
        if edges is not None and edges[-1] == number:
            edges[-1] = number + 1
        else:
            self._put(sid, number, number + 1)

    def _put(self, sid: str, first: int, end: int) -> None:
        edges = self._sets.setdefault(sid, [])
        if not edges or first > edges[-1]:
            edges += (first, end)
            return
        # An odd index is within an interval, or touches its end: the new one begins where that one does.
        low = bisect_left(edges, first)
        high = bisect_right(edges, end)
        edges[low:high] = ([] if low % 2 else [first]) + ([] if high % 2 else [end])

    def has(self, sid: str, number: int) -> bool:
        """Whether one transaction is in the set."""
        return bisect_right(self._sets.get(sid, ()), number) % 2 == 1

    def contains(self, other: GtidSet) -> bool:
        """Whether every transaction of ``other`` is in this set."""
        return not other.subtract(self)

    def update(self, other: GtidSet) -> None:
        """Put all of ``other`` in."""
        for sid, edges in other._sets.items():
            mine = self._sets.get(sid)
            self._sets[sid] = list(edges) if mine is None else _merge(mine, edges, _either)

    def union(self, other: GtidSet) -> GtidSet:
        """What is in one of them."""
        new = self.copy()
        new.update(other)
        return new

    def subtract(self, other: GtidSet) -> GtidSet:
        """What is in this set and not in ``other``."""
        return self._combined(other, _only)

    def intersect(self, other: GtidSet) -> GtidSet:
        """What is in both."""
        return self._combined(other, _both)

    def _combined(self, other: GtidSet, keep: Keep) -> GtidSet:
        new = GtidSet()
        for sid, edges in self._sets.items():
            if rest := _merge(edges, other._sets.get(sid, []), keep):
                new._sets[sid] = rest
        return new

    def sids(self) -> Iterator[str]:
        """The sources, in their order."""
        return iter(sorted(self._sets))

    def intervals(self, sid: str) -> list[tuple[int, int]]:
        """First and last of every interval, both within; empty for an unknown sid."""
        edges = self._sets.get(sid, [])
        return [(first, end - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]

    def count(self) -> int:
        """How many transactions there are."""
        return sum(sum(edges[1::2]) - sum(edges[::2]) for edges in self._sets.values())


Keep = Callable[[bool, bool], bool]


def _either(left: bool, right: bool) -> bool:
    return left or right


def _both(left: bool, right: bool) -> bool:
    return left and right


def _only(left: bool, right: bool) -> bool:
    return left and not right


def _merge(left: Edges, right: Edges, keep: Keep) -> Edges:
    """The edges of what ``keep`` says of being in ``left`` and in ``right``: one walk over both."""
    out: Edges = []
    i = j = 0
    while i < len(left) or j < len(right):
        at = min(left[i] if i < len(left) else _END + 1, right[j] if j < len(right) else _END + 1)
        i += i < len(left) and left[i] == at
        j += j < len(right) and right[j] == at
        if keep(i % 2 == 1, j % 2 == 1) != (len(out) % 2 == 1):
            out.append(at)
    return out


def _decode_head(data: bytes, start: int) -> tuple[int, bool, int]:
    """How many sources there are, whether they have tags, and where they begin."""
    (head,) = _uint64.unpack_from(data, start)
    form = head >> 56
    if form > 1:
        raise DecodeError(f"cannot read a GTID set in an unknown encoding ({form})")
    return (head >> 8 & 0xFFFFFFFFFFFF if form else head), form == 1, start + 8


def _decode_sid(data: bytes, at: int, end: int, tagged: bool) -> tuple[str, int]:
    if end - at < 16 + 8:
        raise _damaged()
    sid = spell_uuid(data[at : at + 16])
    at += 16
    if not tagged:
        return sid, at
    length = data[at] >> 1
    tag = data[at + 1 : at + 1 + length].decode("latin-1")
    if data[at] & 1 or (tag and not _TAG.fullmatch(tag)):
        raise _damaged()
    return (f"{sid}:{tag}" if tag else sid), at + 1 + length


def spell_uuid(raw: bytes) -> str:
    """16 bytes as a server's uuid is written."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _damaged() -> DecodeError:
    return DecodeError("cannot read a GTID set: truncated or damaged")


def _unreadable(part: str) -> DecodeError:
    return DecodeError(
        f"cannot read {part.strip()!r} as a GTID set",
        hint="it is written uuid:1-5:7,uuid:tag:3, as select @@gtid_executed shows it",
    )
