"""The stack's configuration as one typed object, checked before anything is created.

All keys are in the namespace `thingspace`. What is wrong is said with the key, the stack file and an example.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime.config import get_config_env

from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.hosting import ExternalListener, LocalListener
from thingspace_provider.lifecycle import inputs
from thingspace_provider.lifecycle.connection import SETTINGS as CREDENTIALS
from thingspace_provider.lifecycle.connection import credentials
from thingspace_provider.resources import CallbackCredential

NAMESPACE = "thingspace"
EXAMPLES: dict[str, str] = {
    "accounts": '["0000123456-00001"]',
    "listener": "{kind: external, url: https://sms.example.com/callbacks/{account}}",
    "listener.kind": "local",
    "listener.url": "https://sms.example.com/callbacks/{account}",
    "listener.port": "28200",
    "listener.readiness": "true",
    "triggers": '["2026-03-01"]',
    "rotation": "1",
    "adopt": "false",
    "protect": "true",
    "profile": "plant_a",
}
IN_WORDS: dict[type | tuple[type, ...], str] = {
    list: "a list",
    dict: "a map",
    bool: "true or false",
    str: "text",
    (int, str): "a number or a word",
}
LISTENER_KEYS = ("kind", "url", "port", "readiness")
KNOWN = {key for key in EXAMPLES if "." not in key} | {key for _, key in CREDENTIALS.values()} | {"profiles"}


class SettingsError(pulumi.RunError):
    """The stack's configuration is not usable; ends the program without a traceback, before anything is created."""


@dataclass(frozen=True)
class Listener:
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
class Settings:
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
    listener: Listener
    triggers: tuple[str, ...] = ()
    rotation: int | str = 1
    adopt: bool = False
    protect: bool = False
    profile: str | None = None

    @classmethod
    def load(cls) -> Settings:
        """Read the present stack's configuration, or raise SettingsError.

        Outside of a preview, credentials have to be there too, so that nothing is half done without them.
        """
        config = pulumi.Config(NAMESPACE)
        raw = _Reader(stack_file(pulumi.get_stack()), config, get_config_env())
        settings = raw.settings()
        if not pulumi.runtime.is_dry_run():
            try:
                credentials(settings.profile, os.environ, lambda key: config.get(key.partition(":")[2]))
            except ThingSpaceError as error:
                raise SettingsError(str(error)) from None
        return settings


def stack_file(stack: str) -> str:
    """The path of a stack's file as a person would type it."""
    try:
        project = yaml.safe_load(Path("Pulumi.yaml").read_text(encoding="utf-8"))
        folder = str(project.get("stackConfigDir") or project.get("config") or "")
    except (OSError, yaml.YAMLError, AttributeError):
        folder = ""
    return str(Path(folder) / f"Pulumi.{stack}.yaml")


class _Reader:
    """Reads keys of the stack file, one kind of value at a time."""

    def __init__(self, file: str, config: pulumi.Config, everything: Mapping[str, Any]) -> None:
        self._file = file
        self._config = config
        self._everything = everything

    def settings(self) -> Settings:
        self._refuse_unknown()
        return Settings(
            accounts=self._accounts(),
            listener=self._listener(),
            triggers=tuple(str(value) for value in self._typed("triggers", list, [])),
            rotation=self._typed("rotation", (int, str), 1),
            adopt=self._typed("adopt", bool, False),
            protect=self._typed("protect", bool, False),
            profile=self._profile(),
        )

    def _profile(self) -> str | None:
        profile: str | None = self._typed("profile", str, None)
        for problem in inputs.profile({"profile": profile}):
            raise self.wrong("profile", f"is not usable: {problem.reason}")
        return profile

    def _accounts(self) -> tuple[str, ...]:
        listed = self._typed("accounts", list, None)
        if not listed:
            raise self.wrong("accounts", "is missing: which ThingSpace accounts are meant?")
        for entry in listed:
            for problem in inputs.account_problems("accounts", entry):
                raise self.wrong("accounts", problem.reason)
        twice = sorted({entry for entry in listed if listed.count(entry) > 1})
        if twice:
            raise self.wrong("accounts", f"names {', '.join(twice)} more than once")
        return tuple(listed)

    def _listener(self) -> Listener:
        entry = self._typed("listener", dict, None)
        if entry is None:
            raise self.wrong("listener", "is missing: where does the listener run?")
        for key in entry:
            if key not in LISTENER_KEYS:
                raise self.wrong("listener", f"has no key {key!r}; it has {', '.join(LISTENER_KEYS)}")
        kind = entry.get("kind")
        if kind == "local":
            port = entry.get("port")
            if port is not None and not inputs.is_accepted_port(port):
                raise self.wrong(
                    "listener.port", f"is {port!r}, which ThingSpace refuses; it accepts {inputs.PORTS_IN_WORDS}"
                )
            return Listener("local", port=port)
        if kind == "external":
            url = entry.get("url")
            if not url:
                raise self.wrong("listener.url", "is missing: an external listener is a URL that already exists")
            if problem := inputs.url_problem(str(url).replace("{account}", "0").replace("{path_token}", "0")):
                raise self.wrong("listener.url", f"is not usable: {problem}")
            readiness = entry.get("readiness", False)
            if not isinstance(readiness, bool):
                raise self.wrong("listener.readiness", "must be true or false")
            return Listener("external", url=url, readiness=readiness)
        raise self.wrong("listener.kind", f"is {kind!r}; it is local or external")

    def _typed(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        text = self._config.get(key)
        if text is None:
            return default
        value = yaml.safe_load(text) if kind is not str else text
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, f"is {_short(text)}; it must be {IN_WORDS[kind]}")
        return value

    def _refuse_unknown(self) -> None:
        for full in self._everything:
            namespace, _, key = full.partition(":")
            if namespace == NAMESPACE and key not in KNOWN:
                near = difflib.get_close_matches(key, KNOWN, 1)
                hint = f"; did you mean {NAMESPACE}:{near[0]}?" if near else f"; known are {', '.join(sorted(KNOWN))}"
                raise SettingsError(f"{NAMESPACE}:{key} in {self._file} is not a setting{hint}")

    def wrong(self, key: str, what: str) -> SettingsError:
        top = key.partition(".")[0]
        example = EXAMPLES.get(key, EXAMPLES[top])
        return SettingsError(f"{NAMESPACE}:{key} in {self._file} {what}. Example: {NAMESPACE}:{key}: {example}")


def _short(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else text[:longest] + " ..."
