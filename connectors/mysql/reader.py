"""Reading a MySQL or MariaDB server by asking: tables and views, selects, literals.

Rows come as the packets of the text protocol, decoded by :mod:`connectors.mysql.text_rows` to the values that
the binlog source gives. A URL's database is where names without one are looked for; tables of all databases
that the account may see can be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import pymysql
from pymysql.connections import Connection

from connectors.mysql import catalog
from connectors.mysql.connection import Server, code, connect, literal, query, quote, translate
from connectors.mysql.native import TypeOptions
from connectors.mysql.result import described, from_result
from connectors.mysql.results import TextResult
from connectors.mysql.row_packets import ZeroDate
from connectors.mysql.sink import literals
from connectors.mysql.sink.column_types import Flavour
from connectors.mysql.text_rows import TextRows
from connectors.sql import spelling
from connectors.sql.clock import wall
from connectors.sql.reader import Access, Reader, Selected, SourceTable, UnknownShape, digester
from connectors.sql.sink.table import TargetColumn
from connectors.sql.statements import load
from liberator.errors import DecodeError, SourceError
from liberator.event import Row
from liberator.schema import Column, Kind, TableSchema

if TYPE_CHECKING:
    from connectors.sql.horizon import Horizons

_SQL = load("connectors.mysql", "reader.sql")
_HASH_BITS = 40
#: No such table, column; a view that refers to one.
_CHANGED = {1054, 1146, 1356}


class MysqlReader(Reader):
    """One connection to one MySQL (8.0 and later) or MariaDB (10.6 and later) server."""

    transactional_ddl: ClassVar[bool] = False
    clock: ClassVar[str] = "current_timestamp(6)"
    longest_name: ClassVar[int | None] = 64
    row_values: ClassVar[bool] = False

    def __init__(self, url: str, application: str = "liberator"):
        super().__init__(url, application)
        self.name = "mysql"
        self._conn: Connection[Any] | None = None
        self._server: Server | None = None
        self._catalog: catalog.Catalog | None = None
        self._database = ""

    # -- the connection ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect with the session settings that the type functions rely on."""
        self.close()
        self._conn = connect(self.url, self.application)
        self._server = Server.of(self._conn)
        self.name = self._server.flavour
        self.types = TypeOptions(self.zero_dates)
        self._catalog = catalog.Catalog(self._conn, self._server, self.types)
        self._database = self.fetch("select coalesce(database(), '')")[0][0]

    def close(self) -> None:
        """Close the connection."""
        conn, self._conn = self._conn, None
        if conn is not None and conn.open:
            conn.close()

    @property
    def conn(self) -> Connection[Any]:
        """The driver's connection."""
        if self._conn is None or not self._conn.open:
            raise SourceError("the connection to mysql is closed", retryable=True)
        return self._conn

    @property
    def server(self) -> Server:
        """Which kind of server it is."""
        assert self._server is not None, "not connected"
        return self._server

    @property
    def database(self) -> str:
        """The URL's database; empty if it names none."""
        return self._database

    @property
    def replica(self) -> bool:
        """Whether the server replicates from another, or says that it is read-only."""
        words = "all slaves" if self.server.mariadb else "replica"
        try:
            if self.fetch(f"show {words} status"):
                return True
        except SourceError:
            pass  # a privilege is missing
        (found,) = self.fetch("select @@global.read_only")
        return str(found[0]).upper() in ("1", "ON", "READ_ONLY")

    def identity(self) -> str:
        """The server's own number."""
        name = "server_uid" if self.server.mariadb else "server_uuid"
        found = self.fetch(f"show global variables like '{name}'")
        return str(found[0][1]) if found else str(self.fetch("select concat(@@hostname, @@datadir)")[0][0])

    def limit(self, seconds: float) -> None:
        """``max_execution_time`` or ``max_statement_time``."""
        if self.server.mariadb:
            self.execute(f"set session max_statement_time = {seconds:g}")
        else:
            self.execute(f"set session max_execution_time = {round(seconds * 1000)}")

    # -- what there is -----------------------------------------------------------------------------

    def tables(self, views: bool = False) -> list[SourceTable]:
        """Tables of all databases that are not the server's own; views if asked for."""
        with translate("read the catalog"):
            found = [SourceTable(t.schema, t.name, False, t.estimate) for t in catalog.all_tables(self.conn)]
        if views:
            found += [SourceTable(schema, name, True) for schema, name in self.fetch(_SQL["views"])]
        return found

    def describe(self, table: SourceTable) -> TableSchema | None:
        """From the catalog, as the binlog source does it."""
        assert self._catalog is not None, "not connected"
        with translate(f"read the catalog for {table.full_name}"):
            return self._catalog.schema(table.schema, table.name)

    def describe_query(self, name: str, sql: str) -> TableSchema:
        """By asking for no row."""
        with translate(f"describe the query {name}"), self.conn.cursor() as cursor:
            cursor.execute(f"select * from ({sql}) as q limit 0")
            result: Any = cursor._result
            columns = [from_result(described(field), self.types) for field in result.fields]
        return TableSchema(self.name, self._database, "query", name, tuple(columns))

    # -- rows --------------------------------------------------------------------------------------

    def listed(self, schema: TableSchema) -> str:
        """Each column in the form in which nothing of it is lost."""
        return ", ".join(_text_rows(schema, self.types).select)

    def select(
        self, sql: str, schema: TableSchema, budget: int = 1 << 30, places: Sequence[int] = ()
    ) -> Selected:
        """Packet by packet; what lies behind ``budget`` is read off and thrown away."""
        text = _text_rows(schema, self.types)
        name = f"{schema.schema}.{schema.table}"
        with translate(f"read {name}"):
            try:
                result = TextResult(self.conn, sql)
                data, starts, whole = result.read(budget)
                ended = whole
                while not ended:
                    ended = result.read(1 << 20)[2]
            except pymysql.MySQLError as exc:
                if code(exc) in _CHANGED:
                    raise UnknownShape(f"{name} is not what it was") from exc
                raise
        try:
            rows = text.decode_all(data[starts[0] :]) if starts else []
        except ZeroDate as exc:
            raise SourceError(f"cannot read {name}: {exc}", hint=exc.hint) from None
        except DecodeError as exc:
            raise UnknownShape(f"{name} cannot be decoded: {exc}") from exc
        last = tuple(self._place_literal(rows[-1][i], schema.columns[i]) for i in places) if rows else ()
        return Selected(rows, whole, last)

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows, with PyMySQL's values."""
        with translate("ask the server"):
            return query(self.conn, sql)

    def execute(self, sql: str) -> int:
        """Run a statement."""
        with translate("run a statement at the server"), self.conn.cursor() as cursor:
            return int(cursor.execute(sql))

    @contextmanager
    def transaction(self, access: Access = "read") -> Iterator[None]:
        """A consistent snapshot to read, ``read committed`` to write."""
        level = "repeatable read" if access == "read" else "read committed"
        self.execute(f"set transaction isolation level {level}")
        begin = "start transaction with consistent snapshot, read only"
        self.execute(begin if access == "read" else "start transaction")
        try:
            yield
        except BaseException:
            if self._conn is not None and self._conn.open:
                query(self._conn, "rollback")
            raise
        self.execute("commit")

    def now(self) -> int:
        """``utc_timestamp(6)``."""
        (found,) = self.fetch("select timestampdiff(microsecond, '1970-01-01', utc_timestamp(6))")
        return int(found[0])

    # -- spelling ----------------------------------------------------------------------------------

    def quote(self, *names: str) -> str:
        """```schema`.`table```."""
        return quote(*names)

    def text(self, text: str) -> str:
        """``'text'``: a backslash is nothing special in our sessions."""
        return literal(text)

    def literal(self, value: Any, column: Column) -> str:
        """See :mod:`connectors.mysql.sink.literals`."""
        if value is None:
            return "null"
        text = _speller(column, self.server.flavour, self.server.version)(value)
        if text is None:
            raise SourceError(f"column {column.name}: a value that cannot be spelled")
        return text

    def place(self, column: Column) -> str:
        """An enum by its index, in which order it is sorted."""
        name = quote(column.name)
        return f"{name} + 0" if column.type.kind is Kind.ENUM else name

    def _place_literal(self, value: Any, column: Column) -> str:
        if value is None:
            raise SourceError(
                f"column {column.name} has a value that is no place in an order, such as the date 0000-00-00",
                hint="leave such rows out by a query",
            )
        if column.type.kind is Kind.ENUM:
            return str(column.type.values.index(value) + 1 if value else 0)
        return self.literal(value, column)

    def instant(self, micros: int, column: Column, zone: str = "UTC") -> str:
        """Cut off to the column's digits, for one server rounds and the other cuts off."""
        shown = micros if column.type.kind is Kind.TIMESTAMPTZ else wall(micros, zone)
        unit = unit_of(column.native)
        return self.text(spelling.timestamp(shown // unit * unit))

    def digest(self, columns: Sequence[Column]) -> str:
        """The first 40 bits of the SHA-256 of the columns' texts: a newer MySQL has no ``md5()``."""
        parts = ", char(31), ".join(f"cast({quote(c.name)} as char)" for c in columns)
        return f"cast(conv(substr(sha2(concat({parts}), 256), 1, {_HASH_BITS // 4}), 16, 10) as unsigned)"

    def digester(self, columns: Sequence[Column]) -> Callable[[Row], int]:
        """The same here."""
        return digester([str] * len(columns), hashlib.sha256)

    # -- what is settled ---------------------------------------------------------------------------

    def horizons(self) -> Horizons:
        """See :mod:`connectors.mysql.horizon`."""
        from connectors.mysql.horizon import MysqlHorizons

        return MysqlHorizons(self)


def unit_of(native: str) -> int:
    """The distance of a temporal column's values, in microseconds."""
    if native == "date":
        return 86_400_000_000
    digits = native.partition("(")[2].partition(")")[0]
    return int(10 ** (6 - int(digits or 0)))


@lru_cache(64)
def _text_rows(schema: TableSchema, types: TypeOptions) -> TextRows:
    return TextRows(schema.columns, types)


@lru_cache(256)
def _speller(column: Column, flavour: str, version: tuple[int, ...]) -> Callable[[Any], str | None]:
    target = TargetColumn(column.name, column.native, 0, column)
    return literals.converter(target, Flavour(flavour, version))
