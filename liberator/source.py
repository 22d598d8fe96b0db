"""The contract of a source: what reads a database.

A source owns *what* its state is; the core owns *when* it is stored. State comes in by ``open`` and
goes out with every batch; a source keeps nothing durable of its own and never moves its position at
the database but in ``confirm``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from liberator.event import ChangeEvent, Position
from liberator.preflight import Finding


@dataclass(frozen=True, slots=True)
class State:
    """All that a source needs to go on, as one value; every part is plain JSON data.

    ``position``: everything up to it is in the log. ``identity``: which server and history the
    position belongs to. ``snapshot``: progress of tables being read. ``schemas``: the table versions
    in force at the position. A log stores only the parts that are new objects, so a source passes
    the same object on while a part does not change, and never mutates one.
    """

    position: Position
    identity: Mapping[str, Any] = field(default_factory=dict)
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    schemas: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """What one ``read`` gave: events in order, and the state after them.

    ``open`` is True where the last event's transaction goes on in the next batch. ``timestamp`` is the
    newest moment, in microseconds since 1970 by the database's clock, up to which the source has now
    been read (0: unknown); a quiet source still moves it. ``end``: there will never be more, capture is
    done.
    """

    events: Sequence[ChangeEvent]
    state: State
    open: bool = False
    timestamp: int = 0
    end: bool = False


@dataclass(frozen=True, slots=True)
class Managed:
    """An object at the database that liberator creates and removes: slot, publication, trigger.

    ``state`` is ``present``, ``missing`` or ``different``; ``create`` and ``drop`` are the statements
    a DBA would run (shown by ``--dry-run``).
    """

    kind: str
    name: str
    state: Literal["present", "missing", "different"]
    create: str
    drop: str


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source stands at its database right now; None where it cannot be known.

    ``lag_bytes``: change data not yet read. ``retained_bytes``: what the server keeps for us.
    ``position`` and ``current``: as the database spells them. ``details``: further facts by name; those in
    its list ``warnings`` are sentences that a person should see.
    """

    position: str | None = None
    current: str | None = None
    lag_bytes: int | None = None
    retained_bytes: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Source(ABC):
    """Reads one database. All methods are called from one thread.

    Order of calls: ``open``, then ``read`` and ``confirm`` for ever, then ``close`` (not guaranteed:
    the process may be killed anywhere). ``check``, ``objects``, ``setup``, ``teardown``, ``current``
    and ``status`` may be called on an instance that was never opened, and connect by themselves.
    """

    #: The pydantic model of this connector's options; its field descriptions are the documentation.
    Config: ClassVar[type[BaseModel]]
    #: What envelopes call the kind of database, in Debezium's words: ``postgresql``, ``mysql``.
    connector: ClassVar[str]
    #: Names and Avro types of what ``Transaction.origin`` holds; they appear in the source block.
    origin_fields: ClassVar[tuple[tuple[str, Literal["long", "string"]], ...]] = ()

    def __init__(self, name: str, config: Any):
        self.name = name
        self.config = config

    @classmethod
    def init(cls, url: str) -> str:
        """A commented configuration file for the database at ``url``: what ``liberator init`` writes.

        Connects and reads only. The text refers to an environment variable in place of the URL, and
        repeats it without its password at most. A connector that has this is also named in the entry
        point group ``liberator.schemes``, by the schemes of its URLs.
        """
        raise NotImplementedError(f"{cls.__name__} cannot describe a database")

    @abstractmethod
    def open(self, state: State | None) -> None:
        """Connect and resume strictly after ``state.position``; None: from the beginning.

        Raises PositionLost where the source cannot go on from there without a gap.
        """

    @abstractmethod
    def read(self) -> Batch:
        """The next events, possibly none; returns within about 100 ms even if nothing happens.

        What was read but not confirmed when the process dies is read again after ``open``. Batches end
        at transaction boundaries except where a transaction is larger than a batch.
        """

    def confirm(self, position: Position) -> None:  # noqa: B027
        """The log durably holds everything up to ``position``: the source may forget it.

        May be called with the same position again; never with a smaller one.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of connections. Safe to call twice, and on a source that failed to open."""

    def snapshot(self, signal: int, tables: Sequence[str]) -> None:
        """Read these tables again while streaming goes on; called between reads.

        ``signal`` is the request's number. A later state's ``snapshot["signal"]`` at or above it says
        that the request is durably part of the state. May be called twice for one request.
        """
        raise NotImplementedError(f"source {self.name} cannot re-read tables")

    def recover(self, state: State) -> State:
        """The state to go on with after a gap that a person accepted, on a source that is not open.

        Of a greater epoch; ``open`` with it begins a new history at the database, and all tables are read
        anew, deletes included.
        """
        raise NotImplementedError(f"source {self.name} cannot go on after a gap")

    def began(self) -> State | None:
        """Of an open source before its first read: the state from which another one goes on as this one will;
        None if there is none such."""
        return None

    @abstractmethod
    def current(self) -> Position:
        """The position behind everything that is committed at the database right now."""

    @abstractmethod
    def reached(self, state: State, target: Position) -> bool:
        """Whether ``state`` covers ``target`` and no snapshot is pending."""

    def check(self) -> list[Finding]:
        """Everything at the database that would hinder this source; reads only."""
        return []

    def extra(self, name: str) -> bool:
        """Have ``objects`` and ``setup`` include a kind of object that is made only if a person asks for it;
        whether there is such a kind here. ``commit-column``: per table a column with the transaction of a
        row's last change."""
        return False

    def objects(self) -> list[Managed]:
        """The objects that this source needs at the database, with their present state."""
        return []

    def setup(self) -> list[Managed]:
        """Create what is missing; returns what was created. Repeating it changes nothing."""
        return []

    def teardown(self) -> list[Managed]:
        """Remove what :meth:`setup` and :meth:`open` create; returns what was removed."""
        return []

    def status(self, state: State | None) -> SourceStatus:
        """How far behind we are, and what the server keeps for us; reads only."""
        return SourceStatus()

    def describe(self, position: Position) -> str:
        """``position`` as this database's people write it."""
        return f"{position.epoch}/{position.major}/{position.minor}"
