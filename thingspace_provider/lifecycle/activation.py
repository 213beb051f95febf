"""SmsCallbackActivation: startCallbacks was sent for an account.

An action is not a switch: ThingSpace can be asked to push what it has queued, but not whether it was asked,
and not to stop. So create and update send the one call, delete sends none, and nothing says "enabled".
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

DIFF_KEYS = ("accountName", "triggers", "registrationUrl", "profile")


class ActivationLifecycle:
    """inputs: accountName, triggers (list), registrationUrl, profile. outputs: these and more. id: account.

    The outputs add lastActivatedAt, and place, which tells the ThingSpace that was called from others.
    registrationUrl orders the activation after its registration, and sends the call again when it changes. So does
    another ThingSpace.
    """

    def check(self, news: State) -> CheckResult:
        """Find wrong inputs; no network."""
        checked = {key: news[key] for key in DIFF_KEYS if news.get(key) is not None}
        return CheckResult(
            checked,
            validation.check_account_name(news) + validation.check_triggers(news) + validation.check_profile(news),
        )

    def diff(self, olds: State, news: State, fingerprint_of: FingerprintOf) -> DiffResult:
        """Another account is another resource; everything else sends the call again."""
        changed = [key for key in DIFF_KEYS if olds.get(key) != news.get(key)]
        moved = "accountName" in changed and not is_unknown(news.get("accountName"))
        must_update = bool(changed) or base_url_changed(olds, news.get("profile"), fingerprint_of)
        return DiffResult(must_update, ["accountName"] if moved else [])

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Send startCallbacks; sending it twice does no harm."""
        return CreateResult(inputs["accountName"], self._start(context, inputs))

    def read(self, context: Context, outputs: State) -> ReadResult:
        """ThingSpace cannot be asked, so what is remembered stays."""
        del context
        return ReadResult(outputs, {key: outputs[key] for key in DIFF_KEYS if key in outputs})

    def update(self, context: Context, olds: State, news: State) -> State:
        """Send startCallbacks again."""
        del olds
        return self._start(context, news)

    def delete(self, context: Context, outputs: State) -> None:
        """Nothing is sent: callbacks end when the registration does."""
        context.log(
            f"account {outputs.get('accountName')}: forgotten, nothing sent. ThingSpace has no call that stops SMS "
            "callbacks; texts go on to whatever listener is registered, or wait in the queue."
        )

    def _start(self, context: Context, inputs: State) -> State:
        context.client(inputs.get("profile")).start_callbacks(inputs["accountName"])
        fingerprint = context.fingerprint(inputs.get("profile"))
        return {**inputs, "lastActivatedAt": context.timestamp(), "place": fingerprint}
