"""Tables of MySQL and MariaDB as their catalog describes them, for the sink.

``describe`` makes an :class:`~connectors.sql.dialect.Existing` out of ``information_schema``; a
:class:`Definition` says all about one column, for neither database alters a type without being told the rest
again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from connectors.mysql.native import NativeType
from connectors.mysql.sink.column_types import MARIADB, labelled
from connectors.sql.dialect import Existing, ExistingColumn, TableName
from liberator.errors import SinkError


class Ask(Protocol):
    """Runs a query of ``sink.sql``."""

    def __call__(self, statement: str, *params: str | None) -> list[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class Definition:
    """A column as the catalog has it. ``default`` and ``comment`` as it spells them."""

    name: str
    type: str
    nullable: bool
    default: str | None
    extra: str
    comment: str
    charset: str | None
    collation: str | None
    primary: bool
    flavour: str

    @classmethod
    def of(cls, row: tuple[Any, ...], flavour: str) -> Definition:
        """From a row of the query ``columns``."""
        _, name, type_, nullable, default, extra, charset, collation, comment, key = row
        return cls(
            name, type_, nullable == "YES", default, extra.upper(), comment, charset, collation, key == "PRI",
            flavour,
        )  # fmt: skip

    @property
    def spelled(self) -> str:
        """The type, with the character set that it has."""
        if self.charset is None:
            return self.type
        own = NativeType.parse(self.type)
        type_ = labelled(own) if own.labels else self.type
        return f"{type_} character set {self.charset} collate {self.collation}"

    @property
    def computed(self) -> bool:
        """Whether the server computes it."""
        return "VIRTUAL GENERATED" in self.extra or "STORED GENERATED" in self.extra

    @property
    def existing(self) -> ExistingColumn:
        """What the planner wants to know."""
        has_default = self.default is not None or "AUTO_INCREMENT" in self.extra
        return ExistingColumn(self.name, self.spelled, not self.nullable, has_default, self.computed)

    def sql(self, type_: str | None, literal: Callable[[object], str]) -> str:
        """What follows the column's name in DDL, with another type, and null if it may be."""
        if type_ is not None and self.charset == "utf8mb4":
            # How its texts compare is the table's owner's business.
            before, collate, _ = type_.partition(" collate ")
            type_ = f"{before} collate {self.collation}" if collate else type_
        parts = [type_ or self.spelled, "not null" if self.primary else "null"]
        if self.default is not None:
            parts.append(f"default {self._default(literal)}")
        if "ON UPDATE" in self.extra:
            parts.append("on update " + self.extra.partition("ON UPDATE ")[2].split(",")[0].lower())
        if "AUTO_INCREMENT" in self.extra:
            parts.append("auto_increment")
        if "INVISIBLE" in self.extra:
            parts.append("invisible")
        if self.comment:
            parts.append(f"comment {literal(self.comment)}")
        return " ".join(parts)

    def _default(self, literal: Callable[[object], str]) -> str:
        assert self.default is not None
        if self.flavour == MARIADB:
            return self.default  # as DDL spells it
        if "DEFAULT_GENERATED" in self.extra:
            # An expression, in which quotes are escaped once more.
            text = self.default.replace("\\'", "'")
            return text if text.upper().startswith("CURRENT_TIMESTAMP") else f"({text})"
        return self.default if self.default.startswith("b'") else literal(self.default)


def describe(ask: Ask, table: TableName, same: Callable[[str], str]) -> Existing | None:
    """A table, None where there is none. Raises SinkError for one whose engine has no transactions.

    ``same`` is how names of tables compare: the catalog itself may be laxer.
    """

    def query(statement: str) -> list[tuple[Any, ...]]:
        rows = ask(statement, table.schema, table.table)
        return [row for row in rows if same(row[0]) == same(table.table)]

    found = query("table")
    if not found:
        return None
    _, engine, transactions = found[0]
    if engine is not None and transactions != "YES":
        raise SinkError(
            f"table {table} is stored by {engine}, which has no transactions: rows and cursor would part",
            hint="alter table … engine = InnoDB",
        )
    columns = {d.name: d.existing for d in (Definition.of(row, "") for row in query("columns"))}
    indexes: dict[str, list[str | None]] = defaultdict(list)
    for _, index, column, part in query("indexes"):
        indexes[index].append(column if part is None else None)
    keys = {name: frozenset(c for c in names if c) for name, names in indexes.items() if None not in names}
    parents = {TableName(schema, name) for _, schema, name in query("parents")}
    return Existing(
        columns,
        keys.get("PRIMARY", frozenset()),
        frozenset(keys.values()),
        frozenset(parents),
        bool(query("referenced")),
    )
