"""liberator frees data that is locked inside databases: row changes become event streams."""

__version__ = "0.1.0"
