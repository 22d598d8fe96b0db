"""Polling an outbox at MySQL or MariaDB: named locks are the leases. Nothing wakes: it is polled."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from connectors.sql.outbox.keeper import Keeper


class MysqlKeeper(Keeper):
    """One table of a MySQL or MariaDB database."""

    def lease(self, slots: Sequence[int]) -> bool:
        """``get_lock``: the names are the whole server's, and no longer than 64 characters."""
        name = hashlib.sha256(self.table.full_name.encode()).hexdigest()[:32]
        locks = " + ".join(f"coalesce(get_lock('liberator_{name}_{slot}', 0), 0)" for slot in slots)
        (found,) = self.reader.fetch(f"select {locks}")
        return int(found[0]) == len(slots)

    def slot(self, column: str) -> str:
        """``crc32``, of the same bytes whatever the column's character set."""
        return f"(crc32(convert({column} using utf8mb4)) & 63)"
