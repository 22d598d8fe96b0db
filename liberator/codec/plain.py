"""Events as plain data for people to read: ISO dates, decimals as strings, bytes in base64.

For ``tail`` and sinks that print. Nothing reads this form back; the exact form is that of ``json``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from liberator.codec.json_value import decimal_text
from liberator.event import ABSENT, ChangeEvent, Row
from liberator.schema import Kind, LogicalType, TableSchema

Show = Callable[[Any], Any]

_DAY = 86_400_000_000


def date_text(days: int) -> str:
    """Days since 1970-01-01 as an ISO date; years beyond 0 to 9999 with their sign and six digits."""
    # The civil calendar from a day count: eras of 400 years, years that begin in March.
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month += 3 if month < 10 else -9
    year += 400 * era + (month <= 2)
    spelt = f"{year:04d}" if 0 <= year <= 9999 else f"{year:+07d}"
    return f"{spelt}-{month:02d}-{day:02d}"


def time_text(micros: int) -> str:
    """Microseconds since midnight as an ISO time."""
    seconds, fraction = divmod(micros, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    text = f"{hour:02d}:{minute:02d}:{second:02d}"
    return f"{text}.{fraction:06d}" if fraction else text


def timestamp_text(micros: int) -> str:
    """Microseconds since 1970 as an ISO timestamp without a zone."""
    day, rest = divmod(micros, _DAY)
    return f"{date_text(day)}T{time_text(rest)}"


def interval_text(interval: tuple[int, int, int]) -> str:
    """Months, days and microseconds as an ISO duration; each part keeps its own sign."""
    months, days, micros = interval
    seconds, fraction = divmod(abs(micros), 1_000_000)
    clock = f"{'-' if micros < 0 else ''}{seconds}{f'.{fraction:06d}' if fraction else ''}"
    return f"P{months}M{days}DT{clock}S"


def _float(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124


def _bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


_SHOW: dict[Kind, Show] = {
    Kind.FLOAT32: _float,
    Kind.FLOAT64: _float,
    Kind.BYTES: _bytes,
    Kind.DATE: date_text,
    Kind.TIME: time_text,
    Kind.TIMESTAMP: timestamp_text,
    Kind.TIMESTAMPTZ: lambda value: timestamp_text(value) + "Z",
    Kind.INTERVAL: interval_text,
    Kind.GEOMETRY: lambda value: {"wkb": _bytes(value[0]), "srid": value[1]},
}


def _value(type: LogicalType) -> Show | None:  # noqa: A002
    """How to show a value that is neither null nor an escape; None: as it is."""
    if type.kind is Kind.DECIMAL:
        scale = type.scale
        if scale is None:
            return lambda value: decimal_text(*value)
        return lambda value: decimal_text(value, scale)
    if type.kind is Kind.ARRAY and type.item is not None:
        item = shown(type.item)
        return list if item is None else lambda value: [item(v) for v in value]
    return _SHOW.get(type.kind)


def shown(type: LogicalType) -> Show | None:  # noqa: A002
    """How to show any value of this type; None: as it is."""
    show = _value(type)
    if show is None:
        return None
    return lambda value: value if value is None or isinstance(value, str) else show(value)


@lru_cache(maxsize=1000)
def _columns(schema: TableSchema) -> tuple[tuple[str, Show | None], ...]:
    return tuple((column.name, shown(column.type)) for column in schema.columns)


def plain_row(schema: TableSchema, row: Row) -> dict[str, Any]:
    """A row by column name; columns that were not sent are left out."""
    return {
        name: value if show is None else show(value)
        for (name, show), value in zip(_columns(schema), row, strict=True)
        if value is not ABSENT
    }


def plain_key(event: ChangeEvent) -> dict[str, Any] | None:
    """The key columns by name, in key order; None where the event has no key."""
    values = event.key
    return None if values is None else _key(event.schema, values)


def _key(schema: TableSchema, values: Row) -> dict[str, Any]:
    columns = _columns(schema)
    return {
        columns[i][0]: value if (show := columns[i][1]) is None else show(value)
        for i, value in zip(schema.key, values, strict=True)
    }


def to_plain(event: ChangeEvent) -> dict[str, Any]:
    """The event as a dict that ``json.dumps`` takes, laid out as the envelope ``change``.

    Columns that were not sent are left out of ``before`` and ``after`` and listed in
    ``unavailable_before`` and ``unavailable``; ``moved`` is there only where a key changed; ``ts_ms`` is
    the commit time, for when it was encoded an event does not know.
    """
    schema, transaction = event.schema, event.transaction
    epoch, major, _ = transaction.position
    stamp = transaction.timestamp
    out: dict[str, Any] = {
        "op": event.operation.value,
        "before": None if event.before is None else plain_row(schema, event.before),
        "after": None if event.after is None else plain_row(schema, event.after),
        "unavailable": _unavailable(schema, event.after),
        "unavailable_before": _unavailable(schema, event.before),
        "source": {
            "db": schema.database,
            "schema": schema.schema,
            "table": schema.table,
            "snapshot": event.phase.value,
            "ts_ms": stamp // 1000,
            "ts_us": stamp,
            "epoch": epoch,
            "major": major,
            "origin": list(transaction.origin),
        },
        "transaction": {
            "id": transaction.id,
            "total_order": event.ordinal,
            "data_collection_order": event.table_ordinal,
        },
        "ts_ms": stamp // 1000,
    }
    if event.moved is not None:
        out["moved"] = _key(schema, event.moved)
    return out


def _unavailable(schema: TableSchema, row: Row | None) -> list[str]:
    return [] if row is None else [n for n, v in zip(schema.names, row, strict=True) if v is ABSENT]
