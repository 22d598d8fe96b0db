"""From MySQL's and MariaDB's types to columns: of a table map, of the catalog, of a result set.

All three give the same :class:`liberator.schema.Column` as far as they know it. The catalog knows more than
a table map (defaults, which columns are generated, ``tinyint(1)``, which text of MariaDB is JSON, uuid and
inet), a table map without full metadata much less (neither names nor signs): ``from_table_map`` takes
from the catalog's columns what the map does not say, and refuses columns that contradict the map.

How types are spelled is :mod:`connectors.mysql.native`'s business, how values are read that of
:mod:`connectors.mysql.rows` and :mod:`connectors.mysql.text_rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from connectors.mysql.table_map import TableMap
from liberator.schema import Column


@dataclass(frozen=True, slots=True)
class TypeOptions:
    """What the user decides about types.

    ``zero_dates``: what becomes of dates that are none, ``0000-00-00`` and ``2024-00-00`` (and of times on
    them): ``null`` (columns of these types are then nullable), ``string`` (the database's own text: an
    escape, see :mod:`liberator.schema`), or ``error``. ``tinyint1``: whether ``tinyint(1)``, which is how
    both databases spell ``boolean``, is an int16 or a bool, of which every number but 0 is true; only the
    catalog knows the 1.
    """

    zero_dates: Literal["null", "string", "error"] = "null"
    tinyint1: Literal["int", "bool"] = "int"


DEFAULTS = TypeOptions()


@dataclass(frozen=True, slots=True)
class CatalogColumn:
    """A row of ``information_schema.columns``, as far as it matters; columns in ordinal order.

    ``column_type`` as the server spells it (``int unsigned``, ``enum('a','b')``); ``charset`` is
    ``character_set_name``; ``key`` the place in the primary key from 0, or None; ``extra`` as it is there
    (``STORED GENERATED``, ``INVISIBLE``, ``auto_increment``); ``json`` whether a check constraint
    ``json_valid`` makes it a JSON column (MariaDB).
    """

    name: str
    column_type: str
    charset: str | None = None
    nullable: bool = True
    key: int | None = None
    default: str | None = None
    extra: str = ""
    json: bool = False


def from_catalog(rows: Sequence[CatalogColumn], options: TypeOptions = DEFAULTS) -> tuple[Column, ...]:
    """The columns of a table as the catalog describes them. Raises SchemaError for a type that we cannot
    read."""
    raise NotImplementedError


def from_table_map(
    table: TableMap, known: Sequence[Column] = (), options: TypeOptions = DEFAULTS
) -> tuple[Column, ...]:
    """The columns of a table as a table map describes them.

    ``known`` are the columns that the catalog had (``from_catalog``), if they were looked up: from them comes
    what the map does not say. With full metadata a known column counts only if it is the same column (name and
    type). Without it, ``known`` must be the table's columns at this position: raises
    SchemaError if their number or a type is another, or if they are missing.
    """
    raise NotImplementedError
