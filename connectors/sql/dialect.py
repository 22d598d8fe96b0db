"""What differs between SQL databases for a sink, in one object: names, types, statements, errors.

A :class:`Dialect` owns the connection to one target. Everything that is standard SQL is written once
in this package; the dialect says how identifiers are quoted, how a logical type is spelled, how physical
values become parameters, what a table looks like at the target, and how to insert-or-update. DDL may
commit implicitly (``transactional_ddl = False``); the sink then never runs it inside a batch.

What lives elsewhere: which tables and columns are wanted (:mod:`connectors.sql.sink.planner`), which rows
(:mod:`connectors.sql.sink.fold`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from liberator.errors import SinkError
from liberator.event import Row
from liberator.preflight import Finding
from liberator.schema import Column, LogicalType

if TYPE_CHECKING:
    from connectors.sql.sink.table import Table, TargetColumn
    from connectors.sql.sink.writer import Writer

#: Turns full rows into the parameters of a statement.
Encode = Callable[[Sequence[Row]], Sequence[Sequence[Any]]]
#: How an existing column suits a wanted one: as it is, after widening, or not at all.
Fit = Literal["fits", "widen", "differs"]


class Conflict(SinkError):
    """The target's own constraints (unique, foreign key) refused a statement; the order of statements
    may be to blame."""


class Unreadable(SinkError):
    """The target could not read a value; ``place`` is where it stood: a column, or ``$2``, a parameter,
    or ``c5``, a staged column; it may be something that nobody knows."""

    def __init__(self, message: str, place: str, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.place = place


class Missing(SinkError):
    """A row that must be at the target is not there."""


class TableName(NamedTuple):
    """A table at the target; ``schema`` is None where the database has no schemas."""

    schema: str | None
    table: str

    def __str__(self) -> str:
        return self.table if self.schema is None else f"{self.schema}.{self.table}"


class TargetType(NamedTuple):
    """A type as DDL spells it; ``loss`` says what it cannot hold, None where it holds everything."""

    sql: str
    loss: str | None = None


@dataclass(frozen=True, slots=True)
class ExistingColumn:
    """A column as the target's catalog has it. ``computed``: the target computes it, nobody writes it."""

    name: str
    type: str
    not_null: bool = False
    has_default: bool = False
    computed: bool = False


@dataclass(frozen=True, slots=True)
class Existing:
    """A table as the target's catalog has it.

    ``unique`` holds the column sets of its unique indexes that insert-or-update can rely on;
    ``primary`` the primary key's columns. ``parents`` are the tables that its foreign keys point to;
    ``referenced`` is True where other rows' foreign keys point here.
    """

    columns: dict[str, ExistingColumn]
    primary: frozenset[str] = frozenset()
    unique: frozenset[frozenset[str]] = frozenset()
    parents: frozenset[TableName] = frozenset()
    referenced: bool = False


class Dialect(ABC):
    """One kind of database as a target, with the connection to one of its databases."""

    #: The name that ``TableSchema.dialect`` uses for this kind of database.
    name: ClassVar[str]
    #: How many bytes, or characters, an identifier may have; None: as many as it likes.
    longest_name: ClassVar[int | None] = None
    #: Whether it is characters that are counted.
    counts_characters: ClassVar[bool] = False
    #: Whether tables live in schemas.
    has_schemas: ClassVar[bool] = False
    #: Whether DDL can be rolled back; if not, it must not be run after rows of the same batch.
    transactional_ddl: ClassVar[bool] = True
    #: The schema for tables whose name has none, known once connected; None without schemas.
    home: str | None = None
    #: A text type that can be a key, and one that has no limit.
    text_key: str = "text"
    long_text: ClassVar[str] = "text"
    #: What stands behind the type of a new column that may be null, and behind a new table.
    nullable: ClassVar[str] = ""
    table_options: str = ""

    @abstractmethod
    def connect(self, reading: bool = False) -> None:
        """Connect and set the session up. ``reading``: nothing is written, nothing created.

        Raises SinkError (retryable where it can help).
        """

    def begin(self) -> None:
        """Begin a writing transaction in which foreign keys are checked as late as they can be."""
        self.execute("begin")

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection; an open transaction is rolled back. Safe to call twice."""

    @abstractmethod
    def execute(self, sql: str, params: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        """Run one statement: the rows it returned and the number of rows it affected.

        Driver errors become SinkError without a cell value: Conflict for a violated constraint,
        retryable for deadlocks, serialization failures and lost connections.
        """

    @abstractmethod
    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run one statement for each row of parameters: the number of rows affected in all."""

    @abstractmethod
    def mark(self, number: int) -> str:
        """The placeholder of parameter ``number``, from 1."""

    @abstractmethod
    def describe(self, table: TableName) -> Existing | None:
        """The table as it is now, None where there is none."""

    @abstractmethod
    def type_of(self, column: Column, origin: str) -> TargetType:
        """The type for a column whose native type is spelled in the words of dialect ``origin``."""

    @abstractmethod
    def fit(self, existing: str, wanted: TargetType, column: Column) -> Fit:
        """How a column of type ``existing`` suits ``column``, for which ``wanted`` would be created."""

    @abstractmethod
    def alter(
        self, table: TableName, column: str, type_: str | None = None, logical: LogicalType | None = None
    ) -> None:
        """Let a column be null; with ``type_`` also give it this type, its values cast to ``logical``."""

    @abstractmethod
    def encoder(self, columns: Sequence[TargetColumn], origin: str, lossy: bool) -> Encode:
        """A compiled function from full rows to parameters for ``columns``. ``origin``: the dialect whose
        text an escape is. ``lossy``: a value that a column cannot hold becomes null, not a SinkError."""

    @abstractmethod
    def upsert(self, table: Table) -> str:
        """The statement that inserts a row or, where the key exists, updates it; parameters are the
        table's columns in order."""

    @abstractmethod
    def equal(self, left: str, right: str, type_: str) -> str:
        """A condition: two expressions of one column's type are equal, or both null."""

    @abstractmethod
    def erase(self, table: Table) -> str:
        """The statement that deletes exactly one row that equals its parameters, the table's columns in
        order; nulls are equal."""

    @abstractmethod
    def check(self) -> list[Finding]:
        """What hinders writing to this database; connects by itself, reads only."""

    def prepare(self, table: TableName, columns: Sequence[Column], origin: str) -> None:  # noqa: B027
        """Make what the columns' types need (a schema, enum types) before the table is looked at."""

    def captures(self, source: str, table: TableName) -> bool:
        """Whether the source called ``source`` captures this very table: what is written would come again."""
        return False

    def key_types(self, types: Sequence[str]) -> Sequence[str]:
        """The types of a primary key's columns, where those in a key have to be others."""
        return types

    def writer(self, table: Table, lossy: bool) -> Writer:
        """What writes rows of one table; a dialect with something faster returns its own."""
        from connectors.sql.sink.writer import Writer

        return Writer(self, table, lossy)

    def quote(self, name: str) -> str:
        """An identifier, always quoted."""
        return '"' + name.replace('"', '""') + '"'

    def quoted(self, table: TableName) -> str:
        """A table's quoted name."""
        name = self.quote(table.table)
        return name if table.schema is None else f"{self.quote(table.schema)}.{name}"

    def same(self, name: str) -> str:
        """``name`` in the form in which the database compares names of columns."""
        return name

    def same_table(self, name: str) -> str:
        """The same for names of tables."""
        return self.same(name)

    def spellable(self, name: str) -> str:
        """``name`` without the characters that the database has in no name, however it is quoted."""
        return name
