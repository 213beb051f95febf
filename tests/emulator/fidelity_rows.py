"""Emulated behaviours of ThingSpace, each with its basis and the section of the reference.

`docs/emulator-fidelity.md` is generated from these rows and from the tests that are marked with them. A row without
a test, or a mark without a row, fails the test suite.
"""

from __future__ import annotations

from dataclasses import dataclass

DOCUMENTED = "documented"
OBSERVED = "observed"
ASSUMED = "assumed"
UNKNOWN = "unknown"

BASIS_MEANINGS = {
    DOCUMENTED: "a page or a client library of the vendor describes it",
    OBSERVED: "measured on the live platform, or required by a public program that runs against it",
    ASSUMED: "inferred from a similar behaviour; no source contradicts it",
    UNKNOWN: "described by no source; a switch decides, and its default is a choice of this project",
}

SECTIONS = {
    "0.1": "calls with paths and headers: vendor pages and the vendor's client libraries agree",
    "1.2": "access tokens: the vendor's page on credentials, client libraries",
    "1.3": "OAuth and gateway errors: the vendor's page on synchronous errors",
    "2.1": "login: the vendor's page, client libraries",
    "2.2": "logout: the vendor's page",
    "2.3": "password reset: the vendor's page, client libraries",
    "2.4": "session errors: public programs that run against the platform",
    "3.1": "registering, listing, deregistering: vendor pages, client libraries",
    "3.2": "names of callback services: vendor pages, client libraries",
    "3.3": "URLs of listeners: the vendor's page on registration, its older SOAP counterpart",
    "3.4": "a second registration: measurements with another service of the same delivery platform",
    "3.5": "source addresses: the vendor's page on callbacks, measurements",
    "4.1": "messages to devices: vendor pages, client libraries",
    "4.2": "reading the queue: vendor pages, client libraries",
    "4.3": "draining the queue: the vendor's page, client libraries",
    "4.4": "the way of a device message: vendor pages, their older SOAP counterpart",
    "5.1": "transport and retries: the vendor's page, and measurements that contradict it",
    "5.2": "bodies of callbacks: the SOAP counterpart, a public model of the REST body, bodies of another service",
    "5.3": "device identifiers and escaping: bodies of another service",
    "6": "error format and codes: the vendor's page on synchronous errors",
    "8": "contradictions between sources, and the choice of this project",
    "11": "open questions, and the defaults of the switches",
}
"""Section of the reference -> its subject and sources."""


@dataclass(frozen=True, slots=True)
class Row:
    """Behaviour. `part` is an operation or a part of the emulator, `section` one of the reference."""

    name: str
    part: str
    behaviour: str
    basis: str
    section: str


def _build_rows(part: str, *rows: tuple[str, str, str, str]) -> tuple[Row, ...]:
    return tuple(Row(f"{part}.{name}", part, behaviour, basis, section) for name, behaviour, basis, section in rows)


ROWS: tuple[Row, ...] = (
    *_build_rows(
        "gateway",
        ("order", "the checks are route, access token, session, account, body, in this order", ASSUMED, "6"),
        ("context", "an unknown context gets 400 with gateway error 900906", DOCUMENTED, "1.3"),
        ("method", "an unknown method of a known path gets 400 with gateway error 900906", ASSUMED, "1.3"),
        ("path", "an unknown or incomplete path in a known context gets 404 in XML", ASSUMED, "1.3"),
        ("noToken", "a call without access token gets 401 with gateway error 900902", DOCUMENTED, "1.3"),
        ("wrongToken", "a wrong or expired access token gets 401 with gateway error 900901", DOCUMENTED, "1.3"),
        ("scheme", "another authentication scheme gets 403 in XML", DOCUMENTED, "1.3"),
        ("contentType", "a call without a body needs no Content-Type", ASSUMED, "0.1"),
        ("size", "a body above 1 MiB gets 413, and the next call is served", ASSUMED, "6"),
    ),
    *_build_rows(
        "body",
        ("empty", "an empty body gets INPUT_INVALID.RequestUndefined", DOCUMENTED, "6"),
        (
            "malformed",
            "another value than a JSON object, or a missing element, gets DeserializationFailed",
            DOCUMENTED,
            "6",
        ),
        ("type", "an element of the wrong type gets REQUEST_FAILED.UnexpectedError", DOCUMENTED, "6"),
        ("characters", "an apostrophe, < or backslash gets INPUT_INVALID.Request.InvalidCharacter", DOCUMENTED, "6"),
    ),
    *_build_rows(
        "account",
        ("unknown", "an unknown account gets REQUEST_FAILED.AccountNotFound", DOCUMENTED, "6"),
        ("otherUser", "an account of another user gets REQUEST_FAILED.AccountName", DOCUMENTED, "6"),
    ),
    *_build_rows(
        "token",
        ("shape", "200 with access_token, scope, token_type, expires_in", DOCUMENTED, "1.2"),
        ("reused", "the same token is issued again within its hour", DOCUMENTED, "1.2"),
        ("hour", "a token is valid for one hour from its first issue, then a new one is issued", DOCUMENTED, "1.2"),
        ("expiresIn", "whether expires_in counts down when the token is issued again", UNKNOWN, "1.2"),
        ("noBasic", "a request without Basic authentication gets 401 with gateway error 900902", DOCUMENTED, "1.3"),
        ("wrongSecret", "a wrong key or secret gets 401 invalid_client", ASSUMED, "1.3"),
        ("grantType", "a missing or wrong grant_type gets 400 invalid_request", DOCUMENTED, "1.3"),
    ),
    *_build_rows(
        "revoke",
        (
            "shape",
            "200, empty body, the revoked token in a response header; the name of the header is assumed",
            DOCUMENTED,
            "1.2",
        ),
        (
            "everyHolder",
            "the old token is rejected for every holder, and the next request issues a new one",
            DOCUMENTED,
            "1.2",
        ),
        ("unknown", "an unknown token is not an error", ASSUMED, "1.2"),
    ),
    *_build_rows(
        "login",
        ("shape", "200 with only a UUID as sessionToken", DOCUMENTED, "2.1"),
        ("accessToken", "a login needs an access token", DOCUMENTED, "2.1"),
        ("lockout", "five failed logins in a row lock the user, also for the right password", DOCUMENTED, "2.1"),
        ("consecutive", "a login resets the count of failed logins", DOCUMENTED, "2.1"),
        ("unlock", "only an operator unlocks", DOCUMENTED, "2.1"),
        ("rejection", "status and code of a rejected login", UNKNOWN, "2.1"),
        ("unknownUser", "an unknown user is rejected like a wrong password", ASSUMED, "2.1"),
        ("older", "whether a new login ends older sessions", UNKNOWN, "2.1"),
    ),
    *_build_rows(
        "session",
        ("sliding", "a session expires after 20 minutes without use", DOCUMENTED, "2.1"),
        ("expired", "an expired session gets 400 REQUEST_FAILED.SessionToken.Expired", OBSERVED, "2.4"),
        ("absent", "a call without the header gets REQUEST_FAILED.SessionToken.Format", DOCUMENTED, "2.4"),
        ("malformed", "another value than a UUID gets INPUT_INVALID.SessionToken.Invalid", DOCUMENTED, "2.4"),
        ("unknown", "the code for a well-formed but unknown token", UNKNOWN, "2.4"),
    ),
    *_build_rows(
        "logout",
        ("shape", "200 with the token of the ended session, which is rejected from then on", DOCUMENTED, "2.2"),
        ("callbacks", "callbacks continue after a logout", DOCUMENTED, "2.2"),
    ),
    *_build_rows(
        "resetPassword",
        ("shape", "200 with a random newPassword, valid at once", DOCUMENTED, "2.3"),
        ("wrong", "a wrong old password is rejected and is not a failed login", ASSUMED, "2.3"),
    ),
    *_build_rows(
        "listCallbacks",
        ("shape", "accountName, serviceName, url, and the password in plain text", DOCUMENTED, "3.1"),
        ("empty", "the form of an empty list", UNKNOWN, "3.1"),
        ("unset", "how a listener without credentials is listed", UNKNOWN, "8"),
    ),
    *_build_rows(
        "registerCallback",
        ("shape", "the request has name, the response accountName and serviceName", DOCUMENTED, "3.1"),
        ("services", "each documented service is accepted, DeviceMessages is not", DOCUMENTED, "3.2"),
        ("ports", "80, 443, 9001-9006, 28200-28220 and 50551-50559 only", DOCUMENTED, "3.3"),
        ("olderPorts", "one older page omits 28200-28220", UNKNOWN, "3.3"),
        ("url", "another value than an http or https URL is rejected", ASSUMED, "3.3"),
        ("credentials", "at most 40 characters each, and not those of the user", OBSERVED, "3.1"),
        ("one", "one listener for each service of an account", OBSERVED, "3.4"),
        ("again", "whether a second registration replaces the first or is rejected", UNKNOWN, "3.4"),
        ("oldPassword", "whether callbacks alternate between old and new password after a change", UNKNOWN, "3.4"),
    ),
    *_build_rows(
        "deregisterCallback",
        ("shape", "200 with accountName and serviceName", DOCUMENTED, "3.1"),
        ("unknown", "the response for a service that is not registered", UNKNOWN, "3.4"),
    ),
    *_build_rows(
        "sendSms",
        ("shape", "200 with a requestId: queued, not sent; no idempotency", DOCUMENTED, "4.1"),
        ("account", "accountName can be absent for a user with one account", OBSERVED, "4.1"),
        ("accounts", "absent with several accounts gets MultipleAccounts, with none NoAccounts", DOCUMENTED, "6"),
        ("accountEmpty", "an empty accountName gets INPUT_INVALID.Account.NotDefined", DOCUMENTED, "6"),
        ("length", "160 characters in 7-bit, 140 in 8-bit, not empty", DOCUMENTED, "4.1"),
        ("kinds", "the case of kinds is ignored; an unknown one gets Device.Kind.Invalid", DOCUMENTED, "4.1"),
        ("identifiers", "an id that does not match its kind gets Device.Identifier.Invalid", DOCUMENTED, "6"),
        ("unknownDevice", "a device of another account gets REQUEST_FAILED.DeviceNotFound", DOCUMENTED, "6"),
        ("inactive", "an inactive device gets INPUT_INVALID.DeviceState.Invalid", DOCUMENTED, "6"),
        ("number", "more than 200 devices get NumberofDevices, more than 10,000 MaxRequestsExceeded", OBSERVED, "6"),
        ("selection", "group, plan and custom fields select devices; unknown ones are rejected", DOCUMENTED, "4.1"),
        ("sent", "a message that the network has sent is reported to EnhancedConnectivityService", DOCUMENTED, "4.1"),
        ("confirmed", "the device's acknowledgement is reported to SMSDeliveryConfirmation", DOCUMENTED, "4.1"),
        ("each", "one callback for each device, all with the request id", DOCUMENTED, "4.1"),
        ("expired", "a message expires after five days or its time to live", DOCUMENTED, "4.1"),
        ("returning", "a queued message is sent when its device is reachable again", ASSUMED, "4.1"),
        ("statusBody", "a status callback has no smsMessage; its inner fields are assumed", ASSUMED, "5.2"),
    ),
    *_build_rows(
        "smsHistory",
        ("page", "at most 100 messages; 202, hasMoreData and a Location while there are more", DOCUMENTED, "4.2"),
        ("message", "deviceIds, message and timestamp with an offset; no id", DOCUMENTED, "4.2"),
        ("location", "Location has neither scheme nor host nor prefix", DOCUMENTED, "4.2"),
        ("acknowledge", "the token of a page acknowledges it and returns the next", DOCUMENTED, "4.2"),
        ("again", "an unacknowledged page is returned again", DOCUMENTED, "4.2"),
        ("growth", "messages that arrive while paging are in later pages", ASSUMED, "4.2"),
        ("replay", "whether the previous token returns the same page again", UNKNOWN, "11"),
        ("unknownToken", "the response to an unknown token", UNKNOWN, "11"),
        ("repeatedToken", "which token a page has when it is read again", UNKNOWN, "11"),
        ("last", "how the last page is acknowledged", UNKNOWN, "4.2"),
        ("empty", "the form of an empty history", UNKNOWN, "4.2"),
    ),
    *_build_rows(
        "startCallbacks",
        ("shape", "200 success as a boolean: accepted, not delivered", DOCUMENTED, "4.3"),
        ("spelling", "startcallbacks is served as well", ASSUMED, "8"),
        ("drain", "delivers the queue to the listener after the response", DOCUMENTED, "4.3"),
        ("order", "drained messages arrive out of order", DOCUMENTED, "4.4"),
        ("failure", "what happens to a message whose drain delivery fails", UNKNOWN, "4.4"),
        ("deregistered", "the rest is queued again when the listener is deregistered during a drain", ASSUMED, "4.4"),
        ("noListener", "without a listener the call is accepted and changes nothing", ASSUMED, "4.4"),
    ),
    *_build_rows(
        "messages",
        ("queued", "without a listener a message is queued", DOCUMENTED, "4.4"),
        ("live", "with a listener a message is posted at once", DOCUMENTED, "4.4"),
        ("fallback", "a message whose live delivery fails is queued", DOCUMENTED, "4.4"),
        ("noDrain", "a new registration does not drain the queue", DOCUMENTED, "4.4"),
        ("overtake", "live messages overtake queued ones", DOCUMENTED, "4.4"),
        ("flood", "at most 256 live deliveries at a time, 32 of a drain; the limits are assumed", ASSUMED, "4.4"),
        ("both", "a drained message is no longer in history", ASSUMED, "4.4"),
    ),
    *_build_rows(
        "delivery",
        ("transport", "POST, JSON, Verizon's User-Agent, credentials in the body only", OBSERVED, "5.1"),
        ("body", "minimal: credentials, deviceIds, smsMessage; or the newer envelope", UNKNOWN, "5.2"),
        ("ids", "how devices are named", UNKNOWN, "5.3"),
        ("escaping", "whether = & < > ' are escaped", UNKNOWN, "5.3"),
        ("acknowledged", "any 2xx acknowledges", DOCUMENTED, "5.1"),
        (
            "retryObserved",
            "observed: one retry, 1.3 s after an error response, then the message is queued",
            OBSERVED,
            "5.1",
        ),
        (
            "hedge",
            "observed: after 4 s without response the second attempt starts while the first still runs",
            OBSERVED,
            "5.1",
        ),
        ("retryDocumented", "documented: three retries, every five minutes", DOCUMENTED, "5.1"),
        ("count", "callbackCount counts attempts from 1, maxCallbackThreshold is their maximum", DOCUMENTED, "5.1"),
        ("timeout", "an attempt without response times out after 30 s, then the message is queued", ASSUMED, "5.1"),
        ("unreachable", "an unreachable listener counts as an error response", ASSUMED, "5.1"),
        ("unicode", "bodies are UTF-8", ASSUMED, "5.2"),
        ("redirect", "a redirect counts as an error response and is not followed", ASSUMED, "5.1"),
        ("url", "the callback URL is requested byte for byte as it was registered", ASSUMED, "5.1"),
        ("huge", "an endless response is cut off and counts by its status", ASSUMED, "5.1"),
        ("certificate", "https needs a certificate of a known authority", DOCUMENTED, "3.3"),
        ("source", "eight published source addresses, another one for a retry, in X-Forwarded-For", OBSERVED, "3.5"),
        (
            "archive",
            "an unacknowledged status callback is archived for 30 days and sent again on request",
            DOCUMENTED,
            "5.1",
        ),
    ),
)
