"""Names that the code still has where the documents have the new ones. Empty this, then delete it."""

SETTINGS = {
    "kinds": "messageKinds",
    "secrets": "signingSecrets",
    "properties": "producerProperties",
    "waiting": "pending",
    "dead": "dead_letter",
}
PATHS: set[str] = set()


def renamed(name: str) -> str:
    """The new name."""
    return SETTINGS.get(name, name)
