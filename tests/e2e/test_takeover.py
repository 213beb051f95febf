"""A team that registered its receiver with curl takes it over, and no message is lost on the way."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter

import pytest

from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, SERVICE, EmulatorProcess
from tests.support.pulumi_project import Project
from tests.support.waiting import wait_until
from thingspace_provider.api import Registration, ThingSpaceClient
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

PAUSE_SECONDS = 0.02


@pytest.mark.long
def test_stack_file_of_the_command_takes_registrations_over_without_losing_a_message(
    project: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    accounts = (ACCOUNT, OTHER_ACCOUNT)
    with ScriptedListener() as receiver:
        emulator.control("PUT", "resolve", {"hooks.example.com:80": f"127.0.0.1:{receiver.port}"})
        for account in accounts:
            emulator.send_message("queued", account)
            url = f"http://hooks.example.com/sms/{account}"
            thingspace.register_callback(account, Registration(SERVICE, url, "plant-a", "example-only"))
        _write_stack_file(project, *accounts)
        project.init("takeover")
        sent = Counter({"queued": 2})
        stop = threading.Event()

        def send() -> None:
            number = 0
            while not stop.wait(PAUSE_SECONDS):
                emulator.send_message(f"live {number}", accounts[number % 2])
                sent[f"live {number}"] += 1
                number += 1

        sender = threading.Thread(target=send)
        sender.start()
        try:
            assert "+ 7 created" in project.up().changes
        finally:
            stop.set()
            sender.join(30)
        wait_until(
            lambda: sent <= Counter(callback.body["smsMessage"] for callback in receiver.received),
            60,
            "the receiver has every message",
        )
        assert all(emulator.count_queued(account) == 0 for account in accounts)
        for account in accounts:
            [registration] = thingspace.list_callbacks(account)
            assert registration.url == f"http://hooks.example.com/sms/{account}"
            assert registration.username != "plant-a"
        project.destroy()


def _write_stack_file(project: Project, *accounts: str) -> None:
    command = [sys.executable, "-m", "thingspace_provider.cli", "registrations"]
    options = [option for account in accounts for option in ("--account", account)]
    subprocess.run(
        [*command, *options, "--write-stack-file", "stacks/Pulumi.takeover.yaml"],
        cwd=project.folder,
        env=project.environment,
        check=True,
        timeout=60,
    )
