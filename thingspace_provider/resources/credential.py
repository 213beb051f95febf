"""CallbackCredential: what ThingSpace sends with every callback, so that the listener can authenticate it."""

from __future__ import annotations

from typing import Any

import pulumi

from thingspace_provider.providers import CallbackCredentialProvider
from thingspace_provider.resources.base import InvalidArgument, Resource


class CallbackCredential(Resource, name="CallbackCredential"):
    """A generated user name, password and path token. All are secrets in the stack's state.

    Args:
        name: Pulumi resource name.
        rotation: a changed value generates a new password; the listener still accepts the last three.
        opts: Pulumi resource options.
    """

    username: pulumi.Output[str]
    password: pulumi.Output[str]
    previous_passwords: pulumi.Output[list[str]]
    """Up to three passwords, newest first. One of them stays registered when a rotation fails."""
    path_token: pulumi.Output[str]
    """An unguessable segment of the callback URL."""

    def __init__(
        self,
        name: str,
        *,
        rotation: pulumi.Input[int | str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        generated = ["username", "password", "previous_passwords", "path_token"]
        super().__init__(
            CallbackCredentialProvider(), name, {"rotation": rotation}, generated, opts, secret_outputs=generated
        )

    @classmethod
    def check(cls, owner: str, value: object) -> None:
        """Raise InvalidArgument unless the argument `credential` of a resource is one."""
        if not isinstance(value, cls):
            raise InvalidArgument(f"{owner}: credential must be a CallbackCredential, not {type(value).__name__}")

    @property
    def listener_settings(self) -> pulumi.Output[dict[str, Any]]:
        """The credential with the keys of the listener's settings file, as one secret."""
        values = {
            "username": self.username,
            "password": self.password,
            "previousPasswords": self.previous_passwords,
            "pathToken": self.path_token,
        }
        return pulumi.Output.secret(pulumi.Output.all(**values).apply(dict))
