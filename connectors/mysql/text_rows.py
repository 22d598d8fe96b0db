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
from typing import Any, Final

from connectors.mysql.images import TROUBLE
from connectors.mysql.native import NativeType
from connectors.mysql.row_packets import (
    NULL,
    Decode,
    RowPackets,
    refuse,
    refuse_value,
    refuse_zero_date,
    sized,
)
from connectors.mysql.text_cells import selected, text_value
from connectors.mysql.types import DEFAULTS, TypeOptions
from connectors.mysql.values import temporal
from connectors.mysql.values.temporal import ZeroDateError
from liberator.event import Row
from liberator.schema import Column, Kind

#: ``set session`` of these before reading (values are SQL); both databases have them all.
SESSION: Final = {
    "time_zone": "'+00:00'",
    "character_set_results": "utf8mb4",
    "sql_mode": "''",
}

_INTEGERS: Final = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64})
_TEXTS: Final = frozenset({Kind.STRING, Kind.JSON, Kind.NATIVE})
_STAMPS: Final = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
#: Types of which a value takes less than 251 bytes.
_SHORT: Final = _INTEGERS | _STAMPS | {
    Kind.BOOL, Kind.FLOAT32, Kind.FLOAT64, Kind.DECIMAL, Kind.DATE, Kind.TIME, Kind.UUID,
}  # fmt: skip
#: The seconds of a time, as they are printed.
_SECONDS: Final = {f"{second:02}".encode(): second * temporal.SECOND for second in range(60)}


class TextRows(RowPackets):
    """How the rows of some columns are selected and decoded.

    ``select`` has an SQL expression for each column, in order, with the name quoted and alone: it stands
    for a select list from the table or from a subquery. Compiled at the first use.
    """

    def __init__(self, columns: Sequence[Column], options: TypeOptions = DEFAULTS):
        super().__init__(columns, options)
        self.select = tuple(map(selected, self.columns))
        self._values = tuple(text_value(column, options) for column in self.columns)

    def _compiled(self) -> Decode:
        return _Compiler(self.columns, self.options, self._values).function()

    def row(self, payload: bytes) -> Row:
        """See :meth:`RowPackets.row`."""
        out: list[Any] = []
        at = 0
        for column, value in zip(self.columns, self._values, strict=True):
            if at < len(payload) and payload[at] == NULL:
                out.append(None)
                at += 1
                continue
            data, at = sized(payload, at)
            if data is None:
                refuse("a row is truncated or of other columns")
            try:
                out.append(value(data))
            except ZeroDateError:
                refuse_zero_date(column)
            except TROUBLE:
                refuse_value(column)
        if at != len(payload):
            refuse("a row is longer than its columns")
        return tuple(out)


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
            "cell": sized,
            "head": struct.Struct("<I").unpack_from,
        }
        self._names |= {f"f{i}": value for i, value in enumerate(values)}

    def function(self) -> Decode:
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
        decode: Decode = self._names["decode"]
        return decode

    def _column(self, index: int, column: Column) -> list[str]:
        short = column.type.kind in _SHORT
        parse = self._parse(index, column)
        if short and not column.nullable:
            # A null here would be taken for a length, and be noticed at the row's end.
            return ["s = q + 1", "q = s + d[q]", *parse]
        lines = [
            "n = d[q]",
            f"if n < {NULL}:",
            "  s = q + 1",
            "  q = s + n",
            *(f"  {line}" for line in parse),
            f"elif n == {NULL}: v{index} = None; q += 1",
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
