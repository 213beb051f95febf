"""The durable inbox: stored, then acknowledged, then forwarded."""
