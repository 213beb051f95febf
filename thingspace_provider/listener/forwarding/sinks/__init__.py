"""Sinks: where messages are delivered to."""
