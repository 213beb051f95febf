"""SmsCallbackActivation: one startCallbacks call for an account.

startCallbacks is an action, not a switch. ThingSpace has no API to read its effect or to reverse it, so create and
update send the call, delete sends none, and no output claims that callbacks are enabled.
"""

from __future__ import annotations

from thingspace_provider.lifecycle import validation
from thingspace_provider.lifecycle.model import (
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

INPUT_KEYS = ("accountName", "triggers", "registrationUrl", "profile")


class ActivationLifecycle:
    """Lifecycle of an activation. The id is the account name.

    Inputs: accountName, triggers (list or object), registrationUrl, profile.
    Outputs: the inputs, lastActivatedAt, baseUrlFingerprint.

    registrationUrl makes the activation depend on its registration. The call is sent again if registrationUrl, a
    trigger or the base URL changes.
    """

    def check(self, news: State) -> CheckResult:
        """Validate the inputs."""
        checked = {key: news[key] for key in INPUT_KEYS if news.get(key) is not None}
        failures = [
            *validation.check_account_name(news),
            *validation.check_triggers(news),
            *validation.check_profile(news),
        ]
        return CheckResult(checked, failures)

    def diff(self, olds: State, news: State, fingerprint_of: FingerprintOf) -> DiffResult:
        """Replace the activation if the account differs; send the call again for any other difference."""
        changed = [key for key in INPUT_KEYS if olds.get(key) != news.get(key)]
        must_replace = "accountName" in changed and not is_unknown(news.get("accountName"))
        must_update = bool(changed) or base_url_changed(olds, news.get("profile"), fingerprint_of)
        return DiffResult(must_update, ["accountName"] if must_replace else [])

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Send startCallbacks. A second call has no further effect."""
        return CreateResult(inputs["accountName"], self._start_callbacks(context, inputs))

    def read(self, context: Context, id_: str, outputs: State) -> ReadResult:
        """Return the recorded state. ThingSpace has no API to read an activation."""
        del context
        return ReadResult({**outputs, "accountName": id_}, {key: outputs[key] for key in INPUT_KEYS if key in outputs})

    def update(self, context: Context, olds: State, news: State) -> State:
        """Send startCallbacks again."""
        del olds
        return self._start_callbacks(context, news)

    def delete(self, context: Context, outputs: State) -> None:
        """Send nothing. Callbacks end when the registration is deleted."""
        context.log(
            f"account {outputs.get('accountName')}: activation removed from the state; no call was sent. ThingSpace "
            "has no call that stops SMS callbacks: messages go to the registered listener, or wait in the queue."
        )

    def _start_callbacks(self, context: Context, inputs: State) -> State:
        profile = inputs.get("profile")
        context.client(profile).start_callbacks(inputs["accountName"])
        return {
            **inputs,
            "lastActivatedAt": context.timestamp(),
            "baseUrlFingerprint": context.fingerprint(profile),
        }
