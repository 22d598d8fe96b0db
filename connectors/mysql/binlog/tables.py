"""The tables that the stream speaks of: which schema version each has, here and now, and what DDL does to it.

A schema comes up in three places, in a table map of the stream, in a chunk of a snapshot, and in the state
of an earlier run; :meth:`Tables.seen` makes one shared object of equal ones and notices when a table has
changed between two of them. A table is its name: DDL in the stream says when another one takes it.

Where table maps are full (``binlog_row_metadata=FULL``) they say what counts, and the catalog only adds to
it. Where they are not, the columns are those known from before, or the catalog's if DDL has passed since;
either way they are verified against the map, and a contradiction stops the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from connectors.mysql.binlog.options import BinlogOptions
from connectors.mysql.catalog import SYSTEM, VERSIONED, Catalog, Chosen
from connectors.mysql.connection import translate
from connectors.mysql.rows import RowsDecoder
from connectors.mysql.table_map import TableMap
from connectors.mysql.types import from_table_map
from connectors.mysql.wire.statements import Act, Statement
from liberator.errors import SchemaError, SourceError
from liberator.event import ABSENT, ChangeEvent, Phase, Row, Transaction
from liberator.schema import Kind, TableSchema

#: The columns of MariaDB's sequences.
_SEQUENCE: Final = (
    "next_not_cached_value", "minimum_value", "maximum_value", "start_value", "increment", "cache_size",
    "cycle_option", "cycle_count",
)  # fmt: skip
#: The last columns of its system-versioned tables, if they are not named by hand; the second is in the key.
_PERIOD: Final = ("row_start", "row_end")

#: Notes an event and says whether it is to be emitted.
Hook = Callable[[Transaction, ChangeEvent], bool]
Name = tuple[str, str]


class Captured:
    """One version of a table in the stream: its decoder, and what its events have in common.

    ``hook`` is None but while a snapshot has an interest in the table's changes.
    """

    __slots__ = ("count", "decoder", "hook", "name", "phase", "schema", "topic", "transaction")

    def __init__(self, name: str, schema: TableSchema, decoder: RowsDecoder | None, topic: str):
        self.name = name
        self.schema = schema
        self.decoder: Any = decoder
        self.topic = topic
        self.phase = Phase.STREAM
        self.hook: Hook | None = None
        self.transaction: Transaction | None = None
        self.count = 0


class Watcher:
    """What wants to know what happens to tables: the snapshots."""

    def attend(self, captured: Captured) -> None:
        """A table's version comes up in the stream: set its phase and its hook."""

    def altered(self, name: str, old: TableSchema, new: TableSchema) -> None:
        """Its columns have changed."""

    def appeared(self, name: str) -> bool:
        """It was created, empty; True if sinks may hold rows of an earlier one of this name."""
        return False

    def replaced(self, name: str) -> None:
        """Other rows have taken its place, or some have come or gone without an event."""

    def begun(self) -> list[str]:
        """The tables of which rows were read or changes told."""
        return []

    def dropped(self, name: str) -> None:
        """It is gone."""

    def unknown(self, name: str) -> None:
        """It comes up in the stream and has never been read."""

    def stray(self, captured: Captured, row: Row) -> None:
        """The row is to be read on its own: its event did not hold it all."""


class Tables:
    """What the decoder asks for when the stream describes a table, and what it tells.

    ``schemas`` is the part of a state that holds them, by full name; it is replaced, never changed.
    ``fold``: the server keeps names in lower case, whatever a statement says.
    """

    def __init__(
        self,
        source: str,
        options: BinlogOptions,
        catalog: Catalog,
        schemas: Mapping[str, Any],
        *,
        fold: bool = False,
    ):
        self.schemas = dict(schemas)
        self.watcher = Watcher()
        self._source = source
        self._options = options
        self._catalog = catalog
        self._fold = fold
        self._chosen = Chosen(options.tables, options.ghosts)
        self._known = {name: TableSchema.from_json(schema) for name, schema in schemas.items()}
        self._altered = {name for name, schema in schemas.items() if schema.get("altered")}
        #: The columns of tables of which a snapshot has seen newer ones than the stream.
        self._behind = {
            name: TableSchema.from_json(schema["behind"])
            for name, schema in schemas.items()
            if schema.get("behind")
        }
        self._live: dict[bytes, Captured] = {}

    # -- in the stream ---------------------------------------------------------------------------

    def wanted(self, name: Name) -> bool:
        """Whether a table is captured."""
        return name[0].lower() not in SYSTEM and self._chosen(self.full_name(name))

    def full_name(self, name: Name) -> str:
        """``database.table`` as the catalog has it."""
        full = f"{name[0]}.{name[1]}"
        return full.lower() if self._fold else full

    def described(self, body: bytes) -> Captured | None:
        """The table that the body of a table map describes; None if it is not captured."""
        table = TableMap.parse(body, mariadb=self._catalog.mariadb)
        if not self.wanted((table.database, table.table)):
            return None
        captured = self._live.get(table.layout)
        if captured is None and not self._special(table):
            captured = self._live[table.layout] = self._captured(table)
        return captured

    def written(self, name: Name) -> bool:
        """Whether a statement that changes this table, as a statement, changes a captured one. MariaDB writes
        all changes of tables that are versioned by transactions so."""
        if not self.wanted(name):
            return False
        with translate(f"read the catalog for {name[0]}.{name[1]}"):
            return not self._catalog.special(*name)

    def _special(self, table: TableMap) -> bool:
        """Whether it is a sequence or a system-versioned table of MariaDB, which are left out."""
        name = f"{table.database}.{table.table}"
        with translate(f"read the catalog for {name}"):
            kind = self._catalog.special(table.database, table.table)
        if kind == VERSIONED and name in self._known:
            raise SourceError(
                f"table {name} was captured, and has become system-versioned: its history stands in the "
                "binlog as rows like any others",
                hint=f"leave it out (tables: !{name}), or alter table … drop system versioning, and read it "
                f"again: `liberator snapshot --config FILE {self._source} {name}`",
            )
        if kind or not table.full:
            return bool(kind)
        # As it was then: the catalog may have another table of this name now, or none.
        names = tuple(column.name for column in table.columns)
        versioned = names[-2:] == _PERIOD and table.key is not None and len(names) - 1 in table.key
        return names == _SEQUENCE or versioned

    def _captured(self, table: TableMap) -> Captured:
        name = f"{table.database}.{table.table}"
        with translate(f"read the catalog for {name}"):
            schema = self._schema(table, name)
        schema = self.seen(name, schema, streamed=True)
        self.watcher.unknown(name)
        decoder = RowsDecoder(table, schema.columns, self._options.types)
        captured = Captured(name, schema, decoder, self._topic(schema))
        self.watcher.attend(captured)
        return captured

    def _schema(self, table: TableMap, name: str) -> TableSchema:
        known = self._known.get(name)
        catalog = self._catalog.columns(table.database, table.table)
        before = known.columns if known is not None else ()
        candidates = [catalog, before] if table.full or name in self._altered else [before, catalog]
        if name in self._behind and not table.full:
            candidates.insert(0, self._behind[name].columns)
        problem: SchemaError | None = None
        for columns in candidates:
            if not columns and not table.full:
                continue
            try:
                found = from_table_map(table, columns, self._options.types)
            except SchemaError as exc:
                problem = exc
                continue
            return self._catalog.make(table.database, table.table, found)
        raise SourceError(
            f"cannot tell the columns of {name} where the stream is: its binlog does not name them, and "
            f"the catalog "
            f"has moved on{f' ({problem})' if problem else ''}",
            hint="set global binlog_row_metadata = FULL, so that the binlog says it; then `liberator "
            "snapshot --config "
            "FILE --recover SOURCE` reads the tables anew",
        ) from problem

    def _topic(self, schema: TableSchema) -> str:
        return f"{self._source}.{schema.schema}.{schema.table}"

    def learn(self, name: Name) -> None:
        """Note a table's columns as they are where the stream begins, which does not name them."""
        full = self.full_name(name)
        if full not in self._known:
            with translate(f"read the catalog for {full}"):
                schema = self._catalog.schema(*name)
            if schema is not None:
                self._note(full, schema)

    def seen(self, name: str, schema: TableSchema, *, streamed: bool = False) -> TableSchema:
        """Note a table's schema where it comes up; returns the one object that stands for this version. One
        that is not ``streamed`` may be ahead of the stream."""
        known = self._known.get(name)
        altered = name in self._altered
        if known == schema and not altered:
            return known
        if known is not None and known != schema and not altered and not streamed:
            self._behind.setdefault(name, known)
        if known is not None and known != schema and not altered:
            self.watcher.altered(name, known, schema)
        self._altered.discard(name)
        kept = known if known == schema and known is not None else schema
        self._note(name, kept)
        return kept

    def _note(self, name: str, schema: TableSchema) -> None:
        self._known[name] = schema
        noted = schema.to_json()
        if name in self._altered:
            noted["altered"] = True
        if name in self._behind:
            noted["behind"] = self._behind[name].to_json()
        self.schemas = {**self.schemas, name: noted}

    def live(self) -> Iterable[Captured]:
        """All versions that have come up since the last DDL."""
        return list(self._live.values())

    # -- what the decoder tells ------------------------------------------------------------------

    def incomplete(self, captured: Captured, rows: Sequence[Row], *, inserted: bool) -> None:
        """Row events lack what they must hold: an insert some column, or an update a JSON document of which
        it sent what has changed."""
        columns = captured.schema.columns
        places = [i for i, c in enumerate(columns) if inserted or c.type.kind is Kind.JSON]
        for row in rows:
            if not any(row[i] is ABSENT for i in places):
                continue
            if self._options.missing == "error" or not captured.schema.key:
                raise SourceError(
                    f"a row event of {captured.name} does not hold the whole row",
                    hint="set binlog_row_image=FULL in every session"
                    + (
                        "" if captured.schema.key else "; a table without a primary key cannot be read by row"
                    ),
                )
            self.watcher.stray(captured, row)

    def moved(self, captured: Captured, row: Row) -> None:
        """A row came to another key without its unchanged columns, while its table is being read."""
        self.watcher.stray(captured, row)

    def uncount(self, event: ChangeEvent) -> None:
        """An event was taken back."""
        for captured in self._live.values():
            if captured.transaction is event.transaction and captured.schema is event.schema:
                captured.count -= 1

    # -- DDL -------------------------------------------------------------------------------------

    def changed(self, said: Statement, where: str) -> list[Captured]:
        """A statement, which ends at ``where``, changes tables; returns those of which a truncate is to be
        told."""
        act = said.act
        names = [self._named(name) for name in said.tables]
        if act is Act.TRUNCATE_TABLE:
            return [c for name in names if self.wanted(name) and (c := self._stand_in(name))]
        emptied: list[Captured] = []
        if act in (Act.CREATE_TABLE, Act.CREATE_TABLE_AS):
            emptied = self._created(names[:1], replaces=said.replaces)
        elif act in (Act.DROP_TABLE, Act.DROP_DATABASE):
            self._dropped(names, whole=act is Act.DROP_DATABASE)
        elif act is Act.RENAME_TABLE or said.renamed:
            self._renamed(names, where)
        elif act is Act.ALTER_TABLE and self.wanted(names[0]):
            self._alter(names[0])
        if said.silent:
            for name in filter(self.wanted, names[1:] if said.renamed else names):
                self._replaced(self.full_name(name), where)
        self._live.clear()
        return emptied

    def unseen(self, where: str) -> None:
        """A transaction ended at ``where`` of which nobody knows the rows."""
        for full in self.watcher.begun():
            self._replaced(full, where)
        self._live.clear()

    def _replaced(self, full: str, where: str) -> None:
        """Rows came or went without row events: what to do is an option."""
        if self._options.unlogged == "error":
            raise SourceError(
                f"rows of {full} came or went before {where}, and the binlog does not say which",
                hint="`unlogged: reread` has the table emptied in the sinks and read again, `unlogged: "
                "ignore` leaves the sinks as they are",
            )
        self.watcher.replaced(full)

    def _created(self, names: Sequence[Name], *, replaces: bool) -> list[Captured]:
        emptied = []
        for name in filter(self.wanted, names):
            if replaces:
                self.watcher.dropped(self.full_name(name))
            if self.watcher.appeared(self.full_name(name)):
                self._moved_on(self.full_name(name))
                if (captured := self._stand_in(name)) is not None:
                    emptied.append(captured)
        return emptied

    def _dropped(self, names: Sequence[Name], *, whole: bool) -> None:
        if whole:
            gone = [n for n in self._known if names and n.partition(".")[0] == names[0][0]]
        else:
            gone = [self.full_name(name) for name in names if self.wanted(name)]
        for full in gone:
            self.watcher.dropped(full)

    def _named(self, name: Name) -> Name:
        return (name[0].lower(), name[1].lower()) if self._fold else name

    def _alter(self, name: Name) -> None:
        """The table's columns may be others from here on: what the catalog has now decides whether rows got
        values."""
        full = self.full_name(name)
        known = self._known.get(full)
        if known is None:
            return
        with translate(f"read the catalog for {full}"):
            now = self._catalog.schema(*name)
        if now is not None:
            if now != known:
                self.watcher.altered(full, known, now)
            # Rows that were read before it and are not told yet are to be read again.
            self.watcher.attend(Captured(full, now, None, ""))
        self._moved_on(full)

    def _moved_on(self, full: str) -> None:
        """The stream has come to where its columns may be others."""
        self._altered.add(full)
        self._behind.pop(full, None)
        if full in self._known:
            self._note(full, self._known[full])

    def _renamed(self, names: Sequence[Name], where: str) -> None:
        pairs = list(zip(names[::2], names[1::2], strict=False))
        taken = {new for _, new in pairs}
        for old, _ in pairs:
            if old not in taken and self.wanted(old):
                self.watcher.dropped(self.full_name(old))
        for old, new in pairs:
            if not self.wanted(new):
                continue
            ghost = self._chosen.ghost(self.full_name(old))
            if ghost:
                # An online schema change: the same rows in a new form.
                self.watcher.appeared(self.full_name(new))
                self._alter(new)
            else:
                self._moved_on(self.full_name(new))
                self._replaced(self.full_name(new), where)

    def _stand_in(self, name: Name) -> Captured | None:
        """For an event without a row: the table as it is known, or as the catalog has it."""
        full = self.full_name(name)
        schema = self._known.get(full)
        if schema is None:
            with translate(f"read the catalog for {full}"):
                schema = self._catalog.schema(*name)
            if schema is None:
                return None
            schema = self.seen(full, schema)
        captured = Captured(full, schema, None, self._topic(schema))
        self.watcher.attend(captured)
        return captured
