"""Control API under `/_emulator/`, and the web page of the emulator."""
