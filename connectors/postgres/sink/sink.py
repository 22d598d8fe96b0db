"""The Postgres sink: the SQL sink over :class:`~connectors.postgres.sink.dialect.PostgresDialect`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from connectors.postgres.sink.dialect import PostgresDialect
from connectors.sql.sink.options import SqlSinkOptions
from connectors.sql.sink.sink import SqlSink
from liberator.options import Url


class PostgresSinkOptions(SqlSinkOptions):
    """The options of the Postgres sink."""

    url: Url = Field(description="The database: postgresql://user:password@host:5432/database.")
    home: str | None = Field(
        None,
        alias="schema",
        description="The schema for the cursor, and for tables whose name has no schema; created if "
        "missing. The default is the first schema of the role's search path.",
    )
    origin: str | None = Field(
        None,
        description="What sources of this database take for the origin of what this sink writes "
        "(liberator.origin), for their skip_origins: the way out of a loop between two databases.",
    )


class PostgresSink(SqlSink):
    """Writes streams into a Postgres database. Exactly once: rows and cursor in one transaction."""

    Config: ClassVar[type[PostgresSinkOptions]] = PostgresSinkOptions

    def dialect(self) -> PostgresDialect:
        """A dialect for the configured database."""
        return PostgresDialect(self.config.url, self.config.home, self.config.origin)
