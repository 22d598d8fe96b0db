"""The kinds of binlog events, by number: MySQL 8.0 to 9.x and MariaDB 10.6 to 12.

MySQL: ``Log_event_type`` in libs/mysql/binlog/event/binlog_event.h. MariaDB: ``Log_event_type`` in
sql/log_event.h, https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol.
The numbers are plain ints, because they are compared once per event.
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = 0
START_V3: Final = 1
QUERY: Final = 2
STOP: Final = 3
ROTATE: Final = 4
INTVAR: Final = 5
APPEND_BLOCK: Final = 9
DELETE_FILE: Final = 11
RAND: Final = 13
USER_VAR: Final = 14
FORMAT_DESCRIPTION: Final = 15
XID: Final = 16
BEGIN_LOAD_QUERY: Final = 17
EXECUTE_LOAD_QUERY: Final = 18
TABLE_MAP: Final = 19
WRITE_ROWS_V1: Final = 23
UPDATE_ROWS_V1: Final = 24
DELETE_ROWS_V1: Final = 25
INCIDENT: Final = 26
HEARTBEAT: Final = 27
IGNORABLE: Final = 28
ROWS_QUERY: Final = 29
WRITE_ROWS: Final = 30
UPDATE_ROWS: Final = 31
DELETE_ROWS: Final = 32
GTID: Final = 33
ANONYMOUS_GTID: Final = 34
PREVIOUS_GTIDS: Final = 35
TRANSACTION_CONTEXT: Final = 36
VIEW_CHANGE: Final = 37
XA_PREPARE: Final = 38
PARTIAL_UPDATE_ROWS: Final = 39
TRANSACTION_PAYLOAD: Final = 40
HEARTBEAT_V2: Final = 41
TAGGED_GTID: Final = 42

# MariaDB's own.
ANNOTATE_ROWS: Final = 160
BINLOG_CHECKPOINT: Final = 161
MARIA_GTID: Final = 162
MARIA_GTID_LIST: Final = 163
START_ENCRYPTION: Final = 164
QUERY_COMPRESSED: Final = 165
WRITE_ROWS_COMPRESSED_V1: Final = 166
UPDATE_ROWS_COMPRESSED_V1: Final = 167
DELETE_ROWS_COMPRESSED_V1: Final = 168
WRITE_ROWS_COMPRESSED: Final = 169
UPDATE_ROWS_COMPRESSED: Final = 170
DELETE_ROWS_COMPRESSED: Final = 171
PARTIAL_ROW_DATA: Final = 172

#: Row changes whose body :mod:`connectors.mysql.rows` decodes as it is.
ROWS: Final = frozenset(
    (WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS, PARTIAL_UPDATE_ROWS, WRITE_ROWS_V1, UPDATE_ROWS_V1, DELETE_ROWS_V1)
)
#: Row changes as MariaDB compresses them, and what each is when uncompressed.
COMPRESSED_ROWS: Final = {
    WRITE_ROWS_COMPRESSED_V1: WRITE_ROWS_V1,
    UPDATE_ROWS_COMPRESSED_V1: UPDATE_ROWS_V1,
    DELETE_ROWS_COMPRESSED_V1: DELETE_ROWS_V1,
    WRITE_ROWS_COMPRESSED: WRITE_ROWS,
    UPDATE_ROWS_COMPRESSED: UPDATE_ROWS,
    DELETE_ROWS_COMPRESSED: DELETE_ROWS,
}
#: Parts of a change written in statement format: they stand before the query event that they belong to.
STATEMENT_PARTS: Final = frozenset(
    (INTVAR, RAND, USER_VAR, BEGIN_LOAD_QUERY, APPEND_BLOCK, DELETE_FILE, EXECUTE_LOAD_QUERY)
)
#: What says nothing about data: a reader passes it over.
SILENT: Final = frozenset(
    (STOP, IGNORABLE, TRANSACTION_CONTEXT, VIEW_CHANGE, BINLOG_CHECKPOINT, HEARTBEAT, HEARTBEAT_V2)
)

#: Header flags (``LOG_EVENT_…_F``).
FLAG_IN_USE: Final = 0x1
FLAG_ARTIFICIAL: Final = 0x20
FLAG_IGNORABLE: Final = 0x80

NAMES: Final = {
    value: name
    for name, value in list(globals().items())
    if type(value) is int and not name.startswith("FLAG_")
}


def name(kind: int) -> str:
    """``write_rows`` for 30; the number where there is no name."""
    known = NAMES.get(kind)
    return known.lower() if known else f"number {kind}"
