"""The headers of an ``entity`` record, which say of an event all that the row does not.

A tombstone in the envelope ``change`` has them too. What the events of a transaction have in common stands
last, so that it is made, and read, once for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liberator.codec import Producer
from liberator.codec.envelope import OPERATIONS, PHASES, check_transaction, not_unicode
from liberator.errors import DecodeError
from liberator.event import ChangeEvent, Operation, Phase, Position, Transaction
from liberator.log import PARTIAL, Headers

#: Every header, in the order they are written. All are text in UTF-8, numbers in decimal, but ``moved``.
HEADERS: Mapping[str, str] = {
    "op": "the operation's letter",
    "order": "total_order/data_collection_order: the place in the transaction, and among its table's events",
    "unavailable": "JSON array: fields that were not sent (they are null in the value); left out if none",
    "schema": "the id of the value's schema, where there is no value to carry it (delete, truncate)",
    "moved": "where a key changed: the other half's record key, byte for byte; else left out",
    "source": "name of the source",
    "tx": "the transaction's id",
    "position": "epoch/major: where the transaction stands in its source",
    "ts_us": "commit time in microseconds since 1970 UTC, by the database's clock",
    "snapshot": "the event's phase: true, ahead; left out in plain streaming",
    "origin": "JSON array: the values of the source's own fields, in their order; left out if it has none",
}

#: How many transactions a reader of headers remembers.
REMEMBERED = 1000
_OPS = {operation.value: ("op", operation.value.encode()) for operation in Operation}
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class SharedHeaders:
    """The headers that the events of a transaction have in common, made once for each."""

    def __init__(self, producer: Producer):
        self._producer = producer
        self._transaction: Transaction | None = None
        self._phase: Phase | None = None
        self._headers: Headers = ()

    def __call__(self, transaction: Transaction, phase: Phase) -> Headers:
        """Raises SchemaError for a transaction that would not come back."""
        if transaction is not self._transaction or phase is not self._phase:
            self._headers = self._made(transaction, phase)
            self._transaction, self._phase = transaction, phase
        return self._headers

    def _made(self, transaction: Transaction, phase: Phase) -> Headers:
        producer = self._producer
        check_transaction(transaction, producer.origin_fields, producer.name)
        epoch, major, _ = transaction.position
        try:
            identity = transaction.id.encode()
        except UnicodeEncodeError:
            raise not_unicode(f"the id of a transaction of source {producer.name}") from None
        out = [
            ("source", producer.name.encode()),
            ("tx", identity),
            ("position", b"%d/%d" % (epoch, major)),
            ("ts_us", b"%d" % transaction.timestamp),
        ]
        if phase is not Phase.STREAM:
            out.append(("snapshot", phase.value.encode()))
        if transaction.origin:
            out.append(("origin", _dumps(transaction.origin).encode()))
        return tuple(out)


def own_headers(event: ChangeEvent, missing: Sequence[str], moved: bytes | None, schema_id: int) -> Headers:
    """The headers of one event alone: ``missing`` are the fields of ``after`` that were not sent, ``moved``
    the framed key of the other half of its pair."""
    order = ("order", b"%d/%d" % (event.ordinal, event.table_ordinal))
    out: Headers = (_OPS[event.operation.value], order)
    if event.after is None:
        out = (*out, ("schema", b"%d" % schema_id))
    elif missing:
        out = (*out, partial_row(missing))
    return out if moved is None else (*out, ("moved", moved))


def partial_row(missing: Sequence[str]) -> tuple[str, bytes]:
    """The header that tells which fields of ``after`` were not sent. A ``change`` has it too, beside the
    list in its value, for the log's compaction does not look into values."""
    return PARTIAL, _dumps(missing).encode()


@dataclass(slots=True)
class Meta:
    """What the headers of an ``entity`` record say; ``missing`` holds field names, ``moved`` a framed
    key, ``schema`` the id of the value's schema where the headers name it."""

    operation: Operation
    transaction: Transaction
    phase: Phase
    ordinal: int
    table_ordinal: int
    missing: Sequence[str]
    moved: bytes | None
    schema: int | None


class HeaderReader:
    """Reads what :func:`own_headers` and :class:`SharedHeaders` wrote; headers of others are passed over."""

    def __init__(self) -> None:
        self._known: dict[Headers, tuple[Transaction, Phase]] = {}

    def read(self, headers: Headers) -> Meta:
        """Raises DecodeError where a header is missing or damaged."""
        try:
            own: dict[str, bytes] = {}
            shared: Headers = ()
            for at, (name, data) in enumerate(headers):
                if name == "source":
                    shared = headers[at:]
                    break
                own[name] = data
            known = self._known.get(shared) or self._shared(shared)
            ordinal, table_ordinal = own["order"].split(b"/")
            return Meta(
                OPERATIONS[own["op"].decode()],
                *known,
                int(ordinal),
                int(table_ordinal),
                _strings(own["unavailable"]) if "unavailable" in own else (),
                own.get("moved"),
                int(own["schema"]) if "schema" in own else None,
            )
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
            raise DecodeError("the headers are not those of an entity record") from None

    def _shared(self, shared: Headers) -> tuple[Transaction, Phase]:
        found = dict(shared)
        epoch, major = found["position"].split(b"/")
        origin: Any = json.loads(found.get("origin", b"[]"))
        if not all(isinstance(value, int | str | None) for value in origin):
            raise ValueError("not the source's own fields")
        position = Position(int(epoch), int(major))
        transaction = Transaction(found["tx"].decode(), position, int(found["ts_us"]), tuple(origin))
        phase = PHASES[found.get("snapshot", b"false").decode()]
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[shared] = transaction, phase
        return transaction, phase


def _strings(data: bytes) -> list[str]:
    found = json.loads(data)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError("not a list of names")
    return found
