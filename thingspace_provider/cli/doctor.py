"""`thingspace doctor`: what is configured and from where, what answers, and which step fails."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from thingspace_provider.cli.doctor_checks import configuration, environment, listeners, thingspace
from thingspace_provider.cli.doctor_checks.check import Step, Steps, guarded, secrets_of
from thingspace_provider.cli.doctor_checks.configuration import Configuration, User
from thingspace_provider.common.redaction import Secrets
from thingspace_provider.lifecycle import validation

COLORS = {"ok": "green", "failed": "red", "skipped": "yellow"}
EXAMPLE = """
\b
Examples:
  thingspace doctor                # the selected stack, or the environment alone
  thingspace doctor --stack prod
  thingspace doctor --account 0000123456-00001 --json

It sends one token request, at most one login, one list of registrations for each account, a logout, and asks
listeners for their proof. Nothing is changed, and a password that was refused before is not tried.
"""


@click.command(epilog=EXAMPLE)
@click.option("--stack", help="The stack to read.  [default: the selected one]")
@click.option("--profile", help="The ThingSpace user to try.  [default: the stack's]")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="An account to ask for; again for more.")
@click.option("--json", "as_json", is_flag=True, help='Print {"ok": …, "steps": […]}.')
def command(stack: str | None, profile: str | None, accounts: tuple[str, ...], as_json: bool) -> None:
    """Look at the whole chain step by step, and say which step fails and what to do.

    Exits 1 when a step failed. Never shows a secret.
    """
    if stack is not None and not Path("Pulumi.yaml").is_file():
        raise click.UsageError("--stack needs a Pulumi project, and there is no Pulumi.yaml in this folder")
    for problem in validation.profile({"profile": profile}):
        raise click.BadParameter(problem.reason, param_hint="--profile")
    secrets = secrets_of(os.environ)
    done = []
    for step in _steps(stack, profile, accounts, secrets):
        clean = Step(step.name, step.status, secrets.without(step.what), secrets.without(step.remedy))
        done.append(clean)
        if not as_json:
            _show(clean)
    is_well = all(step.status != "failed" for step in done)
    if as_json:
        click.echo(json.dumps({"ok": is_well, "steps": [asdict(step) for step in done]}, ensure_ascii=False))
    raise SystemExit(0 if is_well else 1)


def _steps(stack: str | None, profile: str | None, accounts: tuple[str, ...], secrets: Secrets) -> Steps[None]:
    engine = yield from guarded("environment", environment.steps(), None)
    found = yield from guarded("stack", configuration.steps(stack, engine, secrets), Configuration())
    profile = profile or found.value("profile")
    user = yield from guarded("credentials", configuration.user_steps(profile, found, secrets), User())
    asked = list(dict.fromkeys(accounts or found.accounts()))
    registered = yield from guarded("ThingSpace", thingspace.steps(user, asked, secrets), {})
    yield from guarded("listener", listeners.steps(found, registered, secrets), None)


def _show(step: Step) -> None:
    status = click.style(f"{step.status:8}", fg=COLORS[step.status])
    click.echo(f"{status} {step.name}: {step.what}")
    if step.remedy:
        click.echo(f"{'':8} -> {step.remedy}")
