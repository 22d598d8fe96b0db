"""Mode append: every event becomes a row, and nothing is ever changed.

A row has the table's columns (of a delete: what was sent of the old row) and what happened:

``_op``           read, create, update, delete or truncate
``_position``     the place of its transaction in the source, as text that sorts
``_ordinal``      its place in the transaction, 0 for rows of a snapshot
``_transaction``  the transaction's id, as the source spells it
``_timestamp``    when the transaction committed, by the source's clock
``_topic``        the stream
``_unavailable``  a JSON array of the columns that were not sent and are null only for that reason, or null
"""

from __future__ import annotations

import json

from connectors.sql.sink.mode import Mode, Segment, transaction_place
from connectors.sql.sink.planner import Extra
from liberator.event import ABSENT, ChangeEvent, Row
from liberator.schema import Column, Kind, LogicalType

ADDED = tuple(
    Column(name, LogicalType(kind))
    for name, kind in (
        ("_op", Kind.STRING),
        ("_position", Kind.STRING),
        ("_ordinal", Kind.INT64),
        ("_transaction", Kind.STRING),
        ("_timestamp", Kind.TIMESTAMPTZ),
        ("_topic", Kind.STRING),
        ("_unavailable", Kind.STRING),
    )
)


class Append(Mode):
    """Tables that tell what happened. They have no key."""

    extra = Extra(ADDED, keyed=False)

    def apply(self, segment: Segment) -> None:
        """Add a row for each event."""
        for topic, events in segment.by_topic.items():
            target = self.targets[topic]
            target.writer.insert([_row(event) for event in events])


def _row(event: ChangeEvent) -> Row:
    names = event.schema.names
    row = event.after if event.after is not None else event.before
    unavailable = None
    if row is None:
        row = (None,) * len(names)
    elif ABSENT in row:
        unavailable = json.dumps(
            [n for n, v in zip(names, row, strict=True) if v is ABSENT], ensure_ascii=False
        )
        row = tuple(None if v is ABSENT else v for v in row)
    transaction = event.transaction
    return (
        *row,
        event.operation.name.lower(),
        transaction_place(transaction),
        event.ordinal,
        transaction.id,
        transaction.timestamp,
        event.topic,
        unavailable,
    )
