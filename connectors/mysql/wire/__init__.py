"""The replication protocol of MySQL and MariaDB: bytes to binlog events, and nothing about rows.

From the socket inwards: :mod:`.dump` asks for a stream and keeps watch over it, :mod:`.packets` reads it in
large blocks, :mod:`.blocks` cuts those into events (checksums, positions); :mod:`.events`,
:mod:`.gtid_events` and :mod:`.query` parse what is in one, :mod:`.payload` and :mod:`.compressed` unpack what
is compressed, :mod:`.gtid` and :mod:`.maria_gtid` keep positions, :mod:`.statements` understands the heads of
statements, :mod:`.files` reads binlog files. All but ``dump`` and ``packets`` are functions over bytes.

What a table map and row changes say is not here: see :mod:`connectors.mysql.table_map` and
:mod:`connectors.mysql.rows`.
"""
