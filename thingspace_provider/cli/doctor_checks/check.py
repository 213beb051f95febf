"""One thing that was looked at, and how a part that breaks down becomes a step of its own."""

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
    """What was looked at, how it went, what was seen; for a failure, what to do now."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    detail: str
    hint: str = ""


def ok(name: str, detail: str) -> Check:
    """It is as it should be."""
    return Check(name, "ok", detail)


def skipped(name: str, reason: str) -> Check:
    """It was not looked at, or there is nothing to look at."""
    return Check(name, "skipped", reason)


def failed(name: str, detail: str, hint: str) -> Check:
    """It is not as it should be."""
    return Check(name, "failed", detail, hint)


def failed_with(name: str, error: ThingSpaceError) -> Check:
    """A call or a setting that did not pass, in its own words."""
    whom = f" for account {error.account}" if error.account else ""
    return failed(name, f"{error.action}{whom}: {error.detail}", error.hint)


def run_guarded(name: str, checks: Checks[Result], default: Result) -> Checks[Result]:
    """The part's steps and result; one that breaks down says so, and the parts after it go on."""
    try:
        return (yield from checks)
    except ThingSpaceError as error:
        yield failed_with(name, error)
    except Exception as error:  # noqa: BLE001  its text may quote a secret: only its kind and place are shown
        frame = traceback.extract_tb(error.__traceback__)[-1]
        yield failed(
            name,
            f"an unforeseen {type(error).__name__} in {Path(frame.filename).name} line {frame.lineno}",
            "This is a defect of thingspace-provider; the other steps do not depend on it.",
        )
    return default


def environment_secrets(environment: Mapping[str, str]) -> Redactor:
    """The secrets that an environment holds."""
    return Redactor(value for name, value in environment.items() if SECRET_VARIABLE.fullmatch(name))
