"""Checks of the configuration: each value and its origin. No secret is shown, not even in part."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from thingspace_provider.api import Credentials
from thingspace_provider.api.errors import CredentialsMissing, InvalidSetting
from thingspace_provider.cli.doctor_checks.check import Check, Checks, failed, failed_with, ok, skipped
from thingspace_provider.cli.doctor_checks.environment import PulumiCli, PulumiCliError
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.config import stack_schema
from thingspace_provider.config.credentials import CREDENTIAL_SETTINGS, find_sources, resolve_credentials
from thingspace_provider.config.limits import resolve_limits
from thingspace_provider.config.stack_linter import StackFile
from thingspace_provider.config.stack_schema import NAMESPACE
from thingspace_provider.config.yaml_positions import YamlSyntaxError, compose_file
from thingspace_provider.lifecycle import validation
from thingspace_provider.lifecycle.model import UNKNOWN

PUBLIC_FIELDS = {"username", "base_url"}  # of the credentials
PROFILE_VARIABLES = re.compile(r"THINGSPACE_(\w+)_APP_KEY")


@dataclass(frozen=True)
class Configuration:
    """Readable configuration of a stack.

    `encrypted` names the keys whose values cannot be decrypted. `maps` has the maps of a file, in which such values are
    UNKNOWN.
    """

    stack: str | None = None
    raw_values: dict[str, str] = field(default_factory=dict, repr=False)
    encrypted: frozenset[str] = frozenset()
    maps: dict[str, Any] = field(default_factory=dict, repr=False)

    def get(self, full_key: str) -> str | None:
        """Return the value of `thingspace:key` as the engine hands it to a program."""
        return self.raw_values.get(full_key)

    def value(self, key: str) -> Any:
        """Return the parsed value of a `thingspace:` key, or None if it is not set."""
        raw_value = self.raw_values.get(f"{NAMESPACE}:{key}")
        return None if raw_value is None else stack_schema.parse_value(key, raw_value)

    def accounts(self) -> list[str]:
        """Return the usable account names."""
        listed = self.value("accounts")
        return [name for name in listed if isinstance(name, str) and name] if isinstance(listed, list) else []


def check_options(stack: str | None, profile: str | None) -> None:
    """Reject `--stack` without a project, and an invalid `--profile`. Raises click.UsageError."""
    if stack is not None and not Path("Pulumi.yaml").is_file():
        raise click.UsageError("--stack needs a Pulumi project. There is no Pulumi.yaml in this folder")
    for failure in validation.check_profile({"profile": profile}):
        raise click.BadParameter(failure.reason, param_hint="--profile")


def run_checks(stack: str | None, pulumi_cli: PulumiCli | None, redactor: Redactor) -> Checks[Configuration]:
    """Check the stack and return its configuration, or an empty one. Without a name: the selected stack."""
    if not Path("Pulumi.yaml").is_file():
        yield skipped("stack", "no Pulumi.yaml in this folder: only the environment is checked")
        return Configuration()
    if stack is None and pulumi_cli is not None:
        try:
            stack = pulumi_cli.run("stack", "--show-name").strip()
        except PulumiCliError as error:
            yield skipped("stack", f"{error} (only the environment is checked; name a stack with --stack)")
            return Configuration()
    if stack is None:
        yield skipped("stack", "the selected stack is unknown without the Pulumi CLI. Name one with --stack")
        return Configuration()
    configuration, check = _read_from_cli(stack, pulumi_cli, redactor)
    yield check
    yield from _check_settings(configuration)
    return configuration


def _read_from_cli(stack: str, pulumi_cli: PulumiCli | None, redactor: Redactor) -> tuple[Configuration, Check]:
    if pulumi_cli is None:
        return _read_from_file(stack), skipped(
            "stack", f"{stack}, read from its file without the Pulumi CLI: encrypted values are unknown"
        )
    try:
        document = json.loads(pulumi_cli.run("config", "--json", "--show-secrets", "--stack", stack))
        raw_values = {key: entry["value"] for key, entry in document.items()}
    except PulumiCliError as error:
        hint = (
            "The checks below use the unencrypted values of the file. Run `pulumi stack init` if the stack is in no "
            "backend yet, `pulumi login` to reach the backend, and set PULUMI_CONFIG_PASSPHRASE to decrypt secrets."
        )
        return _read_from_file(stack), failed("stack", f"`pulumi config --stack {stack}` failed: {error}", hint)
    except (ValueError, KeyError, TypeError, AttributeError):
        detail = f"`pulumi config --stack {stack}` did not print its usual JSON"
        return _read_from_file(stack), failed(
            "stack", detail, "The checks below use the unencrypted values of the file."
        )
    names = {key: key.partition(":")[2] for key in raw_values}
    values = {name: stack_schema.parse_value(name, raw_values[key]) for key, name in names.items()}
    for _, secret in stack_schema.find_secrets(values):
        redactor.add(secret if isinstance(secret, list) else [secret])
    return Configuration(stack, raw_values), ok("stack", f"{stack}, secrets included")


def _read_from_file(stack: str) -> Configuration:
    """Return the unencrypted values of the stack file."""
    path = Path(stack_schema.stack_file_path(stack))
    try:
        values = StackFile(path, compose_file(path)).values
    except (OSError, YamlSyntaxError):
        return Configuration(stack)
    raw_values = {
        f"{NAMESPACE}:{key}": _to_config_value(value) for key, value in values.items() if value is not UNKNOWN
    }
    encrypted = frozenset(key for key, value in values.items() if value is UNKNOWN)
    maps = {key: value for key, value in values.items() if isinstance(value, dict)}
    return Configuration(stack, raw_values, encrypted, maps)


def _to_config_value(value: Any) -> str:
    """Return the value as the engine hands it over. Encrypted parts become null."""
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, default=lambda item: None if item is UNKNOWN else str(item))
    )


def _check_settings(configuration: Configuration) -> Checks[None]:
    """Check the settings against the schema of stack files."""
    keys = [key.partition(":")[2] for key in configuration.raw_values if key.startswith(f"{NAMESPACE}:")]
    values = {key: configuration.value(key) for key in keys} | configuration.maps
    values |= dict.fromkeys(configuration.encrypted, UNKNOWN)
    is_for_program = stack_schema.has_program_keys(values)
    violations = list(stack_schema.validate(values, is_for_program=is_for_program))
    for violation in violations:
        example = f"Example: {violation.example}" if violation.example else "Correct or remove it."
        yield failed("settings", f"{violation.key} {violation.message}", f"{example} `thingspace lint` names the line.")
    if not is_for_program:
        yield skipped("settings", stack_schema.NOT_CHECKED)
    elif not violations:
        listener, accounts = values.get("listener"), values.get("accounts")
        kind = listener.get("kind") if isinstance(listener, dict) else "encrypted"
        count = len(accounts) if isinstance(accounts, list) else "encrypted"
        yield ok("settings", f"accounts: {count}; listener: {kind}")


@dataclass(frozen=True)
class ResolvedUser:
    """Base URL, if it is usable, and credentials, if they are complete."""

    base_url: str | None = None
    credentials: Credentials | None = None


def check_user(profile: str | None, configuration: Configuration, redactor: Redactor) -> Checks[ResolvedUser]:
    """Check the credentials of a ThingSpace user and report the origin of each setting."""
    sources_by_field = find_sources(profile, os.environ, configuration.get)
    redactor.add(_url_password(source.value) for source in sources_by_field["base_url"])
    for name, (variable, key) in CREDENTIAL_SETTINGS.items():
        label = {"app_key": "app key", "app_secret": "app secret", "base_url": "base URL"}.get(name, name)
        if not sources_by_field[name]:
            prefix = f"THINGSPACE_{profile.upper()}_" if profile else "THINGSPACE_"
            is_encrypted = key in configuration.encrypted or (profile and "profiles" in configuration.encrypted)
            detail = "encrypted in the stack file, and cannot be decrypted here" if is_encrypted else "missing"
            path = f"--path {NAMESPACE}:profiles.{profile}.{key}" if profile else f"{NAMESPACE}:{key}"
            yield failed(label, detail, f"Set {prefix}{variable}, or run `pulumi config set --secret {path}`.")
            continue
        first, *others = sources_by_field[name]
        value = first.value if name in PUBLIC_FIELDS else "set"
        overridden = [other.origin for other in others if other.origin != "default"]
        yield ok(
            label,
            f"{value}, from {first.origin}" + (f" (overrides {', '.join(overridden)})" if overridden else ""),
        )
    yield from _check_profiles(configuration)
    yield _check_limits(configuration)
    base_url = sources_by_field["base_url"][0].value
    try:
        Credentials("", "", "", "", base_url)
    except InvalidSetting as error:
        yield failed_with("base URL", error)
        return ResolvedUser()
    if not all(sources_by_field.values()):
        return ResolvedUser(base_url)
    try:
        return ResolvedUser(base_url, resolve_credentials(profile, os.environ, configuration.get))
    except (CredentialsMissing, InvalidSetting) as error:
        yield failed_with("credentials", error)
        return ResolvedUser(base_url)


def _url_password(url: str) -> str | None:
    """Return the password of `https://user:password@…`."""
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def _check_limits(configuration: Configuration) -> Check:
    """Check the timeout of a resource operation and the rate limit."""
    try:
        resolved = resolve_limits(os.environ, configuration.get)
    except InvalidSetting as error:
        return failed_with("limits", error)
    return ok(
        "limits",
        f"{resolved.resource_timeout_seconds:g} s for one resource operation, "
        f"{resolved.calls_per_second:g} calls a second",
    )


def _check_profiles(configuration: Configuration) -> Checks[None]:
    """Check that each profile is complete."""
    configured = configuration.value("profiles")
    names = {str(name).upper(): str(name) for name in configured} if isinstance(configured, dict) else {}
    for variable in os.environ:
        if match := PROFILE_VARIABLES.fullmatch(variable):
            names.setdefault(match.group(1), match.group(1).lower())
    for name in sorted(names.values()):
        sources_by_field = find_sources(name, os.environ, configuration.get)
        missing = [key for field_, (_, key) in CREDENTIAL_SETTINGS.items() if not sources_by_field[field_]]
        yield ok(f"profile {name}", f"incomplete: {', '.join(missing)} missing" if missing else "complete")
