"""Store in a SQLite file."""
