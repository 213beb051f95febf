"""Emulated API of ThingSpace, under `/api`."""
