"""What is configured, and where each value comes from. No secret is shown, not even in part."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from thingspace_provider.api import Credentials
from thingspace_provider.api.errors import CredentialsMissing, SettingUnusable
from thingspace_provider.cli.doctor_checks.check import Step, Steps, failed, ok, refused, skipped
from thingspace_provider.cli.doctor_checks.environment import Engine, EngineFailed
from thingspace_provider.common.redaction import Secrets
from thingspace_provider.config import stack_schema
from thingspace_provider.config.credentials import SETTINGS, credentials, limits, sources
from thingspace_provider.config.stack_linter import StackFile
from thingspace_provider.config.stack_schema import NAMESPACE, SECRET_KEYS
from thingspace_provider.config.yaml_positions import NotYaml, composed
from thingspace_provider.lifecycle.model import UNKNOWN

SHOWN = {"username", "base_url"}  # of the credentials
PROFILE_VARIABLES = re.compile(r"THINGSPACE_(\w+)_APP_KEY")


@dataclass(frozen=True)
class Configuration:
    """The stack's configuration, as far as it can be read; `encrypted` names keys whose values cannot."""

    stack: str | None = None
    texts: dict[str, str] = field(default_factory=dict, repr=False)
    encrypted: frozenset[str] = frozenset()

    def get(self, full_key: str) -> str | None:
        """The value of `thingspace:key` as the engine hands it to a program."""
        return self.texts.get(full_key)

    def value(self, key: str) -> Any:
        """The value of a key of ours, parsed; None when it is not set."""
        text = self.texts.get(f"{NAMESPACE}:{key}")
        return None if text is None else stack_schema.read(key, text)

    def accounts(self) -> list[str]:
        """The account names that are usable as such."""
        listed = self.value("accounts")
        return [name for name in listed if isinstance(name, str) and name] if isinstance(listed, list) else []


def steps(stack: str | None, engine: Engine | None, secrets: Secrets) -> Steps[Configuration]:
    """Returns the configuration of the stack named, or of the selected one, or an empty one."""
    if not Path("Pulumi.yaml").is_file():
        yield skipped("stack", "there is no Pulumi.yaml in this folder: the environment alone counts")
        return Configuration()
    if stack is None and engine is not None:
        try:
            stack = engine.ask("stack", "--show-name").strip()
        except EngineFailed as reason:
            yield skipped("stack", f"{reason} (the environment alone counts; --stack names one)")
            return Configuration()
    if stack is None:
        yield skipped("stack", "without an engine the selected stack is not known: --stack names one")
        return Configuration()
    found, step = _of_engine(stack, engine, secrets)
    yield step
    yield from _settings(found)
    return found


def _of_engine(stack: str, engine: Engine | None, secrets: Secrets) -> tuple[Configuration, Step]:
    if engine is None:
        return _of_file(stack), skipped("stack", f"{stack}, read from its file without an engine: no encrypted value")
    try:
        document = json.loads(engine.ask("config", "--json", "--show-secrets", "--stack", stack))
        texts = {key: entry["value"] for key, entry in document.items()}
    except EngineFailed as reason:
        remedy = (
            "What the file holds in clear is used for the steps below. `pulumi stack init` makes a stack that is in no "
            "backend yet, `pulumi login` reaches the backend, PULUMI_CONFIG_PASSPHRASE opens the secrets."
        )
        return _of_file(stack), failed("stack", f"`pulumi config --stack {stack}` says: {reason}", remedy)
    except (ValueError, KeyError, TypeError, AttributeError):
        what = f"`pulumi config --stack {stack}` printed what is not its usual JSON"
        return _of_file(stack), failed("stack", what, "What the file holds in clear is used for the steps below.")
    for key, text in texts.items():
        _, _, name = key.partition(":")
        secrets.add([text] if name in SECRET_KEYS else _inside(stack_schema.read(name, text)))
    return Configuration(stack, texts), ok("stack", f"{stack}, secrets included")


def _inside(value: Any) -> list[Any]:
    """The secrets of profiles."""
    profiles = value.values() if isinstance(value, dict) else ()
    return [entry.get(key) for entry in profiles if isinstance(entry, dict) for key in SECRET_KEYS]


def _of_file(stack: str) -> Configuration:
    """What stands in the stack's file in clear."""
    path = Path(stack_schema.stack_file(stack))
    try:
        values = StackFile(path, composed(path)).values
    except (OSError, NotYaml):
        return Configuration(stack)
    texts = {f"{NAMESPACE}:{key}": _text(value) for key, value in values.items() if value is not UNKNOWN}
    encrypted = frozenset(key for key, value in values.items() if value is UNKNOWN)
    return Configuration(stack, texts, encrypted)


def _text(value: Any) -> str:
    """As the engine would hand it over; what is encrypted inside is left empty."""
    return value if isinstance(value, str) else json.dumps(value, default=lambda it: None if it is UNKNOWN else str(it))


def _settings(configuration: Configuration) -> Steps[None]:
    """Whether a program could use the stack's settings."""
    ours = [key.partition(":")[2] for key in configuration.texts if key.startswith(f"{NAMESPACE}:")]
    values = {key: configuration.value(key) for key in ours} | dict.fromkeys(configuration.encrypted, UNKNOWN)
    problems = list(stack_schema.problems(values))
    for problem in problems:
        example = f"As in  {problem.example}" if problem.example else "Correct or remove it."
        yield failed("settings", f"{problem.key} {problem.what}", f"{example}; `thingspace lint` names the line.")
    if not problems:
        listener, accounts = values.get("listener"), values.get("accounts")
        kind = listener.get("kind") if isinstance(listener, dict) else "encrypted"
        count = len(accounts) if isinstance(accounts, list) else "encrypted"
        yield ok("settings", f"accounts: {count}; listener: {kind}")


@dataclass(frozen=True)
class User:
    """Where ThingSpace is, when its address is usable; who calls there, when that is complete."""

    base_url: str | None = None
    credentials: Credentials | None = None


def user_steps(profile: str | None, configuration: Configuration, secrets: Secrets) -> Steps[User]:
    """Which ThingSpace user would call, and where each of its settings comes from."""
    found = sources(profile, os.environ, configuration.get)
    secrets.add(_password_in(place.value) for place in found["base_url"])
    for name, (variable, key) in SETTINGS.items():
        label = {"app_key": "app key", "app_secret": "app secret", "base_url": "base URL"}.get(name, name)
        if not found[name]:
            prefix = f"THINGSPACE_{profile.upper()}_" if profile else "THINGSPACE_"
            hidden = key in configuration.encrypted or (profile and "profiles" in configuration.encrypted)
            what = "encrypted in the stack file, which cannot be opened here" if hidden else "missing"
            path = f"--path {NAMESPACE}:profiles.{profile}.{key}" if profile else f"{NAMESPACE}:{key}"
            yield failed(label, what, f"Export {prefix}{variable}, or `pulumi config set --secret {path}`.")
            continue
        first, *others = found[name]
        value = first.value if name in SHOWN else "set"
        real = [other.place for other in others if other.place != "default"]
        yield ok(label, f"{value}, from {first.place}" + (f" (which overrides {', '.join(real)})" if real else ""))
    yield from _profiles(configuration)
    yield _limits(configuration)
    base_url = found["base_url"][0].value
    try:
        Credentials("", "", "", "", base_url)
    except CredentialsMissing as error:
        yield refused("base URL", error)
        return User()
    if not all(found.values()):
        return User(base_url)
    try:
        return User(base_url, credentials(profile, os.environ, configuration.get))
    except CredentialsMissing as error:
        yield refused("credentials", error)
        return User(base_url)


def _password_in(url: str) -> str | None:
    """What somebody wrote as `https://user:password@…`."""
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def _limits(configuration: Configuration) -> Step:
    """The time of one operation and the pace of calls in an update; a diagnosis has its own."""
    try:
        given = limits(os.environ, configuration.get)
    except SettingUnusable as error:
        return refused("limits", error)
    return ok("limits", f"{given.deadline:g} s for one operation, {given.rate:g} calls a second")


def _profiles(configuration: Configuration) -> Steps[None]:
    """Further users, complete or not."""
    named = configuration.value("profiles")
    names = {str(name).upper(): str(name) for name in named} if isinstance(named, dict) else {}
    for variable in os.environ:
        if match := PROFILE_VARIABLES.fullmatch(variable):
            names.setdefault(match.group(1), match.group(1).lower())
    for name in sorted(names.values()):
        found = sources(name, os.environ, configuration.get)
        missing = [key for field_, (_, key) in SETTINGS.items() if not found[field_]]
        yield ok(f"profile {name}", f"not complete: no {', '.join(missing)}" if missing else "complete")
