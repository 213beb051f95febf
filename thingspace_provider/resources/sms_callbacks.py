"""SmsCallbacks: a registration and an activation for each account, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from thingspace_provider.resources.activation import SmsCallbackActivation
from thingspace_provider.resources.credential import CallbackCredential
from thingspace_provider.resources.listener_host import ListenerHost
from thingspace_provider.resources.registration import CallbackRegistration


class SmsCallbacks(pulumi.ComponentResource):
    """Sends the device messages of some accounts to a listener, including queued messages.

    Each change of a registration or of the listener sends startCallbacks again for the account. ThingSpace queues
    messages in the meantime, and only this call drains the queue.

    Args:
        name: Pulumi component name.
        account_names: ThingSpace accounts, for example ["0000123456-00001"].
        listener: the listener host: LocalListener or ExternalListener.
        credential: what ThingSpace sends with every callback.
        triggers: any values; a changed value sends startCallbacks again for all accounts.
        adopt: whether registrations with another URL may be replaced.
        profile: the ThingSpace user; None is the default user.
        opts: Pulumi resource options of the component.
    """

    registrations: dict[str, CallbackRegistration]
    activations: dict[str, SmsCallbackActivation]

    def __init__(
        self,
        name: str,
        *,
        account_names: Sequence[str],
        listener: ListenerHost,
        credential: CallbackCredential,
        triggers: Sequence[pulumi.Input[Any]] = (),
        adopt: bool = False,
        profile: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("thingspace:index:SmsCallbacks", name, None, opts)
        child_opts = pulumi.ResourceOptions(parent=self)
        self.registrations = {}
        self.activations = {}
        for account in account_names:
            registration = CallbackRegistration(
                f"{name}-{account}",
                account_name=account,
                url=listener.url_for(account),
                username=credential.username,
                password=credential.password,
                adopt=adopt,
                readiness=listener.readiness,
                profile=profile,
                opts=child_opts,
            )
            self.registrations[account] = registration
            self.activations[account] = SmsCallbackActivation(
                f"{name}-{account}",
                account_name=account,
                triggers=[*triggers, registration.registered_at, listener.revision],
                registration_url=registration.endpoint,
                profile=profile,
                opts=child_opts,
            )
        self.register_outputs(
            {
                "lastActivatedAt": {
                    account: activation.last_activated_at for account, activation in self.activations.items()
                }
            }
        )
