"""The change table in a SQLite file: triggers per table, values as they are stored.

An image is not a text but columns without a type, one for each column of the captured table, so that every
value keeps its storage class. The SQL is in ``trigger.sql``.

There is one writer at a time, so ids are in the order of commits and all that can be seen is settled. SQLite
has no transaction ids: instead every look takes the write lock for a moment and raises a number with which
the triggers mark what they write. What has the same number is a union of whole transactions, and is one to
us.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from connectors.sql.reader import Reader, SourceTable
from connectors.sql.statements import load
from connectors.sql.trigger.change_table import Change, ChangeTable, Extent, Version
from connectors.sql.trigger.options import TriggerOptions
from connectors.sqlite import values
from connectors.sqlite.reader import SqliteReader
from liberator.errors import ConfigError, SourceError
from liberator.event import Row
from liberator.preflight import Finding
from liberator.schema import TableSchema
from liberator.source import Managed

SQL = load("connectors.sqlite", "trigger.sql")
#: Tables of ours, whichever source's or sink's.
OURS = "liberator_"
_PIECE = 5000
#: Milliseconds to wait for others before a look or a purge is put off.
_BRIEF = 20


class SqliteChangeTable(ChangeTable):
    """``liberator_<source>_changes`` and what belongs to it."""

    reader: SqliteReader
    transaction = "tx"
    at = "at"

    def __init__(self, source: str, options: TriggerOptions, reader: SqliteReader):
        super().__init__(source, options, reader)
        self._prefix = f"{OURS}{source}_"
        self._changes, self._versions, self._now = (
            reader.quote(f"{self._prefix}{name}") for name in ("changes", "versions", "now")
        )
        self._closed = 0
        self._width_seen = -1
        self._schema_version = -1

    @property
    def place(self) -> tuple[str, str]:
        """In ``main``."""
        return "main", f"{self._prefix}changes"

    # -- what there must be at the database ----------------------------------------------------------

    def tables(self) -> list[SourceTable]:
        """Those of the patterns; ours are left out."""
        where = f"sources.{self.source}.tables"
        found = self.reader.chosen(self.options.tables, where)
        chosen = [t for t in found if not t.name.startswith(OURS)]
        if not chosen:
            raise ConfigError(f"{where}: no table matches but liberator's own")
        return chosen

    def exists(self) -> bool:
        """Whether all three tables are there."""
        names = ", ".join(self.reader.text(f"{self._prefix}{n}") for n in ("changes", "versions", "now"))
        found = self.reader.fetch(
            f"select count(*) from sqlite_master where type = 'table' and name in ({names})"
        )
        return bool(found[0][0] == 3)

    def managed(self, tables: Sequence[SourceTable]) -> list[Managed]:
        """The change table with its helpers, and the triggers of each table."""
        statements = self._creation()
        drops = [f"drop table if exists {name}" for name in (self._changes, self._versions, self._now)]
        out = [
            Managed(
                "change table", f"{self._prefix}changes", "present" if self.exists() else "missing",
                ";\n".join(statements), ";\n".join(drops),
            )
        ]  # fmt: skip
        captured = self.captured()
        number = self._next_version()
        there = {t.full_name: t for t in self.reader.tables()}
        for name in sorted({t.full_name for t in tables} | captured.keys()):
            table = there.get(name)
            schema = self.reader.describe(table) if table is not None else None
            if table is None or schema is None:
                continue
            state = "missing" if name not in captured else "present" if captured[name] else "different"
            made = self._made(table.name)
            create = ";\n".join(self._capture(schema, number, self._relation(table.name)))
            drop = ";\n".join(made or [f"drop trigger if exists {self._trigger(number, 'insert')}"])
            out.append(Managed("trigger", f"on {name}", state, create, drop))  # type: ignore[arg-type]
            number += 1
        return out

    def _creation(self) -> list[str]:
        born = json.dumps({"born": str(uuid.uuid4())})
        return [
            self._sql("changes"),
            self._sql("versions"),
            self._sql("now"),
            f"insert into {self._now} (number) values (1)",
            f"insert into {self._versions} values (0, '', {self.reader.text(born)}, {self.reader.now()})",
        ]

    def _sql(self, statement: str) -> str:
        text = SQL[statement]
        for name in ("changes", "versions", "now"):
            text = text.replace(f"${name}", getattr(self, f"_{name}"))
        return text

    def create(self) -> None:
        """In one transaction."""
        with self.reader.transaction("write"):
            for statement in self._creation():
                self.reader.execute(statement)

    def _triggers(self) -> dict[str, list[str]]:
        """The names of our triggers by the table that they are on."""
        out: dict[str, list[str]] = {}
        for name, table in self.reader.fetch(
            "select name, tbl_name from sqlite_master where type = 'trigger'"
        ):
            rest = name.removeprefix(self._prefix)
            if rest != name and rest.partition("_")[0].isdigit():
                out.setdefault(table, []).append(name)
        return out

    def _number(self, trigger: str) -> int:
        return int(trigger.removeprefix(self._prefix).partition("_")[0])

    def captured(self) -> dict[str, bool]:
        """By the triggers' names, which hold the number of the version that they were made for."""
        versions = {v.id: v for v in self.versions(0)} if self.exists() else {}
        out = {}
        for table, triggers in self._triggers().items():
            version = versions.get(self._number(triggers[0]))
            schema = self.reader.describe(SourceTable("main", table))
            kinds = {t.rpartition("_")[2] for t in triggers}
            fits = version is not None and version.schema == schema
            wanted = {"insert", "delete", "rekey"} | (set() if schema and self._whole(schema) else {"update"})
            out[f"main.{table}"] = fits and kinds == wanted
        return out

    def _whole(self, schema: TableSchema) -> bool:
        """Whether updates keep the whole old row."""
        return self.options.before == "full" or not schema.key

    def _next_version(self) -> int:
        if not self.exists():
            return 1
        (found,) = self.reader.fetch(f"select max(id) from {self._versions}")
        return int(found[0] or 0) + 1

    def _relation(self, table: str) -> str:
        """What identifies a table: its name when it was captured for the first time."""
        for trigger in self._triggers().get(table, []) if self.exists() else []:
            found = self.reader.fetch(
                f"select relation from {self._versions} where id = {self._number(trigger)}"
            )
            if found:
                return str(found[0][0])
        return table

    def _made(self, table: str) -> list[str]:
        names = self._triggers().get(table, [])
        return [f"drop trigger if exists {self.reader.quote(name)}" for name in names]

    def capture(self, table: SourceTable) -> None:
        """All in one transaction, so that nothing is written in between."""
        with self.reader.transaction("write"):
            schema = self.reader.describe(table)
            if schema is None:
                return
            relation, number = self._relation(table.name), self._next_version()
            for statement in [*self._made(table.name), *self._capture(schema, number, relation)]:
                self.reader.execute(statement)
        self._width_seen = -1

    def _capture(self, schema: TableSchema, number: int, relation: str) -> list[str]:
        width = len(schema.columns)
        described = json.dumps(schema.to_json(), ensure_ascii=False)
        out = []
        for place in range(self._width(), width):
            out += [f"alter table {self._changes} add column {side}{place}" for side in ("o", "n")]
        out.append(
            f"insert into {self._versions} values ({number}, {self.reader.text(relation)},"
            f" {self.reader.text(described)}, {self.reader.now()})"
        )
        key = [self.reader.quote(c.name) for c in schema.key_columns]
        same = " and ".join(f"old.{k} collate binary is new.{k} collate binary" for k in key)
        out.append(self._record(schema, number, ("insert", "insert", "c", "n"), ""))
        out.append(self._record(schema, number, ("delete", "delete", "d", "o"), ""))
        if self._whole(schema):
            out.append(self._record(schema, number, ("rekey", "update", "k", "on"), ""))
        else:
            out.append(self._record(schema, number, ("update", "update", "u", "n"), f" when {same}"))
            out.append(self._record(schema, number, ("rekey", "update", "k", "on"), f" when not ({same})"))
        return out

    def _trigger(self, number: int, kind: str) -> str:
        return self.reader.quote(f"{self._prefix}{number}_{kind}")

    def _record(self, schema: TableSchema, number: int, what: tuple[str, str, str, str], when: str) -> str:
        kind, event, op, sides = what
        columns, cells = [], []
        for side in sides:
            for place, name in enumerate(schema.names):
                columns.append(f"{side}{place}")
                cells.append(f"{'old' if side == 'o' else 'new'}.{self.reader.quote(name)}")
        body = self._sql("record").replace("$version", str(number)).replace("$op", op)
        body = body.replace("$columns", ", ".join(columns)).replace("$values", ", ".join(cells))
        return (
            f"create trigger {self._trigger(number, kind)} after {event} on {self.reader.quote(schema.table)}"
            f"{when} begin\n{body};\nend"
        )

    def _width(self) -> int:
        found = self.reader.fetch(f"select name from pragma_table_info({self.reader.text(self.place[1])})")
        return sum(name[0] == "n" and name[1:].isdigit() for (name,) in found)

    def release(self, table: str) -> None:
        """By name."""
        for statement in self._made(table.partition(".")[2]):
            self.reader.execute(statement)

    def remove(self) -> None:
        """All three tables."""
        with self.reader.transaction("write"):
            for name in (self._changes, self._versions, self._now):
                self.reader.execute(f"drop table if exists {name}")

    def born(self) -> str:
        """What the row 0 of the versions says."""
        (found,) = self.reader.fetch(f"select described from {self._versions} where id = 0")
        return str(json.loads(found[0])["born"])

    def versions(self, after: int) -> list[Version]:
        """As we described them."""
        found = self.reader.fetch(
            f"select id, relation, described, at from {self._versions} where id > {max(0, after)} order by id"
        )
        return [Version(i, r, TableSchema.from_json(json.loads(d)), at) for i, r, d, at in found]

    def newest(self, reader: Reader, table: str) -> int:
        """By what identifies the table."""
        (found,) = reader.fetch(f"select max(id) from {self._versions} where relation = {reader.text(table)}")
        return int(found[0] or 0)

    def shaken(self) -> bool:
        """By the number that SQLite raises with every change of the schema."""
        ((version,),) = self.reader.fetch("pragma schema_version")
        before, self._schema_version = self._schema_version, version
        return bool(before != version)

    def check(self, tables: Sequence[SourceTable]) -> list[Finding]:
        """Where ``replace`` removes rows without a word to triggers."""
        out = []
        for table in tables:
            found = self.reader.fetch(
                f"select count(*) from pragma_index_list({self.reader.text(table.name)})"
                " where \"unique\" and origin <> 'pk'"
            )
            if found[0][0]:
                out.append(
                    Finding(
                        "warning", "replace",
                        f"{table.full_name} has a unique index: `replace` may delete other rows, and triggers"
                        " hear of that only with recursive_triggers",
                        "run `pragma recursive_triggers = on` in the application",
                    )
                )  # fmt: skip
        return out

    def extent(self) -> Extent:
        """Counted up to a million; SQLite does not tell the bytes of one table."""
        ((rows, oldest),) = self.reader.fetch(
            f"select (select count(*) from (select 1 from {self._changes} limit 1000001)),"
            f" (select at from {self._changes} order by id limit 1)"
        )
        return Extent(None, rows, None if oldest is None else (self.reader.now() - oldest) / 1e6)

    # -- rows ----------------------------------------------------------------------------------------

    @property
    def _columns(self) -> int:
        if self._width_seen < 0:
            self._width_seen = self._width()
        return self._width_seen

    @property
    def images(self) -> Sequence[str]:  # type: ignore[override]
        """The columns of both images behind the rest."""
        places = range(self._columns)
        return ["version", "op", "origin", *(f"o{i}" for i in places), *(f"n{i}" for i in places)]

    @property
    def size(self) -> str:  # type: ignore[override]
        """Texts count their characters."""
        places = range(self._columns)
        return " + ".join(f"ifnull(length({side}{i}), 0)" for i in places for side in "on") or "0"

    def change(self, row: tuple[Any, ...]) -> Change:
        """``k`` is an update that keeps both images."""
        identity, version, op, origin = row[:4]
        middle = 4 + (len(row) - 4) // 2
        old = row[4:middle] if op in "kd" else None
        new = row[middle:] if op in "kuc" else None
        return Change(identity, version, "u" if op == "k" else op, origin, old, new)

    def decoder(self, schema: TableSchema) -> Callable[[Any], Row]:
        """Each value by its column's declared type, as it is when the table itself is read."""
        cells = [values.decoder(column) for column in schema.columns]

        def decode(image: tuple[Any, ...]) -> Row:
            return tuple([f(v) if f and v is not None else v for f, v in zip(cells, image, strict=False)])

        return decode

    def frontier(self) -> tuple[int, int]:
        """All that can be seen, once nobody is at work; then what follows gets another number."""
        now = self.reader.now()
        if self.head() > self._closed:
            self._closed = self._briefly(self._close) or self._closed
        return self._closed, now

    def _close(self) -> int:
        self.reader.execute(f"update {self._now} set number = number + 1")
        return self.head()

    def purge(self, before: int, limit: int) -> int:
        """Some other time if somebody is at work."""
        purge = super().purge
        found = self._briefly(lambda: purge(before, limit))
        return limit if found is None else found

    def _briefly(self, work: Callable[[], int]) -> int | None:
        """``work`` in a writing transaction; None if that cannot be had, or committed, almost at once."""
        self.reader.execute(f"pragma busy_timeout = {_BRIEF}")
        try:
            with self.reader.transaction("write"):
                return work()
        except SourceError as exc:
            if self.reader.conn.in_transaction:
                self.reader.execute("rollback")
            if not exc.retryable:
                raise
            return None
        finally:
            self.reader.execute("pragma busy_timeout = 20000")

    def pieces(self, reader: Reader, schema: TableSchema) -> Iterator[str]:
        """By ranges of SQLite's own row numbers."""
        table = reader.quote(schema.table)
        taken = {name.lower() for name in schema.names}
        rowid = next((n for n in ("_rowid_", "rowid", "oid") if n not in taken), None)
        if rowid is None:
            raise SourceError(
                f"table {schema.table} has no key, and its columns hide SQLite's row number",
                hint="give the table a primary key",
            )
        after = "-9223372036854775808"
        operator = ">="
        while True:
            ((last,),) = reader.fetch(
                f"select max(r) from (select {rowid} as r from {table} where {rowid} {operator} {after}"
                f" order by {rowid} limit {_PIECE})"
            )
            if last is None:
                return
            yield f"{table} where {rowid} {operator} {after} and {rowid} <= {last}"
            after, operator = str(last), ">"
