"""Where the texts go: the registered URL, whether it is the stack's, and whether our listener answers there."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thingspace_provider.api import Registration, mask_url
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.cli.doctor_checks.check import Check, Checks, failed, failed_with, ok, skipped
from thingspace_provider.cli.doctor_checks.configuration import Configuration
from thingspace_provider.cli.doctor_checks.thingspace import RegistrationsByAccount
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.lifecycle import listener_process, readiness
from thingspace_provider.lifecycle.registration import SMS_SERVICE
from thingspace_provider.readiness.probe import ExpectedListener
from thingspace_provider.readiness.reachability import ProbeFailed

PROBE_TIMEOUT_SECONDS = 5.0
PROBES_TIMEOUT_SECONDS = 60.0  # for all accounts together
SECRET_SETTINGS = ("password", "previousPasswords", "pathToken", "apiToken")


@dataclass(frozen=True)
class LocalListenerFiles:
    """A local listener of the stack, by the settings it runs with."""

    folder: Path
    settings: dict[str, Any] = field(repr=False)

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://{self.settings.get('host')}:{self.settings.get('port')}"

    def registration(self, account: str) -> Registration:
        """What ThingSpace has to know of it."""
        url = f"{self.origin}/callbacks/{self.settings.get('pathToken')}/{account}"
        return Registration(
            SMS_SERVICE, url, str(self.settings.get("username") or ""), str(self.settings.get("password") or "")
        )


def run_checks(configuration: Configuration, registered: RegistrationsByAccount, redactor: Redactor) -> Checks[None]:
    """Nothing is sent to a listener but the question for its proof."""
    host_settings = configuration.value("listener")
    kind = host_settings.get("kind") if isinstance(host_settings, dict) else None
    local_listeners = _find_local_listeners(configuration.stack, redactor) if kind == "local" else []
    for listener in local_listeners:
        yield _check_process(listener)
    if kind == "local" and not local_listeners:
        yield skipped("listener", "this stack has started none on this machine: `pulumi up` does")
    deadline = time.monotonic() + PROBES_TIMEOUT_SECONDS
    for account, entries in registered.items():
        if time.monotonic() > deadline:
            yield skipped(f"registration {account}", f"the listeners of others took {PROBES_TIMEOUT_SECONDS:g} s")
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
    pid = listener_process.running_pid(local.folder / "listener.pid")
    if pid is None:
        detail = f"the local listener {local.folder} does not run"
        return failed("listener", detail, f"`pulumi up` starts it; its last words are in {local.folder}/listener.log.")
    return ok("listener", f"process {pid} on {local.origin}")


def _check_account(
    account: str, existing: Registration | None, host_settings: dict[str, Any], local: LocalListenerFiles | None
) -> Checks[None]:
    registration_check, probe_check = f"registration {account}", f"proof {account}"
    if existing is None:
        consequence = "texts wait in ThingSpace's queue"
        yield skipped(
            registration_check, f"none for {SMS_SERVICE}, so {consequence}: `pulumi up` registers the stack's listener"
        )
        yield (
            _probe_check(probe_check, account, local.registration(account))
            if local
            else skipped(probe_check, "nothing is registered")
        )
        return
    difference = _describe_difference(existing, host_settings, local, account)
    if difference:
        yield failed(
            registration_check,
            f"texts go to {mask_url(existing.url)}, {difference}",
            "After `pulumi refresh`, the next `pulumi up` repairs a change of what this stack registered; "
            "thingspace:adopt takes over what somebody else did.",
        )
        yield skipped(probe_check, "it is not this stack's listener")
        return
    yield ok(registration_check, f"texts go to {mask_url(existing.url)}")
    if not (host_settings.get("kind") == "local" or host_settings.get("readiness") is True):
        yield skipped(probe_check, "it is not known to be a listener of this project (thingspace:listener.readiness)")
        return
    yield _probe_check(probe_check, account, existing)


def _probe_check(name: str, account: str, registration: Registration) -> Check:
    """Asked once: whoever waits for a listener to come up runs this again."""
    log_lines: list[str] = []
    try:
        expected = ExpectedListener(account, registration.username, registration.password)
        readiness.shared_probe(account).check(registration.url, expected, PROBE_TIMEOUT_SECONDS, log_lines.append)
    except ListenerNotReady as error:
        return failed_with(name, error)
    except ProbeFailed as error:
        return failed(name, f"{error.step}: {error.detail} ({mask_url(registration.url)})", error.hint)
    return ok(
        name, " ".join([f"{mask_url(registration.url)} is our listener, and it knows the credential.", *log_lines])
    )


def _describe_difference(
    registration: Registration, host_settings: dict[str, Any], local: LocalListenerFiles | None, account: str
) -> str:
    """How the registration is not the stack's, as far as can be known; "" when it may be."""
    if local is not None:
        expected = local.registration(account)
        if registration.url != expected.url:
            return f"and this stack's listener is {mask_url(expected.url)}"
        return (
            ""
            if registration == expected
            else "but with another user name or password than this stack's listener knows"
        )
    url = host_settings.get("url")
    if host_settings.get("kind") != "external" or not isinstance(url, str):
        return ""
    pattern = re.escape(url).replace(r"\{account\}", re.escape(account)).replace(r"\{path_token\}", "[^/]+")
    return "" if re.fullmatch(pattern, registration.url) else f"and this stack wants {mask_url(url)}"
