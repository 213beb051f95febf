"""`thingspace registrations`: lists what is registered with ThingSpace, and writes a stack file that takes it over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import click
import yaml

from thingspace_provider.api import Registration, ThingSpaceClient
from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.cli.doctor_checks import configuration, environment
from thingspace_provider.cli.doctor_checks.check import Check, Checks, environment_secrets
from thingspace_provider.cli.doctor_checks.configuration import Configuration
from thingspace_provider.cli.doctor_checks.listeners import describe_difference
from thingspace_provider.cli.output import exit_with_error, print_json, print_line, print_note, print_table
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.common.urls import mask_url
from thingspace_provider.lifecycle import validation
from thingspace_provider.lifecycle.registration import SMS_SERVICE

Result = TypeVar("Result")
MIN_WIDTHS = (16, 26, 3)
EXAMPLE = """
\b
Examples:
  thingspace registrations --account 0000123456-00001
  thingspace registrations --stack prod --json
  thingspace registrations --account 0000123456-00001 --write-stack-file stacks/Pulumi.prod.yaml

It sends one token request, one login, one listCallbacks for each account and a logout. It changes nothing.
"""
STACK_FILE = """\
# Written by `thingspace registrations`. If a part of the URL is secret, remove it here and run
# `pulumi config set --secret --path thingspace:listener.url`.
config:
  thingspace:accounts:
{accounts}
  thingspace:listener:
    kind: external
    url: {url}
    readiness: false  # true, if the receiver responds to the readiness probe
  thingspace:adopt: true  # remove it after the first `pulumi up`
"""


@dataclass(frozen=True)
class Row:
    """A registration, or an account without one. `stack` says what `pulumi up` does with it, or is empty."""

    account: str
    service: str
    endpoint: str
    username: str
    stack: str


@click.command(epilog=EXAMPLE)
@click.option("--stack", help="Stack with the accounts, the user and the listener.  [default: the selected stack]")
@click.option("--profile", help="Profile of the ThingSpace user.  [default: that of the stack]")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="Account to list. Repeat for more.")
@click.option("--json", "as_json", is_flag=True, help='Print {"registrations": […]}.')
@click.option(
    "--write-stack-file",
    "stack_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="New stack file with these accounts and their URL.",
)
def command(
    stack: str | None, profile: str | None, accounts: tuple[str, ...], as_json: bool, stack_file: Path | None
) -> None:
    """List the callback registrations of accounts. Secret parts of a URL are masked, passwords are not shown.

    With a stack, it says which registrations `pulumi up` would take over.
    """
    _check_options(stack, profile, accounts, stack_file)
    redactor = environment_secrets(os.environ)
    settings = _read_settings(stack, redactor) if stack or not accounts else Configuration()
    names = list(dict.fromkeys(accounts or settings.accounts()))
    if not names:
        raise click.UsageError("no account. Give --account NAME, or a stack with thingspace:accounts")
    user = _complete(configuration.check_user(profile or settings.value("profile"), settings, redactor), _fail)
    if user.credentials is None:
        exit_with_error("the credentials are incomplete. `thingspace doctor` says which are missing")
    try:
        registered = _list_registrations(ThingSpaceClient(user.credentials), names)
    except ThingSpaceError as error:
        exit_with_error(redactor.redact(str(error)).removesuffix("."))
    rows = [row for account, entries in registered.items() for row in _describe(account, entries, settings)]
    if stack_file is not None:
        _write_stack_file(stack_file, registered)
    if as_json:
        print_json({"registrations": [asdict(row) for row in rows]})
        return
    print_table(
        [("ACCOUNT", "SERVICE", "URL", "STACK"), *((r.account, r.service, r.endpoint, r.stack) for r in rows)],
        MIN_WIDTHS,
    )
    if stack_file is not None:
        print_line(f"Written: {stack_file}")


def _check_options(stack: str | None, profile: str | None, accounts: tuple[str, ...], stack_file: Path | None) -> None:
    configuration.check_options(stack, profile)
    for account in accounts:
        for failure in validation.account_name_errors("account", account):
            raise click.BadParameter(failure.reason, param_hint="--account")
    if stack_file is not None and (stack_file.exists() or not stack_file.parent.is_dir()):
        reason = f"{stack_file} exists" if stack_file.exists() else f"the directory {stack_file.parent} does not exist"
        raise click.BadParameter(reason, param_hint="--write-stack-file")


def _read_settings(stack: str | None, redactor: Redactor) -> Configuration:
    """Return the configuration of a stack; that of its file, with a note, if Pulumi cannot read it."""
    pulumi_cli = _complete(environment.run_checks(), lambda _: None)
    return _complete(
        configuration.run_checks(stack, pulumi_cli, redactor),
        lambda check: print_note(redactor.redact(check.detail)),
    )


def _complete(checks: Checks[Result], report: Callable[[Check], None]) -> Result:
    """Run the checks, report those that fail, and return their result."""
    while True:
        try:
            check = next(checks)
        except StopIteration as end:
            result: Result = end.value
            return result
        if check.status == "failed":
            report(check)


def _fail(check: Check) -> None:
    exit_with_error(f"{check.name}: {check.detail}. {check.hint}".removesuffix("."))


def _list_registrations(client: ThingSpaceClient, accounts: list[str]) -> dict[str, list[Registration]]:
    try:
        return {account: client.list_callbacks(account) for account in accounts}
    finally:
        client.logout()


def _describe(account: str, entries: list[Registration], settings: Configuration) -> Iterator[Row]:
    host_settings = settings.value("listener")
    has_listener = isinstance(host_settings, dict) and host_settings.get("kind") != "local"
    if not any(entry.service_name == SMS_SERVICE for entry in entries):
        yield Row(account, SMS_SERVICE, "", "", "not registered: `pulumi up` registers the listener")
    for entry in sorted(entries, key=lambda entry: (entry.service_name != SMS_SERVICE, entry.service_name)):
        note = ""
        if entry.service_name != SMS_SERVICE:
            note = "another service: `pulumi up` leaves it"
        elif has_listener:
            has_token = host_settings.get("kind") != "external" or "{path_token}" in str(host_settings.get("url"))
            if describe_difference(entry, host_settings, None, account):
                note = "another URL: `pulumi up` takes it over with adopt"
            else:
                note = "the URL of the stack" + (", if its path token is that of the stack" if has_token else "")
        yield Row(account, entry.service_name, mask_url(entry.url), entry.username, note)


def _write_stack_file(path: Path, registered: dict[str, list[Registration]]) -> None:
    """Write a stack file with the accounts that have a registration of device messages."""
    urls = {
        account: entry.url.replace(account, "{account}")
        for account, entries in registered.items()
        for entry in entries
        if entry.service_name == SMS_SERVICE
    }
    if not urls:
        exit_with_error("no account has a registration that a stack file could take over")
    if len(set(urls.values())) > 1:
        listed = ", ".join(f"{account}: {mask_url(url)}" for account, url in urls.items())
        exit_with_error(
            f"the URLs differ in more than the account, and a stack has one. Name the accounts of one URL ({listed})"
        )
    [url] = set(urls.values())
    if len(urls) > 1 and (error := validation.url_template_error(url, len(urls))):
        exit_with_error(f"the URL {mask_url(url)} cannot be in a stack file: {error}")
    text = STACK_FILE.format(
        accounts="\n".join(f'    - "{account}"' for account in urls),
        url=yaml.safe_dump(url, width=1000).removesuffix("\n...\n").strip(),
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        exit_with_error(f"{path} cannot be written: {error.strerror}")
