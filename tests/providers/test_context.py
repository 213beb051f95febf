"""Context of a resource operation: its deadline and its redacted secrets."""

from __future__ import annotations

import itertools

import grpc
import pytest

from tests.support.callback_servers import ACCOUNT, PASSWORD, USERNAME, build_proof, run_callback_server
from tests.support.emulator_process import EmulatorProcess
from tests.support.fake_engine import Provider

TOKEN = "sentinel-path-token-of-some-length"


def test_the_deadline_starts_when_the_listener_has_passed_the_probe(
    provider: Provider, emulator: EmulatorProcess
) -> None:
    deadline = {"THINGSPACE_RESOURCE_TIMEOUT_SECONDS": "5", "THINGSPACE_READINESS_TIMEOUT_SECONDS": "60"}
    engine = provider.start({**emulator.environment, **deadline})
    attempts = itertools.count()
    with run_callback_server(
        lambda nonce: (503, {}, b"") if next(attempts) < 9 else build_proof(nonce), ports=range(9001, 9007)
    ) as http:
        given = {"accountName": ACCOUNT, "url": http.url(), "username": USERNAME, "password": PASSWORD}
        inputs, failures = engine.check("CallbackRegistration", given)
        assert failures == []
        engine.create("CallbackRegistration", inputs)  # after backoffs of 0.2 + 0.3 + 0.45 + 0.68 + 5 x 1 s
    assert emulator.count_calls()["registerCallback"] == 1


@pytest.mark.parametrize("operation", ["listCallbacks", "registerCallback", "deregisterCallback"])
def test_secrets_of_a_registration_are_redacted_in_error_responses(
    provider: Provider, emulator: EmulatorProcess, operation: str
) -> None:
    engine = provider.start(emulator.environment)
    url = f"https://sms.example.com/{TOKEN}/x"
    given = {"accountName": ACCOUNT, "url": url, "username": USERNAME, "password": "sentinel-password"}
    inputs, _ = engine.check("CallbackRegistration", given | {"readiness": False})
    id_, outputs = engine.create("CallbackRegistration", inputs)
    emulator.add_fault(
        operation, 400, {"errorCode": "X.INPUT_INVALID.Y", "errorMessage": f"sentinel-password, {url}"}, 9
    )
    news = inputs | {"username": "another"}
    with pytest.raises(grpc.RpcError) as failed:
        engine.update("CallbackRegistration", id_, outputs, news) if operation != "deregisterCallback" else (
            engine.delete("CallbackRegistration", id_, outputs)
        )
    assert "***, https://sms.example.com/***/x" in str(failed.value.details())
    assert "sentinel" not in str(failed.value.details())
