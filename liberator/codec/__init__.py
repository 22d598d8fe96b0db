"""The contract of a codec: events to records, records to events, compiled once per schema version.

``Codec.encoder`` returns a function that appends one event's record (and for a delete its tombstone) to
a :class:`~liberator.log.Records`; ``Codec.decode`` turns records back into events. Which fields an
event has in a record is the envelope's matter (:mod:`liberator.codec.envelope`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from liberator.event import ChangeEvent
    from liberator.log import Records
    from liberator.registry import Registry
    from liberator.schema import TableSchema

EnvelopeName = Literal["change", "entity"]
#: Appends the records of one event.
Encode = Callable[["ChangeEvent", "Records"], None]


@dataclass(frozen=True, slots=True)
class Producer:
    """What an envelope says of the source that produced an event: constant while a source runs.

    ``origin_fields`` names and types the values of ``Transaction.origin``.
    """

    name: str
    connector: str
    version: str
    origin_fields: tuple[tuple[str, Literal["long", "string"]], ...] = ()


class Codec(Protocol):
    """A way to write events. One instance per pump; it caches what it compiled."""

    def __init__(self, registry: Registry, envelope: EnvelopeName = "change") -> None: ...

    def encoder(self, producer: Producer, schema: TableSchema, topic: str) -> Encode:
        """Compile the encoder for one table version, registering its key and value schema.

        Fast per event, slow to make: callers keep it.
        """
        ...

    def decode(self, records: Records) -> Sequence[ChangeEvent]:
        """The events that ``records`` hold, in order. A tombstone that follows its delete (``change``)
        is swallowed. Raises DecodeError for bytes that are not an event."""
        ...
