"""Process of the emulator: server, scenario and state file."""
