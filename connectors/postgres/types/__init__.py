"""Postgres's types: text as the server prints and reads it, and physical values."""
