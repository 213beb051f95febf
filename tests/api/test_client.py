"""The client against the emulator: what is sent how often, and what each way of failing is called."""

from __future__ import annotations

import html
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.fake_deadline import FakeTime
from thingspace_provider.api import Credentials, Deadline, Limits, Registration, ThingSpaceClient, errors
from thingspace_provider.api.login_guard import OVERRIDE_VARIABLE, state_directory

XML = (
    '<am:fault xmlns:am="http://wso2.org/apimanager"><am:code>404</am:code>'
    "<am:message>Not Found</am:message></am:fault>"
)
EXPIRED = "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"


@pytest.fixture
def with_short_timeout(thingspace: ThingSpaceClient) -> ThingSpaceClient:
    """A client whose pauses between attempts take no time."""
    return thingspace.with_deadline(FakeTime().build_deadline())


def gateway(code: str, message: str) -> dict[str, object]:
    return {"fault": {"code": code, "message": message, "description": "x"}}


def m2m(code: str) -> dict[str, str]:
    return {"errorCode": code, "errorMessage": "in words"}


def test_many_threads_share_one_token_and_one_login(thingspace: ThingSpaceClient, emulator: EmulatorProcess) -> None:
    together = threading.Barrier(16, timeout=60)

    def start() -> None:
        together.wait()
        thingspace.start_callbacks(ACCOUNT)

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(start) for _ in range(16)]:
            done.result(60)
    assert emulator.count_calls() == {"token": 1, "login": 1, "startCallbacks": 16}


def test_a_rejected_login_is_tried_once_however_many_threads_log_in(
    credentials: Credentials, emulator: EmulatorProcess
) -> None:
    client = ThingSpaceClient(replace(credentials, password="sentinel-wrong"))
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
    assert emulator.count_calls()["login"] == 1
    assert sorted(type(error).__name__ for error in results) == ["LoginBlocked"] * 7 + ["LoginRejected"]
    assert "sentinel" not in "".join(map(str, results))


def test_a_password_that_was_refused_is_not_tried_by_a_later_process_until_it_changes(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(credentials, password="sentinel-wrong")
    with pytest.raises(errors.LoginRejected, match="Left before the lockout at 5: 4"):
        ThingSpaceClient(wrong).start_callbacks(ACCOUNT)
    for _ in range(3):  # each as a process of its own would begin
        with pytest.raises(errors.LoginBlocked, match="THINGSPACE_LOGIN_OVERRIDE=1"):
            ThingSpaceClient(wrong).start_callbacks(ACCOUNT)
    assert emulator.count_calls()["login"] == 1
    with pytest.raises(errors.LoginRejected, match="at 5: 3"):
        ThingSpaceClient(replace(credentials, password="another-wrong")).start_callbacks(ACCOUNT)
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    with pytest.raises(errors.LoginRejected, match="at 5: 2"):
        ThingSpaceClient(wrong).start_callbacks(ACCOUNT)
    monkeypatch.delenv(OVERRIDE_VARIABLE)
    ThingSpaceClient(credentials).start_callbacks(ACCOUNT)
    with pytest.raises(errors.LoginRejected, match="at 5: 4"):  # a successful login resets the count
        ThingSpaceClient(wrong).start_callbacks(ACCOUNT)
    assert emulator.count_calls()["login"] == 5


def test_processes_side_by_side_try_a_wrong_password_once(credentials: Credentials, emulator: EmulatorProcess) -> None:
    wrong = replace(credentials, password="sentinel-wrong")
    program = (
        "import sys\nfrom thingspace_provider.api import Credentials, ThingSpaceClient\n"
        "try:\n    ThingSpaceClient(Credentials(*sys.argv[1:])).start_callbacks('0000123456-00001')\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
    )
    arguments = [wrong.app_key, wrong.app_secret, wrong.username, wrong.password, wrong.base_url]
    running = [
        subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ended = sorted(process.communicate(timeout=60)[0].strip() for process in running)
    assert ended == ["LoginBlocked"] * 3 + ["LoginRejected"]
    assert emulator.count_calls()["login"] == 1


def test_the_record_of_rejected_logins_holds_no_credential(credentials: Credentials) -> None:
    with pytest.raises(errors.LoginRejected):
        ThingSpaceClient(replace(credentials, password="sentinel-wrong")).start_callbacks(ACCOUNT)
    files = list(state_directory().iterdir())
    assert len(files) == 2  # the record and its lock
    for file in files:
        for secret in ("sentinel", credentials.username, credentials.app_key, credentials.app_secret):
            assert secret not in file.name + file.read_text()


def test_a_login_that_succeeds_leaves_only_the_lock_behind(thingspace: ThingSpaceClient) -> None:
    thingspace.start_callbacks(ACCOUNT)
    [lock] = state_directory().iterdir()  # removed, it would not keep the next one from those that wait for it
    assert (lock.suffix, lock.read_bytes()) == (".lock", b"")


def test_a_folder_that_cannot_be_written_does_not_stop_a_login(
    thingspace: ThingSpaceClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    thingspace.start_callbacks(ACCOUNT)


def test_an_expired_session_is_replaced_by_one_login_and_the_call_repeated(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    thingspace.start_callbacks(ACCOUNT)
    emulator.control("POST", "clock", {"advanceSeconds": 21 * 60})
    thingspace.start_callbacks(ACCOUNT)
    calls = emulator.count_calls()
    assert (calls["token"], calls["login"], calls["startCallbacks"]) == (1, 2, 3)


def test_a_session_that_is_refused_again_after_a_new_login_is_an_error(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    emulator.add_fault("startCallbacks", 400, m2m(EXPIRED), times=5)
    with pytest.raises(errors.SessionRejected, match="another program logs this user in"):
        thingspace.start_callbacks(ACCOUNT)
    assert emulator.count_calls()["login"] == 2


def test_an_unexplained_401_on_a_young_session_is_recovered_by_one_login(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    emulator.add_fault("startCallbacks", 401, m2m("UnifiedWebService.REQUEST_FAILED.Whatever"))
    thingspace.start_callbacks(ACCOUNT)
    assert emulator.count_calls()["login"] == 2


def test_a_rejected_access_token_is_fetched_again_and_the_session_is_reused(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    emulator.add_fault("startCallbacks", 401, gateway("900901", "Invalid Credentials"))
    thingspace.start_callbacks(ACCOUNT)
    calls = emulator.count_calls()
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
    emulator: EmulatorProcess,
    operation: str,
    status: int,
    body: object,
    kind: type[errors.ErrorResponse],
    code: str | None,
) -> None:
    emulator.add_fault(operation, status, body, times=9)
    with pytest.raises(errors.ErrorResponse) as rejected:
        with_short_timeout.start_callbacks(ACCOUNT)
    assert type(rejected.value) is kind
    assert rejected.value.status == status
    assert rejected.value.code == (body["errorCode"] if code is None and isinstance(body, dict) else code)
    assert str(status) in str(rejected.value)
    assert rejected.value.hint


def test_an_error_message_has_action_account_response_and_hint(thingspace: ThingSpaceClient) -> None:
    with pytest.raises(errors.AccountRejected) as rejected:
        thingspace.start_callbacks("0000000000-99999")
    message = str(rejected.value)
    assert message.startswith(
        "starting SMS callbacks failed for account 0000000000-99999: ThingSpace responded with 400"
    )
    assert "REQUEST_FAILED" in message
    assert message.endswith("may use this account.")


def test_a_success_that_is_not_one_is_not_believed(thingspace: ThingSpaceClient, emulator: EmulatorProcess) -> None:
    emulator.add_fault("startCallbacks", 200, "<html>Welcome to the hotel</html>")
    with pytest.raises(errors.UnexpectedResponse, match="no proxy responds in place of ThingSpace"):
        thingspace.start_callbacks(ACCOUNT)
    emulator.add_fault("listCallbacks", 200, "<html>Welcome to the hotel</html>")
    with pytest.raises(errors.UnexpectedResponse):
        thingspace.list_callbacks(ACCOUNT)


@pytest.mark.parametrize("success", [{"a": 1}, [], 1, "yes", None])
def test_a_confirmation_of_another_kind_is_not_believed(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess, success: object
) -> None:
    emulator.add_fault("startCallbacks", 200, {"success": success})
    with pytest.raises(errors.UnexpectedResponse, match="did not confirm"):
        thingspace.start_callbacks(ACCOUNT)


@pytest.mark.parametrize("life", ["9" * 400, '"nan"', '"inf"', "-5", '"soon"', "[]"])
def test_a_life_of_a_token_that_makes_no_sense_is_taken_for_the_usual_hour(
    credentials: Credentials, emulator: EmulatorProcess, life: str
) -> None:
    token = emulator.caller.request_token().json()["access_token"]
    emulator.add_fault("token", 200, f'{{"access_token": "{token}", "expires_in": {life}}}')
    now = 1000.0
    client = ThingSpaceClient(credentials, clock=lambda: now)
    client.start_callbacks(ACCOUNT)
    now += 3000
    client.start_callbacks(ACCOUNT)
    assert emulator.count_calls()["token"] == 2  # one of them the test's own
    now += 1000
    client.start_callbacks(ACCOUNT)
    assert emulator.count_calls()["token"] == 3


@pytest.mark.parametrize("token", ["\N{EURO SIGN}", "a\r\nb", " ", 7])
def test_a_token_that_no_header_can_hold_is_not_understood(
    credentials: Credentials, emulator: EmulatorProcess, token: object
) -> None:
    emulator.add_fault("token", 200, {"access_token": token})
    with pytest.raises(errors.UnexpectedResponse, match="holds no access_token"):
        ThingSpaceClient(credentials).start_callbacks(ACCOUNT)


@pytest.mark.parametrize("form", ["zeroLength", "array", "null"])
def test_no_registration_is_understood_in_every_form(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess, form: str
) -> None:
    emulator.control("PUT", "switches", {"emptyCallbackList": form})
    assert thingspace.list_callbacks(ACCOUNT) == []


@pytest.mark.parametrize("form", ["omitted", "emptyStrings"])
def test_a_registration_without_a_credential_reads_the_same_in_both_forms(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess, form: str
) -> None:
    emulator.control("PUT", "switches", {"unsetCredentials": form})
    wanted = Registration(SERVICE, "https://sms.example.com/x")
    thingspace.register_callback(ACCOUNT, wanted)
    assert thingspace.list_callbacks(ACCOUNT) == [wanted]
    thingspace.deregister_callback(ACCOUNT, SERVICE)
    assert thingspace.list_callbacks(ACCOUNT) == []


def test_a_broken_connection_is_reported_without_the_request_body(
    with_short_timeout: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    emulator.control("POST", "faults", {"operation": "startCallbacks", "drop": "after", "times": 9})
    with pytest.raises(errors.NoResponse, match="failed for account 0000123456-00001") as unreachable:
        with_short_timeout.start_callbacks(ACCOUNT)
    assert "Bearer" not in str(unreachable.value)


def test_an_answer_that_never_comes_ends_at_the_deadline(credentials: Credentials, emulator: EmulatorProcess) -> None:
    client = ThingSpaceClient(credentials)
    client.login()
    emulator.control("POST", "faults", {"operation": "startCallbacks", "hang": "before", "times": 1})
    with pytest.raises(errors.NoResponse, match=r"no (complete )?response within [12]\.\d s"):
        client.with_deadline(Deadline(Limits(resource_timeout_seconds=2))).start_callbacks(ACCOUNT)
    client.start_callbacks(ACCOUNT)


def test_a_login_in_the_home_folder_never_replaces_the_bearer(
    thingspace: ThingSpaceClient, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    (home / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    thingspace.start_callbacks(ACCOUNT)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    thingspace: ThingSpaceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    thingspace.start_callbacks(ACCOUNT)


def test_credentials_are_not_shown_by_their_repr(credentials: Credentials) -> None:
    for secret in (credentials.app_key, credentials.app_secret, credentials.password):
        assert secret not in repr(credentials)
    assert "sentinel" not in repr(Registration(SERVICE, "https://x/sentinel", "u", "sentinel"))


HIDDEN = 's3nt%20"nel/&\N{EURO SIGN}'


@pytest.mark.parametrize("form", [str, quote, quote_plus, html.escape, json.dumps])
@pytest.mark.parametrize("operation", ["token", "login", "listCallbacks", "registerCallback"])
def test_a_secret_that_a_server_echoes_is_redacted_before_the_message_is_truncated(
    credentials: Credentials, emulator: EmulatorProcess, operation: str, form: Callable[[str], str]
) -> None:
    given = Registration(SERVICE, f"https://sms.example.com/callbacks/{'t' * 32}/x", "plant-a", HIDDEN)
    user = replace(credentials, app_secret=HIDDEN) if operation == "token" else credentials
    user = replace(user, password=HIDDEN) if operation == "login" else user
    # ThingSpace may repeat what it was sent long ago: then whoever calls has to say what that was.
    client = ThingSpaceClient(user).with_deadline(
        FakeTime().build_deadline(), [HIDDEN, "t" * 32] if operation == "listCallbacks" else []
    )
    echo = f"{'x' * 280} {form(HIDDEN)}" + (f" {given.url}" if "Callback" in operation else "")
    emulator.add_fault(operation, 400, {"errorCode": f"X.INPUT_INVALID.{form(HIDDEN)}", "errorMessage": echo})
    with pytest.raises(errors.ErrorResponse) as rejected:
        client.register_callback(ACCOUNT, given) if operation == "registerCallback" else client.list_callbacks(ACCOUNT)
    message = str(rejected.value)
    assert "xxx ***" in message.replace('"***"', "***")
    assert "s3nt" not in message
    assert "tttt" not in message


def test_a_server_that_repeats_token_and_session_is_not_quoted(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    thingspace.start_callbacks(ACCOUNT)
    [session] = emulator.control("GET", "state")["sessions"]
    emulator.add_fault("startCallbacks", 400, {"errorCode": "X.Y", "errorMessage": f"session {session} is odd"})
    with pytest.raises(errors.ErrorResponse, match=r"session \*\*\* is odd"):
        thingspace.start_callbacks(ACCOUNT)


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
def test_an_address_is_shown_without_the_password_in_it(credentials: Credentials, url: str, masked: str) -> None:
    with pytest.raises(errors.InvalidSetting) as rejected:
        replace(credentials, base_url=url)
    assert f"the base URL {masked}" in str(rejected.value)
    assert "inel" not in str(rejected.value)


def test_an_address_without_an_answer_is_shown_without_the_password_in_it(credentials: Credentials) -> None:
    nowhere = replace(credentials, base_url="http://me:sentinel@127.0.0.1:9/api")
    with pytest.raises(errors.NoResponse, match=r"no response from http://127\.0\.0\.1:9/api") as unreachable:
        ThingSpaceClient(nowhere).with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    assert "sentinel" not in str(unreachable.value)


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


def test_every_error_is_in_the_tree_that_the_module_draws() -> None:
    drawn = errors.__doc__ or ""
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) > 10
    for kind in kinds:
        assert kind.__name__ in drawn
        assert issubclass(kind, errors.ThingSpaceError)
