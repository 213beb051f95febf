"""Checks of `thingspace doctor`, one module for each part: environment, configuration, ThingSpace, listeners."""
