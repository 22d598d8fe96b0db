"""Writing streams into Postgres."""
