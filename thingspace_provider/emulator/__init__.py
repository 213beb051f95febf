"""An emulator of ThingSpace, because nobody outside Verizon has one to test against."""
