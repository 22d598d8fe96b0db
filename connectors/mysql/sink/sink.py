"""The MySQL sink: the SQL sink over :class:`~connectors.mysql.sink.dialect.MySqlDialect`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from connectors.mysql.sink.dialect import MySqlDialect
from connectors.sql.sink.options import SqlSinkOptions
from connectors.sql.sink.sink import SqlSink
from liberator.options import Url


class MysqlSinkOptions(SqlSinkOptions):
    """The options of the MySQL sink."""

    url: Url = Field(
        description="The database: mysql://user:password@host:3306/database. MariaDB is recognised by itself."
    )
    origin: str | None = Field(
        None,
        description="What triggers of a source `trigger` note down as the origin of what this sink writes "
        "(@liberator_origin), for its skip_origins: the way out of a loop between two databases.",
    )


class MysqlSink(SqlSink):
    """Writes streams into a MySQL or MariaDB database. Exactly once: rows and cursor in one transaction."""

    Config: ClassVar[type[MysqlSinkOptions]] = MysqlSinkOptions

    def dialect(self) -> MySqlDialect:
        """A dialect for the configured database."""
        return MySqlDialect(self.config.url, self.config.origin)
