from __future__ import annotations

import pytest

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, RawApiClient

XML = '<am:fault xmlns:am="http://wso2.org/apimanager">'

CALLS = [
    ("POST", "/session/logout"),
    ("PUT", "/session/password/actions/reset"),
    ("GET", f"/callbacks/{ACCOUNT}"),
    ("POST", f"/callbacks/{ACCOUNT}"),
    ("DELETE", f"/callbacks/{ACCOUNT}/name/EnhancedConnectivityService"),
    ("POST", "/sms"),
    ("GET", f"/sms/{ACCOUNT}/history"),
    ("PUT", f"/sms/{ACCOUNT}/startCallbacks"),
]


@holds("gateway.context", "gateway.method")
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/m2m/v2/sms"), ("POST", "/nothing/v1"), ("GET", "/m2m/v1/sms"), ("PATCH", "/m2m/v1/sms")],
)
def test_an_unknown_context_or_method_is_a_gateway_error(caller: RawApiClient, method: str, path: str) -> None:
    reply = caller.send(method, path)
    assert (reply.status, reply.code) == (400, "900906")
    assert isinstance(reply.json()["fault"]["code"], str)


@holds("gateway.path")
@pytest.mark.parametrize(
    "path",
    ["/m2m/v1", "/m2m/v1/nothing", "/m2m/v1/sms//history", "/m2m/v1/callbacks/", "/ts/v1/oauth2", "/m2m/v1/sms/a/b/c"],
)
def test_an_incomplete_path_in_a_known_context_is_not_found_in_xml(caller: RawApiClient, path: str) -> None:
    reply = caller.send("GET", path)
    assert reply.status == 404
    assert reply.body.decode().startswith(XML)
    assert reply.headers["content-type"].startswith("application/xml")


@holds("gateway.scheme")
def test_another_authentication_scheme_is_forbidden_in_xml(caller: RawApiClient) -> None:
    reply = caller.m2m("GET", f"/callbacks/{ACCOUNT}", Authorization="Basic eDp5")
    assert reply.status == 403
    assert reply.body.decode().startswith(XML)


@holds("gateway.order")
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_access_token_session_account_and_body_are_checked_in_this_order(
    client: RawApiClient, method: str, path: str
) -> None:
    access_token, session = client.access_token, client.session
    client.access_token, client.session = None, None
    assert client.m2m(method, path, b"{").code == "900902"
    client.access_token = "wrong"
    assert client.m2m(method, path, b"{").code == "900901"
    client.access_token = access_token
    assert client.m2m(method, path, b"{").code.endswith("SessionToken.Format")
    client.session = session
    if ACCOUNT in path:
        reply = client.m2m(method, path.replace(ACCOUNT, "0000000000-00009"), b"{")
        assert reply.code == "UnifiedWebService.REQUEST_FAILED.AccountNotFound"
    if method == "POST" and "session" not in path:
        assert client.m2m(method, path, b"{").code.endswith("DeserializationFailed")


@holds("account.unknown", "account.otherUser")
def test_an_account_of_another_user_is_distinguished_from_one_that_does_not_exist(client: RawApiClient) -> None:
    state = client.control("GET", "state").json()
    state["users"]["emulator-user"]["accounts"] = [ACCOUNT]
    assert client.control("PUT", "state", state).status == 200
    foreign = client.start_callbacks("0000123456-00002")
    assert (foreign.status, foreign.code) == (400, "UnifiedWebService.REQUEST_FAILED.AccountName")
    unknown = client.start_callbacks("0000000000-00009")
    assert (unknown.status, unknown.code) == (400, "UnifiedWebService.REQUEST_FAILED.AccountNotFound")


@holds("gateway.contentType")
def test_a_call_without_a_body_needs_no_content_type(client: RawApiClient) -> None:
    headers = {"Authorization": f"Bearer {client.access_token}", "VZ-M2M-Token": str(client.session)}
    assert client.send("PUT", f"/m2m/v1/sms/{ACCOUNT}/startCallbacks", None, headers).json() == {"success": True}


@holds("gateway.size")
def test_a_body_of_ten_megabytes_is_rejected_and_the_next_call_is_served(client: RawApiClient) -> None:
    reply = client.m2m("POST", "/sms", b"x" * 10_000_000)
    assert reply.status == 413
    assert client.start_callbacks().status == 200


@holds("body.empty", "body.malformed", "body.type", "body.characters")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "INPUT_INVALID.RequestUndefined"),
        (b" \n", "INPUT_INVALID.RequestUndefined"),
        (b"{", "DeserializationFailed"),
        (b"[]", "DeserializationFailed"),
        (b"\xff\xfe", "DeserializationFailed"),
        (b"[" * 100_000, "DeserializationFailed"),
        (b'{"name": "EnhancedConnectivityService"}', "DeserializationFailed"),
        (b'{"name": "EnhancedConnectivityService", "url": "\\ud800"}', "DeserializationFailed"),
        (b'{"name": 5, "url": "http://h"}', "REQUEST_FAILED.UnexpectedError"),
        (b'{"name": "N", "url": "http://h/\'"}', "INPUT_INVALID.Request.InvalidCharacter"),
        (b'{"name": "N", "url": "http://h/<"}', "INPUT_INVALID.Request.InvalidCharacter"),
        (b'{"name": "N", "url": "http://h/\\\\"}', "INPUT_INVALID.Request.InvalidCharacter"),
    ],
)
def test_an_invalid_body_is_rejected_with_a_code_of_its_service(client: RawApiClient, body: bytes, code: str) -> None:
    reply = client.m2m("POST", f"/callbacks/{ACCOUNT}", body)
    assert (reply.status, reply.code) == (400, f"CallbackRegistrationService.{code}")
    assert set(reply.json()) == {"errorCode", "errorMessage"}


@holds("body.characters")
def test_an_apostrophe_is_accepted_when_switched(client: RawApiClient) -> None:
    client.set_switches(invalidCharacters="accepted")
    device = [{"kind": "mdn", "id": "5551230001"}]
    body = {"accountName": ACCOUNT, "deviceIds": device, "smsMessage": "it's"}
    assert client.m2m("POST", "/sms", body).status == 200
