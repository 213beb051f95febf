"""One check of the doctor, and the guard that turns an unexpected exception into a failed check."""

from __future__ import annotations

import re
import traceback
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.common.redaction import Redactor

Result = TypeVar("Result")
Checks = Generator["Check", None, Result]
SECRET_VARIABLE = re.compile(r"THINGSPACE_\w*(KEY|SECRET|PASSWORD|TOKEN)\w*|PULUMI_(ACCESS_TOKEN|CONFIG_PASSPHRASE)")


@dataclass(frozen=True)
class Check:
    """Name and result of one check. `hint` says how to fix a failure."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    detail: str
    hint: str = ""


def ok(name: str, detail: str) -> Check:
    """Return a check that passed."""
    return Check(name, "ok", detail)


def skipped(name: str, reason: str) -> Check:
    """Return a check that was not run."""
    return Check(name, "skipped", reason)


def failed(name: str, detail: str, hint: str) -> Check:
    """Return a check that failed."""
    return Check(name, "failed", detail, hint)


def failed_with(name: str, error: ThingSpaceError) -> Check:
    """Return a failed check with the action, detail and hint of the error."""
    account = f" for account {error.account}" if error.account else ""
    return failed(name, f"{error.action}{account}: {error.detail}", error.hint)


def run_guarded(name: str, checks: Checks[Result], default: Result) -> Checks[Result]:
    """Run the checks and return their result. After an exception: a failed check, and `default`."""
    try:
        return (yield from checks)
    except ThingSpaceError as error:
        yield failed_with(name, error)
    except Exception as error:  # noqa: BLE001  its text may hold a secret: only its class and line are shown
        frame = traceback.extract_tb(error.__traceback__)[-1]
        yield failed(
            name,
            f"unexpected {type(error).__name__} in {Path(frame.filename).name} line {frame.lineno}",
            "This is a defect of thingspace-provider. The other checks do not depend on it.",
        )
    return default


def environment_secrets(environment: Mapping[str, str]) -> Redactor:
    """Return a redactor of the secrets in an environment."""
    return Redactor(value for name, value in environment.items() if SECRET_VARIABLE.fullmatch(name))
