"""From MySQL's and MariaDB's types to columns: of a table map and of the catalog.

Both give the same :class:`liberator.schema.Column` as far as they know it. The catalog knows more than
a table map (defaults, which columns are generated, ``tinyint(1)``, which text of MariaDB is JSON, uuid and
inet), a table map without full metadata much less (neither names nor signs): ``from_table_map`` takes
from the catalog's columns what the map does not say, and refuses columns that contradict the map.

How types are spelled is :mod:`connectors.mysql.native`'s business, how values are read that of
:mod:`connectors.mysql.rows` and :mod:`connectors.mysql.text_rows`; a result set's columns are in
:mod:`connectors.mysql.result`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from connectors.mysql.native import BINARY_NAMES, DEFAULTS, NativeType, TypeOptions, is_binary
from connectors.mysql.storage import fits, stored_type
from connectors.mysql.table_map import MapColumn, TableMap
from liberator.errors import SchemaError
from liberator.schema import Column, Kind

__all__ = ["DEFAULTS", "CatalogColumn", "TypeOptions", "from_catalog", "from_table_map"]

_DATES: Final = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_GENERATED = re.compile(r"\b(?:stored|virtual|persistent)\b", re.IGNORECASE)
_BARE = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?|b'[01]*'|0x[0-9a-f]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CatalogColumn:
    """A row of ``information_schema.columns``, as far as it matters; columns in ordinal order.

    ``column_type`` as the server spells it (``int unsigned``, ``enum('a','b')``); ``charset`` is
    ``character_set_name``; ``key`` the place in the primary key from 0, or None; ``extra`` as it is there
    (``STORED GENERATED``, ``INVISIBLE``, ``auto_increment``); ``json`` whether a check constraint
    ``json_valid`` makes it a JSON column (MariaDB). ``sql_default`` says that ``default`` is SQL already, as
    MariaDB has it, and not a bare value.
    """

    name: str
    column_type: str
    charset: str | None = None
    nullable: bool = True
    key: int | None = None
    default: str | None = None
    extra: str = ""
    json: bool = False
    sql_default: bool = False


def from_catalog(rows: Sequence[CatalogColumn], options: TypeOptions = DEFAULTS) -> tuple[Column, ...]:
    """The columns of a table as the catalog describes them. Raises SchemaError for a type that we cannot
    read."""
    return tuple(_from_row(row, options) for row in rows)


def _from_row(row: CatalogColumn, options: TypeOptions) -> Column:
    native = NativeType.parse(row.column_type, row.charset)
    if row.json and native.name == "longtext":
        native = NativeType("json")
    elif is_binary(native.charset):
        native = replace(native, name=BINARY_NAMES.get(native.name, native.name), charset=None)
    try:
        type_ = native.logical(options)
    except SchemaError as exc:
        raise SchemaError(f"column {row.name}: {exc}", hint=exc.hint) from None
    nullable = row.nullable or (options.zero_dates == "null" and type_.kind in _DATES)
    generated = _GENERATED.search(row.extra) is not None
    return Column(row.name, type_, nullable, row.key, str(native), _default(row), generated)


def _default(row: CatalogColumn) -> str | None:
    text = row.default
    if text is None or (row.sql_default and text.upper() == "NULL"):
        return None
    if row.sql_default or "DEFAULT_GENERATED" in row.extra.upper() or _BARE.fullmatch(text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def from_table_map(
    table: TableMap, known: Sequence[Column] = (), options: TypeOptions = DEFAULTS
) -> tuple[Column, ...]:
    """The columns of a table as a table map describes them.

    ``known`` are the columns that the catalog had (``from_catalog``), if they were looked up: from them
    comes what the map does not say. With full metadata a known column counts only if it is the same column
    (name and type). Without it, ``known`` must be the table's columns at this position: raises
    SchemaError if their number or a type is another, or if they are missing.
    """
    if not table.full:
        return _from_known(table, known)
    by_name = {column.name: column for column in known}
    out = []
    for place, column in enumerate(table.columns):
        assert column.name is not None
        twin = by_name.get(column.name)
        key = table.key.index(place) if table.key and place in table.key else None
        if twin is not None and fits(column, NativeType.parse(twin.native)):
            out.append(replace(twin, key=key, nullable=_nullable(column, twin, options)))
            continue
        try:
            native = stored_type(column)
        except SchemaError as exc:
            raise SchemaError(
                f"column {column.name} of table {table.database}.{table.table}: {exc}", hint=exc.hint
            ) from None
        made = Column(column.name, native.logical(options), True, key, str(native))
        out.append(replace(made, nullable=_nullable(column, made, options)))
    return tuple(out)


def _nullable(column: MapColumn, made: Column, options: TypeOptions) -> bool:
    return column.nullable or (options.zero_dates == "null" and made.type.kind in _DATES)


def _from_known(table: TableMap, known: Sequence[Column]) -> tuple[Column, ...]:
    if not known:
        _refuse(table, "the binlog does not say what its columns are, and the catalog has none")
    if len(known) != len(table.columns):
        _refuse(table, f"it had {len(table.columns)} columns in the binlog, and has {len(known)} now")
    for column, mapped in zip(known, table.columns, strict=True):
        if not fits(mapped, NativeType.parse(column.native)):
            _refuse(table, f"column {column.name}, now {column.native}, was of another type in the binlog")
    return tuple(known)


def _refuse(table: TableMap, why: str) -> NoReturn:
    raise SchemaError(
        f"the columns of table {table.database}.{table.table} are not known at this position: {why}",
        hint="`set global binlog_row_metadata = FULL` makes the binlog tell them from then on; changes that "
        "were written before need the table as it was, or a new snapshot",
    )
