"""CallbackRegistration: the URL that ThingSpace posts an account's callbacks to.

ThingSpace keeps one listener per service and account. Nothing that the user did not ask for is overwritten:
a registration that points elsewhere is an error, unless it is adopted or a refresh has shown it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from thingspace_provider import api
from thingspace_provider.api.errors import ErrorResponse, ThingSpaceError
from thingspace_provider.lifecycle import readiness, validation
from thingspace_provider.lifecycle.model import (
    CheckFailure,
    CheckResult,
    Context,
    CreateResult,
    DiffResult,
    FingerprintOf,
    ReadResult,
    State,
    base_url_changed,
    is_unknown,
)

BAD_REQUEST = 400
SMS_SERVICE = "EnhancedConnectivityService"
DEFAULTS: dict[str, Any] = {"serviceName": SMS_SERVICE, "adopt": False, "readiness": True}
IDENTITY = ("accountName", "serviceName")
REGISTERED = ("url", "username", "password")  # what ThingSpace keeps
DIFF_KEYS = (*IDENTITY, *REGISTERED, "profile")
KEYS = (*DIFF_KEYS, "adopt", "readiness")
MOVED = "another ThingSpace (the base URL has changed)"
DRIFTED = ""  # registeredAt of what somebody else registered, or an update of ours that was interrupted


class RegistrationConflict(ThingSpaceError):
    """The service's callbacks go to a URL that this resource did not register."""


class RegistrationLifecycle:
    """inputs: KEYS. outputs: these, registeredAt, endpoint, urlDigest, place. id: account/service.

    endpoint is the URL as it may be shown; urlDigest tells whether what is registered is what this resource wrote.
    registeredAt is new after each create and update, so that the activation that has it for a trigger fetches what
    was queued; "" when a refresh found another registration. place tells the ThingSpace that has it from others: read
    and delete send nothing to another one. Calls: create GET + POST (only GET when it is already so), read GET, update
    GET + POST, delete GET + DELETE (only GET when there is nothing of ours).
    """

    def check(self, news: State) -> CheckResult:
        """Fill in defaults and find wrong inputs; no network."""
        checked = {**DEFAULTS, **{key: news[key] for key in KEYS if news.get(key) is not None}}
        for key in ("username", "password"):  # ThingSpace does not tell an empty one from none
            if checked.get(key) == "":
                del checked[key]
        failures = [
            *validation.check_account_name(checked),
            *validation.check_service_name(checked),
            *validation.check_callback_url(checked),
            *validation.check_credential(checked, "username", "password"),
            *validation.check_profile(checked),
        ]
        failures += [
            CheckFailure(key, "must be true or false")
            for key in ("adopt", "readiness")
            if not is_unknown(checked[key]) and not isinstance(checked[key], bool)
        ]
        return CheckResult(checked, failures)

    def diff(self, olds: State, news: State, fingerprint_of: FingerprintOf) -> DiffResult:
        """Account and service are the identity; adopt and readiness only matter when something is registered.

        Drift that a refresh has shown is a change even when it is what the program wants by now; so is another
        ThingSpace.
        """
        changed = [key for key in DIFF_KEYS if olds.get(key) != news.get(key)]
        moved = [key for key in IDENTITY if key in changed and not is_unknown(news.get(key))]
        must_update = olds.get("registeredAt") == DRIFTED or base_url_changed(olds, news.get("profile"), fingerprint_of)
        return DiffResult(bool(changed) or must_update, moved)

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Prove the listener, look what is registered, register."""
        outputs = self._register(context, inputs, own_urls={inputs["url"]})
        return CreateResult(f"{inputs['accountName']}/{inputs['serviceName']}", outputs)

    def read(self, context: Context, outputs: State) -> ReadResult | None:
        """What ThingSpace lists for the account's service, or None when it lists nothing."""
        if self._base_url_changed(context, outputs):
            context.log(f"{_describe(outputs)} is at {MOVED}: not looked at; the next `pulumi up` registers it here.")
            return _to_read_result(outputs)
        registration = self._find_registration(context, outputs)
        if registration is None:
            context.log(f"{_describe(outputs)} is no longer registered; the next `pulumi up` registers it again.")
            return None
        drifted = _drifted_keys(outputs, registration)
        if drifted:
            context.log(
                f"{_describe(outputs)} was changed outside of Pulumi: {', '.join(drifted)}. "
                f"It points to {api.mask_url(registration.url)}; the next `pulumi up` puts it right."
            )
        actual = {**outputs, **_to_state(registration), "endpoint": api.mask_url(registration.url)}
        if drifted:
            actual["registeredAt"] = DRIFTED
        return _to_read_result(actual)

    def update(self, context: Context, olds: State, news: State) -> State:
        """As create; the URL that the state knows, ours or shown by a refresh, may be replaced."""
        if not base_url_changed(olds, news.get("profile"), context.fingerprint):
            return self._register(context, news, own_urls={news["url"], olds.get("url", "")})
        outputs = self._register(context, news, own_urls={news["url"]})
        context.log(f"{_describe(news)} was at {MOVED}: registered here; there, nothing was deregistered.")
        return outputs

    def delete(self, context: Context, outputs: State) -> None:
        """Deregister, unless the registration is gone, no longer ours, or where our credentials do not lead."""
        if self._base_url_changed(context, outputs):
            context.log(f"{_describe(outputs)} is at {MOVED}: nothing was sent, and it stays registered there.")
            return
        registration = self._find_registration(context, outputs)
        if registration is None:
            context.log(f"{_describe(outputs)} was gone already; nothing was sent.")
            return
        if _url_fingerprint(registration.url) != outputs.get("urlDigest", _url_fingerprint(registration.url)):
            context.log(
                f"{_describe(outputs)} now points to {api.mask_url(registration.url)}, which is not ours: left as it is."  # noqa: E501
            )
            return
        self._client(context, outputs).deregister_callback(outputs["accountName"], outputs["serviceName"])

    def _register(self, context: Context, news: State, own_urls: set[str]) -> State:
        if news.get("readiness"):
            readiness.wait_until_ready(context, news)
        existing = self._find_registration(context, news)
        if existing is not None and existing.url not in own_urls and not news.get("adopt"):
            raise RegistrationConflict(
                f"registering the {news['serviceName']} listener",
                news["accountName"],
                f"its callbacks already go to {api.mask_url(existing.url)}, "
                f"and this program wants {api.mask_url(news['url'])}",
                "Nothing was changed. If that listener may be replaced, set adopt=True; if it is a change made "
                "outside of Pulumi, `pulumi refresh` takes note of it and the next `pulumi up` repairs it.",
            )
        wanted = api.Registration(
            news["serviceName"], news["url"], news.get("username") or "", news.get("password") or ""
        )
        if existing != wanted:
            _replace_registration(self._client(context, news), news["accountName"], wanted, existing)
        else:  # an update that was interrupted did it, or somebody by hand
            context.log(f"{_describe(news)} was registered already as this program wants it; nothing was sent.")
        return {
            **news,
            "registeredAt": context.timestamp(),  # anew: texts may be queued since a renewal that nobody remembers
            "endpoint": api.mask_url(news["url"]),
            "urlDigest": _url_fingerprint(news["url"]),
            "place": context.fingerprint(news.get("profile")),
        }

    def _find_registration(self, context: Context, state: State) -> api.Registration | None:
        registrations = self._client(context, state).list_callbacks(state["accountName"])
        return next((entry for entry in registrations if entry.service_name == state["serviceName"]), None)

    def _base_url_changed(self, context: Context, outputs: State) -> bool:
        self._client(context, outputs)  # an error where credentials are missing: the base URL may be missing with them
        return base_url_changed(outputs, outputs.get("profile"), context.fingerprint)

    def _client(self, context: Context, state: State) -> api.ThingSpaceClient:
        return context.client(state.get("profile"))


def _replace_registration(
    client: api.ThingSpaceClient, account: str, wanted: api.Registration, existing: api.Registration | None
) -> None:
    """Register; where ThingSpace refuses to replace, which is not documented, deregister first.

    Texts that arrive in between are queued, and the activation that follows a registration fetches them.
    """
    try:
        client.register_callback(account, wanted)
    except ErrorResponse as error:
        if existing is None or error.status != BAD_REQUEST:
            raise
        client.deregister_callback(account, wanted.service_name)
        try:
            client.register_callback(account, wanted)
        except ErrorResponse:  # it was not the old registration that stood in the way: leave things as they were
            client.register_callback(account, existing)
            raise


def _to_read_result(outputs: State) -> ReadResult:
    # The program may have given none, or one in clear; a foreign password, or token in a URL, is a secret still.
    secrets = ("password", "url") if outputs.get("registeredAt") == DRIFTED else ("password",)
    return ReadResult(outputs, {key: outputs[key] for key in KEYS if outputs.get(key) is not None}, secrets)


def _to_state(registration: api.Registration) -> State:
    """The listed registration as state: what is not set is left out, as an input not given is."""
    return {
        "url": registration.url,
        "username": registration.username or None,
        "password": registration.password or None,
    }


def _drifted_keys(outputs: State, registration: api.Registration) -> list[str]:
    """Which of the registered fields are not as remembered; never their values."""
    actual = _to_state(registration)
    return [key for key in REGISTERED if (outputs.get(key) or None) != actual[key]]


def _describe(state: State) -> str:
    return f"account {state.get('accountName')}: the {state.get('serviceName')} listener"


def _url_fingerprint(url: str) -> str:
    """Recognises a URL in the state without holding it: its path carries a random token."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]
