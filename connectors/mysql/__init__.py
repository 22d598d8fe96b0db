"""MySQL and MariaDB: reading their binary log, writing their tables."""
