"""Emulator of ThingSpace for tests and rehearsals on one machine."""
