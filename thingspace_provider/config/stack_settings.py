"""The stack's configuration as one typed object, checked before anything is created.

All keys are in the namespace `thingspace`. What is wrong is said with the key, the stack file and an example.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.runtime.config import get_config_env

from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.config.credentials import resolve_credentials, resolve_limits
from thingspace_provider.config.stack_schema import (
    KNOWN_KEYS,
    NAMESPACE,
    Violation,
    parse_value,
    stack_file_path,
    validate,
)
from thingspace_provider.hosting import ExternalListener, LocalListener
from thingspace_provider.resources import CallbackCredential


class StackConfigError(pulumi.RunError):
    """The stack's configuration is not usable; ends the program without a traceback, before anything is created."""


@dataclass(frozen=True)
class HostSettings:
    """Where this stack's listener runs: on this machine, or at a URL that already exists."""

    kind: str
    url: str = ""
    port: int | None = None
    readiness: bool = False

    def deploy(
        self, name: str, accounts: tuple[str, ...], credential: CallbackCredential
    ) -> LocalListener | ExternalListener:
        """The host of the listener."""
        if self.kind == "local":
            return LocalListener(name, account_names=accounts, credential=credential, port=self.port)
        return ExternalListener(url=self.url, credential=credential, readiness=self.readiness)


@dataclass(frozen=True)
class StackSettings:
    """What differs between environments.

    Args:
        accounts: ThingSpace accounts, leading zeros kept.
        listener: where the texts go.
        triggers: another value sends startCallbacks again.
        rotation: another number makes a new callback password.
        adopt: whether registrations that point elsewhere may be replaced.
        protect: whether Pulumi refuses to delete the registrations.
        profile: which ThingSpace user calls; None is the default one.
    """

    accounts: tuple[str, ...]
    listener: HostSettings
    triggers: tuple[str, ...] = ()
    rotation: int | str = 1
    adopt: bool = False
    protect: bool = False
    profile: str | None = None

    @classmethod
    def load(cls) -> StackSettings:
        """Read the present stack's configuration, or raise SettingsError.

        Outside of a preview, credentials have to be there too, so that nothing is half done without them.
        """
        config = pulumi.Config(NAMESPACE)
        keys = {key for full in get_config_env() for space, _, key in [full.partition(":")] if space == NAMESPACE}
        given = {key: parse_value(key, text) for key in keys | KNOWN_KEYS if (text := config.get(key)) is not None}
        values = {key: value for key, value in given.items() if value is not None}
        for violation in validate(values):
            raise StackConfigError(_format_error(violation, stack_file_path(pulumi.get_stack())))
        settings = cls._from_values(values)

        def configured(key: str) -> str | None:
            return config.get(key.partition(":")[2])

        try:
            resolve_limits(os.environ, configured)
            if not pulumi.runtime.is_dry_run():
                resolve_credentials(settings.profile, os.environ, configured)
        except ThingSpaceError as error:
            raise StackConfigError(str(error)) from None
        return settings

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> StackSettings:
        """From values in which there is no problem."""
        return cls(
            accounts=tuple(values["accounts"]),
            listener=HostSettings(**values["listener"]),
            triggers=tuple(str(value) for value in values.get("triggers", ())),
            rotation=values.get("rotation", 1),
            adopt=values.get("adopt", False),
            protect=values.get("protect", False),
            profile=values.get("profile"),
        )


def _format_error(violation: Violation, file: str) -> str:
    message = f"{violation.key} in {file} {violation.message}"
    message = message if message.endswith((".", "?")) else f"{message}."
    return f"{message} Example: {violation.example}" if violation.example else message
