"""ThingSpace's API as the emulator serves it, below `/api`."""
