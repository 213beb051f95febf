"""Names that the code still has where the documents have the new ones. Empty this, then delete it."""

SETTINGS = {
    "kinds": "messageKinds",
    "secrets": "signingSecrets",
    "properties": "producerProperties",
    "waiting": "pending",
    "dead": "dead_letter",
    "thingspace_sink_breaker_open": "thingspace_circuit_breaker_open",
    "thingspace_outbox_waiting": "thingspace_outbox_pending",
    "thingspace_callbacks_refused": "thingspace_callbacks_rejected",
    "thingspace_commit_callbacks": "thingspace_callbacks_per_commit",
    "thingspace_commit_seconds": "thingspace_commit_duration_seconds",
    "thingspace_callbacks_waiting": "thingspace_commit_queue_length",
    "thingspace_callbacks_removed": "thingspace_messages_purged",
    "thingspace_queue_asked": "thingspace_recovery_runs",
    "thingspace_queue_texts_fetched": "thingspace_recovery_messages",
    "thingspace_healing_stopped": "thingspace_recovery_stopped",
    "thingspace_outbox_oldest_seconds": "thingspace_outbox_oldest_age_seconds",
}
PATHS: set[str] = set()


def renamed(name: str) -> str:
    """The new name."""
    return SETTINGS.get(name, name)
