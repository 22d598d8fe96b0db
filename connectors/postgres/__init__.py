"""Postgres: reading its WAL, writing its tables."""
