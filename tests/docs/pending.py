"""Names that the code still has where the documents have the new ones. Empty this, then delete it."""

SETTINGS = {
    "waiting": "pending",
    "dead": "dead_letter",
}


def renamed(name: str) -> str:
    """The new name."""
    return SETTINGS.get(name, name)
