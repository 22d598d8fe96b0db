"""A laboratory for types: values go into a real Postgres and come back as the product reads them.

Through the stream (pgoutput, by ``pg_logical_slot_get_binary_changes``) and through ``copy``, each with
the database's own text and binary form of the value beside it, to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from connectors.postgres.connection import SESSION
from connectors.postgres.types.copying import compile_block_decoder, compile_copy_decoder
from connectors.postgres.types.native import TypeCatalog
from connectors.postgres.wal import pgoutput
from connectors.postgres.wal.rows import RelationDecoder
from liberator.schema import Column, LogicalType, TableSchema
from tests.typetext import same

#: What the output function prints: a cast to text is not always that (blanks cut off, a word for t).
_PRINTED = "case when v is distinct from null then format('%s', v) end"

EXTENSIONS = ("hstore", "citext", "ltree", "vector", "cube", "seg", "isn", "intarray")


@dataclass
class Read:
    """Values of one column: what the database says, what stream and copy gave."""

    type: LogicalType
    native: str
    texts: list[str | None]
    stream: list[Any]
    copied: list[Any]


class Lab:
    """One database with a slot; ``read`` sends values of a type through it."""

    def __init__(self, url: str, extensions: Sequence[str] = ()):
        options = " ".join(
            f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in SESSION.items()
        )
        self.connection = psycopg.connect(url, autocommit=True, options=options)
        self.version = self.connection.info.server_version
        for name in extensions:
            if self.execute("select from pg_available_extensions where name = %s", [name]):
                self.execute(f'create extension "{name}" cascade')
        self.execute("create publication p for all tables")
        self.execute("select pg_create_logical_replication_slot(current_database()::name, 'pgoutput')")
        self.catalog = TypeCatalog.load(self.connection)
        self._tables: dict[str, str] = {}

    def close(self) -> None:
        self.connection.close()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(sql.encode(), params or None)
        return cursor.fetchall() if cursor.description else []

    def messages(self) -> list[bytes]:
        """What the slot has not given yet."""
        rows = self.execute(
            "select data from pg_logical_slot_get_binary_changes(current_database()::name, null, null,"
            " 'proto_version', '1', 'publication_names', 'p', 'messages', 'true')"
            if self.version >= 140000
            else "select data from pg_logical_slot_get_binary_changes(current_database()::name, null, null,"
            " 'proto_version', '1', 'publication_names', 'p')"
        )
        return [data for (data,) in rows]

    def schema(self, relation: pgoutput.Relation) -> TableSchema:
        """The schema for a relation message, as the source makes it."""
        columns = []
        for column in relation.columns:
            type_, native = self.catalog.resolve(self.connection, column.type_oid, column.typmod)
            columns.append(Column(column.name, type_, native=native))
        return TableSchema("postgresql", "test", relation.namespace, relation.name, tuple(columns))

    def table(self, type_name: str) -> str:
        """A table with a column ``v`` of the type, made at its first use."""
        if type_name not in self._tables:
            name = f"t{len(self._tables)}"
            self.execute(f"create table {name} (id int primary key, v {type_name})")
            self._tables[type_name] = name
        return self._tables[type_name]

    def read(self, type_name: str, values: Sequence[str | None]) -> Read:
        """Insert the values, given as text, and read them back both ways."""
        table = self.table(type_name)
        self.execute(f"truncate {table}")
        self.messages()
        self.execute(
            f"insert into {table} select o, x::{type_name} from unnest(%s::text[]) with ordinality u (x, o)",
            [list(values)],
        )
        texts = [text for (text,) in self.execute(f"select {_PRINTED} from {table} order by id")]
        schema, stream = None, []
        for data in self.messages():
            if data[:1] == b"R":
                relation = pgoutput.parse(data)
                assert isinstance(relation, pgoutput.Relation)
                schema = self.schema(relation)
                decoder = RelationDecoder(schema, [c.key for c in relation.columns])
            elif data[:1] == b"I":
                stream.append(decoder.insert(data, 0))
        assert schema is not None
        stream.sort()
        column = schema.columns[1]
        copied = self.copied(schema, table)
        assert [row[0] for row in copied] == [row[0] for row in stream]
        return Read(column.type, column.native, texts, [r[1] for r in stream], [r[1] for r in copied])

    def copied(self, schema: TableSchema, table: str) -> list[tuple[Any, ...]]:
        """All rows of a table through ``copy``."""
        decode = compile_copy_decoder(schema)
        names = ", ".join(f'"{c.name}"' for c in schema.columns)
        with (
            self.connection.cursor() as cursor,
            cursor.copy(f"copy (select {names} from {table} order by id) to stdout".encode()) as copy,
        ):
            lines = [bytes(line) for line in copy]
        rows = [decode(line) for line in lines]
        assert same(tuple(compile_block_decoder(schema)(b"".join(lines))), tuple(rows))
        return rows
