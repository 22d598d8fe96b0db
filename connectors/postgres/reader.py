"""Reading a Postgres database by asking: tables and views, selects through ``copy``, literals.

Rows come as the lines of ``copy (select …) to stdout``, decoded by :mod:`connectors.postgres.types.copying`,
which parses a column's text with the functions that the WAL source uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg

from connectors.postgres import copy_out
from connectors.postgres.catalog import Catalog, Table, all_tables
from connectors.postgres.connection import Connection, connect, literal, quote, translate
from connectors.postgres.types import text as pg_text
from connectors.postgres.types.copying import compile_block_decoder
from connectors.postgres.types.escapes import unescape
from connectors.postgres.types.values import UnknownLabel
from connectors.sql import spelling
from connectors.sql.clock import wall
from connectors.sql.reader import Access, Reader, Selected, SourceTable, UnknownShape, digester
from connectors.sql.sink.table import TargetColumn
from connectors.sql.statements import load
from liberator.errors import DecodeError, SourceError
from liberator.event import Row
from liberator.schema import Column, Kind, TableSchema
from liberator.source import Managed

if TYPE_CHECKING:
    from connectors.sql.horizon import Horizons

_SQL = load("connectors.postgres", "reader.sql")
_HASH_BITS = 40
_INTEGERS = {Kind.INT16, Kind.INT32, Kind.INT64}


class PostgresReader(Reader):
    """One connection to one Postgres database (13 to 18)."""

    transactional_ddl: ClassVar[bool] = True
    limits_first: ClassVar[bool] = True
    clock: ClassVar[str] = "clock_timestamp()"
    longest_name: ClassVar[int | None] = 63

    def __init__(self, url: str, application: str = "liberator"):
        super().__init__(url, application)
        self.name = pg_text.NAME
        self._conn: Connection | None = None
        self._catalog: Catalog | None = None
        self._database = ""
        self._ahead: str | None = None  # the select whose rows the server is sending

    # -- the connection ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect with the session settings that the type functions rely on."""
        self.close()
        self._conn = connect(self.url, self.application)
        self._database = self.fetch("select current_database()")[0][0]

    def close(self) -> None:
        """Close the connection."""
        conn, self._conn, self._catalog, self._ahead = self._conn, None, None, None
        if conn is not None:
            conn.close()

    @property
    def conn(self) -> Connection:
        """The driver's connection; whoever wants it ends what it was asked for ahead."""
        if self._conn is None or self._conn.closed:
            raise SourceError("the connection to postgres is closed", retryable=True)
        if self._ahead is not None:
            self._ahead = None
            with suppress(psycopg.Error):
                copy_out.drop(self._conn.pgconn)
        return self._conn

    @property
    def database(self) -> str:
        """The database's name."""
        return self._database

    @property
    def version(self) -> int:
        """As ``server_version_num``: 180001."""
        return self.conn.info.server_version

    @property
    def replica(self) -> bool:
        """Whether the server is a standby."""
        found: bool = self.fetch("select pg_is_in_recovery()")[0][0]
        return found

    def identity(self) -> str:
        """The system identifier, which physical copies share, and the database's oid."""
        (found,) = self.fetch(
            "select (select system_identifier from pg_control_system())::text || '/' || oid"
            " from pg_database where datname = current_database()"
        )
        return str(found[0])

    def limit(self, seconds: float) -> None:
        """``statement_timeout``."""
        self.execute(f"set statement_timeout = {round(seconds * 1000)}")

    # -- what there is -----------------------------------------------------------------------------

    def tables(self, views: bool = False) -> list[SourceTable]:
        """Tables, partitioned ones as one; views, materialized views and foreign tables if asked for."""
        with translate("read the catalog"):
            found = [SourceTable(t.schema, t.name, False, t.estimate) for t in self._tables()]
            if views:
                found += [SourceTable(schema, name, True) for _, schema, name in self.fetch(_SQL["views"])]
        return found

    def _tables(self) -> list[Table]:
        tables = all_tables(self.conn)
        oids = {t.oid for t in tables}
        return [t for t in tables if not any(a in oids for a in t.ancestors)]

    def describe(self, table: SourceTable) -> TableSchema | None:
        """From the catalog, as the WAL source does it; a view has no key."""
        with translate(f"read the catalog for {table.full_name}"):
            if table.view:
                place = (table.schema, table.name)
                oids = [oid for oid, *name in self.fetch(_SQL["views"]) if tuple(name) == place]
                found = [Table(oid, *place, "v", "n", (), (), 0, False, False) for oid in oids]
            else:
                found = [t for t in all_tables(self.conn) if t.full_name == table.full_name]
            return self.catalog.schemas(found).get(found[0].oid) if found else None

    def describe_query(self, name: str, sql: str) -> TableSchema:
        """By asking for no row."""
        with translate(f"describe the query {name}"), self.conn.cursor() as cursor:
            cursor.execute(f"select * from ({sql}) as q limit 0".encode())
            result = cursor.pgresult
            assert result is not None
            columns = []
            for i in range(result.nfields):
                label = (result.fname(i) or b"").decode()
                logical, native = self.catalog.types.resolve(self.conn, result.ftype(i), result.fmod(i))
                columns.append(Column(label, logical, native=native))
        return TableSchema(self.name, self._database, "query", name, tuple(columns))

    @property
    def catalog(self) -> Catalog:
        """The catalog over this connection."""
        if self._catalog is None:
            self._catalog = Catalog(self.conn, self._database, generated=self.version >= 180000)
        return self._catalog

    # -- rows --------------------------------------------------------------------------------------

    def select(
        self, sql: str, schema: TableSchema, budget: int = 1 << 30, places: Sequence[int] = ()
    ) -> Selected:
        """Through ``copy``."""
        with translate(f"read {schema.schema}.{schema.table}"):
            try:
                lines, whole = self._copy(sql, budget)
            except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as exc:
                raise UnknownShape(f"{schema.schema}.{schema.table} is not what it was") from exc
        decode = compile_block_decoder(schema)
        try:
            last = _literals(lines[-1], schema, places) if lines and places else ()
            return Selected(decode(b"".join(lines)), whole, last)
        except UnknownLabel as exc:
            self._catalog = None
            raise UnknownShape(f"{schema.schema}.{schema.table} has a new enum label") from exc
        except DecodeError as exc:
            # A column's type was changed between the catalog and the select.
            self._catalog = None
            raise UnknownShape(f"{schema.schema}.{schema.table} cannot be decoded: {exc}") from exc

    def ahead(self, sql: str) -> None:
        """Begin the ``copy``; the kernel, or the server, keeps its lines until they are asked for."""
        # What is wrong with it, ``select`` will say.
        with suppress(psycopg.Error):
            copy_out.start(self.conn.pgconn, sql)
            self._ahead = sql

    def _copy(self, sql: str, budget: int) -> copy_out.Lines:
        if sql == self._ahead:
            self._ahead = None
            # If it failed, perhaps only because it waited for us longer than a statement may take.
            with suppress(psycopg.Error):
                return copy_out.take(self.conn.pgconn, budget)
        copy_out.start(self.conn.pgconn, sql)
        return copy_out.take(self.conn.pgconn, budget)

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows, with psycopg's values."""
        with translate("ask postgres"), self.conn.cursor() as cursor:
            return cursor.execute(sql.encode()).fetchall()

    def execute(self, sql: str) -> int:
        """Run a statement."""
        with translate("run a statement at postgres"), self.conn.cursor() as cursor:
            return cursor.execute(sql.encode()).rowcount

    @contextmanager
    def transaction(self, access: Access = "read") -> Iterator[None]:
        """``repeatable read read only`` to read, ``read committed`` to write."""
        self.execute("begin isolation level repeatable read read only" if access == "read" else "begin")
        try:
            yield
        except BaseException:
            if self._conn is not None and not self._conn.closed:
                self._conn.execute("rollback")
            raise
        self.execute("commit")

    def now(self) -> int:
        """``clock_timestamp()``."""
        (found,) = self.fetch("select (extract(epoch from clock_timestamp()) * 1000000)::int8")
        return int(found[0])

    # -- spelling ----------------------------------------------------------------------------------

    def quote(self, *names: str) -> str:
        """``"schema"."table"``."""
        return quote(*names)

    def text(self, text: str) -> str:
        """``'text'``, with an E where it has a backslash."""
        return literal(text)

    def literal(self, value: Any, column: Column) -> str:
        """The text that Postgres reads, cast to the column's own type."""
        if value is None:
            return f"null::{column.native}"
        return f"{literal(_speller(column)(value) or '')}::{column.native}"

    def instant(self, micros: int, column: Column, zone: str = "UTC") -> str:
        """The cast rounds to the column's precision as the writer's did."""
        if column.type.kind is Kind.TIMESTAMPTZ:
            return f"{literal(spelling.timestamp(micros, '+00'))}::{column.native}"
        return f"{literal(spelling.timestamp(wall(micros, zone)))}::{column.native}"

    def digest(self, columns: Sequence[Column]) -> str:
        """The first 40 bits of the md5 of the columns' texts."""
        parts = ", chr(31), ".join(f"{quote(c.name)}::text" for c in columns)
        return f"('x' || substr(md5(concat({parts})), 1, {_HASH_BITS // 4}))::bit({_HASH_BITS})::int8"

    def digester(self, columns: Sequence[Column]) -> Callable[[Row], int]:
        """The same here, over the text that Postgres itself prints for these types."""
        return digester([str if c.type.kind in _INTEGERS else _speller(c) for c in columns])

    # -- what is settled ---------------------------------------------------------------------------

    def commit_column(self, table: SourceTable, column: str) -> list[Managed]:
        """See :mod:`connectors.postgres.commit_column`."""
        from connectors.postgres.commit_column import managed

        return managed(self, table, column)

    def horizons(self) -> Horizons:
        """See :mod:`connectors.postgres.horizon`."""
        from connectors.postgres.horizon import PostgresHorizons

        return PostgresHorizons(self)


def _literals(line: bytes, schema: TableSchema, places: Sequence[int]) -> tuple[str, ...]:
    """Some columns of a line of ``copy``, as literals."""
    fields = line.removesuffix(b"\n").split(b"\t")
    out = []
    for i in places:
        native, field = schema.columns[i].native, fields[i]
        text = "null" if field == b"\\N" else literal(unescape(field.decode()))
        out.append(f"{text}::{native}")
    return tuple(out)


@lru_cache(256)
def _speller(column: Column) -> Callable[[Any], str | None]:
    return pg_text.converter(TargetColumn(column.name, column.native, 0, column), pg_text.NAME, False)
