"""One table, view or query that a query source reads: its name, what is selected, what identifies a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.sql.query.options import QueryOptions
from connectors.sql.reader import Reader, SourceTable, keyed
from liberator.errors import ConfigError, SourceError
from liberator.patterns import Patterns
from liberator.schema import Column, Kind, TableSchema

#: Kinds whose physical value says exactly which row is meant, whatever the database.
EXACT = {Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT64, Kind.STRING, Kind.BYTES, Kind.UUID, Kind.ENUM}


@dataclass(slots=True)
class Target:
    """``table`` is None for a query, whose text is ``query``. ``place`` is its number in the file of keys,
    ``schema`` its newest version, with the key that identifies its rows."""

    name: str
    topic: str
    place: int
    schema: TableSchema
    source: str
    table: SourceTable | None = None
    query: str = ""

    @property
    def relations(self) -> Sequence[tuple[str, str]]:
        """The tables that are written, as far as they are known."""
        table = self.table
        return [(table.schema, table.name)] if table is not None and not table.view else []

    def column(self, name: str) -> Column:
        """A column by its name."""
        return next(c for c in self.schema.columns if c.name == name)

    def renew(self, reader: Reader, options: QueryOptions) -> bool:
        """Describe it again; whether it has changed."""
        schema = described(reader, options, self.table, self.name, self.query)
        if schema is None:
            raise SourceError(
                f"{self.name} is gone", hint="take it out of `tables` or create it again", retryable=True
            )
        if schema == self.schema:
            return False
        self.schema = schema
        return True


def described(
    reader: Reader, options: QueryOptions, table: SourceTable | None, name: str, query: str
) -> TableSchema | None:
    """The schema of a table or query with its key; None where the table is gone."""
    if table is None:
        schema: TableSchema | None = reader.describe_query(name, query)
    else:
        schema = reader.describe(table)
    if schema is None:
        return None
    key = options.key_of(name)
    if not schema.key and not key and options.incrementing_column in schema.names:
        key = [options.incrementing_column]
    return keyed(schema, key, "key") if key and not schema.key else schema


def targets(reader: Reader, options: QueryOptions, source: str) -> list[Target]:
    """Everything that ``options`` name, as it is now. Raises ConfigError with what is wrong."""
    found: list[tuple[str, SourceTable | None, str]] = []
    if options.tables:
        chosen = reader.chosen(options.tables, f"sources.{source}.tables", views=True)
        # A pattern such as * means tables; a view is read only where its name was written out.
        named = _literal_names(options.tables)
        tables = [t for t in chosen if not t.view or t.full_name in named or t.name in named]
        found += [(t.full_name, t, "") for t in tables]
    found += [(name, None, query) for name, query in options.queries.items()]
    out = []
    problems = []
    for place, (name, table, query) in enumerate(found):
        schema = described(reader, options, table, name, query)
        if schema is None or not schema.columns:
            problems.append(f"sources.{source}: {name} has no column to read")
            continue
        relation = f"({query}) as q" if table is None else reader.relation(table)
        topic = f"{source}.{schema.schema}.{schema.table}"
        problems += [f"sources.{source}: {name}: {what}" for what in _problems(options, schema)]
        out.append(Target(name, topic, place, schema, relation, table, query))
    if problems:
        raise ConfigError(problems)
    return out


def _literal_names(patterns: Sequence[str]) -> set[str]:
    return {p.replace('"', "") for p in patterns if "*" not in p and not p.startswith("!")}


def _problems(options: QueryOptions, schema: TableSchema) -> list[str]:
    out = []
    for option in ("incrementing_column", "timestamp_column"):
        name = getattr(options, option)
        if name is not None and name not in schema.names and option.partition("_")[0] in options.mode:
            out.append(f"{option}: there is no column {name}")
    if not schema.key:
        out.append("has no primary key; name the columns that identify a row in `key`")
    elif options.remembers:
        vague = [c.name for c in schema.key_columns if c.type.kind not in EXACT]
        if vague:
            out.append(
                f"column {', '.join(vague)} of the key is not of a type by which deleted rows can be told; "
                "use a query that casts it to text"
            )
    return out


def matching(targets: Sequence[Target], names: Sequence[str]) -> list[Target]:
    """Those that patterns name, by the name with or without the schema. Raises SourceError for none."""
    wanted = Patterns(names)
    found = [t for t in targets if wanted(t.name) or wanted(f"{t.schema.schema}.{t.schema.table}")]
    if not found:
        raise SourceError(f"this source reads no table {', '.join(names)}")
    return found
