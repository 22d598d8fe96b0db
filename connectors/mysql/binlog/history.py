"""Whether a server still goes on where our log ends, and from where it is to stream: the one question between
restart and stream.

On the same server, in the same binlog, file and offset say it exactly. Whether it is the same is seen from
the server's uuid, the moment at which the file was begun, and its size: a reset binlog has files of the
same names. Otherwise GTIDs decide: the server must have everything that we have read (else we have read
what it never had), and must not have forgotten anything that we have not. Whatever could be a gap is an
error that says what was lost and which command repairs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.mysql import catalog
from connectors.mysql.binlog.transactions import major_of, number_of, place_of
from connectors.mysql.connection import Connection, Server
from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.maria_gtid import MariaPosition
from liberator.errors import PositionLost, SourceError
from liberator.event import Position
from liberator.source import State

Gtids = GtidSet | MariaPosition


@dataclass(frozen=True, slots=True)
class Start:
    """How the stream begins: at ``file`` and ``offset``, or (``file`` empty) behind ``gtids``. ``resume``
    is the position to go on strictly behind, ``again`` the rows taken of transactions that were read in part
    at another server, by GTID."""

    resume: Position
    gtids: Gtids
    file: str = ""
    offset: int = 4
    again: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Here:
    """The server as it is now. ``created`` tells when one of its binlog files was begun, ``before`` the GTIDs
    of all transactions before a place in one, which takes reading it."""

    conn: Connection[Any]
    server: Server
    settings: Mapping[str, str]
    uses_gtids: bool
    created: Callable[[str], int]
    before: Callable[[str, int], Gtids]

    @property
    def uuid(self) -> str:
        """What tells it from others: MariaDB has no uuid."""
        return self.settings.get("server_uuid") or f"server id {self.settings.get('server_id', '0')}"


def uses_gtids(name: str, settings: Mapping[str, str], server: Server, wanted: str) -> bool:
    """Whether positions are GTIDs there. Raises SourceError if they must be and are not."""
    have = server.mariadb or settings.get("gtid_mode", "OFF") in ("ON", "ON_PERMISSIVE")
    if wanted == "on" and not have:
        raise SourceError(
            f"source {name}: gtid is on, but the server's gtid_mode is {settings.get('gtid_mode', 'OFF')}",
            hint="switch GTIDs on at the server (in steps, see its manual), or set gtid: auto",
        )
    return have and wanted != "off"


def first(here: Here) -> Start:
    """Where a source without a state begins: behind everything that is committed."""
    if here.uses_gtids and here.settings.get("gtid_mode") == "ON":
        # A transaction may be in the binlog and not yet be executed: only by GTID is the cut exact.
        return Start(Position(1, 0), catalog.executed(here.conn))
    status = catalog.binlog_status(here.conn, here.server)
    file, offset = status.file, status.position
    return Start(Position(1, major_of(file, offset)), _before(here, file, offset), file, offset)


def _before(here: Here, file: str, offset: int) -> Gtids:
    """The GTIDs of all transactions before a place: part of them would have another server send the others
    again."""
    if not here.uses_gtids:
        return MariaPosition() if here.server.mariadb else GtidSet()
    told = catalog.maria_position(here.conn, file, offset) if here.server.mariadb else None
    return here.before(file, offset) if told is None else told


def resume(name: str, here: Here, state: State) -> Start:
    """Where to go on behind ``state``, or PositionLost."""
    identity, position = state.identity, state.position
    number, offset = place_of(position.major)
    file = str(identity.get("file", ""))
    at = f"{file}:{offset}"
    lost = f"source {name}: the log ends at {at}, but "
    repair = (
        f"changes since {at} may be missing; `liberator snapshot --config FILE --recover {name}` reads "
        f"all tables "
        "anew, deletes included"
    )
    if identity.get("flavour") != here.server.flavour:
        raise PositionLost(
            f"{lost}this is a {here.server}, it was {identity.get('flavour')}",
            hint="give back the old url, or: " + repair,
        )
    text = str(identity.get("gtids", ""))
    gtids: Gtids = MariaPosition(text) if here.server.mariadb else GtidSet(text)
    known = here.uses_gtids and bool(text)
    if known and isinstance(gtids, GtidSet):
        _verify_gtids(lost, repair, here, gtids, identity)
    if number and here.uuid == identity.get("server") and (why := _reset(here, identity, file, offset)):
        raise PositionLost(lost + why, hint=repair)
    why = _other_place(here, identity, file, offset) if number else "the log names no file"
    again: Mapping[str, int] = identity.get("open", {})
    if not why:
        if not text:  # without GTIDs until now
            gtids = _before(here, file, offset)
        return Start(position, gtids, file, offset, again)
    if not known:
        raise PositionLost(
            lost + why, hint="only with GTIDs can another server or binlog be gone on with; " + repair
        )
    if isinstance(gtids, MariaPosition):
        _verify_domains(lost, repair, here, gtids)
    return Start(Position(position.epoch + (1 if number else 0), 0), gtids, again=again)


def _verify_gtids(lost: str, repair: str, here: Here, ours: GtidSet, identity: Mapping[str, Any]) -> None:
    executed, purged = catalog.executed(here.conn), catalog.purged(here.conn)
    if not executed.contains(ours):
        never = _shortened(ours.subtract(executed))
        same = here.uuid == identity.get("server")
        cause = (
            "its binlog was reset, or it was restored from a backup"
            if same
            else "it is another server, which was behind when it took over"
        )
        raise PositionLost(lost + f"this server never had transactions {never}: {cause}", hint=repair)
    if not ours.contains(purged):
        gone = _shortened(purged.subtract(ours))
        raise PositionLost(
            lost + f"transactions {gone}, which we have not read, are purged from the server's binlog",
            hint=repair
            + "; raise binlog_expire_logs_seconds if that was why. Transactions that were made on this "
            "server alone (errant ones) are lost in the same way",
        )


def _verify_domains(lost: str, repair: str, here: Here, ours: MariaPosition) -> None:
    """MariaDB: a domain in which we are ahead of the server is one that it has lost something of."""
    current = catalog.maria_current(here.conn)
    for domain, (server_id, sequence) in ours.domains.items():
        if not current.has(domain, sequence):
            raise PositionLost(
                lost + f"this server never had transaction {domain}-{server_id}-{sequence}: its binlog was "
                f"reset, or "
                "it was behind when it took over",
                hint=repair,
            )


def _reset(here: Here, identity: Mapping[str, Any], file: str, offset: int) -> str:
    """Why the same server's binlog cannot be the one that we read; empty if it may be. GTIDs say nothing of
    it: a server that was reset counts from 1 again, and soon has been where we are."""
    files = catalog.binlog_files(here.conn)
    sizes = dict(files)
    if file not in sizes:
        newest = files[-1][0] if files else "none"
        if not files or number_of(newest) < number_of(file):
            return f"the newest binlog file is {newest}: the binlog was reset, or restored from a backup"
        return ""
    if offset > sizes[file]:
        return f"binlog file {file} is only {sizes[file]} bytes long: it was reset, or a crash took its end"
    begun = identity.get("created")
    if begun and here.created(file) != begun:
        return f"binlog file {file} is another one of the same name: the binlog was reset"
    return ""


def _other_place(here: Here, identity: Mapping[str, Any], file: str, offset: int) -> str:
    """Why file and offset do not mean what they meant, or cannot be asked for; empty if all is well."""
    if here.uuid != identity.get("server"):
        return f"this is another server ({here.uuid}; it was {identity.get('server')})"
    names = [name for name, _ in catalog.binlog_files(here.conn)]
    if file not in names:
        return f"binlog file {file} is gone, purged; the oldest now is {names[0]}"
    if offset >> 32:
        return "a place behind the first 4 GB of a file cannot be asked for"
    return ""


def _shortened(gtids: GtidSet) -> str:
    text = str(gtids)
    return text if len(text) <= 200 else text[:200] + "…"
