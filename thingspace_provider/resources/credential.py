"""CallbackCredential: what ThingSpace sends back with every callback."""

from __future__ import annotations

from typing import Any

import pulumi

from thingspace_provider.providers import CallbackCredentialProvider
from thingspace_provider.resources.base import Resource


class CallbackCredential(Resource, name="CallbackCredential"):
    """A user name, a password and a path token, generated once and kept as secrets in the stack's state.

    Args:
        name: the resource's name in the program.
        rotation: another number makes a new password; the last three stay acceptable as previous ones.
        opts: Pulumi's options.
    """

    username: pulumi.Output[str]
    password: pulumi.Output[str]
    previous_password: pulumi.Output[str]
    """The password before the last rotation, or "" before the first."""
    previous_passwords: pulumi.Output[list[str] | None]
    """The last three, newest first: what is registered is one of them when a rotation failed. None in an old state."""
    path_token: pulumi.Output[str]
    """A part of the callback URL that nobody can guess."""

    def __init__(
        self,
        name: str,
        *,
        rotation: pulumi.Input[int | str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        generated = ["username", "password", "previous_password", "previous_passwords", "path_token"]
        super().__init__(
            CallbackCredentialProvider(), name, {"rotation": rotation}, generated, opts, secret_outputs=generated
        )

    @property
    def listener_settings(self) -> pulumi.Output[dict[str, Any]]:
        """The listener's settings as its settings file spells them; a secret."""
        values = {
            "username": self.username,
            "password": self.password,
            "previousPasswords": self.previous_passwords,
            "pathToken": self.path_token,
        }
        return pulumi.Output.secret(pulumi.Output.all(**values).apply(dict))
