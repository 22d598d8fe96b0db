"""The regression files of wal2json, read: a script, and the changes that its expected output describes.

Only what the files say is here, in a form that can be compared with our events; nothing of wal2json is run.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from liberator.event import ABSENT, ChangeEvent, Operation
from liberator.schema import Column, Kind

SLOT = re.compile(r"^.*pg_create_logical_replication_slot.*$", re.MULTILINE)
QUERY = re.compile(r"^SELECT data FROM pg_logical_slot_(?:peek|get)_changes\(.*$", re.MULTILINE)
OPERATIONS = {
    "I": Operation.CREATE, "insert": Operation.CREATE,
    "U": Operation.UPDATE, "update": Operation.UPDATE,
    "D": Operation.DELETE, "delete": Operation.DELETE,
    "T": Operation.TRUNCATE,
}  # fmt: skip


@dataclass(slots=True)
class Expected:
    """One change: the new values by column, and those that identify the old row."""

    operation: Operation
    table: str
    values: dict[str, Any]
    identity: dict[str, Any]


def script_parts(script: str) -> tuple[str, str]:
    """What a script does before its slot exists, and what it changes until it first looks."""
    slot = SLOT.search(script)
    assert slot
    look = QUERY.search(script, slot.end())
    assert look
    return script[: slot.start()], script[slot.end() : look.start()]


def expected_changes(output: str) -> list[Expected]:
    """The changes that the expected output shows: of its first look in format 2, else of its first."""
    looks = list(QUERY.finditer(output))
    look = next((q for q in looks if "'format-version', '2'" in q[0]), looks[0])
    shown = output[
        look.end() : output.index(" rows)" if " rows)" in output[look.end() :] else " row)", look.end())
    ]
    lines = [line.rstrip().removesuffix("+").strip() for line in shown.splitlines()[1:]]
    text = "\n".join(lines)
    text = text[text.index("{") : text.rindex("}") + 1] if "{" in text else ""
    decoder, at, out = json.JSONDecoder(parse_float=Decimal), 0, []
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        out += _changes(value)
    return out


def expected_messages(output: str) -> list[tuple[str, str, bool]]:
    """The logical messages that the expected output shows in format 2: prefix, content, in a transaction."""
    found = [json.loads(line) for line in output.splitlines() if line.startswith(' {"action":"M"')]
    return [(message["prefix"], message["content"], message["transactional"]) for message in found]


def _changes(value: dict[str, Any]) -> list[Expected]:
    if "change" in value:  # format 1: a transaction
        return [
            Expected(
                OPERATIONS[c["kind"]],
                f"{c['schema']}.{c['table']}",
                dict(zip(c.get("columnnames", ()), c.get("columnvalues", ()), strict=True)),
                dict(zip(c["oldkeys"]["keynames"], c["oldkeys"]["keyvalues"], strict=True))
                if "oldkeys" in c
                else {},
            )
            for c in value["change"]
        ]
    if value["action"] not in OPERATIONS:
        return []
    parts = [{c["name"]: c["value"] for c in value.get(part, ())} for part in ("columns", "identity")]
    return [Expected(OPERATIONS[value["action"]], f"{value['schema']}.{value['table']}", *parts)]


def unfold(expected: Expected, key: set[str]) -> list[Expected]:
    """An update that changes a key is, for whoever keeps rows by key, a delete and a create."""
    if expected.operation is Operation.UPDATE and any(
        expected.identity[name] != expected.values[name] for name in key & set(expected.identity)
    ):
        gone = Expected(Operation.DELETE, expected.table, {}, expected.identity)
        return [gone, Expected(Operation.CREATE, expected.table, expected.values, {})]
    return [expected]


def assert_is(event: ChangeEvent, expected: Expected) -> None:
    """Our event says what the file says: operation, table, every column's value, every identifying value."""
    schema = event.schema
    assert (event.operation, f"{schema.schema}.{schema.table}") == (expected.operation, expected.table)
    columns = {column.name: column for column in schema.columns}
    after = _values(event.after, schema.names)
    assert set(after) == set(expected.values), "other columns"
    for name, value in after.items():
        assert same(columns[name], value, expected.values[name]), (
            f"{name}: {value!r}, {expected.values[name]!r}"
        )
    if event.operation in (Operation.UPDATE, Operation.DELETE):
        before = _values(event.before, schema.names)
        assert not before or set(before) == set(expected.identity), "other identity"
        for name, value in expected.identity.items():
            assert same(columns[name], (before or after)[name], value), f"old {name}"


def _values(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {n: v for n, v in zip(names, row or (), strict=row is not None) if v is not ABSENT}


def same(column: Column, value: Any, shown: Any) -> bool:
    """Whether a physical value is what the file shows: dates in its authors' style, few float digits."""
    kind = column.type.kind
    if value is None:
        return shown is None
    match kind:
        case Kind.FLOAT32 | Kind.FLOAT64:
            if not math.isfinite(value):
                return shown is None  # JSON has no other way
            return math.isclose(value, float(shown), rel_tol=1e-5 if kind is Kind.FLOAT32 else 1e-14)
        case Kind.DECIMAL:
            if isinstance(value, str):
                return shown is None
            unscaled, scale = value if isinstance(value, tuple) else (value, column.type.scale)
            return Decimal(unscaled).scaleb(-scale) == Decimal(shown)
        case Kind.DATE:
            day = datetime.datetime.strptime(shown, "%m-%d-%Y").replace(tzinfo=datetime.UTC)
            return value == day.timestamp() // 86_400
        case Kind.TIMESTAMP:
            moment = datetime.datetime.strptime(shown, "%a %b %d %H:%M:%S %Y").replace(tzinfo=datetime.UTC)
            return value == int(moment.timestamp()) * 1_000_000
        case Kind.BYTES:
            return value == bytes.fromhex(shown)
        case _:
            return value == shown
