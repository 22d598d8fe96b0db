"""What a server says when it refuses or ends a binlog stream, as errors of ours.

Nearly all of it comes as error 1236 with a text of its own, so the text decides; it names files, positions
and GTIDs, never data. Texts differ between versions in "master" and "source", "slave" and "replica".
"""

from __future__ import annotations

import re
from typing import Final

from connectors.mysql.connection import RETRYABLE
from liberator.errors import PositionLost, SourceError

_ANEW: Final = "begin anew with a snapshot of the tables"

#: Text, the error's family, the hint; the first that matches.
_REASONS: Final = tuple(
    (re.compile(text, re.IGNORECASE), family, hint)
    for text, family, hint in (
        (
            r"(slave|replica) with the same (server_uuid/)?server_id",
            SourceError,
            "another reader or replica uses the same server_id; give this source one of its own (server_id)",
        ),
        (
            r"(slave|replica) has more GTIDs than|is not in the (master|source)'s binlog.*diverged",
            PositionLost,
            "this server lacks transactions that were read: it was restored, or a failover lost them; "
            + _ANEW,
        ),
        (
            r"is not in the (master|source)'s binlog",
            PositionLost,
            "this server lacks transactions that were read (it was restored, or a failover lost them), "
            f"or it no longer has what comes next; {_ANEW}",
        ),
        (
            r"purged|could not find first log file|could not find GTID state",
            PositionLost,
            f"the server no longer has what comes next; {_ANEW}, and let the server keep binlogs for longer "
            "(binlog_expire_logs_seconds)",
        ),
        (
            r"impossible position|position (>|<) (file size|4)|could not find next log",
            PositionLost,
            f"this is not the binlog that was read: the server was restored or replaced; {_ANEW}",
        ),
        (
            r"truncated in the middle of event",
            SourceError,
            "either the server's disk is full, or this is not the binlog that was read: then " + _ANEW,
        ),
        (
            r"anonymous transaction",
            PositionLost,
            f"the server wrote transactions without GTID; set gtid_mode=ON, then {_ANEW}",
        ),
        (
            r"AUTO_POSITION mode|GTID_MODE *=",
            SourceError,
            "set gtid_mode=ON on the server, or read by file position",
        ),
        (r"max_allowed_packet", SourceError, "set max_allowed_packet=1G on the server, which is the most"),
        (r"server_id was not set", SourceError, "give the server a server_id other than 0"),
        (r"binary log is not open", SourceError, "switch the binlog on (log_bin), which needs a restart"),
    )
)
#: What a server says of a user who may not read its binlog.
DENIED: Final = (1045, 1227)
GRANT: Final = "grant replication slave on *.* to this user"
_FATAL: Final = 1236


def refused(payload: bytes, where: str) -> SourceError:
    """The error that an ERR packet stands for, which came at position ``where``."""
    number = int.from_bytes(payload[1:3], "little")
    text = payload[3:]
    if text[:1] == b"#":
        text = text[6:]
    return refusal(number, text.decode(errors="replace"), where)


def refusal(number: int, text: str, where: str) -> SourceError:
    """The same, for an error's number and text."""
    text = " ".join(text.split())
    message = f"the server ended the binlog stream at {where}: {text} (error {number})"
    for pattern, family, hint in _REASONS:
        if pattern.search(text):
            return family(message, hint=hint)
    return SourceError(
        message, hint=GRANT if number in DENIED else None, retryable=number in RETRYABLE and number != _FATAL
    )
