"""CallbackCredential: what ThingSpace sends back with every callback, so that the listener knows it is ThingSpace.

Generated once and kept in the stack's state as a secret. A changed `rotation` makes a new password and keeps the
old ones as previous: ThingSpace goes on sending the one that is registered for up to a quarter of an hour, and that is
not the newest when updates failed before they registered it.
"""

from __future__ import annotations

import secrets

from thingspace_provider.lifecycle.model import (
    CheckFailure,
    CheckResult,
    Context,
    CreateResult,
    DiffResult,
    FingerprintOf,
    ReadResult,
    State,
    is_unknown,
)

PASSWORD_BYTES = 24  # 32 characters; ThingSpace takes 40 at most
PATH_TOKEN_BYTES = 24
MAX_PREVIOUS_PASSWORDS = 3  # passwords that are kept beside the current one


class CredentialLifecycle:
    """inputs: rotation. outputs: these, username, password, previousPassword(s), pathToken. id: the user name.

    previousPasswords holds up to PREVIOUS, newest first, and previousPassword the first of them, or "". States of 0.1.0
    have only the latter.
    """

    def check(self, news: State) -> CheckResult:
        """A rotation is a number or a word; 1 when nothing is said."""
        rotation = news.get("rotation", 1)
        if isinstance(rotation, float) and rotation.is_integer():
            rotation = int(rotation)
        is_invalid = isinstance(rotation, bool) or not isinstance(rotation, int | str)
        failures = (
            [CheckFailure("rotation", "must be a number or a word, as 2")]
            if is_invalid and not is_unknown(rotation)
            else []
        )
        return CheckResult({"rotation": rotation}, failures)

    def diff(self, olds: State, news: State, fingerprint_of: FingerprintOf) -> DiffResult:
        """Only another rotation makes another password."""
        del fingerprint_of
        return DiffResult(olds.get("rotation") != news.get("rotation"))

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Invent everything; nothing leaves this machine."""
        del context
        username = f"thingspace-{secrets.token_hex(4)}"
        return CreateResult(
            username,
            {
                **inputs,
                "username": username,
                "password": secrets.token_urlsafe(PASSWORD_BYTES),
                "previousPassword": "",
                "previousPasswords": [],
                "pathToken": secrets.token_urlsafe(PATH_TOKEN_BYTES),
            },
        )

    def read(self, context: Context, outputs: State) -> ReadResult:
        """It lives in the state and nowhere else."""
        del context
        return ReadResult(outputs, {"rotation": outputs.get("rotation", 1)})

    def update(self, context: Context, olds: State, news: State) -> State:
        """A new password; the old ones stay acceptable as the previous."""
        del context
        before = olds.get("previousPasswords", [olds.get("previousPassword")])
        previous = [password for password in (olds["password"], *before) if password][:MAX_PREVIOUS_PASSWORDS]
        renewed = {"password": secrets.token_urlsafe(PASSWORD_BYTES), "previousPassword": previous[0]}
        return {**olds, **news, **renewed, "previousPasswords": previous}

    def delete(self, context: Context, outputs: State) -> None:
        """Nothing but the state holds it."""
        del context, outputs
