"""Tables and events in few words, for tests of connectors, codecs and pumps.

    orders = table("orders", {"id": Kind.INT64, "note": Kind.STRING}, key=["id"])
    first = transaction(1, create(orders, id=1, note="a"), update(orders, id=1, note="b"))

A change names its columns; what an ``update`` or a ``delete`` does not name was not sent (ABSENT), what a
``create`` or a ``read`` does not name is null. ``transaction`` numbers what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Position, Row, Transaction
from liberator.schema import Column, Kind, LogicalType, TableSchema

#: The time of the transaction numbered 0, in microseconds since 1970; each later one is a second later.
EPOCH = 1_700_000_000_000_000
#: What a change carries until ``transaction`` has numbered it.
UNNUMBERED = Transaction("", Position(0, 0), 0)


def table(
    name: str,
    columns: Mapping[str, Kind | LogicalType | Column],
    key: Sequence[str] = (),
    schema: str = "public",
    dialect: str = "test",
) -> TableSchema:
    """A table's schema; key columns are not nullable, the others are."""
    return TableSchema(
        dialect,
        "testing",
        schema,
        name,
        tuple(_column(name, type_, key) for name, type_ in columns.items()),
    )


def _column(name: str, type_: Kind | LogicalType | Column, key: Sequence[str]) -> Column:
    if isinstance(type_, Column):
        return type_
    logical = LogicalType(type_) if isinstance(type_, Kind) else type_
    return Column(
        name,
        logical,
        nullable=name not in key,
        key=key.index(name) if name in key else None,
        native=str(logical),
    )


def create(schema: TableSchema, /, **values: Any) -> ChangeEvent:
    """A row that was inserted."""
    return _event(Operation.CREATE, schema, None, _row(schema, values, None))


def read(schema: TableSchema, /, **values: Any) -> ChangeEvent:
    """A row that a snapshot found."""
    event = _event(Operation.READ, schema, None, _row(schema, values, None))
    return replace(event, phase=Phase.SNAPSHOT)


def update(schema: TableSchema, /, before: Mapping[str, Any] | None = None, **values: Any) -> ChangeEvent:
    """A row that was changed; ``before`` is its old image, where the source sent one."""
    old = None if before is None else _row(schema, before, ABSENT)
    return _event(Operation.UPDATE, schema, old, _row(schema, values, ABSENT))


def delete(schema: TableSchema, /, **values: Any) -> ChangeEvent:
    """A row that was deleted: at least its key columns."""
    return _event(Operation.DELETE, schema, _row(schema, values, ABSENT), None)


def truncate(schema: TableSchema, /) -> ChangeEvent:
    """A table that was emptied."""
    return _event(Operation.TRUNCATE, schema, None, None)


def rekey(schema: TableSchema, old: Mapping[str, Any], /, **values: Any) -> list[ChangeEvent]:
    """A row whose key was changed from ``old``: its delete and its create, linked."""
    gone, come = delete(schema, **old), create(schema, **values)
    return [replace(gone, moved=come.key), replace(come, moved=gone.key)]


def transaction(
    number: int, *changes: ChangeEvent | list[ChangeEvent], source: str = "test", epoch: int = 0
) -> list[ChangeEvent]:
    """The events of one source transaction, complete: its position is ``(epoch, number)``."""
    made = Transaction(str(number), Position(epoch, number), EPOCH + number * 1_000_000)
    counts: dict[str, int] = {}
    events = []
    flat = [event for change in changes for event in (change if isinstance(change, list) else [change])]
    for ordinal, change in enumerate(flat, 1):
        topic = f"{source}.{change.schema.schema}.{change.schema.table}"
        counts[topic] = counts.get(topic, 0) + 1
        numbers = (0, 0) if change.operation is Operation.READ else (ordinal, counts[topic])
        events.append(
            replace(change, topic=topic, transaction=made, ordinal=numbers[0], table_ordinal=numbers[1])
        )
    return events


def _event(operation: Operation, schema: TableSchema, before: Row | None, after: Row | None) -> ChangeEvent:
    return ChangeEvent(operation, "", schema, before, after, UNNUMBERED)


def _row(schema: TableSchema, values: Mapping[str, Any], missing: Any) -> Row:
    unknown = set(values) - set(schema.names)
    if unknown:
        raise ValueError(f"{schema.table} has no column {', '.join(sorted(unknown))}")
    return tuple(values.get(name, missing) for name in schema.names)
