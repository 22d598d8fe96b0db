"""What the source ``trigger`` keeps at its database, seen from outside: setup, teardown, check, status.

Each method connects by itself; what the objects are is the change table's business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module

from connectors.sql.reader import Reader, SourceTable, open_reader
from connectors.sql.trigger.change_table import ChangeTable
from connectors.sql.trigger.options import TriggerOptions
from liberator.errors import ConfigError, LiberatorError
from liberator.event import Position
from liberator.preflight import Finding
from liberator.source import Managed, SourceStatus, State

#: Module and class by the scheme of a URL.
_TABLES = {
    "postgresql": ("connectors.postgres.triggers", "PostgresChangeTable"),
    "postgres": ("connectors.postgres.triggers", "PostgresChangeTable"),
    "mysql": ("connectors.mysql.triggers", "MysqlChangeTable"),
    "mariadb": ("connectors.mysql.triggers", "MysqlChangeTable"),
    "sqlite": ("connectors.sqlite.triggers", "SqliteChangeTable"),
}


def dialect_of(url: str) -> str:
    """What envelopes call the kind of database."""
    scheme = url.partition("://")[0]
    return "postgresql" if scheme == "postgres" else scheme


def change_table(source: str, options: TriggerOptions, reader: Reader) -> ChangeTable:
    """The change table of a source, over a reader."""
    module, name = _TABLES[options.url.partition("://")[0]]
    made: ChangeTable = getattr(import_module(module), name)(source, options, reader)
    return made


class Objects:
    """The objects of the source ``name``."""

    def __init__(self, name: str, options: TriggerOptions):
        self._name = name
        self._options = options

    def connect(self) -> tuple[Reader, ChangeTable]:
        """A connected reader, and the change table over it."""
        reader = open_reader(self._options.url, f"liberator {self._name}", self._options.zero_dates)
        reader.connect()
        return reader, change_table(self._name, self._options, reader)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[ChangeTable]:
        reader, table = self.connect()
        try:
            yield table
        finally:
            reader.close()

    def ensure(self, table: ChangeTable) -> tuple[list[SourceTable], set[str]]:
        """Make what is missing, and what no longer fits. Gives the captured tables, and the names of those
        that had no trigger."""
        tables = table.tables()
        if not table.exists():
            table.create()
        captured = table.captured()
        names = {t.full_name for t in tables}
        for found in tables:
            if not captured.get(found.full_name):
                table.capture(found)
        for name in captured.keys() - names:
            table.release(name)
        return tables, names - captured.keys()

    def listed(self) -> list[Managed]:
        """All, with their present state."""
        with self._connected() as table:
            return table.managed(_tables(table))

    def create(self) -> list[Managed]:
        """What was missing or different."""
        with self._connected() as table:
            before = table.managed(table.tables())
            self.ensure(table)
            return [m for m in before if m.state != "present"]

    def remove(self) -> list[Managed]:
        """What was there."""
        with self._connected() as table:
            before = table.managed(_tables(table))
            for name in table.captured():
                table.release(name)
            if any(m.state != "missing" for m in before):
                table.remove()
            return [m for m in reversed(before) if m.state != "missing"]

    def current(self) -> Position:
        """Behind the last change that is committed now."""
        with self._connected() as table:
            return Position(0, table.head() + 1 if table.exists() else 0)

    def check(self) -> list[Finding]:
        """The connection, the horizon, the tables."""
        try:
            reader, table = self.connect()
        except LiberatorError as exc:
            remedy = exc.hint or "is the server up, is the url right?"
            return [Finding("error", "connection", str(exc), remedy, option="url")]
        try:
            return list(self._findings(reader, table))
        except ConfigError as exc:
            return [Finding("error", "tables", str(exc), exc.hint or "", option="tables")]
        except LiberatorError as exc:
            return [Finding("error", "catalog", str(exc), exc.hint or "see the message")]
        finally:
            reader.close()

    def _findings(self, reader: Reader, table: ChangeTable) -> Iterator[Finding]:
        if reader.replica:
            yield Finding("error", "replica", "triggers do not run on a replica", "give the primary's url")
        yield from reader.horizons().check()
        tables = table.tables()
        yield from table.check(tables)
        for found in tables:
            schema = reader.describe(found)
            if schema is not None and not schema.key:
                yield Finding(
                    "warning", "key", f"{found.full_name} has no primary key: its rows cannot be told apart",
                    "its events have no key, and its snapshot is read in one go; give it a primary key",
                )  # fmt: skip

    def status(self, state: State | None) -> SourceStatus:
        """The change table's size and age, and what the horizon waits for."""
        with self._connected() as table:
            if not table.exists():
                return SourceStatus()
            extent = table.extent()
            holders = table.reader.horizons().holders()
            versions = table.versions(0)
            details = {
                "change table": ".".join(part for part in table.place if part),
                "changes": extent.rows,
                "bytes": extent.bytes,
                "oldest change, s": None if extent.age is None else round(extent.age, 1),
                "held back by": [str(h) for h in holders[:5]],
                "captured since": {f"{v.schema.schema}.{v.schema.table}": v.at for v in versions},
            }
            position = None if state is None else str(state.position.major)
            return SourceStatus(position, str(table.head() + 1), None, extent.bytes, details)


def _tables(table: ChangeTable) -> list[SourceTable]:
    """The captured tables, none where there is none any more."""
    try:
        return table.tables()
    except ConfigError:
        return []
