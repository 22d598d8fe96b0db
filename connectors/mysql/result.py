"""The columns of a result set, from its column definition packets.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_column_definition.html
"""

from __future__ import annotations

from dataclasses import dataclass

from connectors.mysql.types import DEFAULTS, TypeOptions
from liberator.schema import Column


@dataclass(slots=True)
class ResultColumn:
    """A column definition. ``wire`` is the type's number (:class:`connectors.mysql.table_map.Wire`), ``length``
    in bytes, ``collation`` its id, ``flags`` those of ``mysql_com.h``, ``extended`` the name of a type of MariaDB's
    (``uuid``, ``json``) where the server sent one."""

    name: str
    wire: int
    collation: int
    length: int
    flags: int
    decimals: int
    extended: str = ""


def parse_column_definition(payload: bytes) -> ResultColumn:
    """A column from the payload of its packet. Raises DecodeError."""
    raise NotImplementedError


def from_result(column: ResultColumn, options: TypeOptions = DEFAULTS) -> Column:
    """The column of a query's result. What a result does not tell (labels of an enum, defaults) is left
    out: an enum is a string."""
    raise NotImplementedError
