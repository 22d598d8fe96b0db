"""What ``liberator check`` reports: findings, each with its remedy.

A check that could not look (no connection, no privilege) is a finding too; it never stops the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a database that helps or hinders.

    ``level`` error means that a run would fail or lose data, warning that it would hurt. ``remedy`` is
    a command or a sentence that mends it, empty for ``ok``. ``option`` is the option in the configuration
    that is wrong, if it is one: ``url`` for a database that cannot be reached, ``tables`` for a table
    that does not exist; such an error counts as wrong configuration.
    """

    level: Level
    check: str
    message: str
    remedy: str = ""
    option: str = ""
