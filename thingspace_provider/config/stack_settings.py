"""Settings of the current stack as one typed object, validated before Pulumi creates anything.

All keys are in the namespace `thingspace`. An error names the key, the stack file and an example.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime.config import get_config_env

from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.config.credentials import resolve_credentials
from thingspace_provider.config.limits import resolve_limits
from thingspace_provider.config.stack_schema import (
    KNOWN_KEYS,
    NAMESPACE,
    Violation,
    parse_value,
    stack_file_path,
    validate,
)


class StackConfigError(pulumi.RunError):
    """The stack configuration is invalid. Ends the program without a traceback."""


@dataclass(frozen=True)
class HostSettings:
    """Settings of the listener host.

    Args:
        kind: `local`, `external` or `kubernetes`.
        url: callback URL of an external listener.
        port: port of a local listener; None chooses a free one.
        readiness: whether an external listener passes a readiness probe before each registration.
        options: the other keys of a listener on Kubernetes, as in the stack file. They hold secrets.
    """

    kind: str
    url: str = ""
    port: int | None = None
    readiness: bool = True
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> HostSettings:
        """Build the settings from the valid value of the key `listener`."""
        if values["kind"] == "kubernetes":
            return cls("kubernetes", options={key: value for key, value in values.items() if key != "kind"})
        return cls(**values)


@dataclass(frozen=True)
class StackSettings:
    """Differences between environments.

    Args:
        accounts: ThingSpace accounts with their leading zeros.
        listener: the listener host.
        triggers: a changed value sends startCallbacks again.
        rotation: a changed value generates a new callback password.
        adopt: whether registrations that point to another URL may be replaced.
        protect: whether Pulumi rejects the deletion of registrations.
        profile: the ThingSpace user of all resources; None is the default user.
    """

    accounts: tuple[str, ...]
    listener: HostSettings
    triggers: tuple[str, ...] = ()
    rotation: int | str | None = None
    adopt: bool = False
    protect: bool = False
    profile: str | None = None

    @classmethod
    def load(cls) -> StackSettings:
        """Load the settings of the current stack. Raises StackConfigError.

        Except in a preview, the credentials must be complete too, so that no update stops halfway without them.
        """
        config = pulumi.Config(NAMESPACE)
        values = _read_values(config)
        for violation in validate(values):
            raise StackConfigError(_format_error(violation, stack_file_path(pulumi.get_stack())))
        settings = cls._from_values(values)

        def get_config(full_key: str) -> str | None:
            return config.get(full_key.partition(":")[2])

        try:
            resolve_limits(os.environ, get_config)
            if not pulumi.runtime.is_dry_run():
                resolve_credentials(settings.profile, os.environ, get_config)
        except ThingSpaceError as error:
            raise StackConfigError(str(error)) from None
        return settings

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> StackSettings:
        """Build the settings from valid values."""
        return cls(
            accounts=tuple(values["accounts"]),
            listener=HostSettings.from_values(values["listener"]),
            triggers=tuple(str(value) for value in values.get("triggers", ())),
            rotation=values.get("rotation"),
            adopt=values.get("adopt", False),
            protect=values.get("protect", False),
            profile=values.get("profile"),
        )


def _read_values(config: pulumi.Config) -> dict[str, Any]:
    """Return the values of all keys that are set, known or not."""
    names = (full_key.partition(":") for full_key in get_config_env())
    keys = KNOWN_KEYS | {key for namespace, _, key in names if namespace == NAMESPACE}
    texts = {key: config.get(key) for key in keys}
    values = {key: parse_value(key, text) for key, text in texts.items() if text is not None}
    return {key: value for key, value in values.items() if value is not None}


def _format_error(violation: Violation, file: str) -> str:
    message = f"{violation.key} in {file} {violation.message}"
    message = message if message.endswith((".", "?")) else f"{message}."
    return f"{message} Example: {violation.example}" if violation.example else message
