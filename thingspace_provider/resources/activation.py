"""SmsCallbackActivation: makes ThingSpace send the queued messages of an account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pulumi

from thingspace_provider.providers import SmsCallbackActivationProvider
from thingspace_provider.resources.base import Resource

Triggers = Sequence[pulumi.Input[Any]] | Mapping[str, pulumi.Input[Any]]


class SmsCallbackActivation(Resource, name="SmsCallbackActivation"):
    """A startCallbacks call for one account, sent on create and again when an input changes.

    startCallbacks is an action, not a switch: ThingSpace has no API to read its effect or to reverse it. Deleting this
    resource sends nothing. Callbacks end when the registration is deleted.

    Args:
        name: Pulumi resource name.
        account_name: ThingSpace account, for example "0000123456-00001". A changed value replaces the resource.
        triggers: list or dictionary of any values; a changed one sends the call again. With `registered_at` of a
            CallbackRegistration the call follows each renewal, even one of the password only.
        registration_url: `endpoint` of a CallbackRegistration. The activation follows that registration.
        profile: the ThingSpace user; None is the default user.
        opts: Pulumi resource options.
    """

    if TYPE_CHECKING:
        account_name: pulumi.Output[str]
        last_activated_at: pulumi.Output[str]
        """Time at which ThingSpace last accepted the call, ISO 8601 in UTC."""

    def __init__(
        self,
        name: str,
        *,
        account_name: pulumi.Input[str],
        triggers: pulumi.Input[Triggers] | None = None,
        registration_url: pulumi.Input[str] | None = None,
        profile: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            SmsCallbackActivationProvider(),
            name,
            {
                "account_name": account_name,
                "triggers": triggers,
                "registration_url": registration_url,
                "profile": profile,
            },
            ["last_activated_at"],
            opts,
        )
