"""The change table at MySQL and MariaDB: three triggers per table, which name their columns one by one.

A row's image is a JSON array of texts, one per column, of what a ``select`` would give: it is put into the
form of a result's row and decoded by :mod:`connectors.mysql.text_rows`. Binary values are in hexadecimal; a
timestamp is the seconds since 1970, for in the writer's time zone it could mean two moments. The SQL is in
``trigger.sql``.

Which changes belong together: MySQL tells it by ``performance_schema``, MariaDB by ``last_gtid`` where it
writes a binlog. Where neither can, each change is a transaction of its own; their order is right all the
same.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from connectors.mysql.connection import literal, quote
from connectors.mysql.native import TypeOptions
from connectors.mysql.reader import MysqlReader
from connectors.mysql.text_rows import TextRows
from connectors.mysql.trigger_images import expression, parse, payload
from connectors.sql.reader import Reader, SourceTable
from connectors.sql.statements import load
from connectors.sql.trigger.change_table import Change, ChangeTable, Extent, Version
from connectors.sql.trigger.options import TriggerOptions
from liberator.errors import ConfigError, SourceError
from liberator.event import Row
from liberator.preflight import Finding
from liberator.schema import TableSchema
from liberator.source import Managed

SQL = load("connectors.mysql", "trigger.sql")
#: Tables of ours, whichever source's or sink's.
OURS = "liberator_"
_KINDS = {"insert": "c", "update": "u", "delete": "d"}
#: Seconds between two looks at the catalog.
_SHAPES = 2.0


class MysqlChangeTable(ChangeTable):
    """``liberator_<source>_changes`` in the URL's database, and what belongs to it."""

    reader: MysqlReader
    transaction = "tx"
    size = "coalesce(length(old), 0) + coalesce(length(new), 0)"
    at = "at"
    images = ("version", "op", "origin", "old", "new")

    def __init__(self, source: str, options: TriggerOptions, reader: MysqlReader):
        super().__init__(source, options, reader)
        self._prefix = f"{OURS}{source}_"
        self._shape: Any = None
        self._shaped = 0.0
        self._token: str | None = None

    # -- what there must be at the database ----------------------------------------------------------

    @property
    def place(self) -> tuple[str, str]:
        """In the URL's database."""
        if not self.reader.database:
            raise ConfigError(
                f"sources.{self.source}.url: names no database for the change table",
                hint="write mysql://user@host:3306/database",
            )
        return self.reader.database, f"{self._prefix}changes"

    @property
    def _versions(self) -> str:
        return quote(self.place[0], f"{self._prefix}versions")

    def _sql(self, statement: str, **more: str) -> str:
        text = SQL[statement]
        names = {"changes": self.name, "versions": self._versions, **more}
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(f"${name}", names[name])
        return text

    def tables(self) -> list[SourceTable]:
        """Those of the patterns; ours are left out."""
        where = f"sources.{self.source}.tables"
        found = [t for t in self.reader.chosen(self.options.tables, where) if not t.name.startswith(OURS)]
        if not found:
            raise ConfigError(f"{where}: no table matches but liberator's own")
        return found

    def exists(self) -> bool:
        """Whether both tables are there."""
        names = ", ".join(literal(f"{self._prefix}{n}") for n in ("changes", "versions"))
        ((found,),) = self.reader.fetch(
            "select count(*) from information_schema.tables"
            f" where table_schema = {literal(self.place[0])} and table_name in ({names})"
        )
        return bool(found == 2)

    def managed(self, tables: Sequence[SourceTable]) -> list[Managed]:
        """The change table with its versions, and the triggers of each table."""
        out = [
            Managed(
                "change table", ".".join(self.place), "present" if self.exists() else "missing",
                ";\n".join(self._creation()),
                f"drop table if exists {self.name};\ndrop table if exists {self._versions}",
            )
        ]  # fmt: skip
        captured, partly = self.captured(), self._triggers()
        number = self._next()
        for name in sorted({t.full_name for t in tables} | partly.keys()):
            schema_name, _, table_name = name.partition(".")
            schema = self.reader.describe(SourceTable(schema_name, table_name))
            if schema is None:
                continue
            state = "present" if captured.get(name) else "different" if name in partly else "missing"
            create = [self._insert(schema, number, name), *self._capture(schema, number)]
            drop = [f"drop trigger {quote(*t)}" for t in partly.get(name, ())]
            drop = drop or [f"drop trigger if exists {quote(schema_name, self._trigger(number, 'insert'))}"]
            out.append(
                Managed("trigger", f"on {name}", state, _script(create), ";\n".join(drop))  # type: ignore[arg-type]
            )
            number += 1
        return out

    def _creation(self) -> list[str]:
        born = literal(json.dumps({"born": str(uuid.uuid4())}))
        return [
            self._sql("changes"),
            self._sql("versions"),
            f"insert into {self._versions} (id, relation, described, at)"
            f" values (1, '', {born}, {self.reader.now()})",
        ]

    def create(self) -> None:
        """One statement after the other: DDL commits by itself."""
        if not self.exists():
            self.remove()
            for statement in self._creation():
                self.reader.execute(statement)

    def _triggers(self) -> dict[str, list[tuple[str, str]]]:
        """Our triggers' schemas and names, by the full name of the table that they are on."""
        like = self._prefix.replace("!", "!!").replace("_", "!_").replace("%", "!%") + "%"
        out: dict[str, list[tuple[str, str]]] = {}
        for schema, table, home, name in self.reader.fetch(SQL["triggers"].replace("$like", literal(like))):
            if name.removeprefix(self._prefix).partition("_")[0].isdigit():
                out.setdefault(f"{schema}.{table}", []).append((home, name))
        return out

    def captured(self) -> dict[str, bool]:
        """Tables with all three triggers of one version; what was left half done counts for nothing."""
        versions = {v.id: v for v in self.versions(0)} if self.exists() else {}
        out = {}
        for table, triggers in self._triggers().items():
            parts = [name.removeprefix(self._prefix).partition("_") for _, name in triggers]
            numbers = {int(number) for number, _, _ in parts}
            if len(numbers) == 1 and {kind for _, _, kind in parts} == _KINDS.keys():
                version = versions.get(numbers.pop())
                schema, _, name = table.partition(".")
                now = self.reader.describe(SourceTable(schema, name))
                out[table] = version is not None and version.schema == now
        return out

    def _next(self) -> int:
        if not self.exists():
            return 2
        ((found,),) = self.reader.fetch(f"select max(id) from {self._versions}")
        return int(found or 1) + 1

    def capture(self, table: SourceTable) -> None:
        """While the old triggers go and the new ones come nobody else may write the table."""
        self._refuse_cascades(table)
        schema = self.reader.describe(table)
        if schema is None:
            return
        number = self._next()
        self.reader.execute(self._insert(schema, number, table.full_name))
        old = self._triggers().get(table.full_name, [])
        statements = [f"drop trigger {quote(*t)}" for t in old] + self._capture(schema, number)
        self.reader.execute(f"lock tables {quote(table.schema, table.name)} write")
        try:
            for statement in statements:
                self.reader.execute(statement)
        finally:
            self.reader.execute("unlock tables")

    def _insert(self, schema: TableSchema, number: int, relation: str) -> str:
        described = literal(json.dumps(schema.to_json(), ensure_ascii=False))
        return (
            f"insert into {self._versions} (id, relation, described, at)"
            f" values ({number}, {literal(relation)}, {described}, {self.reader.now()})"
        )

    def _trigger(self, number: int, kind: str) -> str:
        return f"{self._prefix}{number}_{kind}"

    def _capture(self, schema: TableSchema, number: int) -> list[str]:
        images = {
            side: f"json_array({', '.join(expression(c, side) for c in schema.columns)})"
            for side in ("old", "new")
        }
        if self.options.before == "full" or not schema.key:
            before = images["old"]
        else:
            keys = [quote(c.name) for c in schema.key_columns]
            same = " and ".join(f"cast(old.{k} as binary) <=> cast(new.{k} as binary)" for k in keys)
            before = f"if({same}, null, {images['old']})"
        kept = {
            "insert": ("null", images["new"]),
            "update": (before, images["new"]),
            "delete": (images["old"], "null"),
        }
        out = []
        transaction = self._transaction()
        for kind, (old, new) in kept.items():
            text = self._sql(
                "record",
                trigger=quote(schema.schema, self._trigger(number, kind)), event=kind, op=_KINDS[kind],
                table=quote(schema.schema, schema.table), version=str(number), transaction=transaction,
            )  # fmt: skip
            # Names of columns come last: they may look like anything.
            head, _, tail = text.rpartition("$old, $new")
            out.append(f"{head}{old}, {new}{tail}")
        return out

    def _transaction(self) -> str:
        if self._token is None:
            statement = self._together()
            self._token = "uuid_short()" if statement is None else SQL[statement]
            lines = self._token.splitlines()
            self._token = "\n".join(line for line in lines if not line.startswith("--"))
        return self._token

    def _together(self) -> str | None:
        """By which means changes of one transaction are known to belong together; None: by no means."""
        try:
            if not self.reader.server.mariadb:
                return "performance_schema" if self.reader.fetch(SQL["instrumented"])[0][0] else None
            if not self.reader.fetch("select @@global.log_bin")[0][0]:
                return None
            status = self.reader.fetch("show master status")
            # What a filter keeps out of the binlog has no number there.
            return "last_gtid" if status and not (status[0][2] or status[0][3]) else None
        except SourceError:
            return None  # a privilege is missing

    def release(self, table: str) -> None:
        """By the triggers' names."""
        for place in self._triggers().get(table, ()):
            self.reader.execute(f"drop trigger {quote(*place)}")

    def remove(self) -> None:
        """Both tables, and triggers that were left half done."""
        for table in self._triggers():
            self.release(table)
        self.reader.execute(f"drop table if exists {self.name}")
        self.reader.execute(f"drop table if exists {self._versions}")

    def born(self) -> str:
        """What the first row of the versions says."""
        ((found,),) = self.reader.fetch(f"select described from {self._versions} where id = 1")
        return str(json.loads(found)["born"])

    def versions(self, after: int) -> list[Version]:
        """As we described them."""
        found = self.reader.fetch(
            f"select id, relation, described, at from {self._versions} where id > {max(1, after)} order by id"
        )
        return [Version(i, r, TableSchema.from_json(json.loads(d)), at) for i, r, d, at in found]

    def newest(self, reader: Reader, table: str) -> int:
        """By the table's name."""
        ((found,),) = reader.fetch(f"select max(id) from {self._versions} where relation = {literal(table)}")
        return int(found or 0)

    def shaken(self) -> bool:
        """By a sum over the catalog, every other second."""
        if time.monotonic() - self._shaped < _SHAPES:
            return False
        self._shaped = time.monotonic()
        schemas = sorted({t.schema for t in self.tables()})
        found = self.reader.fetch(self._sql("shapes", schemas=", ".join(map(literal, schemas))))
        before, self._shape = self._shape, found
        return bool(before != found)

    def _cascades(self, tables: Sequence[SourceTable]) -> Iterator[tuple[str, str]]:
        """Tables that foreign keys write to by themselves, and the constraints."""
        names = {t.full_name for t in tables}
        schemas = ", ".join(sorted({literal(t.schema) for t in tables}))
        for schema, table, constraint, *_ in self.reader.fetch(self._sql("cascades", schemas=schemas)):
            if f"{schema}.{table}" in names:
                yield f"{schema}.{table}", constraint

    def _refuse_cascades(self, table: SourceTable) -> None:
        if self.options.cascades == "refuse":
            for name, constraint in self._cascades([table]):
                raise SourceError(
                    f"foreign key {constraint} changes rows of {name} without firing triggers",
                    hint="read the binlog instead, or leave the table out, or choose `cascades: ignore`, "
                    "which loses these changes",
                )

    def check(self, tables: Sequence[SourceTable]) -> list[Finding]:
        """Cascades, engines without transactions, what is told of transactions."""
        out = []
        level: Any = "error" if self.options.cascades == "refuse" else "warning"
        for name, constraint in self._cascades(tables):
            out.append(
                Finding(
                    level, "foreign key", f"{constraint} changes rows of {name} without firing triggers",
                    "read the binlog instead, or leave the table out, or let the application do it",
                )
            )  # fmt: skip
        schemas = ", ".join(sorted({literal(t.schema) for t in tables}))
        names = {t.full_name for t in tables}
        for schema, table, engine in self.reader.fetch(self._sql("engines", schemas=schemas)):
            if f"{schema}.{table}" in names and (engine or "").lower() != "innodb":
                out.append(
                    Finding(
                        "error", "engine", f"{schema}.{table} is of engine {engine}, without transactions",
                        f"alter table {quote(schema, table)} engine = InnoDB",
                    )
                )  # fmt: skip
        if self._together() is None:
            out.append(
                Finding(
                    "warning", "transactions", "the server does not tell which changes belong together",
                    "switch performance_schema on (MySQL), or the binlog (MariaDB); until then each change "
                    "is a transaction of its own",
                )
            )  # fmt: skip
        return out

    def extent(self) -> Extent:
        """Bytes as of the server's last statistics; counted up to a million."""
        names = {"schema_text": literal(self.place[0]), "changes_text": literal(self.place[1])}
        ((size, rows, oldest),) = self.reader.fetch(self._sql("size", **names))
        age = None if oldest is None else (self.reader.now() - int(oldest)) / 1e6
        return Extent(None if size is None else int(size), int(rows), age)

    # -- rows ----------------------------------------------------------------------------------------

    def change(self, row: tuple[Any, ...]) -> Change:
        """As it is."""
        return Change(*row)

    def decoder(self, schema: TableSchema) -> Callable[[Any], Row]:
        """Through the row of a result."""
        text = TextRows(schema.columns, TypeOptions(self.reader.zero_dates))
        columns = schema.columns

        def decode(image: str) -> Row:
            return text.row(payload(parse(image), columns))

        return decode

    def purge(self, before: int, limit: int) -> int:
        """At a level that locks no gaps, so that nobody who writes waits."""
        with self.reader.transaction("write"):
            return super().purge(before, limit)

    def pieces(self, reader: Reader, schema: TableSchema) -> Iterator[str]:
        """In the order of the rows' hidden numbers, in which InnoDB reads all columns."""
        table = reader.quote(schema.schema, schema.table)
        ((count,),) = reader.fetch(f"select count(*) from {table}")
        for first in range(0, count, self.options.chunk):
            yield f"{table} limit {self.options.chunk} offset {first}"


def _script(statements: Sequence[str]) -> str:
    """As the server's own client takes it, which ends a statement at the first semicolon otherwise."""
    body = "\n//\n".join(statements)
    return f"delimiter //\n{body}\n//\ndelimiter ;"
