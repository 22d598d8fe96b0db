"""What a sink keeps at the target besides the data: its cursor, and which stream owns which table.

``liberator_cursors`` has one row per sink: the cursor, written in the transaction of the rows it stands
behind, and a generation. Opening a sink raises the generation, so that an older process which still
writes for the same name finds that its commit hits no row (fencing). ``liberator_tables`` has one row per
table: its stream, so that two streams that meet in one table are noticed even when they come in different
runs.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection

from connectors.sql.dialect import Dialect, TableName
from liberator.errors import SinkError
from liberator.log import Cursor
from liberator.source import Managed

CURSORS = "liberator_cursors"
TABLES = "liberator_tables"


def is_bookkeeping(name: str, full_name: str, patterns: Collection[str]) -> bool:
    """Whether a table, by its name and with its schema's, is a sink's own, and ``patterns`` do not name it in
    full. Sources leave it out then: each commit of a sink would be a change."""
    return name in (CURSORS, TABLES) and name not in patterns and full_name not in patterns


class Bookkeeping:
    """The bookkeeping of one sink, in the home of a connected dialect."""

    def __init__(self, dialect: Dialect, sink: str):
        self._dialect = dialect
        schema = dialect.home
        self._sink = sink
        self._names = {TableName(schema, CURSORS), TableName(schema, TABLES)}
        self._cursors = dialect.quoted(TableName(schema, CURSORS))
        self._tables = dialect.quoted(TableName(schema, TABLES))
        self._create = {
            TableName(schema, CURSORS): f"create table {self._cursors} (sink {dialect.text_key} not null "
            f"primary key, generation bigint not null, {dialect.quote('cursor')} {dialect.long_text}, "
            f"updated_at text){dialect.table_options}",
            TableName(schema, TABLES): f"create table {self._tables} (name {dialect.text_key} not null "
            f"primary key, sink text not null, topic text not null){dialect.table_options}",
        }
        self._generation = 0

    @property
    def names(self) -> set[TableName]:
        """The tables that are ours; no stream may have one of these names."""
        return self._names

    def create(self) -> list[Managed]:
        """Create what is missing; returns it as it was before."""
        missing = [o for o in self.objects() if o.state == "missing" and o.kind == "table"]
        if missing:
            self._dialect.prepare(TableName(self._dialect.home, CURSORS), (), "")
        for managed in missing:
            self._dialect.execute(managed.create)
        return missing

    def fence(self) -> Cursor | None:
        """Become the one process that writes for this sink; the stored cursor. Inside a transaction."""
        execute, mark = self._dialect.execute, self._dialect.mark
        found, _ = execute(
            f"select generation, {self._dialect.quote('cursor')} from {self._cursors} where sink = {mark(1)}",
            [self._sink],
        )
        if not found:
            self._generation = 1
            execute(
                f"insert into {self._cursors} (sink, generation, updated_at) "
                f"values ({mark(1)}, 1, {mark(2)})",
                [self._sink, _now()],
            )
            return None
        generation, cursor = found[0]
        self._generation = int(generation) + 1
        _, hit = execute(
            f"update {self._cursors} set generation = {mark(1)} where sink = {mark(2)} "
            f"and generation = {mark(3)}",
            [str(self._generation), self._sink, str(generation)],
        )
        if hit != 1:
            raise SinkError(f"sink {self._sink} is being opened by another process", retryable=True)
        return None if cursor is None else Cursor.from_json(json.loads(cursor))

    def store(self, cursor: Cursor) -> None:
        """Write the cursor, inside the transaction of the rows. Raises SinkError if we were fenced out."""
        mark = self._dialect.mark
        _, hit = self._dialect.execute(
            f"update {self._cursors} set {self._dialect.quote('cursor')} = {mark(1)}, "
            f"updated_at = {mark(2)} where sink = {mark(3)} and generation = {mark(4)}",
            [json.dumps(cursor.to_json()), _now(), self._sink, str(self._generation)],
        )
        if hit != 1:
            raise SinkError(
                f"another process has taken over sink {self._sink}; this one has written nothing since",
                hint="run one `liberator run` per sink",
            )

    def cursor(self) -> Cursor | None:
        """The stored cursor; fences nobody."""
        if not self._exists(CURSORS):
            return None
        quote, mark = self._dialect.quote, self._dialect.mark
        found, _ = self._dialect.execute(
            f"select {quote('cursor')} from {self._cursors} where sink = {mark(1)}", [self._sink]
        )
        if not found or found[0][0] is None:
            return None
        return Cursor.from_json(json.loads(found[0][0]))

    def claim(self, table: TableName, topic: str) -> None:
        """Note that ``topic`` goes into ``table``. Raises SinkError if another topic goes there."""
        mark, name = self._dialect.mark, self._dialect.same_table(str(table))
        if table in self._names:
            raise SinkError(
                f"topic {topic} would go into {table}, which is liberator's own",
                hint="give the table another name with the option table",
            )
        found, _ = self._dialect.execute(
            f"select sink, topic from {self._tables} where name = {mark(1)}", [name]
        )
        if not found:
            self._dialect.execute(
                f"insert into {self._tables} (name, sink, topic) values ({mark(1)}, {mark(2)}, {mark(3)})",
                [name, self._sink, topic],
            )
            return
        sink, other = found[0]
        if other != topic:
            raise SinkError(
                f"two streams meet in table {table}: {other} (sink {sink}) and {topic} (sink {self._sink})",
                hint="keep them apart with the option table, for example table: "
                f"'{{schema}}_{{table}}'; if {other} is gone for good, `liberator teardown` forgets it",
            )

    def objects(self) -> list[Managed]:
        """Our tables and our row in them, with the statements that make and remove them."""
        out = []
        for name, create in self._create.items():
            there = self._dialect.describe(name) is not None
            out.append(
                Managed(
                    "table",
                    str(name),
                    "present" if there else "missing",
                    create,
                    f"drop table {self._dialect.quoted(name)}",
                )
            )
        return out

    def drop(self) -> list[Managed]:
        """Forget this sink: its rows, and the tables once no sink needs them. Returns what was removed."""
        removed = []
        mark = self._dialect.mark(1)
        for managed, table in zip(self.objects(), (self._cursors, self._tables), strict=True):
            if managed.state == "missing":
                continue
            _, hit = self._dialect.execute(f"delete from {table} where sink = {mark}", [self._sink])
            if hit:
                sink = self._sink.replace("'", "''")
                statement = f"delete from {table} where sink = '{sink}'"
                removed.append(Managed("row", f"{managed.name}: {self._sink}", "present", "", statement))
            rest, _ = self._dialect.execute(f"select 1 from {table} limit 1")
            if not rest:
                self._dialect.execute(managed.drop)
                removed.append(managed)
        return removed

    def _exists(self, table: str) -> bool:
        return any(n.table == table and self._dialect.describe(n) is not None for n in self._names)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
