"""The change table at Postgres: a trigger function per table, an event trigger that keeps them in step with
DDL.

Everything is in the schema ``liberator``; the SQL is in ``trigger.sql``. A row's image is the text of an
anonymous record of its columns, printed under the settings of
:data:`connectors.postgres.connection.SESSION` whatever the writer's are, so that a field of it is what
``copy`` prints, and is decoded by the same functions. What a version's columns were is described by the
database itself, in the transaction that changed them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from connectors.postgres.catalog import Table, all_tables
from connectors.postgres.connection import literal, quote
from connectors.postgres.reader import PostgresReader
from connectors.postgres.types.copying import compile_copy_decoder
from connectors.postgres.types.values import UnknownLabel
from connectors.sql.reader import Reader, SourceTable, UnknownShape
from connectors.sql.statements import load
from connectors.sql.trigger.change_table import Change, ChangeTable, Extent, Version
from connectors.sql.trigger.options import TriggerOptions
from liberator.errors import DecodeError
from liberator.event import Row
from liberator.preflight import Finding
from liberator.schema import TableSchema
from liberator.source import Managed

SQL = load("connectors.postgres", "trigger.sql")
#: The schema of everything that is ours.
HOME = "liberator"
_PAGES = 512
#: One field of a record's text: quoted, with " and \\ doubled, or plain; nothing for null.
_FIELD = re.compile(r'"((?:[^"\\]|""|\\.)*)"|([^,"\\]*)', re.DOTALL)
_DOUBLED = re.compile(r'""|\\(.)', re.DOTALL)
_COPY = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class PostgresChangeTable(ChangeTable):
    """Filled by triggers that are enabled always, so that rows of logical replication are captured too."""

    reader: PostgresReader
    transaction = "tx::text"
    size = "coalesce(octet_length(new), 0) + coalesce(octet_length(old), 0)"
    at = "(extract(epoch from at) * 1000000)::int8"
    images = ("version", "op::text", "origin", "old", "new")
    follows_ddl = True

    def __init__(self, source: str, options: TriggerOptions, reader: PostgresReader):
        super().__init__(source, options, reader)
        self._names = {
            "$changes_name": literal(quote(HOME, f"{source}_changes")),
            "$versions_name": literal(quote(HOME, f"{source}_versions")),
            "$changes": quote(HOME, f"{source}_changes"),
            "$versions": quote(HOME, f"{source}_versions"),
            "$described": quote(HOME, f"{source}_described"),
            "$capture": quote(HOME, f"{source}_capture"),
            "$ddl": quote(HOME, f"{source}_ddl"),
            "$row_prefix": literal(f"{source}_row_"),
            # before all others by name
            "$trigger_name": literal(f"!liberator_{source}"),
            "$truncate_name": literal(f"!liberator_{source}_truncate"),
            "$trigger": quote(f"!liberator_{source}"),
            "$truncate": quote(f"!liberator_{source}_truncate"),
            "$event_name": literal(f"liberator_{source}"),
            "$event": quote(f"liberator_{source}"),
            "$before": "true" if options.before == "full" else "false",
        }

    def _sql(self, statement: str, **more: str) -> str:
        text = SQL[statement]
        names = {**self._names, **{f"${k}": v for k, v in more.items()}}
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, names[name])
        return text

    @property
    def place(self) -> tuple[str, str]:
        """``liberator.<source>_changes``."""
        return HOME, f"{self.source}_changes"

    # -- what there must be at the database ----------------------------------------------------------

    def tables(self) -> list[SourceTable]:
        """Those of the patterns; ours are left out."""
        found = self.reader.chosen(self.options.tables, f"sources.{self.source}.tables")
        return [t for t in found if t.schema != HOME]

    def _oids(self) -> dict[str, Table]:
        return {t.full_name: t for t in all_tables(self.reader.conn)}

    def exists(self) -> bool:
        """Whether both tables are there."""
        found: bool = self._present()[0]
        return found

    def _present(self) -> tuple[Any, ...]:
        (found,) = self.reader.fetch(self._sql("present"))
        return found

    def managed(self, tables: Sequence[SourceTable]) -> list[Managed]:
        """The change table with its functions, the event trigger, and a trigger for each table."""
        exists, watched, _, role = self._present()
        grant = self._sql("grant", role=quote(role))
        out = [
            Managed(
                "change table", ".".join(self.place), "present" if exists else "missing",
                f"{self._sql('create')};\n{grant}", self._sql("drop"),
            ),
            Managed(
                "event trigger", f"liberator_{self.source}", "present" if watched else "missing",
                self._sql("watch"), f"drop event trigger {self._names['$event']}",
            ),
        ]  # fmt: skip
        captured, oids = self.captured(), self._oids()
        for name in sorted({t.full_name for t in tables} | captured.keys()):
            if name in oids:
                state = "missing" if name not in captured else "present" if captured[name] else "different"
                create = f"select {self._capture(oids[name].oid)}"
                drop = self._release(oids[name].oid, oids[name].sql)
                out.append(Managed("trigger", f"on {name}", state, create, drop))  # type: ignore[arg-type]
        return out

    def create(self) -> None:
        """In one transaction."""
        with self.reader.transaction("write"):
            self.reader.execute(self._sql("create"))
            if not self._present()[1]:
                self.reader.execute(self._sql("watch"))

    def captured(self) -> dict[str, bool]:
        """By the triggers' name."""
        found = self.reader.fetch(self._sql("captured" if self.exists() else "triggers"))
        return {f"{schema}.{table}": fits for _, schema, table, fits in found}

    def capture(self, table: SourceTable) -> None:
        """The database writes the function itself; see ``trigger.sql``. To make a trigger waits for the
        table's writers, and others wait behind it, so it is tried for a short while only."""
        oid = self._oids()[table.full_name].oid
        with self.reader.transaction("write"):
            self.reader.execute("set local lock_timeout = '5s'")
            self.reader.fetch(f"select {self._capture(oid)}::text")

    def _capture(self, oid: int) -> str:
        return f"{self._names['$capture']}({oid}, {self._names['$before']})"

    def release(self, table: str) -> None:
        """The function goes with the triggers."""
        found = self._oids().get(table)
        if found is not None:
            self.reader.execute(self._release(found.oid, found.sql))

    def _release(self, oid: int, name: str) -> str:
        function = quote(HOME, f"{self.source}_row_{oid}")
        triggers = (self._names["$trigger"], self._names["$truncate"])
        drops = [f"drop trigger if exists {trigger} on {name}" for trigger in triggers]
        return ";\n".join([*drops, f"drop function if exists {function}()"])

    def remove(self) -> None:
        """The event trigger first; functions of tables that are gone too."""
        self.reader.execute(f"drop event trigger if exists {self._names['$event']}")
        left = self.reader.fetch(
            "select p.proname from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace"
            f" where n.nspname = {literal(HOME)} and starts_with(p.proname, {self._names['$row_prefix']})"
        )
        for (name,) in left:
            self.reader.execute(f"drop function {quote(HOME, name)}()")
        self.reader.execute(self._sql("drop"))

    def born(self) -> str:
        """What the row 0 of the versions says."""
        (found,) = self.reader.fetch(
            f"select described->>'born' from {self._names['$versions']} where id = 0"
        )
        return str(found[0])

    def versions(self, after: int) -> list[Version]:
        """As the database described them; the types are read from the catalog as it is now."""
        out = []
        for number, relation, described, at in self.reader.fetch(
            self._sql("versions", after=str(max(1, after + 1)))
        ):
            data = described if isinstance(described, dict) else json.loads(described)
            schema = self.reader.catalog.described(data["schema"], data["table"], data["columns"])
            out.append(Version(number, relation, schema, at))
        return out

    def newest(self, reader: Reader, table: str) -> int:
        """By the relation's oid."""
        (found,) = reader.fetch(
            f"select max(id) from {self._names['$versions']} where relation = {int(table)}"
        )
        return int(found[0] or 0)

    def hold(self, reader: Reader, schema: TableSchema) -> None:
        """The lock that every reader takes, before there is a snapshot."""
        reader.execute("set local lock_timeout = '500ms'")
        reader.execute(f"lock table {quote(schema.schema, schema.table)} in access share mode")

    def check(self, tables: Sequence[SourceTable]) -> list[Finding]:
        """Who may make an event trigger, and where rows come and go without triggers."""
        exists, watched, superuser, role = self._present()
        out = []
        if not watched and not superuser:
            out.append(
                Finding(
                    "error", "event trigger", f"role {role} may not create event triggers, which follow DDL",
                    "have a superuser run what `liberator setup --dry-run` prints",
                )
            )  # fmt: skip
        if exists and watched:
            out.append(Finding("ok", "change table", f"{'.'.join(self.place)} is there"))
        return out

    def extent(self) -> Extent:
        """With indexes and TOAST; counted up to a million."""
        (found,) = self.reader.fetch(self._sql("size"))
        return Extent(*found)

    # -- rows ----------------------------------------------------------------------------------------

    def change(self, row: tuple[Any, ...]) -> Change:
        """As it is."""
        return Change(*row)

    def decoder(self, schema: TableSchema) -> Callable[[Any], Row]:
        """Through a line as ``copy`` prints it."""
        name = f"{schema.schema}.{schema.table}"

        def decode(image: str) -> Row:
            try:
                return compile_copy_decoder(schema)(copy_line(image))
            except UnknownLabel as exc:
                self.reader.catalog.types.refresh(self.reader.conn)
                raise UnknownShape(f"{name} has a new enum label") from exc
            except ValueError:
                raise DecodeError(f"an image of {name} is not a record's text") from None

        return decode

    def pieces(self, reader: Reader, schema: TableSchema) -> Iterator[str]:
        """By ranges of pages of the tables that hold the rows."""
        found = self._oids()[f"{schema.schema}.{schema.table}"]
        for leaf in found.leaves:
            ((name, pages),) = reader.fetch(
                "select quote_ident(n.nspname) || '.' || quote_ident(c.relname),"
                " pg_relation_size(c.oid) / current_setting('block_size')::int"
                f" from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = {leaf}"
            )
            step = _PAGES if self.reader.version >= 140000 else pages + 1
            for page in range(0, pages + 1, step):
                upper = f" and ctid < '({page + step},0)'" if page + step <= pages else ""
                yield f"only {name} where ctid >= '({page},0)'{upper}"


def copy_line(image: str) -> bytes:
    """A record's text as a line of ``copy``: ``(1,"a b",)`` is ``1\\ta b\\t\\\\N``."""
    inside = image[1:-1]
    if '"' not in inside:
        if not inside:
            return b"\\N"
        return "\t".join([field or "\\N" for field in inside.split(",")]).encode()
    out = []
    place, size = 0, len(inside)
    while True:
        match = _FIELD.match(inside, place)
        assert match is not None
        quoted, plain = match.groups()
        if quoted is not None:
            if '"' in quoted or "\\" in quoted:
                quoted = _DOUBLED.sub(lambda m: m[1] or '"', quoted)
            out.append(quoted.translate(_COPY))
        else:
            out.append(plain or "\\N")
        place = match.end()
        if place >= size:
            return "\t".join(out).encode()
        if inside[place] != ",":
            raise ValueError("not a record's text")
        place += 1
