"""Which table, which columns, which statements make the target fit a stream.

Called once for each version of each stream. A missing table is created with the stream's key as primary
key; a missing column is added; a column whose type is too narrow is widened where that loses nothing; a
column that is not sent any more, or may now be null, is allowed to be null. What remains is refused with
the remedy. Only key columns are created not null: what else may be null is the source's business, and it
can change its mind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from connectors.sql.dialect import Dialect, Existing, ExistingColumn, TableName, TargetType
from connectors.sql.sink.naming import column_names, shorten, source_of, table_name
from connectors.sql.sink.options import SqlSinkOptions
from connectors.sql.sink.table import Table, TargetColumn
from liberator.errors import SinkError
from liberator.schema import Column, LogicalType, TableSchema


@dataclass(frozen=True, slots=True)
class Extra:
    """Columns that a mode adds to every table. ``keyed``: whether the stream's key is the table's key;
    ``key`` names added columns that belong to it."""

    columns: tuple[Column, ...] = ()
    keyed: bool = True
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A column as we would create it."""

    name: str
    index: int
    column: Column
    type: TargetType


class Planner:
    """Plans tables at one target. ``altering`` is called before each statement of DDL."""

    def __init__(self, dialect: Dialect, options: SqlSinkOptions, extra: Extra, altering: Callable[[], None]):
        self._dialect = dialect
        self._options = options
        self._extra = extra
        self._altering = altering

    def name(self, topic: str, origin: TableSchema) -> TableName:
        """What the table of ``topic`` is called."""
        return table_name(self._dialect, self._options.table, topic, origin)

    def plan(self, topic: str, origin: TableSchema) -> Table:
        """Make the target fit, and say how it looks. Raises SinkError with the remedy if it cannot."""
        name = self.name(topic, origin)
        if self._dialect.captures(source_of(topic, origin), name):
            raise SinkError(
                f"table {name} is where topic {topic} comes from: each change would come again, for ever",
                hint="write to another database, or into another table with the option table; if another "
                "source of the same name captures this copy, give one of them another name",
            )
        if self._options.create:
            self._dialect.prepare(name, origin.columns, origin.dialect)
        wanted, key = self._wanted(name, origin)
        existing = self._dialect.describe(name)
        if existing is None:
            self._create(name, wanted, key)
        else:
            self._suit(name, wanted, key, existing)
        return self._table(name, topic, origin, wanted, key)

    def _wanted(self, name: TableName, origin: TableSchema) -> tuple[list[Wanted], list[str]]:
        """Our columns, and the names of those that are the key in its order."""
        added = self._extra.columns
        clash = set(origin.names) & {c.name for c in added}
        if clash:
            raise SinkError(
                f"table {name}: mode {self._options.mode} adds a column {min(clash)}, which the source's "
                "table has too",
                hint="leave this table out of the sink's topics, or choose another mode",
            )
        columns = (*origin.columns, *added)
        names = column_names(self._dialect, [c.name for c in columns])
        wanted = [
            Wanted(spelled, index, column, self._type(name, column, origin))
            for index, (spelled, column) in enumerate(zip(names, columns, strict=True))
        ]
        key = [names[i] for i in origin.key] if self._extra.keyed else []
        if key:
            key += [
                w.name for w in wanted if w.index >= len(origin.columns) and w.column.name in self._extra.key
            ]
        return self._keyed(wanted, key), key

    def _keyed(self, wanted: list[Wanted], key: Sequence[str]) -> list[Wanted]:
        """The columns with those types for the key's that can be in one."""
        by_name = {w.name: w.type for w in wanted}
        types = dict(zip(key, self._dialect.key_types([by_name[k].sql for k in key]), strict=True))
        return [
            replace(w, type=TargetType(types[w.name], w.type.loss)) if w.name in types else w for w in wanted
        ]

    def _type(self, name: TableName, column: Column, origin: TableSchema) -> TargetType:
        type_ = self._dialect.type_of(column, origin.dialect)
        if type_.loss and not self._options.allow_lossy:
            raise SinkError(
                f"table {name}, column {column.name}: {type_.sql} cannot hold every {column.type}: "
                f"{type_.loss}",
                hint="allow_lossy: true writes it all the same; or leave the column out at the source",
            )
        return type_

    def _create(self, name: TableName, wanted: Sequence[Wanted], key: Sequence[str]) -> None:
        if not self._options.create:
            raise SinkError(
                f"table {name} does not exist and create is false", hint=self._create_sql(name, wanted, key)
            )
        self._altering()
        self._dialect.execute(self._create_sql(name, wanted, key))

    def _create_sql(self, name: TableName, wanted: Sequence[Wanted], key: Sequence[str]) -> str:
        quote = self._dialect.quote
        lines = [
            f"{quote(w.name)} {w.type.sql}{' not null' if w.name in key else self._dialect.nullable}"
            for w in wanted
        ]
        if key:
            lines.append(f"primary key ({', '.join(map(quote, key))})")
        return (
            f"create table {self._dialect.quoted(name)} (\n    "
            + ",\n    ".join(lines)
            + f"\n){self._dialect.table_options}"
        )

    def _suit(
        self, name: TableName, wanted: Sequence[Wanted], key: Sequence[str], existing: Existing
    ) -> None:
        """Alter what does not fit; refuse what cannot be altered, everything at once."""
        problems: list[str] = []
        missing = [w for w in wanted if self._found(existing, w.name) is None]
        for want in missing:
            if not self._options.create:
                problems.append(f"column {want.name} ({want.type.sql}) is missing")
            elif want.name in key:
                problems.append(f"column {want.name}, part of the stream's key, is missing")
        for want in wanted:
            if want not in missing:
                self._suit_column(name, want, want.name in key, existing, problems)
        problems += self._suit_unsent(name, wanted, existing)
        if key and (problem := self._unique_problem(name, key, existing)):
            problems.append(problem)
        if problems:
            raise SinkError(
                f"table {name} does not fit its stream: {'; '.join(problems)}",
                hint="alter the table so that it fits, or drop the column and read it again with "
                "`liberator snapshot`, or name another table with the option table",
            )
        for want in missing:
            self._altering()
            self._dialect.execute(
                f"alter table {self._dialect.quoted(name)} add column "
                f"{self._dialect.quote(want.name)} {want.type.sql}{self._dialect.nullable}"
            )

    def _alter(
        self, name: TableName, column: str, type_: str | None = None, logical: LogicalType | None = None
    ) -> None:
        self._altering()
        self._dialect.alter(name, column, type_, logical)

    def _suit_unsent(self, name: TableName, wanted: Sequence[Wanted], existing: Existing) -> list[str]:
        """Let columns that the stream does not have be null; what is wrong where they cannot be."""
        problems = []
        sent = {self._dialect.same(w.name) for w in wanted}
        for column in existing.columns.values():
            needed = column.not_null and not column.has_default and not column.computed
            if self._dialect.same(column.name) in sent or not needed:
                continue
            if column.name in existing.primary:
                problems.append(f"column {column.name} belongs to the primary key and is not sent")
            elif self._options.create:
                self._alter(name, column.name)
            else:
                problems.append(f"column {column.name} is not null and is not sent")
        return problems

    def _suit_column(
        self, name: TableName, want: Wanted, keyed: bool, existing: Existing, problems: list[str]
    ) -> None:
        found = self._found(existing, want.name)
        assert found is not None
        if found.computed:
            if keyed:
                problems.append(f"column {want.name}, part of the stream's key, is computed here")
            return
        fit = self._dialect.fit(found.type, want.type, want.column)
        if fit == "differs" and not self._options.allow_lossy:
            problems.append(
                f"column {want.name} is {found.type}, which cannot hold every {want.column.type} "
                f"of the source ({want.type.sql} can)"
            )
        elif fit == "widen" and not self._options.create:
            problems.append(f"column {want.name} is {found.type} and has to become {want.type.sql}")
        elif fit == "widen":
            self._alter(name, found.name, want.type.sql, want.column.type)
        elif found.not_null and not keyed and found.name not in existing.primary and self._may_be_null(want):
            if self._options.create:
                self._alter(name, found.name)
            else:
                problems.append(f"column {want.name} is not null, and the source's may be null")

    def _may_be_null(self, want: Wanted) -> bool:
        return want.column.nullable or self._options.delete == "soft"

    def _unique_problem(self, name: TableName, key: Sequence[str], existing: Existing) -> str | None:
        """Make sure that an index finds the key; what is wrong if none can."""
        keys = {frozenset(map(self._dialect.same, u)) for u in (existing.primary, *existing.unique) if u}
        if frozenset(map(self._dialect.same, key)) in keys:
            return None
        columns = ", ".join(map(self._dialect.quote, key))
        index = self._dialect.quote(shorten(self._dialect, f"{name.table}_key", suffix=True))
        sql = f"create unique index {index} on {self._dialect.quoted(name)} ({columns})"
        if not self._options.create or any(self._found(existing, k) is None for k in key):
            return f"no unique index on the stream's key: {sql}"
        self._altering()
        self._dialect.execute(sql)
        return None

    def _found(self, existing: Existing, name: str) -> ExistingColumn | None:
        wanted = self._dialect.same(name)
        return next((c for c in existing.columns.values() if self._dialect.same(c.name) == wanted), None)

    def _table(
        self,
        name: TableName,
        topic: str,
        origin: TableSchema,
        wanted: Sequence[Wanted],
        key: Sequence[str],
    ) -> Table:
        existing = self._dialect.describe(name)
        assert existing is not None
        columns = []
        for want in wanted:
            found = self._found(existing, want.name)
            assert found is not None
            if not found.computed:
                columns.append(TargetColumn(found.name, found.type, want.index, want.column))
        by_name = {self._dialect.same(c.name): c for c in columns}
        target_key = tuple(by_name[self._dialect.same(k)] for k in key)
        return Table(
            name,
            topic,
            origin,
            tuple(columns),
            target_key,
            frozenset(c.name for c in target_key) in existing.unique,
            existing.parents,
            existing.referenced,
            len(wanted),
        )
