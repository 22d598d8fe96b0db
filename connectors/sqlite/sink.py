"""The SQLite sink: the SQL sink over :class:`~connectors.sqlite.dialect.SqliteDialect`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from connectors.sql.sink.options import SqlSinkOptions
from connectors.sql.sink.sink import SqlSink
from connectors.sqlite.dialect import SqliteDialect, check_url
from liberator.options import FileUrl


class SqliteSinkOptions(SqlSinkOptions):
    """The options of the SQLite sink."""

    url: Annotated[FileUrl, BeforeValidator(check_url)] = Field(
        description="The database's file: sqlite:///relative.db or sqlite:////absolute/path.db; "
        "it is created if missing."
    )


class SqliteSink(SqlSink):
    """Writes streams into a SQLite file. Exactly once: rows and cursor in one transaction,
    ``synchronous=full``. Decimals stay exact: they are text."""

    Config: ClassVar[type[SqliteSinkOptions]] = SqliteSinkOptions

    def dialect(self) -> SqliteDialect:
        """A dialect for the configured file."""
        return SqliteDialect(self.config.url)
