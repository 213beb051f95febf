"""Queue recovery: drains ThingSpace's queue after an outage or a rejected callback."""
