"""Emulator, inbox and command show the same event with the same time."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.listener_process import API_TOKEN, ListenerProcess, clean_environment
from tests.support.page_checks import TIME_ZONE, open_page
from tests.support.recovery_harness import register
from thingspace_provider.api import ThingSpaceClient

COMMAND = [sys.executable, "-m", "thingspace_provider.cli", "messages"]
LOCAL = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{3})?-0[45]:00"
UTC = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{3})?Z"


def read_times(text: str, pattern: str) -> list[datetime]:
    return [datetime.fromisoformat(found.replace("Z", "+00:00")) for found in re.findall(pattern, text)]


@pytest.mark.long
def test_emulator_inbox_and_command_show_an_event_alike_in_local_time_and_utc(
    emulator: EmulatorProcess, thingspace: ThingSpaceClient, browser: Browser, tmp_path: Path
) -> None:
    emulator.control("PUT", "switches", {"registrationPorts": "any"})
    listener = ListenerProcess(tmp_path)
    try:
        register(thingspace, listener)
        emulator.send_message("T=21.5")
        with (
            open_page(browser, emulator.url.removesuffix("api")) as emulator_page,
            open_page(browser, f"{listener.url}/") as inbox,
        ):
            inbox.fill("#token", API_TOKEN)
            inbox.press("#token", "Enter")
            sent = emulator_page.locator("#events li").filter(has_text="T=21.5").locator("time")
            stored = inbox.locator("#list li").filter(has_text="T=21.5").locator("time")
            for zone, pattern, name in (("local", LOCAL, TIME_ZONE), ("utc", UTC, "UTC")):
                for page in (emulator_page, inbox):
                    page.click(f"#zone-{zone}")
                    page.reload()  # the choice is remembered
                expect(sent).to_have_text(re.compile(f"^{pattern}$"))
                expect(stored).to_have_text(re.compile(f"^{pattern}$"))
                environment = clean_environment(TZ=name, THINGSPACE_LISTENER_API_TOKEN=API_TOKEN)
                outputs = [
                    subprocess.run(
                        [*COMMAND, *arguments, "--url", listener.url],
                        env=environment,
                        capture_output=True,
                        text=True,
                        check=True,
                        timeout=30,
                    ).stdout
                    for arguments in ([], ["show", "1"])
                ]
                assert stored.inner_text() in outputs[0]
                assert ACCOUNT in outputs[0]
                inbox.locator("#list li .text").click()
                received = inbox.locator(".history time").first
                expect(received).to_have_text(re.compile(f"^{pattern}$"))
                assert f"received      {received.inner_text()}" in outputs[1]
                inbox.click("#close")
                [at_emulator], [at_inbox] = (
                    read_times(sent.inner_text(), pattern),
                    read_times(stored.inner_text(), pattern),
                )
                assert abs((at_emulator - at_inbox).total_seconds()) <= 5
    finally:
        listener.kill()
