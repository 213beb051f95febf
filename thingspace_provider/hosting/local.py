"""LocalListener: a listener on the machine where `pulumi up` runs. For development only."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pulumi

from thingspace_provider.providers import LocalListenerProvider
from thingspace_provider.resources.base import Resource
from thingspace_provider.resources.credential import CallbackCredential

STATE_DIR = ".thingspace"


class LocalListener(Resource, name="LocalListener"):
    """A listener process on this machine. For development only: ThingSpace itself cannot reach it.

    The process outlives `pulumi up`. A refresh sees that it died, the next update starts it again, an update
    restarts it on the same store, and deleting it stops it and leaves the stored texts where they are.

    Args:
        name: the resource's name in the program.
        account_names: accounts whose texts it takes.
        credential: what ThingSpace will send back.
        port: a port that ThingSpace accepts (80, 443, 9001-9006, 28200-28220, 50551-50559); None picks a free one.
        state_dir: folder of its settings, log and store; None is `listeners/<stack>-<name>` in
            THINGSPACE_STATE_DIR, by default `.thingspace` beside the program.
        opts: Pulumi's options.
    """

    readiness = True

    url: pulumi.Output[str]
    port: pulumi.Output[int]
    pid: pulumi.Output[int]
    revision: pulumi.Output[str]
    path_token: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        account_names: pulumi.Input[Sequence[str]],
        credential: CallbackCredential,
        port: pulumi.Input[int] | None = None,
        state_dir: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            LocalListenerProvider(),
            name,
            {
                "account_names": account_names,
                "username": credential.username,
                "password": credential.password,
                "previous_password": credential.previous_password,
                "previous_passwords": credential.previous_passwords,
                "path_token": credential.path_token,
                "port": port,
                "state_dir": state_dir or _default_state_dir(name),
            },
            ["url", "port", "pid", "revision", "running", "port_given"],
            opts,
            secret_outputs=["username", "password", "previous_password", "previous_passwords", "path_token"],
        )

    def url_for(self, account_name: pulumi.Input[str]) -> pulumi.Output[str]:
        """The callback URL of an account; a secret, because of the token in it."""
        return pulumi.Output.concat(self.url, "/callbacks/", self.path_token, "/", account_name)


def _default_state_dir(name: str) -> str:
    return f"{os.environ.get('THINGSPACE_STATE_DIR') or STATE_DIR}/listeners/{pulumi.get_stack()}-{name}"
