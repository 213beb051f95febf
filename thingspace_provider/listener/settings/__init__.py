"""Settings of the listener: file, environment, validation."""
