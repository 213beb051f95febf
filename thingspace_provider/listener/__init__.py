"""The durable inbox: what ThingSpace posts is stored, then acknowledged, then read."""
