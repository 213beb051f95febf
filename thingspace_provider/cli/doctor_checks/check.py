"""One thing that was looked at, and how a part that breaks down becomes a step of its own."""

from __future__ import annotations

import re
import traceback
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.common.redaction import Secrets

Result = TypeVar("Result")
Steps = Generator["Step", None, Result]
SECRET_VARIABLE = re.compile(r"THINGSPACE_\w*(KEY|SECRET|PASSWORD|TOKEN)\w*|PULUMI_(ACCESS_TOKEN|CONFIG_PASSPHRASE)")


@dataclass(frozen=True)
class Step:
    """What was looked at, how it went, what was seen; for a failure, what to do now."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    what: str
    remedy: str = ""


def ok(name: str, what: str) -> Step:
    """It is as it should be."""
    return Step(name, "ok", what)


def skipped(name: str, why: str) -> Step:
    """It was not looked at, or there is nothing to look at."""
    return Step(name, "skipped", why)


def failed(name: str, what: str, remedy: str) -> Step:
    """It is not as it should be."""
    return Step(name, "failed", what, remedy)


def refused(name: str, error: ThingSpaceError) -> Step:
    """A call or a setting that did not pass, in its own words."""
    whom = f" for account {error.account}" if error.account else ""
    return failed(name, f"{error.doing}{whom}: {error.answer}", error.remedy)


def guarded(name: str, part: Steps[Result], otherwise: Result) -> Steps[Result]:
    """The part's steps and result; one that breaks down says so, and the parts after it go on."""
    try:
        return (yield from part)
    except ThingSpaceError as error:
        yield refused(name, error)
    except Exception as error:  # noqa: BLE001  its text may quote a secret: only its kind and place are shown
        where = traceback.extract_tb(error.__traceback__)[-1]
        yield failed(
            name,
            f"an unforeseen {type(error).__name__} in {Path(where.filename).name} line {where.lineno}",
            "This is a defect of thingspace-provider; the other steps do not depend on it.",
        )
    return otherwise


def secrets_of(environment: Mapping[str, str]) -> Secrets:
    """The secrets that an environment holds."""
    return Secrets(value for name, value in environment.items() if SECRET_VARIABLE.fullmatch(name))
