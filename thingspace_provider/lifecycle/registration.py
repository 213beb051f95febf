"""CallbackRegistration: the URL that ThingSpace posts an account's callbacks to.

ThingSpace keeps one listener per service and account. Nothing that the user did not ask for is overwritten:
a registration that points elsewhere is an error, unless it is adopted or a refresh has shown it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from thingspace_provider import api
from thingspace_provider.api.errors import Refused, ThingSpaceError
from thingspace_provider.lifecycle import readiness, validation
from thingspace_provider.lifecycle.model import (
    Checked,
    Context,
    Created,
    Current,
    Difference,
    Failure,
    State,
    Where,
    is_elsewhere,
    is_unknown,
)

BAD_REQUEST = 400
SMS_SERVICE = "EnhancedConnectivityService"
DEFAULTS: dict[str, Any] = {"serviceName": SMS_SERVICE, "adopt": False, "readiness": True}
IDENTITY = ("accountName", "serviceName")
REGISTERED = ("url", "username", "password")  # what ThingSpace keeps
COMPARED = (*IDENTITY, *REGISTERED, "profile")
KEYS = (*COMPARED, "adopt", "readiness")
ELSEWHERE = "another ThingSpace (the base URL has changed)"
DRIFTED = ""  # registeredAt of what somebody else registered, or an update of ours that was interrupted


class RegisteredElsewhere(ThingSpaceError):
    """The service's callbacks go to a URL that this resource did not register."""


class CallbackRegistration:
    """inputs: KEYS. outputs: these, registeredAt, endpoint, urlDigest, place. id: account/service.

    endpoint is the URL as it may be shown; urlDigest tells whether what is registered is what this resource wrote.
    registeredAt is new after each create and update, so that the activation that has it for a trigger fetches what
    was queued; "" when a refresh found another registration. place tells the ThingSpace that has it from others: read
    and delete send nothing to another one. Calls: create GET + POST (only GET when it is already so), read GET, update
    GET + POST, delete GET + DELETE (only GET when there is nothing of ours).
    """

    def check(self, news: State) -> Checked:
        """Fill in defaults and find wrong inputs; no network."""
        checked = {**DEFAULTS, **{key: news[key] for key in KEYS if news.get(key) is not None}}
        for key in ("username", "password"):  # ThingSpace does not tell an empty one from none
            if checked.get(key) == "":
                del checked[key]
        failures = [
            *validation.account_name(checked),
            *validation.service_name(checked),
            *validation.callback_url(checked),
            *validation.credential(checked, "username", "password"),
            *validation.profile(checked),
        ]
        failures += [
            Failure(key, "must be true or false")
            for key in ("adopt", "readiness")
            if not is_unknown(checked[key]) and not isinstance(checked[key], bool)
        ]
        return Checked(checked, failures)

    def diff(self, olds: State, news: State, where: Where) -> Difference:
        """Account and service are the identity; adopt and readiness only matter when something is registered.

        Drift that a refresh has shown is a change even when it is what the program wants by now; so is another
        ThingSpace.
        """
        changed = [key for key in COMPARED if olds.get(key) != news.get(key)]
        moved = [key for key in IDENTITY if key in changed and not is_unknown(news.get(key))]
        again = olds.get("registeredAt") == DRIFTED or is_elsewhere(olds, news.get("profile"), where)
        return Difference(bool(changed) or again, moved)

    def create(self, context: Context, inputs: State) -> Created:
        """Prove the listener, look what is registered, register."""
        outputs = self._register(context, inputs, own_urls={inputs["url"]})
        return Created(f"{inputs['accountName']}/{inputs['serviceName']}", outputs)

    def read(self, context: Context, outputs: State) -> Current | None:
        """What ThingSpace lists for the account's service, or None when it lists nothing."""
        if self._is_elsewhere(context, outputs):
            context.say(f"{_whose(outputs)} is at {ELSEWHERE}: not looked at; the next `pulumi up` registers it here.")
            return _current(outputs)
        found = self._find(context, outputs)
        if found is None:
            context.say(f"{_whose(outputs)} is no longer registered; the next `pulumi up` registers it again.")
            return None
        drifted = _drift(outputs, found)
        if drifted:
            context.say(
                f"{_whose(outputs)} was changed outside of Pulumi: {', '.join(drifted)}. "
                f"It points to {api.shown(found.url)}; the next `pulumi up` puts it right."
            )
        actual = {**outputs, **_registered(found), "endpoint": api.shown(found.url)}
        if drifted:
            actual["registeredAt"] = DRIFTED
        return _current(actual)

    def update(self, context: Context, olds: State, news: State) -> State:
        """As create; the URL that the state knows, ours or shown by a refresh, may be replaced."""
        if not is_elsewhere(olds, news.get("profile"), context.where):
            return self._register(context, news, own_urls={news["url"], olds.get("url", "")})
        outputs = self._register(context, news, own_urls={news["url"]})
        context.say(f"{_whose(news)} was at {ELSEWHERE}: registered here; there, nothing was deregistered.")
        return outputs

    def delete(self, context: Context, outputs: State) -> None:
        """Deregister, unless the registration is gone, no longer ours, or where our credentials do not lead."""
        if self._is_elsewhere(context, outputs):
            context.say(f"{_whose(outputs)} is at {ELSEWHERE}: nothing was sent, and it stays registered there.")
            return
        found = self._find(context, outputs)
        if found is None:
            context.say(f"{_whose(outputs)} was gone already; nothing was sent.")
            return
        if _digest(found.url) != outputs.get("urlDigest", _digest(found.url)):
            context.say(f"{_whose(outputs)} now points to {api.shown(found.url)}, which is not ours: left as it is.")
            return
        self._client(context, outputs).deregister_callback(outputs["accountName"], outputs["serviceName"])

    def _register(self, context: Context, news: State, own_urls: set[str]) -> State:
        if news.get("readiness"):
            readiness.prove(context, news)
        found = self._find(context, news)
        if found is not None and found.url not in own_urls and not news.get("adopt"):
            raise RegisteredElsewhere(
                f"registering the {news['serviceName']} listener",
                news["accountName"],
                f"its callbacks already go to {api.shown(found.url)}, and this program wants {api.shown(news['url'])}",
                "Nothing was changed. If that listener may be replaced, set adopt=True; if it is a change made "
                "outside of Pulumi, `pulumi refresh` takes note of it and the next `pulumi up` repairs it.",
            )
        wanted = api.Registration(
            news["serviceName"], news["url"], news.get("username") or "", news.get("password") or ""
        )
        if found != wanted:
            _register_over(self._client(context, news), news["accountName"], wanted, found)
        else:  # an update that was interrupted did it, or somebody by hand
            context.say(f"{_whose(news)} was registered already as this program wants it; nothing was sent.")
        return {
            **news,
            "registeredAt": context.timestamp(),  # anew: texts may be queued since a renewal that nobody remembers
            "endpoint": api.shown(news["url"]),
            "urlDigest": _digest(news["url"]),
            "place": context.where(news.get("profile")),
        }

    def _find(self, context: Context, state: State) -> api.Registration | None:
        listed = self._client(context, state).list_callbacks(state["accountName"])
        return next((entry for entry in listed if entry.service_name == state["serviceName"]), None)

    def _is_elsewhere(self, context: Context, outputs: State) -> bool:
        self._client(context, outputs)  # an error where credentials are missing: the base URL may be missing with them
        return is_elsewhere(outputs, outputs.get("profile"), context.where)

    def _client(self, context: Context, state: State) -> api.Client:
        return context.client(state.get("profile"))


def _register_over(client: api.Client, account: str, wanted: api.Registration, found: api.Registration | None) -> None:
    """Register; where ThingSpace refuses to replace, which is not documented, deregister first.

    Texts that arrive in between are queued, and the activation that follows a registration fetches them.
    """
    try:
        client.register_callback(account, wanted)
    except Refused as refusal:
        if found is None or refusal.status != BAD_REQUEST:
            raise
        client.deregister_callback(account, wanted.service_name)
        try:
            client.register_callback(account, wanted)
        except Refused:  # it was not the old registration that stood in the way: leave things as they were
            client.register_callback(account, found)
            raise


def _current(outputs: State) -> Current:
    # The program may have given none, or one in clear; a foreign password, or token in a URL, is a secret still.
    secrets = ("password", "url") if outputs.get("registeredAt") == DRIFTED else ("password",)
    return Current(outputs, {key: outputs[key] for key in KEYS if outputs.get(key) is not None}, secrets)


def _registered(found: api.Registration) -> State:
    """The listed registration as state: what is not set is left out, as an input not given is."""
    return {"url": found.url, "username": found.username or None, "password": found.password or None}


def _drift(outputs: State, found: api.Registration) -> list[str]:
    """Which of the registered fields are not as remembered; never their values."""
    actual = _registered(found)
    return [key for key in REGISTERED if (outputs.get(key) or None) != actual[key]]


def _whose(state: State) -> str:
    return f"account {state.get('accountName')}: the {state.get('serviceName')} listener"


def _digest(url: str) -> str:
    """Recognises a URL in the state without holding it: its path carries a random token."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]
