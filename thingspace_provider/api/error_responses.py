"""Parses the four formats in which ThingSpace returns errors, and maps them to error classes.

| format | returned by | body |
|---|---|---|
| gateway | API gateway | `{"fault": {"code", "message", "description"}}` |
| m2m | the service | `{"errorCode", "errorMessage"}`, HTTP 400 |
| oauth | token call | `{"error", "error_description"}` |
| other | gateway 403 and 404, proxies | XML, HTML, or nothing |

The service name before the first dot of an m2m code varies. The rest is stable, so only the rest is compared.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from thingspace_provider.api import errors
from thingspace_provider.common.redaction import Redactor

MAX_MESSAGE_LENGTH = 300  # characters of foreign text in an error
EXPIRED_ACCESS_TOKEN = "900901"  # noqa: S105  an error code
MISSING_ACCESS_TOKEN = "900902"  # noqa: S105  an error code
NO_SUCH_ROUTE = "900906"
UNAUTHORIZED = 401
RATE_LIMITED = 429
SERVER_ERRORS = 500


@dataclass(frozen=True)
class ErrorBody:
    """Body of an error response: its format, ThingSpace's code and its message, each "" when absent."""

    format: str
    code: str
    message: str


def parse_error_body(body: bytes) -> ErrorBody:
    """Parse an error body of any format; never raises."""
    document = parse_json_object(body)
    if isinstance(inner := document.get("fault"), dict):
        return ErrorBody("gateway", _to_text(inner.get("code")), _to_text(inner.get("message")))
    if "errorCode" in document:
        return ErrorBody("m2m", _to_text(document["errorCode"]), _to_text(document.get("errorMessage")))
    if "error" in document:
        return ErrorBody("oauth", _to_text(document["error"]), _to_text(document.get("error_description")))
    return _parse_markup(body.decode("utf-8", errors="replace"))


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body, or an empty one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _parse_markup(body: str) -> ErrorBody:
    """Extract code and message from XML or HTML."""
    code = re.search(r"<(?:\w+:)?code>([^<]{1,40})<", body)
    parts = [match.group(1) for name in ("message", "description", "title") if (match := _find_element(name, body))]
    return ErrorBody("other", code.group(1).strip() if code else "", _to_text(" - ".join(parts)))


def _find_element(name: str, body: str) -> re.Match[str] | None:
    return re.search(rf"<(?:\w+:)?{name}>([^<]{{1,{MAX_MESSAGE_LENGTH}}})<", body, flags=re.IGNORECASE)


def _to_text(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


def _printable(text: str, redactor: Redactor) -> str:
    """Return foreign text as one printable line. Redacts before it truncates, which could cut a secret in two."""
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
    """Build the error for an error response.

    Args:
        operation: the API operation, for example `startCallbacks`.
        action: as in ThingSpaceError.
        account: as in ThingSpaceError.
        status: HTTP status.
        body: response body.
        retry_after: the seconds of its `Retry-After`, 0 without one.
        redactor: redacts the secrets of the request.
    """
    unredacted = parse_error_body(body)
    error_body = ErrorBody(
        unredacted.format, _printable(unredacted.code, redactor), _printable(unredacted.message, redactor)
    )
    error_class, hint = _classify(operation, status, error_body)
    if retry_after and error_class in {errors.RateLimited, errors.ServerError}:
        hint = f"Run it again after {retry_after:.0f} s."
    detail = f"ThingSpace responded with {status}"
    if error_body.code:
        detail += f" {error_body.code}"
    if error_body.message and error_body.message != error_body.code:
        detail += f' ("{error_body.message}")'
    if retry_after:
        detail += f" and requested a pause of {retry_after:.0f} s (Retry-After)"
    return error_class(action, account, detail, hint, status, error_body.code, retry_after)


def _classify(operation: str, status: int, error_body: ErrorBody) -> tuple[type[errors.ErrorResponse], str]:
    """Return error class and hint of an error response, most specific case first."""
    if status == RATE_LIMITED:
        return errors.RateLimited, "Wait a minute, then run it again."
    if status >= SERVER_ERRORS:
        return errors.ServerError, "ThingSpace has an outage: run it again in a few minutes."
    if (
        error_body.format == "gateway"
        and error_body.code in {EXPIRED_ACCESS_TOKEN, MISSING_ACCESS_TOKEN}
        and operation != "token"
    ):
        return errors.AccessTokenRejected, (
            "ThingSpace rejected a new access token too. Check in the ThingSpace portal that the application of this "
            "key (THINGSPACE_APP_KEY, or the profile's own) is active."
        )
    if operation == "login" and _may_count_as_failed_login(error_body):
        return errors.LoginRejected, (
            "Check THINGSPACE_USERNAME and THINGSPACE_PASSWORD, or the profile's own, before you run it again: they "
            "belong to the UWS user, not to the portal login. Check also that no proxy responds in place of "
            "ThingSpace. Five failed logins in a row lock the user, and only Verizon support can unlock it. "
            "The provider sends no second login with the same password."
        )
    if ".SessionToken." in error_body.code:
        return errors.SessionRejected, (
            "ThingSpace rejected a new session too. Check whether another program logs this user in and out."
        )
    # A 401 without a code was observed live on a session 96 seconds old; a wrong base URL never causes it.
    is_session_error = status == UNAUTHORIZED and not error_body.code and operation != "token"
    if (error_body.format == "other" and not is_session_error) or error_body.code == NO_SUCH_ROUTE:
        return errors.RouteNotFound, (
            "Check THINGSPACE_BASE_URL (stack config thingspace:baseUrl, or the profile's own), and that no proxy "
            "responds in place of ThingSpace."
        )
    if operation == "token":
        return errors.ApplicationKeyRejected, (
            "Check THINGSPACE_APP_KEY and THINGSPACE_APP_SECRET, or the profile's own, against Key Management in the "
            "ThingSpace portal."
        )
    return _classify_m2m(status, error_body)


def _may_count_as_failed_login(error_body: ErrorBody) -> bool:
    """Return whether ThingSpace may have counted a failed login, for a response to a login with a status below 500.

    ThingSpace documents neither status nor code of a wrong password. So every response counts, except one with which
    the gateway certainly stopped the login: an unknown route, in its JSON format or as XML with a numeric code.
    """
    if error_body.format == "gateway":
        return error_body.code != NO_SUCH_ROUTE
    return error_body.format != "other" or not error_body.code.isdigit()


def _classify_m2m(status: int, error_body: ErrorBody) -> tuple[type[errors.ErrorResponse], str]:
    """Return error class and hint of an error response of the m2m service, or of a 401 without a known code."""
    if "REQUEST_FAILED.Account" in error_body.code or "REQUEST_FAILED.NoAccounts" in error_body.code:
        return errors.AccountRejected, (
            "Check the account name with its leading zeros, and that the ThingSpace user may use this account."
        )
    if "INPUT_INVALID" in error_body.code or error_body.code.endswith("DeserializationFailed"):
        return errors.InputRejected, "Correct the value that ThingSpace names, then run it again."
    if status == UNAUTHORIZED:
        return errors.SessionRejected, (
            "ThingSpace gave no reason and rejected a new session too. Run it again; if the error persists, report it "
            "to Verizon support."
        )
    return errors.ErrorResponse, "Run it again; if the error persists, report this code to Verizon support."
