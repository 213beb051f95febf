"""CallbackCredential: what ThingSpace sends back with every callback, so that the listener knows it is ThingSpace.

Generated once and kept in the stack's state as a secret. A changed `rotation` makes a new password and keeps the
old one as previous, because ThingSpace goes on sending it for up to a quarter of an hour.
"""

from __future__ import annotations

import secrets

from thingspace_provider.lifecycle.model import (
    Checked,
    Context,
    Created,
    Current,
    Difference,
    Failure,
    State,
    is_unknown,
)

PASSWORD_BYTES = 24  # 32 characters; ThingSpace takes 40 at most
PATH_TOKEN_BYTES = 24


class CallbackCredential:
    """inputs: rotation. outputs: rotation, username, password, previousPassword, pathToken. id: the user name."""

    def check(self, news: State) -> Checked:
        """A rotation is a number or a word; 1 when nothing is said."""
        rotation = news.get("rotation", 1)
        if isinstance(rotation, float) and rotation.is_integer():
            rotation = int(rotation)
        wrong = isinstance(rotation, bool) or not isinstance(rotation, int | str)
        failures = (
            [Failure("rotation", "must be a number or a word, as 2")] if wrong and not is_unknown(rotation) else []
        )
        return Checked({"rotation": rotation}, failures)

    def diff(self, olds: State, news: State) -> Difference:
        """Only another rotation makes another password."""
        return Difference(olds.get("rotation") != news.get("rotation"))

    def create(self, context: Context, inputs: State) -> Created:
        """Invent everything; nothing leaves this machine."""
        del context
        username = f"thingspace-{secrets.token_hex(4)}"
        return Created(
            username,
            {
                **inputs,
                "username": username,
                "password": secrets.token_urlsafe(PASSWORD_BYTES),
                "previousPassword": "",
                "pathToken": secrets.token_urlsafe(PATH_TOKEN_BYTES),
            },
        )

    def read(self, context: Context, outputs: State) -> Current:
        """It lives in the state and nowhere else."""
        del context
        return Current(outputs, {"rotation": outputs.get("rotation", 1)})

    def update(self, context: Context, olds: State, news: State) -> State:
        """A new password; the old one stays acceptable as the previous."""
        del context
        return {**olds, **news, "previousPassword": olds["password"], "password": secrets.token_urlsafe(PASSWORD_BYTES)}

    def delete(self, context: Context, outputs: State) -> None:
        """Nothing but the state holds it."""
        del context, outputs
