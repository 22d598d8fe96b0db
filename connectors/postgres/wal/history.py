"""Whether a slot still goes on where our log ends: the one question between restart and stream.

Postgres answers a request for WAL that is gone by silently starting later
(``START_REPLICATION`` with an LSN before the slot's ``confirmed_flush_lsn``). So the slot is looked at first,
and whatever could be a gap is an error that says what was lost and which command repairs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from connectors.postgres.connection import format_lsn, parse_lsn
from connectors.postgres.wal.replication import ReplicationStream
from liberator.errors import PositionLost, SourceError
from liberator.source import State


@dataclass(frozen=True, slots=True)
class Identity:
    """The history that a position belongs to: system identifier, timeline, database, slot."""

    system: str
    timeline: int
    database: str
    slot: str

    @classmethod
    def of(cls, stream: ReplicationStream, database: str, slot: str) -> Identity:
        """As the server identifies itself now."""
        system, timeline, _ = stream.identify()
        return cls(system, timeline, database, slot)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Identity:
        """The inverse of :meth:`to_json`."""
        return cls(data["system"], data["timeline"], data["database"], data["slot"])

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``State.identity``."""
        return asdict(self)


def verify(
    name: str,
    ours: Identity,
    now: Identity,
    slot: Mapping[str, Any] | None,
    state: State,
    stream: ReplicationStream,
) -> Identity:
    """Return the identity to go on with, or raise PositionLost. ``slot`` is its row in
    pg_replication_slots, None if it is gone."""
    at = state.position.major
    lost = f"source {name}: the log ends at {format_lsn(at)}, but "
    repair = (
        f"changes since {format_lsn(at)} may be missing; `liberator snapshot --config FILE --recover {name}` "
        "makes a new slot and reads all tables anew, deletes included"
    )
    if now.system != ours.system or now.database != ours.database:
        raise PositionLost(
            lost + f"this is another server (system {now.system}, database {now.database}; it was system "
            f"{ours.system}, database {ours.database})",
            hint="give back the old url, or: " + repair,
        )
    if slot is None:
        raise PositionLost(lost + f"replication slot {ours.slot} is gone", hint=repair)
    _refuse_another_kind(name, ours, slot, now)
    if why := _invalidated(slot):
        raise PositionLost(
            lost + f"slot {ours.slot} was invalidated ({why})",
            hint=repair + "; raise max_slot_wal_keep_size or idle_replication_slot_timeout if that was why",
        )
    confirmed = parse_lsn(slot["confirmed_flush_lsn"])
    if confirmed > at:
        raise PositionLost(
            lost + f"slot {ours.slot} begins at {format_lsn(confirmed)}: it was made anew, or somebody else "
            f"has read {confirmed - at} bytes of it",
            hint=repair,
        )
    if now.timeline != ours.timeline:
        _verify_timeline(lost, ours, now, at, stream, repair)
    end = stream.identify()[2]
    if end < at:
        raise PositionLost(
            lost + f"the server's WAL ends at {format_lsn(end)}: it was set back to an older copy of itself, "
            "and what it writes from there on is another history",
            hint=repair,
        )
    return replace(now, slot=ours.slot)


def usable(name: str, slot: Mapping[str, Any], now: Identity) -> int:
    """Where a slot begins that was there before us, while our log has nothing from it yet. Raises SourceError
    if it cannot be read."""
    _refuse_another_kind(name, now, slot, now)
    if why := _invalidated(slot):
        raise SourceError(
            f"source {name}: slot {now.slot} was invalidated ({why}) before it was read for the first time",
            hint=f"`liberator teardown --config FILE {name}` removes it, the next run makes a new one",
        )
    return parse_lsn(slot["confirmed_flush_lsn"])


def _refuse_another_kind(name: str, ours: Identity, slot: Mapping[str, Any], now: Identity) -> None:
    if slot["plugin"] != "pgoutput" or slot["database"] != now.database:
        raise SourceError(
            f"source {name}: slot {ours.slot} belongs to plugin {slot['plugin']} and database "
            f"{slot['database']}",
            hint="set `slot` to another name",
        )


def _invalidated(slot: Mapping[str, Any]) -> str | None:
    if slot.get("wal_status") == "lost" or slot.get("invalidation_reason"):
        return slot.get("invalidation_reason") or "wal_removed"
    return None


def _verify_timeline(
    lost: str, ours: Identity, now: Identity, at: int, stream: ReplicationStream, repair: str
) -> None:
    """A standby was promoted: fine if it forked behind our position, for then our past is its past."""
    forks = parse_history(stream.timeline_history(now.timeline))
    fork = forks.get(ours.timeline)
    if fork is None or at > fork:
        where = f"at {format_lsn(fork)}" if fork is not None else "somewhere unknown"
        raise PositionLost(
            lost + f"the server is on timeline {now.timeline}, which left ours ({ours.timeline}) {where}: we "
            "have read changes that it never had",
            hint=repair,
        )


def parse_history(text: str) -> dict[int, int]:
    """A timeline history file: parent timeline → the LSN where it was left."""
    out = {}
    for line in text.splitlines():
        fields = line.split("#", 1)[0].split(None, 2)
        if len(fields) >= 2 and fields[0].isdigit():
            out[int(fields[0])] = parse_lsn(fields[1])
    return out
