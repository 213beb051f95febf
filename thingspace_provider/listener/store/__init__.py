"""Where callbacks are kept: SQLite in one file, or PostgreSQL for several listeners. What both promise: `store.py`."""
