"""Callbacks on their way from the socket to the store."""
