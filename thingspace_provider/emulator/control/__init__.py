"""The control API and the page, below `/_emulator/`."""
