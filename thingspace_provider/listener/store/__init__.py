"""Store of messages and outbox: SQLite in one file, or PostgreSQL for several replicas. `base.py` is the interface."""
