from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.raw_api_client import ACCOUNT, TEXT_SERVICE, RawApiClient


def test_the_client_library_of_the_vendor_can_make_every_call(caller: RawApiClient) -> None:
    for number in range(150):
        caller.send_message(f"t{number}")
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("vendor_client.py")), caller.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == {
        "login": [200, 36],
        "listEmpty": [200, None],
        "register": [200, ACCOUNT, TEXT_SERVICE],
        "list": [ACCOUNT, TEXT_SERVICE, "https://hooks.example.net/sms", "plant-a", "example-only"],
        "start": [200, True],
        "deregister": [200, TEXT_SERVICE],
        "send": [200, 36],
        "history": [[202, 100, True], [200, 50, False]],
        "message": ["t0", "mdn"],
        "error": [
            "ConnectivityManagementResultException",
            "UnifiedWebService.REQUEST_FAILED.AccountNotFound",
        ],
        "resetPassword": [200, True],
        "logout": [200, True],
    }
    assert {call["operation"] for call in caller.fetch_journal()["calls"]} >= {
        *("token", "login", "listCallbacks", "registerCallback", "deregisterCallback", "sendSms", "smsHistory"),
        *("startCallbacks", "resetPassword", "logout"),
    }
