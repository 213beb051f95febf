"""Emulator of ThingSpace for tests and rehearsals on one machine."""

INSTALL_HINT = "Install the extra in a clone: pip install -e '.[emulator]'"
