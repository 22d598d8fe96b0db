"""A laboratory for types: values go into a real MySQL or MariaDB and come back as the product reads them.

Through the stream (rows events, asked for by COM_BINLOG_DUMP) and through a ``select`` (its raw packets),
each with the server's own text beside it, to compare with.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymysql.constants import COMMAND

from connectors.mysql.binary_rows import BinaryRows, select_list
from connectors.mysql.result import ResultColumn, from_result, parse_column_definition
from connectors.mysql.results import BinaryResult
from connectors.mysql.rows import RowsDecoder
from connectors.mysql.table_map import TableMap
from connectors.mysql.text_rows import SESSION, TextRows
from connectors.mysql.types import DEFAULTS, CatalogColumn, TypeOptions, from_catalog, from_table_map
from connectors.mysql.wire import kinds
from liberator.schema import Column
from tests.fix_mysql import connected

WRITES = (kinds.WRITE_ROWS, kinds.WRITE_ROWS_V1)
UPDATES = (kinds.UPDATE_ROWS, kinds.UPDATE_ROWS_V1, kinds.PARTIAL_UPDATE_ROWS)
DELETES = (kinds.DELETE_ROWS, kinds.DELETE_ROWS_V1)
#: Of tables.
NUMBERS = itertools.count()
COLUMNS = """
select column_name, column_type, character_set_name, is_nullable = 'YES', column_key = 'PRI', column_default,
       extra
from information_schema.columns where table_schema = database() and table_name = %s order by ordinal_position
"""


@dataclass
class Read:
    """Values of one column: what catalog and binlog say of it, the server's text, stream and select."""

    column: Column
    mapped: Column
    texts: list[Any]
    stream: list[Any]
    selected: list[Any]


class Lab:
    """One database; ``read`` sends values of a type through it."""

    def __init__(self, url: str, options: TypeOptions = DEFAULTS):
        self.url = url
        self.options = options
        self.connection = connected(url).thing
        self.execute("set " + ", ".join(f"{name} = {value}" for name, value in SESSION.items()))
        (self.version,) = self.execute("select version()")[0]
        self.mariadb = "MariaDB" in self.version

    def close(self) -> None:
        self.connection.close()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> tuple[tuple[Any, ...], ...]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return cursor.fetchall()

    def mark(self) -> tuple[str, int]:
        """Where the binlog ends now."""
        old = self.mariadb or tuple(map(int, self.version.split("-")[0].split(".")[:2])) < (8, 2)
        file, position = self.execute("show master status" if old else "show binary log status")[0][:2]
        return file, position

    def events(self, mark: tuple[str, int]) -> Iterator[tuple[int, bytes]]:
        """Kind and body of each event since ``mark``."""
        with connected(self.url) as conn:
            with conn.cursor() as cursor:
                cursor.execute("set @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'")
                cursor.execute("set @mariadb_slave_capability = 4")
            file, position = mark
            conn._execute_command(
                COMMAND.COM_BINLOG_DUMP, struct.pack("<IHI", position, 1, 4711) + file.encode()
            )
            while True:
                payload = conn._read_packet()._data
                if payload[0] == 0xFE and len(payload) < 9:
                    return
                yield payload[5], payload[20:-4]

    def changes(
        self, mark: tuple[str, int], known: Mapping[str, Sequence[Column]] | None = None
    ) -> Iterator[tuple[int, TableMap, list[Any]]]:
        """Kind, table map and decoded rows of each rows event since ``mark``."""
        for kind, body in self.events(mark):
            if kind == kinds.TABLE_MAP:
                table = TableMap.parse(body, mariadb=self.mariadb)
                decoder = RowsDecoder(
                    table,
                    from_table_map(table, (known or {}).get(table.table, ()), self.options),
                    self.options,
                )
            elif kind in WRITES + DELETES:
                yield kind, table, decoder.rows(kind, body, 0, len(body))
            elif kind in UPDATES:
                yield kind, table, list(decoder.changes(kind, body, 0, len(body)))

    def catalog(self, table: str, json: Sequence[str] = ()) -> tuple[Column, ...]:
        """The table's columns as the catalog has them; ``json`` names those of MariaDB that are JSON."""
        rows = [
            CatalogColumn(
                name, type_, charset, bool(nullable), 0 if key else None,
                default.decode() if isinstance(default, bytes) else default, extra, name in json,
                self.mariadb,
            )
            for name, type_, charset, nullable, key, default, extra in self.execute(COLUMNS, [table])
        ]  # fmt: skip
        return from_catalog(rows, self.options)

    def packets(self, sql: str) -> tuple[list[ResultColumn], bytes]:
        """The column definitions of a query, and the raw packets of its rows."""
        conn = self.connection
        conn._execute_command(COMMAND.COM_QUERY, sql)
        count = conn._read_packet()._data[0]
        columns = [parse_column_definition(conn._read_packet()._data) for _ in range(count)]
        assert conn._read_packet().is_eof_packet()
        block = []
        while True:
            header = conn._read_bytes(4)
            payload = conn._read_bytes(int.from_bytes(header[:3], "little"))
            conn._next_seq_id = (header[3] + 1) % 256
            block += [header, payload]
            if payload[:1] == b"\xfe" and len(payload) < 9:
                return columns, b"".join(block)

    def select(self, table: str, columns: Sequence[Column]) -> list[tuple[Any, ...]]:
        """All rows as a snapshot reads them, and as a query does: the values are the very same."""
        prepared = self.prepared(table, columns)
        assert repr(prepared) == repr(self.printed(table, columns))
        return prepared

    def printed(self, table: str, columns: Sequence[Column]) -> list[tuple[Any, ...]]:
        """All rows through a query."""
        rows = TextRows(columns, self.options)
        _, block = self.packets(f"select {', '.join(rows.select)} from {table} order by id")
        out, end = rows.decode(block)
        assert len(block) - end < 13, "something is left"
        return out

    def prepared(self, table: str, columns: Sequence[Column]) -> list[tuple[Any, ...]]:
        """All rows through a prepared statement, by generated code and by the plain reader alike."""
        sql = f"select {', '.join(select_list(columns))} from {table} order by id"
        result = BinaryResult(self.connection, sql)
        rows = BinaryRows(columns, result.definitions, self.options)
        block, starts, whole = result.read(1 << 30)
        assert whole
        out = rows.decode_all(block)
        ends = [*starts[1:], len(block)]
        plain = [rows.row(block[start + 4 : end]) for start, end in zip(starts, ends, strict=True)]
        assert repr(plain) == repr(out)
        return out

    def query(self, sql: str) -> tuple[tuple[Column, ...], list[tuple[Any, ...]]]:
        """Columns and rows of a query, as its result describes itself."""
        found, block = self.packets(sql)
        columns = tuple(from_result(column, self.options) for column in found)
        return columns, TextRows(columns, self.options).decode(block)[0]

    def table(self, *columns: str, tail: str = "") -> str:
        """A new table of these columns behind an ``id``."""
        name = f"t{next(NUMBERS)}"
        self.execute(f"create table {name} (id int primary key auto_increment, {', '.join(columns)}) {tail}")
        return name

    def read(self, type_name: str, values: Sequence[str]) -> Read:
        """Insert the values, given as SQL, and read them back both ways."""
        return self.read_all({type_name: values})[type_name]

    def read_all(self, cases: Mapping[str, Sequence[str]]) -> dict[str, Read]:
        """The same for the values of many types, through one reading of the binlog."""
        tables = {type_name: self.table(f"v {type_name}") for type_name in cases}
        mark = self.mark()
        for type_name, values in cases.items():
            rows = ", ".join(f"({value})" for value in values)
            self.execute(f"insert ignore into {tables[type_name]} (v) values {rows}")
        known = {
            table: self.catalog(table, ["v"] if type_name == "json" else ())
            for type_name, table in tables.items()
        }
        stream: dict[str, list[tuple[Any, ...]]] = {table: [] for table in known}
        maps = {}
        for _, table, decoded in self.changes(mark, known):
            stream[table.table] += decoded
            maps[table.table] = table
        return {
            type_name: self._compared(maps[table], known[table], stream[table], len(cases[type_name]))
            for type_name, table in tables.items()
        }

    def _compared(
        self, mapped: TableMap, known: Sequence[Column], stream: list[tuple[Any, ...]], count: int
    ) -> Read:
        texts = [text for _, text in self.plain(f"select id, v from {mapped.table} order by id")]
        selected = self.select(mapped.table, known)
        assert [row[0] for row in selected] == [row[0] for row in stream] == list(range(1, count + 1))
        own = from_table_map(mapped, (), self.options)
        return Read(known[1], own[1], texts, [row[1] for row in stream], [row[1] for row in selected])

    def plain(self, sql: str) -> list[tuple[bytes | None, ...]]:
        """A query's rows as the server prints them."""
        _, block = self.packets(sql)
        rows, at = [], 0
        while True:
            end = at + 4 + int.from_bytes(block[at : at + 3], "little")
            at += 4
            if block[at] == 0xFE and end - at < 9:
                return rows
            row: list[bytes | None] = []
            while at < end:
                length, at = block[at], at + 1
                if length == 251:
                    row.append(None)
                    continue
                if length > 251:
                    size = length - 250 if length < 254 else 8
                    length, at = int.from_bytes(block[at : at + size], "little"), at + size
                row.append(block[at : at + length])
                at += length
            rows.append(tuple(row))
