"""Row decoders for rows events, compiled once per table map version.

A ``RowsDecoder`` belongs to one table map and its columns; for each combination of columns that an event
holds (row images full, minimal, noblob) it generates one function that walks the whole body without a look
at any type. Rows come out as tuples of physical values, ABSENT for columns that the event left out: the very
values that :mod:`connectors.mysql.text_rows` reads from a ``select``.

The body of an event is what lies between its header and its checksum. MariaDB's compressed rows events have to
be uncompressed first (:mod:`connectors.mysql.wire.compressed`).
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.mysql.table_map import TableMap
from connectors.mysql.types import DEFAULTS, TypeOptions
from liberator.event import Row
from liberator.schema import Column

#: An update: the row before and the row after.
Change = tuple[Row, Row]


def end_of_statement(data: bytes, start: int) -> bool:
    """Whether the rows event whose body begins at ``start`` is the last of its statement: the table maps
    before it count no longer."""
    return bool(data[start + 6] & 1)


class RowsDecoder:
    """Decodes the rows events of one version of a table.

    ``columns`` are those of :func:`connectors.mysql.types.from_table_map` for ``table``; every row has a value for
    each. The decoders are pure functions; ``kind`` is the event's number (``wire.kinds``), and
    ``data[start:end]`` the event's body. All of them raise DecodeError for a body that is
    truncated, damaged or not of this table.
    """

    __slots__ = ("columns", "options", "table")

    def __init__(self, table: TableMap, columns: Sequence[Column], options: TypeOptions = DEFAULTS):
        self.table = table
        self.columns = tuple(columns)
        self.options = options

    def rows(self, kind: int, data: bytes, start: int, end: int) -> list[Row]:
        """The rows of a write or delete event."""
        raise NotImplementedError

    def changes(self, kind: int, data: bytes, start: int, end: int) -> list[Change]:
        """The rows of an update event, before and after.

        In a partial update (PARTIAL_UPDATE_ROWS) a JSON document may be sent as a diff. It is applied where the
        row before holds the document; else the column is ABSENT after, as one that was not sent.
        """
        raise NotImplementedError
