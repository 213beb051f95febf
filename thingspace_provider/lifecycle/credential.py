"""CallbackCredential: user name, password and path token that ThingSpace sends with every callback.

The lifecycle generates them once and the stack's state keeps them as secrets. A changed `rotation` generates a new
password and moves the current one to `previousPasswords`. The listener accepts these too, because ThingSpace sends the
registered password, which is an older one after a failed update and for up to 15 minutes after a successful one.
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

PASSWORD_BYTES = 24  # 32 characters in base64; ThingSpace accepts at most 40
PATH_TOKEN_BYTES = 24
MAX_PREVIOUS_PASSWORDS = 3


class CredentialLifecycle:
    """Lifecycle of a generated credential. The id is the user name.

    Inputs: rotation.
    Outputs: rotation, username, password, previousPasswords (up to three, newest first), pathToken.
    """

    def check(self, news: State) -> CheckResult:
        """Validate the rotation and convert a whole float, as the engine sends numbers, into an integer."""
        rotation = news.get("rotation")
        if rotation is None:  # differs from every value, so that the first value set makes a new password
            return CheckResult({})
        if isinstance(rotation, float) and rotation.is_integer():
            rotation = int(rotation)
        is_valid = isinstance(rotation, int | str) and not isinstance(rotation, bool)
        failures = [] if is_valid or is_unknown(rotation) else [CheckFailure("rotation", "must be a number or a word")]
        return CheckResult({"rotation": rotation}, failures)

    def diff(self, olds: State, news: State, fingerprint_of: FingerprintOf) -> DiffResult:
        """Report a change if the rotation differs."""
        del fingerprint_of
        return DiffResult(olds.get("rotation") != news.get("rotation"))

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Generate the credential. Sends no call."""
        del context
        username = f"thingspace-{secrets.token_hex(4)}"
        outputs = {
            **inputs,
            "username": username,
            "password": secrets.token_urlsafe(PASSWORD_BYTES),
            "previousPasswords": [],
            "pathToken": secrets.token_urlsafe(PATH_TOKEN_BYTES),
        }
        return CreateResult(username, outputs)

    def read(self, context: Context, id_: str, outputs: State) -> ReadResult:
        """Return the recorded state, which is the only copy of the credential; by id, only the user name is known."""
        del context
        return ReadResult(
            {**outputs, "username": id_}, {"rotation": outputs["rotation"]} if "rotation" in outputs else {}
        )

    def update(self, context: Context, olds: State, news: State) -> State:
        """Generate a new password and keep the last three as previous passwords."""
        del context
        previous = [olds["password"], *olds["previousPasswords"]][:MAX_PREVIOUS_PASSWORDS]
        return {
            **olds,
            **news,
            "password": secrets.token_urlsafe(PASSWORD_BYTES),
            "previousPasswords": previous,
        }

    def delete(self, context: Context, outputs: State) -> None:
        """Do nothing: the credential exists in the state only."""
        del context, outputs
