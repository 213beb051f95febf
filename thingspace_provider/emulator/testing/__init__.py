"""Pytest plugin of the emulator, with a client and a scripted listener."""
