"""What differs between SQL databases for a source that asks instead of listening, in one object.

A :class:`Reader` owns one connection to one source database. It says what tables there are and what their
rows look like, and gives rows as *physical* values (see :mod:`liberator.schema`): the same values, by the
same type functions, that the database's log would give for the same row. Statements are text without
parameters, for not every protocol of ours takes any: values enter as :meth:`Reader.literal`.

Which databases there are is :data:`READERS`, by the scheme of a URL. What is settled at a database, so that a
cursor may pass it, is :mod:`connectors.sql.horizon`'s business; when what is asked is the sources'.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from connectors.sql.sink.bookkeeping import is_bookkeeping
from liberator.errors import ConfigError, LiberatorError
from liberator.event import Row
from liberator.options import redact
from liberator.patterns import Patterns
from liberator.schema import Column, TableSchema
from liberator.source import Managed

if TYPE_CHECKING:
    from connectors.sql.horizon import Horizons

#: Module and class by the scheme of a URL.
READERS = {
    "postgresql": ("connectors.postgres.reader", "PostgresReader"),
    "postgres": ("connectors.postgres.reader", "PostgresReader"),
    "mysql": ("connectors.mysql.reader", "MysqlReader"),
    "mariadb": ("connectors.mysql.reader", "MysqlReader"),
    "sqlite": ("connectors.sqlite.reader", "SqliteReader"),
}

Access = Literal["read", "write"]
ZeroDates = Literal["null", "string", "error"]


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table or view of a source database; ``estimate`` is about how many rows it has."""

    schema: str
    name: str
    view: bool = False
    estimate: int = 0

    @property
    def full_name(self) -> str:
        """``schema.table``, unquoted: what patterns match and people read."""
        return f"{self.schema}.{self.name}"


class Selected(NamedTuple):
    """Rows of a select. ``whole``: all of them; otherwise there are more behind the last. ``last`` has the
    last row's values that were asked for, as literals of exactly what the database holds."""

    rows: list[Row]
    whole: bool
    last: tuple[str, ...] = ()


class Reader(ABC):
    """One connection to one source database; all methods raise SourceError (retryable where it can help).

    ``application`` is what the database's people see in their list of connections.
    """

    #: The name that ``TableSchema.dialect`` uses for this kind of database, which is also what envelopes
    #: call it; one that serves several kinds knows which once connected.
    name: str
    #: Whether DDL can be rolled back.
    transactional_ddl: ClassVar[bool] = True
    #: An expression for the database's own clock, of a type that has a zone where there is one.
    clock: ClassVar[str] = "current_timestamp"
    #: Whether ``(a, b) > (1, 2)`` is looked up in an index.
    row_values: ClassVar[bool] = True
    #: Whether :meth:`page` limits rows before it bounds them: with a bound on either side the planner of a
    #: table without statistics expects few rows, and sorts all that are left for each page.
    limits_first: ClassVar[bool] = False
    #: The longest identifier, in bytes; None: no limit.
    longest_name: ClassVar[int | None] = None
    #: What becomes of dates that are none, where a database has such; set before connecting.
    zero_dates: ZeroDates = "null"

    def __init__(self, url: str, application: str = "liberator"):
        self.url = url
        self.application = application

    def __enter__(self) -> Reader:
        self.connect()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # -- the connection ----------------------------------------------------------------------------

    @abstractmethod
    def connect(self) -> None:
        """Connect and set the session up: no time zone but UTC, no timeout, autocommit."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection; an open transaction is rolled back. Safe to call twice."""

    @property
    @abstractmethod
    def database(self) -> str:
        """What ``TableSchema.database`` calls this database."""

    @property
    @abstractmethod
    def replica(self) -> bool:
        """Whether this server only follows another one: transactions in flight are not seen here."""

    @abstractmethod
    def identity(self) -> str:
        """Which server, or file, this is: it changes when the database was made anew."""

    @abstractmethod
    def limit(self, seconds: float) -> None:
        """Have statements that take longer fail, retryable; 0: they may take as long as they like."""

    # -- what there is -----------------------------------------------------------------------------

    @abstractmethod
    def tables(self, views: bool = False) -> list[SourceTable]:
        """Every table that could be read, and every view if asked for, by name."""

    def chosen(self, patterns: Sequence[str], where: str, views: bool = False) -> list[SourceTable]:
        """The tables that ``patterns`` over ``schema.table`` name. Raises ConfigError if there is none;
        ``where`` is the option. The bookkeeping of our sinks must be named in full."""
        wanted = Patterns(patterns)
        found = [
            t
            for t in self.tables(views)
            if wanted(t.full_name) and not is_bookkeeping(t.name, t.full_name, patterns)
        ]
        if not found:
            raise ConfigError(
                f"{where}: no table matches {', '.join(patterns)}",
                hint="patterns match schema.table; is the name right, and may this account see the table?",
            )
        return found

    @abstractmethod
    def describe(self, table: SourceTable) -> TableSchema | None:
        """The table as it is now, as the log source would describe it; None where it is gone."""

    @abstractmethod
    def describe_query(self, name: str, sql: str) -> TableSchema:
        """What a select gives, as a table called ``name`` in the schema ``query``, without a key."""

    # -- rows --------------------------------------------------------------------------------------

    @abstractmethod
    def select(
        self, sql: str, schema: TableSchema, budget: int = 1 << 30, places: Sequence[int] = ()
    ) -> Selected:
        """The rows of a select of ``schema``'s columns in their order, as physical values; cut short
        behind about ``budget`` bytes. ``places`` are the columns of the last row to give as literals.
        Raises UnknownShape where rows are no longer what the schema says."""

    def ahead(self, sql: str) -> None:  # noqa: B027
        """Say what will be selected next, and that nothing else is asked for before it: a server may begin to
        send. Nothing is lost, except time, where something else is asked for after all."""

    @abstractmethod
    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement as the driver gives them: for catalogs, counts and texts."""

    @abstractmethod
    def execute(self, sql: str) -> int:
        """Run one statement: the number of rows it affected."""

    @abstractmethod
    def transaction(self, access: Access = "read") -> AbstractContextManager[None]:
        """One transaction: committed at the end, rolled back after an exception. To ``read`` is to see
        one snapshot and hold no lock; to ``write`` sees what is committed when each statement begins."""

    @abstractmethod
    def now(self) -> int:
        """The database's clock, in microseconds since 1970 UTC."""

    # -- spelling ----------------------------------------------------------------------------------

    @abstractmethod
    def quote(self, *names: str) -> str:
        """An identifier, always quoted; several are joined by dots."""

    @abstractmethod
    def text(self, text: str) -> str:
        """A text as a literal."""

    @abstractmethod
    def literal(self, value: Any, column: Column) -> str:
        """A physical value as SQL that has exactly this value and the column's type; ``null`` for None."""

    @abstractmethod
    def instant(self, micros: int, column: Column, zone: str = "UTC") -> str:
        """A moment, in microseconds since 1970 UTC, as a literal of the column's type and precision; for a
        column without a zone as a clock in ``zone`` shows it."""

    @abstractmethod
    def digest(self, columns: Sequence[Column]) -> str:
        """An expression for a hash of the (never null) key columns: an integer of 40 bits, as
        :meth:`digester` computes it."""

    @abstractmethod
    def digester(self, columns: Sequence[Column]) -> Callable[[Row], int]:
        """The hash that :meth:`digest` gives, from the physical values of these columns."""

    def relation(self, table: SourceTable) -> str:
        """What stands behind ``from`` for a table."""
        return self.quote(table.schema, table.name)

    def place(self, column: Column) -> str:
        """What a column is ordered and compared by."""
        return self.quote(column.name)

    def listed(self, schema: TableSchema) -> str:
        """What stands between ``select`` and ``from`` for all of a table's columns, in order."""
        return ", ".join(map(self.quote, schema.names))

    def page(
        self,
        columns: str,
        source: str,
        conditions: Sequence[str],
        order: str,
        limit: int,
        bound: str | None = None,
    ) -> str:
        """A select of the first ``limit`` rows of an order for which the conditions hold, as far as they lie
        within ``bound``, a condition on what is ordered by: fewer rows than ``limit`` are the last ones."""
        bounds = [] if bound is None or bound == "true" else [f"({bound})"]
        if bounds and self.limits_first:
            rows = f"select * from {source}{_where(conditions)} order by {order} limit {limit}"
            return f"select {columns} from ({rows}) as page{_where(bounds)} order by {order}"
        return (
            f"select {columns} from {source}{_where([*bounds, *conditions])} order by {order} limit {limit}"
        )

    # -- what is settled ---------------------------------------------------------------------------

    def commit_column(self, table: SourceTable, column: str) -> list[Managed]:
        """What makes ``column`` hold the transaction of a row's last change, with its present state; nothing
        where a database has no such numbers."""
        return []

    @abstractmethod
    def horizons(self) -> Horizons:
        """What is settled at this database, asked over this connection."""


class UnknownShape(LiberatorError):
    """Rows that are not what the schema says: the table was changed. Describe it again."""

    retryable = True


def _where(conditions: Sequence[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""


def open_reader(url: str, application: str = "liberator", zero_dates: ZeroDates = "null") -> Reader:
    """A reader for ``url``, not connected. Raises ConfigError for a scheme that nobody knows."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in READERS:
        raise ConfigError(
            f"url: {redact(url)} is not the URL of a database that can be asked",
            hint="it begins with postgresql://, mysql://, mariadb:// or sqlite:///",
        )
    module, name = READERS[scheme]
    made: Reader = getattr(import_module(module), name)(url, application)
    made.zero_dates = zero_dates
    return made


@contextmanager
def connected(url: str, application: str = "liberator") -> Iterator[Reader]:
    """A connected reader that is closed in the end."""
    reader = open_reader(url, application)
    try:
        reader.connect()
        yield reader
    finally:
        reader.close()


def digester(
    spell: Sequence[Callable[[Any], str | None]], algorithm: Callable[[bytes], Any] = hashlib.md5
) -> Callable[[Row], int]:
    """The first 40 bits of the digest of a key's texts, which ``spell`` makes as the database does."""
    number = int.from_bytes
    if len(spell) == 1:
        (only,) = spell
        return lambda key: number(algorithm((only(key[0]) or "").encode()).digest()[:5], "big")

    def digest(key: Row) -> int:
        whole = "\x1f".join([f(v) or "" for f, v in zip(spell, key, strict=True)])
        return number(algorithm(whole.encode()).digest()[:5], "big")

    return digest


def keyed(schema: TableSchema, key: Sequence[str], where: str) -> TableSchema:
    """``schema`` with these columns as its key. Raises ConfigError, naming the option ``where``, for a
    column that is not there."""
    missing = [name for name in key if name not in schema.names]
    if missing:
        raise ConfigError(f"{where}: there is no column {', '.join(missing)} in {schema.table}")
    place = {name: i for i, name in enumerate(key)}
    columns = tuple(replace(c, key=place.get(c.name)) for c in schema.columns)
    return TableSchema(schema.dialect, schema.database, schema.schema, schema.table, columns)
