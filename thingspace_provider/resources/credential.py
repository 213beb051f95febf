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
        rotation: number or word; a changed value generates a new password. The listener still accepts the last three.
        opts: Pulumi resource options.

    Example:
        from thingspace_provider import CallbackCredential

        credential = CallbackCredential("credential", rotation=1)

    Operations:
        preview: shows whether a password will be generated. No call; no credentials are needed.
        create: generates user name, password and path token. No call.
        update: generates a password, and keeps the last three in `previous_passwords`. User name and path token stay.
        replace: never happens.
        refresh: changes nothing, because the state has the only copy.
        delete: removes the credential from the state. No call.
        import: not supported. With `ResourceOptions(id=…)` only the user name is known.

    Errors:
        `must be a number or a word`: set `rotation` to a number or a text.
        `must be a CallbackCredential, not`: pass the resource, not its password.
    """

    username: pulumi.Output[str]
    """Sent with every callback."""
    password: pulumi.Output[str]
    """Sent with every callback, 32 characters."""
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
