"""SmsCallbackActivation: has ThingSpace push the texts that it queued for an account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pulumi

from thingspace_provider.providers import SmsCallbackActivationProvider
from thingspace_provider.resources.base import Resource


class SmsCallbackActivation(Resource, name="SmsCallbackActivation"):
    """startCallbacks, sent for one account when this is created, and again when a trigger changes.

    It is an action, not a switch: ThingSpace cannot be asked whether it was done, and cannot be told to stop.
    Deleting it sends nothing; texts stop coming when the registration goes.

    Args:
        name: the resource's name in the program.
        account_name: ThingSpace account, as "0000123456-00001". Another one replaces the resource.
        triggers: values of any kind; when one changes, the call is sent again. A CallbackRegistration's registered_at
            among them sends it after every renewal, also of the password alone.
        registration_url: where the texts will go, from a CallbackRegistration; orders the two, and sends again.
        profile: which ThingSpace user calls; None is the default one.
        opts: Pulumi's options.
    """

    if TYPE_CHECKING:
        account_name: pulumi.Output[str]
        last_activated_at: pulumi.Output[str]
        """When ThingSpace last accepted the call, ISO 8601 in UTC."""

    def __init__(
        self,
        name: str,
        *,
        account_name: pulumi.Input[str],
        triggers: pulumi.Input[Sequence[Any]] | None = None,
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
