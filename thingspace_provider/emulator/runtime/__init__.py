"""The emulator's process: server, scenario, state file."""
