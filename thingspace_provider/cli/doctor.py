"""`thingspace doctor`: checks the configuration, ThingSpace and the listeners, and names the check that fails."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from thingspace_provider.cli.doctor_checks import configuration, environment, listeners, thingspace
from thingspace_provider.cli.doctor_checks.check import Check, Checks, environment_secrets, run_guarded
from thingspace_provider.cli.doctor_checks.configuration import Configuration, ResolvedUser
from thingspace_provider.cli.output import print_json, print_line
from thingspace_provider.common.redaction import Redactor

COLORS = {"ok": "green", "failed": "red", "skipped": "yellow"}
EXAMPLE = """
\b
Examples:
  thingspace doctor                # the selected stack, or the environment alone
  thingspace doctor --stack prod
  thingspace doctor --account 0000123456-00001 --json

It sends one token request, at most one login, one listCallbacks for each account, a logout, and one readiness probe to
each listener. It changes nothing, and skips the login if ThingSpace rejected the password before.
"""


@click.command(epilog=EXAMPLE)
@click.option("--stack", help="Stack to check.  [default: the selected stack]")
@click.option("--profile", help="Profile of the ThingSpace user.  [default: that of the stack]")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="Account to check. Repeat for more.")
@click.option("--json", "as_json", is_flag=True, help='Print {"ok": …, "checks": […]}.')
def command(stack: str | None, profile: str | None, accounts: tuple[str, ...], as_json: bool) -> None:
    """Check the whole chain, from the Pulumi CLI to the listener, and say what to do about each failure.

    Exits with 1 if a check failed. Never prints a secret.
    """
    configuration.check_options(stack, profile)
    redactor = environment_secrets(os.environ)
    checks = []
    for check in _run_checks(stack, profile, accounts, redactor):
        redacted = Check(check.name, check.status, redactor.redact(check.detail), redactor.redact(check.hint))
        checks.append(redacted)
        if not as_json:
            _print_check(redacted)
    is_ok = all(check.status != "failed" for check in checks)
    if as_json:
        print_json({"ok": is_ok, "checks": [asdict(check) for check in checks]})
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
    print_line(f" {check.name}: {check.detail}", status=f"{check.status:8}", color=COLORS[check.status])
    if check.hint:
        print_line(f"{'':8} -> {check.hint}")
