"""What a record says of an event, in words that both codecs share.

**change** is Debezium's envelope. The record's key is the table's key columns; its value has

* ``before``, ``after``: the row, columns by name; null where the event has none;
* ``unavailable``, ``unavailable_before``: the fields of ``after`` and of ``before`` that the source did
  not send. They stand as null in the row, and are not null in the database;
* ``op``: r (read by a snapshot), c (create), u (update), d (delete), t (truncate);
* ``source``: ``version``, ``connector``, ``name`` of the source, ``db``, ``schema``, ``table``, ``snapshot``
  (the event's phase), ``ts_ms`` and ``ts_us`` (the commit, by the database's clock), ``epoch`` and
  ``major`` (with ``total_order`` the event's position), then the source's own fields;
* ``transaction``: its ``id``, the event's place in it (``total_order``) and its place among those of the
  same table (``data_collection_order``), both from 1, both 0 for a row that a snapshot read;
* ``moved``: where a key changed, the key of the other half of the pair delete + create;
* ``ts_ms``: when the event was encoded. It is the one field that does not come back when decoding.

A delete is followed by a tombstone: the same key, no value, and the headers of an entity's delete. Where a
log was compacted the tombstone may be all that is left of a delete, and a reader that had not come so far
must still learn of it: then the tombstone is decoded to the delete, with the key columns only. One that
follows its delete is passed over. A truncate has no key.

**entity** is the row itself as the value; everything else is in headers (:data:`HEADERS`), and a delete
*is* a tombstone. It carries no ``before``: a decoded update has none, and a decoded delete has the key
columns only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from liberator.errors import DecodeError, SchemaError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Position, Row, Transaction
from liberator.log import Headers
from liberator.schema import TableSchema

#: One record: topic, key, value, headers.
Item = tuple[str, bytes | None, bytes | None, Headers]
#: Where decoded events go.
Append = Callable[[ChangeEvent], None]

#: Operations and phases by what records call them.
OPERATIONS = {operation.value: operation for operation in Operation}
PHASES = {phase.value: phase for phase in Phase}

#: The headers of an ``entity`` record, and of a tombstone in ``change``, in the order they are written.
#: All are text in UTF-8, numbers in decimal, but ``moved``.
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


class Gone:
    """The delete that was decoded last: the tombstone that follows it says nothing new."""

    __slots__ = ("_event", "_key")

    def __init__(self) -> None:
        self._key: bytes | None = None
        self._event: ChangeEvent | None = None

    def note(self, key: bytes | None, event: ChangeEvent) -> None:
        """An event, and the key of its record."""
        if event.operation is Operation.DELETE:
            self._key, self._event = key, event

    def owns(self, key: bytes | None, headers: Headers) -> bool:
        """Whether the record without a value that has this key and these headers is its tombstone."""
        event = self._event
        if event is None or key is None or key != self._key:
            return False
        found = dict(headers)
        self._event = None
        epoch, major, _ = event.transaction.position
        return found.get("order") == b"%d/%d" % (event.ordinal, event.table_ordinal) and found.get(
            "position"
        ) == b"%d/%d" % (epoch, major)


class Misfit(ValueError):
    """A value that its type cannot hold; the message never tells the value. Becomes a SchemaError with
    table and column where those are known."""


def wrong(schema: TableSchema, column: int, why: str) -> SchemaError:
    """The error for a value that cannot be written."""
    return SchemaError(f"table {schema.schema}.{schema.table}: column {schema.names[column]} {why}")


def wrong_width(schema: TableSchema, row: Row) -> SchemaError:
    """The error for a row that has more or fewer values than its table has columns."""
    table = f"{schema.schema}.{schema.table}"
    return SchemaError(f"table {table} has {len(schema.columns)} columns, a row of it {len(row)}")


def keyless_move(schema: TableSchema) -> SchemaError:
    """The error for a key change in a table that has no key."""
    return SchemaError(
        f"table {schema.schema}.{schema.table} has no key, yet an event says that its key changed"
    )


def frame(schema_id: int) -> bytes:
    """What every key and value begins with: a zero byte, and the schema's id."""
    return b"\0" + schema_id.to_bytes(4, "big")


def absent(row: Row | None) -> tuple[int, ...]:
    """The indexes of the columns that were not sent."""
    if row is None:
        return ()
    return tuple(i for i, value in enumerate(row) if value is ABSENT)


def check_transaction(transaction: Transaction, origin_fields: int, source: str) -> None:
    """Raise SchemaError for a transaction whose envelope would not give it back."""
    if transaction.position.minor:
        raise SchemaError(f"source {source} gave a transaction whose position has a minor part")
    if len(transaction.origin) != origin_fields:
        raise SchemaError(
            f"source {source} gave a transaction with {len(transaction.origin)} origin values"
            f" where it declares {origin_fields}"
        )


def check_entity(event: ChangeEvent) -> None:
    """Raise SchemaError for an event that ``entity`` would lose: a row that no key names."""
    if not event.schema.key and event.operation in (Operation.UPDATE, Operation.DELETE):
        raise SchemaError(
            f"table {event.schema.schema}.{event.schema.table} has no key, so the envelope entity cannot"
            f" say which row a {event.operation.name.lower()} means",
            hint="give the table a key, or use the envelope change",
        )


def shared_headers(transaction: Transaction, phase: Phase, source: str) -> Headers:
    """The ``entity`` headers that the events of a transaction have in common."""
    epoch, major, _ = transaction.position
    out = [
        ("source", source.encode()),
        ("tx", transaction.id.encode()),
        ("position", b"%d/%d" % (epoch, major)),
        ("ts_us", b"%d" % transaction.timestamp),
    ]
    if phase is not Phase.STREAM:
        out.append(("snapshot", phase.value.encode()))
    if transaction.origin:
        out.append(("origin", json.dumps(transaction.origin, separators=(",", ":")).encode()))
    return tuple(out)


def tombstone_headers(event: ChangeEvent, moved: bytes | None, schema_id: int) -> Headers:
    """The headers of a record without a value that are this event's own."""
    out: Headers = (
        ("op", event.operation.value.encode()),
        ("order", b"%d/%d" % (event.ordinal, event.table_ordinal)),
        ("schema", b"%d" % schema_id),
    )
    return out if moved is None else (*out, ("moved", moved))


def own_headers(event: ChangeEvent, fields: tuple[str, ...], moved: bytes | None, schema_id: int) -> Headers:
    """The ``entity`` headers of one event; ``fields`` are the value's field names in column order,
    ``moved`` is the framed key of the other half of its pair."""
    if event.after is None:
        return tombstone_headers(event, moved, schema_id)
    out = [
        ("op", event.operation.value.encode()),
        ("order", b"%d/%d" % (event.ordinal, event.table_ordinal)),
    ]
    if ABSENT in event.after:
        missing = [fields[i] for i in absent(event.after)]
        out.append(("unavailable", json.dumps(missing, separators=(",", ":")).encode()))
    if moved is not None:
        out.append(("moved", moved))
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Meta:
    """What the headers of an ``entity`` record say; ``missing`` holds field names, ``moved`` a framed
    key, ``schema`` the id of the value's schema where the headers name it."""

    operation: Operation
    transaction: Transaction
    ordinal: int
    table_ordinal: int
    phase: Phase
    missing: tuple[str, ...]
    moved: bytes | None
    schema: int | None


def read_headers(headers: Headers) -> Meta:
    """What :func:`own_headers` and :func:`shared_headers` wrote; headers of others are passed over.

    Raises DecodeError where one is missing or damaged.
    """
    found = dict(headers)
    try:
        epoch, major = found["position"].split(b"/")
        ordinal, table_ordinal = found["order"].split(b"/")
        origin = json.loads(found.get("origin", b"[]"))
        missing = json.loads(found.get("unavailable", b"[]"))
        if not all(isinstance(v, int | str | None) for v in origin) or not isinstance(missing, list):
            raise ValueError("not a list of what it should be")
        return Meta(
            OPERATIONS[found["op"].decode()],
            Transaction(
                found["tx"].decode(), Position(int(epoch), int(major)), int(found["ts_us"]), tuple(origin)
            ),
            int(ordinal),
            int(table_ordinal),
            PHASES[found.get("snapshot", b"false").decode()],
            tuple(map(str, missing)),
            found.get("moved"),
            int(found["schema"]) if "schema" in found else None,
        )
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise DecodeError("the headers are not those of an entity record") from None


def key_only(schema: TableSchema, key: Row) -> Row:
    """A row that has the key columns, ABSENT for all others."""
    row = [ABSENT] * len(schema.columns)
    for i, value in zip(schema.key, key, strict=True):
        row[i] = value
    return tuple(row)


def with_absent(row: Row, fields: tuple[str, ...], missing: Sequence[str]) -> Row:
    """``row`` with ABSENT in the fields named; raises DecodeError for a name that is no field."""
    if not missing:
        return row
    out = list(row)
    try:
        for name in missing:
            out[fields.index(name)] = ABSENT
    except ValueError:
        raise DecodeError("a record says that a field was not sent which its schema does not have") from None
    return tuple(out)
