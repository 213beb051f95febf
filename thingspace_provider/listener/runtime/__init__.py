"""The listener's process: server, signals, PID file, retention."""
