"""Reads the four dialects in which ThingSpace reports errors, and names the error they mean.

| dialect | from | body |
|---|---|---|
| fault | API gateway | `{"fault": {"code", "message", "description"}}` |
| m2m | the service | `{"errorCode", "errorMessage"}`, HTTP 400 |
| oauth | token call | `{"error", "error_description"}` |
| other | gateway 403 and 404, proxies | XML, HTML, or nothing |

The service name before the first dot of an m2m code varies, the rest is stable: only the rest is compared.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from thingspace_provider.api import errors
from thingspace_provider.common.redaction import Redactor

MAX_MESSAGE_LENGTH = 300  # of a text that somebody else wrote: enough to recognise it, short enough to read
EXPIRED_ACCESS_TOKEN = "900901"  # noqa: S105  an error code
MISSING_ACCESS_TOKEN = "900902"  # noqa: S105  an error code
NO_SUCH_ROUTE = "900906"
UNAUTHORIZED = 401
RATE_LIMITED = 429
SERVER_ERRORS = 500


@dataclass(frozen=True)
class ErrorBody:
    """What an error answer says of itself: ThingSpace's code (or "") and its text (or ""), in foreign words."""

    format: str
    code: str
    message: str


def parse_error_body(body: bytes) -> ErrorBody:
    """Read an error body of any dialect; never raises."""
    document = parse_json_object(body)
    if isinstance(inner := document.get("fault"), dict):
        return ErrorBody("fault", _to_text(inner.get("code")), _to_text(inner.get("message")))
    if "errorCode" in document:
        return ErrorBody("m2m", _to_text(document["errorCode"]), _to_text(document.get("errorMessage")))
    if "error" in document:
        return ErrorBody("oauth", _to_text(document["error"]), _to_text(document.get("error_description")))
    return _parse_markup(body.decode("utf-8", errors="replace"))


def parse_json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body, or an empty one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _parse_markup(body: str) -> ErrorBody:
    """XML, HTML or nothing: keep the words that a person can use."""
    code = re.search(r"<(?:\w+:)?code>([^<]{1,40})<", body)
    parts = [match.group(1) for name in ("message", "description", "title") if (match := _find_element(name, body))]
    return ErrorBody("other", code.group(1).strip() if code else "", _to_text(" - ".join(parts)))


def _find_element(name: str, body: str) -> re.Match[str] | None:
    return re.search(rf"<(?:\w+:)?{name}>([^<]{{1,{MAX_MESSAGE_LENGTH}}})<", body, flags=re.IGNORECASE)


def _to_text(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


def _printable(text: str, redactor: Redactor) -> str:
    """One printable line of a foreign text, without what it repeats of secrets: blotted out before a cut halves one."""
    line = " ".join("".join(c if c.isprintable() else " " for c in redactor.redact(text)).split())
    return line if len(line) <= MAX_MESSAGE_LENGTH else line[:MAX_MESSAGE_LENGTH] + " ..."


def error_from_response(
    operation: str,
    action: str,
    account: str | None,
    status: int,
    body: bytes,
    retry_after: float,
    redactor: Redactor,
) -> errors.ErrorResponse:
    """The error that an answer means.

    Args:
        operation: the call's name, as `startCallbacks`.
        action: the same in words, for the message.
        account: the account it was about, if any.
        status: HTTP status of the answer.
        body: its body.
        retry_after: seconds that it asks to wait.
        redactor: removes the secrets that the request held.
    """
    unredacted = parse_error_body(body)
    error_body = ErrorBody(
        unredacted.format, _printable(unredacted.code, redactor), _printable(unredacted.message, redactor)
    )
    error_class, hint = _classify(operation, status, error_body)
    if retry_after and error_class in {errors.RateLimited, errors.ServerError}:
        hint = f"Run it again after these {retry_after:.0f} s."
    detail = f"ThingSpace answered {status}"
    if error_body.code:
        detail += f" {error_body.code}"
    if error_body.message and error_body.message != error_body.code:
        detail += f' ("{error_body.message}")'
    if retry_after:
        detail += f" and asks for a pause of {retry_after:.0f} s (Retry-After)"
    return error_class(action, account, detail, hint, status, error_body.code, retry_after)


def _classify(operation: str, status: int, error_body: ErrorBody) -> tuple[type[errors.ErrorResponse], str]:
    """Error class and way out for an answer, most specific first."""
    if status == RATE_LIMITED:
        return errors.RateLimited, "Wait a minute and run it again."
    if status >= SERVER_ERRORS:
        return errors.ServerError, "This is on ThingSpace's side: run it again in a few minutes."
    if (
        error_body.format == "fault"
        and error_body.code in {EXPIRED_ACCESS_TOKEN, MISSING_ACCESS_TOKEN}
        and operation != "token"
    ):
        return errors.AccessTokenRejected, (
            "The access token was not accepted. If this stays so, check that the application of this key "
            "(THINGSPACE_APP_KEY, or the profile's own) is active in the ThingSpace portal."
        )
    if operation == "login" and _may_count_as_failed_login(error_body):
        return errors.LoginRejected, (
            "Check THINGSPACE_USERNAME and THINGSPACE_PASSWORD, or the profile's own (the UWS user, not the portal "
            "login), and that no proxy answers in ThingSpace's place, before you run this again: five wrong logins in "
            "a row lock the user, and only Verizon support can unlock it. It was tried once; the same password is not "
            "tried again from this machine."
        )
    if ".SessionToken." in error_body.code:
        return errors.SessionRejected, (
            "The session was not accepted even after a new login. Is another program logging this user in and out?"
        )
    # A 401 without any code was seen live once, on a session that was 96 seconds old: no wrong address says that.
    is_silent = status == UNAUTHORIZED and not error_body.code and operation != "token"
    if (error_body.format == "other" and not is_silent) or error_body.code == NO_SUCH_ROUTE:
        return errors.RouteNotFound, (
            "That address is not known there: check THINGSPACE_BASE_URL (stack config thingspace:baseUrl, or the "
            "profile's own), and that no proxy answers in ThingSpace's place."
        )
    if operation == "token":
        return errors.ApplicationKeyRejected, (
            "Check THINGSPACE_APP_KEY and THINGSPACE_APP_SECRET, or the profile's own, against Key Management in the "
            "ThingSpace portal."
        )
    return _classify_m2m(status, error_body)


def _may_count_as_failed_login(error_body: ErrorBody) -> bool:
    """Whether a login that was answered below 500 may have counted as a wrong one.

    ThingSpace documents neither status nor code of a wrong password, so everything counts that the gateway did not
    surely stop before: a route that it does not know, as a fault or as XML with the gateway's number.
    """
    if error_body.format == "fault":
        return error_body.code != NO_SUCH_ROUTE
    return error_body.format != "other" or not error_body.code.isdigit()


def _classify_m2m(status: int, error_body: ErrorBody) -> tuple[type[errors.ErrorResponse], str]:
    """Error class and way out for an answer of the m2m service itself, or for a 401 of nobody known."""
    if "REQUEST_FAILED.Account" in error_body.code or "REQUEST_FAILED.NoAccounts" in error_body.code:
        return errors.AccountRejected, (
            "Check the account name, leading zeros included, and that the ThingSpace user may use this account."
        )
    if "INPUT_INVALID" in error_body.code or error_body.code.endswith("DeserializationFailed"):
        return errors.InputRejected, "Correct the value that ThingSpace names, and run it again."
    if status == UNAUTHORIZED:  # no code, or one that explains nothing
        return errors.SessionRejected, "ThingSpace gave no reason; a new login did not help."
    return errors.ErrorResponse, "Run it again; if it stays, give this code to Verizon support."
