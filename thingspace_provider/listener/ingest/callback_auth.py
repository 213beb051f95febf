"""What the carrier and the deployer must know to be believed; every comparison takes constant time."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field


def constant_time_equals(given: str, expected: str) -> bool:
    """Whether two texts are equal, in a time that tells nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


@dataclass(frozen=True)
class ExpectedCredential:
    """User name and password that ThingSpace puts into every callback body.

    Previous passwords stay good, because ThingSpace goes on sending one for a quarter of an hour after a change.
    """

    username: str
    password: str = field(repr=False)
    previous_passwords: tuple[str, ...] = field(repr=False)

    def matches(self, username: object, password: object) -> bool:
        """Whether a body's user name and password are the current or previous ones; all are compared, always."""
        if not isinstance(username, str) or not isinstance(password, str):
            return False
        username_matches = constant_time_equals(username, self.username)
        password_matches = [
            constant_time_equals(password, candidate) for candidate in (self.password, *self.previous_passwords)
        ]
        return username_matches and any(password_matches)

    def compute_proof(self, account: str, nonce: str) -> str:
        """HMAC-SHA256 in hex that shows who asks with a nonce that this credential is known here."""
        message = f"{self.username}:{account}:{nonce}".encode()
        return hmac.new(self.password.encode(), message, hashlib.sha256).hexdigest()
