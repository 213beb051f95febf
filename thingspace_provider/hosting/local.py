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

    The process outlives `pulumi up`. Its directory holds settings, log and store, and is never removed.

    Args:
        name: Pulumi resource name.
        account_names: accounts whose callbacks the listener accepts.
        credential: what ThingSpace sends with every callback.
        port: a port that ThingSpace accepts (80, 443, 9001-9006, 28200-28220, 50551-50559); None chooses a free one.
        state_dir: directory of settings, log and store; None is `listeners/<stack>-<name>` in `THINGSPACE_STATE_DIR`,
            by default `.thingspace` in the program's directory.
        opts: Pulumi resource options.

    Example:
        from thingspace_provider import CallbackCredential, LocalListener

        credential = CallbackCredential("credential")
        listener = LocalListener("listener", account_names=["0000123456-00001"], credential=credential)

    Operations:
        preview: shows whether the process will be started or restarted. Starts nothing.
        create: starts the process, or restarts one that an interrupted create left running.
        update: restarts the process on the same store, and on the same port if it is free.
        replace: stops the process, then starts one in the other directory, without the messages of the first.
        refresh: checks that the process runs. If it has exited, the next `pulumi up` starts it.
        delete: stops the process. Its messages stay in the directory.
        import: not supported. With `ResourceOptions(id=directory)` the resource is read and not managed.

    Errors:
        `is already in use by another program`: stop that program, or leave out `port`.
        `none of the ports that ThingSpace accepts is free on this machine`: stop the programs that use them.
        `other users can write to its directory`: run the commands that the error names, or set `state_dir`.
        `starting the local listener`: its log, listener.log, has the cause. The listener needs an extra:
            `pip install -e '.[listener]'` in a clone.
    """

    readiness = True

    url: pulumi.Output[str]
    """Scheme, address and port."""
    port: pulumi.Output[int]
    pid: pulumi.Output[int]
    """Process id; 0 if it does not run."""
    running: pulumi.Output[bool]
    """Whether it ran at the last update or refresh."""
    port_is_fixed: pulumi.Output[bool]
    """Whether the program sets the port."""
    revision: pulumi.Output[str]
    """Time of the last start, ISO 8601 in UTC."""
    path_token: pulumi.Output[str]
    """Path token of the credential."""

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
