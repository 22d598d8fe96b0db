"""Positions of MariaDB: per replication domain the last GTID, ``0-1-100,1-2-50``.

Domains go on independently of each other; within one, sequence numbers grow (and repeat or go back only
after a failover that lost something, unless ``gtid_strict_mode`` forbids it).

https://mariadb.com/docs/server/ha-and-performance/standard-replication/gtid
"""

from __future__ import annotations

import re
from typing import Final

from liberator.errors import DecodeError

_GTID: Final = re.compile(r"\s*(\d{1,10})-(\d{1,10})-(\d{1,20})\s*", re.ASCII)


class MariaPosition:
    """A mutable map from domain to (server id, sequence number)."""

    __slots__ = ("domains",)

    def __init__(self, text: str = ""):
        """Raises DecodeError for what is no list of GTIDs, or has two of one domain."""
        self.domains: dict[int, tuple[int, int]] = {}
        if not text.strip():
            return
        for part in text.split(","):
            domain, server_id, sequence = parse_maria_gtid_text(part)
            if domain in self.domains:
                raise DecodeError(
                    f"cannot read a position of MariaDB with two GTIDs of domain {domain}: {text!r}"
                )
            self.domains[domain] = (server_id, sequence)

    def __str__(self) -> str:
        """As MariaDB takes it in ``@slave_connect_state``; domains in their order."""
        return ",".join(
            f"{domain}-{server}-{number}" for domain, (server, number) in sorted(self.domains.items())
        )

    def __repr__(self) -> str:
        return f"MariaPosition({str(self)!r})"

    def __bool__(self) -> bool:
        return bool(self.domains)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MariaPosition) and self.domains == other.domains

    __hash__ = None  # type: ignore[assignment]  # it changes

    def copy(self) -> MariaPosition:
        """One that changes by itself."""
        new = MariaPosition()
        new.domains = dict(self.domains)
        return new

    def add(self, domain: int, server_id: int, sequence: int) -> None:
        """This is the domain's last transaction now."""
        self.domains[domain] = (server_id, sequence)

    def has(self, domain: int, sequence: int) -> bool:
        """Whether the domain is at least as far."""
        return domain in self.domains and self.domains[domain][1] >= sequence

    def contains(self, other: MariaPosition) -> bool:
        """Whether each domain of ``other`` is known here and at least as far."""
        return all(self.has(domain, sequence) for domain, (_, sequence) in other.domains.items())

    def update(self, other: MariaPosition) -> None:
        """In each domain of ``other`` go on to its transaction, unless we are further."""
        for domain, (server_id, sequence) in other.domains.items():
            if not self.has(domain, sequence):
                self.domains[domain] = (server_id, sequence)


def parse_maria_gtid_text(text: str) -> tuple[int, int, int]:
    """Domain, server id and sequence number of ``0-1-100``. Raises DecodeError."""
    found = _GTID.fullmatch(text)
    if found is not None:
        domain, server_id, sequence = map(int, found.groups())
        if domain < 1 << 32 and server_id < 1 << 32 and sequence < 1 << 64:
            return domain, server_id, sequence
    raise DecodeError(f"cannot read {text!r} as a GTID of MariaDB", hint="it is written 0-1-100")
