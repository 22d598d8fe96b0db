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

**entity** is the row itself as the value; everything else is in headers (:mod:`liberator.codec.headers`),
and a delete *is* a tombstone. It carries no ``before``: a decoded update has none, and a decoded delete has
the key columns only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from liberator.errors import DecodeError, SchemaError
from liberator.event import ABSENT, ChangeEvent, Operation, Phase, Row, Transaction
from liberator.log import Headers
from liberator.schema import TableSchema

#: How envelopes and values are laid out in records; a schema says by which layout it was made. It is
#: counted up when that changes in a way that readers must know of.
LAYOUT = 1

#: One record: topic, key, value, headers.
Item = tuple[str, bytes | None, bytes | None, Headers]
#: Where decoded events go.
Append = Callable[[ChangeEvent], None]

#: Operations and phases by what records call them.
OPERATIONS = {operation.value: operation for operation in Operation}
PHASES = {phase.value: phase for phase in Phase}


class Gone:
    """Deletes whose tombstones are still to come: these say nothing new."""

    #: More cannot be expected at once; what is left of them has no tombstone.
    MOST = 10_000

    def __init__(self) -> None:
        self._places: dict[tuple[str, bytes | None], tuple[bytes, bytes]] = {}

    def note(self, topic: str, key: bytes | None, event: ChangeEvent) -> None:
        """An event, and the key of its record."""
        if event.operation is Operation.DELETE:
            epoch, major, _ = event.transaction.position
            order = b"%d/%d" % (event.ordinal, event.table_ordinal)
            self._expect(topic, key, (order, b"%d/%d" % (epoch, major)))

    def expect(self, topic: str, key: bytes | None, headers: Headers) -> None:
        """A tombstone whose delete was read before."""
        found = dict(headers)
        self._expect(topic, key, (found.get("order", b""), found.get("position", b"")))

    def _expect(self, topic: str, key: bytes | None, place: tuple[bytes, bytes]) -> None:
        if len(self._places) >= self.MOST:
            self._places.clear()
        self._places[topic, key] = place

    def owns(self, topic: str, key: bytes | None, headers: Headers) -> bool:
        """Whether the record without a value that has this key and these headers is the tombstone of a
        delete that was noted."""
        place = self._places.pop((topic, key), None)
        if place is None:
            return False
        found = dict(headers)
        return place == (found.get("order"), found.get("position"))


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


def wrong_ordinal(schema: TableSchema) -> SchemaError:
    """The error for an event whose place in its transaction cannot be written."""
    table = f"{schema.schema}.{schema.table}"
    return SchemaError(f"table {table}: the place of an event in its transaction is no 64-bit number")


def not_unicode(what: str) -> SchemaError:
    """The error for a name or an id that holds a lone surrogate."""
    return SchemaError(f"{what} is not Unicode (it holds a lone surrogate)")


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


def check_layout(layout: object) -> None:
    """Raise SchemaError for a layout that this version cannot read."""
    if layout != LAYOUT:
        raise SchemaError(
            f"the schema is laid out by number {layout}, this version of liberator reads {LAYOUT}",
            hint="the log was written by another version of liberator: use that one, or a newer one",
        )


def check_transaction(
    transaction: Transaction, origin_fields: Sequence[tuple[str, str]], source: str
) -> None:
    """Raise SchemaError for a transaction whose envelope would not give it back."""
    if transaction.position.minor:
        raise SchemaError(f"source {source} gave a transaction whose position has a minor part")
    if len(transaction.origin) != len(origin_fields):
        raise SchemaError(
            f"source {source} gave a transaction with {len(transaction.origin)} origin values"
            f" where it declares {len(origin_fields)}"
        )
    for (name, kind), value in zip(origin_fields, transaction.origin, strict=True):
        if value is not None and not isinstance(value, int if kind == "long" else str):
            raise SchemaError(f"source {source} gave a transaction whose {name} is no {kind}")


def check_entity(event: ChangeEvent) -> None:
    """Raise SchemaError for an event that ``entity`` would lose: a row that no key names."""
    if not event.schema.key and event.operation in (Operation.UPDATE, Operation.DELETE):
        raise SchemaError(
            f"table {event.schema.schema}.{event.schema.table} has no key, so the envelope entity cannot"
            f" say which row a {event.operation.name.lower()} means",
            hint="give the table a key, or use the envelope change",
        )


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
