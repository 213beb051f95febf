"""SmsCallbackActivation: startCallbacks was sent for an account.

An action is not a switch: ThingSpace can be asked to push what it has queued, but not whether it was asked,
and not to stop. So create and update send the one call, delete sends none, and nothing says "enabled".
"""

from __future__ import annotations

from thingspace_provider.lifecycle import validation
from thingspace_provider.lifecycle.model import (
    Checked,
    Context,
    Created,
    Current,
    Difference,
    State,
    Where,
    is_elsewhere,
    is_unknown,
)

COMPARED = ("accountName", "triggers", "registrationUrl", "profile")


class SmsCallbackActivation:
    """inputs: accountName, triggers (list), registrationUrl, profile. outputs: these and more. id: account.

    The outputs add lastActivatedAt, and place, which tells the ThingSpace that was called from others.
    registrationUrl orders the activation after its registration, and sends the call again when it changes. So does
    another ThingSpace.
    """

    def check(self, news: State) -> Checked:
        """Find wrong inputs; no network."""
        checked = {key: news[key] for key in COMPARED if news.get(key) is not None}
        return Checked(checked, validation.account_name(news) + validation.triggers(news) + validation.profile(news))

    def diff(self, olds: State, news: State, where: Where) -> Difference:
        """Another account is another resource; everything else sends the call again."""
        changed = [key for key in COMPARED if olds.get(key) != news.get(key)]
        moved = "accountName" in changed and not is_unknown(news.get("accountName"))
        again = bool(changed) or is_elsewhere(olds, news.get("profile"), where)
        return Difference(again, ["accountName"] if moved else [])

    def create(self, context: Context, inputs: State) -> Created:
        """Send startCallbacks; sending it twice does no harm."""
        return Created(inputs["accountName"], self._start(context, inputs))

    def read(self, context: Context, outputs: State) -> Current:
        """ThingSpace cannot be asked, so what is remembered stays."""
        del context
        return Current(outputs, {key: outputs[key] for key in COMPARED if key in outputs})

    def update(self, context: Context, olds: State, news: State) -> State:
        """Send startCallbacks again."""
        del olds
        return self._start(context, news)

    def delete(self, context: Context, outputs: State) -> None:
        """Nothing is sent: callbacks end when the registration does."""
        context.say(
            f"account {outputs.get('accountName')}: forgotten, nothing sent. ThingSpace has no call that stops SMS "
            "callbacks; texts go on to whatever listener is registered, or wait in the queue."
        )

    def _start(self, context: Context, inputs: State) -> State:
        context.client(inputs.get("profile")).start_callbacks(inputs["accountName"])
        place = context.where(inputs.get("profile"))
        return {**inputs, "lastActivatedAt": context.timestamp(), "place": place}
