"""SQLite: writing its tables."""
