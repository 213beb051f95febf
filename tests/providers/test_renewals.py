"""Renewal of a session or an access token that expires between two calls or during one."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.fake_engine import Provider
from tests.support.waiting import wait_until

REGISTRATION = {
    "accountName": ACCOUNT,
    "url": "https://sms.example.com/x",
    "serviceName": "EnhancedConnectivityService",
    "readiness": False,
}
A_MOMENT, TOO_LONG = 1, 20 * 60 + 1  # seconds that a call takes; ThingSpace ends a session after 20 idle minutes


def do_nothing(_emulator: EmulatorProcess) -> None:
    pass


def revoke_token(emulator: EmulatorProcess) -> None:
    """Revoke the token as another program with the same application does; the held call continues."""
    pair = f"{emulator.ready['appKey']}:{emulator.ready['appSecret']}".encode()
    basic = {"Authorization": "Basic " + base64.b64encode(pair).decode()}
    form = {"grant_type": "client_credentials"}
    token = requests.post(f"{emulator.url}/ts/v1/oauth2/token", form, headers=basic, timeout=10).json()["access_token"]
    revoked = requests.post(f"{emulator.url}/ts/v1/oauth2/revoke", {**form, "token": token}, headers=basic, timeout=10)
    assert revoked.ok


@pytest.mark.parametrize(
    ("seconds", "happens", "logins"),
    [(TOO_LONG, do_nothing, 2), (A_MOMENT, revoke_token, 1)],
    ids=["session", "token"],
)
def test_an_expired_session_or_token_is_renewed_once_during_a_registration(
    provider: Provider,
    emulator: EmulatorProcess,
    seconds: int,
    happens: Callable[[EmulatorProcess], None],
    logins: int,
) -> None:
    engine = provider.start(emulator.environment)
    emulator.control("POST", "clock", {"frozen": True})
    emulator.hold("registerCallback", seconds)
    with ThreadPoolExecutor() as thread:
        created = thread.submit(engine.create, "CallbackRegistration", REGISTRATION)
        wait_until(emulator.is_holding, 60, "the emulator holds the call")
        happens(emulator)
        emulator.release()
        assert created.result(60)[0].startswith(ACCOUNT)
    calls = emulator.count_calls()
    assert (calls["registerCallback"], calls["login"]) == (2, logins)
    statuses = [call["status"] for call in emulator.control("GET", "journal", operation="registerCallback")["calls"]]
    assert statuses[0] in {400, 401}
    assert statuses[1] == 200
