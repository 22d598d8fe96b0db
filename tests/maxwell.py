"""The scripts of Maxwell's tests, read: statements, and the rows that they are expected to give.

A line is a statement, or begins with ``->`` and is a row in JSON whose keys need no quotes. Only what the
files say is here, in a form that can be compared with our events; nothing of Maxwell is run.
"""

from __future__ import annotations

import base64
import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from liberator.event import ABSENT, ChangeEvent, Operation
from liberator.schema import Column, Kind

OPERATIONS = {
    "insert": Operation.CREATE, "update": Operation.UPDATE, "delete": Operation.DELETE,
    "bootstrap-insert": Operation.READ,
}  # fmt: skip
BARE_KEY = re.compile(r"(?<=[{,])\s*([A-Za-z]\w*)\s*:")
EPOCH = datetime.datetime(1970, 1, 1)


@dataclass(slots=True)
class Expected:
    """One change: the new values by column (of a delete the old ones), and what an update changed."""

    operation: Operation
    database: str
    table: str
    values: dict[str, Any]
    old: dict[str, Any]


def script_parts(script: str) -> tuple[list[str], list[Expected]]:
    """A script's statements, and the changes that it expects of them."""
    statements: list[str] = []
    rows: list[str] = []
    for line in map(str.strip, script.splitlines()):
        if line.startswith("->"):
            rows.append(line[2:])
        elif rows and rows[-1].count("{") > rows[-1].count("}"):
            rows[-1] += line
        elif line and not line.startswith("#"):
            statements.append(line.rstrip(";"))
    changes = [json.loads(BARE_KEY.sub(r'"\1":', row), parse_float=Decimal) for row in rows]
    # That Maxwell begins and ends to read a table is its own affair.
    return statements, [_expected(change) for change in changes if change["type"] in OPERATIONS]


def _expected(row: dict[str, Any]) -> Expected:
    return Expected(OPERATIONS[row["type"]], row["database"], row["table"], row["data"], row.get("old", {}))


def assert_is(
    event: ChangeEvent, expected: Expected, well_known_text: Callable[[Any], str], *, fold: bool = False
) -> None:
    """Our event says what the script says: operation, table, every value of every column, the old values.
    ``well_known_text`` is that of a geometry; ``fold``: the script has names in lower case."""
    schema = event.schema
    names = tuple(name.lower() if fold else name for name in schema.names)
    assert (event.operation, schema.schema, schema.table) == (
        expected.operation, expected.database, expected.table,
    )  # fmt: skip
    columns = dict(zip(names, schema.columns, strict=True))

    def values(row: Any) -> dict[str, Any]:
        return {n: v for n, v in zip(names, row, strict=True) if v is not ABSENT}

    def compare(row: dict[str, Any], shown: dict[str, Any]) -> None:
        for name, text in shown.items():
            value = spelled(columns[name], row[name], well_known_text)
            assert value == text, f"{name}: {value!r}, {text!r}"

    told = values(event.before if expected.operation is Operation.DELETE else event.after)
    assert set(told) == set(expected.values), "other columns"
    compare(told, expected.values)
    if expected.old:
        before = values(event.before)
        compare(before, expected.old)
        assert {name for name in told if before[name] != told[name]} == set(expected.old)


def spelled(column: Column, value: Any, well_known_text: Callable[[Any], str]) -> Any:
    """A physical value as Maxwell shows it."""
    if value is None:
        return None
    fraction = int(match[1]) if (match := re.search(r"\((\d)\)", column.native)) else 0
    match column.type.kind:
        case Kind.BYTES:
            return base64.b64encode(
                value.rstrip(b"\0") if column.native.startswith("binary") else value
            ).decode()
        case Kind.BITS:
            return int(value, 2)
        case Kind.GEOMETRY:
            return well_known_text(value)
        case Kind.JSON:
            return json.loads(value, parse_float=Decimal)
        case Kind.FLOAT32 | Kind.FLOAT64:
            return Decimal(value)
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ | Kind.DATE if isinstance(value, str):
            # A date with zeros in it is none at all to Maxwell.
            return re.sub(r"^\d{4}-00-00 .{8}", "0000-00-00 00:00:00", value)
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return _cut(
                (EPOCH + datetime.timedelta(microseconds=value)).isoformat(" ", "microseconds"), fraction
            )
        case Kind.TIME:
            return _cut(
                (EPOCH + datetime.timedelta(microseconds=value)).time().isoformat("microseconds"), fraction
            )
        case _ if column.native.startswith("set("):
            return value.split(",") if value else []
        case _:
            return value


def _cut(text: str, fraction: int) -> str:
    """Of six digits behind the point so many."""
    return text[: len(text) - 6 + fraction] if fraction else text[:-7]
