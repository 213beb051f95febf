from __future__ import annotations

import uuid

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, PASSWORD, USERNAME, RawApiClient
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

IDLE = 20 * 60
EXPIRED = "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"
INVALID = "UnifiedWebService.INPUT_INVALID.SessionToken.Invalid"
LOCKED = "UnifiedWebService.REQUEST_FAILED.Emulator.UserLocked"
WRONG = "UnifiedWebService.REQUEST_FAILED.Emulator.LoginRejected"


def check_session(client: RawApiClient) -> str:
    """Return `ok` or the error code of a call that changes nothing."""
    reply = client.fetch_history()
    return "ok" if reply.status == 200 else reply.code


@holds("login.shape")
def test_a_login_returns_only_a_uuid(client: RawApiClient) -> None:
    reply = client.login()
    assert reply.status == 200
    assert list(reply.json()) == ["sessionToken"]
    assert str(uuid.UUID(reply.json()["sessionToken"])) == reply.json()["sessionToken"]


@holds("login.accessToken", "gateway.noToken")
def test_a_login_without_an_access_token_is_a_gateway_error(caller: RawApiClient) -> None:
    reply = caller.login()
    assert (reply.status, reply.code) == (401, "900902")
    assert caller.control("GET", "users").json()["users"][0]["failedLogins"] == 0


@holds("login.lockout", "login.unlock", "login.rejection")
def test_the_sixth_login_is_rejected_even_with_the_right_password(client: RawApiClient) -> None:
    for _ in range(5):
        reply = client.login(password="wrong")
        assert (reply.status, reply.code) == (400, WRONG)
    assert (client.login().status, client.login().code) == (400, LOCKED)
    client.advance_clock(30 * 24 * 3600)
    client.access_token = client.request_token().json()["access_token"]
    client.set_switches(wrongPassword="401")
    assert (client.login().status, client.login().code) == (401, LOCKED)
    assert client.control("POST", "users/unlock", {"username": USERNAME}).status == 200
    assert client.login().status == 200


@holds("login.consecutive")
def test_a_login_resets_the_count_of_failed_logins(client: RawApiClient) -> None:
    for _ in range(3):
        for _ in range(4):
            assert client.login(password="wrong").code == WRONG
        assert client.login().status == 200


@holds("login.unknownUser")
def test_an_unknown_user_is_rejected_like_a_wrong_password(client: RawApiClient) -> None:
    assert client.login("unknown").body == client.login(password="wrong").body


@holds("login.older")
def test_older_sessions_stay_valid_after_a_login_unless_switched(client: RawApiClient) -> None:
    older = client.session
    client.session = client.login().json()["sessionToken"]
    assert check_session(client) == "ok"
    client.session = older
    assert check_session(client) == "ok"
    client.set_switches(olderSessions="ended")
    client.login()
    assert check_session(client) == INVALID


@holds("session.sliding", "session.expired")
def test_a_session_expires_after_twenty_idle_minutes(client: RawApiClient) -> None:
    for _ in range(5):
        client.advance_clock(IDLE - 5)
        client.access_token = client.request_token().json()["access_token"]
        assert check_session(client) == "ok"
    client.advance_clock(IDLE + 1)
    client.access_token = client.request_token().json()["access_token"]
    reply = client.fetch_history()
    assert (reply.status, reply.code) == (400, EXPIRED)
    assert reply.json() == {"errorCode": EXPIRED, "errorMessage": "The Session has expired."}


@holds("session.absent", "session.malformed")
def test_a_missing_and_a_malformed_session_token_have_codes_of_their_own(client: RawApiClient) -> None:
    client.session = None
    assert check_session(client) == "UnifiedWebService.REQUEST_FAILED.SessionToken.Format"
    client.session = "not-a-guid"
    assert check_session(client) == INVALID


@holds("session.unknown")
def test_an_unknown_session_token_is_invalid_unless_switched_to_expired(client: RawApiClient) -> None:
    client.session = str(uuid.uuid4())
    assert check_session(client) == INVALID
    client.set_switches(unknownSession="expired")
    assert check_session(client) == EXPIRED


@holds("logout.shape")
def test_a_logout_returns_the_token_of_the_ended_session(client: RawApiClient) -> None:
    reply = client.m2m("POST", "/session/logout")
    assert (reply.status, reply.json()) == (200, {"sessionToken": client.session})
    assert check_session(client) == INVALID


@holds("logout.callbacks")
def test_callbacks_continue_after_a_logout(client: RawApiClient, listener: ScriptedListener) -> None:
    client.register(listener.url)
    client.m2m("POST", "/session/logout")
    client.send_message("still here", ACCOUNT)
    assert listener.wait_for(1) == ["still here"]


@holds("resetPassword.shape")
def test_a_reset_returns_a_random_password_that_is_valid_at_once(client: RawApiClient) -> None:
    reply = client.m2m("PUT", "/session/password/actions/reset", {"oldPassword": PASSWORD})
    assert reply.status == 200
    assert list(reply.json()) == ["newPassword"]
    assert client.login().code == WRONG
    assert client.login(password=reply.json()["newPassword"]).status == 200
    assert check_session(client) == "ok"


@holds("resetPassword.wrong")
def test_a_reset_with_a_wrong_old_password_changes_nothing_and_is_no_failed_login(client: RawApiClient) -> None:
    for _ in range(6):
        reply = client.m2m("PUT", "/session/password/actions/reset", {"oldPassword": "wrong"})
        assert (reply.status, reply.code) == (400, "UnifiedWebService.REQUEST_FAILED.Emulator.OldPasswordWrong")
    assert client.login().status == 200
