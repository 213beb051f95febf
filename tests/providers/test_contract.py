"""The providers in the SDK's real provider process, over gRPC, without credentials and network."""

from __future__ import annotations

import grpc
import pytest

from tests.support.fake_engine import UNKNOWN, Engine, Provider, strip_exception_prefix
from thingspace_provider.config.credentials import base_url_fingerprint

ACCOUNT = "0000123456-00001"
REGISTRATION = {
    "accountName": ACCOUNT,
    "url": "https://sms.example.com/callbacks/0000123456-00001",
    "username": "plant-a",
    "password": "example-only",
}
PRODUCTION = base_url_fingerprint(None, {}, lambda _: None)
UNREACHABLE_ENVIRONMENT = {
    "THINGSPACE_BASE_URL": "http://127.0.0.1:9/api",
    "THINGSPACE_APP_KEY": "key",
    "THINGSPACE_APP_SECRET": "sentinel-app-secret",
    "THINGSPACE_USERNAME": "user",
    "THINGSPACE_PASSWORD": "sentinel-password",
}


def test_check_defaults_to_the_service_for_device_messages(engine: Engine) -> None:
    inputs, failures = engine.check("CallbackRegistration", REGISTRATION)
    assert failures == []
    assert inputs == {
        **REGISTRATION,
        "serviceName": "EnhancedConnectivityService",
        "adopt": False,
        "readiness": True,
    }


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"accountName": 123456.0}, "Quote the account name"),
        ({"accountName": ""}, "must be an account name"),
        ({"accountName": "a/b"}, "not an account name"),
        ({"url": "https://sms.example.com:8443/x"}, "ThingSpace rejects port 8443"),
        ({"url": "https://sms.example.com/{acount}"}, "it holds {acount}, which is not replaced"),
        ({"url": "ftp://sms.example.com/x"}, "must begin with http:// or https://"),
        ({"url": "https://sms.example.com:port/x"}, "the port must be a number"),
        ({"url": "https://sms.example.com:0/x"}, "the port must be a number from 1"),
        ({"url": "https://[::1/x"}, "write an IPv6 address between [ and ]"),
        ({"url": "https://user:pw@sms.example.com/x"}, "no HTTP authentication"),
        ({"url": "https://sms.example.com/it's"}, "character that ThingSpace rejects"),
        ({"password": "x" * 41}, "41 characters long"),
        ({"serviceName": "DeviceMessages"}, "use EnhancedConnectivityService"),
        ({"adopt": "yes"}, "must be true or false"),
        ({"profile": "plant-a"}, "not a profile name"),
        ({"profile": "Listener"}, "listener is reserved"),
    ],
)
def test_check_rejects_inputs_that_thingspace_would_reject(
    engine: Engine, wrong: dict[str, object], expected: str
) -> None:
    _, failures = engine.check("CallbackRegistration", {**REGISTRATION, **wrong})
    assert len(failures) == 1
    assert expected in failures[0][1]


@pytest.mark.parametrize("wrong", [{"url": "https://x.example:1/sentinel-token"}, {"password": "s" * 41}])
def test_check_never_names_a_property_whose_value_is_secret(engine: Engine, wrong: dict[str, object]) -> None:
    _, failures = engine.check("CallbackRegistration", {**REGISTRATION, **wrong})
    assert [key for key, _ in failures] == [""]  # the engine prints the value of the named property
    assert "sentinel" not in str(failures)


def test_check_and_diff_accept_values_that_a_preview_does_not_know(engine: Engine) -> None:
    unknown = {**REGISTRATION, "url": UNKNOWN, "username": UNKNOWN, "password": UNKNOWN}
    inputs, failures = engine.check("CallbackRegistration", unknown)
    assert failures == []
    assert inputs["url"] == UNKNOWN
    olds, _ = engine.check("CallbackRegistration", REGISTRATION)
    difference = engine.diff("CallbackRegistration", olds, inputs)
    assert difference.changes == difference.DIFF_SOME
    assert list(difference.replaces) == []


def test_an_unknown_account_does_not_replace_the_resource(engine: Engine) -> None:
    olds = {"accountName": ACCOUNT, "lastActivatedAt": "2026-03-01T00:00:00+00:00"}
    difference = engine.diff("SmsCallbackActivation", olds, {"accountName": UNKNOWN})
    assert difference.changes == difference.DIFF_SOME
    assert list(difference.replaces) == []


def test_another_account_replaces_and_another_trigger_updates(engine: Engine) -> None:
    olds = {"accountName": ACCOUNT, "triggers": ["1"], "baseUrlFingerprint": PRODUCTION}
    moved = engine.diff("SmsCallbackActivation", olds, {"accountName": "0000123456-00002", "triggers": ["1"]})
    assert list(moved.replaces) == ["accountName"]
    again = engine.diff("SmsCallbackActivation", olds, {"accountName": ACCOUNT, "triggers": ["2"]})
    assert (again.changes, list(again.replaces)) == (again.DIFF_SOME, [])
    same = engine.diff("SmsCallbackActivation", olds, {"accountName": ACCOUNT, "triggers": ["1"]})
    assert same.changes == same.DIFF_NONE


def test_a_credential_is_generated_once_and_rotated_with_overlap(engine: Engine) -> None:
    inputs, _ = engine.check("CallbackCredential", {})
    assert inputs == {}
    id_, first = engine.create("CallbackCredential", inputs)
    assert id_ == first["username"]
    assert len(first["password"]) <= 40
    assert first["previousPasswords"] == []
    assert engine.diff("CallbackCredential", first, inputs).changes == 1  # DIFF_NONE
    rotated, _ = engine.check("CallbackCredential", {"rotation": 1})
    assert engine.diff("CallbackCredential", first, rotated).changes == 2  # DIFF_SOME: the first value set rotates, too
    second = engine.update("CallbackCredential", id_, first, rotated)
    assert engine.diff("CallbackCredential", second, rotated).changes == 1  # numbers come back as floats
    assert second["previousPasswords"] == [first["password"]]
    assert second["password"] != first["password"]
    assert (second["username"], second["pathToken"]) == (first["username"], first["pathToken"])


def test_a_credential_keeps_the_last_three_passwords(engine: Engine) -> None:
    known = {"username": "u", "password": "b", "previousPasswords": ["a"], "pathToken": "t", "rotation": 2}
    states = [known]
    for rotation in (3, 4, 5):
        states.append(engine.update("CallbackCredential", "u", states[-1], {"rotation": rotation}))
    before = [state["password"] for state in reversed(states[:-1])]
    assert states[1]["previousPasswords"] == ["b", "a"]
    assert states[-1]["previousPasswords"] == before == [states[2]["password"], states[1]["password"], "b"]


def test_missing_credentials_are_all_named_in_one_error(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        engine.create("SmsCallbackActivation", {"accountName": ACCOUNT})
    message = failed.value.details()
    for name in ("APP_KEY", "APP_SECRET", "USERNAME", "PASSWORD"):
        assert f"THINGSPACE_{name}" in message
    assert "thingspace emulator" in message


def test_a_failure_is_one_readable_line_without_a_traceback_or_a_secret(provider: Provider) -> None:
    engine = provider.start(UNREACHABLE_ENVIRONMENT)
    with pytest.raises(grpc.RpcError) as failed:
        engine.create("SmsCallbackActivation", {"accountName": ACCOUNT})
    message = failed.value.details()
    assert strip_exception_prefix(message).startswith(
        "getting an access token failed: no response from http://127.0.0.1:9/api"
    )
    assert "Traceback" not in message
    assert "sentinel" not in message
    assert len(message.strip().splitlines()) == 1


def test_thingspace_debug_shows_the_whole_traceback(provider: Provider) -> None:
    engine = provider.start({**UNREACHABLE_ENVIRONMENT, "THINGSPACE_DEBUG": "1"})
    with pytest.raises(grpc.RpcError) as failed:
        engine.create("SmsCallbackActivation", {"accountName": ACCOUNT})
    assert "transport.py" in failed.value.details()


def test_the_environment_wins_over_the_stack_configuration(provider: Provider) -> None:
    config = {"thingspace:appKey": "k", "thingspace:appSecret": "s", "thingspace:username": "u"}
    config |= {"thingspace:password": "p", "thingspace:baseUrl": "http://127.0.0.1:1/api"}
    engine = provider.start({"THINGSPACE_BASE_URL": "http://127.0.0.1:9/api"}, config)
    with pytest.raises(grpc.RpcError, match=r"127\.0\.0\.1:9/api"):
        engine.create("SmsCallbackActivation", {"accountName": ACCOUNT})


def test_credentials_are_never_sent_unencrypted_to_another_machine(provider: Provider) -> None:
    engine = provider.start({**UNREACHABLE_ENVIRONMENT, "THINGSPACE_BASE_URL": "http://thingspace.example.com/api"})
    with pytest.raises(grpc.RpcError, match="unencrypted"):
        engine.create("SmsCallbackActivation", {"accountName": ACCOUNT})


def test_refresh_of_an_activation_keeps_it_and_delete_sends_nothing(provider: Provider) -> None:
    engine = provider.start(UNREACHABLE_ENVIRONMENT)  # any call would fail
    outputs = {"accountName": ACCOUNT, "triggers": ["1"], "lastActivatedAt": "2026-03-01T00:00:00+00:00"}
    id_, read, inputs = engine.read("SmsCallbackActivation", ACCOUNT, outputs)
    assert (id_, read) == (ACCOUNT, outputs)
    assert inputs == {"accountName": ACCOUNT, "triggers": ["1"]}
    engine.delete("SmsCallbackActivation", ACCOUNT, outputs)
