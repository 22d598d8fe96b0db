"""The source ``mysql-binlog``: the binary log, and what was there before."""
