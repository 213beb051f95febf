"""Callback credential and its comparisons, all of which take constant time."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field


def constant_time_equals(given: str, expected: str) -> bool:
    """Return whether two strings are equal. The duration does not reveal where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


@dataclass(frozen=True)
class ExpectedCredential:
    """User name and password that ThingSpace puts into every callback body.

    Previous passwords are valid too, because ThingSpace sends one for up to 15 minutes after a change.
    """

    username: str
    password: str = field(repr=False)
    previous_passwords: tuple[str, ...] = field(repr=False)

    def matches(self, username: object, password: object) -> bool:
        """Return whether both are valid. Every password is compared, whichever matches."""
        if not isinstance(username, str) or not isinstance(password, str):
            return False
        username_matches = constant_time_equals(username, self.username)
        password_matches = [
            constant_time_equals(password, candidate) for candidate in (self.password, *self.previous_passwords)
        ]
        return username_matches and any(password_matches)
