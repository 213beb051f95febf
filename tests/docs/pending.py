"""Names that the code still has where the documents have the new ones. Empty this, then delete it."""

SETTINGS = {
    "kinds": "messageKinds",
    "secrets": "signingSecrets",
    "properties": "producerProperties",
    "waiting": "pending",
    "dead": "dead_letter",
    "thingspace_sink_breaker_open": "thingspace_circuit_breaker_open",
    "thingspace_outbox_waiting": "thingspace_outbox_pending",
    "thingspace_outbox_oldest_seconds": "thingspace_outbox_oldest_age_seconds",
}
PATHS: set[str] = set()


def renamed(name: str) -> str:
    """The new name."""
    return SETTINGS.get(name, name)
