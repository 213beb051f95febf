"""What this emulator knows of ThingSpace, behaviour by behaviour, and on what ground.

`docs/emulator-fidelity.md` is made from these rows and from the tests that hold them; a row without a test, or a
test that holds no row, fails the suite.
"""

from __future__ import annotations

from dataclasses import dataclass

DOCUMENTED = "documented"
OBSERVED = "observed"
ASSUMED = "assumed"
UNKNOWN = "unknown"

BASIS_MEANINGS = {
    DOCUMENTED: "a page or a client library of the vendor says so",
    OBSERVED: "it was measured on the live platform, or a program that runs against it relies on it",
    ASSUMED: "inferred from something near it; nothing contradicts it",
    UNKNOWN: "found nowhere: a switch decides, and the default is a choice of ours",
}

SECTIONS = {
    "0.1": "the calls with paths and headers: vendor pages and the vendor's client libraries agree",
    "1.2": "OAuth token: the vendor's page on credentials, client libraries",
    "1.3": "OAuth and gateway errors: the vendor's page on synchronous errors",
    "2.1": "login: the vendor's page, client libraries",
    "2.2": "logout: the vendor's page",
    "2.3": "password reset: the vendor's page, client libraries",
    "2.4": "session errors: public programs that run against the platform",
    "3.1": "registering, listing, deregistering: vendor pages, client libraries",
    "3.2": "names of callback services: vendor pages, client libraries",
    "3.3": "addresses of listeners: the vendor's page on registration, its older SOAP twin",
    "3.4": "what registering again means: measurements with another service of the same delivery platform",
    "3.5": "source addresses: the vendor's page on callbacks, measurements",
    "4.1": "texts to devices: vendor pages, client libraries",
    "4.2": "reading the queue: vendor pages, client libraries",
    "4.3": "pushing the queue: the vendor's page, client libraries",
    "4.4": "how a device's text travels: vendor pages, their older SOAP twin",
    "5.1": "transport and retries: the vendor's page, and measurements that contradict it",
    "5.2": "bodies of callbacks: the SOAP twin, a public model of the REST body, live bodies of another service",
    "5.3": "spelling of devices and escaping: live bodies of another service",
    "6": "error envelope and codes: the vendor's page on synchronous errors",
    "8": "where sources contradict each other, and which we follow",
    "11": "what no source tells: the defaults that the switches start with",
}
"""Section of the reference -> its subject and the kind of source, in our words."""


@dataclass(frozen=True, slots=True)
class Row:
    """One behaviour: `part` is an operation's name or the part of the emulator, `section` one of the reference."""

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
        ("order", "checks go route, bearer, session, account, body", ASSUMED, "6"),
        ("context", "a path outside the known contexts is 400 fault 900906", DOCUMENTED, "1.3"),
        ("method", "a method that a known path does not have is 400 fault 900906", ASSUMED, "1.3"),
        ("path", "an unknown or incomplete path in a known context is 404 in XML", ASSUMED, "1.3"),
        ("noBearer", "a call without a bearer is 401 fault 900902", DOCUMENTED, "1.3"),
        ("wrongBearer", "a call with a wrong or expired bearer is 401 fault 900901", DOCUMENTED, "1.3"),
        ("scheme", "a call with another authentication scheme is 403 in XML", DOCUMENTED, "1.3"),
        ("contentType", "a body-less call needs no Content-Type", ASSUMED, "0.1"),
        ("size", "a body above 1 MiB is 413, and the emulator goes on", ASSUMED, "6"),
    ),
    *_build_rows(
        "body",
        ("empty", "an empty body is INPUT_INVALID.RequestUndefined", DOCUMENTED, "6"),
        ("malformed", "no JSON object, or a required element missing: DeserializationFailed", DOCUMENTED, "6"),
        ("type", "an element of the wrong type is REQUEST_FAILED.UnexpectedError", DOCUMENTED, "6"),
        ("characters", "apostrophe, < or backslash is INPUT_INVALID.Request.InvalidCharacter", DOCUMENTED, "6"),
    ),
    *_build_rows(
        "account",
        ("unknown", "an account that does not exist is REQUEST_FAILED.AccountNotFound", DOCUMENTED, "6"),
        ("foreign", "an account of somebody else is REQUEST_FAILED.AccountName", DOCUMENTED, "6"),
    ),
    *_build_rows(
        "token",
        ("shape", "200 with access_token, scope, token_type, expires_in", DOCUMENTED, "1.2"),
        ("reused", "the same token is handed out again within its hour", DOCUMENTED, "1.2"),
        ("hour", "a token is valid for one hour from its first issue, then a new one is issued", DOCUMENTED, "1.2"),
        ("expiresIn", "whether expires_in counts down on a repeat", UNKNOWN, "1.2"),
        ("noBasic", "no Basic header is 401 fault 900902", DOCUMENTED, "1.3"),
        ("wrongSecret", "a wrong key or secret is 401 invalid_client", ASSUMED, "1.3"),
        ("grantType", "a missing or wrong grant_type is 400 invalid_request", DOCUMENTED, "1.3"),
    ),
    *_build_rows(
        "revoke",
        ("shape", "200, empty body, the revoked token in a response header; its name is ours", DOCUMENTED, "1.2"),
        ("everyHolder", "the next request mints a new token and the old one is refused", DOCUMENTED, "1.2"),
        ("unknown", "a token nobody knows is not an error", ASSUMED, "1.2"),
    ),
    *_build_rows(
        "login",
        ("shape", "200 with nothing but a GUID as sessionToken", DOCUMENTED, "2.1"),
        ("bearer", "a login needs the bearer", DOCUMENTED, "2.1"),
        ("strikes", "five wrong passwords in a row lock the user, the right one included", DOCUMENTED, "2.1"),
        ("consecutive", "a right password in between starts the count anew", DOCUMENTED, "2.1"),
        ("unlock", "only an operator unlocks", DOCUMENTED, "2.1"),
        ("refusal", "status and code of a refused login", UNKNOWN, "2.1"),
        ("stranger", "an unknown user is refused like a wrong password", ASSUMED, "2.1"),
        ("older", "whether a new login ends older sessions", UNKNOWN, "2.1"),
    ),
    *_build_rows(
        "session",
        ("sliding", "a session ends after 20 minutes without use and slides while used", DOCUMENTED, "2.1"),
        ("expired", "an expired one is 400 REQUEST_FAILED.SessionToken.Expired", OBSERVED, "2.4"),
        ("absent", "without the header: REQUEST_FAILED.SessionToken.Format", DOCUMENTED, "2.4"),
        ("malformed", "not a GUID: INPUT_INVALID.SessionToken.Invalid", DOCUMENTED, "2.4"),
        ("stranger", "the code of a well-formed token nobody knows", UNKNOWN, "2.4"),
    ),
    *_build_rows(
        "logout",
        ("shape", "200 with the token just ended, which is refused from then on", DOCUMENTED, "2.2"),
        ("callbacks", "callbacks keep coming after a logout", DOCUMENTED, "2.2"),
    ),
    *_build_rows(
        "resetPassword",
        ("shape", "200 with a random newPassword, in force at once", DOCUMENTED, "2.3"),
        ("wrong", "a wrong old password is refused and is no strike", ASSUMED, "2.3"),
    ),
    *_build_rows(
        "listCallbacks",
        ("shape", "accountName, serviceName, url, and the password in clear", DOCUMENTED, "3.1"),
        ("empty", "the form of an empty list", UNKNOWN, "3.1"),
        ("unset", "how a listener without credentials is listed", UNKNOWN, "8"),
    ),
    *_build_rows(
        "registerCallback",
        ("shape", "request says name, answer says accountName and serviceName", DOCUMENTED, "3.1"),
        ("services", "each documented service is accepted, DeviceMessages is not", DOCUMENTED, "3.2"),
        ("ports", "80, 443, 9001-9006, 28200-28220 and 50551-50559 only", DOCUMENTED, "3.3"),
        ("olderPorts", "one older page leaves out 28200-28220", UNKNOWN, "3.3"),
        ("url", "something other than an http or https address is refused", ASSUMED, "3.3"),
        ("credentials", "at most 40 characters each, and not the user's own", OBSERVED, "3.1"),
        ("one", "one listener for each service of an account", OBSERVED, "3.4"),
        ("again", "whether registering again replaces or is refused", UNKNOWN, "3.4"),
        ("oldPassword", "after a change of password callbacks may carry old and new in turn", UNKNOWN, "3.4"),
    ),
    *_build_rows(
        "deregisterCallback",
        ("shape", "200 with accountName and serviceName, and it is gone", DOCUMENTED, "3.1"),
        ("unknown", "the answer for a service that is not registered", UNKNOWN, "3.4"),
    ),
    *_build_rows(
        "sendSms",
        ("shape", "200 with a requestId: queued, not sent; no idempotency", DOCUMENTED, "4.1"),
        ("account", "accountName may be absent for a user with one account", OBSERVED, "4.1"),
        ("accounts", "absent with several accounts: MultipleAccounts; with none: NoAccounts", DOCUMENTED, "6"),
        ("accountEmpty", "an empty accountName is INPUT_INVALID.Account.NotDefined", DOCUMENTED, "6"),
        ("length", "160 characters in 7-bit, 140 in 8-bit, not empty", DOCUMENTED, "4.1"),
        ("kinds", "kinds without regard to case; an unknown one is Device.Kind.Invalid", DOCUMENTED, "4.1"),
        ("identifiers", "an id that does not fit its kind is Device.Identifier.Invalid", DOCUMENTED, "6"),
        ("stranger", "a device of another account is REQUEST_FAILED.DeviceNotFound", DOCUMENTED, "6"),
        ("inactive", "a device that is not active is INPUT_INVALID.DeviceState.Invalid", DOCUMENTED, "6"),
        ("number", "more than 200 devices: NumberofDevices; 10,000: MaxRequestsExceeded", OBSERVED, "6"),
        ("selection", "group, plan and custom fields choose devices; unknown ones are refused", DOCUMENTED, "4.1"),
        ("sent", "sent by the network is told to EnhancedConnectivityService", DOCUMENTED, "4.1"),
        ("confirmed", "the device's acknowledgement is told to SMSDeliveryConfirmation", DOCUMENTED, "4.1"),
        ("each", "one callback for each device, all with the request's id", DOCUMENTED, "4.1"),
        ("expired", "tried for five days, or for its time to live, then expired", DOCUMENTED, "4.1"),
        ("returning", "a device that can be reached again gets what waited for it", ASSUMED, "4.1"),
        ("noticeBody", "a notice has no smsMessage; its inner words are ours", ASSUMED, "5.2"),
    ),
    *_build_rows(
        "smsHistory",
        ("block", "at most 100 texts; 202, hasMoreData and a Location while there are more", DOCUMENTED, "4.2"),
        ("message", "deviceIds, message and timestamp with an offset; no id", DOCUMENTED, "4.2"),
        ("location", "Location has neither scheme nor host nor prefix", DOCUMENTED, "4.2"),
        ("acknowledge", "presenting a block's token acknowledges it and shows the next", DOCUMENTED, "4.2"),
        ("again", "an unacknowledged block is shown again", DOCUMENTED, "4.2"),
        ("growth", "texts that arrive while paging come in later blocks", ASSUMED, "4.2"),
        ("replay", "the latest token presented once more shows the same block", UNKNOWN, "11"),
        ("stranger", "a token nobody knows", UNKNOWN, "11"),
        ("plain", "which token comes with a block shown again", UNKNOWN, "11"),
        ("final", "how the last block is acknowledged", UNKNOWN, "4.2"),
        ("empty", "the form of an empty answer", UNKNOWN, "4.2"),
    ),
    *_build_rows(
        "startCallbacks",
        ("shape", "200 success as a boolean: accepted, not delivered", DOCUMENTED, "4.3"),
        ("spelling", "startcallbacks is served as well", ASSUMED, "8"),
        ("drain", "pushes what is queued to the listener after the answer", DOCUMENTED, "4.3"),
        ("order", "drained texts come out of order", DOCUMENTED, "4.4"),
        ("failure", "where a text goes whose push fails", UNKNOWN, "4.4"),
        ("deregistered", "a listener deregistered during a drain: the rest is queued again", ASSUMED, "4.4"),
        ("noListener", "without a listener it is accepted and nothing moves", ASSUMED, "4.4"),
    ),
    *_build_rows(
        "texts",
        ("queued", "without a listener a text is queued", DOCUMENTED, "4.4"),
        ("live", "with a listener a text is posted at once", DOCUMENTED, "4.4"),
        ("fallback", "a text whose live delivery fails is queued", DOCUMENTED, "4.4"),
        ("noDrain", "a listener that returns does not drain the queue", DOCUMENTED, "4.4"),
        ("overtake", "live texts overtake queued ones", DOCUMENTED, "4.4"),
        ("flood", "at most 256 live deliveries at a time, 32 of a drain; the limits are ours", ASSUMED, "4.4"),
        ("both", "a text that was pushed is not shown by history any more", ASSUMED, "4.4"),
    ),
    *_build_rows(
        "delivery",
        ("transport", "POST, JSON, Verizon's User-Agent, credentials in the body only", OBSERVED, "5.1"),
        ("body", "minimal: credentials, deviceIds, smsMessage; or the newer envelope", UNKNOWN, "5.2"),
        ("ids", "how devices are named", UNKNOWN, "5.3"),
        ("escaping", "whether = & < > ' are escaped", UNKNOWN, "5.3"),
        ("acknowledged", "any 2xx acknowledges", DOCUMENTED, "5.1"),
        ("retryObserved", "observed: refused, one more try after 1.3 s, then the queue", OBSERVED, "5.1"),
        ("silence", "observed: 4 s of silence start the second try while the first still runs", OBSERVED, "5.1"),
        ("retryDocumented", "documented: three more tries, five minutes apart", DOCUMENTED, "5.1"),
        ("count", "callbackCount counts from 1, maxCallbackThreshold is the most tries", DOCUMENTED, "5.1"),
        ("silent", "a post without an answer is given up after 30 s, then the text is queued", ASSUMED, "5.1"),
        ("unreachable", "a listener that cannot be reached has refused", ASSUMED, "5.1"),
        ("unicode", "bodies are UTF-8", ASSUMED, "5.2"),
        ("redirect", "a redirect is a refusal and is not followed", ASSUMED, "5.1"),
        ("huge", "an endless answer is cut off and counts by its status", ASSUMED, "5.1"),
        ("certificate", "https needs a certificate of a known authority", DOCUMENTED, "3.3"),
        ("source", "eight published source addresses, another for a retry: shown as X-Forwarded-For", OBSERVED, "3.5"),
        ("archive", "a notice nobody took is archived for 30 days and resent on request", DOCUMENTED, "5.1"),
    ),
)
