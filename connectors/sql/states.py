"""Events of a source that sees states rather than changes: rows as events, numbered within the position."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.sql.query.keyfile import Key, key_row
from connectors.sql.query.target import Target
from liberator.event import ABSENT, ChangeEvent, Events, Operation, Phase, Position, Row, Run, Transaction

#: What ``Transaction.origin`` holds: that the event tells of a state, not of a single change.
ORIGIN = ("state",)


class Numbering:
    """Where the source stands, and the numbers of its next events.

    Everything since the last complete pass has one transaction position; its changes count up from 1. Rows
    that are READ have no number.
    """

    def __init__(self, position: Position):
        self.position = position
        self._counts: dict[str, int] = {}

    def cover(self, moment: int) -> None:
        """All that was committed by ``moment`` has been read."""
        if moment > self.position.major:
            self.position = Position(self.position.epoch, moment)
            self._counts.clear()

    def reads(self, target: Target, rows: Sequence[Row], now: int) -> Events:
        """Rows of which it is not known what has happened to them. ``now`` is the database's clock."""
        if not rows:
            return Events()
        transaction = self._transaction(now)
        read, phase = Operation.READ, Phase.SNAPSHOT
        return Events(Run(read, target.topic, target.schema, rows, transaction, phase=phase))

    def creates(self, target: Target, rows: Sequence[Row], now: int) -> Events:
        """Rows that are new."""
        if not rows:
            return Events()
        transaction = self._transaction(now)
        ordinal, place = self._next(target, len(rows))
        return Events(Run(Operation.CREATE, target.topic, target.schema, rows, transaction, ordinal, place))

    def changes(self, target: Target, rows: Sequence[tuple[Row, bool]], now: int) -> list[ChangeEvent]:
        """Rows with whether they are new."""
        transaction = self._transaction(now)
        ordinal, place = self._next(target, len(rows))
        create, update, topic, schema = Operation.CREATE, Operation.UPDATE, target.topic, target.schema
        return [
            ChangeEvent(
                create if new else update, topic, schema, None, row, transaction, ordinal + i, place + i
            )
            for i, (row, new) in enumerate(rows)
        ]

    def deletes(self, target: Target, gone: Sequence[Key], now: int) -> list[ChangeEvent]:
        """Keys whose rows are no more."""
        transaction = self._transaction(now)
        ordinal, place = self._next(target, len(gone))
        schema = target.schema
        events = []
        for i, key in enumerate(gone):
            values = dict(zip(schema.key, key_row(key), strict=True))
            before = tuple(values.get(n, ABSENT) for n in range(len(schema.columns)))
            events.append(
                ChangeEvent(
                    Operation.DELETE, target.topic, schema, before, None, transaction, ordinal + i, place + i
                )
            )
        return events

    def truncate(self, target: Target, now: int) -> list[ChangeEvent]:
        """The table is empty, as far as sinks are concerned."""
        transaction = self._transaction(now)
        ordinal, place = self._next(target, 1)
        return [
            ChangeEvent(
                Operation.TRUNCATE, target.topic, target.schema, None, None, transaction, ordinal, place
            )
        ]

    def _transaction(self, now: int) -> Transaction:
        epoch, major, _ = self.position
        return Transaction(str(major), Position(epoch, major), now, ORIGIN)

    def _next(self, target: Target, count: int) -> tuple[int, int]:
        """The ordinals of the first of ``count`` changes; the position moves behind them."""
        epoch, major, minor = self.position
        self.position = Position(epoch, major, minor + count)
        before = self._counts.get(target.topic, 0)
        self._counts[target.topic] = before + count
        return minor + 1, before + 1
