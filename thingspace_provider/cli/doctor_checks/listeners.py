"""Where the texts go: the registered URL, whether it is the stack's, and whether our listener answers there."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thingspace_provider.api import Registration, shown
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.cli.doctor_checks.check import Step, Steps, failed, ok, refused, skipped
from thingspace_provider.cli.doctor_checks.configuration import Configuration
from thingspace_provider.cli.doctor_checks.thingspace import Registered
from thingspace_provider.common.redaction import Secrets
from thingspace_provider.lifecycle import listener_process, readiness
from thingspace_provider.lifecycle.registration import SMS_SERVICE
from thingspace_provider.readiness.probe import Expected
from thingspace_provider.readiness.reachability import NotProven

PROOF_SECONDS = 5.0
PROOFS_SECONDS = 60.0  # for all accounts together
SECRET_SETTINGS = ("password", "previousPassword", "pathToken", "apiToken")


@dataclass(frozen=True)
class Local:
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


def steps(configuration: Configuration, registered: Registered, secrets: Secrets) -> Steps[None]:
    """Nothing is sent to a listener but the question for its proof."""
    wanted = configuration.value("listener")
    kind = wanted.get("kind") if isinstance(wanted, dict) else None
    known = _locals(configuration.stack, secrets) if kind == "local" else []
    for listener in known:
        yield _running(listener)
    if kind == "local" and not known:
        yield skipped("listener", "this stack has started none on this machine: `pulumi up` does")
    end = time.monotonic() + PROOFS_SECONDS
    for account, entries in registered.items():
        if time.monotonic() > end:
            yield skipped(f"registration {account}", f"the listeners of others took {PROOFS_SECONDS:g} s")
            continue
        found = next((entry for entry in entries if entry.service_name == SMS_SERVICE), None)
        local = next((it for it in known if account in it.settings.get("accounts", [])), None)
        yield from _account(account, found, wanted if isinstance(wanted, dict) else {}, local)


def _locals(stack: str | None, secrets: Secrets) -> list[Local]:
    top = Path(os.environ.get("THINGSPACE_STATE_DIR") or ".thingspace")
    found = []
    for file in sorted(top.glob(f"listeners/{stack}-*/settings.json")):
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(settings, dict):
            given = [settings.get(key) for key in SECRET_SETTINGS]
            secrets.add(one for value in given for one in (value if isinstance(value, list) else [value]))
            found.append(Local(file.parent, settings))
    return found


def _running(local: Local) -> Step:
    pid = listener_process.holder(local.folder / "listener.pid")
    if pid is None:
        what = f"the local listener {local.folder} does not run"
        return failed("listener", what, f"`pulumi up` starts it; its last words are in {local.folder}/listener.log.")
    return ok("listener", f"process {pid} on {local.origin}")


def _account(account: str, found: Registration | None, wanted: dict[str, Any], local: Local | None) -> Steps[None]:
    registration, proof = f"registration {account}", f"proof {account}"
    if found is None:
        waits = "texts wait in ThingSpace's queue"
        yield skipped(registration, f"none for {SMS_SERVICE}, so {waits}: `pulumi up` registers the stack's listener")
        yield _proof(proof, account, local.registration(account)) if local else skipped(proof, "nothing is registered")
        return
    problem = _difference(found, wanted, local, account)
    if problem:
        yield failed(
            registration,
            f"texts go to {shown(found.url)}, {problem}",
            "After `pulumi refresh`, the next `pulumi up` repairs a change of what this stack registered; "
            "thingspace:adopt takes over what somebody else did.",
        )
        yield skipped(proof, "it is not this stack's listener")
        return
    yield ok(registration, f"texts go to {shown(found.url)}")
    if not (wanted.get("kind") == "local" or wanted.get("readiness") is True):
        yield skipped(proof, "it is not known to be a listener of this project (thingspace:listener.readiness)")
        return
    yield _proof(proof, account, found)


def _proof(name: str, account: str, found: Registration) -> Step:
    """Asked once: whoever waits for a listener to come up runs this again."""
    said: list[str] = []
    try:
        expected = Expected(account, found.username, found.password)
        readiness.prover(account).once(found.url, expected, PROOF_SECONDS, said.append)
    except ListenerNotReady as error:
        return refused(name, error)
    except NotProven as problem:
        return failed(name, f"{problem.step}: {problem.what} ({shown(found.url)})", problem.remedy)
    return ok(name, " ".join([f"{shown(found.url)} is our listener, and it knows the credential.", *said]))


def _difference(found: Registration, wanted: dict[str, Any], local: Local | None, account: str) -> str:
    """How the registration is not the stack's, as far as can be known; "" when it may be."""
    if local is not None:
        ours = local.registration(account)
        if found.url != ours.url:
            return f"and this stack's listener is {shown(ours.url)}"
        return "" if found == ours else "but with another user name or password than this stack's listener knows"
    url = wanted.get("url")
    if wanted.get("kind") != "external" or not isinstance(url, str):
        return ""
    own = re.escape(url).replace(r"\{account\}", re.escape(account)).replace(r"\{path_token\}", "[^/]+")
    return "" if re.fullmatch(own, found.url) else f"and this stack wants {shown(url)}"
