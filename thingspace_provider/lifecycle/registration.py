"""CallbackRegistration: the URL that ThingSpace posts an account's callbacks to.

ThingSpace keeps one registration for each service and account. This resource never overwrites a registration that it
did not write, unless `adopt` permits it or a refresh has recorded it in the state.
"""

from __future__ import annotations

import hashlib
from typing import Any

from thingspace_provider import api
from thingspace_provider.api.errors import ErrorResponse, ThingSpaceError
from thingspace_provider.common.urls import mask_url
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
IDENTITY_KEYS = ("accountName", "serviceName")
REGISTERED_KEYS = ("url", "username", "password")  # the fields that ThingSpace stores
DIFF_KEYS = (*IDENTITY_KEYS, *REGISTERED_KEYS, "profile")
INPUT_KEYS = (*DIFF_KEYS, "adopt", "readiness")
SMS_SERVICE = "EnhancedConnectivityService"
DEFAULTS: dict[str, Any] = {"serviceName": SMS_SERVICE, "adopt": False, "readiness": True}
MOVED = "another ThingSpace (the base URL has changed)"


class RegistrationConflict(ThingSpaceError):
    """The service is registered with a URL that this resource did not write."""


class RegistrationLifecycle:
    """Lifecycle of a registration. The id is account/service.

    Inputs: accountName, serviceName, url, username, password, profile, adopt, readiness.
    Outputs: the inputs and these.

    | Output | Meaning |
    |---|---|
    | registeredAt | time of the last create or update, a trigger for the activation; none if only read by id |
    | drift | names of the inputs that a refresh found changed; also an input, so that a preview shows them |
    | endpoint | the URL without its secret parts |
    | urlFingerprint | digest of the URL that this resource wrote; delete removes no other registration |
    | baseUrlFingerprint | read and delete send no call if the base URL has changed |

    Calls: create and update send GET and POST (GET only if nothing differs), read sends GET, delete sends GET and
    DELETE (GET only if the registration is gone or was written by another program).
    """

    def __init__(self) -> None:
        # Account and service -> registeredAt, for what this process has registered. Pulumi creates a replacement
        # before it deletes the old resource, and both are the same registration in ThingSpace.
        self._registered_at: dict[tuple[str, str, str], str] = {}

    def check(self, news: State) -> CheckResult:
        """Validate the inputs and fill in defaults."""
        checked = {**DEFAULTS, **{key: news[key] for key in INPUT_KEYS if news.get(key) is not None}}
        for key in ("username", "password"):  # ThingSpace does not distinguish an empty value from none
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
        """Replace the registration if account or service differs; update it for another difference.

        Recorded drift is a difference even if the program now has the same values. `adopt` and `readiness` have an
        effect only when something is registered, so they are not compared.
        """
        changed = [key for key in DIFF_KEYS if olds.get(key) != news.get(key)]
        replaces = [key for key in IDENTITY_KEYS if key in changed and not is_unknown(news.get(key))]
        must_update = bool(changed or olds.get("drift")) or base_url_changed(olds, news.get("profile"), fingerprint_of)
        return DiffResult(must_update, replaces)

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Probe the listener, check for a registration conflict, then register."""
        outputs = self._register(context, inputs, own_urls={inputs["url"]})
        return CreateResult(f"{inputs['accountName']}/{inputs['serviceName']}", outputs)

    def read(self, context: Context, id_: str, outputs: State) -> ReadResult | None:
        """Return the registration that ThingSpace lists for the service, or None."""
        if not outputs.get("registeredAt"):
            return self._read_by_id(context, id_, outputs)
        if self._base_url_changed(context, outputs):
            context.log(
                f"{_describe(outputs)} not read: it is at {MOVED}. The next `pulumi up` registers the listener here."
            )
            return _to_read_result(outputs)
        registration = self._find_registration(context, outputs)
        if registration is None:
            context.log(f"{_describe(outputs)} not found. The next `pulumi up` registers the listener again.")
            return None
        actual = {**outputs, **_to_state(registration), "endpoint": mask_url(registration.url)}
        if drifted := _drifted_keys(outputs, registration):
            context.log(
                f"{_describe(outputs)} was changed outside of Pulumi: {', '.join(drifted)}. Its URL is "
                f"{actual['endpoint']}. The next `pulumi up` restores it."
            )
            actual["drift"] = sorted({*drifted, *outputs.get("drift", ())})
        return _to_read_result(actual)

    def update(self, context: Context, olds: State, news: State) -> State:
        """Register as in create; the URL in the state may be replaced too."""
        if not base_url_changed(olds, news.get("profile"), context.fingerprint):
            return self._register(context, news, own_urls={news["url"], olds.get("url", "")})
        outputs = self._register(context, news, own_urls={news["url"]})
        context.log(f"{_describe(news)} created here. The one at {MOVED} was not deleted.")
        return outputs

    def delete(self, context: Context, outputs: State) -> None:
        """Deregister, unless the registration is gone, was written by another program, or is at another base URL."""
        if self._base_url_changed(context, outputs):
            context.log(f"{_describe(outputs)} not deleted: it is at {MOVED}. No call was sent.")
            return
        if self._registered_at.get(_identity(outputs), outputs.get("registeredAt")) != outputs.get("registeredAt"):
            context.log(f"{_describe(outputs)} not deleted: this update has registered the service again.")
            return
        registration = self._find_registration(context, outputs)
        if registration is None:
            context.log(f"{_describe(outputs)} not found. There is nothing to delete.")
            return
        if _url_fingerprint(registration.url) != outputs["urlFingerprint"]:
            context.log(
                f"{_describe(outputs)} not deleted: its URL is {mask_url(registration.url)}, "
                "which another program registered."
            )
            return
        self._client(context, outputs).deregister_callback(outputs["accountName"], outputs["serviceName"])

    def _read_by_id(self, context: Context, id_: str, inputs: State) -> ReadResult | None:
        """Return what ThingSpace lists, whatever the program gives: this resource manages nothing."""
        account, _, service = id_.rpartition("/")
        outputs = {**inputs, "accountName": account, "serviceName": service}
        if validation.check_account_name(outputs) or validation.check_service_name(outputs):
            raise ThingSpaceError(
                "reading a registration",
                detail=f"{id_!r} is not the id of a registration",
                hint=f'Set the id to account and service, for example "0000123456-00001/{SMS_SERVICE}".',
            )
        registration = self._find_registration(context, outputs)
        if registration is None:
            return None
        outputs |= {**_to_state(registration), "endpoint": mask_url(registration.url)}
        return ReadResult(outputs, None, ("password", "url"))

    def _register(self, context: Context, news: State, own_urls: set[str]) -> State:
        if news.get("readiness"):
            readiness.wait_until_ready(context, news)
        existing = self._find_registration(context, news)
        own_url = mask_url(news["url"])
        foreign_url = mask_url(existing.url) if existing is not None and existing.url not in own_urls else None
        if foreign_url and not news.get("adopt"):
            raise RegistrationConflict(
                f"registering the {news['serviceName']} listener",
                news["accountName"],
                f"callbacks already go to {foreign_url}, not to {own_url}"
                + (" (they differ in a masked part)" if foreign_url == own_url else ""),
                "Nothing was changed. To replace that registration, set adopt=True. If it was changed outside of "
                "Pulumi, run `pulumi refresh` and then `pulumi up`.",
            )
        wanted = api.Registration(
            news["serviceName"], news["url"], news.get("username") or "", news.get("password") or ""
        )
        if existing != wanted:
            _replace_registration(self._client(context, news), news["accountName"], wanted, existing)
            if foreign_url:
                context.log(f"{_describe(news)} adopted: its URL was {foreign_url}, and is now {own_url}.")
        else:  # after an interrupted update, or a registration by hand
            context.log(f"{_describe(news)} is already up to date.")
        outputs = {
            **news,
            "registeredAt": context.timestamp(),  # even without a call: after an interruption, messages may be queued
            "endpoint": own_url,
            "urlFingerprint": _url_fingerprint(news["url"]),
            "baseUrlFingerprint": context.fingerprint(news.get("profile")),
        }
        self._registered_at[_identity(outputs)] = outputs["registeredAt"]
        return outputs

    def _find_registration(self, context: Context, state: State) -> api.Registration | None:
        registrations = self._client(context, state).list_callbacks(state["accountName"])
        return next((entry for entry in registrations if entry.service_name == state["serviceName"]), None)

    def _base_url_changed(self, context: Context, outputs: State) -> bool:
        self._client(context, outputs)  # raises if credentials are missing: the base URL may be missing with them
        return base_url_changed(outputs, outputs.get("profile"), context.fingerprint)

    def _client(self, context: Context, state: State) -> api.ThingSpaceClient:
        return context.client(state.get("profile"))


def _replace_registration(
    client: api.ThingSpaceClient, account: str, wanted: api.Registration, existing: api.Registration | None
) -> None:
    """Register; if ThingSpace rejects the replacement, which is not documented, deregister first.

    ThingSpace queues messages that arrive in between, and the activation after a registration drains the queue.
    """
    try:
        client.register_callback(account, wanted)
    except ErrorResponse as error:
        if existing is None or error.status != BAD_REQUEST:
            raise
        client.deregister_callback(account, wanted.service_name)
        try:
            client.register_callback(account, wanted)
        except ErrorResponse:  # the existing registration was not the cause: restore it
            client.register_callback(account, existing)
            raise


def _to_read_result(outputs: State) -> ReadResult:
    # A program may set no password, or one in plain text. A foreign password or URL is a secret in any case.
    secrets = ("password", "url") if outputs.get("drift") else ("password",)
    inputs = {key: outputs[key] for key in (*INPUT_KEYS, "drift") if outputs.get(key) is not None}
    return ReadResult(outputs, inputs, secrets)


def _to_state(registration: api.Registration) -> State:
    """Convert a listed registration to state. An empty value is None, as for an input that is not set."""
    return {
        "url": registration.url,
        "username": registration.username or None,
        "password": registration.password or None,
    }


def _drifted_keys(outputs: State, registration: api.Registration) -> list[str]:
    """Return the registered fields that differ from the state, without their values."""
    actual = _to_state(registration)
    return [key for key in REGISTERED_KEYS if (outputs.get(key) or None) != actual[key]]


def _identity(outputs: State) -> tuple[str, str, str]:
    return outputs["baseUrlFingerprint"], outputs["accountName"], outputs["serviceName"]


def _describe(state: State) -> str:
    return f"account {state.get('accountName')}: {state.get('serviceName')} registration"


def _url_fingerprint(url: str) -> str:
    """Return a digest that identifies a URL in the state without its path token."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]
