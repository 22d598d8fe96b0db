"""The smallest sink: one JSON object per line. Read this one first.

It cannot keep its cursor beside what it prints, so the log keeps it (``keeps_cursor = False``), and an
event may be printed twice after a crash.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import ClassVar

from liberator.codec.json import to_plain
from liberator.errors import SinkError
from liberator.event import ChangeEvent
from liberator.log import Cursor
from liberator.options import SinkOptions
from liberator.sink import Sink


class Stdout(Sink):
    """Prints events on standard output, one JSON object per line. Can support at-least-once."""

    Config: ClassVar[type[SinkOptions]] = SinkOptions
    keeps_cursor = False

    def open(self) -> None:
        """There is nothing to open, and no cursor here."""

    def write(self, events: Sequence[ChangeEvent]) -> None:
        """Print the events; they leave the process with the next commit at the latest."""
        lines = [json.dumps({"topic": e.topic, **to_plain(e)}, ensure_ascii=False) + "\n" for e in events]
        try:
            sys.stdout.writelines(lines)
        except OSError as exc:
            raise _gone() from exc

    def commit(self, cursor: Cursor) -> None:
        """Flush: what was written is with whoever reads us."""
        try:
            sys.stdout.flush()
        except OSError as exc:
            raise _gone() from exc


def _gone() -> SinkError:
    return SinkError(
        "cannot print: nobody reads standard output any more", hint="the log keeps the events; run again"
    )
