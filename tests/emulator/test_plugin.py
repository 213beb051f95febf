from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.raw_api_client import RawApiClient
from thingspace_provider.emulator.testing.client import EmulatorClient, EmulatorError
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener


def test_fixtures_deliver_a_message_from_a_device_to_a_listener(
    thingspace_emulator: EmulatorClient, thingspace_listener: ScriptedListener
) -> None:
    account = thingspace_emulator.accounts[0]
    client = RawApiClient(thingspace_emulator.url).log_in()
    thingspace_emulator.send_message("queued")
    assert thingspace_emulator.queue() == ["queued"]
    assert client.register(thingspace_listener.registered_url, account).status == 200
    thingspace_emulator.send_message("live")
    assert thingspace_listener.wait_for(1) == ["live"]
    thingspace_emulator.wait_until_idle()  # the journal has a delivery when its response has arrived
    client.start_callbacks(account)
    assert thingspace_listener.wait_for(2) == ["live", "queued"]
    thingspace_emulator.wait_until_idle()
    assert thingspace_emulator.queue() == []
    [call] = thingspace_emulator.calls("startCallbacks")
    assert (call["operation"], call["status"], call["accountName"]) == ("startCallbacks", 200, account)
    assert "login" in [call["operation"] for call in thingspace_emulator.calls()]
    delivery = thingspace_emulator.deliveries()[0]
    assert (delivery["url"], delivery["attempt"], delivery["outcome"], delivery["smsMessage"]) == (
        *(thingspace_listener.registered_url, 1),
        *("delivered", "live"),
    )


def test_the_client_controls_the_emulator(thingspace_emulator: EmulatorClient) -> None:
    emulator = thingspace_emulator
    client = RawApiClient(emulator.url).log_in()
    number = emulator.add_fault("startCallbacks", response={"format": "xml", "status": 403})
    assert (client.start_callbacks().status, client.start_callbacks().status) == (403, 200)
    [fault] = emulator.control("GET", "faults")["faults"]
    assert (fault["id"], fault["hits"]) == (number, 1)
    before = emulator.control("POST", "clock", {"frozen": True})["seconds"]
    emulator.advance(1201)
    assert emulator.control("GET", "clock")["seconds"] == before + 1201
    assert client.start_callbacks().code.endswith("SessionToken.Expired")
    emulator.set_switches(lastPage="auto")
    assert emulator.control("GET", "switches")["lastPage"] == "auto"
    for _ in range(5):
        client.login(password="wrong")
    assert client.login().status == 400
    emulator.control("POST", "users/unlock", {"username": emulator.username})
    assert client.login().status == 200
    emulator.control("POST", "accounts", {"accountName": "0000555555-00001"})
    emulator.send_message("x", "0000555555-00001", {"mdn": "5559990001"})
    [message] = emulator.control("GET", "queue", accountName="0000555555-00001")["messages"]
    assert message["deviceIds"] == [{"kind": "mdn", "id": "5559990001"}]
    state = emulator.control("GET", "state")
    emulator.reset()
    assert "0000555555-00001" not in emulator.accounts
    emulator.control("PUT", "state", state)
    assert emulator.queue("0000555555-00001") == ["x"]
    with pytest.raises(EmulatorError, match="there is no account 'nowhere'"):
        emulator.send_message("x", "nowhere")


def test_several_emulators_in_one_test_share_nothing(
    thingspace_emulator: EmulatorClient, start_thingspace_emulator: Callable[..., EmulatorClient]
) -> None:
    other = start_thingspace_emulator({"accounts": ["0000777777-00001"], "preset": "documented"})
    thingspace_emulator.send_message("here")
    assert other.queue() == []
    assert other.accounts == ["0000777777-00001"]
    assert other.environment["THINGSPACE_BASE_URL"] != thingspace_emulator.environment["THINGSPACE_BASE_URL"]


def test_the_plugin_works_in_another_project_and_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent("""
        import threading
        import urllib.request

        def test_one(thingspace_emulator, thingspace_listener):
            thingspace_emulator.send_message("x")
            assert len(thingspace_emulator.queue()) == 1

        def test_nothing_is_left():
            assert threading.active_count() == 1
        """)
    )
    process = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "2 passed" in process.stdout, process.stdout + process.stderr


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, thingspace_provider.emulator.testing.pytest_plugin as p; "
        "print([m for m in ('aiohttp', 'starlette', 'uvicorn', 'pulumi', 'pydantic') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
    assert threading.active_count() >= 1
