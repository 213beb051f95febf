"""`thingspace doctor`: what is configured and from where, what answers, and which step fails."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from thingspace_provider.cli.doctor_checks import configuration, environment, listeners, thingspace
from thingspace_provider.cli.doctor_checks.check import Check, Checks, environment_secrets, run_guarded
from thingspace_provider.cli.doctor_checks.configuration import Configuration, ResolvedUser
from thingspace_provider.common.redaction import Redactor
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
    for failure in validation.check_profile({"profile": profile}):
        raise click.BadParameter(failure.reason, param_hint="--profile")
    redactor = environment_secrets(os.environ)
    checks = []
    for check in _run_checks(stack, profile, accounts, redactor):
        redacted = Check(check.name, check.status, redactor.redact(check.detail), redactor.redact(check.hint))
        checks.append(redacted)
        if not as_json:
            _print_check(redacted)
    is_ok = all(step.status != "failed" for step in checks)
    if as_json:
        click.echo(json.dumps({"ok": is_ok, "steps": [asdict(step) for step in checks]}, ensure_ascii=False))
    raise SystemExit(0 if is_ok else 1)


def _run_checks(stack: str | None, profile: str | None, accounts: tuple[str, ...], redactor: Redactor) -> Checks[None]:
    pulumi_cli = yield from run_guarded("environment", environment.run_checks(), None)
    stack_configuration = yield from run_guarded(
        "stack", configuration.run_checks(stack, pulumi_cli, redactor), Configuration()
    )
    profile = profile or stack_configuration.value("profile")
    user = yield from run_guarded(
        "credentials", configuration.check_user(profile, stack_configuration, redactor), ResolvedUser()
    )
    account_names = list(dict.fromkeys(accounts or stack_configuration.accounts()))
    registrations = yield from run_guarded("ThingSpace", thingspace.run_checks(user, account_names, redactor), {})
    yield from run_guarded("listener", listeners.run_checks(stack_configuration, registrations, redactor), None)


def _print_check(check: Check) -> None:
    status = click.style(f"{check.status:8}", fg=COLORS[check.status])
    click.echo(f"{status} {check.name}: {check.detail}")
    if check.hint:
        click.echo(f"{'':8} -> {check.hint}")
