"""The source ``postgres-wal``: the write-ahead log, and what was there before."""
