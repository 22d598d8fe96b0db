"""Positions of MariaDB: per replication domain the last GTID, ``0-1-100,1-2-50``.

Domains go on independently of each other; within one, sequence numbers grow (and repeat or go back only
after a failover that lost something, unless ``gtid_strict_mode`` forbids it).

https://mariadb.com/docs/server/ha-and-performance/standard-replication/gtid
"""

from __future__ import annotations


class MariaPosition:
    """A mutable map from domain to (server id, sequence number)."""

    __slots__ = ("domains",)

    domains: dict[int, tuple[int, int]]

    def __init__(self, text: str = ""):
        """Raises DecodeError for what is no list of GTIDs."""
        raise NotImplementedError

    def __str__(self) -> str:
        """As MariaDB takes it in ``@slave_connect_state``; domains in their order."""
        raise NotImplementedError

    def __bool__(self) -> bool:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        raise NotImplementedError

    __hash__ = None  # type: ignore[assignment]  # it changes

    def copy(self) -> MariaPosition:
        raise NotImplementedError

    def add(self, domain: int, server_id: int, sequence: int) -> None:
        """This is the domain's last transaction now."""
        raise NotImplementedError

    def has(self, domain: int, sequence: int) -> bool:
        """Whether the domain is at least as far."""
        raise NotImplementedError

    def contains(self, other: MariaPosition) -> bool:
        """Whether each domain of ``other`` is known here and at least as far."""
        raise NotImplementedError
