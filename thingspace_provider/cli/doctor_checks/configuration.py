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
from thingspace_provider.api.errors import CredentialsMissing, InvalidSetting
from thingspace_provider.cli.doctor_checks.check import Check, Checks, failed, failed_with, ok, skipped
from thingspace_provider.cli.doctor_checks.environment import PulumiCli, PulumiCliError
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.config import stack_schema
from thingspace_provider.config.credentials import (
    CREDENTIAL_SETTINGS,
    find_sources,
    resolve_credentials,
    resolve_limits,
)
from thingspace_provider.config.stack_linter import StackFile
from thingspace_provider.config.stack_schema import NAMESPACE, SECRET_KEYS
from thingspace_provider.config.yaml_positions import YamlSyntaxError, compose_file
from thingspace_provider.lifecycle.model import UNKNOWN

PUBLIC_FIELDS = {"username", "base_url"}  # of the credentials
PROFILE_VARIABLES = re.compile(r"THINGSPACE_(\w+)_APP_KEY")


@dataclass(frozen=True)
class Configuration:
    """The stack's configuration, as far as it can be read; `encrypted` names keys whose values cannot."""

    stack: str | None = None
    raw_values: dict[str, str] = field(default_factory=dict, repr=False)
    encrypted: frozenset[str] = frozenset()

    def get(self, full_key: str) -> str | None:
        """The value of `thingspace:key` as the engine hands it to a program."""
        return self.raw_values.get(full_key)

    def value(self, key: str) -> Any:
        """The value of a key of ours, parsed; None when it is not set."""
        raw_value = self.raw_values.get(f"{NAMESPACE}:{key}")
        return None if raw_value is None else stack_schema.parse_value(key, raw_value)

    def accounts(self) -> list[str]:
        """The account names that are usable as such."""
        listed = self.value("accounts")
        return [name for name in listed if isinstance(name, str) and name] if isinstance(listed, list) else []


def run_checks(stack: str | None, pulumi_cli: PulumiCli | None, redactor: Redactor) -> Checks[Configuration]:
    """Returns the configuration of the stack named, or of the selected one, or an empty one."""
    if not Path("Pulumi.yaml").is_file():
        yield skipped("stack", "there is no Pulumi.yaml in this folder: the environment alone counts")
        return Configuration()
    if stack is None and pulumi_cli is not None:
        try:
            stack = pulumi_cli.run("stack", "--show-name").strip()
        except PulumiCliError as error:
            yield skipped("stack", f"{error} (the environment alone counts; --stack names one)")
            return Configuration()
    if stack is None:
        yield skipped("stack", "without an engine the selected stack is not known: --stack names one")
        return Configuration()
    configuration, check = _read_from_cli(stack, pulumi_cli, redactor)
    yield check
    yield from _check_settings(configuration)
    return configuration


def _read_from_cli(stack: str, pulumi_cli: PulumiCli | None, redactor: Redactor) -> tuple[Configuration, Check]:
    if pulumi_cli is None:
        return _read_from_file(stack), skipped(
            "stack", f"{stack}, read from its file without an engine: no encrypted value"
        )
    try:
        document = json.loads(pulumi_cli.run("config", "--json", "--show-secrets", "--stack", stack))
        raw_values = {key: entry["value"] for key, entry in document.items()}
    except PulumiCliError as error:
        hint = (
            "What the file holds in clear is used for the steps below. `pulumi stack init` makes a stack that is in no "
            "backend yet, `pulumi login` reaches the backend, PULUMI_CONFIG_PASSPHRASE opens the secrets."
        )
        return _read_from_file(stack), failed("stack", f"`pulumi config --stack {stack}` says: {error}", hint)
    except (ValueError, KeyError, TypeError, AttributeError):
        detail = f"`pulumi config --stack {stack}` printed what is not its usual JSON"
        return _read_from_file(stack), failed(
            "stack", detail, "What the file holds in clear is used for the steps below."
        )
    for key, raw_value in raw_values.items():
        _, _, name = key.partition(":")
        redactor.add(
            [raw_value] if name in SECRET_KEYS else _profile_secrets(stack_schema.parse_value(name, raw_value))
        )
    return Configuration(stack, raw_values), ok("stack", f"{stack}, secrets included")


def _profile_secrets(value: Any) -> list[Any]:
    """The secrets of profiles."""
    profiles = value.values() if isinstance(value, dict) else ()
    return [entry.get(key) for entry in profiles if isinstance(entry, dict) for key in SECRET_KEYS]


def _read_from_file(stack: str) -> Configuration:
    """What stands in the stack's file in clear."""
    path = Path(stack_schema.stack_file_path(stack))
    try:
        values = StackFile(path, compose_file(path)).values
    except (OSError, YamlSyntaxError):
        return Configuration(stack)
    raw_values = {
        f"{NAMESPACE}:{key}": _to_config_value(value) for key, value in values.items() if value is not UNKNOWN
    }
    encrypted = frozenset(key for key, value in values.items() if value is UNKNOWN)
    return Configuration(stack, raw_values, encrypted)


def _to_config_value(value: Any) -> str:
    """As the engine would hand it over; what is encrypted inside is left empty."""
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, default=lambda item: None if item is UNKNOWN else str(item))
    )


def _check_settings(configuration: Configuration) -> Checks[None]:
    """Whether a program could use the stack's settings."""
    keys = [key.partition(":")[2] for key in configuration.raw_values if key.startswith(f"{NAMESPACE}:")]
    values = {key: configuration.value(key) for key in keys} | dict.fromkeys(configuration.encrypted, UNKNOWN)
    violations = list(stack_schema.validate(values))
    for violation in violations:
        example = f"As in  {violation.example}" if violation.example else "Correct or remove it."
        yield failed(
            "settings", f"{violation.key} {violation.message}", f"{example}; `thingspace lint` names the line."
        )
    if not violations:
        listener, accounts = values.get("listener"), values.get("accounts")
        kind = listener.get("kind") if isinstance(listener, dict) else "encrypted"
        count = len(accounts) if isinstance(accounts, list) else "encrypted"
        yield ok("settings", f"accounts: {count}; listener: {kind}")


@dataclass(frozen=True)
class ResolvedUser:
    """Where ThingSpace is, when its address is usable; who calls there, when that is complete."""

    base_url: str | None = None
    credentials: Credentials | None = None


def check_user(profile: str | None, configuration: Configuration, redactor: Redactor) -> Checks[ResolvedUser]:
    """Which ThingSpace user would call, and where each of its settings comes from."""
    sources_by_field = find_sources(profile, os.environ, configuration.get)
    redactor.add(_url_password(source.value) for source in sources_by_field["base_url"])
    for name, (variable, key) in CREDENTIAL_SETTINGS.items():
        label = {"app_key": "app key", "app_secret": "app secret", "base_url": "base URL"}.get(name, name)
        if not sources_by_field[name]:
            prefix = f"THINGSPACE_{profile.upper()}_" if profile else "THINGSPACE_"
            is_encrypted = key in configuration.encrypted or (profile and "profiles" in configuration.encrypted)
            detail = "encrypted in the stack file, which cannot be opened here" if is_encrypted else "missing"
            path = f"--path {NAMESPACE}:profiles.{profile}.{key}" if profile else f"{NAMESPACE}:{key}"
            yield failed(label, detail, f"Export {prefix}{variable}, or `pulumi config set --secret {path}`.")
            continue
        first, *others = sources_by_field[name]
        value = first.value if name in PUBLIC_FIELDS else "set"
        overridden = [other.origin for other in others if other.origin != "default"]
        yield ok(
            label,
            f"{value}, from {first.origin}" + (f" (which overrides {', '.join(overridden)})" if overridden else ""),
        )
    yield from _check_profiles(configuration)
    yield _check_limits(configuration)
    base_url = sources_by_field["base_url"][0].value
    try:
        Credentials("", "", "", "", base_url)
    except CredentialsMissing as error:
        yield failed_with("base URL", error)
        return ResolvedUser()
    if not all(sources_by_field.values()):
        return ResolvedUser(base_url)
    try:
        return ResolvedUser(base_url, resolve_credentials(profile, os.environ, configuration.get))
    except CredentialsMissing as error:
        yield failed_with("credentials", error)
        return ResolvedUser(base_url)


def _url_password(url: str) -> str | None:
    """What somebody wrote as `https://user:password@…`."""
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def _check_limits(configuration: Configuration) -> Check:
    """The time of one operation and the pace of calls in an update; a diagnosis has its own."""
    try:
        resolved = resolve_limits(os.environ, configuration.get)
    except InvalidSetting as error:
        return failed_with("limits", error)
    return ok(
        "limits",
        f"{resolved.resource_timeout_seconds:g} s for one operation, {resolved.calls_per_second:g} calls a second",
    )


def _check_profiles(configuration: Configuration) -> Checks[None]:
    """Further users, complete or not."""
    configured = configuration.value("profiles")
    names = {str(name).upper(): str(name) for name in configured} if isinstance(configured, dict) else {}
    for variable in os.environ:
        if match := PROFILE_VARIABLES.fullmatch(variable):
            names.setdefault(match.group(1), match.group(1).lower())
    for name in sorted(names.values()):
        sources_by_field = find_sources(name, os.environ, configuration.get)
        missing = [key for field_, (_, key) in CREDENTIAL_SETTINGS.items() if not sources_by_field[field_]]
        yield ok(f"profile {name}", f"not complete: no {', '.join(missing)}" if missing else "complete")
