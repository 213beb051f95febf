"""Names that the code still has where the documents have the new ones. Empty this, then delete it."""

SETTINGS = {
    "deadline": "resourceTimeoutSeconds",
    "THINGSPACE_DEADLINE": "THINGSPACE_RESOURCE_TIMEOUT_SECONDS",
    "THINGSPACE_READINESS_SECONDS": "THINGSPACE_READINESS_TIMEOUT_SECONDS",
    "THINGSPACE_RETRY_REFUSED_LOGIN": "THINGSPACE_LOGIN_OVERRIDE",
    "THINGSPACE_LISTENER_HEAL": "THINGSPACE_LISTENER_RECOVERY_MODE",
    "THINGSPACE_LISTENER_PREVIOUS_PASSWORD": "THINGSPACE_LISTENER_PREVIOUS_PASSWORDS",
    "previousPassword": "previousPasswords",
    "heal": "recoveryMode",
    "healAfterSeconds": "recoveryDelaySeconds",
    "healMinutes": "recoveryIntervalSeconds",
    "thingspace": "thingspaceCredentials",
    "sources": "sourceAddressPolicy",
    "sourceAddresses": "allowedSourceAddresses",
    "trustedHops": "trustedProxyHops",
    "freeSpace": "minFreeDiskSpace",
    "kinds": "messageKinds",
    "secrets": "signingSecrets",
    "properties": "producerProperties",
    "waiting": "pending",
    "dead": "dead_letter",
    "thingspace_sink_breaker_open": "thingspace_circuit_breaker_open",
    "thingspace_outbox_waiting": "thingspace_outbox_pending",
    "thingspace_outbox_oldest_seconds": "thingspace_outbox_oldest_age_seconds",
}
OPTIONS = {"--contains": "--text", "--since": "--from"}
PATHS = {"tests/hosting/", "thingspace_provider/config/limits.py"}


def renamed(name: str) -> str:
    """The new name."""
    return SETTINGS.get(name, name)
