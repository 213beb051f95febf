"""Deploys SMS callbacks from a Python program: python deploy.py up|destroy ACCOUNT ...

The Automation API runs the Pulumi CLI, which must be on PATH.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pulumi
from pulumi import automation

from thingspace_provider import CallbackCredential, LocalListener, SmsCallbacks


def declare_callbacks(accounts: list[str]) -> None:
    """Declare the resources of one stack."""
    credential = CallbackCredential("credential")
    listener = LocalListener("listener", account_names=accounts, credential=credential)
    sms = SmsCallbacks("sms", account_names=accounts, listener=listener, credential=credential)
    pulumi.export("registered", {account: entry.endpoint for account, entry in sms.registrations.items()})


def main(command: str, *accounts: str) -> None:
    """Create or destroy the stack `dev`."""
    stack = automation.create_or_select_stack(
        stack_name="dev",
        project_name="automation-api",
        program=lambda: declare_callbacks(list(accounts)),
        opts=automation.LocalWorkspaceOptions(work_dir=str(Path(__file__).parent)),
    )
    if command == "up":
        result = stack.up(on_output=print)
        for account, endpoint in result.outputs["registered"].value.items():
            print(f"{account} is sent to {endpoint}")
    else:
        stack.destroy(on_output=print)


if __name__ == "__main__":
    main(*sys.argv[1:])
