"""Checks of the listeners: the registered URL, whether it is the stack's, and its readiness probe."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thingspace_provider.api import Registration
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.cli.doctor_checks.check import Check, Checks, failed, failed_with, ok, skipped
from thingspace_provider.cli.doctor_checks.configuration import Configuration
from thingspace_provider.cli.doctor_checks.thingspace import RegistrationsByAccount
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.common.urls import mask_url
from thingspace_provider.config.stack_schema import listener_url
from thingspace_provider.lifecycle import readiness
from thingspace_provider.lifecycle.listener_process import DetachedProcess
from thingspace_provider.lifecycle.registration import SMS_SERVICE
from thingspace_provider.readiness.probe import ExpectedListener
from thingspace_provider.readiness.reachability import ProbeFailed

PROBE_TIMEOUT_SECONDS = 5.0
PROBES_TIMEOUT_SECONDS = 60.0  # all accounts together
SECRET_SETTINGS = ("password", "previousPasswords", "pathToken", "apiToken")


@dataclass(frozen=True)
class LocalListenerFiles:
    """Folder and settings of a local listener of the stack."""

    folder: Path
    settings: dict[str, Any] = field(repr=False)

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return f"http://{self.settings.get('host')}:{self.settings.get('port')}"

    def registration(self, account: str) -> Registration:
        """Return the registration that belongs to this listener."""
        url = f"{self.origin}/callbacks/{self.settings.get('pathToken')}/{account}"
        return Registration(
            SMS_SERVICE, url, str(self.settings.get("username") or ""), str(self.settings.get("password") or "")
        )


def run_checks(configuration: Configuration, registered: RegistrationsByAccount, redactor: Redactor) -> Checks[None]:
    """Check the listeners. The only request to a listener is the readiness probe."""
    host_settings = configuration.value("listener")
    kind = host_settings.get("kind") if isinstance(host_settings, dict) else None
    local_listeners = _find_local_listeners(configuration.stack, redactor) if kind in (None, "local") else []
    for listener in local_listeners:
        yield _check_process(listener)
    if kind == "local" and not local_listeners:
        yield skipped("listener", "this stack has no listener on this machine. Run `pulumi up` to start it")
    if kind == "kubernetes" and importlib.util.find_spec("pulumi_kubernetes") is None:
        detail = "pulumi_kubernetes is not installed, and `pulumi up` needs it for the listener"
        yield failed("listener", detail, "Install the extra: pip install -e '.[kubernetes]' in a clone.")
    deadline = time.monotonic() + PROBES_TIMEOUT_SECONDS
    for account, entries in registered.items():
        if time.monotonic() > deadline:
            yield skipped(
                f"registration {account}", f"not checked: the listeners before it took {PROBES_TIMEOUT_SECONDS:g} s"
            )
            continue
        registration = next((entry for entry in entries if entry.service_name == SMS_SERVICE), None)
        local = next(
            (candidate for candidate in local_listeners if account in candidate.settings.get("accounts", [])), None
        )
        yield from _check_account(
            account, registration, host_settings if isinstance(host_settings, dict) else {}, local
        )


def _find_local_listeners(stack: str | None, redactor: Redactor) -> list[LocalListenerFiles]:
    state_dir = Path(os.environ.get("THINGSPACE_STATE_DIR") or ".thingspace")
    listeners = []
    for file in sorted(state_dir.glob(f"listeners/{stack}-*/settings.json")):
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(settings, dict):
            secret_values = [settings.get(key) for key in SECRET_SETTINGS]
            redactor.add(
                secret for value in secret_values for secret in (value if isinstance(value, list) else [value])
            )
            listeners.append(LocalListenerFiles(file.parent, settings))
    return listeners


def _check_process(local: LocalListenerFiles) -> Check:
    pid = DetachedProcess(local.folder / "listener.pid").running_pid()
    if pid is None:
        detail = f"the local listener {local.folder} is not running"
        return failed("listener", detail, f"Run `pulumi up` to start it. Its log: {local.folder}/listener.log.")
    return ok("listener", f"process {pid} on {local.origin}")


def _check_account(
    account: str, existing: Registration | None, host_settings: dict[str, Any], local: LocalListenerFiles | None
) -> Checks[None]:
    registration_check, probe_check = f"registration {account}", f"readiness {account}"
    if existing is None:
        yield skipped(
            registration_check,
            f"none for {SMS_SERVICE}: messages stay in ThingSpace's queue. Run `pulumi up` to register the listener",
        )
        yield (
            _probe_check(probe_check, account, local.registration(account))
            if local
            else skipped(probe_check, "nothing is registered")
        )
        return
    difference = describe_difference(existing, host_settings, local, account)
    if difference:
        yield failed(
            registration_check,
            f"messages go to {mask_url(existing.url)}, {difference}",
            "If this stack made the registration, run `pulumi refresh` and `pulumi up` to repair it. "
            "Otherwise set thingspace:adopt to take it over.",
        )
        yield skipped(probe_check, "the registered URL is not this stack's listener")
        return
    yield ok(registration_check, f"messages go to {mask_url(existing.url)}")
    if not local and host_settings.get("readiness", "kind" in host_settings) is not True:
        yield skipped(probe_check, "thingspace:listener.readiness is false, or the listener is not in the stack")
        return
    yield _probe_check(probe_check, account, existing)


def _probe_check(name: str, account: str, registration: Registration) -> Check:
    """Send one readiness probe, without retries."""
    log_lines: list[str] = []
    try:
        expected = ExpectedListener(account, registration.username, registration.password)
        readiness.shared_probe(account).check(registration.url, expected, PROBE_TIMEOUT_SECONDS, log_lines.append)
    except ListenerNotReady as error:
        return failed_with(name, error)
    except ProbeFailed as error:
        return failed(name, f"{error.step}: {error.detail} ({mask_url(registration.url)})", error.hint)
    return ok(name, " ".join([f"{mask_url(registration.url)} passed the readiness probe.", *log_lines]))


def describe_difference(
    registration: Registration, host_settings: dict[str, Any], local: LocalListenerFiles | None, account: str
) -> str:
    """Return how the registration differs from the stack's, or "" if no difference is known."""
    if local is not None:
        expected = local.registration(account)
        if registration.url != expected.url:
            return f"but this stack's listener is {mask_url(expected.url)}"
        return (
            "" if registration == expected else "but user name or password differ from those of this stack's listener"
        )
    url = listener_url(host_settings)
    if url is None:
        return ""
    pattern = re.escape(url).replace(r"\{account\}", re.escape(account)).replace(r"\{path_token\}", "[^/]+")
    return "" if re.fullmatch(pattern, registration.url) else f"but this stack's URL is {mask_url(url)}"
