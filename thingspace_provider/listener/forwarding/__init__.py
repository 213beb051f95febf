"""Forwarding: delivers each stored message to every sink, at least once and in order for each device."""
