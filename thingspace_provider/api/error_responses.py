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
from thingspace_provider.common.redaction import Secrets

SHOWN_CHARACTERS = 300  # of a text that somebody else wrote: enough to recognise it, short enough to read
EXPIRED_BEARER = "900901"
MISSING_BEARER = "900902"
NO_SUCH_ROUTE = "900906"
UNAUTHORIZED = 401
RATE_LIMITED = 429
SERVER_ERRORS = 500


@dataclass(frozen=True)
class Fault:
    """What an error answer says of itself: ThingSpace's code (or "") and its text (or ""), in foreign words."""

    dialect: str
    code: str
    text: str


def fault_of(body: bytes) -> Fault:
    """Read an error body of any dialect; never raises."""
    document = json_object(body)
    if isinstance(inner := document.get("fault"), dict):
        return Fault("fault", _text(inner.get("code")), _text(inner.get("message")))
    if "errorCode" in document:
        return Fault("m2m", _text(document["errorCode"]), _text(document.get("errorMessage")))
    if "error" in document:
        return Fault("oauth", _text(document["error"]), _text(document.get("error_description")))
    return _other(body.decode("utf-8", errors="replace"))


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body, or an empty one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _other(body: str) -> Fault:
    """XML, HTML or nothing: keep the words that a person can use."""
    code = re.search(r"<(?:\w+:)?code>([^<]{1,40})<", body)
    said = [found.group(1) for name in ("message", "description", "title") if (found := _element(name, body))]
    return Fault("other", code.group(1).strip() if code else "", _text(" - ".join(said)))


def _element(name: str, body: str) -> re.Match[str] | None:
    return re.search(rf"<(?:\w+:)?{name}>([^<]{{1,{SHOWN_CHARACTERS}}})<", body, flags=re.IGNORECASE)


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


def _shown(text: str, secrets: Secrets) -> str:
    """One printable line of a foreign text, without what it repeats of secrets: blotted out before a cut halves one."""
    line = " ".join("".join(c if c.isprintable() else " " for c in secrets.without(text)).split())
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + " ..."


def refusal(
    operation: str,
    doing: str,
    account: str | None,
    status: int,
    body: bytes,
    retry_after: float,
    secrets: Secrets,
) -> errors.Refused:
    """The error that an answer means.

    Args:
        operation: the call's name, as `startCallbacks`.
        doing: the same in words, for the message.
        account: the account it was about, if any.
        status: HTTP status of the answer.
        body: its body.
        retry_after: seconds that it asks to wait.
        secrets: what it may repeat, and nobody may see.
    """
    said_by = fault_of(body)
    fault = Fault(said_by.dialect, _shown(said_by.code, secrets), _shown(said_by.text, secrets))
    kind, remedy = _meaning(operation, status, fault)
    if retry_after and kind in {errors.RateLimited, errors.ServerFault}:
        remedy = f"Run it again after these {retry_after:.0f} s."
    said = f"ThingSpace answered {status}"
    if fault.code:
        said += f" {fault.code}"
    if fault.text and fault.text != fault.code:
        said += f' ("{fault.text}")'
    if retry_after:
        said += f" and asks for a pause of {retry_after:.0f} s (Retry-After)"
    return kind(doing, account, said, remedy, status, fault.code, retry_after)


def _meaning(operation: str, status: int, fault: Fault) -> tuple[type[errors.Refused], str]:
    """Error class and way out for an answer, most specific first."""
    if status == RATE_LIMITED:
        return errors.RateLimited, "Wait a minute and run it again."
    if status >= SERVER_ERRORS:
        return errors.ServerFault, "This is on ThingSpace's side: run it again in a few minutes."
    if fault.dialect == "fault" and fault.code in {EXPIRED_BEARER, MISSING_BEARER} and operation != "token":
        return errors.BearerRefused, (
            "The access token was not accepted. If this stays so, check that the application of this key "
            "(THINGSPACE_APP_KEY, or the profile's own) is active in the ThingSpace portal."
        )
    if operation == "login" and _may_be_a_strike(fault):
        return errors.LoginRefused, (
            "Check THINGSPACE_USERNAME and THINGSPACE_PASSWORD, or the profile's own (the UWS user, not the portal "
            "login), and that no proxy answers in ThingSpace's place, before you run this again: five wrong logins in "
            "a row lock the user, and only Verizon support can unlock it. It was tried once; the same password is not "
            "tried again from this machine."
        )
    if ".SessionToken." in fault.code:
        return errors.SessionRefused, (
            "The session was not accepted even after a new login. Is another program logging this user in and out?"
        )
    # A 401 without any code was seen live once, on a session that was 96 seconds old: no wrong address says that.
    is_silent = status == UNAUTHORIZED and not fault.code and operation != "token"
    if (fault.dialect == "other" and not is_silent) or fault.code == NO_SUCH_ROUTE:
        return errors.RouteRefused, (
            "That address is not known there: check THINGSPACE_BASE_URL (stack config thingspace:baseUrl, or the "
            "profile's own), and that no proxy answers in ThingSpace's place."
        )
    if operation == "token":
        return errors.KeyRefused, (
            "Check THINGSPACE_APP_KEY and THINGSPACE_APP_SECRET, or the profile's own, against Key Management in the "
            "ThingSpace portal."
        )
    return _m2m_meaning(status, fault)


def _may_be_a_strike(fault: Fault) -> bool:
    """Whether a login that was answered below 500 may have counted as a wrong one.

    ThingSpace documents neither status nor code of a wrong password, so everything counts that the gateway did not
    surely stop before: a route that it does not know, as a fault or as XML with the gateway's number.
    """
    if fault.dialect == "fault":
        return fault.code != NO_SUCH_ROUTE
    return fault.dialect != "other" or not fault.code.isdigit()


def _m2m_meaning(status: int, fault: Fault) -> tuple[type[errors.Refused], str]:
    """Error class and way out for an answer of the m2m service itself, or for a 401 of nobody known."""
    if "REQUEST_FAILED.Account" in fault.code or "REQUEST_FAILED.NoAccounts" in fault.code:
        return errors.AccountRefused, (
            "Check the account name, leading zeros included, and that the ThingSpace user may use this account."
        )
    if "INPUT_INVALID" in fault.code or fault.code.endswith("DeserializationFailed"):
        return errors.InputRefused, "Correct the value that ThingSpace names, and run it again."
    if status == UNAUTHORIZED:  # no code, or one that explains nothing
        return errors.SessionRefused, "ThingSpace gave no reason; a new login did not help."
    return errors.Refused, "Run it again; if it stays, give this code to Verizon support."
