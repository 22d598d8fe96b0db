"""Rows of a ``select`` (text protocol): what to select, and compiled decoders for the packets.

``TextRows`` takes a table's columns and says how each is selected so that nothing is lost; its ``decode``
takes the bytes that the server sent, packet headers and all, and gives rows of the very values that
:mod:`connectors.mysql.rows` reads from the binlog. The session must have the variables of :data:`SESSION`.
For queries that others wrote, ``columns`` come from the result's own column definitions
(:mod:`connectors.mysql.result`); a query as a subquery of a ``select`` with our expressions loses nothing.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_row.html
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from connectors.mysql.images import TROUBLE
from connectors.mysql.native import NativeType
from connectors.mysql.text_cells import selected, text_value
from connectors.mysql.types import DEFAULTS, TypeOptions
from connectors.mysql.values import temporal
from connectors.mysql.values.temporal import ZeroDateError
from liberator.errors import DecodeError
from liberator.event import Row
from liberator.schema import Column, Kind

#: ``set session`` of these before reading (values are SQL); both databases have them all.
SESSION: Final = {
    "time_zone": "'+00:00'",
    "character_set_results": "utf8mb4",
    "sql_mode": "''",
}

#: The payload of a packet that is not the last of its message.
_FULL: Final = 0xFFFFFF
_HEADER: Final = 4
_NULL, _TWO, _THREE, _EIGHT = 251, 252, 253, 254
_INTEGERS: Final = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64})
_TEXTS: Final = frozenset({Kind.STRING, Kind.JSON, Kind.NATIVE})
_STAMPS: Final = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
#: Types of which a value takes less than 251 bytes.
_SHORT: Final = _INTEGERS | _STAMPS | {
    Kind.BOOL, Kind.FLOAT32, Kind.FLOAT64, Kind.DECIMAL, Kind.DATE, Kind.TIME, Kind.UUID,
}  # fmt: skip
#: The seconds of a time, as they are printed.
_SECONDS: Final = {f"{second:02}".encode(): second * temporal.SECOND for second in range(60)}

_Decode = Callable[[bytes, int, int, "list[Row]"], int]


class ZeroDate(DecodeError):
    """A date that is none, where the user wants to be told of such."""


class TextRows:
    """How the rows of some columns are selected and decoded.

    ``select`` has an SQL expression for each column, in order, with the name quoted and alone: it stands
    for a select list from the table or from a subquery. Compiled at the first use.
    """

    __slots__ = ("_decode", "_values", "columns", "options", "select")

    def __init__(self, columns: Sequence[Column], options: TypeOptions = DEFAULTS):
        self.columns = tuple(columns)
        self.options = options
        self.select = tuple(map(selected, self.columns))
        self._values = tuple(text_value(column, options) for column in self.columns)
        self._decode: _Decode | None = None

    def decode(self, data: bytes, start: int = 0) -> tuple[list[Row], int]:
        """The rows of the whole packets that lie in ``data`` from ``start`` on, and where reading stopped:
        before the first packet that is not whole or is not a row, or that is part of a row of 16 MB and more.

        Which of these it is say :func:`packet_end`, :func:`is_row` and :func:`is_part`. Raises DecodeError
        for a damaged row.
        """
        if self._decode is None:
            self._decode = _Compiler(self.columns, self.options, self._values).function()
        rows: list[Row] = []
        at, size = start, len(data)
        while True:
            at = self._decode(data, at, size, rows)
            # What generated code did not take is read plainly: one row, or none if there is none here.
            end = packet_end(data, at)
            if end is None or not is_row(data, at) or is_part(data, at):
                return rows, at
            rows.append(self.row(data[at + _HEADER : end]))
            at = end

    def row(self, payload: bytes) -> Row:
        """One row from the payload of its packet (or of its packets: those of 16 MB and more come in
        several, whose payloads are to be joined). Raises DecodeError."""
        out: list[Any] = []
        at = 0
        for column, value in zip(self.columns, self._values, strict=True):
            if at < len(payload) and payload[at] == _NULL:
                out.append(None)
                at += 1
                continue
            data, at = _cell(payload, at)
            if data is None:
                _refuse("a row is truncated or of other columns")
            try:
                out.append(value(data))
            # Not chained: messages of int() and decode() repeat the value.
            except ZeroDateError:
                raise ZeroDate(
                    f"a zero date in column {column.name!r} ({column.native})",
                    hint="zero_dates: null or string lets them pass; or update the rows that have them",
                ) from None
            except TROUBLE:
                raise DecodeError(
                    f"cannot decode a value of column {column.name!r} ({column.native}) from a result",
                    hint="the column may have been altered since its type was read: read it again",
                ) from None
        if at != len(payload):
            _refuse("a row is longer than its columns")
        return tuple(out)


def _refuse(what: str) -> NoReturn:
    raise DecodeError(
        f"cannot decode a result: {what}",
        hint="the columns were not read from this result, or from the table as it is",
    )


def _cell(payload: bytes, at: int) -> tuple[bytes | None, int]:
    """A value and where it ends; None if it is not whole."""
    if at >= len(payload):
        return None, at
    length = payload[at]
    at += 1
    if length > _NULL:
        size = {_TWO: 2, _THREE: 3, _EIGHT: 8}.get(length, 0)
        length, at = int.from_bytes(payload[at : at + size], "little"), at + size
        if not size:
            return None, at
    end = at + length
    return (payload[at:end], end) if end <= len(payload) else (None, at)


def packet_end(data: bytes, start: int) -> int | None:
    """Where the packet that begins at ``start`` ends; None if it is not whole."""
    if start + _HEADER > len(data):
        return None
    end = start + _HEADER + int.from_bytes(data[start : start + 3], "little")
    return end if end <= len(data) else None


def is_row(data: bytes, start: int) -> bool:
    """Whether the whole packet at ``start`` is a row, or the first part of one, rather than the end of the
    result (EOF or OK) or an error (ERR)."""
    if is_part(data, start):
        return True
    size = int.from_bytes(data[start : start + 3], "little")
    # An empty payload ends a row whose last part was full; no row is empty.
    return size > 0 and data[start + _HEADER] < _EIGHT


def is_part(data: bytes, start: int) -> bool:
    """Whether the packet at ``start`` is full, so that its message goes on in the next one."""
    return data[start : start + 3] == b"\xff\xff\xff"


class _Compiler:
    """Generates ``decode(d, p, size, rows)``: appends the rows of whole packets from ``p`` on, and returns
    where it stopped."""

    def __init__(self, columns: Sequence[Column], options: TypeOptions, values: Sequence[Callable[..., Any]]):
        self._columns = columns
        self._names: dict[str, Any] = {
            "TROUBLE": TROUBLE,
            "DAYS": temporal.TEXT_DAYS,
            "CLOCK": temporal.TEXT_CLOCK,
            "SECONDS": _SECONDS,
            "odd": temporal.odd_policy(options.zero_dates),
            "odd_datetime": temporal.text_datetime,
            "cell": _cell,
            "head": struct.Struct("<I").unpack_from,
        }
        self._names |= {f"f{i}": value for i, value in enumerate(values)}

    def function(self) -> _Decode:
        lines = []
        for i, column in enumerate(self._columns):
            lines += self._column(i, column)
        row = "(" + "".join(f"v{i}, " for i in range(len(self._columns))) + ")"
        source = [
            "def decode(d, p, size, rows):",
            "  add = rows.append",
            "  try:",
            "    while True:",
            "      h, = head(d, p)",
            "      end = p + 4 + (h & 0xffffff)",
            "      q = p + 4",
            "      if end > size or d[q] > 253 or end - q == 0xffffff: return p",
            *(f"      {line}" for line in lines),
            "      if q != end: return p",
            f"      add({row})",
            "      p = end",
            "  except TROUBLE: return p",
        ]
        exec(compile("\n".join(source), "<rows of a select>", "exec"), self._names)
        decode: _Decode = self._names["decode"]
        return decode

    def _column(self, index: int, column: Column) -> list[str]:
        short = column.type.kind in _SHORT
        parse = self._parse(index, column)
        if short and not column.nullable:
            # A null here would be taken for a length, and be noticed at the row's end.
            return ["s = q + 1", "q = s + d[q]", *parse]
        lines = [
            "n = d[q]",
            f"if n < {_NULL}:",
            "  s = q + 1",
            "  q = s + n",
            *(f"  {line}" for line in parse),
            f"elif n == {_NULL}: v{index} = None; q += 1",
        ]
        if short:
            return [*lines, "else: return p"]
        return [*lines, "else:", "  x, q = cell(d, q)", f"  v{index} = f{index}(x)"]

    def _parse(self, index: int, column: Column) -> list[str]:
        """Statements that read ``d[s:q]``."""
        v, type_ = f"v{index}", column.type
        kind = type_.kind
        if kind in _INTEGERS:
            return [f"{v} = int(d[s:q])"]
        if kind is Kind.DECIMAL:
            return [f"{v} = int(d[s:q].replace(b'.', b''))" if type_.scale else f"{v} = int(d[s:q])"]
        if kind in _TEXTS:
            return [f"{v} = d[s:q].decode()"]
        if kind is Kind.BYTES:
            return [f"{v} = d[s:q]"]
        if kind is Kind.FLOAT64:
            return [f"{v} = float(d[s:q])"]
        if kind is Kind.ENUM:
            self._names[f"labels{index}"] = {label.encode(): label for label in ("", *type_.values)}
            return [f"{v} = labels{index}[d[s:q]]"]
        if kind is Kind.DATE:
            return [f"{v} = DAYS[d[s:q]]", f"if {v} is None: {v} = odd(d[s:q].decode())"]
        if kind in _STAMPS:
            digits = NativeType.parse(column.native).digits
            seconds = "SECONDS[d[s + 17:s + 19]]"
            if digits:
                seconds += f" + int(d[s + 20:q]) * {10 ** (6 - digits)}"
            size = 20 + digits if digits else 19
            return [
                f"if q - s != {size}: return p",
                f"{v} = DAYS[d[s:s + 10]]",
                f"if {v} is None: {v} = odd_datetime(odd, d[s:q])",
                f"else: {v} = {v} * {temporal.DAY} + CLOCK[d[s + 10:s + 17]] + {seconds}",
            ]
        return [f"{v} = f{index}(d[s:q])"]
