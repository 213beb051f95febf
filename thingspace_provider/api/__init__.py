"""ThingSpace over HTTP: tokens, sessions, errors, one method per call."""
