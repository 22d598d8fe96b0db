"""Reading a SQLite file by asking. What its values are to us is :mod:`connectors.sqlite.values`' business."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from connectors.sql import spelling
from connectors.sql.clock import wall
from connectors.sql.reader import Access, Reader, Selected, SourceTable, UnknownShape, digester
from connectors.sql.sink.bookkeeping import is_bookkeeping
from connectors.sql.statements import load
from connectors.sqlite import types, values
from connectors.sqlite.dialect import PATIENCE, RETRYABLE, path_of
from liberator.errors import DecodeError, SourceError
from liberator.event import Row
from liberator.patterns import Patterns
from liberator.schema import Column, Kind, TableSchema

if TYPE_CHECKING:
    from connectors.sql.horizon import Horizons

_SQL = load("connectors.sqlite", "reader.sql")
#: How many of SQLite's own steps pass between two looks at the clock.
_STEPS = 20_000


class SqliteReader(Reader):
    """One connection to one SQLite file, which must exist."""

    clock: ClassVar[str] = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

    def __init__(self, url: str, application: str = "liberator"):
        super().__init__(url, application)
        self.name = "sqlite"
        self.path = path_of(url)
        self._conn: sqlite3.Connection | None = None
        self._limit = 0.0
        self._due = 0.0

    # -- the connection ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the file; a missing one is an error, not created."""
        self.close()
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        with translated(f"open {self.path}"):
            try:
                self._conn = self._open(uri)
            except sqlite3.OperationalError:
                self._conn = self._open(uri.replace("mode=rw", "mode=ro"))
            self._conn.execute("pragma foreign_keys = on")
            self._conn.execute("select count(*) from sqlite_master").fetchone()

    def _open(self, uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)

    def close(self) -> None:
        """Close the file."""
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()

    @property
    def conn(self) -> sqlite3.Connection:
        """The driver's connection."""
        if self._conn is None:
            raise SourceError(f"{self.path} is not open", retryable=True)
        return self._conn

    @property
    def database(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @property
    def replica(self) -> bool:
        """Never: a file has its writers with it."""
        return False

    def identity(self) -> str:
        """The file's own number and its place."""
        with translated(f"look at {self.path}"):
            return f"{self.path.stat().st_ino}"

    def limit(self, seconds: float) -> None:
        """By a progress handler that looks at the clock."""
        self._limit = seconds
        self.conn.set_progress_handler(self._overdue if seconds else None, _STEPS)

    def _overdue(self) -> bool:
        return time.monotonic() > self._due

    # -- what there is -----------------------------------------------------------------------------

    def tables(self, views: bool = False) -> list[SourceTable]:
        """Tables of the schema ``main``, the only one."""
        found = self.fetch(_SQL["tables"])
        return [SourceTable("main", name, kind == "view") for name, kind in found if views or kind == "table"]

    def chosen(self, patterns: Sequence[str], where: str, views: bool = False) -> list[SourceTable]:
        """Patterns match ``main.table`` or, as there is one schema only, the table's name alone."""
        takes = Patterns([p for p in patterns if not p.startswith("!")] or ["*"])
        leaves_out = [p[1:] for p in patterns if p.startswith("!")]
        out = Patterns(leaves_out) if leaves_out else None

        def matches(wanted: Patterns, table: SourceTable) -> bool:
            return wanted(table.name) or wanted(table.full_name)

        found = [
            t
            for t in self.tables(views)
            if matches(takes, t)
            and not (out and matches(out, t))
            and not is_bookkeeping(t.name, t.full_name, patterns)
        ]
        return found or super().chosen(patterns, where, views)

    def describe(self, table: SourceTable) -> TableSchema | None:
        """From ``pragma table_xinfo``."""
        columns = self._columns(table.name)
        if not columns:
            return None
        return TableSchema(self.name, self.database, "main", table.name, tuple(columns))

    def _columns(self, table: str) -> list[Column]:
        out = []
        for name, declared, not_null, default, pk, hidden in self.fetch(
            _SQL["columns"].replace("$table", self.text(table))
        ):
            # The rowid itself, and only it, is never null without being declared so.
            rowid = pk == 1 and declared.upper() == "INTEGER"
            out.append(
                Column(
                    name,
                    values.logical(declared),
                    nullable=not (not_null or rowid),
                    key=pk - 1 if pk else None,
                    native=declared,
                    default=default,
                    generated=hidden in (2, 3),
                )
            )
        return out

    def describe_query(self, name: str, sql: str) -> TableSchema:
        """As a temporary view, whose columns have the declared types of what they come from."""
        view = self.quote("liberator_described")
        self.execute(f"create temp view {view} as {sql}")
        try:
            columns = self._columns("liberator_described")
        finally:
            self.execute(f"drop view temp.{view}")
        return TableSchema(self.name, self.database, "query", name, tuple(columns))

    # -- rows --------------------------------------------------------------------------------------

    def select(
        self, sql: str, schema: TableSchema, budget: int = 1 << 30, places: Sequence[int] = ()
    ) -> Selected:
        """Some hundred rows at a time, until ``budget`` is used up."""
        decode = _decoder(schema)
        raw: list[tuple[Any, ...]] = []
        whole = True
        with translated(f"read {schema.schema}.{schema.table}"):
            self._due = time.monotonic() + self._limit
            cursor = self.conn.execute(sql)
            while part := cursor.fetchmany(500):
                raw += part
                budget -= sum(_size(row) for row in part)
                if budget < 0:
                    whole = cursor.fetchone() is None
                    break
            cursor.close()
        if raw and len(raw[0]) != len(schema.columns):
            raise UnknownShape(f"{schema.schema}.{schema.table} is not what it was")
        try:
            rows = decode(raw)
        except DecodeError as exc:
            raise DecodeError(f"table {schema.table}: {exc}", hint=exc.hint) from None
        last = tuple(_literal(raw[-1][i]) for i in places) if raw else ()
        return Selected(rows, whole, last)

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows."""
        with translated("ask sqlite"):
            self._due = time.monotonic() + self._limit
            return self.conn.execute(sql).fetchall()

    def execute(self, sql: str) -> int:
        """Run a statement."""
        with translated("run a statement at sqlite"):
            self._due = time.monotonic() + self._limit
            return self.conn.execute(sql).rowcount

    @contextmanager
    def transaction(self, access: Access = "read") -> Iterator[None]:
        """``begin`` to read, ``begin immediate`` to write: one that starts by reading cannot always write."""
        self.execute("begin" if access == "read" else "begin immediate")
        try:
            yield
        except BaseException:
            if self._conn is not None and self._conn.in_transaction:
                self._conn.execute("rollback")
            raise
        self.execute("commit")

    def now(self) -> int:
        """This machine's clock, which is the one that SQLite's functions show."""
        return time.time_ns() // 1000

    # -- spelling ----------------------------------------------------------------------------------

    def quote(self, *names: str) -> str:
        """``"table"``."""
        return ".".join('"' + name.replace('"', '""') + '"' for name in names)

    def text(self, text: str) -> str:
        """``'text'``."""
        return values.literal(text)

    def literal(self, value: Any, column: Column) -> str:
        """As a sink of ours would store it."""
        if value is None:
            return "null"
        if column.type.kind is Kind.NATIVE:
            return str(value)
        convert = types.converter(column.type)
        return _literal(convert(value) if convert else value)

    def instant(self, micros: int, column: Column, zone: str = "UTC") -> str:
        """As ``current_timestamp`` spells it, cut off to seconds as it does it."""
        return self.text(spelling.timestamp(wall(micros, zone) // 1_000_000 * 1_000_000))

    def digest(self, columns: Sequence[Column]) -> str:
        """By a function of ours."""
        digest = self.digester(columns)
        self.conn.create_function(
            "liberator_digest", len(columns), lambda *key: digest(key), deterministic=True
        )
        return f"liberator_digest({', '.join(self.quote(c.name) for c in columns)})"

    def digester(self, columns: Sequence[Column]) -> Callable[[Row], int]:
        """The first 40 bits of the md5 of the values' literals."""
        return digester([_literal] * len(columns))

    # -- what is settled ---------------------------------------------------------------------------

    def horizons(self) -> Horizons:
        """See :mod:`connectors.sqlite.horizon`."""
        from connectors.sqlite.horizon import SqliteHorizons

        return SqliteHorizons(self)


def _literal(value: Any) -> str:
    return "null" if value is None else values.literal(value)


def _size(row: tuple[Any, ...]) -> int:
    return sum(len(v) if type(v) in (str, bytes) else 8 for v in row)


@lru_cache(64)
def _decoder(schema: TableSchema) -> Callable[[list[tuple[Any, ...]]], list[Row]]:
    """A generated function from the driver's rows to physical ones."""
    names: dict[str, Any] = {}
    cells = []
    for i, column in enumerate(schema.columns):
        names[f"f{i}"] = values.decoder(column)
        usual = _USUAL.get(column.type.kind)
        plain = f"type(v{i}) is {usual} or " if usual else ""
        cells.append(f"v{i} if {plain}v{i} is None else f{i}(v{i})")
    targets = ", ".join(f"v{i}" for i in range(len(schema.columns)))
    source = f"lambda rows: [({', '.join(cells)},) for {targets}, in rows]"
    made: Callable[[list[tuple[Any, ...]]], list[Row]] = eval(source, names)
    return made


_USUAL = {
    Kind.INT64: "int", Kind.STRING: "str", Kind.BYTES: "bytes", Kind.FLOAT64: "float", Kind.JSON: "str",
    Kind.BITS: "str",
}  # fmt: skip


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", None)
        text = str(exc)
        if text.startswith("Could not decode"):
            # The message holds the value.
            raise SourceError(
                f"cannot {action}: a text is not UTF-8", hint="cast the column to blob in a query"
            ) from None
        retryable = code is not None and (code & 0xFF in RETRYABLE or code & 0xFF == 9)
        raise SourceError(f"cannot {action}: {text}", retryable=retryable) from exc
