"""Ingest: from the HTTP connection to the committed message."""
