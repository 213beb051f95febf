"""Errors of a lifecycle become gRPC errors whose message fits into a header."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from tests.support import failing_lifecycles
from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, EmulatorProcess
from tests.support.fake_engine import Provider, strip_exception_prefix

TOP = Path(failing_lifecycles.__file__).parents[2]
MAX_MESSAGE_BYTES = 6 * 1024  # bytes on the wire; gRPC's own clients reject headers of more than 8 kB


def extract_message(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    """Return the message of a failed call, after a test that it fits: gRPC sends a non-ASCII byte as three bytes."""
    message = str(error.value.details())
    assert error.value.code() == grpc.StatusCode.UNKNOWN
    assert sum(1 if byte < 0x80 else 3 for byte in message.encode()) < MAX_MESSAGE_BYTES
    return message


@pytest.mark.parametrize("debug", ["", "1"])
def test_every_error_in_a_lifecycle_gets_a_response(provider: Provider, debug: str) -> None:
    path = os.pathsep.join([str(TOP), os.environ.get("PYTHONPATH", "")])
    engine = provider.start({"PYTHONPATH": path, "THINGSPACE_DEBUG": debug})
    for kind in failing_lifecycles.ERRORS:
        with pytest.raises(grpc.RpcError) as failed:
            engine.create(failing_lifecycles.FailingProvider, {"accountName": ACCOUNT, "triggers": [kind]})
        message = extract_message(failed)
        assert kind in message
        if not debug:
            assert strip_exception_prefix(message).startswith(f"unexpected {kind} in failing_lifecycles.py line ")
            assert "sentinel" not in message


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_huge_error_page_becomes_a_message_that_fits(
    provider: Provider, emulator: EmulatorProcess, debug: str
) -> None:
    engine = provider.start({**emulator.environment, "THINGSPACE_DEBUG": debug})
    for body in (
        {"errorCode": "X.INPUT_INVALID.Y", "errorMessage": "x" * 1_000_000},
        {"errorCode": "\N{ROCKET}" * 40_000, "errorMessage": "\N{FIRE}" * 40_000},
        "<html><title>" + "x" * 1_000_000,
        "<html><title>Sorry</title>" + "<br>" * 250_000,
    ):
        emulator.add_fault("startCallbacks", 400, body)
        with pytest.raises(grpc.RpcError) as failed:
            engine.create("SmsCallbackActivation", {"accountName": ACCOUNT})
        message = extract_message(failed)
        assert f"starting SMS callbacks failed for account {ACCOUNT}: ThingSpace responded with 400" in message


def test_missing_credentials_are_named_once_for_all_accounts(provider: Provider) -> None:
    engine = provider.start({"THINGSPACE_APP_KEY": "", "THINGSPACE_PLANT_A_APP_KEY": ""})
    messages = []
    for profile, account in ((None, ACCOUNT), (None, OTHER_ACCOUNT), ("plant_a", ACCOUNT)):
        with pytest.raises(grpc.RpcError) as failed:
            engine.create("SmsCallbackActivation", {"accountName": account, "profile": profile})
        messages.append(strip_exception_prefix(extract_message(failed)).strip())
    assert ["missing THINGSPACE" in message for message in messages] == [True, False, True]
    assert messages[1] == (
        "reading the credentials failed: the credentials are incomplete. "
        "The first error of this run names what is missing."
    )
