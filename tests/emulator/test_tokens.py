from __future__ import annotations

import re

from tests.support.fidelity import holds
from tests.support.raw_api_client import APP, RawApiClient

HOUR = 3600


@holds("token.shape")
def test_a_token_has_four_fields(caller: RawApiClient) -> None:
    reply = caller.request_token()
    body = reply.json()
    assert reply.status == 200
    assert set(body) == {"access_token", "scope", "token_type", "expires_in"}
    assert body["token_type"] == "Bearer"
    assert re.fullmatch(r"[0-9a-f]{32}", body["access_token"])
    assert body["expires_in"] == HOUR


@holds("token.reused", "token.expiresIn")
def test_the_same_token_is_issued_again_with_less_time_left(caller: RawApiClient) -> None:
    first = caller.request_token().json()
    caller.advance_clock(HOUR - 60)
    second = caller.request_token().json()
    assert second["access_token"] == first["access_token"]
    assert 55 <= second["expires_in"] <= 60
    caller.set_switches(expiresIn="constant")
    assert caller.request_token().json()["expires_in"] == HOUR


@holds("token.hour", "gateway.wrongToken")
def test_a_token_expires_an_hour_after_its_first_issue(client: RawApiClient) -> None:
    client.advance_clock(HOUR - 60)
    assert client.login().status == 200
    client.advance_clock(61)
    reply = client.login()
    assert (reply.status, reply.code) == (401, "900901")
    assert client.request_token().json()["access_token"] != client.access_token


@holds("token.noBasic")
def test_a_token_request_without_basic_authentication_is_a_gateway_error(caller: RawApiClient) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}):
        reply = caller.send("POST", "/ts/v1/oauth2/token", b"grant_type=client_credentials", headers)
        assert (reply.status, reply.code) == (401, "900902")
        assert reply.headers["content-type"] == "application/json; charset=UTF-8"


@holds("token.wrongSecret")
def test_a_wrong_secret_and_a_wrong_key_get_the_same_response(caller: RawApiClient) -> None:
    wrong = [caller.request_token(app) for app in ((APP[0], "wrong"), ("wrong", APP[1]), ("", ""))]
    assert {(reply.status, reply.code) for reply in wrong} == {(401, "invalid_client")}
    assert {reply.body for reply in wrong} == {wrong[0].body}
    garbled = caller.send("POST", "/ts/v1/oauth2/token", b"", {"Authorization": "Basic ???"})
    assert (garbled.status, garbled.code) == (401, "invalid_client")


@holds("token.grantType")
def test_only_client_credentials_are_granted(caller: RawApiClient) -> None:
    for form in ("", "grant_type=password", "grant_type=", "x" * 1000):
        reply = caller.request_token(form=form)
        assert (reply.status, reply.code) == (400, "invalid_request")
        assert set(reply.json()) == {"error", "error_description"}


@holds("revoke.shape", "revoke.everyHolder")
def test_a_revoked_token_is_returned_in_a_header_and_rejected(client: RawApiClient) -> None:
    old = client.access_token
    reply = client.request_token(form=f"grant_type=client_credentials&token={old}", path="revoke")
    assert (reply.status, reply.body) == (200, b"")
    assert old in reply.headers.values()
    assert client.login().code == "900901"
    assert client.request_token().json()["access_token"] != old


@holds("revoke.unknown")
def test_revoking_an_unknown_token_changes_nothing(client: RawApiClient) -> None:
    reply = client.request_token(form="grant_type=client_credentials&token=unknown%0d%0ax", path="revoke")
    assert (reply.status, reply.body) == (200, b"")
    assert client.login().status == 200
    assert client.request_token(form="grant_type=client_credentials", path="revoke").code == "invalid_request"
