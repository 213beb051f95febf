"""Sends each stored callback on to every sink: one forwarder per sink, at least once, in order per device."""
