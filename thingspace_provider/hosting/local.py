"""LocalListener: a listener on the machine that runs `pulumi up`. For development only."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pulumi

from thingspace_provider.providers import LocalListenerProvider
from thingspace_provider.resources.base import Resource, check_account_names
from thingspace_provider.resources.credential import CallbackCredential

STATE_DIR = ".thingspace"


class LocalListener(Resource, name="LocalListener"):
    """A listener process on this machine. For development only: ThingSpace itself cannot reach it.

    The process outlives `pulumi up`. A refresh detects that it has exited, and the next update starts it again. An
    update restarts it on the same store. Deleting the resource stops it and keeps its messages.

    Args:
        name: Pulumi resource name.
        account_names: accounts whose callbacks the listener accepts.
        credential: what ThingSpace sends with every callback.
        port: a port that ThingSpace accepts (80, 443, 9001-9006, 28200-28220, 50551-50559); None chooses a free one.
        state_dir: directory of settings, log and store; None is `listeners/<stack>-<name>` in THINGSPACE_STATE_DIR,
            by default `.thingspace` in the program's directory.
        opts: Pulumi resource options.
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
        check_account_names("LocalListener", account_names)
        CallbackCredential.check("LocalListener", credential)
        super().__init__(
            LocalListenerProvider(),
            name,
            {
                "account_names": account_names,
                "username": credential.username,
                "password": credential.password,
                "previous_passwords": credential.previous_passwords,
                "path_token": credential.path_token,
                "port": port,
                "state_dir": _default_state_dir(name) if state_dir is None else state_dir,
            },
            ["url", "port", "pid", "revision", "running", "port_is_fixed"],
            opts,
            secret_outputs=["username", "password", "previous_passwords", "path_token"],
        )

    def url_for(self, account_name: pulumi.Input[str]) -> pulumi.Output[str]:
        """Return the callback URL of an account. It is a secret, because its path holds a token."""
        return pulumi.Output.concat(self.url, "/callbacks/", self.path_token, "/", account_name)


def _default_state_dir(name: str) -> str:
    return f"{os.environ.get('THINGSPACE_STATE_DIR') or STATE_DIR}/listeners/{pulumi.get_stack()}-{name}"
