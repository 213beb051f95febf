"""The client: the number of calls it sends, and the error for every error response."""

from __future__ import annotations

import html
import json
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE
from tests.support.fake_deadline import FakeTime
from tests.support.fake_transport import FakeTransport
from thingspace_provider.api import Credentials, Registration, ThingSpaceClient, errors
from thingspace_provider.api.login_guard import OVERRIDE_VARIABLE, state_directory

XML = (
    '<am:fault xmlns:am="http://wso2.org/apimanager"><am:code>404</am:code>'
    "<am:message>Not Found</am:message></am:fault>"
)
EXPIRED = "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"


@pytest.fixture
def with_short_timeout(client: ThingSpaceClient) -> ThingSpaceClient:
    """A client whose pauses between attempts take no time."""
    return client.with_deadline(FakeTime().build_deadline())


def gateway(code: str, message: str) -> dict[str, object]:
    return {"fault": {"code": code, "message": message, "description": "x"}}


def m2m(code: str) -> dict[str, str]:
    return {"errorCode": code, "errorMessage": "in words"}


def test_many_threads_share_one_token_and_one_login(client: ThingSpaceClient, transport: FakeTransport) -> None:
    together = threading.Barrier(16, timeout=60)

    def start() -> None:
        together.wait()
        client.start_callbacks(ACCOUNT)

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(start) for _ in range(16)]:
            done.result(60)
    assert transport.count_calls() == {"token": 1, "login": 1, "startCallbacks": 16}


def test_a_rejected_login_is_sent_once_by_all_threads(user: Credentials, transport: FakeTransport) -> None:
    client = ThingSpaceClient(replace(user, password="sentinel-wrong"), transport)
    together = threading.Barrier(8, timeout=60)

    def start() -> BaseException | None:
        together.wait()
        try:
            client.start_callbacks(ACCOUNT)
        except errors.ThingSpaceError as error:
            return error
        return None

    with ThreadPoolExecutor(8) as pool:
        results = [done.result(60) for done in [pool.submit(start) for _ in range(8)]]
    assert transport.count_calls()["login"] == 1
    assert sorted(type(error).__name__ for error in results) == ["LoginBlocked"] * 7 + ["LoginRejected"]
    assert "sentinel" not in "".join(map(str, results))


def test_a_rejected_password_is_blocked_in_later_processes(
    user: Credentials, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(user, password="sentinel-wrong")
    with pytest.raises(errors.LoginRejected, match="Left before the lockout at 5: 4"):
        ThingSpaceClient(wrong, transport).start_callbacks(ACCOUNT)
    for _ in range(3):  # each as a process of its own would begin
        with pytest.raises(errors.LoginBlocked, match="THINGSPACE_LOGIN_OVERRIDE=1"):
            ThingSpaceClient(wrong, transport).start_callbacks(ACCOUNT)
    assert transport.count_calls()["login"] == 1
    with pytest.raises(errors.LoginRejected, match="at 5: 3"):
        ThingSpaceClient(replace(user, password="another-wrong"), transport).start_callbacks(ACCOUNT)
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    with pytest.raises(errors.LoginRejected, match="at 5: 2"):
        ThingSpaceClient(wrong, transport).start_callbacks(ACCOUNT)
    monkeypatch.delenv(OVERRIDE_VARIABLE)
    ThingSpaceClient(user, transport).start_callbacks(ACCOUNT)
    with pytest.raises(errors.LoginRejected, match="at 5: 4"):  # a successful login resets the count
        ThingSpaceClient(wrong, transport).start_callbacks(ACCOUNT)
    assert transport.count_calls()["login"] == 5


def test_the_record_of_rejected_logins_holds_no_credential(user: Credentials, transport: FakeTransport) -> None:
    with pytest.raises(errors.LoginRejected):
        ThingSpaceClient(replace(user, password="sentinel-wrong"), transport).start_callbacks(ACCOUNT)
    files = list(state_directory().iterdir())
    assert len(files) == 2  # the record and its lock
    for file in files:
        for secret in ("sentinel", user.username, user.app_key, user.app_secret):
            assert secret not in file.name + file.read_text()


def test_a_successful_login_leaves_only_the_lock_file(client: ThingSpaceClient) -> None:
    client.start_callbacks(ACCOUNT)
    [lock] = state_directory().iterdir()  # removed, it would not keep the next one from those that wait for it
    assert (lock.suffix, lock.read_bytes()) == (".lock", b"")


def test_login_succeeds_when_the_state_directory_is_not_writable(
    client: ThingSpaceClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    client.start_callbacks(ACCOUNT)


def test_a_session_rejected_after_a_new_login_is_an_error(client: ThingSpaceClient, transport: FakeTransport) -> None:
    transport.add_fault("startCallbacks", 400, m2m(EXPIRED), times=5)
    with pytest.raises(errors.SessionRejected, match="another program logs this user in"):
        client.start_callbacks(ACCOUNT)
    assert transport.count_calls()["login"] == 2


def test_a_401_without_a_known_code_is_recovered_by_one_login(
    client: ThingSpaceClient, transport: FakeTransport
) -> None:
    transport.add_fault("startCallbacks", 401, m2m("UnifiedWebService.REQUEST_FAILED.Whatever"))
    client.start_callbacks(ACCOUNT)
    assert transport.count_calls()["login"] == 2


def test_a_rejected_access_token_is_fetched_again_and_the_session_is_reused(
    client: ThingSpaceClient, transport: FakeTransport
) -> None:
    transport.add_fault("startCallbacks", 401, gateway("900901", "Invalid Credentials"))
    client.start_callbacks(ACCOUNT)
    calls = transport.count_calls()
    assert (calls["token"], calls["login"]) == (2, 1)


@pytest.mark.parametrize(
    ("operation", "status", "body", "kind", "code"),
    [
        ("startCallbacks", 401, gateway("900902", "Missing Credentials"), errors.AccessTokenRejected, "900902"),
        ("startCallbacks", 400, gateway("900906", "No matching resource"), errors.RouteNotFound, "900906"),
        ("startCallbacks", 403, XML, errors.RouteNotFound, "404"),
        ("startCallbacks", 502, "<html><title>Bad Gateway</title></html>", errors.ServerError, ""),
        ("startCallbacks", 404, "", errors.RouteNotFound, ""),
        ("startCallbacks", 401, "", errors.SessionRejected, ""),
        ("startCallbacks", 429, "", errors.RateLimited, ""),
        ("startCallbacks", 400, m2m("X.REQUEST_FAILED.AccountNotFound"), errors.AccountRejected, None),
        ("startCallbacks", 400, m2m("Y.REQUEST_FAILED.AccountName"), errors.AccountRejected, None),
        ("startCallbacks", 400, m2m("Z.INPUT_INVALID.Account.NotDefined"), errors.InputRejected, None),
        ("startCallbacks", 400, m2m("Z.REQUEST_FAILED.UnexpectedError"), errors.ErrorResponse, None),
        (
            "token",
            401,
            {"error": "invalid_client", "error_description": "x"},
            errors.ApplicationKeyRejected,
            "invalid_client",
        ),
        ("login", 401, m2m("U.REQUEST_FAILED.Login"), errors.LoginRejected, None),
        ("token", 401, "", errors.RouteNotFound, ""),
        ("login", 503, "", errors.ServerError, ""),
        # What may have counted as a wrong login is taken for one, in whatever form it comes.
        ("login", 401, "", errors.LoginRejected, ""),
        ("login", 403, "<html><title>Forbidden</title></html>", errors.LoginRejected, ""),
        ("login", 400, m2m(EXPIRED), errors.LoginRejected, None),
        ("login", 403, XML, errors.RouteNotFound, "404"),
        ("login", 400, gateway("900906", "No matching resource"), errors.RouteNotFound, "900906"),
        ("login", 404, "", errors.LoginRejected, ""),
        ("login", 302, "", errors.LoginRejected, ""),
        ("login", 423, m2m("U.REQUEST_FAILED.Locked"), errors.LoginRejected, None),
        ("login", 401, gateway("900900", "Unclassified"), errors.LoginRejected, "900900"),
        ("login", 200, m2m("U.REQUEST_FAILED.Login"), errors.LoginRejected, None),
        ("login", 404, "<p><code>sorry</code></p>", errors.LoginRejected, "sorry"),
    ],
)
def test_every_error_format_is_parsed_to_one_error_tree(
    with_short_timeout: ThingSpaceClient,
    transport: FakeTransport,
    operation: str,
    status: int,
    body: object,
    kind: type[errors.ErrorResponse],
    code: str | None,
) -> None:
    transport.add_fault(operation, status, body, times=9)
    with pytest.raises(errors.ErrorResponse) as rejected:
        with_short_timeout.start_callbacks(ACCOUNT)
    assert type(rejected.value) is kind
    assert rejected.value.status == status
    assert rejected.value.code == (body["errorCode"] if code is None and isinstance(body, dict) else code)
    assert str(status) in str(rejected.value)
    assert rejected.value.hint


def test_an_error_message_has_action_account_response_and_hint(client: ThingSpaceClient) -> None:
    with pytest.raises(errors.AccountRejected) as rejected:
        client.start_callbacks("0000000000-99999")
    message = str(rejected.value)
    assert message.startswith(
        "starting SMS callbacks failed for account 0000000000-99999: ThingSpace responded with 400"
    )
    assert "REQUEST_FAILED" in message
    assert message.endswith("may use this account.")


def test_a_success_response_without_json_is_an_error(client: ThingSpaceClient, transport: FakeTransport) -> None:
    transport.add_fault("startCallbacks", 200, "<html>Welcome to the hotel</html>")
    with pytest.raises(errors.UnexpectedResponse, match="no proxy responds in place of ThingSpace"):
        client.start_callbacks(ACCOUNT)
    transport.add_fault("listCallbacks", 200, "<html>Welcome to the hotel</html>")
    with pytest.raises(errors.UnexpectedResponse):
        client.list_callbacks(ACCOUNT)


@pytest.mark.parametrize("success", [{"a": 1}, [], 1, "yes", None])
def test_a_confirmation_with_another_value_is_an_error(
    client: ThingSpaceClient, transport: FakeTransport, success: object
) -> None:
    transport.add_fault("startCallbacks", 200, {"success": success})
    with pytest.raises(errors.UnexpectedResponse, match="did not confirm"):
        client.start_callbacks(ACCOUNT)


@pytest.mark.parametrize("life", ["9" * 400, '"nan"', '"inf"', "-5", '"soon"', "[]"])
def test_a_token_with_an_invalid_lifetime_expires_after_an_hour(
    user: Credentials, transport: FakeTransport, life: str
) -> None:
    transport.add_fault("token", 200, f'{{"access_token": "a-token", "expires_in": {life}}}')
    now = 1000.0
    client = ThingSpaceClient(user, transport, clock=lambda: now)
    client.start_callbacks(ACCOUNT)
    now += 3000
    client.start_callbacks(ACCOUNT)
    assert transport.count_calls()["token"] == 1
    now += 1000
    client.start_callbacks(ACCOUNT)
    assert transport.count_calls()["token"] == 2


@pytest.mark.parametrize("token", ["\N{EURO SIGN}", "a\r\nb", " ", 7])
def test_a_token_that_no_header_can_hold_is_an_error(
    user: Credentials, transport: FakeTransport, token: object
) -> None:
    transport.add_fault("token", 200, {"access_token": token})
    with pytest.raises(errors.UnexpectedResponse, match="holds no access_token"):
        ThingSpaceClient(user, transport).start_callbacks(ACCOUNT)


def test_credentials_are_not_shown_by_their_repr(user: Credentials) -> None:
    for secret in (user.app_key, user.app_secret, user.password):
        assert secret not in repr(user)
    assert "sentinel" not in repr(Registration(SERVICE, "https://x/sentinel", "u", "sentinel"))


HIDDEN = 's3nt%20"nel/&\N{EURO SIGN}'


@pytest.mark.parametrize("form", [str, quote, quote_plus, html.escape, json.dumps])
@pytest.mark.parametrize("operation", ["token", "login", "listCallbacks", "registerCallback"])
def test_a_secret_that_a_server_echoes_is_redacted_before_the_message_is_truncated(
    user: Credentials, transport: FakeTransport, operation: str, form: Callable[[str], str]
) -> None:
    given = Registration(SERVICE, f"https://sms.example.com/callbacks/{'t' * 32}/x", "plant-a", HIDDEN)
    user = replace(user, app_secret=HIDDEN) if operation == "token" else user
    user = replace(user, password=HIDDEN) if operation == "login" else user
    # ThingSpace can repeat a value of an earlier call: the caller then passes the secrets.
    client = ThingSpaceClient(user, transport).with_deadline(
        FakeTime().build_deadline(), [HIDDEN, "t" * 32] if operation == "listCallbacks" else []
    )
    echo = f"{'x' * 280} {form(HIDDEN)}" + (f" {given.url}" if "Callback" in operation else "")
    transport.add_fault(operation, 400, {"errorCode": f"X.INPUT_INVALID.{form(HIDDEN)}", "errorMessage": echo})
    with pytest.raises(errors.ErrorResponse) as rejected:
        client.register_callback(ACCOUNT, given) if operation == "registerCallback" else client.list_callbacks(ACCOUNT)
    message = str(rejected.value)
    assert "xxx ***" in message.replace('"***"', "***")
    assert "s3nt" not in message
    assert "tttt" not in message


def test_an_echoed_session_token_is_redacted(client: ThingSpaceClient, transport: FakeTransport) -> None:
    client.start_callbacks(ACCOUNT)
    transport.add_fault(
        "startCallbacks", 400, {"errorCode": "X.Y", "errorMessage": f"session {transport.session} is odd"}
    )
    with pytest.raises(errors.ErrorResponse, match=r"session \*\*\* is odd"):
        client.start_callbacks(ACCOUNT)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("http://me:sentinel@sms.example.com/api", "'http://sms.example.com/api' would send"),
        ("ftp://me:sentinel@sms.example.com/api", "'ftp://sms.example.com/api' is not usable"),
        ("me:sentinel@sms.example.com/api", "'sms.example.com/api' is not usable"),
        ("http://me:sent/inel@[", "'http://[' is not usable"),
        ("http://me:sentinel@[::1/api", "'http://[::1/api' is not usable"),
    ],
)
def test_an_invalid_base_url_is_shown_without_its_password(user: Credentials, url: str, masked: str) -> None:
    with pytest.raises(errors.InvalidSetting) as rejected:
        replace(user, base_url=url)
    assert f"the base URL {masked}" in str(rejected.value)
    assert "inel" not in str(rejected.value)


@pytest.mark.parametrize(
    "error",
    [
        errors.NoResponse("action", "account", "detail", "hint"),
        errors.LoginRejected("action", None, "detail", "hint", 400, "X.Y"),
    ],
)
def test_errors_survive_pickling(error: errors.ThingSpaceError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  just made
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_every_error_class_is_in_the_tree_of_the_docstring() -> None:
    drawn = errors.__doc__ or ""
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) > 10
    for kind in kinds:
        assert kind.__name__ in drawn
        assert issubclass(kind, errors.ThingSpaceError)
