"""Where the stream stands: file and offset, the transaction it is in, the GTIDs behind it.

A position's ``major`` is a place in the binlog as one number: that of the file in the upper bits, the
offset in it in the lower 40 (a file of more than a terabyte is refused). ``minor`` counts the rows taken of
the transaction that begins there; behind a whole transaction ``major`` is where it ends. GTIDs are kept
beside it: they are those of the transactions before ``major``, merged one by one into what the state had.

What begins and ends a transaction in the stream is told by :mod:`.changes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connectors.mysql.wire.gtid import GtidSet
from connectors.mysql.wire.maria_gtid import MariaPosition
from liberator.errors import DecodeError, PositionLost, SourceError
from liberator.event import Position, Transaction

#: Bits of an offset within a file.
OFFSET_BITS: Final = 40
_OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
_NEVER: Final = 1 << 80
#: Of how many XA commits the places are known; more than connections that commit at once.
_DECIDED: Final = 10_000
#: Makes a named tuple without its Python-level constructor, which costs three times as much.
_new = tuple.__new__


def number_of(file: str) -> int:
    """The number of a binlog file: 7 of ``binlog.000007``."""
    digits = file.rpartition(".")[2]
    if not digits.isdigit():
        raise SourceError(f"{file} is not the name of a binlog file")
    return int(digits)


def major_of(file: str, offset: int) -> int:
    """A place in the binlog as a position's ``major``."""
    if offset > _OFFSET_MASK:
        raise SourceError(f"binlog file {file} is larger than a terabyte", hint="lower max_binlog_size")
    return number_of(file) << OFFSET_BITS | offset


def place_of(major: int) -> tuple[int, int]:
    """A position's ``major`` as file number and offset."""
    return major >> OFFSET_BITS, major & _OFFSET_MASK


class Transactions:
    """The stream's place, moved by :mod:`.changes`.

    ``position`` is what a state says: everything up to it was read. ``resume`` is where the stream is to go
    on, strictly behind; ``again`` are the rows taken of transactions, by GTID, if the stream comes from
    another server than they did: there they lie at other places, in MariaDB behind those of other domains.
    """

    def __init__(
        self,
        resume: Position,
        file: str,
        gtids: GtidSet | MariaPosition,
        again: Mapping[str, int] | None = None,
    ):
        self.position = resume
        self.file = file
        self.base = number_of(file) << OFFSET_BITS if file else 0
        self.gtids = gtids
        #: The newest moment by the server's clock up to which the stream was read, µs since 1970.
        self.timestamp = 0
        #: When the present file was begun, seconds since 1970: tells it from another one of the same name.
        self.created = 0
        #: Prepared XA transactions: xid → ``file:offset`` of where each begins, "" if it has no rows for us.
        self.prepared: dict[str, str] = {}
        #: The last XA transactions whose commits were told: place of the commit → xid.
        self.decided: dict[int, str] = {}
        #: Behind this place the stream is to rest: a snapshot waits for it.
        self.stop = _NEVER
        self.open = False
        self.begun = False
        self.thread = 0
        self.started = 0
        self.transaction: Transaction | None = None
        self.ordinal = 0
        self.skip = 0
        #: The transactions that were read in part at another server, and have not come again.
        self.again = dict(again or {})
        self._resume = resume
        self._gtid: tuple[Any, ...] | None = None
        self._committed = 0

    # -- a transaction ---------------------------------------------------------------------------

    def start(self, offset: int, sid: str, number: int, committed: int) -> None:
        """A transaction of MySQL begins at ``offset``; ``committed`` is its time in µs, 0 if unknown."""
        self._gtid = (sid, number) if number else None
        self._committed = committed
        self._start(offset)

    def start_maria(self, offset: int, gtid: tuple[int, int, int]) -> None:
        """A transaction of MariaDB begins: domain, server id, sequence number."""
        self._gtid = gtid
        self._committed = 0
        self._start(offset)

    def _start(self, offset: int) -> None:
        self.open, self.begun = True, False
        self.started = offset
        self.thread = 0
        self.transaction = None
        self.ordinal = 0
        begun = self.base + offset
        _, major, minor = self._resume
        self.skip = 0 if begun > major else minor if begun == major else _NEVER
        if self.again:
            self.skip = self.again.pop(self.gtid, self.skip)

    @property
    def gtid(self) -> str:
        """The open transaction's GTID; empty if it has none."""
        gtid = self._gtid
        if gtid is None:
            return ""
        return f"{gtid[0]}:{gtid[1]}" if len(gtid) == 2 else f"{gtid[0]}-{gtid[1]}-{gtid[2]}"

    @property
    def mark(self) -> tuple[Any, ...] | None:
        """The open transaction's GTID in parts, for a look-up in a set."""
        return self._gtid

    def make(self, server_id: int, timestamp: int) -> Transaction:
        """The transaction that is open, for its events; made once there is one."""
        begun = self.base + self.started
        position = _new(Position, (self.position.epoch, begun, 0))
        gtid = self.gtid
        self.transaction = transaction = Transaction(
            gtid or f"{self.file}:{self.started}",
            position,
            self._committed or timestamp * 1_000_000,
            (server_id, gtid or None, self.file, self.started, self.thread or None),
        )
        return transaction

    def end(self, offset: int, timestamp: int) -> None:
        """The transaction's last event ends at ``offset``."""
        if not self.open:
            raise DecodeError(f"a commit without a transaction before {self.file}:{offset}")
        self.open = False
        gtid = self._gtid
        if gtid is not None:
            self.gtids.add(*gtid)
        self.timestamp = self._committed or timestamp * 1_000_000
        self._advance(self.base + offset)

    @property
    def left(self) -> bool:
        """Whether rows of the open transaction have left with a batch."""
        position = self.position
        return position.minor > 0 and position.major == self.base + self.started

    def pause(self) -> None:
        """A batch ends here, perhaps within a transaction: the position says so."""
        if self.open and self.ordinal > self.skip:
            begun = self.base + self.started
            self.position = _new(Position, (self.position.epoch, begun, self.ordinal))

    @property
    def resting(self) -> bool:
        """Whether the stream has come to where it is to rest."""
        return not self.open and self.position.major >= self.stop

    def rest(self, at: int | None) -> None:
        """Rest behind this place; None: nowhere."""
        self.stop = _NEVER if at is None else at

    # -- between transactions --------------------------------------------------------------------

    def behind(self, offset: int) -> None:
        """Everything before ``offset`` was walked."""
        if not self.open:
            self._advance(self.base + offset)

    def heard(self, file: str, offset: int) -> None:
        """The server says that it has read so far and found nothing for us."""
        if not self.open and file == self.file:
            self._advance(self.base + offset)

    def rotate(self, file: str, offset: int) -> None:
        """What follows lies in ``file``."""
        base = number_of(file) << OFFSET_BITS
        if file != self.file:
            self._abandon()
        if base < self.base and not self.again:
            raise SourceError(f"the server went from binlog file {self.file} back to {file}", retryable=True)
        self.file, self.base = file, base
        if not self.open:
            self._advance(base + offset)

    def described(self, created: int) -> None:
        """A format description: the file was begun at ``created``."""
        self.created = created
        self._abandon()

    def _abandon(self) -> None:
        """If a transaction is open here, the server was killed within it and could not end it: it never
        was."""
        if self.open:
            self.open = False
            if self.left:
                raise PositionLost(
                    f"the transaction at {self.file}:{self.started}, of which rows are in the log, was "
                    f"never finished",
                    hint="`liberator snapshot --config FILE --recover SOURCE` reads all tables anew",
                )

    def _advance(self, major: int) -> None:
        """Move the position, never back: what is sent again may lie before where we resumed."""
        position = self.position
        if major > position.major:
            self.position = _new(Position, (position.epoch, major, 0))

    # -- XA --------------------------------------------------------------------------------------

    def prepare(self, xid: str, *, touched: bool) -> None:
        """The open transaction is prepared; ``touched``: with rows for us."""
        self.prepared = {**self.prepared, xid: f"{self.file}:{self.started}" if touched else ""}

    def decide(self, xid: str) -> None:
        """The rows of a prepared transaction, whose commit is open here, are told."""
        self.decided[self.base + self.started] = xid
        if len(self.decided) > _DECIDED:
            del self.decided[next(iter(self.decided))]

    def discard(self, xid: str) -> None:
        """A prepared transaction is decided."""
        if xid in self.prepared:
            self.prepared = {k: v for k, v in self.prepared.items() if k != xid}

    # -- state -----------------------------------------------------------------------------------

    @property
    def partly(self) -> dict[str, int]:
        """The rows taken of transactions that were not read to their ends, by GTID."""
        inside = {self.gtid: self.position.minor} if self.open and self.left and self._gtid else {}
        return {**self.again, **inside}

    def restore(self, identity: Mapping[str, Any]) -> None:
        """What a state remembers beside the position. Where prepared transactions lie holds for the server
        at which they were read."""
        known = identity.get("prepared", {})
        self.prepared = {xid: where for xid, where in known.items() if self.file or not where}
        self.timestamp = int(identity.get("timestamp", 0))
        self.created = int(identity.get("created", 0))
