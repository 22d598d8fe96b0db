"""The contract of a codec: events to records, records to events, compiled once per schema version.

``Codec.encoder`` returns a function that appends the records of a batch of events (and for a delete its
tombstone) to a :class:`~liberator.log.Records`; :class:`liberator.codec.decoder.RecordDecoder` is the
way back, for records of every codec and envelope mixed. Which fields an event has in a record is the
envelope's matter (:mod:`liberator.codec.envelope`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from liberator.event import ChangeEvent
    from liberator.log import Records
    from liberator.registry import Registry

EnvelopeName = Literal["change", "entity"]
#: Appends the records of some events, in order; the events may be of any tables and schema versions. A
#: batch at a time, because what events share (transaction, schema) is then worked out once.
Encode = Callable[[Sequence["ChangeEvent"], "Records"], None]


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
    """A way to write events. One instance per capture; it caches what it compiled."""

    def __init__(self, registry: Registry, envelope: EnvelopeName = "change") -> None: ...

    def encoder(self, producer: Producer) -> Encode:
        """The function that writes events of ``producer``; callers keep it as long as the source runs.

        It compiles what a (topic, schema version) needs when it first meets one, and registers the
        schemas of key and value then. Raises SchemaError for a value that its column's type cannot
        hold; the records of the events before it have been appended then.
        """
        ...


class Decoder(Protocol):
    """A way back from records to events: :class:`liberator.codec.decoder.RecordDecoder`, one for each log.
    It caches what it compiled."""

    def decode(self, records: Records, begin: Mapping[str, int] | None = None) -> list[ChangeEvent]:
        """The events that ``records`` hold, in order, whichever codec and envelope wrote them.

        A tombstone that follows its delete (``change``) is passed over, so there may be fewer events than
        records; without the delete, which compaction removed, it is the delete. ``begin`` are the offsets
        of the cursor that the records were read from: everything before it was read, so a tombstone right
        there follows its delete too. Raises DecodeError for bytes that are not an event.
        """
        ...
