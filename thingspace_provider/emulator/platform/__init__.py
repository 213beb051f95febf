"""Platform: the simulated ThingSpace behind its API."""
