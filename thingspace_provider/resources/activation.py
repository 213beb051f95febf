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
        account_name: ThingSpace account, for example "0000123456-00001".
        triggers: list or dictionary of any values; a changed one sends the call again. With `registered_at` of a
            CallbackRegistration the call follows each renewal, even one of the password only.
        registration_url: `endpoint` of a CallbackRegistration. The activation follows that registration.
        profile: the ThingSpace user; None is the default user.
        opts: Pulumi resource options.

    Example:
        from thingspace_provider import CallbackRegistration, SmsCallbackActivation

        account = "0000123456-00001"
        registration = CallbackRegistration(
            "registration", account_name=account, url="https://sms.example.com/callbacks", readiness=False
        )
        activation = SmsCallbackActivation(
            "activation",
            account_name=account,
            triggers=[registration.registered_at],
            registration_url=registration.endpoint,
        )

    Operations:
        preview: shows whether the call will be sent. No call; no credentials are needed.
        create: sends startCallbacks. ThingSpace posts the queued messages to the registered URL.
        update: sends startCallbacks again, also when the base URL of the user has changed.
        replace: sends startCallbacks for the new account, and nothing for the old one.
        refresh: changes nothing, because ThingSpace has no call that reads an activation.
        delete: sends nothing, and reports that in the output.
        import: not supported by Pulumi, and not needed; startCallbacks can be sent at any time. With
            `ResourceOptions(id=account)` the resource is read and not managed.

    Errors:
        `the credentials are incomplete`: export the variables that the error names, or set the keys of the stack.
        `login blocked`: correct the credentials; after Verizon has unlocked the user, set `THINGSPACE_LOGIN_OVERRIDE`.
        `ThingSpace responded with`: follow the hint, for example correct the account name, or set `profile`.
        `is a number and has no leading zeros`: quote the account name.
        `must be a list, for example ["2026-03-01"], or a dictionary`: put the trigger into a list.
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
