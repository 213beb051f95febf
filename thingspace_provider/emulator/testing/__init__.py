"""The emulator in tests: pytest plugin, client, scripted listener."""
